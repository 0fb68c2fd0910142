# shellcheck shell=bash
# What the scripts of this directory share: messages, requests to AWS, stacks. Sourced, not run.
#
# Bash 3.2 and the BSD tools of macOS suffice (tests/cfn/test_portable.py): no associative array, no ${x,,}, no mapfile;
# an array that may be empty is expanded as ${a[@]+"${a[@]}"}; no case without its ( inside $( ).

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
REPO=$(dirname "$HERE")
STACK=${STACK:-}
SCRATCH=$(mktemp -d "${TMPDIR:-/tmp}/latticegate.XXXXXX")
trap 'rm -rf "$SCRATCH"' EXIT
# shellcheck source=cfn/designs.sh
. "$HERE/designs.sh"

say() { printf '%s\n' "$*" >&2; }

# fail WHAT FIX: one line for what went wrong, one for what to do.
fail() {
    printf '\n%s: %s\n' "$(basename "$0")" "$1" >&2
    [ -z "${2:-}" ] || printf '  help: %s\n' "$2" >&2
    exit 1
}

need() {
    local tool missing=
    for tool in "$@"; do
        command -v "$tool" >/dev/null || missing="$missing $tool"
    done
    [ -z "$missing" ] || fail "not installed:$missing" "install what is missing and run this again"
}

# wants OPTION [VALUE ...]: an option that takes a value has one.
wants() { [ $# -ge 2 ] || fail "$1 needs a value" "$(basename "$0") --help"; }

# Prints the header comment of the script that calls it: the help.
help() {
    local line
    while IFS= read -r line; do
        case $line in
        '#!'*) ;;
        '#'*) line=${line#\#} && printf '%s\n' "${line# }" ;;
        *) break ;;
        esac
    done <"$0"
}

# confirm QUESTION [WHAT-IS-DONE]: continues after a yes only, else says what was changed until now.
confirm() {
    [ -z "${YES:-}" ] || return 0
    [ -t 0 ] || fail "$1 needs a yes" "add --yes"
    local reply
    read -r -p "$1 [y/N] " reply
    [ "$reply" = y ] || [ "$reply" = yes ] || fail "stopped" "${2:-nothing was changed}"
}

# ---------- requests to AWS ----------

# attempt COMMAND ...: runs aws; its output is in `answer`, its errors in $SCRATCH/errors.
attempt() {
    answer=$(aws "$@" 2>"$SCRATCH/errors") || {
        answer=
        return 1
    }
}

# query COMMAND ...: the same. Returns 1 only if AWS says that there is no such thing; throttled, denied, expired and
# unreachable end the script: a thing that could not be read must not be taken for absent.
query() {
    attempt "$@" && return 0
    [ "$(fault)" = absent ] && return 1
    no_answer "$1 $2"
}

# request COMMAND ...: the same where the thing must be there, and for whatever changes something.
request() { attempt "$@" || no_answer "$1 $2"; }

# complaint: the last line that aws printed on its standard error.
complaint() { tr -d '\r' <"$SCRATCH/errors" | grep -v '^[[:space:]]*$' | tail -n 1 || true; }

# fault: what kind of failure the last attempt was, in one word.
fault() {
    # One pattern for each kind. `does not exist` alone would take "Token for https://... does not exist" for an absence.
    if grep -qE '\(ValidationError\).* does not exist|\((404|NoSuch[A-Za-z]+|[A-Za-z.]*NotFound[A-Za-z]*)\)' "$SCRATCH/errors"; then
        echo absent
    elif grep -qE 'AccessDenied|UnauthorizedOperation|not authorized|\((403|Forbidden)\)' "$SCRATCH/errors"; then
        echo denied
    elif grep -qE 'Expired|(is|has) expired|SSO (session|Token)|GetRoleCredentials|[Rr]efresh failed' "$SCRATCH/errors"; then
        echo expired
    elif grep -qE 'Throttl|TooManyRequests|RequestLimitExceeded|SlowDown|Rate exceeded' "$SCRATCH/errors"; then
        echo throttled
    elif grep -qE 'Could not connect|[Tt]imed? ?out|ConnectionError|Connection (was|aborted|reset|refused)|connect to proxy|SSL validation|Name or service' "$SCRATCH/errors"; then
        echo unreachable
    elif grep -qE '[Uu]nable to locate credentials|AuthFailure|InvalidClientTokenId|UnrecognizedClient|InvalidAccessKeyId|SignatureDoesNotMatch|config profile' "$SCRATCH/errors"; then
        echo unknown-identity
    else
        echo other
    fi
}

