#!/bin/bash
# make bench: the figures, each beside what it is measured against. One that
# fails (a limit missed, a bare server that times out at 100,000 items) keeps
# nobody from the others; all that failed are named at the end.
set -u
cd "$(dirname "$0")/../.." || exit 1
export BUILD=${BUILD:-build} PELORUS=$PWD/${BUILD:-build}/pelorus
failed=()
figure() { # name, command...
    local name=$1
    shift
    echo "== $name"
    "$@" || failed+=("$name")
}
for b in "$BUILD"/tests/bench/bench_*; do
    case $b in
    *.o | *.d | *bench_bare_http) continue ;;
    esac
    figure "$(basename "$b")" "$b"
done
figure "workers/best beside the bare HTTP library" python3 tests/integration/test_speed.py
figure "10,000 items of a killed master" python3 tests/integration/test_failover.py ten_thousand
[ ${#failed[@]} = 0 ] && exit 0
printf 'failed: %s\n' "${failed[@]}" >&2
exit 1
