#!/bin/bash
# make demo: a small cluster of real processes, a master that is killed, and
# its work that moves exactly once. DEMO_EXIT=1: check everything, say so by
# the exit code, and stop; otherwise the cluster stays up until Ctrl-C.
# REGISTRY=zookeeper, etcd, mysql or postgresql: not on the embedded registry, but
# on a server that is started for it and ends with it.
set -u
cd "$(dirname "$0")/../.." || exit 1
pelorus=$(realpath "${PELORUS:-build/pelorus}")
registry=${REGISTRY:-sqlite}
exit_at_end=${DEMO_EXIT:-0}

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
    bold=$'\e[1m' dim=$'\e[2m' green=$'\e[32m' red=$'\e[31m' yellow=$'\e[33m' blue=$'\e[36m' off=$'\e[0m'
else
    bold='' dim='' green='' red='' yellow='' blue='' off=''
fi
step() { printf '\n%s%s%s\n' "$bold$blue" "$*" "$off"; }
say() { printf '  %s\n' "$*"; }
good() { printf '  %s%s%s\n' "$green" "$*" "$off"; }
die() {
    printf '\n%sdemo failed: %s%s\n' "$bold$red" "$*" "$off" >&2
    tail -qn 15 "$dir"/{zookeeper,etcd,mysql,postgresql,coordinator}.log >&2 2>/dev/null
    exit 1
}

case $registry in
    sqlite) tools="curl jq" where="the embedded registry" ;;
    zookeeper) tools="curl jq python3 java" where="a ZooKeeper server" ;;
    etcd) tools="curl jq python3 etcd" where="an etcd server" ;;
    mysql) tools="curl jq python3 mariadb" where="a MariaDB server" ;;
    postgresql) tools="curl jq python3 psql" where="a PostgreSQL server" ;;
    *)
        echo "demo: REGISTRY=$registry is none that the demo can start; use sqlite, zookeeper, etcd, mysql or postgresql" >&2
        exit 2
        ;;
esac
for tool in $tools; do
    command -v $tool >/dev/null || { echo "demo: $tool is missing; run make deps" >&2; exit 1; }
done

dir=$(mktemp -d /tmp/pelorus-demo.XXXXXX)
declare -A pid=()
server=
cleanup() {
    trap - EXIT INT TERM
    for name in "${!pid[@]}"; do kill -TERM "${pid[$name]}" 2>/dev/null; done
    for name in "${!pid[@]}"; do wait "${pid[$name]}" 2>/dev/null; done
    # last: the others take leave of it
    [ -z "$server" ] || { kill -TERM "$server" && wait "$server"; } 2>/dev/null
    rm -rf "$dir"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

api() { curl -sS --max-time 10 "$@"; }
until_true() { # deadline in s, what, command...
    local by=$((SECONDS + $1)) what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $by ] || die "$what did not happen in time"
        read -rt 0.05 <> <(:) || :
    done
}

# A port that is free now: the usual one if possible.
port=7077
while (exec 3<>/dev/tcp/127.0.0.1/$port) 2>/dev/null; do port=$((port + 1)); done
url=http://127.0.0.1:$port
session=3 grace=0.5 late=0
case $registry in
    sqlite)
        block="{type: sqlite, path: $dir/registry.db, session-timeout: ${session}s}"
        ;;
    zookeeper)
        python3 tests/integration/zookeeper.py "$dir/zookeeper" >"$dir/connect" 2>"$dir/zookeeper.log" &
        server=$!
        until_true 30 "the start of ZooKeeper" test -s "$dir/connect"
        block="{type: zookeeper, zookeeper: {connect-string: \"$(cat "$dir/connect")\", session-timeout: ${session}s}}"
        ;;
    etcd)
        python3 tests/integration/etcd.py "$dir/etcd" >"$dir/endpoint" 2>"$dir/etcd.log" &
        server=$!
        until_true 30 "the start of etcd" test -s "$dir/endpoint"
        late=500 # it looks for leases that ran out every 500 ms
        block="{type: etcd, endpoints: \"$(cat "$dir/endpoint")\", ttl: ${session}s}"
        ;;
    mysql | postgresql)
        python3 tests/integration/sql.py "$registry" "$dir/server" >"$dir/connect" 2>"$dir/$registry.log" &
        server=$!
        until_true 60 "the start of the server" test -s "$dir/connect"
        read -r jdbc user <"$dir/connect"
        block="{type: jdbc, session-timeout: ${session}s, heartbeat-refresh-interval: 1s, hikari-config: {jdbc-url: \"$jdbc\", username: $user}}"
        ;;
esac
cat >"$dir/pelorus.yaml" <<YAML
listen: 127.0.0.1:$port
registry: $block
# The whole cluster shares this host: its load is no reason to pick nobody. The
# next heartbeats come 10 s after the first: no pick is between two of them.
balancer: {cpu-max: 1, memory-max: 1, disk-max: 1}
failover: {grace: 500ms}
YAML

step "1. A coordinator on $where"
"$pelorus" serve -c "$dir/pelorus.yaml" 2>"$dir/coordinator.log" &
pid[coordinator]=$!
ready() { # ours, not one that took the port at the same moment
    grep -q +pelorus "$dir/coordinator.log" && curl -sf "$url/readyz"
}
until_true 15 "the coordinator ready" ready
say "pelorus serve, process ${pid[coordinator]}, $url"

step "2. Two masters and three workers join, each a process with a session of its own"
agent() { # name kind port slots
    "$pelorus" agent --kind "$2" --address "127.0.0.1:$3" --slots "$4" -c "$dir/pelorus.yaml" >"$dir/$1.log" 2>&1 &
    pid[$1]=$!
}
agent master-1 master 5678 4
agent master-2 master 5679 4
agent worker-1 worker 1234 8
agent worker-2 worker 1235 16
agent worker-3 worker 1236 32
up() { [ "$(api "$url/v1/nodes?state=up" | jq '.items | length')" = 5 ]; }
until_true 15 "five nodes up" up
"$pelorus" nodes --url "$url" | sed 's/^/  /'

