#!/bin/sh
# planted.sh - would the simulator notice? For each mistake of
# base/planted.h the program is built with it and seeds are run until one
# fails, at most PLANTED_SEEDS. A mistake that no seed shows is a failure. Those
# of PLANTED_IN_GROUPS, PLANTED_IN_PUTS and PLANTED_FORGETTING a unit test is to
# notice: tests/unit/test_removal, test_coordinator_renewals and test_forget.
#
#     BUILD=build tests/sim/planted.sh [BUG...]
#
# BUILD holds libpelorus.a and the objects of the tests, built by the Makefile.
set -u
cd "$(dirname "$0")/../.." || exit 1
BUILD=${BUILD:-build}
CC=${CC:-gcc}
SEEDS=${PLANTED_SEEDS:-2000}
LIBRARIES="libuv libmicrohttpd libcjson yaml-0.1 sqlite3 libmariadb libpq libcurl"
PLANTED_CFLAGS=${PLANTED_CFLAGS:--std=c11 -D_GNU_SOURCE -I. -g -O2 $(pkg-config --cflags $LIBRARIES)}
LIBS="$(pkg-config --libs $LIBRARIES) -lpthread -lm"
in_groups=$(sed -n 's/^ *Y(\([A-Z_]*\)).*/\1/p' base/planted.h)
in_puts=$(sed -n 's/^ *W(\([A-Z_]*\)).*/\1/p' base/planted.h)
forgetting=$(sed -n 's/^ *Z(\([A-Z_]*\)).*/\1/p' base/planted.h)
bugs=${*:-$(sed -n 's/^ *X(\([A-Z_]*\)).*/\1/p' base/planted.h) $in_groups $in_puts $forgetting}
TEST_LIBS="$LIBS -lcjson -lcmocka -ldl"
passed=0
failed=0

# Only what asks planted() is built anew: its objects come before the archive's.
anew=$(grep -rl --include='*.c' 'planted(PLANTED_' $(sed -n 's/^ROOMS *:= *//p' Makefile) tests/lib/memory)
objects_of() {
    for source; do
        case $source in
        tests/sim/test_*) continue ;;
        esac
        echo "$anew" | grep -qx "$source" || echo "$BUILD/${source%.c}.o"
    done
}
memory=$(objects_of tests/lib/memory/*.c)
objects="$(objects_of tests/sim/*.c) $memory"

build() {
    dir=$BUILD/planted/$1
    rm -rf "$dir" && mkdir -p "$dir"
    echo "$anew" | xargs -P "$(nproc)" -I{} sh -c \
        '$0 $1 -DPELORUS_PLANTED=PLANTED_$2 -c -o "$3/$(echo "${4%.c}" | tr / -).o" "$4"' \
        "$CC" "$PLANTED_CFLAGS" "$1" "$dir" {} || return 1
    case " $(echo $in_groups) / $(echo $in_puts) / $(echo $forgetting) " in
    *" $1 "*"/"*"/"*)
        $CC -o "$dir/sim" "$dir"/*.o "$BUILD/tests/unit/test_removal.o" $memory "$BUILD/libpelorus.a" $TEST_LIBS
        ;;
    *"/"*" $1 "*"/"*)
        $CC -o "$dir/sim" "$dir"/*.o "$BUILD/tests/unit/test_coordinator_renewals.o" $memory "$BUILD/libpelorus.a" $TEST_LIBS
        ;;
    *" $1 "*)
        $CC -o "$dir/sim" "$dir"/*.o "$BUILD/tests/unit/test_forget.o" "$BUILD"/tests/unit/engine_world*.o $memory \
            "$BUILD/libpelorus.a" $TEST_LIBS
        ;;
    *)
        $CC -o "$dir/sim" "$dir"/*.o $objects "$BUILD/libpelorus.a" $LIBS
        ;;
    esac
}

for bug in $bugs; do
    if ! build "$bug"; then
        echo "FAILED  $bug does not build" >&2
        failed=$((failed + 1))
        continue
    fi
    begin=$(date +%s.%N)
    "$BUILD/planted/$bug/sim" --seeds "$SEEDS" --until-failure \
        >"$BUILD/planted/$bug/out" 2>"$BUILD/planted/$bug/err"
    found=$?
    took=$(awk -v a="$begin" -v b="$(date +%s.%N)" 'BEGIN { printf "%.1f", b - a }')
    if [ "$found" -eq 0 ]; then
        echo "FAILED  $bug: $SEEDS seeds, or the test, did not notice it ($took s)"
        failed=$((failed + 1))
        continue
    fi
    passed=$((passed + 1))
    seeds=$(sed -n 's/^\([0-9]*\) seeds from .*/\1/p' "$BUILD/planted/$bug/out")
    what=$(sed -n 's/^seed [0-9]*: //p' "$BUILD/planted/$bug/err" | head -1)
    if [ -n "$seeds" ]; then
        echo "found   $bug after $seeds seeds ($took s): $what"
    else
        what=$(sed -n 's/^\[  FAILED  \] \([a-z_]*\)$/\1/p' "$BUILD/planted/$bug/err" | sort -u | tr '\n' ' ')
        echo "found   $bug ($took s): $what"
    fi
done
echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ]
