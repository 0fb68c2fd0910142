# shellcheck shell=bash
# What an existing VPC has: its networks, its subnets, and the AWS endpoints that others made there. Nothing is changed.
# Sourced after lib.sh and parameters.sh.

look_up_existing_vpc() {
    local vpc kind wanted without_ipv6= all
    vpc=$(value_of ExistingVpcId)
    request ec2 describe-vpcs --vpc-ids "$vpc" --output json
    all=$(jq -r '[.Vpcs[0] | (.CidrBlockAssociationSet[]? | select(.CidrBlockState.State == "associated") | .CidrBlock), (.Ipv6CidrBlockAssociationSet[]? | select(.Ipv6CidrBlockState.State == "associated") | .Ipv6CidrBlock)] | join(",")' <<<"$answer")
    vpc_cidrs=$(jq -r '[.Vpcs[0].CidrBlockAssociationSet[]? | select(.CidrBlockState.State == "associated") | .CidrBlock] | join(",")' <<<"$answer")
    for kind in Public Private Endpoint; do
        [ -n "$(value_of "Existing${kind}SubnetIds")" ] || continue
        look_up_subnets "$kind" "$vpc"
        # Only where the load balancer, or the endpoints of Lattice, would have IPv6.
        case $kind in
        Public) wanted=$(effective PublicClientIpv6Cidr) ;;
        Private) wanted=$(effective PrivateClientIpv6Cidr) ;;
        Endpoint) wanted=$([ "$(effective LatticeAccess)" != ENDPOINTS ] || echo yes) ;;
        esac
        [ -z "$wanted" ] || jq -e '[.Subnets[] | any(.Ipv6CidrBlockAssociationSet[]?; .Ipv6CidrBlockState.State == "associated")] | all' <<<"$answer" >/dev/null ||
            without_ipv6="$without_ipv6 $kind"
    done
    if ! knows AwsEndpoints; then
        # Never dialled; those of IPv6 are public addresses. Whatever was added since stays out as well.
        set_unless_said ExistingVpcCidrs "$all"
        look_at_way_out "$vpc"
        return 0
    fi
    if [ -n "$without_ipv6" ] && ! is_given IpAddressType; then
        say "subnets without IPv6 addresses (Existing…SubnetIds:$without_ipv6): IpAddressType=ipv4"
        set_if_absent IpAddressType ipv4
    fi
    check_aws_endpoints "$vpc"
    admit_vpc "$vpc"
}

# look_at_way_out VPC: a hub's tasks need a route to a NAT gateway; and names for which the VPC has endpoints lead to private
# addresses, which the proxy never dials.
look_at_way_out() {
    local subnet way named
    request ec2 describe-route-tables --filters "Name=vpc-id,Values=$1" --output json
    IFS=$'\t' read -r subnet way < <(jq -r --arg subnets "$(value_of ExistingPrivateSubnetIds)" '.RouteTables as $tables
        | [($subnets | split(","))[] as $subnet
           | ([$tables[] | select(any(.Associations[]?; .SubnetId == $subnet))] + [$tables[] | select(any(.Associations[]?; .Main))] | first) as $table
           | [$table.Routes[]? | select(.DestinationCidrBlock == "0.0.0.0/0" and .State != "blackhole") | .GatewayId // "another"] as $ways
           | [$subnet, if $ways == [] then "none" elif any($ways[]; startswith("igw-")) then "igw" else empty end] | select(length == 2)]
        | sort_by(.[1]) | first // empty | @tsv' <<<"$answer") || true
    case $way in
    igw) fail "ExistingPrivateSubnetIds: the route of $subnet to 0.0.0.0/0 is an internet gateway, which tasks cannot use: they have no public address" "subnets whose route leads to a NAT gateway" ;;
    none) ask_about "$subnet has no route to 0.0.0.0/0: tasks there reach neither ECR nor the internet, and the deployment is rolled back." ;;
    esac
    request ec2 describe-vpc-endpoints --filters "Name=vpc-id,Values=$1" --output json
    named=$(jq -r '[.VpcEndpoints[]? | select(.PrivateDnsEnabled) | .ServiceName] | unique | join(", ")' <<<"$answer")
    [ -z "$named" ] || say "$1 has endpoints for $named: these names lead to private addresses there, which the proxy refuses (destination_forbidden); clients name them in no_proxy"
}

