"""The HTTP server under clients that are wrong, hostile, slow or many, and
while it is told to leave."""

import os
import re
import socket
import sqlite3
import sys
import threading
import time

from cluster import SLOW, Api, check, equal, run, settings, wait_for

HOST = b"Host: x\r\n"
SHORT = "http: {request-timeout: 1s, max-connections: 4096}\n"


class Raw:
    """A socket, and what came back until it was closed or had an answer."""

    def __init__(self, port, data=b"", timeout=10):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout * SLOW)
        self.seen = b""
        if data:
            self.send(data)

    def send(self, data):
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass  # cut off in the middle: what came back counts

    def more(self):
        try:
            piece = self.socket.recv(65536)
        except ConnectionResetError:
            return False
        self.seen += piece
        return bool(piece)

    def answer(self):
        """One whole answer: (status, head, body); None if it was closed."""
        while b"\r\n\r\n" not in self.seen:
            if not self.more():
                return None
        head, rest = self.seen.split(b"\r\n\r\n", 1)
        length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
        length = int(length.group(1)) if length else 0
        while len(rest) < length and self.more():
            rest = self.seen.split(b"\r\n\r\n", 1)[1]
        self.seen = rest[length:]
        return int(head.split()[1]), head, rest[:length]

    def closed(self):
        """Did the server close it, within the timeout?"""
        try:
            while self.more():
                pass
            return True
        except TimeoutError:
            return False

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def ask(port, data, timeout=10):
    """What a raw request is answered, and whether the connection stays open."""
    with Raw(port, data, timeout) as raw:
        answer = raw.answer()
        if answer is None:
            return None, b"", False
        close = b"connection: close" in answer[1].lower()
        if close:
            check(raw.closed(), lambda: f"announced to close, and did not: {data[:80]}")
        return answer[0], answer[2], not close


def test_requests_that_two_parsers_read_differently_are_refused(cluster):
    c = cluster.coordinator(more=SHORT)
    post, get = b"POST /v1/work HTTP/1.1\r\n" + HOST, b"GET /livez HTTP/1.1\r\n" + HOST
    smuggled = b"GET /livez HTTP/1.1\r\n" + HOST + b"\r\n"
    for name, data in {
            "both lengths": post + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + smuggled,
            "lengths in the other order": post + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + smuggled,
            "two lengths": post + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef" + smuggled,
            "the same length twice": post + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nabcde" + smuggled,
            "another encoding": post + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n" + smuggled,
            "two encodings": post + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + smuggled,
            "a negative length": post + b"Content-Length: -5\r\n\r\nabcde",
            "half a length": post + b"Content-Length: 5x\r\n\r\nabcde",
            "no length in it": post + b"Content-Length:\r\n\r\nabcde",
            "two hosts": b"GET /livez HTTP/1.1\r\n" + HOST + HOST + b"\r\n" + smuggled,
            "no host": b"GET /livez HTTP/1.1\r\n\r\n" + smuggled,
            "two authorizations": get + b"Authorization: a\r\nAuthorization: b\r\n\r\n",
            "a blank before the colon": get + b"Content-Length : 5\r\n\r\nabcde",
            "a tab before the colon": get + b"X-A\t: 5\r\n\r\n" + smuggled,
            "a body on GET": get + b"Content-Length: 5\r\n\r\nabcde" + smuggled,
            "chunks on GET": get + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + smuggled,
            "a body on HEAD": b"HEAD /livez HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n\r\nabcde" + smuggled,
            "a line without a colon": get + b"nothing\r\n\r\n" + smuggled,
            "a chunk that is none": post + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n" + smuggled,
            "a NUL, encoded": b"GET /livez%00x HTTP/1.1\r\n" + HOST + b"\r\n" + smuggled,
            "a NUL in the query": b"GET /v1/nodes?kind=wor%00ker HTTP/1.1\r\n" + HOST + b"\r\n" + smuggled,
    }.items():
        status, _, stays = ask(c.port, data)
        equal((status, stays), (400, False), name)
    for name, data in {"bare garbage": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 200 + b"\r\n\r\n",
                       "no version": b"GET /livez\r\n\r\n", "another version": b"GET /livez HTTP/9.9\r\n" + HOST + b"\r\n",
                       "only a NUL": b"\0\r\n\r\n", "an SSH client": b"SSH-2.0-OpenSSH_9.2\r\n\r\n"}.items():
        status, _, stays = ask(c.port, data)
        check(status in (None, 400, 408, 505) and not stays, f"{name}: {status}")
    # A NUL on the wire ends the line for the library: what is left is asked.
    check(ask(c.port, b"GET /livez\0/../v1 HTTP/1.1\r\n" + HOST + b"\r\n")[0] in (200, 400, 404), "a NUL")
    equal(c.api("GET", "/livez").status, 200, "alive after all that")
    equal(ask(c.port, get + b"\r\n")[0], 200, "and a plain one")


