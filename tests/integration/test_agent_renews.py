#!/usr/bin/env python3
"""An agent through the API renews when the answer says so, not by its own
interval as well; and never later than a third of its lease. The coordinator is
played, so that the answers are what each test wants."""

import http.server
import json
import os
import subprocess
import sys
import threading
import time

PELORUS = os.environ.get("PELORUS", "build/pelorus")


class Played:
    """Answers every PUT with `answer`, and notes when each came."""

    def __init__(self, answer):
        came = self.came = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def reply(self):
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if self.command == "PUT":
                    came.append(time.monotonic())
                body = json.dumps(answer).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_PUT = do_DELETE = reply

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def gaps(self, ttl, seconds):
        """Between the PUTs of an agent that runs for so long."""
        url = f"http://127.0.0.1:{self.server.server_address[1]}"
        agent = subprocess.Popen([PELORUS, "agent", "--kind", "worker", "--address", "10.0.0.1:1234", "--url", url, "--ttl", ttl],
                                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            time.sleep(seconds)
            came = list(self.came)
        finally:
            agent.terminate()
            try:
                agent.wait(10)
            except subprocess.TimeoutExpired:
                agent.kill()
                agent.wait()
            self.server.shutdown()
        return [b - a for a, b in zip(came, came[1:])]


def it_renews_when_the_answer_says():
    gaps = Played({"ttl": "30s", "renew_after_ms": 700}).gaps("30s", 6)
    assert len(gaps) >= 4, gaps     # by itself it would come every 10 s
    # what was seen late leaves less until the next one
    soon = [g for before, g in zip([0.7] + gaps, gaps) if g < 0.65 - max(0, before - 0.7)]
    assert len(soon) <= 1, gaps     # a host that becomes BUSY meanwhile is told at once


def it_never_waits_longer_than_its_lease_allows():
    gaps = Played({"ttl": "3s", "renew_after_ms": 60000}).gaps("3s", 6)
    assert len(gaps) >= 3, gaps
    assert max(gaps) < 2, gaps


def main():
    failed = 0
    tests = [it_renews_when_the_answer_says, it_never_waits_longer_than_its_lease_allows]
    for test in tests:
        try:
            test()
            print(f"ok   {test.__name__}")
        except AssertionError as error:
            failed += 1
            print(f"FAIL {test.__name__}: {error}")
    print(f"{len(tests) - failed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
