# shellcheck shell=bash
# Who is connected to the endpoint service of a stack. Sourced after lib.sh.

# AWS deletes no endpoint service to which somebody is connected; it says so after a while, and the fleet is half gone.
refuse_for_consumers() {
    local service connected
    service=$(output "$STACK" EndpointServiceId)
    [ -n "$service" ] || return 0
    attempt ec2 describe-vpc-endpoint-connections --filters "Name=service-id,Values=$service" --output json || { [ "$(fault)" = denied ] || no_answer "ec2 describe-vpc-endpoint-connections"; return 0; }
    connected=$(jq -r '[.VpcEndpointConnections[]? | select(.VpcEndpointState | ascii_downcase | test("^(available|pending|pendingacceptance)$"))] | if . == [] then empty else ([.[] | "\(.VpcEndpointId) of \(.VpcEndpointOwner)"] | join(", ")) + "\t" + ([.[].VpcEndpointId] | join(" ")) end' <<<"$answer")
    [ -z "$connected" ] || fail "consumers are connected to the endpoint service $service: ${connected%%$'\t'*}" "delete their endpoints first (cfn/destroy --design spoke, in their accounts), or cut them off: aws ec2 reject-vpc-endpoint-connections --service-id $service --vpc-endpoint-ids ${connected##*$'\t'}"
}