def test_every_form_of_a_request_has_one_answer(cluster):
    c = cluster.coordinator()
    body, chunks = b"Content-Length: 3\r\n\r\nabc", b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    for line, rest, status, allow in (
            (b"OPTIONS /v1/work", b"\r\n", 204, b"GET, HEAD, POST, OPTIONS"), (b"OPTIONS /v1/work", body, 204, b"GET, HEAD, POST, OPTIONS"),
            (b"OPTIONS /livez", chunks, 200, b"GET, HEAD, OPTIONS"), (b"OPTIONS /readyz", b"\r\n", 200, b"GET, HEAD, OPTIONS"),
            (b"OPTIONS *", b"\r\n", 204, b"GET, HEAD, PUT, POST, DELETE, PATCH, OPTIONS"), (b"OPTIONS /none", b"\r\n", 404, None),
            (b"TRACE /livez", body, 405, b"GET, HEAD, OPTIONS"), (b"TRACE /v1/work", b"\r\n", 405, b"GET, HEAD, POST, OPTIONS"),
            (b"BREW /v1/work", chunks, 405, b"GET, HEAD, POST, OPTIONS"), (b"CONNECT x:80", b"\r\n", 400, None),
            (b"GET http://x:7077/readyz", b"\r\n", 200, None), (b"GET HTTP://x", b"\r\n", 200, None),
            (b"GET http://x/v1/workers/best?group=none", b"\r\n", 404, None), (b"GET /readyz/", b"\r\n", 200, None),
            (b"GET /v1/groups/default/", b"\r\n", 200, None), (b"GET //readyz", b"\r\n", 404, None)):
        with Raw(c.port, line + b" HTTP/1.1\r\n" + HOST + rest + b"GET /livez HTTP/1.1\r\n" + HOST + b"\r\n") as raw:
            got, head, _ = raw.answer()
            found = re.search(rb"(?i)\r\nallow: ([^\r]*)", head + b"\r")
            equal((got, found and found.group(1)), (status, allow), line)
            equal(raw.answer()[0], 200, f"the one behind {line}")
    with Raw(c.port, b"GET /livez HTTP/1.1\r\n\r\n") as raw:
        check(raw.closed(), "closed")
        equal((raw.seen[:12], raw.seen.count(b"HTTP/1.1 400")), (b"HTTP/1.1 400", 1), "one head")
    for line in (b"GET /livez x", b"GET /livez\tx"):
        equal(ask(c.port, line + b" HTTP/1.1\r\n" + HOST + b"\r\n")[::2], (400, False), "a blank in the target")


