#!/bin/sh
# Install what building and testing needs, if it is missing. Debian only; on
# other systems say which packages are meant and let the compiler decide.
set -eu

packages="gcc make pkg-config ca-certificates curl jq python3
 libuv1-dev libmicrohttpd-dev libcjson-dev libyaml-dev libsqlite3-dev
 libmariadb-dev libpq-dev libcurl4-openssl-dev libsystemd-dev uthash-dev
 libcmocka-dev mariadb-server-core mariadb-client-core galera-4 postgresql
 pgbouncer libzookeeper-mt-dev zookeeper libcurator-recipes-java
 default-jdk-headless libslf4j-java etcd-server etcd-client openssl spin wrk util-linux"

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
