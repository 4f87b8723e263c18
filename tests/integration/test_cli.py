"""The command line as people meet it: what it shows, what lifts what is held,
what it says to wrong calls, and how it fits a terminal."""

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import time

from cluster import PELORUS, SLOW, check, equal, run, submit, wait_for

M1, M2 = "127.0.0.1:5678", "127.0.0.1:5679"


def test_the_words_for_people(cluster):
    c = cluster.coordinator()
    url = f"http://127.0.0.1:{c.port}"
    cluster.agent("worker", "127.0.0.1:1234", "--slots", "8", "--group", "gpu")
    cluster.wait_up(c.api, "127.0.0.1:1234")
    check("127.0.0.1:1234" in cluster.cli("nodes", url=url), "nodes")
    equal(cluster.cli("best", "gpu", url=url).strip(), "127.0.0.1:1234", "best")
    out = cluster.cli("work", "add", "--kind", "worker", "--id", "x", "--group", "gpu", url=url)
    check("assigned" in out, out)
    wait_for("work", lambda: re.search(r"^x ", cluster.cli("work", url=url), re.M))
    for words in (("done", "x", "2"), ("done", "x", "4000000000000"), ("handover", "x", "7")):
        text = cluster.cli("work", *words, url=url, expect=2)
        check("x is at epoch 1" in text and "never given" in text, text)
    check("no work" in cluster.cli("work", "done", "no-such", "1", url=url, expect=4), "an unknown id")
    equal(c.api("GET", "/readyz").status, 200, "a mistyped epoch was sent to nobody, so nothing stops")
    check("done" in cluster.cli("work", "done", "x", "1", url=url), "done")
    check("no failovers" in cluster.cli("failover", url=url), "failover")
    text = cluster.cli("best", "no-such-group", url=url, expect=4)
    check("group_not_found" in text, text)
    check("127.0.0.1:1234" in cluster.cli("best", "gpu", "--explain", url=url + "/"), "explain")
    text = cluster.cli("drain", "worker", "127.0.0.1:1234", "--dry-run", url=url, expect=2)
    check("--dry-run" in text and "usage: pelorus drain" in text, text)
    text = cluster.cli("work", "add", "--payload", '1,"kind":"worker"', url=url, expect=2)
    check("--payload" in text, text)
    submit(c.port, (f"many-{n}" for n in range(1100)), kind="worker", group="gpu", threads=8)
    wait_for("all of them listed", lambda: len(c.api.all("/v1/work?kind=worker")) == 1101)
    page = json.loads(cluster.cli("work", "--json", url=url))
    equal((len([i for i in page["items"] if i["id"].startswith("many-")]), page["next"]),
          (1100, None), "every page of a list as JSON")
    equal(cluster.cli("work", url=url).count("many-"), 1100, "every page of a list as a table")
    cluster.cli("nodes", "one", "two", "three", url=url, expect=2)
    for words in (("best", "--count", "x"), ("nodes", "--kind", "boss"), ("work", "add", "--kind", "boss"),
                  ("work", "--limit", "0"), ("work", "done", "x", "y"), ("nodes", "--no-such"),
                  ("drain", "worker", "127.0.0.1:1234", "--for", "1"), ("nodes", "--kind")):
        cluster.cli(*words, url=url, expect=2)
    for words in (("cordon", "worker", "::1:5"), ("failover", "start", "master", "::1:5"),
                  ("work", "--kind", "worker", "--owner", "::1:5"), ("nodes", "worker", "::1:5"),
                  ("agent", "--kind", "worker", "--address", "::1:5")):
        text = cluster.cli(*words, url=url, expect=2)
        check("brackets" in text, text)
    text = cluster.cli("nodes", url="http://127.0.0.1:1", expect=3)
    check("pelorus serve" in text, text)
    check(cluster.cli("version").startswith("pelorus "), "version")
    for words, says in WRONG_CALLS:
        text = cluster.cli(*words, url=url, expect=2)
        check(says in text, lambda: f"{words}: {text}")
    both = f"http://127.0.0.1:1,http://127.0.0.1:{c.port}"
    equal(cluster.cli("nodes", "--json", url=both).count('"worker"'), 1, "the one that answers")
    text = cluster.cli("best", "gpu", "--exclude", "127.0.0.1:1234", url=f"{url},http://127.0.0.1:1", expect=1)
    check("all_busy" in text, lambda: f"a refusal is not forgotten for the silence of the next: {text}")


