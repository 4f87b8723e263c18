"""What a soak does to a cluster, all the time: nodes heartbeat, join and leave,
owners are killed or leave and their work moves, items are created and finished.
And the book: what must be true of each item, from what was done here.
"""

import collections
import heapq
import http.client
import itertools
import random
import threading
import time

from cluster import SLOW, Api, wait_for

NET = (OSError, http.client.HTTPException, ValueError)


def judge_item(item, created, first, losses):
    """What is wrong with an item as a coordinator tells it, which was created at
    the epoch `first`. `losses`: address ->
    [from, to] of each time that it was killed, left or was late for its lease,
    until somebody stood there again. It moves from an owner once for each of his
    losses that was not over when it was created, and from nobody else."""
    wrong = []
    owners = collections.Counter(h["address"] for h in item["history"])
    for address, times in owners.items():
        since = sum(1 for _, to in losses.get(address, ()) if to >= created)
        if times > since:
            wrong.append(f"moved: {item['id']} {times} times from {address}, which was lost {since} times")
    if item["epoch"] != first + len(item["history"]):
        wrong.append(f"epochs: {item['id']} is at epoch {item['epoch']} with {len(item['history'])} owners since {first}")
    return wrong


def judge_growth(begin, end, short):
    """What grew above its bound, of {what: figure}. Between the end of warming
    up and the end of the run: resident 10 % and 4 MiB, 8 files, 2 threads, a
    tenth of the store's keys and what the run itself left there (`kept`: records
    of failovers, which are kept until there are 1,000), twice its data and 24 MiB
    (a store cleans up when it likes, and the SQL stores keep 50,000 changes). A short run has hardly warmed up: 24 MiB
    resident, and its store may grow."""
    bounds = {"rss": begin["rss"] + (24 << 20) * SLOW if short else begin["rss"] * 1.1 + (4 << 20),
              "files": begin["files"] + 8, "threads": begin["threads"] + 2}
    if not short:
        bounds["keys"] = begin["keys"] * 1.1 + 200 + 4 * end["kept"]
        bounds["data"] = begin["data"] * 2 + (24 << 20)
    return [f"growth: {what} {begin[what]} -> {end[what]}, at most {int(most)}"
            for what, most in bounds.items() if end[what] > most]


class Node:
    """One over HTTP: it heartbeats while it is up."""

    def __init__(self, kind, address, lease):
        self.kind, self.address, self.lease = kind, address, lease
        self.up, self.busy = False, threading.Lock()
        self.startup, self.instance, self.answered = 0, None, 0

    def begin(self):
        self.startup = max(int(time.time() * 1000), self.startup + 1)
        self.instance, self.answered, self.up = None, time.monotonic(), True

    def path(self):
        return f"/v1/nodes/{self.kind}/{self.address}"

    def beat(self, api, load):
        """The pause until the next one, and what was answered."""
        sent = time.monotonic()
        query = f"?ttl={self.lease}s" + (f"&instance={self.instance}" if self.instance else "")
        answer = api("PUT", self.path() + query, {
            "startupTime": self.startup, "processId": 7, "serverStatus": "NORMAL", "cpuUsage": round(load, 3),
            "memoryUsage": 0.2, "diskUsage": 0.1, "threadPoolUsage": 0.1, "slots": 16}, timeout=5)
        if answer.status in (200, 201):
            self.instance, self.answered = answer.json["instance"], sent
            return answer.json["renew_after_ms"] / 1000, answer
        return 1, answer


