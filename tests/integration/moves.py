"""What a failover did to the masters' work: looked at item by item."""

from datetime import datetime

from cluster import check, equal, wait_for


def listed(api, ids):
    """The masters' work by id, when just these are listed: a list is as old as
    what was last heard from the registry, the items in it are fresh."""
    ids = set(ids)

    def look():
        items = {i["id"]: i for i in api.all("/v1/work?kind=master")}
        return items if set(items) == ids else None
    return wait_for(f"{len(ids)} items listed", look)


def all_moved_once(api, victim, moved_ids, kept_ids):
    """The moved ones once, to somebody alive, at epoch 2; the others not at all."""
    items = listed(api, [*moved_ids, *kept_ids])
    for i in moved_ids:
        item = items[i]
        equal((item["state"], item["epoch"]), ("assigned", 2), f"{i} state and epoch")
        check(item["owner"] != victim, f"{i} is still at {victim}")
        equal([h["address"] for h in item["history"]], [victim], f"history of {i}")
    for i in kept_ids:
        equal((items[i]["state"], items[i]["epoch"], items[i]["history"]),
              ("assigned", 1, []), f"{i}, which nobody should touch")


def gone_from(api, victim):
    def look():
        a = api("GET", f"/v1/work?kind=master&owner={victim}&limit=1")
        return a.status == 200 and not a.json["stale"] and not a.json["items"]
    return look


def finished(api, victim, state="done"):
    def look():
        a = api("GET", "/v1/failovers?limit=1000")
        return [f for f in a.json["items"] if f["address"] == victim and f["state"] == state] \
            if a.status == 200 else None
    return look


def ids_at(api, address):
    return [i["id"] for i in api.all(f"/v1/work?kind=master&owner={address}")]


def given_out(api, n, *addresses):
    """Lists by owner follow the registry's watch: wait until all n items show."""
    wait_for(f"{n} items at their owners", lambda: sum(len(ids_at(api, a)) for a in addresses) == n)


def moved_in(record):
    at = {k: datetime.fromisoformat(record[k].replace("Z", "+00:00")) for k in ("fenced_at", "finished")}
    return (at["finished"] - at["fenced_at"]).total_seconds()
