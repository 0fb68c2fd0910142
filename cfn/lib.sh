# shellcheck shell=bash
# What the scripts of this directory share. Sourced, not run.

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
REPO=$(dirname "$HERE")
STACK=${STACK:-latticegate}

say() { printf '%s\n' "$*" >&2; }

# fail WHAT MEND: one line for what went wrong, one for what to do.
fail() {
    printf '\n%s: %s\n' "$(basename "$0")" "$1" >&2
    [ -z "${2:-}" ] || printf '  mend: %s\n' "$2" >&2
    exit 1
}

need() {
    local tool
    for tool in "$@"; do
        command -v "$tool" >/dev/null || fail "$tool is not installed" "install $tool and run this again"
    done
}

# wants OPTION [VALUE ...]: an option that takes a value has one.
wants() { [ $# -ge 2 ] || fail "$1 needs a value" "$(basename "$0") --help"; }

# Prints the header comment of the script that calls it: the help.
help() { sed -n '2,/^[^#]/{/^#/{s/^# \{0,1\}//p}}' "$0"; }

confirm() {
    [ -z "${YES:-}" ] || return 0
    [ -t 0 ] || fail "$1 needs a yes" "add --yes"
    local answer
    read -r -p "$1 [y/N] " answer
    [ "$answer" = y ] || [ "$answer" = yes ] || fail "stopped" "nothing was changed"
}

# Who and where; sets ACCOUNT, AWS_REGION.
account() {
    need aws jq
    AWS_REGION=${AWS_REGION:-${AWS_DEFAULT_REGION:-$(aws configure get region || true)}}
    [ -n "$AWS_REGION" ] || fail "no region" "export AWS_REGION=us-east-1 (or: aws configure set region us-east-1)"
    export AWS_REGION AWS_DEFAULT_REGION=$AWS_REGION AWS_PAGER=
    local said
    if ! said=$(aws sts get-caller-identity --query Account --output text 2>&1); then
        fail "AWS does not know us: $said" "aws configure, aws sso login, or export AWS_PROFILE"
    fi
    ACCOUNT=$said
    export ACCOUNT
}

# stack_status NAME: its status, or nothing.
stack_status() { aws cloudformation describe-stacks --stack-name "$1" --query 'Stacks[0].StackStatus' --output text 2>/dev/null || true; }

# describe NAME: the stack as JSON, asked once; {} where there is none.
declare -A DESCRIBED=()
describe() {
    [ -n "${DESCRIBED[$1]:-}" ] || DESCRIBED[$1]=$(aws cloudformation describe-stacks --stack-name "$1" --output json 2>/dev/null || echo '{}')
}

# output NAME KEY, parameter NAME KEY: of a stack, or nothing.
output() {
    describe "$1"
    jq -r --arg key "$2" '.Stacks[0].Outputs[]? | select(.OutputKey == $key) | .OutputValue' <<<"${DESCRIBED[$1]}"
}
parameter() {
    describe "$1"
    jq -r --arg key "$2" '.Stacks[0].Parameters[]? | select(.ParameterKey == $key) | .ParameterValue' <<<"${DESCRIBED[$1]}"
}

must_output() {
    local found
    found=$(output "$1" "$2")
    [ -n "$found" ] || fail "stack $1 has no output $2" "cfn/deploy first (or --stack NAME if yours is named otherwise)"
    printf '%s' "$found"
}

# The first things that failed, through nested stacks: those are the causes, the rest is rollback.
why_failed() {
    local stack=$1 nested
    aws cloudformation describe-stack-events --stack-name "$stack" --output json 2>/dev/null |
        jq -r '[.StackEvents[] | select(.ResourceStatus | test("FAILED$")) | select((.ResourceStatusReason // "") | test("cancelled") | not)]
               | reverse | .[:3][] | "    \(.LogicalResourceId) (\(.ResourceType)): \(.ResourceStatusReason)"' >&2
    for nested in $(aws cloudformation describe-stack-resources --stack-name "$stack" --output json 2>/dev/null |
        jq -r '.StackResources[] | select(.ResourceType == "AWS::CloudFormation::Stack" and (.ResourceStatus | test("FAILED"))) | .PhysicalResourceId // empty'); do
        why_failed "$nested"
    done
}

# The binary that lints lists: told, built, installed, or taken out of the image that runs.
latticegate() {
    if [ -z "${GATE_BINARY:-}" ]; then
        local candidate
        for candidate in "$REPO/target/release/latticegate" "$REPO/target/debug/latticegate" "$(type -P latticegate || true)"; do
            [ -z "$candidate" ] || [ ! -x "$candidate" ] || GATE_BINARY=$candidate
            [ -z "${GATE_BINARY:-}" ] || break
        done
    fi
    [ -n "${GATE_BINARY:-}" ] || binary_from_image
    "$GATE_BINARY" "$@"
}

binary_from_image() {
    local image engine container directory
    image=$(parameter "$STACK" Image)
    engine=$(type -P docker || type -P podman || true)
    if [ -z "$image" ] || [ -z "$engine" ]; then
        fail "no latticegate binary to check the list with" "cargo build --release, or install docker so that it can be taken from the running image, or export GATE_BINARY"
    fi
    say "taking the binary out of $image"
    aws ecr get-login-password | "$engine" login --username AWS --password-stdin "${image%%/*}" >&2
    directory=$(mktemp -d)
    container=$("$engine" create "$image" /latticegate)
    "$engine" cp "$container:/latticegate" "$directory/latticegate" >&2
    "$engine" rm "$container" >/dev/null
    GATE_BINARY=$directory/latticegate
}

# check_policy FILE: the linter's own words; its exit code.
check_policy() {
    local file
    file=$(realpath "$1")
    # The list alone is judged; the networks are documentation addresses that stand for a real configuration.
    LATTICEGATE_POLICY=$file LATTICEGATE_PROXY_PROTOCOL__TRUSTED=192.0.2.0/24 latticegate check
}