WRONG_CALLS = (
    ((), "what is to be done"), (("ndoes",), "no subcommand ndoes"), (("--json", "nodes"), "the command comes first"),
    (("nodes", "worker"), "ADDRESS is missing"), (("nodes", "best"), "one command at a time"),
    (("status", "nodes"), "`nodes` is a word too many; one command"), (("work", "done", "x"), "EPOCH is missing"),
    (("work", "give", "x"), "there is no `work give`"), (("work", "get", "x", "--id", "y"), "work get: takes no --id"),
    (("failover", "show", "x", "--force"), "takes no --force"), (("best", "--peek=1"), "--peek takes no value"),
    (("best", "--count"), "--count needs a value"), (("groups", "set", "g"), "ADDRESS is missing"),
    (("cordon", "127.0.0.1:1234", "worker"), "`127.0.0.1:1234` is no kind"), (("work", "done", "", "1"), "is empty"),
    (("nodes", "--sate", "up"), "no option --sate"), (("nodes", "-x"), "no option -x"), (("fence", "x", "0"), "no epoch"),
    (("brake",), "--for 10m, or --undo"), (("pause", "--for", "0s"), "0s is no time"), (("version", "x"), "too many"),
    (("drain", "worker", "127.0.0.1:1234", "--undo", "--for", "1m"), "has no time"), (("help", "a", "b"), "too many"),
    (("best", "gpu", "--group", "x"), "twice"), (("serve", "nodes"), "nodes: not understood"))

COMMANDS = ("serve", "agent", "check-config", "registry", "replay", "version", "status", "nodes", "best", "work", "failover", "cordon",
            "uncordon", "drain", "undrain", "restart", "forget", "settings", "pause", "resume", "brake", "groups", "fence")


def test_every_command_helps_and_says_when_nobody_can_read_it(cluster):
    def run_into(out, *words):
        done = subprocess.run([PELORUS, *words], stdout=out, stderr=subprocess.PIPE, text=True, check=False,
                              restore_signals=False)
        return done.returncode, done.stderr
    names = cluster.cli("help")
    for command in COMMANDS:
        check(f"  {command} " in names, f"help lists {command}")
        text = cluster.cli(command, "--help")
        check(f"usage: pelorus {command}" in text, text)
        check("xit code" in text or command == "version", text)
        equal(cluster.cli("help", command), text, f"help {command}")
    with open("/dev/full", "w", encoding="ascii") as full:
        for words in (*((c, "--help") for c in COMMANDS), ("check-config",), ("version",), ("help",)):
            code, said = run_into(full, *words)
            check(code == 1 and "standard output: No space left" in said, f"{words} into a full disk: {code} {said}")
    read, write = os.pipe()  # SIGPIPE is ignored in Python and by whoever it starts
    os.close(read)
    for words in (("help",), ("nodes", "--help"), ("check-config",)):
        equal(run_into(write, *words)[1], "", f"{words} into a closed pipe")
    os.close(write)


def on_a_terminal(columns, *words):
    """What a command prints on a terminal of so many columns."""
    main, side = pty.openpty()
    fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    env = {k: v for k, v in os.environ.items() if k != "COLUMNS"}
    with subprocess.Popen([PELORUS, *words], stdin=side, stdout=side, stderr=subprocess.PIPE, env=env) as process:
        os.close(side)
        text = b""
        try:
            while part := os.read(main, 65536):
                text += part
        except OSError:  # EIO: nobody has the other side any more
            pass
        said = process.stderr.read()
    os.close(main)
    equal(process.returncode, 0, f"{words}: {said} exit")
    return text.decode().replace("\r\n", "\n")


