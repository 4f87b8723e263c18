"""A master of the chaos runs: it registers, takes the work that it is given and
writes down what it did, so that its own history can be judged afterwards.

    chaos_master.py ADDRESS HISTORY SECONDS PORT...

SECONDS is its ttl over HTTP; 0: it is the command of an agent, which registers
for it. Every line of the history is one event with its time by CLOCK_BOOTTIME
in ns, which is one clock for all processes of a host:

    up     it is this process from here on (startupTime)
    lease  it may work until `until`: ttl less a margin after the PUT was *sent*
    begin  it has begun an item, at this epoch
    end    it has ended it: done, lost (its epoch is stale), lapsed (no lease)
    tick   an agent's command: it was at work at this moment
"""

import http.client
import json
import os
import queue
import random
import sys
import threading
import time

MARGIN = 300_000_000
MS = 1_000_000


def now():
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class Master:
    def __init__(self, address, history, ttl, ports):
        self.address = address
        self.ttl = ttl
        self.ports = ports
        self.file = os.open(history, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self.lock = threading.RLock()
        self.running = {}     # id -> (epoch, when its work is over)
        self.over = set()     # (id, epoch) that was ended: never begun again
        self.finished = queue.Queue()
        self.until = 0
        self.process = 0
        if ttl:
            self.become()
        else:
            self.process = int(os.environ["PELORUS_PROCESS"].split("-")[0])
            self.write("up")

    def write(self, event, **fields):
        os.write(self.file, (json.dumps({"t": now(), "event": event, "process": self.process, **fields}) + "\n").encode())

    def become(self):
        """Another process, as if it had been started again."""
        self.process = max(time.time_ns() // MS, self.process + 1)
        self.until = 0
        self.write("up")

    def may_work(self, at):
        return not self.ttl or at < self.until

    def end(self, item, why):
        """Holding the lock. Behind its lease nothing was worked on, whatever is
        heard first by a process that was stopped for longer."""
        epoch, _ = self.running.pop(item)
        self.over.add((item, epoch))
        self.write("end", item=item, epoch=epoch, why=why, at=min(now(), self.until) if self.ttl else now())

    def lapse(self):
        with self.lock:
            for item in list(self.running):
                self.end(item, "lapsed")
            self.become()

    def ask(self, connection, method, path, body=None):
        connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
        reply = connection.getresponse()
        text = reply.read()
        return reply.status, json.loads(text) if text else {}

    def connect(self, timeout):
        return http.client.HTTPConnection("127.0.0.1", random.choice(self.ports), timeout=timeout)

    # --- its lease -----------------------------------------------------------

    def heartbeat(self):
        """Each on a connection of its own: one that hangs is given up."""
        with self.lock:
            process = self.process
        body = json.dumps({"startupTime": process, "processId": os.getpid(), "cpuUsage": 0.1,
                           "memoryUsage": 0.1, "diskUsage": 0.1, "serverStatus": "NORMAL"})
        connection = self.connect(1)
        sent = now()
        try:
            status, answer = self.ask(connection, "PUT", f"/v1/nodes/master/{self.address}?ttl={self.ttl}s", body)
        except (OSError, http.client.HTTPException, ValueError):
            return False
        finally:
            connection.close()
        with self.lock:
            if process != self.process:
                return False
            if status in (200, 201):
                self.until = max(self.until, sent + self.ttl * 1000 * MS - MARGIN)
                self.write("lease", until=self.until)
                return True
            if answer.get("code") == "fenced":
                self.lapse()
        return False

    def keep_lease(self):
        while True:
            time.sleep(self.ttl / 4 if self.heartbeat() else 0.15)

    # --- its work ------------------------------------------------------------

    def take(self, items):
        with self.lock:
            for item in items:
                key = item["id"], item["epoch"]
                mine = item["owner"] == self.address and item["state"] in ("assigned", "running") and \
                    item["process"]["startupTime"] == self.process
                known = self.running.get(item["id"], (0,))[0]
                begun = now()   # it may be stopped right behind that
                if not mine or key in self.over or known >= item["epoch"] or not self.may_work(begun):
                    continue
                if known:
                    self.end(item["id"], "lost")
                self.running[item["id"]] = item["epoch"], begun + random.randint(300, 6000) * MS
                self.write("begin", item=item["id"], epoch=item["epoch"], t=begun)

    def poll(self):
        path = f"/v1/work?kind=master&owner={self.address}&limit=1000"
        index = connection = None
        while True:
            try:
                if connection is None:
                    connection, index = self.connect(6), None
                status, answer = self.ask(connection, "GET", path + (f"&index={index}&wait=2s" if index else ""))
                if status != 200:
                    raise OSError(status)
                index = answer["index"]
                self.take(answer["items"])
            except (OSError, http.client.HTTPException, ValueError):
                if connection:
                    connection.close()
                connection = None
                time.sleep(0.2)

    def finish(self):
        """Done, said until somebody has heard it or the lease is over."""
        while True:
            item, epoch = self.finished.get()
            while True:
                with self.lock:
                    if self.running.get(item, (0,))[0] != epoch:
                        break
                connection = self.connect(2)
                try:
                    status, _ = self.ask(connection, "DELETE", f"/v1/work/{item}?epoch={epoch}")
                except (OSError, http.client.HTTPException, ValueError):
                    status = 0
                finally:
                    connection.close()
                with self.lock:
                    if status in (200, 404, 409) and self.running.get(item, (0,))[0] == epoch:
                        self.end(item, "lost" if status == 409 else "done")
                        break
                time.sleep(0.1)

    def work(self):
        due = set()
        while True:
            time.sleep(0.02)
            with self.lock:
                if self.ttl and self.until and not self.may_work(now()):
                    self.lapse()
                if not self.ttl and self.running:
                    self.write("tick")
                for item, (epoch, over) in self.running.items():
                    if now() >= over and (item, epoch) not in due:
                        due.add((item, epoch))
                        self.finished.put((item, epoch))

    def run(self):
        for job in [self.poll, self.finish, self.finish] + ([self.keep_lease] if self.ttl else []):
            threading.Thread(target=job, daemon=True).start()
        self.work()


if __name__ == "__main__":
    Master(sys.argv[1], sys.argv[2], int(sys.argv[3]), [int(p) for p in sys.argv[4:]]).run()
