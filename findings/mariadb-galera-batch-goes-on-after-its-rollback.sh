#!/bin/sh
# MariaDB 10.11.19 with Galera 26.4.23 (Debian 12: mariadb-server-core and
# mariadb-client-core 1:10.11.19-0+deb12u1, galera-4 26.4.23-0+deb12u1).
#
# One request of several statements (CLIENT_MULTI_STATEMENTS), a transaction
# from BEGIN to COMMIT. In the middle of it, within a statement that touches no
# table, another node commits a row that the transaction has changed: it gives
# way and is rolled back, which is right, but no statement says so (1213). The
# rest of the request is carried out, each statement for itself and committed at
# once, and may even be carried out twice. So a client is told that all went
# well, and half of its transaction is gone; or is told that it failed, and half
# of it stands. The same statements sent one by one end with error 1213, and
# nothing stands.
# (Pelorus sends statements to Galera one by one, and tries again after 1213.)
#
# Seen:
# together: told: done | stands: 100 after
# together: told: ERROR 1062 (23000) at line 1: Duplicate entry '1' for key 'PRIMARY' | stands: 100 after
# one by one: told: ERROR 1213 (40001) at line 1: Deadlock found when trying to get lock; try restarting transaction | stands: 100
set -eu
packages="mariadb-server-core=1:10.11.19-0+deb12u1 mariadb-client-core=1:10.11.19-0+deb12u1
 galera-4=26.4.23-0+deb12u1"
dir=$(mktemp -d)
trap 'kill -9 $(cat "$dir"/*/pid 2>/dev/null) 2>/dev/null || :; wait; rm -rf "$dir"' EXIT
trap 'exit 1' INT TERM

# All into a folder of our own: these, and what they need and is not there.
mkdir -p "$dir/debs/partial" "$dir/root"
apt-get install -qq -y --no-install-recommends --download-only -o Dir::Cache::archives="$dir/debs" \
    -o Debug::NoLocking=1 -o APT::Sandbox::User=root --allow-downgrades $packages >/dev/null 2>&1 || :
