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
    # The command says so of whatever ended its wait: a stack that failed, credentials that expired, an hour that was over.
    grep -qE 'Failed to create/update the stack|Waiter Stack[A-Za-z]+ failed' "$SCRATCH/errors" || no_answer "cloudformation deploy of $stack"
    forget "$stack"
    after_failed_wait "$stack"
}

# after_failed_wait STACK: what became of a deployment that aws no longer waits for, by asking anew. Returns where it succeeded.
after_failed_wait() {
    local status then="cfn/verify --stack $STACK"
    [ "$1" = "$STACK" ] || then="run this again"
    attempt cloudformation describe-stacks --stack-name "$1" --output json || {
        [ "$(fault)" = absent ] || say "The deployment of $1 has begun and goes on without this script. When AWS answers again: aws cloudformation wait $(waiter) --stack-name $1, then $then"
        no_answer "cloudformation describe-stacks"
    }
    status=$(jq -r '.Stacks[0].StackStatus // empty' <<<"$answer")
    case $status in
    CREATE_COMPLETE | UPDATE_COMPLETE)
        say "aws stopped waiting, but $1 is $status"
        return 0
        ;;
    *ROLLBACK_IN_PROGRESS | *ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS) show_causes "$1" && fail "stack $1 failed and is being rolled back ($status)" "the lines above name the first causes; wait (aws cloudformation wait $(waiter "$status") --stack-name $1), remove them, then run cfn/deploy again" ;;
    *_IN_PROGRESS) fail "stack $1 is still under way ($status); aws stopped waiting for it" "aws cloudformation wait $(waiter "$status") --stack-name $1 (again, if it gives up: CloudFormation may wait for three hours), then $then" ;;
    *ROLLBACK_COMPLETE) show_causes "$1" && fail "stack $1 failed and was rolled back" "the lines above name the first causes; remove them, then run cfn/deploy again" ;;
    *) show_causes "$1" && fail "stack $1 failed and is ${status:-gone}" "the lines above name the first causes; cfn/deploy again says what this state needs" ;;
    esac
}
show_causes() {
    say "the first causes:"
    why_failed "$1" || true
}
# waiter [STATUS]: the name of the one that waits for the end of what is going on.
waiter() {
    case ${1:-$([ -n "${exists:-}" ] && echo UPDATE || echo CREATE)} in
    UPDATE_ROLLBACK_*) echo stack-rollback-complete ;;
    CREATE* | REVIEW* | ROLLBACK*) echo stack-create-complete ;;
    DELETE*) echo stack-delete-complete ;;
    *) echo stack-update-complete ;;
    esac
}

# same_as_running STACK TEMPLATE PARAMETERS-JSON: nothing differs, so no deployment is needed. The template names its nested ones by
# the hash of their contents, so its text stands for all of them. A root with nested stacks never makes an empty change set.
same_as_running() {
    request cloudformation get-template --stack-name "$1" --template-stage Original --query TemplateBody --output json
    jq -e --rawfile wanted "$2" 'type == "string" and rtrimstr("\n") == ($wanted | rtrimstr("\n"))' <<<"$answer" >/dev/null || return 1
    describe "$1"
    jq -e --slurpfile wanted "$3" '(.Stacks[0].Parameters // [] | map({(.ParameterKey): .ParameterValue}) | add // {}) as $running
        | all($wanted[0][]; .UsePreviousValue or $running[.ParameterKey] == .ParameterValue)' "$DESCRIBED" >/dev/null
}

# parameters_json STACK NAMES PAIR ...: for create-change-set: the pairs, and what the stack has as far as NAMES (the
# template's) still holds it.
parameters_json() {
    local names=$2
    describe "$1"
    shift 2
    jq -n --arg names "$names" --slurpfile stack "$DESCRIBED" '
            ([$ARGS.positional[] | index("=") as $i | {(.[:$i]): {ParameterKey: .[:$i], ParameterValue: .[$i + 1:]}}] | add // {}) as $given
            | ([$stack[0].Stacks[0].Parameters[]?.ParameterKey | select(. as $key | ($names | split("\n") | index($key)) and ($given | has($key) | not))]
               | map({ParameterKey: ., UsePreviousValue: true})) + [$given[]]' --args "$@"
}

# make_change_set STACK TEMPLATE-URL PARAMETERS-FILE CREATE|UPDATE|TEXT [ROLE]: sets CHANGE_SET. 1: AWS made none, with the reason
# in `answer`. Nested stacks are included where there is something to compare with; TEXT is an update that does not look into them.
make_change_set() {
    local stack=$1 kind=$4 nested='' role=${5:-} status deadline=$((SECONDS + ${CHANGE_SET_PATIENCE:-600}))
    [ "$kind" != UPDATE ] || nested=--include-nested-stacks
    [ "$kind" != TEXT ] || kind=UPDATE
    request cloudformation create-change-set --stack-name "$stack" --change-set-name "cfn-deploy-$(date -u +%Y%m%dT%H%M%SZ)-$$-$RANDOM" \
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
