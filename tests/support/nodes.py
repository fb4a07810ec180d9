"""A Ray cluster of two nodes on this machine, for the tests: `python nodes.py` says where, and ends with its input.

Prints {"address": HOST:PORT, "raylets": [PID, PID]}, the head first. Ray's processes end with this one, however that
ends.
"""

from __future__ import annotations

import json
import logging
import os
import sys

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

from ray.cluster_utils import Cluster

SMALL = {"num_cpus": 1, "object_store_memory": 80 << 20, "include_dashboard": False}


def raylet(node: object) -> int:
    return node.all_processes["raylet"][0].process.pid  # type: ignore[attr-defined]


if __name__ == "__main__":
    logging.disable()
    cluster = Cluster(initialize_head=True, head_node_args=SMALL)
    nodes = [cluster.head_node, cluster.add_node(**SMALL)]
    print(json.dumps({"address": cluster.address, "raylets": [raylet(node) for node in nodes]}), flush=True)
    sys.stdin.read()
