#!/bin/bash
# make bench: the figures, each beside what it is measured against.
set -eu
cd "$(dirname "$0")/../.."
export BUILD=${BUILD:-build} PELORUS=$PWD/${BUILD:-build}/pelorus
for b in "$BUILD"/tests/bench/bench_*; do
    case $b in
    *.o | *.d | *bench_bare_http) continue ;;
    esac
    echo "== $(basename "$b")"
    "$b"
done
echo "== workers/best beside the bare HTTP library"
python3 tests/integration/test_speed.py
echo "== 10,000 items of a killed master"
python3 tests/integration/test_failover.py ten_thousand
