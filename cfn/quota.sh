# shellcheck shell=bash
# Fargate's vCPU quota against what a rolling update needs. Sourced after lib.sh.

QUOTA_NAME="Fargate On-Demand vCPU resource count"

# read_quota: sets QUOTA, in vCPU; empty where this account does not let it be read, which stops nothing.
read_quota() {
    QUOTA=
    if attempt service-quotas get-service-quota --service-code fargate --quota-code L-3032A538 --query Quota.Value --output text; then
        QUOTA=$answer
    elif [ "$(fault)" = absent ] && attempt service-quotas get-aws-default-service-quota --service-code fargate --quota-code L-3032A538 --query Quota.Value --output text; then
        QUOTA=$answer
    fi
    case $QUOTA in
    '' | *[!0-9.]*) QUOTA= ;;
    *) QUOTA=${QUOTA%.0} ;;
    esac
}

# judge_quota TASK-SIZE TASKS: sets NEEDED (old tasks and new ones stand side by side in a rolling update) and ENOUGH (yes, no,
# unknown), SHORTAGE and QUOTA_FIX.
judge_quota() {
    local vcpu=${1%%vCPU*}
    read_quota
    NEEDED=$(awk -v vcpu="$vcpu" -v tasks="$2" 'BEGIN { print 2 * tasks * vcpu }')
    ENOUGH=unknown
    [ -z "$QUOTA" ] || ENOUGH=$(awk -v needed="$NEEDED" -v quota="$QUOTA" 'BEGIN { print needed <= quota ? "yes" : "no" }')
    SHORTAGE="$QUOTA_NAME is $QUOTA in this region; $2 tasks of $vcpu vCPU need $NEEDED while an update replaces them"
    QUOTA_FIX="aws service-quotas request-service-quota-increase --service-code fargate --quota-code L-3032A538 --desired-value $(awk -v n="$NEEDED" 'BEGIN { print int(n + 0.999) }'), or a smaller TaskSize or MinTasks"
}
