#!/bin/sh
# Schemathesis, which holds the API against openapi.yaml, with exactly the
# packages of requirements.txt, in build/schemathesis. Nothing is asked of the
# package index when they are there already, and it never waits for ever.
set -eu
cd "$(dirname "$0")/../.."
wanted=tests/contract/requirements.txt
dir=build/schemathesis

cmp -s $wanted $dir/installed && exit 0
log=$(mktemp)
trap 'rm -f "$log"' EXIT
rm -rf $dir
python3 -m venv $dir >"$log" 2>&1 || {
    cat "$log" >&2
    echo "pelorus: python3 makes no virtual environment: install python3-venv" >&2
    exit 1
}
echo "installing schemathesis into $dir"
for try in 1 2 3; do
    if timeout 150 $dir/bin/python -m pip install --quiet --no-input --disable-pip-version-check \
        --no-deps --only-binary :all: --retries 2 --timeout 20 -r $wanted >"$log" 2>&1; then
        cp $wanted $dir/installed
        exit 0
    fi
    [ $try = 3 ] || sleep 2
done
tail -5 "$log" >&2
echo "pelorus: schemathesis cannot be installed: the Python package index (PyPI) does not give the" >&2
echo "pelorus: packages of $wanted, in three tries of at most 150 s; look at the network and at pip's configuration" >&2
exit 1