def explained(port, *words, expect=0):
    """First line, and the candidates by address: a dict each."""
    done = subprocess.run([PELORUS, "best", "--explain", *words, "--url", f"http://127.0.0.1:{port}"],
                          capture_output=True, text=True, timeout=60 * SLOW, check=False)
    equal(done.returncode, expect, f"best --explain {' '.join(words)}: {done.stderr} exit")
    lines = done.stdout.splitlines()
    first = lines.pop(0) if expect == 0 else done.stderr.splitlines()[0]
    names = re.split(r"\s{2,}", lines[0])
    rows = [dict(zip(names, re.split(r"\s{2,}", line))) for line in lines[1:]]
    return first, {row["ADDRESS"]: row for row in rows}


def test_best_explained_says_who_and_why(cluster):
    c = cluster.coordinator(more="balancer.warm-up: 0s\n")
    one, two = "127.0.0.1:1234", "127.0.0.1:1235"

    def report(address, **fields):
        a = c.api("PUT", f"/v1/nodes/worker/{address}?ttl=10m", {"startupTime": 5, "slots": 4, **fields})
        check(a.status in (200, 201), a.text)
        c.api("GET", f"/v1/nodes?index={a.json['index']}&wait=5s")

    report(one, cpuUsage=0.1)
    report(two, cpuUsage=0.95)
    cluster.wait_up(c.api, one, two)
    cluster.cli("groups", "set", "gpu", one, two, "--balancer", "cpu-max=0.8", url=f"http://127.0.0.1:{c.port}")
    first, rows = wait_for("who is hot in the group",
                           lambda: (lambda e: e if e[1][two]["HOT"] == "cpu" else None)(explained(c.port, "gpu")))
    equal(first, f"picked {one}", f"who: {rows}")
    equal((rows[one]["HOT"], rows[two]["HOT"]), ("-", "cpu"), "why")
    check(float(rows[one]["TASKS"]) >= 1 > float(rows[one]["SCORE"]), lambda: f"{rows}")
    equal(explained(c.port, "gpu", "--peek")[0], f"would pick {one}", "peek")
    equal(explained(c.port, "gpu", "--count", "2")[0], f"picked {one}, {one}", "two")
    report(one, serverStatus="BUSY")
    report(two, serverStatus="BUSY")
    first, rows = explained(c.port, "gpu", expect=1)
    check("all_busy" in first, first)
    equal({row["WHY NOT"] for row in rows.values()}, {"busy"}, f"{rows}")
    c.api("PATCH", "/v1/settings", {"policy": "ROUND_ROBIN"})
    report(one, serverStatus="NORMAL")
    rows = wait_for("another policy", lambda: (lambda r: r if r[one]["TASKS"] == "-" else None)(explained(c.port)[1]))
    equal(rows[two]["WHY NOT"], "busy", "by another policy")


def test_tables_fit_the_terminal_and_pipes_get_all(cluster):
    c = cluster.coordinator()
    url = f"http://127.0.0.1:{c.port}"
    name = "worker-0.headless.dolphinscheduler-production-eu-central-1.svc.cluster.local.example.company.internal:1234"
    for address, groups in ((name, ["gpu"]), ("10.0.0.9:1234", ["\u6d4b\u8bd5\u7ec4"])):
        a = c.api("PUT", f"/v1/nodes/worker/{address}?ttl=10m", {"startupTime": 5, "groups": groups})
        equal(a.status, 201, a.text)
    cluster.wait_up(c.api, name, "10.0.0.9:1234")
    cluster.cli("drain", "worker", "10.0.0.9:1234", "--for", "10m", "--reason", "new kernel", "--who", "ops", url=url)
    lift = "pelorus undrain worker 10.0.0.9:1234"
    rows = wait_for("the drain is seen", lambda: [r for r in cluster.cli("nodes", url=url).splitlines() if lift in r])
    for part in ("draining", "10m", "ops", "new kernel", "\u6d4b\u8bd5\u7ec4"):
        check(part in rows[0], f"{part}: {rows[0]}")
    for columns in (60, 80, 200):
        for words in (("nodes",), ("groups",), ("best", "--explain", "--peek"), ("status",)):
            text = on_a_terminal(columns, *words, "--url", url)
            wide = [line for line in text.splitlines() if len(line) > columns]
            check(not wide, f"{words} on {columns} columns: {wide}")
        check(lift in on_a_terminal(columns, "nodes", "--url", url), "what lifts it")
    check(name in cluster.cli("nodes", url=url) and name in cluster.cli("groups", url=url), "whole names in a pipe")
    cluster.cli("undrain", "worker", "10.0.0.9:1234", url=url)
    wait_for("the gate is open", lambda: lift not in cluster.cli("nodes", url=url))
    equal(c.api.get("/v1/nodes/worker/10.0.0.9:1234")["gate"]["until"], None, "an open gate has no end")