# no_answer COMMAND: ends the script with one line on why AWS did not answer.
no_answer() {
    local said
    said=$(complaint)
    case $(fault) in
    expired) fail "aws $1: the credentials have expired: $said" "aws sso login, or export fresh credentials; then run this again" ;;
    denied) fail "aws $1: access denied: $said" "ask for the permission that this line names; then run this again" ;;
    throttled) fail "aws $1: throttled by AWS: $said" "run this again in a minute; export AWS_RETRY_MODE=adaptive retries more patiently" ;;
    unreachable) fail "aws $1: no answer from AWS: $said" "check the network, the proxy and AWS_REGION=${AWS_REGION:-}; then run this again" ;;
    unknown-identity) fail "aws $1: no credentials that AWS accepts: $said" "aws configure, aws sso login, or export AWS_PROFILE" ;;
    absent) fail "aws $1: there is no such thing: $said" "compare it, and the account (${ACCOUNT:-not known}) and region (${AWS_REGION:-}) that this was asked of" ;;
    *) fail "aws $1 failed: ${said:-no message}" "see the message of AWS in this line" ;;
    esac
}

# Who and where; sets ACCOUNT, AWS_REGION, and STACK if nothing named it.
account() {
    settle_design
    need aws jq
    AWS_REGION=${AWS_REGION:-${AWS_DEFAULT_REGION:-$(aws configure get region || true)}}
    [ -n "$AWS_REGION" ] || fail "no region" "export AWS_REGION=us-east-1 (or: aws configure set region us-east-1)"
    export AWS_REGION AWS_DEFAULT_REGION=$AWS_REGION AWS_PAGER=
    request sts get-caller-identity --query Account --output text
    ACCOUNT=$answer
    export ACCOUNT
}

# ---------- stacks ----------

