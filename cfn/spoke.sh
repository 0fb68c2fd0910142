# shellcheck shell=bash
# Deploys the spoke of an egress hub: one template without parts, image or foundation. What AWS would refuse late (a zone that the
# hub does not have, a name that is not verified) is refused first. Sourced by deploy.

deploy_spoke() {
    [ -z "$plan$image$role" ] || fail "--plan, --image and --role are not for a spoke" "--dry-run shows what would be deployed"
    local service vpc zones_of_hub zone_ids domain verified accept
    service=$(value_of EndpointServiceName) vpc=$(value_of VpcId)
    [ -n "$service" ] || fail "EndpointServiceName is not set" "EndpointServiceName=com.amazonaws.vpce.REGION.vpce-svc-..., output EndpointServiceName of the hub (no hub yet: cfn/deploy --design egress)"
    [ -n "$vpc" ] || fail "VpcId is not set" "VpcId=vpc-..., the VPC that shall use the proxy"
    refuse_a_move
    look_up_service
    look_up_vpc_of_spoke
    look_up_subnets_of_spoke
    check_private_dns
    check_ssm
    refuse_wrong together
    announce_spoke
    deploy_stack "$STACK" --template-file "$HERE/$TEMPLATE" --capabilities CAPABILITY_IAM --parameter-overrides ${given[@]+"${given[@]}"} ${overrides[@]+"${overrides[@]}"}
    report_spoke
}

# A stack is the spoke of one VPC and one hub: with another one AWS makes the endpoint anew, and the VPC of the stack loses its way out.
refuse_a_move() {
    local key from to
    [ -n "$exists" ] || return 0
    for key in VpcId EndpointServiceName; do
        ! changes "$key" || fail "stack $STACK is a spoke already, with $key=$from: with $to its endpoint would be deleted, and whoever uses it would lose the way out" "a second spoke beside it: --stack $STACK-2 (any name that is free)"
    done
}

look_up_service() {
    case $service in
    *".$AWS_REGION."*) ;;
    *) fail "$service is in another region than $AWS_REGION" "export AWS_REGION=$(cut -d. -f4 <<<"$service"), and VPCs there; or a hub in $AWS_REGION" ;;
    esac
    attempt ec2 describe-vpc-endpoint-services --service-names "$service" --output json || {
        # AWS says the same of a service that is not there and of one that this account is not allowed to see.
        grep -q InvalidServiceName "$SCRATCH/errors" && fail "account $ACCOUNT does not see $service in $AWS_REGION: it does not exist, or its hub does not admit this account" "compare it with output EndpointServiceName of the hub (cfn/verify --design egress prints it; no hub yet: cfn/deploy --design egress). If it is the same, at the hub: cfn/deploy --design egress PrivateLinkPrincipals=arn:aws:iam::$ACCOUNT:root (with the principals that it has, comma-separated)"
        no_answer "ec2 describe-vpc-endpoint-services"
    }
    zones_of_hub=$(jq -r '.ServiceDetails[0].AvailabilityZones // [] | join(",")' <<<"$answer")
    zone_ids=$(jq -r '.ServiceDetails[0].AvailabilityZoneIds // [] | join(", ")' <<<"$answer")
    domain=$(jq -r '.ServiceDetails[0].PrivateDnsName // empty' <<<"$answer")
    verified=$(jq -r '.ServiceDetails[0].PrivateDnsNameVerificationState // empty' <<<"$answer")
    accept=$(jq -r '.ServiceDetails[0].AcceptanceRequired // false' <<<"$answer")
    [ -z "$domain" ] || set_unless_said PrivateDnsName "$domain"
}

