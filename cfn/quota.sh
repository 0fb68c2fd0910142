# shellcheck shell=bash
# Fargate's vCPU quotas against what a rolling update needs. Sourced after lib.sh and parameters.sh.

# tasks_of TASKS SPOT-SHARE BASE: sets ON_DEMAND and SPOT, how many of the tasks are of each kind at most: the base, and of the rest
# the share, rounded up for both.
tasks_of() {
    local base=$(($3 < $1 ? $3 : $1))
    SPOT=$(((($1 - base) * $2 + 99) / 100))
    ON_DEMAND=$((base + (($1 - base) * (100 - $2) + 99) / 100))
}

# vcpu_of TASK-SIZE TASKS: what these tasks use.
vcpu_of() { awk -v vcpu="${1%%vCPU*}" -v tasks="$2" 'BEGIN { print vcpu * tasks }'; }

# read_quota CODE CLASS: sets QUOTA and IN_USE (the most of the last hour), in vCPU; each empty where this account does not let it
# be read, which stops nothing.
read_quota() {
    QUOTA='' IN_USE=''
    if attempt service-quotas get-service-quota --service-code fargate --quota-code "$1" --query Quota.Value --output text; then
        QUOTA=$answer
    elif [ "$(fault)" = absent ] && attempt service-quotas get-aws-default-service-quota --service-code fargate --quota-code "$1" --query Quota.Value --output text; then
        QUOTA=$answer
    fi
    case $QUOTA in
    '' | *[!0-9.]*) QUOTA= && return 0 ;;
    esac
    QUOTA=${QUOTA%.0}
    if attempt cloudwatch get-metric-statistics --namespace AWS/Usage --metric-name ResourceCount --dimensions Name=Service,Value=Fargate Name=Type,Value=Resource Name=Resource,Value=vCPU "Name=Class,Value=Standard/$2" \
        --start-time "$(jq -nr 'now - 3600 | todate')" --end-time "$(jq -nr 'now | todate')" --period 3600 --statistics Maximum --output json; then
        IN_USE=$(jq -r '[.Datapoints[]?.Maximum] | max // empty' <<<"$answer")
    fi
}

# judge_quota OnDemand|Spot TASK-SIZE TASKS [SIZE TASKS of the running fleet]: sets QUOTA_NAME, NEEDED (old tasks and new ones stand
# side by side in a rolling update), ENOUGH (yes, no, unknown), SHORTAGE, QUOTA_FIX, and PART: what is known of other use.
judge_quota() {
    local code others=0
    case $1 in
    OnDemand) code=L-3032A538 QUOTA_NAME="Fargate On-Demand vCPU resource count" ;;
    Spot) code=L-36FBB829 QUOTA_NAME="Fargate Spot vCPU resource count" ;;
    esac
    read_quota "$code" "$1"
    NEEDED=$(vcpu_of "$2" $((2 * $3)))
    PART=" (the whole of it: what other tasks use is not known)"
    if [ -n "$IN_USE" ]; then
        others=$(awk -v all="$IN_USE" -v own="$(vcpu_of "${4:-0}" "${5:-0}")" 'BEGIN { print (all > own ? all - own : 0) }')
        PART=", other tasks use $others"
    fi
    ENOUGH=unknown
    [ -z "$QUOTA" ] || ENOUGH=$(awk -v needed="$NEEDED" -v others="$others" -v quota="$QUOTA" 'BEGIN { print (needed + others <= quota ? "yes" : "no") }')
    SHORTAGE="$QUOTA_NAME is $QUOTA in this region$PART; $3 tasks of ${2%%vCPU*} vCPU need $NEEDED while an update replaces them"
    QUOTA_FIX="aws service-quotas request-service-quota-increase --service-code fargate --quota-code $code --desired-value $(awk -v n="$NEEDED" -v others="$others" 'BEGIN { n += others; print int(n) + (n > int(n)) }'), or a smaller TaskSize or MinTasks"
}