(cd "$dir/debs" && apt-get download -qq -o APT::Sandbox::User=root $packages)
for deb in "$dir"/debs/*.deb; do
    dpkg-deb -x "$deb" "$dir/root"
done
usr=$dir/root/usr
export PATH="$usr/sbin:$usr/bin:$PATH" LD_LIBRARY_PATH="$usr/lib/$(uname -m)-linux-gnu"

# Both nodes begin with copies of one directory: who joins has what it asks for.
cat >"$dir/wsrep_sst_copied" <<'SH'
#!/bin/sh
while [ $# -gt 0 ]; do
    case $1 in
    --role) role=$2 ;;
    --gtid) gtid=$2 ;;
    esac
    shift
done
if [ "$role" = joiner ]; then
    echo "ready 127.0.0.1:1"
    while [ ! -s "$TRANSFER" ]; do sleep 0.1; done
    cat "$TRANSFER"
else
    echo "$gtid" >"$TRANSFER.new"
    mv "$TRANSFER.new" "$TRANSFER"
    echo "done $gtid"
fi
SH
chmod +x "$dir/wsrep_sst_copied"
export PATH="$dir:$PATH" TRANSFER="$dir/transfer"
ports=$(shuf -i 20000-31999 -n 6)
port() { echo "$ports" | sed -n "$1p"; }

run() { # node, options of the client; statements on its standard input
    at=$1
    shift
    mariadb --no-defaults --skip-ssl -h 127.0.0.1 -P "$(port "$at")" -u root -N -B "$@" 2>&1 | grep -vx -- '-*' | tr '\n\t' '  '
}
wait_for() { # what, a command
    i=0
    until eval "$2"; do
        i=$((i + 1))
        [ $i -lt 600 ] || { echo "$1: not within 60 s" >&2; exit 1; }
        sleep 0.1
    done
}
synced() { [ "$(echo "SHOW STATUS LIKE 'wsrep_local_state_comment'" | run "$1")" = "wsrep_local_state_comment Synced " ]; }
start() { # node, more options
    n=$1
    shift
    provider="gmcast.listen_addr=tcp://127.0.0.1:$(port $((n + 2)));base_host=127.0.0.1;base_port=$(port $((n + 2)))"
    provider="$provider;ist.recv_addr=127.0.0.1:$(port $((n + 4)));gcache.size=8M"
    mariadbd --no-defaults --basedir="$usr" --user="$(id -un)" --datadir="$dir/$n/data" --socket="$dir/$n/socket" \
        --pid-file="$dir/$n/pid" --bind-address=127.0.0.1 --port="$(port "$n")" --skip-name-resolve \
        --innodb-log-file-size=16M --binlog-format=ROW --innodb-autoinc-lock-mode=2 --wsrep-on=ON \
        --wsrep-provider="$usr"/lib/galera/libgalera_smm.so --wsrep-node-address=127.0.0.1 \
        --wsrep-cluster-address="gcomm://127.0.0.1:$(port 3),127.0.0.1:$(port 4)" \
        --wsrep-provider-options="$provider" --wsrep-sst-method=copied "$@" >"$dir/$n/log" 2>&1 &
    wait_for "node $n" "synced $n"
}

mkdir "$dir/1" "$dir/2"
mariadb-install-db --no-defaults --basedir="$usr" --user="$(id -un)" --auth-root-authentication-method=normal --skip-test-db \
    --skip-name-resolve --innodb-log-file-size=16M --datadir="$dir/1/data" >/dev/null 2>&1
start 1 --wsrep-new-cluster
echo "CREATE DATABASE d; SHUTDOWN" | run 1
wait_for "the end of node 1" '! kill -0 $! 2>/dev/null'
cp -R "$dir/1/data" "$dir/2/data"
start 1 --wsrep-new-cluster
start 2

# A request at node 1, in the middle of which node 2 commits: what was told, and
# what stands.
try() { # options of the client, statements
    echo "DROP TABLE IF EXISTS pair, log; CREATE TABLE pair(id int PRIMARY KEY, v int);
          CREATE TABLE log(what varchar(20)); INSERT INTO pair VALUES(1, 0)" | run 1 d
    echo "SET wsrep_sync_wait = 7; SELECT * FROM pair" | run 2 d >/dev/null
    echo "$2" | run 1 $1 d >"$dir/told" &
    client=$!
    wait_for "the statement in the middle" "echo 'SHOW PROCESSLIST' | run 1 | grep -q 'DO SLEEP(3)\|User sleep'"
    echo "UPDATE pair SET v = 100" | run 2 d
    wait $client
    echo "told: $(sed 's/.*\(ERROR\)/\1/' "$dir/told")| stands: $(
        echo 'SET wsrep_sync_wait = 7; SELECT v FROM pair; SELECT DISTINCT what FROM log' | run 1 d)"
}

middle="UPDATE pair SET v = v + 1 WHERE id = 1; DO SLEEP(3); INSERT INTO log VALUES('after')"
again="INSERT INTO pair VALUES(1, 1)"
together=$(try --delimiter=// "BEGIN; $middle; COMMIT; SELECT 'done'//")
refused=$(try --delimiter=// "BEGIN; $middle; $again; COMMIT; SELECT 'done'//")
single=$(try "" "BEGIN; $middle; $again; COMMIT; SELECT 'done';")
printf 'together: %s\ntogether: %s\none by one: %s\n' "$together" "$refused" "$single"
case $together in "told: done | stands: 100 after "*) ;; *) exit 1 ;; esac
case $refused in "told: ERROR 1062 "*"Duplicate entry"*"| stands: 100 after "*) ;; *) exit 1 ;; esac
case $single in "told: ERROR 1213 "*"| stands: 100 ") ;; *) exit 1 ;; esac