def test_everything_has_a_limit(cluster):
    c = cluster.coordinator()
    put = b"PUT /v1/nodes/worker/10.0.0.1:1 HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\n"

    def chunked(n):
        return put + b"Transfer-Encoding: chunked\r\n\r\n" + b"".join(
            b"8000\r\n" + b"x" * 0x8000 + b"\r\n" for _ in range(n)) + b"0\r\n\r\n"
    for name, data, status, code in (
            ("a body of 300 KB", put + b"Content-Length: 300000\r\n\r\n" + b"x" * 300000, 413, b"too_large"),
            ("a body of 300 KB in chunks", chunked(10), 413, b"too_large"),
            ("a body of 12 MB", put + b"Content-Length: 12000000\r\n\r\n" + b"x" * 12000000, 413, b"too_large"),
            ("a body announced as 5 GB", put + b"Content-Length: 5000000000\r\n\r\n", 413, b"too_large"),
            ("a path of 10 KB", b"GET /" + b"a" * 10000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414, b"uri_too_long"),
            ("a query of 10 KB", b"GET /livez?" + b"a" * 10000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414, b"uri_too_long"),
            ("a path of 100 KB", b"GET /" + b"a" * 100000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414, b""),
            ("a header of 20 KB", b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 20000 + b"\r\n\r\n", 431, b"head_too_large"),
            ("a header of 100 KB", b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 100000 + b"\r\n\r\n", 431, b""),
            ("5,000 headers", b"GET / HTTP/1.1\r\n" + HOST + b"X: abc\r\n" * 5000 + b"\r\n", 431, b"")):
        got, body, stays = ask(c.port, data)
        equal((got, stays), (status, False), name)
        check(code in body, f"{name}: {body[:200]}")
    # Beyond all reason it is cut off in the middle.
    equal(ask(c.port, chunked(100))[0], 413, "3 MB in chunks")
    check(ask(c.port, chunked(1000))[0] in (None, 413), "30 MB in chunks")
    deep = '{"payload":' + "[" * 40 + "]" * 40 + ',"kind":"master"}'
    for body, kind, status, code in ((deep, "application/json", 400, "invalid_json"),
                                     ('{"kind":"master"', "application/json", 400, "invalid_json"),
                                     ('{"kind":"master"} x', "application/json", 400, "invalid_json"),
                                     ('"master"', "application/json", 400, "invalid_json"),
                                     ('{"kind":"\\u0000"}', "application/json", 400, "invalid_json"),
                                     ('{"kind":1}', "application/json; charset=utf-8", 400, "invalid_json"),
                                     ("kind=master", "application/x-www-form-urlencoded", 415, "unsupported_media_type"),
                                     ('{"kind":"master"}', "text/plain", 415, "unsupported_media_type"),
                                     ('{"kind":"master"}', "application/jsonx", 415, "unsupported_media_type")):
        a = c.api("POST", "/v1/work", body, {"Content-Type": kind})
        equal((a.status, a.code, a.headers["Content-Type"]), (status, code, "application/problem+json"), body[:60])


