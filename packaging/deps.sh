#!/bin/sh
# packaging/deps.sh [WHAT...]: install what is missing for
#   build       the program itself, and its demo on the embedded registry
#   zookeeper, etcd, mysql, postgresql: a server of that registry, for the demo
#   lint        the tools of make lint
#   bench       what make bench runs and measures beside
#   fuzz        the compiler of make fuzz
#   interop     what make interop builds and runs other servers with
#   check       what building and the servers take, and what the tests use beside it
# Without a word: check. Debian only; on other systems it says which packages
# are meant and lets the compiler decide.
set -eu

build="gcc make pkg-config curl jq util-linux
 libuv1-dev libmicrohttpd-dev libyaml-dev libsqlite3-dev
 libmariadb-dev libpq-dev libcurl4-openssl-dev uthash-dev
 libzookeeper-st-dev"
zookeeper="python3 default-jre-headless zookeeper libslf4j-java libzookeeper-mt2"
etcd="python3 etcd-server"
mysql="python3 mariadb-server-core mariadb-client-core"
postgresql="python3 postgresql"
check="ca-certificates libcjson-dev libcmocka-dev galera-4 pgbouncer libcurator-recipes-java
 default-jdk-headless etcd-client openssl python3-venv spin valgrind wrk"
bench="libcurator-recipes-java default-jdk-headless nginx-light wrk"
interop="ca-certificates golang-go mariadb-client-core python3 maven
 default-jdk-headless openssl stunnel4"
lint="clang-tidy cppcheck clang-format"
fuzz="clang libclang-rt-14-dev"

packages=
for what in "${@:-check}"; do
    case $what in
    build | sqlite) packages="$packages $build" ;;
    zookeeper) packages="$packages $build $zookeeper" ;;
    etcd) packages="$packages $build $etcd" ;;
    mysql) packages="$packages $build $mysql" ;;
    postgresql) packages="$packages $build $postgresql" ;;
    check) packages="$packages $build $zookeeper $etcd $mysql $postgresql $check" ;;
    bench) packages="$packages $build $zookeeper $etcd $mysql $postgresql $bench" ;;
    interop) packages="$packages $build $interop" ;;
    lint) packages="$packages $build $lint" ;;
    fuzz) packages="$packages $build $fuzz" ;;
    *)
        echo "pelorus: deps.sh: $what is none of build, zookeeper, etcd, mysql, postgresql, bench, interop, lint, fuzz, check" >&2
        exit 2
        ;;
    esac
done
packages=$(printf '%s\n' $packages | awk '!seen[$0]++')

if ! command -v dpkg-query >/dev/null 2>&1; then
    echo "pelorus: this is no Debian system; install the equivalents of:" $packages >&2
    exit 0
fi

missing=
for p in $packages; do
    state=$(dpkg-query -W -f '${Status}' "$p" 2>/dev/null || true)
    [ "$state" = "install ok installed" ] || missing="$missing $p"
done
[ -n "$missing" ] || exit 0

root=
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null 2>&1 || {
        echo "pelorus: missing packages:$missing" >&2
        echo "pelorus: run as root: apt-get install$missing" >&2
        exit 1
    }
    root=sudo
fi

echo "installing:$missing"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT
install_all() {
    $root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y --no-install-recommends $missing >"$log" 2>&1
}
install_all || { $root apt-get update >"$log" 2>&1 && install_all; } || {
    cat "$log" >&2
    echo "pelorus: apt-get could not install:$missing" >&2
    exit 1
}
