#!/bin/bash
# The house: every header compiles alone, and calls that we do not make are not
# made. Who may use whom: rooms.py.
# Ends with "N passed, N failed, N skipped".
cd "$(dirname "$0")/.." || exit 1
passed=0 failed=0
check() { # name, what was found wrong (empty: nothing)
    if [ -z "$2" ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        printf '%s:\n%s\n' "$1" "$2"
    fi
}

rooms=$(sed -n 's/^ROOMS *:= *//p' Makefile)
sources=$(find $rooms -name '*.[ch]' 2>/dev/null | sort)
headers=$(echo "$sources" | grep '\.h$')

wrong=$(for h in $headers; do
    echo "#include \"$h\"" |
        ${CC:-gcc} ${CFLAGS:--std=c11 -D_GNU_SOURCE -I.} -Werror -Wno-unused-macros -fsyntax-only -x c - 2>&1 | head -3
done)
check "every header compiles alone" "$wrong"

wrong=$(grep -nwE '(strcpy|strcat|sprintf|vsprintf|atoi|atol|strtok|rand|srand|gettimeofday|sleep|usleep|gets|alloca) ?\(' $sources | grep -vE ':[[:space:]]*(/?\*|//)')
check "no call that cannot say how it failed" "$wrong"
wrong=$(grep -nwE '(malloc|calloc|realloc|strdup|strndup|free) ?\(' $sources | grep -v '^base/mem\.c' | grep -vE ':[[:space:]]*(/?\*|//)')
check "memory comes from base/mem.h" "$wrong"
pure=$(ls {cluster,cluster/renewals,work,balancer,tests/lib/memory}/*.c registry/diff.c failover/{failover,decide,write,names,brake,plan}.c failover/engine/collect.c) || failed=$((failed + 1))
wrong=$(grep -nE 'clock_gettime|clock_mono_ms\(|clock_wall_ms\(|clock_read\(' $pure)
check "pure parts read no clock" "$wrong"
wrong=$(for f in $sources $(find tests -name '*.[ch]'); do
    n=$(wc -l <"$f")
    [ "$n" -le 500 ] || head -30 "$f" | grep -qi 'lines\|long' || echo "  $f: $n lines, and its head does not say why"
done)
check "no file over 500 lines without a reason" "$wrong"
wrong=$(for f in $(echo "$headers" | grep -v _priv); do
    n=$(wc -l <"$f")
    [ "$n" -le 150 ] || head -50 "$f" | grep -qi 'lines\|long' || echo "  $f: $n lines, and its head does not say why"
done)
check "no public header over 150 lines without a reason" "$wrong"
wrong=$(awk '/^{/ { from = FNR } /^}/ { if (from && FNR - from > 61) print "  " FILENAME ":" from ": " FNR - from - 1 " lines"; from = 0 }' $(echo "$sources" | grep '\.c$'))
check "no function over 60 lines" "$wrong"
wrong=$(for f in $sources $(find tests -name '*.[ch]'); do
    head -1 "$f" | grep -q '^/\*' || echo "  $f"
done)
check "every file says what it is for" "$wrong"

echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" = 0 ]
