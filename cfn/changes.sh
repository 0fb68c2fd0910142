# shellcheck shell=bash
# What a deployment would change, seen through the nested stacks, and the deployment itself. Sourced after lib.sh.

# deploy_stack NAME ARGUMENTS: aws cloudformation deploy, shown as it goes. Ends the script when it fails, with the causes.
deploy_stack() {
    local stack=$1
    shift
    # The second: an update without changes may be refused before a change set is made of it.
    if aws cloudformation deploy --no-fail-on-empty-changeset --stack-name "$stack" "$@" 2>&1 | tee "$SCRATCH/errors" >&2 || grep -q 'No updates are to be performed' "$SCRATCH/errors"; then
        forget "$stack"
        return 0
    fi
    # What the command itself says of a stack that failed; anything else is an answer of the API.
    grep -qE 'Failed to create/update the stack|Waiter StackCreateComplete failed|Waiter StackUpdateComplete failed' "$SCRATCH/errors" || no_answer "cloudformation deploy of $stack"
    say "the first causes:"
    why_failed "$stack" || true
    fail "stack $stack failed and was rolled back" "the lines above name the first causes; remove them, then run cfn/deploy again"
}

# same_as_running STACK TEMPLATE PARAMETERS-JSON: nothing differs, so no deployment is needed. The template names its nested ones by
# the hash of their contents, so its text stands for all of them. A root with nested stacks never makes an empty change set.
same_as_running() {
    request cloudformation get-template --stack-name "$1" --template-stage Original --query TemplateBody --output json
    jq -e --rawfile wanted "$2" 'type == "string" and rtrimstr("\n") == ($wanted | rtrimstr("\n"))' <<<"$answer" >/dev/null || return 1
    jq -e --slurpfile wanted "$3" '(.Stacks[0].Parameters // [] | map({(.ParameterKey): .ParameterValue}) | add // {}) as $running
        | all($wanted[0][]; .UsePreviousValue or $running[.ParameterKey] == .ParameterValue)' "$(described "$1")" >/dev/null
}

# parameters_json STACK NAMES PAIR ...: for create-change-set: the pairs, and what the stack has as far as NAMES (the
# template's) still holds it.
parameters_json() {
    local stack=$1 names=$2 pair
    shift 2
    for pair in "$@"; do jq -n --arg key "${pair%%=*}" --arg value "${pair#*=}" '{ParameterKey: $key, ParameterValue: $value}'; done |
        jq -s --arg names "$names" --slurpfile stack "$(described "$stack")" '
            (map({(.ParameterKey): .}) | add // {}) as $given
            | ([$stack[0].Stacks[0].Parameters[]?.ParameterKey | select(. as $key | ($names | split("\n") | index($key)) and ($given | has($key) | not))]
               | map({ParameterKey: ., UsePreviousValue: true})) + [$given[]]'
}

# make_change_set STACK TEMPLATE-URL PARAMETERS-FILE CREATE|UPDATE [ROLE]: sets CHANGE_SET. 1: AWS made none, with the reason in
# `answer`. Nested stacks are included where there is something to compare with.
make_change_set() {
    local stack=$1 kind=$4 nested='' role=${5:-} status deadline=$((SECONDS + ${CHANGE_SET_PATIENCE:-600}))
    [ "$kind" = CREATE ] || nested=--include-nested-stacks
    request cloudformation create-change-set --stack-name "$stack" --change-set-name "cfn-deploy-$(date -u +%Y%m%dT%H%M%SZ)-$$" \
        --change-set-type "$kind" --template-url "$2" --parameters "file://$3" --capabilities CAPABILITY_IAM $nested ${role:+--role-arn "$role"} --query Id --output text
    CHANGE_SET=$answer
    while :; do
        request cloudformation describe-change-set --change-set-name "$CHANGE_SET" --stack-name "$stack" --output json
        status=$(jq -r .Status <<<"$answer")
        case $status in
        *_PENDING | *_IN_PROGRESS) ;;
        FAILED)
            answer=$(jq -r '.StatusReason // "no reason given"' <<<"$answer")
            return 1
            ;;
        *) return 0 ;;
        esac
        [ "$SECONDS" -lt "$deadline" ] || fail "the change set $CHANGE_SET is still $status" "aws cloudformation describe-change-set --change-set-name $CHANGE_SET"
        sleep 2
    done
}

# show_changes CHANGE-SET STACK [PREFIX]: one line for each resource that changes, through nested change sets; adds to CHANGES.
show_changes() {
    local prefix=${3:-} answer lines action nested id text physical
    request cloudformation describe-change-set --change-set-name "$1" --stack-name "$2" --output json
    # A nested stack that is only modified is as changed as what is in it; its own change set says so.
    lines=$(jq -r '.Changes[]?.ResourceChange
        | [.Action, (if .ResourceType == "AWS::CloudFormation::Stack" then .ChangeSetId // "-" else "-" end), .LogicalResourceId,
           "\(.ResourceType)" + (if (.Replacement // "False") != "False" then "  REPLACED: \(.Replacement)" else "" end)
           + ([.Details[]?.Target | select(.Attribute == "Properties") | .Name] | unique | if . == [] then "" else "  (\(join(", ")))" end),
           (.PhysicalResourceId // "-")] | @tsv' <<<"$answer")
    [ -n "$lines" ] || return 0
    while IFS=$'\t' read -r action nested id text physical; do
        if [ "$nested" != - ] && [ "$action" = Modify ]; then
            show_changes "$nested" "$physical" "$prefix$id/"
        else
            printf '  %-8s %s  %s\n' "$action" "$prefix$id" "$text" >&2
            CHANGES=$((CHANGES + 1))
            [ "$nested" = - ] || show_changes "$nested" "$physical" "$prefix$id/"
        fi
    done <<<"$lines"
}