step "3. Which worker is best? Sixty times, between two heartbeats"
for _ in $(seq 60); do
    api "$url/v1/workers/best" | jq -r .address
done >"$dir/picks"
declare -A picks=()
for p in 1234 1235 1236; do picks[$p]=$(grep -c ":$p$" "$dir/picks"); done
for p in 1234 1235 1236; do
    slots=$(( p == 1234 ? 8 : p == 1235 ? 16 : 32 ))
    say "$(printf 'worker 127.0.0.1:%s  %2d slots  %2d picks  %s' $p $slots "${picks[$p]}" "$(printf '%*s' "${picks[$p]}" '' | tr ' ' '#')")"
done
[ $((picks[1234] + picks[1235] + picks[1236])) = 60 ] || die "sixty picks expected"
# Shares by capacity are 8.6, 17.1 and 34.3 of 60.
[ "${picks[1234]}" -ge 4 ] && [ "${picks[1234]}" -le 14 ] &&
    [ "${picks[1235]}" -ge 11 ] && [ "${picks[1235]}" -le 24 ] &&
    [ "${picks[1236]}" -ge 27 ] && [ "${picks[1236]}" -le 42 ] || die "picks do not follow capacity"
good "spread by capacity, although nobody reported in between"

step "4. Twelve pieces of work for the masters"
for i in $(seq 12); do
    api -X POST "$url/v1/work" -H 'Content-Type: application/json' \
        -d "{\"id\":\"order-$i\",\"kind\":\"master\",\"payload\":{\"number\":$i}}" |
        jq -e '.state == "assigned" and .epoch == 1' >/dev/null || die "work was not given out"
done
api "$url/v1/work?limit=100" >"$dir/before.json"
for m in 5678 5679; do
    say "master 127.0.0.1:$m owns $(jq "[.items[] | select(.owner == \"127.0.0.1:$m\")] | length" "$dir/before.json")"
done

victim=$(jq -r '[.items[].owner] | group_by(.) | max_by(length) | .[0]' "$dir/before.json")
name=master-1
[ "$victim" = 127.0.0.1:5679 ] && name=master-2
survivor=127.0.0.1:5678
[ "$victim" = $survivor ] && survivor=127.0.0.1:5679
lost=$(jq "[.items[] | select(.owner == \"$victim\")] | length" "$dir/before.json")

step "5. kill -9 $victim, which owns $lost of them"
killed=$(date +%s%3N)
kill -KILL "${pid[$name]}"
{ wait "${pid[$name]}"; } 2>/dev/null
unset "pid[$name]"
say "its session runs out after ${session}s, then ${grace}s of grace, then the coordinator takes the lock"
moved() {
    api "$url/v1/work?limit=100" >"$dir/after.json" &&
        [ "$(jq "[.items[] | select(.owner == \"$victim\")] | length" "$dir/after.json")" = 0 ] &&
        [ "$(jq '[.items[] | select(.state == "assigned")] | length' "$dir/after.json")" = 12 ]
}
until_true 20 "the move of its work" moved

last=$(jq -r '[.items[] | select(.epoch == 2) | .assigned_at] | max' "$dir/after.json")
took=$(($(date -d "$last" +%s%3N) - killed))
n=$(jq "[.items[] | select(.epoch == 2 and .owner == \"$survivor\")] | length" "$dir/after.json")
[ "$n" = "$lost" ] || die "$lost items should be at $survivor with epoch 2; $n are"
untouched=$(jq "[.items[] | select(.epoch == 1 and .owner == \"$survivor\")] | length" "$dir/after.json")
[ "$untouched" = $((12 - lost)) ] || die "other work moved, too"
good "all $lost are at $survivor with epoch 2; the other $untouched did not move"
say "from kill to last move: ${took} ms"
limit=$((session * 1000 + 500 + 1000 + late))
[ "$took" -le $limit ] || die "that is more than session timeout + grace + 1 s = $limit ms"
until_true 10 "the record of the failover" sh -c "curl -s $url/v1/failovers | jq -e '.items[0].state == \"done\"'"
"$pelorus" failover --url "$url" | sed 's/^/  /'

step "6. The dead master was only slow, and comes back with an old epoch?"
item=$(jq -r "[.items[] | select(.epoch == 2)][0].id" "$dir/after.json")
status=$(api -o "$dir/stale.json" -w '%{http_code}' -X DELETE "$url/v1/work/$item?epoch=1")
[ "$status" = 409 ] || die "a stale epoch must be refused with 409, not $status"
say "DELETE /v1/work/$item?epoch=1 -> ${yellow}409 $(jq -r .code "$dir/stale.json")${off}: it is $(jq -r .owner "$dir/stale.json")'s now, epoch $(jq -r .epoch "$dir/stale.json")"
status=$(api -o /dev/null -w '%{http_code}' -X DELETE "$url/v1/work/$item?epoch=2")
[ "$status" = 200 ] || die "the present epoch must be accepted, not answered with $status"
good "with epoch 2: 200, done"

if [ "$exit_at_end" = 1 ]; then
    step "Everything held."
    exit 0
fi
step "The cluster stays up until Ctrl-C. Try:"
say "export PELORUS_URL=$url"
say "${pelorus#"$PWD"/} nodes;  ${pelorus#"$PWD"/} work;  ${pelorus#"$PWD"/} best --explain"
say "kill -9 ${pid[worker-3]}   ${dim}# worker 127.0.0.1:1236${off}"
wait "${pid[coordinator]}"
