# shellcheck shell=bash
# Prefix lists that AWS manages. Sourced after lib.sh.

# prefix_list NAME: its id in `answer`, or nothing.
prefix_list() {
    request ec2 describe-managed-prefix-lists --filters "Name=prefix-list-name,Values=$1" --query 'PrefixLists[0].PrefixListId' --output text
    [ "$answer" != None ] || answer=
}

# networks_of ID: its networks in `answer`, comma-separated.
networks_of() {
    request ec2 get-managed-prefix-list-entries --prefix-list-id "$1" --output json
    answer=$(jq -r '[.Entries[]?.Cidr] | sort | join(",")' <<<"$answer")
    [ -n "$answer" ] || fail "the prefix list $1 has no networks" "aws ec2 get-managed-prefix-list-entries --prefix-list-id $1"
}
