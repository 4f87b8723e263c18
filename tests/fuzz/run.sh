#!/bin/bash
# Fuzz targets: look for inputs with libFuzzer for SECONDS each (make fuzz), or
# with "replay" run those that are known (make check).
# New findings stand in build/fuzz/NAME; what is worth keeping goes into
# tests/fuzz/corpus/NAME.
cd "$(dirname "$0")/../.." || exit 1
build=${BUILD:-build}
passed=0 failed=0
targets=$(ls tests/fuzz/fuzz_*.c | sed 's,.*/fuzz_\(.*\)\.c,\1,')
if [ "${1:-}" = replay ]; then
    for t in $targets; do
        out=$("$build/tests/fuzz/fuzz_$t" "tests/fuzz/corpus/$t" 2>&1)
        rc=$?
        echo "$t: $out"
        [ $rc = 0 ] && passed=$((passed + 1)) || failed=$((failed + 1))
    done
    echo "$passed passed, $failed failed, 0 skipped"
    exit $((failed > 0))
fi
command -v clang >/dev/null || { echo "fuzz: clang is missing: apt-get install clang" >&2; exit 1; }
sources="$(ls base/*.c base/*/*.c conf/*.c balancer/*.c balancer/*/*.c cluster/renewals/*.c cluster/node.c) registry/call_check.c registry/etcd/wire.c registry/etcd/reply.c registry/etcd/stream.c"
for t in $targets; do
    mkdir -p "build/fuzz/$t"
    clang -std=c11 -D_GNU_SOURCE -I. -g -O1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all \
        $(pkg-config --cflags libuv yaml-0.1 libcurl) -o "build/fuzz/fuzz_$t" "tests/fuzz/fuzz_$t.c" $sources \
        $(pkg-config --libs libuv yaml-0.1 libcurl) -lpthread -lm || exit 1
    if "build/fuzz/fuzz_$t" -max_total_time="${SECONDS_EACH:-30}" -timeout=10 -rss_limit_mb=1024 -print_final_stats=1 \
        -artifact_prefix="build/fuzz/$t-" "build/fuzz/$t" "tests/fuzz/corpus/$t" >"build/fuzz/$t.log" 2>&1; then
        passed=$((passed + 1))
        echo "$t: $(grep -oE 'number_of_executed_units: [0-9]+' "build/fuzz/$t.log"), $(grep -oE 'cov: [0-9]+' "build/fuzz/$t.log" | tail -1)"
    else
        failed=$((failed + 1))
        echo "$t: found something"
        tail -40 "build/fuzz/$t.log"
    fi
done
echo "$passed passed, $failed failed, 0 skipped"
exit $((failed > 0))
