#!/bin/sh
# etcd 3.5.21 and 3.7.3 (Go module proxy: go.etcd.io/etcd/server/v3, started by
# its own etcdmain; Go and Python are taken from the system).
#
# A range request with a limit, the usual way to page through a prefix, answers
# with `count`: all keys from the page's first one to the end of the range. The
# server walks its index over all of them for each page, whatever the limit, so
# the cost of a listing grows with the square of its length: 100,000 keys in small
# pages are 20 million index entries counted, for which nobody asked, and several
# times the processor time of large ones. No request leaves the count out.
# (Pelorus lists in pages as large as a message may be.)
#
# Seen, with each version:
# pages of 10000: 10 requests, 550000 counted
# pages of 250: 400 requests, 20050000 counted
# processor time of the small pages: more than 2 times
set -eu
self=$(realpath "$0")
dir=$(mktemp -d)
trap 'chmod -R u+w "$dir"; rm -rf "$dir"' EXIT
cd "$dir"
cat >page.py <<'PY'
import base64, http.client, json, os, signal, socket, subprocess, sys, tempfile, time

N = 100000


def b64(text):
    return base64.b64encode(text.encode()).decode()


def port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def spent(pid):
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


def ask(c, path, body):
    c.request("POST", path, json.dumps(body))
    return json.loads(c.getresponse().read())


def listed(c, size):
    """Requests it took, and what they counted."""
    key, got, pages, counted = "k/", 0, 0, 0
    while True:
        page = ask(c, "/v3/kv/range", {"key": b64(key), "rangeEnd": b64("k0"), "limit": size, "keysOnly": True})
        got, pages, counted = got + len(page["kvs"]), pages + 1, counted + int(page["count"])
        if not page.get("more"):
            assert got == N
            return pages, counted
        key = base64.b64decode(page["kvs"][-1]["key"]).decode() + "\0"


with tempfile.TemporaryDirectory(dir=".") as data:
    client, peer = (f"http://127.0.0.1:{port()}" for _ in range(2))
    etcd = subprocess.Popen([sys.argv[1], "--data-dir", data, "--listen-client-urls", client,
                             "--advertise-client-urls", client, "--listen-peer-urls", peer,
                             "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}",
                             "--log-level", "error"])
    try:
        for _ in range(300):
            c = http.client.HTTPConnection(client.removeprefix("http://"), timeout=60)
            try:
                ask(c, "/v3/maintenance/status", {})
                break
            except OSError:
                time.sleep(.1)
        for i in range(0, N, 100):
            ask(c, "/v3/kv/txn", {"success": [{"requestPut": {"key": b64(f"k/{j:06d}"), "value": "dg=="}}
                                              for j in range(i, i + 100)]})
        took = []
        for size in (10000, 250):
            before = spent(etcd.pid)
            print("pages of %d: %d requests, %d counted" % (size, *listed(c, size)))
            took.append(max(1, spent(etcd.pid) - before))
        many = took[1] / took[0]
        print(f"small pages took {many:.1f} times the processor's time", file=sys.stderr)
        print(f"processor time of the small pages: {'more' if many > 2 else 'not more'} than 2 times")
    finally:
        etcd.send_signal(signal.SIGTERM)
        etcd.wait(60)
PY
for version in 3.5.21 3.7.3; do
    mkdir "$version"
    cat >"$version/main.go" <<'GO'
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() { etcdmain.Main(os.Args) }
GO
    (
        cd "$version"
        export GOFLAGS=-mod=mod GOMODCACHE="$dir/mod"
        go mod init finding
        go get "go.etcd.io/etcd/server/v3@v$version"
        go mod tidy
        go build -o etcd .
    ) >"$version/log" 2>&1 || { cat "$version/log" >&2; exit 1; }
    echo "etcd $version" >&2
    python3 page.py "$version/etcd" | tee said
    sed -n 's/^# \(pages of .*\|processor time .*\)$/\1/p' "$self" | diff - said
done
