"""What loses nothing must not alarm: leaders that change, members and our own
processes that are replaced by other versions, one after the other, while work
is given out and finished all the time.
"""

import collections
import http.client
import itertools
import threading

from cluster import PELORUS, Api, Failure, equal, wait_for
from restore import Master

OPEN = 10   # items that the load leaves unfinished at each coordinator
# Nobody's death is the work's fault here.
MORE = "failover: {grace: 300ms, reconcile-interval: 1s, settle: 2s, poison-limit: 6, poison-window: 1s}\n"


class Load:
    """Gives work out and finishes it, at each coordinator."""

    def __init__(self, scene, pause=0.1):
        self.scene, self.pause = scene, pause
        self.given, self.finished = collections.Counter(), collections.Counter()  # by port
        self.restarted = 0
        self.over = threading.Event()
        self.threads = [threading.Thread(target=self.run, args=(port,), daemon=True) for port in scene.ports]

    def __enter__(self):
        for t in self.threads:
            t.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        for t in self.threads:
            t.join()

    def run(self, port):
        open_, api = collections.deque(), Api(port)
        for n in itertools.count():
            if self.over.wait(self.pause):
                return
            try:
                item = f"load-{port}-{n}"
                if api("POST", "/v1/work", {"id": item, "kind": "master"}, timeout=2).status == 201:
                    self.given[port] += 1
                    open_.append(item)
                if len(open_) > OPEN and self.finish(api, open_[0]):
                    open_.popleft()
            except (OSError, http.client.HTTPException, ValueError):
                api = Api(port)

    def finish(self, api, item):
        epoch = self.scene.ledger.highest.get(item)
        if epoch and api("DELETE", f"/v1/work/{item}?epoch={epoch}", timeout=2).status == 200:
            self.scene.ledger.finished[item] = epoch
            self.finished[api.port] += 1
            return True
        return False

    def goes_on(self):
        """At each coordinator; and nobody has alarmed."""
        given, finished = self.given.copy(), self.finished.total()

        def more():
            for m in self.scene.masters:
                if m.process and not m.process.alive():     # as a service
                    m.start_again()
                    self.restarted += 1
            return self.finished.total() > finished and all(self.given[p] > given[p] for p in self.scene.ports)
        wait_for("work given out and finished at each coordinator", more, 60)
        self.scene.never_noticed()

    def settle(self, what):
        """The load ends; what it left has one owner each."""
        self.__exit__()
        scene, left = self.scene, {}

        def all_known():
            items = scene.unfinished()
            left["items"] = [items[k] for k in items.keys() - set(scene.owned_and_known())]
            return not left["items"]
        try:
            wait_for("each item at an owner who knows its epoch", all_known, 30)
        except Failure as error:
            raise Failure(f"{error}: {left['items'][:3]}") from None
        scene.never_noticed()
        equal(scene.ledger.twice(), {}, "(id, epoch) told to two")
        sessions = sum(len(p.lines("+session")) for p in scene.cluster.processes)
        print(f"     {what}; {self.given.total()} items given out, {self.finished.total()} finished, "
              f"{sessions} sessions begun, agents restarted {self.restarted} times", flush=True)


class UrlAgent(Master):
    """An agent that reports to coordinators, at the address of a master that
    will not be heard again."""

    def begin(self):
        urls = ",".join(f"http://127.0.0.1:{port}" for port in self.scene.ports)
        return self.scene.cluster.agent("master", self.address, "--ttl", "4s", url=urls)


def replace_ours(scene, load, before, rounds):
    """Our processes, which run `before`, by those of now and back again, one
    after the other, killed or ended. Those of now remember across restarts."""
    cluster, ends, replaced = scene.cluster, itertools.cycle(["terminate", "kill"]), 0
    plain = cluster.more
    scene.masters.append(UrlAgent(scene, "10.7.0.4:5678"))
    for cluster.pelorus in [PELORUS, before] * rounds + [PELORUS]:
        cluster.more = plain + (f"state-dir: {cluster.dir}\n" if cluster.pelorus == PELORUS else "")
        for n, c in enumerate(scene.coordinators):
            getattr(c, next(ends))()
            c.file.close()
            scene.coordinators[n] = cluster.coordinator(port=c.port)
            load.goes_on()
            replaced += 1
        for m in [m for m in scene.masters if m.process]:
            getattr(m.process, next(ends))()
            m.start_again()
            cluster.wait_up(scene.api, m.address)
            load.goes_on()
            replaced += 1
    load.settle(f"{replaced} of our processes replaced")
