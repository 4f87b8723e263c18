#!/bin/sh
# PostgreSQL 15.18 (Debian 12: postgresql-15, postgresql-client-15 and libpq5
# 15.18-0+deb12u1).
#
# A standby that was promoted is on a new timeline at once: pg_promote() has
# returned, pg_is_in_recovery() is false, it writes, and pg_walfile_name() of
# where it writes says so. pg_control_checkpoint().timeline_id, which is asked for
# "the timeline" by many a check, tells the old one until the first checkpoint
# has ended; that is asked for without haste and takes minutes where there is
# much to write. So for minutes the new primary looks like the old one, and two
# primaries have the same timeline.
# (Pelorus asks for the name of the file that is written to.)
#
# Seen:
# promoted: control 1, written to 2 | 5 s later: control 1, written to 2 | after CHECKPOINT: control 2, written to 2
set -eu
packages="postgresql-15=15.18-0+deb12u1 postgresql-client-15=15.18-0+deb12u1 libpq5=15.18-0+deb12u1"
dir=$(mktemp -d)
stop() {
    for pid in "$dir"/data/*/postmaster.pid; do
        [ ! -s "$pid" ] || kill -QUIT "$(head -n 1 "$pid")" 2>/dev/null || :
    done
    sleep 1
    rm -rf "$dir"
}
trap stop EXIT
trap 'exit 1' INT TERM

# All into a folder of our own: these, and what they need and is not there.
mkdir -p "$dir/debs/partial" "$dir/root" "$dir/data"
apt-get install -qq -y --no-install-recommends --download-only -o Dir::Cache::archives="$dir/debs" \
    -o Debug::NoLocking=1 -o APT::Sandbox::User=root --allow-downgrades $packages >/dev/null 2>&1 || :
(cd "$dir/debs" && apt-get download -qq -o APT::Sandbox::User=root $packages)
for deb in "$dir"/debs/*.deb; do
    dpkg-deb -x "$deb" "$dir/root"
done
bin=$dir/root/usr/lib/postgresql/15/bin
export LD_LIBRARY_PATH="$dir/root/usr/lib/$(uname -m)-linux-gnu" LC_ALL=C
as=
if [ "$(id -u)" = 0 ]; then # it does not run as root
    chown 65534:65534 "$dir/data"
    chmod 755 "$dir"
    as="setpriv --reuid=65534 --regid=65534 --clear-groups --"
fi
cd "$dir/data"

ask() { # port, statement
    "$bin/psql" -X -q -A -t -h "$dir/data" -p "$1" -U p postgres -c "$2"
}
start() { # name, port
    $as "$bin/pg_ctl" -D "$dir/data/$1" -o "-p $2 -k $dir/data -h ''" -w -t 60 -l "$dir/data/$1.log" start >/dev/null
}

$as "$bin/initdb" -D "$dir/data/a" -U p --auth=trust --no-sync >/dev/null 2>&1
start a 5001
$as "$bin/pg_basebackup" -h "$dir/data" -p 5001 -U p -D "$dir/data/b" -R -X stream -c fast --no-sync
start b 5002
# something to write for that first checkpoint
ask 5001 "CREATE TABLE t AS SELECT generate_series(1, 300000) AS n, repeat('x', 100) AS v"
at=$(ask 5001 "SELECT pg_current_wal_lsn()")
i=0
until [ "$(ask 5002 "SELECT pg_last_wal_replay_lsn() >= '$at'")" = t ]; do
    i=$((i + 1))
    [ $i -lt 600 ] || { echo "the standby: not within 60 s" >&2; exit 1; }
    sleep 0.1
done
[ "$(ask 5002 "SELECT pg_promote()")" = t ]
told() {
    ask 5002 "SELECT 'control ' || timeline_id || ', written to ' || ltrim(substr(pg_walfile_name(
              pg_current_wal_insert_lsn()), 1, 8), '0') FROM pg_control_checkpoint() WHERE NOT pg_is_in_recovery()"
}
promoted=$(told)
sleep 5
later=$(told)
ask 5002 CHECKPOINT
said="promoted: $promoted | 5 s later: $later | after CHECKPOINT: $(told)"
echo "$said"
[ "$said" = "promoted: control 1, written to 2 | 5 s later: control 1, written to 2 | after CHECKPOINT: control 2, written to 2" ]
