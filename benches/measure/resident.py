"""The memory of containers: their processes and the shim that containerd keeps for each."""

import os

from .failure import Unmeasured
from .memory import kilobytes


def container_mb(engine, container):
    """Gives the PSS in MB of a container's shim and of all processes in it: what processes share is shared out."""
    pid = engine.container(container)["State"]["Pid"]
    shim = parent(pid)
    name = comm(shim)
    if not name.startswith("containerd-shim"):
        raise Unmeasured(f"the parent of {container[:12]} is no shim, but {name}")
    try:
        return sum(kilobytes(each, "smaps_rollup", "Pss") for each in tree(shim)) * 1024 / 1e6
    except PermissionError as error:
        raise Unmeasured(f"only root may read the memory of others: {error}") from error


def parent(pid):
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
        return int(stat.read().rpartition(")")[2].split()[1])


def comm(pid):
    with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as name:
        return name.read().strip()


def tree(pid):
    """Gives a process and all that descend from it. Each thread has children of its own."""
    pids = [pid]
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/children", encoding="ascii") as listed:
            for child in listed.read().split():
                pids += tree(int(child))
    return pids