# described NAME: sets DESCRIBED to where `describe` keeps the stack. By a variable: it is asked so often that a subshell each time counts.
described() { DESCRIBED=$SCRATCH/${1//[^A-Za-z0-9-]/_}.stack; }

# describe NAME: reads the stack, once. A script does it before the functions below are used inside $( ), where a failure
# would end the substitution only. Sets DESCRIBED.
describe() {
    local answer
    described "$1"
    [ ! -f "$DESCRIBED" ] || return 0
    query cloudformation describe-stacks --stack-name "$1" --output json || answer='{}'
    printf '%s' "$answer" >"$DESCRIBED"
    # What is asked for again and again, one a line: a jq for each question would take most of a script's time.
    [ "$answer" != '{}' ] || { : >"$DESCRIBED.lines" && return 0; }
    jq -r '.Stacks[0] // {} | {status: .StackStatus, role: .RoleARN, description: .Description}
        + ([.Outputs[]? | {("output " + .OutputKey): .OutputValue}] | add // {}) + ([.Parameters[]? | {("parameter " + .ParameterKey): .ParameterValue}] | add // {})
        | to_entries[] | select(.value) | "\(.key)=\(.value | gsub("\n"; " "))"' <<<"$answer" >"$DESCRIBED.lines"
}

# forget NAME: after a change.
forget() {
    described "$1"
    rm -f "$DESCRIBED" "$DESCRIBED.lines"
}

# of_stack NAME FILTER [jq arguments]: of the stack as AWS describes it; nothing where there is none.
of_stack() {
    local stack=$1 filter=$2
    shift 2
    describe "$stack"
    jq -r "$@" ".Stacks[0] // {} | $filter" "$DESCRIBED"
}

# value_in FILE KEY: of lines KEY=VALUE; 1 where there is none.
value_in() {
    local line
    while IFS= read -r line; do
        case $line in
        "$2="*)
            printf '%s' "${line#*=}"
            return 0
            ;;
        esac
    done <"$1"
    return 1
}
of_lines() {
    describe "$1"
    value_in "$DESCRIBED.lines" "$2" || true
}

stack_status() { of_lines "$1" status; }
# The role with which CloudFormation changes the stack: the one it was last changed with, the pipeline's.
stack_role() { of_lines "$1" role; }
output() { of_lines "$1" "output $2"; }
parameter() { of_lines "$1" "parameter $2"; }

# must_output NAME KEY: into `answer`; by a variable, since a failure inside $( ) would not end the script.
must_output() {
    answer=$(output "$1" "$2")
    [ -n "$answer" ] || fail "stack $1 has no output $2" "cfn/deploy first (or --stack NAME if yours is named otherwise)"
}

# check_role STACK [OTHER]: a stack whose role is gone can be neither changed nor deleted without another one.
check_role() {
    local role
    role=$(stack_role "$1")
    [ -n "$role" ] || return 0
    if [ -n "${2:-}" ]; then
        say "CloudFormation changes $1 as $2 from now on (until now: $role)"
    elif attempt iam get-role --role-name "${role##*/}" --output json; then
        say "CloudFormation changes $1 as $role, the role of the last change (the pipeline's)"
    else
        case $(fault) in
        absent) fail "stack $1 is bound to the role $role, which no longer exists (the pipeline was deleted before the fleet)" "add --role ARN of a role that CloudFormation may assume and that may change the fleet" ;;
        denied) say "CloudFormation changes $1 as $role; whether that role still exists cannot be seen from here" ;;
        *) no_answer "iam get-role" ;;
        esac
    fi
}

# why_failed STACK [SINCE]: the first things that failed in this operation, through nested stacks: those are the causes,
# the rest is rollback. By its events, since a rolled-back part is gone or looks well again; SINCE is the start of the
# operation in the outermost stack.
why_failed() {
    local stack=$1 since=${2:-} answer found kind nested text
    attempt cloudformation describe-stack-events --stack-name "$stack" --max-items 2000 --output json || {
        [ -n "$since" ] || say "    its events cannot be read: $(complaint)"
        return 1
    }
    found=$(jq -r --arg since "$since" '
        [.StackEvents[]?] as $events
        | ($since | if . != "" then . else ([$events[] | select(.PhysicalResourceId == .StackId and (.ResourceStatus | test("^(CREATE|UPDATE|DELETE|IMPORT)_IN_PROGRESS$"))) | .Timestamp] | max // "") end) as $start
        | $start, ([$events[] | select(.Timestamp >= $start and (.ResourceStatus | endswith("_FAILED")) and .PhysicalResourceId != .StackId)
            | select((.ResourceStatusReason // "") | test("cancelled") | not)]
          | reverse | .[:3][]
          | (if .ResourceType == "AWS::CloudFormation::Stack" and (.PhysicalResourceId // "") != "" then "stack \(.PhysicalResourceId)" else "resource -" end)
            + " \(.LogicalResourceId) (\(.ResourceType)): \(.ResourceStatusReason // .ResourceStatus | gsub("\\s+"; " "))")' <<<"$answer")
    since=$(head -n 1 <<<"$found")
    found=$(sed 1d <<<"$found")
    [ -n "$found" ] || return 1
    while read -r kind nested text; do
        [ "$kind" = stack ] && why_failed "$nested" "$since" || say "    $text"
    done <<<"$found"
}