look_up_vpc_of_spoke() {
    local cidrs i=0 cidr left
    request ec2 describe-vpcs --vpc-ids "$vpc" --output json
    cidrs=$(jq -r '.Vpcs[0].CidrBlockAssociationSet[]? | select(.CidrBlockState.State == "associated") | .CidrBlock' <<<"$answer")
    # Endpoints of Systems Manager answer for all of it, whoever may use the proxy.
    set_unless_said VpcCidrs "$(head -n 5 <<<"$cidrs" | csv)"
    if [ "$(effective TestInstance)-$(effective SsmEndpoints)" = on-create ] && ! said VpcCidrs >/dev/null; then
        [ "$(grep -c . <<<"$cidrs")" -le 5 ] || fail "$vpc has $(grep -c . <<<"$cidrs") networks, and VpcCidrs takes five: the endpoints of Systems Manager would answer for the others and not admit them" "VpcCidrs=... up to five networks that hold all of them, or SsmEndpoints=existing"
    fi
    if is_given ClientCidr1; then
        ! said ClientCidr1 >/dev/null || return 0
        left=$(from_template '[$vpc | list[] | . as $net | select(any($has | list[]; span | holds($net | span)) | not)] | join(", ")' --arg vpc "$(csv <<<"$cidrs")" --arg has "$(for i in 1 2 3; do effective "ClientCidr$i" && echo; done | csv)")
        [ -z "$left" ] || say "$vpc has networks that may not use the proxy: $left (ClientCidr2=..., ClientCidr3=... admit more)"
        return 0
    fi
    for cidr in $cidrs; do
        i=$((i + 1))
        if [ "$i" -le 3 ]; then set_if_absent "ClientCidr$i" "$cidr"; else say "$vpc has more networks: $cidr is not admitted (ClientCidr1-3, ClientSecurityGroupId)"; fi
    done
}

