"""Judges a chaos run by what its masters wrote down themselves.

 - no item is worked on by two processes at one time: each process works on it
   from `begin` to `end`, to the deadline of its own lease, or to its death;
 - the epochs of an item strictly increase with every process that begins it;
 - whatever was accepted is there, and in the end all of it is done, by somebody
   who had begun it at the epoch at which it is done.
"""

import json


def read(path):
    with open(path, "rb") as f:
        for line in f:
            if line.endswith(b"\n"):    # the last one may be cut short
                yield json.loads(line)


def spells(path, address, died):
    """What one master worked on: (item, epoch, who, from, to, how it ended)."""
    open_, done, until, ticks = {}, [], {}, {}
    for e in read(path):
        if e["event"] == "lease":
            until[e["process"]] = e["until"]
        elif e["event"] == "tick":
            ticks[e["process"]] = e["t"]
        elif e["event"] == "begin":
            open_[e["item"], e["epoch"]] = e["t"], e["process"]
        elif e["event"] == "end":
            begun, process = open_.pop((e["item"], e["epoch"]))
            done.append((e["item"], e["epoch"], f"{address}@{process}", begun, e["at"], e["why"]))
    for (item, epoch), (begun, p) in open_.items():
        last = min(until[p], died) if p in until else ticks.get(p, begun)
        done.append((item, epoch, f"{address}@{p}", begun, max(begun, last), "died"))
    return done


def judge(histories, accepted, final):
    """`histories`: (path, address, when it died or inf); `accepted`: ids;
    `final`: id -> item as it stood in the end. Returns (problems, figures)."""
    problems, by_item = [], {}
    for path, address, died in histories:
        for s in spells(path, address, died):
            by_item.setdefault(s[0], []).append(s)
    for item, own in by_item.items():
        own.sort(key=lambda s: s[3])
        for a, b in zip(own, own[1:]):
            if b[3] < a[4]:
                problems.append(f"two owners: {item}: {a[2]} at epoch {a[1]} until {a[4] / 1e9:.3f} ({a[5]}), "
                                f"{b[2]} at epoch {b[1]} from {b[3] / 1e9:.3f}")
            if b[1] <= a[1]:
                problems.append(f"epochs: {item}: {a[1]} of {a[2]}, then {b[1]} of {b[2]}")
    for item in accepted:
        f = final.get(item)
        if f is None:
            problems.append(f"lost: {item} was accepted and is not there")
        elif f["state"] != "done":
            problems.append(f"unfinished: {item} is {f['state']} at {f['owner']}, epoch {f['epoch']}, "
                            f"{f.get('cause') or ''}")
        elif f["epoch"] not in [s[1] for s in by_item.get(item, [])]:
            problems.append(f"out of nothing: {item} is done at epoch {f['epoch']}, which nobody had begun")
    begun = sum(len(s) for s in by_item.values())
    return problems, {"items": len(accepted), "begun": begun,
                      "taken over": begun - len(by_item), "processes": len({s[2] for o in by_item.values() for s in o})}