class Load:
    THREADS = 6

    def __init__(self, say, ports, lease, masters, workers, rate, seed):
        self.say = say
        self.ports, self.lease, self.rate = ports, lease, rate
        self.chance = random.Random(seed)
        self.masters = [Node("master", f"10.8.0.{n}:5678", lease) for n in range(1, masters + 1)]
        self.workers = [Node("worker", f"10.9.{n // 250}.{n % 250 + 1}:1234", lease) for n in range(workers)]
        self.lock = threading.Lock()            # guards all below
        self.count = collections.Counter()
        self.errors = []
        self.open = {}                          # id -> item as last told, when it is to be finished
        self.created = {}                       # id -> when, its first epoch
        self.losses = collections.defaultdict(list)
        self.moved = {}                         # id -> as last told, of those that moved
        self.tried = set()                      # ids whose end was said, and not answered
        self.slow = collections.Counter()       # heartbeats by ms, to the power of two
        self.down = set()                       # addresses whose work is not finished now
        self.due = []                           # heap of (when, number, node)
        self.numbers = itertools.count()
        self.over = threading.Event()           # nothing new
        self.ended = threading.Event()          # no more heartbeats either
        self.threads = []

    def error(self, text):
        with self.lock:
            self.errors.append(text)
        self.say(text)

    def lost(self, address, over=float("inf")):
        with self.lock:
            self.losses[address].append([time.monotonic(), over])

    def processes(self, address):
        """Who stands there, as each coordinator tells."""
        told = [Api(p)("GET", f"/v1/nodes/master/{address}", timeout=5) for p in self.ports]
        return [t.json["process"]["startupTime"] if t.status == 200 else None for t in told]

    def stands(self, address, before, seconds):
        """Somebody else than `before` stands there, and each coordinator knows:
        one that does not yet may still give an item to who was lost."""
        try:
            wait_for(f"another process at {address}",
                     lambda: all(now not in (None, was) for now, was in zip(self.processes(address), before)), seconds)
        except AssertionError as error:
            self.error(f"stays away: {error}")
        with self.lock:
            self.down.discard(address)
            for loss in self.losses[address]:
                loss[1] = min(loss[1], time.monotonic())

    def join(self, node, after=0.0):
        node.begin()
        with self.lock:
            heapq.heappush(self.due, (time.monotonic() + after, next(self.numbers), node, node.startup))

    # --- heartbeats ----------------------------------------------------------

    def next_due(self):
        with self.lock:
            if self.due and self.due[0][0] <= time.monotonic():
                return heapq.heappop(self.due)[2:]
        return None

    def fenced(self, node):
        """It was not killed: was it late, by this machine, or is that an error?"""
        late = time.monotonic() - node.answered
        self.lost(node.address, time.monotonic() + self.lease)  # until all know who stands there now
        with self.lock:
            self.count["late"] += 1
        if late < self.lease * 0.8:
            self.error(f"lease: {node.kind} {node.address} lost it {late:.1f} s after its last renewal")
        node.begin()

    def beat(self, apis, node, chance):
        began = time.monotonic()
        port = chance.choice(self.ports)
        try:
            pause, answer = node.beat(apis[port], chance.uniform(0.05, 0.6))
        except NET:
            with self.lock:
                self.count["unanswered"] += 1
            return 0.3
        took = time.monotonic() - began
        with self.lock:
            self.count["beats" if answer.status < 300 else "refused"] += 1
            self.slow[int(took * 1000).bit_length()] += 1
        if answer.status == 409 and answer.code == "fenced":
            self.fenced(node)
        elif answer.status >= 300 and answer.status not in (503, 504):
            self.error(f"heartbeat: {node.address} {answer.status} {answer.text[:200]}")
        return pause

    def beats(self, number):
        apis, chance = {p: Api(p) for p in self.ports}, random.Random(number)
        while not self.ended.is_set():
            found = self.next_due()
            if found is None:
                self.ended.wait(0.02)
                continue
            node, startup = found
            with node.busy:
                if not node.up or node.startup != startup:
                    continue    # it died or left; who came after it has an entry of its own
                pause, startup = self.beat(apis, node, chance), node.startup
            with self.lock:
                heapq.heappush(self.due, (time.monotonic() + pause, next(self.numbers), node, startup))

    # --- work ----------------------------------------------------------------

    def submit(self):
        apis = itertools.cycle([Api(p) for p in self.ports])
        for n in itertools.count():
            if self.over.wait(self.chance.uniform(0.5, 1.5) / self.rate):
                return
            item, before = f"soak-{n}", time.monotonic()
            while True:     # said again until somebody has accepted it
                try:
                    answer = next(apis)("POST", "/v1/work", {"id": item, "kind": "master"}, timeout=5)
                    if answer.status in (200, 201):
                        break
                    if answer.status not in (503, 504):
                        self.error(f"submit: {item} {answer.status} {answer.text[:200]}")
                        break
                except NET:
                    pass
                if self.over.wait(0.3):
                    return
            if answer.status in (200, 201):
                with self.lock:
                    self.count["items"] += 1
                    told = answer.json
                    self.created[item] = before, told["epoch"] - len(told["history"])
                    self.open[item] = answer.json, before + self.chance.uniform(0.2, 1) * self.lease

    def told(self, item):
        """An item as a coordinator has just told it."""
        with self.lock:
            before, when = self.open[item["id"]]
            if len(item["history"]) > len(before["history"]):
                self.count["moves"] += len(item["history"]) - len(before["history"])
                self.moved[item["id"]] = item
            self.open[item["id"]] = item, when

    def refresh(self, api, name):
        answer = api("GET", f"/v1/work/{name}", timeout=5)
        if answer.status == 200:
            self.told(answer.json)
        elif answer.status == 404 and name in self.tried:
            self.finished(name)     # carried out then, and forgotten since
        elif answer.status == 404:
            self.error(f"lost: {name} was accepted and is not there")
            with self.lock:
                self.open.pop(name)

    def finished(self, name):
        with self.lock:
            self.open.pop(name)
            self.tried.discard(name)
            self.count["finished"] += 1
            if name not in self.moved:
                self.created.pop(name)

    def finish_one(self, api, name, item):
        again = name in self.tried
        self.tried.add(name)    # until it is answered
        answer = api("DELETE", f"/v1/work/{name}?epoch={item['epoch']}", timeout=5)
        if answer.status in (503, 504):
            return
        if answer.status == 200 or answer.status == 404 and again:
            self.finished(name)
            return
        self.tried.discard(name)
        if answer.status in (404, 409):
            self.refresh(api, name)
        else:
            self.error(f"finish: {name} {answer.status} {answer.text[:200]}")

    def finish(self):
        apis = itertools.cycle([Api(p) for p in self.ports])
        while not self.ended.wait(0.1):
            now = time.monotonic()
            with self.lock:
                due = [(name, item) for name, (item, when) in self.open.items()
                       if item["owner"] not in self.down and (when <= now or self.over.is_set())]
            for name, item in due:
                try:
                    if item["state"] in ("assigned", "running"):
                        self.finish_one(next(apis), name, item)
                    else:
                        self.refresh(next(apis), name)
                except NET:
                    pass

    # --- who comes and goes --------------------------------------------------

    def stop(self, node, leaves):
        """It dies, or it leaves in order."""
        with node.busy:
            node.up = False
        with self.lock:
            self.down.add(node.address)
        self.lost(node.address)
        if leaves:
            self.leave(node)

    def leave(self, node):
        """Said again until it is heard; or its time is over, as if it had died."""
        answer, by = None, time.monotonic() + self.lease
        while time.monotonic() < by:
            try:
                answer = Api(self.ports[0])("DELETE", f"{node.path()}?startupTime={node.startup}", timeout=5)
                if answer.status not in (503, 504):
                    break
            except NET:
                pass
            time.sleep(0.3)
        if answer and answer.status not in (204, 404, 409, 503, 504):
            self.error(f"leave: {node.address} {answer.status} {answer.text[:200]}")

    def work_moves(self, address, seconds):
        """Nothing of what this owner had is left there."""
        api = Api(self.ports[-1])

        def gone():
            with self.lock:
                mine = [name for name, (item, _) in self.open.items() if item["owner"] == address]
            for name in mine:
                self.refresh(api, name)
            page = api("GET", f"/v1/work?kind=master&owner={address}&limit=1").json
            return not mine and not page["items"]
        try:
            wait_for(f"the work of {address} at others", gone, seconds)
        except AssertionError as error:
            left = api("GET", f"/v1/work?kind=master&owner={address}&limit=3").json["items"]
            self.error(f"stays: {error}; {[(i['id'], i['state'], i['epoch']) for i in left]}, "
                       f"{api('GET', f'/v1/nodes/master/{address}').text[:300]}")

    def churn_workers(self):
        """One leaves, one dies, one comes, in turn; most are up."""
        away = collections.deque()
        for n in itertools.count():
            if self.over.wait(self.lease / 5):
                return
            up = [w for w in self.workers if w.up]
            if n % 3 == 2 and len(away) > len(self.workers) // 10:
                self.join(away.popleft())
            elif n % 3 < 2 and len(away) <= len(self.workers) // 8:
                node = self.chance.choice(up)
                self.stop(node, leaves=n % 3 == 0)
                away.append(node)
                with self.lock:
                    self.count["worker " + ("leaves" if n % 3 == 0 else "deaths")] += 1

    def read(self):
        """What dashboards and clients of the balancer ask for."""
        apis = itertools.cycle([Api(p) for p in self.ports])
        paths = ["/v1/workers/best?count=3"] * 40 + ["/v1/nodes?limit=1000", "/metrics", "/v1/cluster",
                                                     "/v1/failovers?limit=100", "/v1/work?limit=1000"]
        for path in itertools.cycle(paths):
            if self.over.wait(0.25):
                return
            try:
                answer = next(apis)("GET", path, timeout=10)
                with self.lock:
                    self.count["reads" if answer.status == 200 else "reads refused"] += 1
            except NET:
                with self.lock:
                    self.count["reads refused"] += 1

    # --- from begin to end ---------------------------------------------------

    def start(self):
        for n, node in enumerate(self.masters + self.workers):
            self.join(node, after=n * self.lease / 3 / (len(self.masters) + len(self.workers)))
        for job, *words in [*((self.beats, n) for n in range(self.THREADS)), (self.submit,), (self.finish,),
                            (self.churn_workers,), (self.read,)]:
            self.threads.append(threading.Thread(target=self.guarded, args=(job, *words), daemon=True))
            self.threads[-1].start()

    def guarded(self, job, *words):
        try:
            job(*words)
        except Exception as error:  # noqa: a thread must not lose it
            self.error(f"{job.__name__}: {type(error).__name__}: {error}")

    def settle(self):
        """Nothing new; all that is open is finished."""
        self.over.set()
        try:
            wait_for("all work finished", lambda: not self.open, 60 + 2 * self.lease)
        except AssertionError:
            with self.lock:
                left = [(i["id"], i["state"], i["owner"], i["epoch"]) for i, _ in list(self.open.values())[:3]]
            self.error(f"unfinished: {len(self.open)}, {left}")
        self.ended.set()
        for t in self.threads:
            t.join(30)
        for name, item in self.moved.items():
            for wrong in judge_item(item, *self.created[name], self.losses):
                self.error(wrong)

    def percentile(self, share):
        """An upper bound of it, in ms."""
        with self.lock:
            total, seen = sum(self.slow.values()), 0
            for bits in sorted(self.slow):
                seen += self.slow[bits]
                if seen >= share * total:
                    return 1 << bits
        return 0