look_up_subnets_of_spoke() {
    local ids found wrong
    ids=$(value_of SubnetIds)
    if [ -z "$ids" ]; then
        request ec2 describe-subnets --filters "Name=vpc-id,Values=$vpc" --output json
        # In each zone of the hub the subnet with the most free addresses.
        found=$(jq -r --arg zones "$zones_of_hub" '($zones | split(",")) as $zones
            | [.Subnets[]? | select(.AvailabilityZone as $zone | $zones | index($zone))] | group_by(.AvailabilityZone) | map(max_by(.AvailableIpAddressCount // 0).SubnetId) | join(",")' <<<"$answer")
        [ -n "$found" ] || fail "$vpc has no subnet in the zones of the hub, which are ${zones_of_hub:-not known} here${zone_ids:+ ($zone_ids)}" "make a subnet in one of them, or deploy the hub in a zone of this VPC"
        set_unless_said SubnetIds "$found"
        say "subnets: $found"
        return 0
    fi
    # shellcheck disable=SC2086 # a list on purpose
    request ec2 describe-subnets --subnet-ids ${ids//,/ } --output json
    wrong=$(jq -r --arg zones "$zones_of_hub" --arg vpc "$vpc" '($zones | split(",")) as $zones
        | [.Subnets[] | select((.VpcId // $vpc) != $vpc) | "\(.SubnetId) is in \(.VpcId)"][0]
        // [.Subnets[] | select(.AvailabilityZone as $zone | $zones | index($zone) | not) | "\(.SubnetId) is in \(.AvailabilityZone), where the hub is not"][0]
        // ([.Subnets[]] | group_by(.AvailabilityZone)[] | select(length > 1) | "\(.[0].SubnetId) and \(.[1].SubnetId) are in one zone") // empty' <<<"$answer" | head -n 1)
    [ -z "$wrong" ] || fail "SubnetIds: $wrong" "one subnet of $vpc in each of $zones_of_hub${zone_ids:+ ($zone_ids)}, or omit SubnetIds"
}

# AWS refuses it for an endpoint that the hub has not accepted, or a name whose owner has not proven it.
check_private_dns() {
    local endpoint state
    [ "$(effective PrivateDns)" = on ] || return 0
    [ -n "$domain" ] || fail "PrivateDns=on, but the hub has no name" "at the hub: cfn/deploy --design egress PrivateLinkDnsName=proxy.example.com"
    [ "$verified" = verified ] || fail "PrivateDns=on, but AWS has not verified $domain ($verified)" "at the hub: cfn/verify --design egress shows the TXT record to publish"
    endpoint=$(output "$STACK" EndpointId)
    state=pendingAcceptance
    [ "$accept" = true ] || state=available
    if [ -n "$endpoint" ]; then
        request ec2 describe-vpc-endpoints --vpc-endpoint-ids "$endpoint" --query 'VpcEndpoints[0].State' --output text
        state=$answer
    fi
    [ "$state" = available ] || fail "PrivateDns=on, but the hub has not accepted ${endpoint:-the endpoint, which is not made yet}" "first without PrivateDns; then at the hub: $(accept_command "${endpoint:-vpce-...}"); then PrivateDns=on"
    check_dns_of_vpc PrivateDns=on
}
# check_dns_of_vpc WHY: private DNS of an endpoint needs both of the VPC; a VPC has host names only if somebody switched them on.
check_dns_of_vpc() {
    local attribute
    for attribute in enableDnsSupport enableDnsHostnames; do
        request ec2 describe-vpc-attribute --vpc-id "$vpc" --attribute "$attribute" --output json
        jq -e 'any(.[]; type == "object" and .Value == true)' <<<"$answer" >/dev/null || fail "$1, but $vpc has no $attribute" "aws ec2 modify-vpc-attribute --vpc-id $vpc --$(sed 's/\([A-Z]\)/-\1/g' <<<"$attribute" | tr '[:upper:]' '[:lower:]')"
    done
}
accept_command() { printf 'aws ec2 accept-vpc-endpoint-connections --service-id %s --vpc-endpoint-ids %s' "${service##*.}" "$1"; }

# A VPC has one endpoint with private DNS for each service of AWS.
check_ssm() {
    local own there
    [ "$(effective TestInstance)" = on ] && [ "$(effective SsmEndpoints)" = create ] || return 0
    own=$([ "$(parameter "$STACK" TestInstance)" = on ] && [ "$(parameter "$STACK" SsmEndpoints)" != existing ] && echo 1 || true)
    [ -z "$own" ] || return 0
    request ec2 describe-vpc-endpoints --filters "Name=vpc-id,Values=$vpc" --output json
    there=$(jq -r --arg region "$AWS_REGION" '[.VpcEndpoints[]? | select(.PrivateDnsEnabled) | .ServiceName | select(. == "com.amazonaws.\($region).ssm" or . == "com.amazonaws.\($region).ssmmessages")] | unique | join(", ")' <<<"$answer")
    [ -z "$there" ] || fail "$vpc has endpoints for $there already, and AWS refuses second ones" "SsmEndpoints=existing"
    check_dns_of_vpc "TestInstance=on with SsmEndpoints=create"
}

# The hub sees these addresses, and its load balancer admits private ones unless it was told otherwise: the connection would hang.
mention_clients() {
    local others
    others=$(from_template '[$clients | list[] | . as $net | select(any(("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"); span | holds($net | span)) | not)] | join(", ")' \
        --arg clients "$(for i in 1 2 3; do lookup_or_given "ClientCidr$i" && echo; done | csv)")
    [ -z "$others" ] || say "clients of $others: the hub admits 10/8, 172.16/12 and 192.168/16 unless its PrivateClientCidr1 ... say otherwise (or EnforcePrivateLinkSecurityGroup=off there); others hang"
}

announce_spoke() {
    mention_clients
    say "spoke: $STACK with ${given[*]-} ${overrides[*]-}"
    [ -z "$dry" ] || { say "nothing was changed" && exit 0; }
    confirm "$([ -n "$exists" ] && echo Update || echo Create) $STACK in account $ACCOUNT, $AWS_REGION?"
}

report_spoke() {
    local endpoint state
    describe "$STACK"
    endpoint=$(output "$STACK" EndpointId)
    of_stack "$STACK" '.Outputs[]? | "\(.OutputKey)\t\(.OutputValue)"'
    request ec2 describe-vpc-endpoints --vpc-endpoint-ids "$endpoint" --query 'VpcEndpoints[0].State' --output text
    state=$answer
    [ "$state" != pendingAcceptance ] || say "
The hub has to accept this endpoint, in its account:  $(accept_command "$endpoint")"
    say "
The list of the hub may name it:  via: $endpoint
In this VPC:  curl -x $(output "$STACK" ProxyUrl) https://checkip.amazonaws.com/"
}
