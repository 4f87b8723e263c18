#!/bin/sh
# tests/interop/run.sh: what other people's programs make of us, and we of them,
# that come from elsewhere than Debian: exact versions, over the network. Each
# test_*.py is a suite of its own; the last line is the sum.
set -eu
cd "$(dirname "$0")/../.."
export BUILD="${BUILD:-build}"
PELORUS=$(realpath "$BUILD/pelorus")
export PELORUS
status=0
for t in tests/interop/test_*.py; do
    echo "== $t"
    python3 "$t" || status=1
done
exit $status