# look_up_subnets KIND VPC: their CIDRs, where other subnets are named than the stack has, or none were known. What somebody
# has set beside the same subnets stays. Leaves the subnets in `answer`.
look_up_subnets() {
    local key=Existing$1SubnetIds ids cidrs has twice
    ids=$(value_of "$key")
    # shellcheck disable=SC2086 # a list on purpose
    request ec2 describe-subnets --subnet-ids ${ids//,/ } --output json
    twice=$(jq -r --arg vpc "$2" '[.Subnets[] | select((.VpcId // $vpc) != $vpc) | "\(.SubnetId) is in \(.VpcId)"][0]
        // ([.Subnets[] | select(.AvailabilityZoneId)] | group_by(.AvailabilityZoneId)[] | select(length > 1) | "\(.[0].SubnetId) and \(.[1].SubnetId) are in one zone") // empty' <<<"$answer" | head -n 1)
    [ -z "$twice" ] || fail "$key: $twice" "one subnet of $2 in each zone"
    # What may be dialled includes the IPv6 addresses of the endpoints.
    cidrs=$(jq -r --arg kind "$1" '[.Subnets[] | .CidrBlock, (select($kind == "Endpoint") | .Ipv6CidrBlockAssociationSet[]? | select(.Ipv6CidrBlockState.State == "associated") | .Ipv6CidrBlock)] | join(",")' <<<"$answer")
    has=$(parameter "$STACK" "Existing$1SubnetCidrs")
    if [ -z "$has" ] || [ "$ids" != "$(parameter "$STACK" "$key")" ]; then
        set_unless_said "Existing$1SubnetCidrs" "$cidrs"
    elif [ "$has" != "$cidrs" ] && ! said "Existing$1SubnetCidrs" >/dev/null; then
        say "Existing$1SubnetCidrs stays $has; the subnets have $cidrs (Existing$1SubnetCidrs=$cidrs takes that)"
    fi
}

# services PREFIX: the AWS services, one a line, for which a stack with these parameters makes endpoints; PREFIX is the command
# that gives a parameter.
services() {
    local endpoints exec_too=
    endpoints=$("$1" AwsEndpoints)
    [ "$("$1" EnableExec)" != true ] || exec_too=ssmmessages
    case $endpoints in
    create) printf '%s\n' ecr.api ecr.dkr logs s3 $exec_too ;;
    create:*) tr ',' '\n' <<<"${endpoints#create:}" ;;
    esac
    "$1" MoreAwsEndpoints | tr ',' '\n'
}
of_the_stack() { parameter "$STACK" "$1"; }
# csv: of lines, without empty ones.
csv() { { grep . || true; } | sort -u | tr '\n' ',' | sed 's/,$//'; }
# minus LINES LINES, both LINES LINES
minus() { grep -vxF "$2" <<<"$1" || true; }
both() { grep -xF "$2" <<<"$1" || true; }

# An interface endpoint with private DNS applies to the whole VPC, and a VPC can have only one for each service: what to do
# in a VPC with other workloads cannot be guessed.
check_aws_endpoints() {
    local vpc=$1 value there own others needed missing twice more fix
    value=$(value_of AwsEndpoints)
    request ec2 describe-vpc-endpoints --filters "Name=vpc-id,Values=$vpc" --output json
    there=$(jq -r --arg region "$AWS_REGION" --arg tables "$(value_of ExistingPrivateRouteTableIds)" '
        ($tables | split(",")) as $tables
        | .VpcEndpoints[]? | select(.PrivateDnsEnabled or (.VpcEndpointType == "Gateway" and any(.RouteTableIds[]?; . as $t | $tables | index($t))))
        | .ServiceName | select(startswith("com.amazonaws.\($region).")) | ltrimstr("com.amazonaws.\($region).")' <<<"$answer" | sort -u)
    own='-'
    [ "$(parameter "$STACK" ExistingVpcId)" != "$vpc" ] || own=$(services of_the_stack | grep . || echo -)
    # What the stack makes already, its own endpoints among them, stays.
    others=$(minus "$there" "$own")
    needed=$(printf '%s\n' ecr.api ecr.dkr logs s3)
    [ "$(effective EnableExec)" != true ] || needed=$(printf '%s\n' "$needed" ssmmessages)
    missing=$(minus "$needed" "${others:--}" | csv)
    fix="AwsEndpoints=create:$missing AwsServicesEgressCidr=${vpc_cidrs%%,*} (its own endpoints must admit the private subnets)"
    [ -n "$(minus "$needed" "${others:--}" | grep -vx s3)" ] || fix="AwsEndpoints=existing AwsServicesEgressCidr=${vpc_cidrs%%,*} (its own endpoints must admit the private subnets)"
    if [ -z "$value" ]; then
        [ -n "$(both "$needed" "${others:--}")" ] || fix="with NAT: AwsEndpoints=existing AwsServicesEgressCidr=0.0.0.0/0; without: AwsEndpoints=create, endpoints that then answer for every workload of $vpc"
        there=$(both "$needed" "${others:--}" | csv)
        fail "AwsEndpoints is not set; $vpc has endpoints for ${there:-none of $(csv <<<"$needed" | sed 's/,/, /g')}" "$fix"
    fi
    twice=$(both "$(services effective)" "${others:--}" | csv)
    [ -n "$twice" ] || return 0
    more=$(effective MoreAwsEndpoints)
    [ -z "$(both "$(tr ',' '\n' <<<"$more")" "${others:--}")" ] || fix="MoreAwsEndpoints=$(minus "$(tr ',' '\n' <<<"$more")" "$others" | csv); $fix"
    fail "AwsEndpoints=$value${more:+, MoreAwsEndpoints=$more}$([ "$(effective EnableExec)" != true ] || echo ", EnableExec=true"), but $vpc has endpoints for $twice already, and AWS refuses second ones" "$fix"
}

# admit_vpc VPC: the endpoints that are made answer for the whole VPC, so they admit all of it, and the networks that somebody
# added before.
admit_vpc() {
    local all count
    [ -n "$(services effective | grep -vx s3 | grep .)" ] || return 0
    if said ExistingVpcCidrs >/dev/null; then
        all=$(from_template '[$vpc | list[] | . as $net | select(any($said | list[]; select(is_cidr) | span | holds($net | span)) | not)] | join(", ")' --arg said "$(said ExistingVpcCidrs)" --arg vpc "$vpc_cidrs")
        [ -z "$all" ] || say "ExistingVpcCidrs does not hold $all of $1: workloads there lose the services whose endpoints are made"
        return 0
    fi
    all=$(from_template '[$has, $vpc | list[]] | united | join(",")' --arg has "$(parameter "$STACK" ExistingVpcCidrs)" --arg vpc "$vpc_cidrs")
    count=$(tr ',' '\n' <<<"$all" | grep -c .)
    [ "$count" -le 5 ] || fail "$1 and the networks added before are $count CIDRs, and ExistingVpcCidrs takes five: $all" "ExistingVpcCidrs=... up to five networks that hold all of them"
    set_unless_said ExistingVpcCidrs "$all"
}
