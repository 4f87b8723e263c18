#!/bin/sh
# run.sh - search the protocol's model: every case of cases.txt, two at a time.
#
#     tests/model/run.sh                 all of them; what `make model` runs
#     tests/model/run.sh CASE...         only these
#     tests/model/run.sh -f "FLAGS"      the model with these -D flags, ad hoc
#
# BUILD is where output goes (default build/model), JOBS how many at a time,
# SECONDS_MAX and MB_MAX what one search may take; BFS=1 searches breadth first
# for the shortest trace. A search that is cut short, by time, memory or depth,
# proves nothing and has failed. Prints a line per case and ends with
# `N passed, N failed, 0 skipped`; exits 1 if any failed.
#
# The design decision: one case is one process of this script (run.sh --case),
# which leaves its verdict in a file, so that xargs can run them side by side
# and a case that dies without a verdict is counted as failed.
set -u
here=$(cd "$(dirname "$0")" && pwd)
BUILD=${BUILD:-build/model}
mkdir -p "$BUILD" || exit 1
BUILD=$(cd "$BUILD" && pwd)
CC=${CC:-gcc}
JOBS=${JOBS:-2}
SECONDS_MAX=${SECONDS_MAX:-50}
MB_MAX=${MB_MAX:-1500}
export BUILD CC SECONDS_MAX MB_MAX

# cases: the table without comments and padding, fields separated by one `|`
cases() {
    sed -e '/^ *#/d' -e '/^ *$/d' -e 's/ *| */|/g' "$here/cases.txt"
}

# search EXPECTATION NAME MODEL FLAGS: generate, compile, search; leaves pan.txt
search() {
    dir=$BUILD/$2
    rm -rf "$dir" && mkdir -p "$dir" && cd "$dir" || return 1
    # -O0: these searches are short, optimising would take longer than it saves.
    pan="-DSAFETY -DNOFAIR -DBFS"
    spin=
    run=
    case $1 in
    holds) [ -n "${BFS:-}" ] || pan="-DSAFETY -DNOFAIR"; spin=-DREACH ;;
    live | cycle) pan="-DNP -DNFAIR=3"; spin=-DLIVE; run="-l -f" ;;
    esac
    case $3 in aba | restore) spin= ;; esac
    echo "$3 $4 $spin" >flags
    # shellcheck disable=SC2086 # flags are words
    {
        spin $4 $spin -a "$here/$3.pml" >spin.txt 2>&1 ||
            { cat spin.txt; return 1; }
        "$CC" -O0 -pipe $pan -w -DVECTORSZ=1024 -DMEMLIM="$MB_MAX" -o pan pan.c >cc.txt 2>&1 ||
            { cat cc.txt; return 1; }
        timeout "$SECONDS_MAX" ./pan -m100000 -w20 -n $run >pan.txt 2>&1
        echo "exit $?" >>pan.txt
    }
}

# verdict EXPECTATION: reads pan.txt; says what is wrong, or nothing
verdict() {
    [ -f pan.txt ] || { echo "no search"; return; }
    grep -q '^exit 124' pan.txt && { echo "not done in $SECONDS_MAX s"; return; }
    grep -q 'out of memory\|DMEMLIM bound' pan.txt && { echo "not done in $MB_MAX MB"; return; }
    grep -q 'search depth too small\|truncated' pan.txt && { echo "cut short by its depth"; return; }
    found=$(sed -n 's/.*errors: \([0-9]*\).*/\1/p' pan.txt | tail -1)
    [ -n "$found" ] || { echo "the checker did not finish"; return; }
    case $1 in
    holds | live)
        grep -q 'Full statespace search' pan.txt || { echo "not the whole state space"; return; }
        [ "$found" = 0 ] || { echo "violated: $(grep -m1 '^pan:' pan.txt)"; return; }
        grep -q 'Search not completed' pan.txt && echo "the search was not completed" ;;
    cycle)
        grep -q '^pan:1: non-progress cycle' pan.txt || echo "the livelock was not found" ;;
    found*)
        kind=${1#found }
        [ "$found" != 0 ] || { echo "the hole was not found"; return; }
        [ "$kind" = 0 ] && pattern='assertion violated' || pattern="assertion violated .*||($kind==0)) "
        grep -q "^pan:1: $pattern" pan.txt || echo "another violation: $(grep -m1 '^pan:' pan.txt)" ;;
    esac
}

# one case in a process of its own: prints its line, leaves its verdict
run_case() {
    IFS='|' read -r expect name model flags text <<EOF
$1
EOF
    failure=$(search "$expect" "$name" "$model" "$flags")
    cd "$BUILD/$name" || return 1
    [ -n "$failure" ] || failure=$(verdict "$expect")
    states=$(sed -n 's/^ *\([0-9]*\) states, stored.*/\1/p' pan.txt 2>/dev/null)
    if [ -z "$failure" ]; then
        echo passed >verdict
        printf 'ok    %-7s %-19s %9s states  %s\n' "$expect" "$name" "${states:-?}" "$text"
    else
        echo failed >verdict
        printf 'FAIL  %-7s %-19s %s (%s)\n' "$expect" "$name" "$failure" "$BUILD/$name"
    fi
}

# Whatever the model can do is done somewhere in the cases that hold: a
# protocol that never moves anything would hold, too.
check_reach() {
    never=$(for name in $names; do cat "$BUILD/$name/pan.txt"; done 2>/dev/null | awk '$1 == "reached" { n[$2] += $3 }
        END { for (x in n) { seen = 1; if (!n[x]) printf " %s", x }
              if (!seen) printf " anything" }')
    if [ -z "$never" ]; then
        printf 'ok    %-7s %-19s %9s         %s\n' reach every_step "" \
            "every step and outcome is reached in a case that holds"
        return 0
    fi
    printf 'FAIL  %-7s %-19s never reached:%s\n' reach every_step "$never"
    return 1
}

if [ "${1:-}" = --case ]; then
    run_case "$2"
    exit 0
fi
for tool in spin "$CC" timeout xargs; do
    command -v "$tool" >/dev/null 2>&1 && continue
    echo "tests/model/run.sh: $tool is not installed and the model needs it" \
        "(Debian: apt-get install spin gcc coreutils findutils)" >&2
    echo "0 passed, 1 failed, 0 skipped"
    exit 1
done
all=
case ${1:-} in
-f)
    [ $# = 2 ] || { echo "usage: run.sh -f \"FLAGS\"" >&2; exit 2; }
    list="holds|adhoc|failover|$2|as asked"
    ;;
'')
    all=yes
    list=$(cases)
    ;;
*)
    list=
    for name in "$@"; do
        line=$(cases | grep -F "|$name|") ||
            { echo "tests/model/run.sh: no case $name in cases.txt" >&2; exit 2; }
        list="$list$line
"
    done
    ;;
esac
names=$(printf '%s\n' "$list" | sed '/^$/d' | cut -d'|' -f2)
for name in $names; do rm -rf "${BUILD:?}/$name"; done
printf '%s\n' "$list" | sed '/^$/d' | tr '\n' '\0' |
    xargs -0 -n 1 -P "$JOBS" "$here/run.sh" --case
passed=0
failed=0
for name in $names; do
    if [ "$(cat "$BUILD/$name/verdict" 2>/dev/null)" = passed ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
    fi
done
if [ -n "$all" ]; then
    if check_reach; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
fi
echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" = 0 ]
