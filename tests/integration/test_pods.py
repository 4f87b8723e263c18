#!/usr/bin/env python3
"""What pods.py measures, in small: who came and went leaves nothing behind."""

import sys

import pods
from cluster import check, run, settings
from soak_stores import SqliteStore


@settings(more=pods.more(), heartbeat="10s", registry=SqliteStore)
def test_a_thousand_pods_leave_nothing_behind(cluster):
    pods.ten_percent(cluster, 1000, 5)


@settings(more=pods.more(), heartbeat="10s", registry=SqliteStore)
def test_finished_items_are_collected_a_txn_at_a_time(cluster):
    lasted = pods.items(cluster, 2000)
    check(len(lasted) >= 2000 // 254, f"{len(lasted)} locks")


if __name__ == "__main__":
    run(sys.modules[__name__])