def test_connections_stay_and_pipelined_requests_are_answered_in_order(cluster):
    c = cluster.coordinator()
    paths = [b"/livez", b"/v1/work", b"/v1/nothing", b"/v1/settings", b"/v1/workers/best", b"/v1/nodes", b"/readyz"]
    with Raw(c.port, b"".join(b"GET " + p + b" HTTP/1.1\r\n" + HOST + b"\r\n" for p in paths * 3)) as raw:
        for n in range(3):
            equal([raw.answer()[0] for _ in paths], [200, 200, 404, 200, 503, 200, 200], f"round {n}")
        raw.send(b"POST /v1/work HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
        status, head, _ = raw.answer()
        equal(status, 400, "a problem keeps the connection")
        check(b"connection: close" not in head.lower(), head)
        raw.send(b"DELETE /v1/groups/none HTTP/1.1\r\n" + HOST + b"\r\nHEAD / HTTP/1.1\r\n" + HOST + b"\r\n")
        equal(raw.answer()[0], 404, "after it")
        while b"\r\n\r\n" not in raw.seen:
            check(raw.more(), "the answer to HEAD")
        equal(raw.seen.split(b"\r\n\r\n", 1)[1], b"", "HEAD has no body")
    status, _, stays = ask(c.port, b"GET /livez HTTP/1.0\r\n\r\n")
    equal((status, stays), (200, False), "HTTP/1.0")
    status, _, stays = ask(c.port, b"GET /livez HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n")
    equal((status, stays), (200, False), "Connection: close")
    with Raw(c.port, b"PUT /v1/nodes/worker/10.0.0.1:1 HTTP/1.1\r\n" + HOST + b"Content-Length: 2\r\n"
             b"Content-Type: application/json\r\nExpect: 100-continue\r\n\r\n") as raw:
        equal(raw.answer()[0], 100, "Expect")
        raw.send(b"{}")
        equal(raw.answer()[0], 201, "and then")


def test_slow_clients_are_cut_off(cluster):
    c = cluster.coordinator(more=SHORT)
    began = time.monotonic()
    slow = {"a head": Raw(c.port, b"GET /livez HT"),
            "a body": Raw(c.port, b"PUT /v1/nodes/worker/10.0.0.1:1 HTTP/1.1\r\n" + HOST + b"Content-Length: 100\r\n\r\n"),
            "chunks": Raw(c.port, b"PUT /v1/nodes/worker/10.0.0.1:1 HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"),
            "nothing": Raw(c.port)}
    polling = Raw(c.port, timeout=20)
    index = c.api.get("/v1/nodes")["index"]
    polling.send(f"GET /v1/work?index={c.api.get('/v1/work')['index']}&wait=4s HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    ended = {}
    while len(ended) < len(slow):
        check(time.monotonic() - began < 20 * SLOW, f"still open after 20 s: {set(slow) - set(ended)}")
        for name, raw in slow.items():
            if name in ended:
                continue
            raw.send({"a head": b"T", "a body": b"x", "chunks": b"1\r\nx\r\n", "nothing": b""}[name])
            raw.socket.settimeout(0.05)
            try:
                if not raw.more():
                    ended[name] = time.monotonic() - began
                    # Whoever has sent a part is told; nobody asked for the other.
                    equal(raw.seen[:13], b"" if name == "nothing" else b"HTTP/1.1 408 ", name)
            except TimeoutError:
                pass
    check(min(ended.values()) > 0.9, f"too early: {ended}")
    equal(polling.answer()[0], 200, "one that waits for us is not cut off")
    check(time.monotonic() - began > 3.5, "it waited")
    check(index, "an index")
    for raw in (*slow.values(), polling):
        raw.close()


def test_a_request_that_ends_an_idle_time_has_its_own(cluster):
    """The walk that cuts off the late comes once a second: at one of these times
    it comes between the two halves."""
    get = b"GET /livez HTTP/1.1\r\n" + HOST + b"\r\n"
    c = cluster.coordinator(more=SHORT.replace("1s", "3s"))
    idle = [Raw(c.port, get) for _ in range(12)]
    equal([raw.answer()[0] for raw in idle], [200] * len(idle), "each one's first answer")
    time.sleep(2.6)
    for raw in idle[:6]:
        raw.send(get[:6])             # within the first line
    for raw in idle[6:]:
        raw.send(get[:-2])            # and behind it
    for raw in (idle[n] for n in (0, 6, 1, 7, 2, 8, 3, 9, 4, 10, 5, 11)):
        raw.send(get[6:] if raw in idle[:6] else get[-2:])
        equal(raw.answer()[0], 200, "a request that took less than http.request-timeout")
        time.sleep(0.1)
        raw.close()


def test_a_thousand_idle_connections_disturb_nobody(cluster):
    c = cluster.coordinator()

    def fifty_requests():
        began = time.monotonic()
        for _ in range(50):
            equal(Api(c.port)("GET", "/livez").status, 200, "another connection")
        return time.monotonic() - began
    before = fifty_requests()
    idle = [Raw(c.port) for _ in range(1000)]
    took = fifty_requests()
    check(took < 10 * before + 2 * SLOW, f"50 requests took {took:.1f} s, and {before:.1f} s without them")
    for raw in idle[::50]:
        raw.send(b"GET /livez HTTP/1.1\r\n" + HOST + b"\r\n")
        equal(raw.answer()[0], 200, "an idle one")
    for raw in idle:
        raw.close()
    equal(c.api("GET", "/livez").status, 200, "afterwards")


def descriptors(process):
    return len(os.listdir(f"/proc/{process.pid}/fd"))


def test_long_polls_of_clients_that_hung_up_are_noticed(cluster):
    c = cluster.coordinator()
    before = descriptors(c)
    index = c.api.get("/v1/work")["index"]
    began = time.monotonic()
    polls = [Raw(c.port, f"GET /v1/work?index={index}&wait=60s HTTP/1.1\r\nHost: x\r\n\r\n".encode()) for _ in range(200)]
    wait_for("all connected", lambda: descriptors(c) >= before + 200)
    threading.Event().wait(0.3)
    for raw in polls:
        raw.close()
    wait_for("all gone", lambda: descriptors(c) <= before + 5)
    check(time.monotonic() - began < 40, "gone no sooner than when their wait was over")


@settings(session=4)
def test_leaving_answers_what_is_in_flight(cluster):
    c = cluster.coordinator()
    equal(c.api("PUT", "/v1/nodes/master/10.0.0.1:1").status, 201, "a master")
    cluster.wait_up(c.api, "10.0.0.1:1")
    index = c.api.get("/v1/work")["index"]
    polls = [Raw(c.port, f"GET /v1/work?index={index}&wait=60s HTTP/1.1\r\nHost: x\r\n\r\n".encode(), 20) for _ in range(50)]
    idle = [Raw(c.port) for _ in range(20)]
    busy, stop, odd = [], threading.Event(), []

    def hammer(n):
        api = Api(c.port)
        while not stop.is_set():
            try:
                a = api("POST", "/v1/work", {"id": f"t{n}-{len(busy)}-{time.monotonic_ns()}", "kind": "master"})
            except OSError:
                return  # its listening socket is closed
            except Exception as error:  # noqa: a thread must not lose it
                return odd.append(repr(error))
            busy.append(a.status)
            if a.status not in (201, 503):
                odd.append(a.text)
    threads = [threading.Thread(target=hammer, args=(n,)) for n in range(4)]
    for t in threads:
        t.start()
    wait_for("requests in flight", lambda: len(busy) > 50)
    code, seconds = c.terminate()
    stop.set()
    for t in threads:
        t.join()
    equal(code, 0, "exit code")
    check(seconds < 5 * SLOW, f"it took {seconds:.1f} s")
    equal([raw.answer()[0] for raw in polls], [200] * 50, "long polls")
    equal(odd, [], "answers to what was in flight")
    check(all(raw.closed() for raw in idle), "idle connections")
    for raw in (*polls, *idle):
        raw.close()


@settings(session=4)
def test_leaving_while_the_registry_does_not_answer(cluster):
    c = cluster.coordinator()
    equal(c.api("PUT", "/v1/nodes/master/10.0.0.1:1").status, 201, "a master")
    cluster.wait_up(c.api, "10.0.0.1:1")
    db = sqlite3.connect(cluster.path, isolation_level=None)
    db.execute("BEGIN EXCLUSIVE")
    body = b'{"id":"stuck","kind":"master"}'
    stuck = Raw(c.port, b"POST /v1/work HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
                % (len(body), body), 20)
    threading.Event().wait(0.3)
    code, seconds = c.terminate()
    equal(code, 0, "exit code")
    check(seconds < 5 * SLOW, f"it took {seconds:.1f} s")
    status, _, text = stuck.answer() or (None, None, b"cut off")
    check(status in (503, 504), f"the write that could not be made: {status} {text}")
    stuck.close()
    db.execute("ROLLBACK")
    db.close()


if __name__ == "__main__":
    run(sys.modules[__name__])
