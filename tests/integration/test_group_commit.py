"""Work that many clients give out at once shares commits: what was answered
stands after a kill at any moment, and what was not stands as a whole or not at
all."""

import sys
import threading

from cluster import Api, check, equal, run, settings, submit, wait_for

CLIENTS, ROUNDS, PAUSES = 8, 5, (0.15, 0.31, 0.47, 0.23, 0.39)


class Client(threading.Thread):
    """Gives out work under ids of its own until the coordinator is gone."""

    def __init__(self, port, name):
        super().__init__()
        self.port, self.name_of = port, name
        self.answered, self.sent = [], None

    def run(self):
        api = Api(self.port)
        try:
            for i in range(100000):
                self.sent = f"{self.name_of}-{i}"
                a = api("POST", "/v1/work", {"id": self.sent, "kind": "master"}, timeout=10)
                if a.status != 201:
                    return
                self.answered.append(self.sent)
                self.sent = None
        except Exception:  # noqa: it was killed, in the middle of anything
            return


def whole(api, owned, work, answered):
    """Record and marker, or neither."""
    a = api("GET", f"/v1/work/{work}")
    stands = a.status == 200
    check(stands or (a.status == 404 and not answered), f"{work}: {a.status} {a.text}")
    equal(work in owned, stands, f"{work}: its marker stands")
    if stands:
        equal(a.json["state"], "assigned", work)


@settings(session=3)
def test_a_kill_in_the_middle_of_a_group_commit(cluster):
    cluster.agent("master", "10.0.0.1:5678")
    first = cluster.coordinator()
    cluster.wait_up(first.api, "10.0.0.1:5678")
    answered, open_ones = [], []
    victim = first
    for r in range(ROUNDS):
        clients = [Client(victim.port, f"r{r}-c{n}") for n in range(CLIENTS)]
        before = len(answered)
        for c in clients:
            c.start()
        wait_for("answers", lambda: sum(len(c.answered) for c in clients) >= CLIENTS)
        threading.Event().wait(PAUSES[r])
        victim.kill()
        for c in clients:
            c.join()
            answered += c.answered
            open_ones += [c.sent] if c.sent else []
        check(len(answered) > before, "somebody was answered")
        victim = cluster.coordinator()
        cluster.wait_up(victim.api, "10.0.0.1:5678")
    owned = {w["id"] for w in victim.api.all("/v1/work?kind=master")}  # a list of markers
    print(f"     {len(answered)} were answered, {len(open_ones)} were not")
    for work in answered:
        whole(victim.api, owned, work, True)
    for work in open_ones:
        whole(victim.api, owned, work, False)
    # Whoever asks again gets it once.
    submit(victim.port, open_ones)


if __name__ == "__main__":
    run(sys.modules[__name__])
