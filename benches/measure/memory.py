"""Figure 4: the memory of a func that has nothing to do, beside nginx's."""

import os
import time

from .figure import Figure
from .nginx import Nginx
from .server import Server

APPS = 10
SETTLE = 3
# Each kind: the file in /proc/<pid>, and its line.
KINDS = {"RSS": ("status", "VmRSS"), "Pss": ("smaps_rollup", "Pss"), "highest RSS": ("status", "VmHWM")}
NOTE = (
    "`func serve all`: git host, builder, edge, cleaner and ledger in one process. nginx: master and workers added up, "
    "just started, one site. RSS counts what processes share in each of them, Pss shares it out. Less is better."
)


def measure(program, folder, engine, samples):
    """Gives a figure for each kind of memory; everything is read `samples` times, a second apart."""
    figures = {kind: Figure(f"memory, idle: {kind}", NOTE) for kind in KINDS}
    with Server(program, os.path.join(folder, "memory"), engine) as server:
        read(figures, "func, no apps", [server.pid], samples)
        for number in range(APPS):
            repository = server.repository(f"app-{number}")
            repository.commit({"index.html": f"<h1>{number}</h1>\n"})
            repository.push()
        server.asleep()
        read(figures, f"func, {APPS} sleeping apps, after their pushes", [server.pid], samples)
        server.stop()
        server.start()
        server.asleep()
        read(figures, f"func, {APPS} sleeping apps, after a restart", [server.pid], samples)
    # Nothing is asked of it, so nobody need listen behind it.
    with Nginx(os.path.join(folder, "idle"), [("_", ("127.0.0.1", 9))]) as nginx:
        read(figures, "nginx", nginx.pids(), samples)
    return list(figures.values())


def read(figures, name, pids, samples):
    time.sleep(SETTLE)
    rows = {kind: figure.row(name, "MB") for kind, figure in figures.items()}
    for _ in range(samples):
        for kind, (file, field) in KINDS.items():
            rows[kind].add(sum(kilobytes(pid, file, field) for pid in pids) * 1024 / 1e6)
        time.sleep(1)


def kilobytes(pid, file, field):
    with open(f"/proc/{pid}/{file}", encoding="ascii", errors="replace") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith(field + ":"))
