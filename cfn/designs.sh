# shellcheck shell=bash
# The designs that the scripts deploy: one root template each, of the same parts. Sourced by lib.sh.
#
#   lattice     from outside AWS into VPC Lattice (root.yaml), the default
#   egress      an explicit proxy with an allow list: the way out for many VPCs (egress-hub.yaml)
#   spoke       the endpoint of such a hub in a VPC (egress-spoke.yaml)
#   endpoints   remote networks to S3 and other services through VPC endpoints (endpoint-proxy.yaml)
#   isolated    containers in a VPC without any way to the internet (isolated.yaml)

# As --design says; else as the running stack says (know_design).
DESIGN=${DESIGN:-}

# settle_design: the name is one of a design, and the stack is called after it unless --stack or STACK says otherwise.
settle_design() {
    case $DESIGN in
    '' | lattice | egress | spoke | endpoints | isolated) ;;
    *) fail "there is no design $DESIGN" "--design lattice, egress, spoke, endpoints or isolated" ;;
    esac
    case $DESIGN in
    '' | lattice) STACK=${STACK:-latticegate} ;;
    *) STACK=${STACK:-latticegate-$DESIGN} ;;
    esac
}

# publish_first: the command by which a list that is gone comes back.
publish_first() {
    # What is shipped has the names of us-east-1.
    if [ "$DESIGN" = endpoints ]; then
        printf 'cfn/deploy --stack %s publishes the first one, with the names of %s' "$STACK" "$AWS_REGION"
    else
        printf 'cfn/publish-policy --stack %s %s' "$STACK" "${FIRST_LIST:-conf/ipcontrol.yaml}"
    fi
}

# know_design: from the running stack, which is read by then. Sets DESIGN, and what follows from it: TEMPLATE, the root;
# CONFIGURATION, the file of conf/ that its tasks read; FIRST_LIST, the access list that a new fleet gets.
know_design() {
    local running
    running=$(output "$STACK" Design)
    # What was deployed before there were designs. A stack that was never there has no outputs.
    [ -n "$running" ] || [ -z "$(output "$STACK" ClusterName)" ] || running=lattice
    # One that failed has none either.
    [ -n "$running" ] || case $(of_lines "$STACK" description) in
    '') ;;
    'latticegate: '*) running=lattice ;;
    'latticegate egress hub: '*) running=egress ;;
    'latticegate egress spoke: '*) running=spoke ;;
    'latticegate endpoint proxy: '*) running=endpoints ;;
    'latticegate isolated: '*) running=isolated ;;
    *) fail "stack $STACK is none of these designs: $(of_lines "$STACK" description)" "--stack OTHER: this one is left alone" ;;
    esac
    [ -z "$running" ] || [ -z "$DESIGN" ] || [ "$running" = "$DESIGN" ] ||
        fail "stack $STACK is of the design $running, not $DESIGN" "--stack OTHER, or omit --design"
    DESIGN=${running:-${DESIGN:-lattice}}
    CONFIGURATION='' FIRST_LIST=''
    case $DESIGN in
    lattice) TEMPLATE=root.yaml FIRST_LIST=conf/ipcontrol.yaml ;;
    egress) TEMPLATE=egress-hub.yaml CONFIGURATION=egress.yaml FIRST_LIST=conf/start.ipcontrol.yaml ;;
    spoke) TEMPLATE=egress-spoke.yaml ;;
    endpoints) TEMPLATE=endpoint-proxy.yaml CONFIGURATION=vpc-endpoints.yaml FIRST_LIST=conf/vpc-endpoints.ipcontrol.yaml ;;
    isolated) TEMPLATE=isolated.yaml ;;
    *) fail "stack $STACK is of a design $DESIGN, which these scripts do not know" "use those of a newer release" ;;
    esac
}
