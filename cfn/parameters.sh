# shellcheck shell=bash
# The parameters of the design's root template ($TEMPLATE): what is given, what the stack has, what the template says of them, and
# whether it can be deployed with them. Sourced after lib.sh.

# As NAME=VALUE: of the command line, and looked up or made by the script.
given=() overrides=()

# from_template FILTER [jq arguments]: with the functions of parameters.jq and the text of the root as $template.
from_template() {
    local filter=$1
    shift
    jq -n -r -L "$HERE" --rawfile template "$HERE/$TEMPLATE" "$@" "include \"parameters\"; $filter"
}

# known: the file of what the root has, a line NAME=DEFAULT for each parameter.
known() {
    [ -f "$SCRATCH/known" ] || from_template '$template | specification | to_entries[] | "\(.key)=\(.value.Default // "")"' >"$SCRATCH/known"
    printf '%s' "$SCRATCH/known"
}
template_default() { value_in "$(known)" "$1" || true; }
# knows KEY: the template has this parameter.
knows() { value_in "$(known)" "$1" >/dev/null; }

# said KEY: what the command line says, which may be nothing; 1 where it does not speak of KEY. The last word counts.
said() {
    local pair found=1 value=
    for pair in ${given[@]+"${given[@]}"}; do
        [ "${pair%%=*}" != "$1" ] || { value=${pair#*=} && found=0; }
    done
    printf '%s' "$value"
    return $found
}
# value_of KEY: what the command line says, else what the running stack has. effective KEY: else the template's default.
value_of() { said "$1" || parameter "$STACK" "$1"; }
effective() {
    local value
    value=$(value_of "$1")
    if [ -z "$value" ] && ! said "$1" >/dev/null; then value=$(template_default "$1"); fi
    printf '%s' "$value"
}
is_given() { said "$1" >/dev/null || [ -n "$(parameter "$STACK" "$1")" ]; }
# set_if_absent KEY VALUE: where neither command line nor stack has it. set_unless_said: what follows from another parameter.
set_unless_said() { if knows "$1" && ! said "$1" >/dev/null; then overrides+=("$1=$2"); fi; }
set_if_absent() { is_given "$1" || set_unless_said "$1" "$2"; }

# read_pairs: `given` names what the template has, each value in one line.
check_names() {
    local pair near
    for pair in ${given[@]+"${given[@]}"}; do
        knows "${pair%%=*}" || {
            # What is longer or shorter than a name, or in other letters.
            near=$(cut -d= -f1 "$(known)" | awk -v wanted="${pair%%=*}" '{ a = tolower($0) } index(a, tolower(wanted)) || index(tolower(wanted), a)' | tr '\n' ' ')
            fail "cfn/$TEMPLATE has no parameter ${pair%%=*}" "${near:+perhaps ${near% }; }the names: $(cut -d= -f1 "$(known)" | tr '\n' ' ')"
        }
        case $pair in
        *$'\n'*) fail "${pair%%=*} has several lines" "one line" ;;
        esac
    done
}

# refuse_wrong values|together: ends the script where CloudFormation would refuse the parameters, or a part of the fleet fail by
# them: before anything is made. `values`: each by itself. `together`: by the template's rules too, once all are looked up.
refuse_wrong() {
    local found
    {
        describe "$STACK"
        sed -n 's/^parameter //p' "$DESCRIBED.lines"
        printf '%s\n' ${given[@]+"${given[@]}"} ${overrides[@]+"${overrides[@]}"}
    } >"$SCRATCH/values"
    found=$(from_template '$values | refusals($template; $all)' --rawfile values "$SCRATCH/values" --argjson all "$([ "$1" = together ] && echo true || echo false)")
    [ -z "$found" ] || {
        sed 1d <<<"$found" | sed 's/^/also: /; s/\t/: /' >&2
        found=$(head -n 1 <<<"$found")
        fail "${found%%$'\t'*}" "${found#*$'\t'}"
    }
}
