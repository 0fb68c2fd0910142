# shellcheck shell=bash
# The container engine, and what needs one: building the image, and checking an access list with a latticegate that runs
# on this machine. Sourced after lib.sh.

# find_engine: sets ENGINE to one that answers; 1 where none does.
find_engine() {
    [ -z "${ENGINE:-}" ] || return 0
    local candidate
    for candidate in docker podman; do
        if command -v "$candidate" >/dev/null && "$candidate" ps -q >/dev/null 2>&1; then
            ENGINE=$candidate
            return 0
        fi
    done
    return 1
}

# need_builder: an engine that can build the image here, or the end of the script before anything is changed.
need_builder() {
    find_engine || fail "the image must be built, and neither docker nor podman answers" "start one of them (docker ps must work), or give --image repository@sha256:... of an image that is there already"
    [ "$ENGINE" != docker ] || docker buildx version >/dev/null 2>&1 ||
        fail "the image must be built, and docker has no buildx" "install the docker-buildx plugin (CloudShell and Docker Desktop have it), or podman"
}

# registry_login REPOSITORY-URI
registry_login() {
    request ecr get-login-password
    "$ENGINE" login --username AWS --password-stdin "${1%%/*}" <<<"$answer" >&2 || fail "$ENGINE cannot log in to ${1%%/*}" "see its message above"
}

# source_hash: of all that the image is made of, and nothing else. Access lists are left out: a fleet reads its list from S3.
source_hash() {
    local sum=sha256sum
    command -v sha256sum >/dev/null || sum='shasum -a 256'
    (
        cd "$REPO" || exit 1
        # shellcheck disable=SC2086 # a command and its option
        find Cargo.toml Cargo.lock .dockerignore src conf benches tests/invariants tests/model tests/support docker/Dockerfile \
            docker/build docker/sbom docs/reasons.md \
            -type f ! -path 'conf/*ipcontrol.yaml' ! -name .DS_Store | LC_ALL=C sort | tr '\n' '\0' | xargs -0 $sum | $sum | cut -c1-20
    )
}

# build_image arm64|amd64 TAG [TARGET]
build_image() {
    # An attestation makes an index of the image, which ECR's basic scanning does not read.
    BUILDX_NO_DEFAULT_ATTESTATIONS=1 "$ENGINE" build --platform "linux/$1" --file "$REPO/docker/Dockerfile" --tag "$2" ${3:+--target "$3"} "$REPO" >&2 ||
        fail "the image was not built" "see the messages of $ENGINE above; the build needs the internet (crates, Debian) and some GB of memory"
}

host_architecture() {
    case $(uname -m) in
    arm64 | aarch64) echo arm64 ;;
    *) echo amd64 ;;
    esac
}

# ---------- checking lists ----------

# is_latticegate COMMAND ...: it runs here, and is what it should be. The image of an arm64 fleet does not run on an x86-64
# machine: that is no reason to call a list invalid.
is_latticegate() { "$@" --version 2>/dev/null | grep -q '^latticegate '; }

# find_linter: sets LINTER (a binary) or LINTER_IMAGE: said, built, installed, in the image that runs, or built for this machine.
find_linter() {
    [ -z "${LINTER:-}${LINTER_IMAGE:-}" ] || return 0
    local candidate image
    if [ -n "${GATE_BINARY:-}" ]; then
        is_latticegate "$GATE_BINARY" || fail "GATE_BINARY=$GATE_BINARY does not run on this machine ($(uname -s) $(uname -m))" "name a latticegate built for it, or unset GATE_BINARY"
        LINTER=$GATE_BINARY
        return 0
    fi
    for candidate in "$REPO/target/release/latticegate" "$REPO/target/debug/latticegate" latticegate; do
        is_latticegate "$candidate" && LINTER=$candidate && return 0
    done
    find_engine || fail "no latticegate runs on this machine to check the list with, and neither docker nor podman answers" "start docker or podman, or: cargo build --release, or export GATE_BINARY"
    image=$(parameter "$STACK" Image)
    if [ -n "$image" ]; then
        registry_login "$image"
        is_latticegate "$ENGINE" run --rm --network none "$image" && LINTER_IMAGE=$image && return 0
        say "the image of the fleet does not run on this machine ($(uname -m))"
    fi
    need_builder
    image=latticegate-linter:$(host_architecture)-$(source_hash)
    if ! is_latticegate "$ENGINE" run --rm --network none "$image"; then
        say "building $image to check lists with, once (some minutes)"
        build_image "$(host_architecture)" "$image"
        is_latticegate "$ENGINE" run --rm --network none "$image" || fail "$image does not run on this machine" "export GATE_BINARY=a latticegate that does"
    fi
    LINTER_IMAGE=$image
}

# absolute FILE
absolute() { printf '%s/%s' "$(cd "$(dirname "$1")" && pwd)" "$(basename "$1")"; }

# in_container COMMAND FILE ...: the linter's command on copies of the files; its exit code. Copied, not mounted: the engine
# may live in a virtual machine, and the image's user may not read what is ours.
in_container() {
    local verb=$1 file code=0 container ports names=()
    shift
    ports=$(connect_ports)
    for file in "$@"; do names+=("/$(basename "$file")"); done
    container=$("$ENGINE" create --network none --env "LATTICEGATE_POLICY=${names[0]}" --env "LATTICEGATE_PROXY_PROTOCOL__TRUSTED=$TRUSTED" ${ports:+--env "LATTICEGATE_LISTENERS__0__CONNECT_PORTS=$ports"} \
        "$LINTER_IMAGE" "$verb" $([ "$verb" = check ] && printf '%s' "${CONFIGURATION:+--config /etc/latticegate/$CONFIGURATION}" || printf '%s\n' "${names[@]}")) || return 125
    for file in "$@"; do
        cat "$file" >"$SCRATCH/copy" && chmod 644 "$SCRATCH/copy"
        "$ENGINE" cp "$SCRATCH/copy" "$container:/$(basename "$file")" >/dev/null || code=125
    done
    [ "$code" -ne 0 ] || "$ENGINE" start --attach "$container" || code=$?
    "$ENGINE" rm --force "$container" >/dev/null || true
    return "$code"
}

# The list alone is judged; the networks are documentation addresses that stand for a real configuration.
TRUSTED=192.0.2.0/24

# connect_ports: those of the hub, if it has more than its file says: a rule for one of them is no mistake.
connect_ports() {
    local more
    more=$(parameter "$STACK" MoreConnectPorts)
    [ -z "$more" ] || printf '[443, %s]' "$more"
}

# check_policy FILE: the linter's own words. 0 valid, 1 invalid, anything else: it could not be checked. With the design's
# configuration: a rule may mean something else on a forward listener.
check_policy() {
    find_linter
    if [ -n "${LINTER:-}" ]; then
        (
            export LATTICEGATE_POLICY LATTICEGATE_PROXY_PROTOCOL__TRUSTED=$TRUSTED
            LATTICEGATE_POLICY=$(absolute "$1")
            ports=$(connect_ports)
            [ -z "$ports" ] || export LATTICEGATE_LISTENERS__0__CONNECT_PORTS="$ports"
            "$LINTER" check ${CONFIGURATION:+--config "$REPO/conf/$CONFIGURATION"}
        )
    else
        in_container check "$1"
    fi
}

# diff_policies OLD NEW: what the new list changes. OLD and NEW are named differently.
diff_policies() {
    find_linter
    if [ -n "${LINTER:-}" ]; then "$LINTER" diff "$1" "$2"; else in_container diff "$1" "$2"; fi
}
