# shellcheck shell=bash
# What a task sees from inside: latticegate doctor by ECS Exec, where that is on. Sourced by cfn/verify.

look_from_inside() {
    local cluster service task line fault='' summary='' doctor='/latticegate doctor --config /etc/latticegate/latticegate.yaml'
    [ "$(of_parameter_or_default EnableExec)" = true ] || return 0
    cluster=$(output "$STACK" ClusterName)
    service=$(output "$STACK" ServiceName)
    glance "the tasks" ecs list-tasks --cluster "$cluster" --service-name "$service" --desired-status RUNNING --query 'taskArns[0]' --output text || return 0
    task=$answer
    # That none runs has been said.
    case $task in '' | None) return 0 ;; esac
    set -- ecs execute-command --cluster "$cluster" --task "$task" --container latticegate --interactive --command
    # ECS Exec is made for people: without a terminal its plugin ends before the command does.
    if ! command -v session-manager-plugin >/dev/null || ! [ -t 0 ]; then
        unseen "what a task sees from inside: ECS Exec needs session-manager-plugin and a terminal; by hand: aws $* '$doctor'"
        return 0
    fi
    glance "what a task sees from inside" "$@" "$doctor" || return 0
    while IFS= read -r line; do
        case $line in
        fail\ *) fault=${line#fail } ;;
        '      help: '*)
            [ -z "$fault" ] || wrong "from inside:$fault" "${line#      help: }"
            fault=
            ;;
        warn\ *) unseen "from inside:${line#warn }" ;;
        [0-9]*\ pass,*) summary=$line ;;
        esac
    done < <(tr -d '\r' <<<"$answer")
    if [ -n "$summary" ]; then
        good "a task was examined from inside: $summary"
    else
        unseen "what a task sees from inside: latticegate doctor was not heard to its end"
    fi
}