def test_the_command_line_shows_and_lifts_what_it_meets(cluster):
    c = cluster.coordinator()
    url, worker = f"http://127.0.0.1:{c.port}", "127.0.0.1:1234"
    cluster.agent("worker", worker, "--slots", "8")
    cluster.agent("master", M1)
    cluster.wait_up(c.api, worker, M1)

    def cli(*words, expect=0):
        return cluster.cli(*words, url=url, expect=expect)
    text = cli("status")
    for part in (f"coordinator  127.0.0.1:{c.port}, of 1", "sqlite, connected", "worker: up 1", "master: idle"):
        check(part in text, text)
    cli("pause", "--for", "1h", "--reason", "night work", "--who", "ann")
    wait_for("paused", lambda: "pelorus resume" in cli("status"))
    settings = json.loads(cli("settings", "--json"))
    equal((settings["paused"], settings["who"], settings["reason"]), (True, "ann", "night work"), "settings")
    cli("resume")
    wait_for("resumed", lambda: "paused" not in cli("status"))
    check("@" in c.api.get("/v1/settings")["who"], "by default the user and the host")
    cli("brake", "--for", "10m")
    check(c.api.get("/v1/settings")["brake_override_until"], "the brake is overridden")
    cli("brake", "--undo")
    equal(c.api.get("/v1/settings")["brake_override_until"], None, "and not any more")
    cli("brake", expect=2)
    cli("settings", "--policy", "RANDOM")
    equal(c.api.get("/v1/settings")["policy"], "RANDOM", "policy")
    cli("groups", "set", "gpu", worker)
    wait_for("a group", lambda: re.search(rf"^gpu .*{worker}", cli("groups"), re.M))
    cli("groups", "remove", "gpu")
    cli("groups", "remove", "gpu", expect=4)
    cli("cordon", "worker", worker, "--who", "ann")

    def gate():
        return c.api.get(f"/v1/nodes/worker/{worker}")["gate"] or {"state": "open", "who": None}
    wait_for("cordoned", lambda: gate()["who"] == "ann")
    cli("uncordon", "worker", worker)
    cli("drain", "worker", worker)
    cli("undrain", "worker", worker)
    wait_for("open", lambda: gate()["state"] == "open")
    cli("cordon", "worker", worker, "--for", "1m", expect=2)
    cli("forget", "worker", worker, expect=1)  # it is alive
    cli("forget", "worker", "127.0.0.1:9", "--reason", "gone", expect=4)
    cli("work", "add", "--id", "x")
    check(cli("fence", "x", "1").startswith("yes: "), "the present epoch")
    cli("fence", "x", "7", expect=1)
    cli("fence", "nothing", "7", expect=4)
    equal(c.api("GET", "/readyz").status, 200, "a look is no evidence")


