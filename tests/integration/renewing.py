"""Nodes over HTTP that renew through every coordinator in turn: a connection to
each of them is kept alive, what does not answer or says 503 costs a retry at
the next one. A lease is over when the ttl is, since the last PUT that was
accepted was sent."""

import asyncio
import json
import threading
import time
from collections import Counter

from cluster import SLOW

NODES = 200      # below http.max-connections-per-address
TTL = 9          # seconds


class Connection:
    """To one coordinator, kept alive."""

    def __init__(self, port):
        self.port = port
        self.streams = None

    async def put(self, path, body):
        """(status, text); an OSError in whatever way it fails."""
        try:
            return await asyncio.wait_for(self.exchange(path, body), 2 * SLOW)
        except (EOFError, ValueError, asyncio.TimeoutError) as error:
            self.close()
            raise ConnectionError(str(error)) from error
        except OSError:
            self.close()
            raise

    async def exchange(self, path, body):
        if self.streams is None:
            self.streams = await asyncio.open_connection("127.0.0.1", self.port)
        reader, writer = self.streams
        writer.write((f"PUT {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                      f"Content-Length: {len(body)}\r\n\r\n{body}").encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.split("content-length:")[1].split("\r\n")[0])
        return int(head.split()[1]), await reader.readexactly(length)

    def close(self):
        if self.streams is not None:
            self.streams[1].close()
            self.streams = None


class Node:
    def __init__(self, n, ports):
        self.address = f"10.0.0.{n + 1}:1234"
        self.path = f"/v1/nodes/worker/{self.address}?ttl={TTL}s"
        self.n = n
        self.connections = [Connection(p) for p in ports]
        self.turn = n
        self.instance = None
        self.dead = False
        self.lease = None  # until when, by what was accepted
        self.spans = []    # (when it was sent, seconds that it took) of what was accepted

    async def put(self, all_of_them):
        """When it is to renew again."""
        connection = self.connections[self.turn % len(self.connections)]
        self.turn += 1
        body = {"startupTime": 1000 + self.n, "processId": 7, "cpuUsage": round(0.1 + self.turn % 50 / 100, 2), "slots": 8}
        if self.instance:
            body["instance"] = self.instance
        sent = time.monotonic()
        if self.lease is not None and sent > self.lease:
            all_of_them.lost.append((self.n, round(sent - self.lease, 2)))
        try:
            status, text = await connection.put(self.path, json.dumps(body))
        except OSError:
            return 0.05
        if status == 503:
            all_of_them.unavailable[json.loads(text)["code"]] += 1
            return 0.05
        if status not in (200, 201):
            all_of_them.problems.append(f"{status} {text[:200]}")
            return 0.2
        answer = json.loads(text)
        now = time.monotonic()
        self.instance = answer["instance"]
        self.lease = sent + TTL
        self.spans.append((sent, now - sent))
        return max(0, sent + answer["renew_after_ms"] / 1000 - now)


class Nodes:
    """All of them, in a thread."""

    def __init__(self, ports, count=NODES):
        self.nodes = [Node(n, ports) for n in range(count)]
        self.ended = False
        self.lost, self.problems = [], []
        self.unavailable = Counter()  # 503, by code
        self.thread = threading.Thread(target=lambda: asyncio.run(self.run()), daemon=True)
        self.thread.start()

    async def live(self, node):
        await asyncio.sleep(node.n / len(self.nodes))
        while not self.ended and not node.dead:
            await asyncio.sleep(await node.put(self))
        for c in node.connections:
            c.close()

    async def run(self):
        await asyncio.gather(*(self.live(n) for n in self.nodes))

    def end(self):
        self.ended = True
        self.thread.join()

    def spans_since(self, at):
        return sorted(s for n in self.nodes for sent, s in list(n.spans) if sent >= at)
