#!/bin/bash
# clang-tidy and cppcheck over the program. Both must be silent.
cd "$(dirname "$0")/.." || exit 1
for tool in clang-tidy cppcheck clang-format; do
    command -v "$tool" >/dev/null || { echo "lint: $tool is missing: apt-get install clang-tidy cppcheck clang-format" >&2; exit 1; }
done
folders="base conf registry balancer failover coordinator http"
sources=$(ls $(printf '%s/*.c ' $folders))
flags="-std=c11 -D_GNU_SOURCE -DPELORUS_VERSION=\"0\" -I. $(pkg-config --cflags libuv libmicrohttpd libcjson yaml-0.1 sqlite3 libcurl libsystemd)"
rc=0
printf '%s\n' $sources | xargs -P "$(nproc)" -n 1 sh -c 'clang-tidy --quiet --warnings-as-errors="*" "$@" -- '"$flags"' 2>/dev/null' _ || rc=1
cppcheck --quiet --std=c11 --include=/usr/include/utlist.h --include=/usr/include/uthash.h --suppress=toomanyconfigs --error-exitcode=1 --inline-suppr -j "$(nproc)" -I. \
    --enable=warning,performance,portability --suppress=missingIncludeSystem $folders || rc=1
clang-format --dry-run -Werror $sources $(ls $(printf '%s/*.h ' $folders)) || rc=1
[ $rc = 0 ] && echo "lint: clean"
exit $rc
