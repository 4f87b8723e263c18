"""openapi.yaml against the program: schemathesis makes up requests from the
contract, right ones and wrong ones, and holds every answer against it.

Two seeds, side by side, each on a cluster of its own, 50 requests for each
operation, all checks: half a minute on two cores. `make contract` adds what
takes as long again: chains of requests, where one's answer is put into the
next. SEEDS, EXAMPLES and PHASES say otherwise."""

import os
import subprocess
import sys
import threading

from cluster import PATIENCE, ROOT, SLOW, Cluster, check, equal, run, settings, wait_for

CONTRACT = os.path.join(ROOT, "tests", "contract")
TOOL = os.path.join(ROOT, "build", "schemathesis", "bin", "schemathesis")
SEEDS = os.environ.get("SEEDS", "1 2").split()
EXAMPLES = os.environ.get("EXAMPLES", "50")
PHASES = os.environ.get("PHASES", "examples,coverage,fuzzing")
FLOOR = 2 ** 62  # the highest epoch that the contract knows


def someone_is_alive(api):
    """Or there is nothing to pick, and nothing but 503 is answered."""
    for kind in ("master", "worker"):
        path = f"/v1/nodes/{kind}/10.0.0.1:1?ttl=1h"
        equal(api("PUT", path, {"startupTime": 1700000000000, "processId": 1, "slots": 1000}).status, 201, path)
    wait_for("both up", lambda: len(api.all("/v1/nodes?state=up")) == 2)


def ask(cluster, seed):
    # An epoch above all that were given says that the registry lost its tail,
    # and stops everything; so all that can be made up lie below the floor.
    cluster.cli("registry", "accept-restore", "--epoch-floor", str(FLOOR), "--yes", "-c", cluster.conf("floor", 0))
    c = cluster.coordinator()
    someone_is_alive(c.api)
    said = os.path.join(cluster.dir, "schemathesis.log")
    with open(said, "w", encoding="utf-8") as out:
        # One worker: with more, hypothesis' threads get into each other's way.
        code = subprocess.run(
            [TOOL, "--config-file", os.path.join(CONTRACT, "schemathesis.toml"), "run",
             f"http://127.0.0.1:{c.port}/openapi.yaml", "--checks", "all", "--phases", PHASES, "--seed", seed,
             "--max-examples", EXAMPLES, "--continue-on-failure", "--no-shrink", "--no-color", "--workers", "1",
             "--request-timeout", str(20 * PATIENCE)],
            env={**os.environ, "PYTHONPATH": CONTRACT, "SCHEMATHESIS_HOOKS": "contract_hooks"}, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, cwd=cluster.dir, check=False,
            timeout=1500 * SLOW).returncode
    with open(said, encoding="utf-8", errors="replace") as f:
        text = f.read()
    check(code == 0, lambda: f"seed {seed}: schemathesis found what follows\n{text[text.find('= FAILURES ='):][:20000]}")
    check(" generated" in text, lambda: f"seed {seed}: no request was made: {text[-2000:]}")
    check(c.alive(), f"seed {seed}: the coordinator is alive")
    wait_for("ready afterwards", lambda: c.api("GET", "/readyz").status == 200)


@settings(heartbeat="1h", session=60)
def test_every_answer_is_as_the_contract_says(cluster):
    if not os.path.exists(TOOL):
        equal(subprocess.run([os.path.join(CONTRACT, "install.sh")], stdin=subprocess.DEVNULL, check=False).returncode,
              0, "tests/contract/install.sh")
    problems = []

    def one(place, seed):
        try:
            ask(place, seed)
        except Exception as error:  # noqa: a thread must not lose it
            problems.append(str(error))

    def another(seed):
        with Cluster(heartbeat="1h", session=60) as place:
            one(place, seed)
    threads = [threading.Thread(target=another, args=(seed,)) for seed in SEEDS[1:]]
    for t in threads:
        t.start()
    one(cluster, SEEDS[0])
    for t in threads:
        t.join()
    check(not problems, lambda: "\n".join(problems))


if __name__ == "__main__":
    run(sys.modules[__name__])