def test_what_is_held_says_what_lifts_it(cluster):
    """Its answer, its record, its line and its table; and that it is so."""
    c = cluster.coordinator()
    url = f"http://127.0.0.1:{c.port}"
    for m in (M1, M2):
        equal(c.api("PUT", f"/v1/nodes/master/{m}?ttl=10m", {"startupTime": 5}).status, 201, "a master")
    cluster.wait_up(c.api, M1, M2)
    equal(c.api("PUT", "/v1/work/h", {"kind": "master", "owner": M1, "policy": "hold"}).status, 201, "work")

    def table(*words):
        return cluster.cli(*words, url=url)

    def lifts(of):
        return [line[line.index("pelorus "):].split("  ")[0].split() for line in of.splitlines() if "pelorus " in line]
    table("pause", "--who", "ann")
    wait_for("paused", lambda: c.api.get("/v1/cluster")["failover"]["paused"])
    answer = json.loads(table("failover", "start", "master", M1, "--force", "--json"))
    equal((answer["state"], answer["cause"], answer["lift"]), ("held", "paused", "pelorus resume"), "the answer")
    equal(wait_for("the table", lambda: lifts(table("failover"))), [["pelorus", "resume"]], "the table")
    equal(c.api.get(f"/v1/failovers/{answer['id']}")["lift"], "pelorus resume", "the record")
    check('lift="pelorus resume"' in "".join(c.lines("!failover-held", M1)), "the log's line")
    table(*lifts(table("failover"))[0][1:])
    wait_for("it goes on", lambda: c.api.get(f"/v1/failovers/{answer['id']}")["state"] == "done", 30)
    equal(lifts(table("failover")), [], "nothing is held any more")
    held = wait_for("a held item", lambda: lifts(table("work")))
    equal(held, [["pelorus", "work", "release", "h"]], "its table")
    table(*held[0][1:])
    equal(c.api.get("/v1/work/h")["owner"], M2, "it goes on")
    for order, state in (("cordon", "cordoned"), ("drain", "draining"), ("restart", "restarting")):
        table(order, "master", M2)
        command = wait_for(state, lambda: lifts(table("nodes")))[-1]
        equal(c.api.get(f"/v1/nodes/master/{M2}")["gate"]["state"], state, "the gate")
        table(*command[1:])
        wait_for("open again", lambda: c.api.get(f"/v1/nodes/master/{M2}")["gate"]["state"] == "open")


def test_the_command_line_and_agents_ask_the_next_coordinator(cluster):
    a, b = cluster.coordinator(), cluster.coordinator()
    urls = f"http://127.0.0.1:1, http://127.0.0.1:{a.port}/,http://127.0.0.1:{b.port}"
    agent = cluster.agent("worker", "127.0.0.1:1234", "--ttl", f"{6 * SLOW}s", url=urls, command=("sleep", "1000"))
    for c in (a, b):
        cluster.wait_up(c.api, "127.0.0.1:1234")
    check("127.0.0.1:1234" in cluster.cli("nodes", url=urls), "nodes")
    a.kill()
    cluster.cli("cordon", "worker", "127.0.0.1:1234", url=urls)
    wait_for("the gate is seen", lambda: (b.api.get("/v1/nodes/worker/127.0.0.1:1234")["gate"] or {}).get(
        "state") == "cordoned")
    time.sleep(12 * SLOW)  # two leases, all of them with the one that is left
    check(not agent.lines("!lease") and agent.alive(), lambda: agent.text()[-800:])
    equal(b.api.get("/v1/nodes/worker/127.0.0.1:1234")["flaps"], 0, "flaps")
    for wrong in ("http://127.0.0.1:1,localhost:7077", "http://", "http://h:99999", "http://a b", "ftp://h",
                  "http://::1:7077", "http://h/?a=b", "http://h,"):
        text = cluster.cli("nodes", url=wrong, expect=2)
        check("http://" in text and "usage: pelorus nodes" in text, text)
        text = cluster.cli("nodes", "--url", wrong, expect=2)
        check("--url" in text, text)
        cluster.cli("agent", "--kind", "worker", "--address", "h:1", "--url", wrong, expect=2)


if __name__ == "__main__":
    run(sys.modules[__name__])
