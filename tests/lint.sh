#!/bin/bash
# clang-tidy and cppcheck over the rooms named, or over all (make lint):
# tests/lint.sh failover registry; clang-format over everything. All must be
# silent.
cd "$(dirname "$0")/.." || exit 1
for tool in clang-tidy cppcheck clang-format; do
    command -v "$tool" >/dev/null || { echo "lint: $tool is missing: apt-get install clang-tidy cppcheck clang-format" >&2; exit 1; }
done
[ $# -gt 0 ] || { echo "usage: tests/lint.sh ROOM..." >&2; exit 2; }
sources=$(find "$@" -name '*.c') || exit 1
headers=$(find "$@" -name '*.h') || exit 1
flags="-std=c11 -D_GNU_SOURCE -DPELORUS_VERSION='\"0\"' -DTHREADED -I. $(pkg-config --cflags libuv libmicrohttpd yaml-0.1 sqlite3 libmariadb libpq libcurl)"
rc=0
# clang-tidy counts suppressed warnings on standard error; what it cannot
# compile it says on standard output like any finding.
printf '%s\n' $sources | xargs -P "$(nproc)" -n 1 sh -c 'clang-tidy --quiet --warnings-as-errors="*" "$@" -- '"$flags"' 2>/dev/null' _ || rc=1
# cppcheck reads no system header: the list and table macros are given to it,
# and __GNUC__, or uthash takes a detour for compilers without typeof that
# looks like a use of what was never set.
macros=
for header in utlist.h uthash.h; do
    path=$(echo "#include <$header>" | "${CC:-cc}" -E - 2>/dev/null | sed -n "s/^# 1 \"\(.*$header\)\".*/\1/p" | head -1)
    [ -n "$path" ] || { echo "lint: $header is missing: apt-get install uthash-dev" >&2; exit 1; }
    macros="$macros --include=$path"
done
cppcheck --quiet --std=c11 -D__GNUC__=12 -D_GNU_SOURCE -DPELORUS_VERSION='"0"' $macros --error-exitcode=1 --inline-suppr -j "$(nproc)" -I. \
    --enable=warning,performance,portability --suppress=missingIncludeSystem "$@" || rc=1
# One dialect everywhere, in the tests too: no braces around one statement.
clang-format --dry-run -Werror $(git ls-files '*.c' '*.h') || rc=1
[ $rc = 0 ] && echo "lint: clean"
exit $rc
