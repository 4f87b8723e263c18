"""DolphinScheduler's masters and workers as a registry knows them, played by a
peer: the keys and heartbeats of its versions, one session a process."""

import json
import os

from cluster import ROOT

STARTED = 1732000000000
NODES = "/dolphinscheduler/nodes"


def sample(name):
    """The key and the value of a heartbeat as that version wrote it."""
    path = os.path.join(ROOT, "tests", "unit", "data", "heartbeats", f"{name}.json")
    with open(path, encoding="utf-8") as f:
        found = json.load(f)
    return found["key"], found["value"]


def heartbeat(kind, address, process, cpu=0.2, memory=0.5, disk=0.0, status="NORMAL",
              weight=100, pool=0.25, reported=STARTED):
    """As 3.2 and 3.3 write it."""
    host, port = address.rsplit(":", 1)
    started, pid = process
    value = {"processId": pid, "startupTime": started, "reportTime": reported, "jvmCpuUsage": 0.03,
             "cpuUsage": cpu, "jvmMemoryUsage": 0.4, "memoryUsage": memory, "diskUsage": disk,
             "serverStatus": status, "host": host, "port": int(port)}
    if kind == "worker":
        value.update({"workerHostWeight": weight, "threadPoolUsage": pool})
    return json.dumps(value, separators=(",", ":"))


class Node:
    """A process of DolphinScheduler: a session, a key and what it writes
    there. Its address is used again by another one's process."""

    def __init__(self, peer, kind, address, process=(STARTED, 1), session=4, register=True,
                 **load):
        self.peer, self.kind, self.address, self.process = peer, kind, address, process
        self.key = f"/nodes/{kind}/{address}"
        self.session = f"{kind} {address} {process}"
        peer.open(self.session, session)
        if register:
            peer("register", self.session, self.key, heartbeat(kind, address, process, **load))

    def report(self, **load):
        self.peer("put", self.session, self.key,
                  heartbeat(self.kind, self.address, self.process, **load))
        return self

    def beat(self, milliseconds):
        """Write it again and again, as every process does each 10 s."""
        self.peer("beat", self.session, milliseconds)
        return self


def identity(node):
    """The process of a node or an item, without the registration's number."""
    return node["process"]["startupTime"], node["process"]["processId"]
