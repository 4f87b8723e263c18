#!/bin/bash
# Run every suite, side by side where nothing is timed and one by one where
# something is, each with a deadline and a log of its own; close with one line
# "N passed, N failed, N skipped". A suite is a cmocka program, or a script
# whose last line has that form. A suite that crashes, hangs or runs no test
# has failed.
#
# BUILD: the build tree. SAN: address or thread when it is a sanitized one;
# then suites that do not run our own code are left to the plain run.
# ONLY=pattern: just the suites whose name matches.
cd "$(dirname "$0")/.." || exit 1
export BUILD=${BUILD:-build} SAN=${SAN:-} PELORUS
PELORUS=$(realpath "$BUILD/pelorus")
logs=$BUILD/check
rm -rf "$logs" && mkdir -p "$logs"

reports=$(realpath "$logs")/report
export ASAN_OPTIONS="detect_leaks=1:abort_on_error=0:log_path=$reports"
export UBSAN_OPTIONS="print_stacktrace=1:log_path=$reports"
export TSAN_OPTIONS="halt_on_error=0:exitcode=66:log_path=$reports:suppressions=$PWD/tests/lib/tsan.supp"
export LSAN_OPTIONS="print_suppressions=0:log_path=$reports:suppressions=$PWD/tests/lib/lsan.supp"

count() { # log, exit code -> "passed failed skipped"
    awk -v rc="$2" '
        /^\[  PASSED  \] [0-9]+ test\(s\)/ { p += $4 }
        /^\[  FAILED  \] [0-9]+ test\(s\)/ { f += $4 }
        /^\[  SKIPPED \] [0-9]+ test\(s\)/ { s += $4 }
        /^[0-9]+ passed, [0-9]+ failed/ { lp = $1; lf = $3; ls = $5 }
        END {
            p += lp; f += lf; s += ls
            if (rc != 0 && f == 0) f = 1
            if (p + f == 0) f = 1
            print p + 0, f + 0, s + 0
        }' "$1"
}
export -f count

run_suite() { # "deadline command..."
    local deadline=${1%% *} command=${1#* } name log rc started result
    name=$(echo "$command" | tr -c 'A-Za-z0-9_\n' '-' | sed "s/^$(echo "$BUILD" | tr -c 'A-Za-z0-9_\n' '-')-//; s/^tests-//; s/-\(sh\|py\)\b//; s/-*$//" | cut -c1-60)
    log=$BUILD/check/$name.log
    [ -z "${ONLY:-}" ] || [[ $name =~ $ONLY ]] || return 0
    [ -z "$SAN" ] || deadline=$((deadline * 4))
    # Debian's ZooKeeper client has no frame pointers: whose its leaks are shows
    # by whole stacks only.
    [[ $name != *zookeeper* ]] || ASAN_OPTIONS="$ASAN_OPTIONS:fast_unwind_on_malloc=0"
    started=$(date +%s)
    timeout -k 10 "$deadline" bash -c "$command" >"$log" 2>&1 </dev/null
    rc=$?
    result=$(count "$log" $rc)
    echo "$name $result" >>"$BUILD/check/results"
    set -- $result
    printf '%-52s %5d passed %3d failed  %3d s\n' "$name" "$1" "$2" $(($(date +%s) - started))
    if [ "$2" != 0 ]; then
        [ $rc -lt 124 ] || echo "    exit $rc: killed at its deadline of $deadline s, or by a signal"
        # A script's FAIL is followed by what it has to say.
        awk '/^\[  FAILED|^\[   LINE|error|Error|assert|violation|^not ok/ || (/FAIL/ && (more = 12)) || more-- > 0' "$log" |
            head -40 | cut -c1-400 | sed 's/^/    /'
        echo "    see $log"
    fi
}
export -f run_suite

suites() {
    if [ -z "$SAN" ]; then
        echo "900 tests/model/run.sh"
        echo "1500 tests/sim/planted.sh"
        echo "120 tests/house.sh"
        echo "60 tests/rooms.py"
        echo "60 tests/bench/placement/readme.py --check"
        echo "60 tests/bench/bench.py --check"
        echo "60 tests/bench/readme.py --check"
        # valgrind cannot read what clang writes for debuggers
        [[ ${CC:-} == *clang* ]] || echo "300 tests/bench/guard/guard.py"
    fi
    echo "600 $BUILD/tests/sim/sim --seeds $([ -n "$SAN" ] && echo 150 || echo 1000)"
    echo "300 tests/fuzz/run.sh replay"
    for t in "$BUILD"/tests/registry/test_* "$BUILD"/tests/unit/test_* "$BUILD"/tests/sim/test_* "$BUILD"/tests/bench/placement/test_*; do
        [ -x "$t" ] && [ "${t%.[od]}" = "$t" ] && echo "240 $t"
    done
}
# Whole processes, which wait for one another's timeouts most of the time: the
# longest come first, so that none of them is left running at the end.
waiting_suites() {
    for t in doctor upgrade renewals refusals zookeeper zookeeper_quorum jdbc restore_zookeeper galera hook; do
        echo "600 python3 tests/integration/test_$t.py"
    done
    for t in tests/integration/test_*.py; do
        is_alone "$t" || echo "600 python3 $t"
    done
}
# What has the machine for itself: figures, and servers that lose their quorum
# for good when they do not run for a second.
alone=" accept etcd_scale failover speed zookeeper_faults zookeeper_scale "
is_alone() { # tests/integration/test_NAME.py
    local name=${1##*/test_}
    [[ $alone == *" ${name%.py} "* ]]
}
alone_suites() {
    echo "240 $BUILD/tests/bench/live/test_live"
    for t in $alone; do
        # speed is measured on the plain program only
        [ -n "$SAN" ] && [ "$t" = speed ] || echo "600 python3 tests/integration/test_$t.py"
    done
}

started=$(date +%s)
run_suites() { # how many side by side; the suites on standard input
    xargs -d '\n' -P "$1" -I{} bash -c 'run_suite "$1"' _ {}
}
suites | run_suites $(($(nproc) + 1))
waiting_suites | awk '!seen[$0]++' | run_suites 2
alone_suites | run_suites 1

read -r passed failed skipped < <(awk '{ p += $2; f += $3; s += $4 } END { print p + 0, f + 0, s + 0 }' "$logs/results")
n=$(find "$logs" -name 'report.*' | wc -l)
if [ "$n" != 0 ]; then
    echo "$n sanitizer reports:"
    find "$logs" -name 'report.*' | head -3 | xargs -n1 head -40
    failed=$((failed + n))
fi
[ $((passed + failed)) != 0 ] || { echo "no suite was run"; failed=1; }
echo "in $(($(date +%s) - started)) s"
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ] && [ "$skipped" = 0 ]
