"""Figure 2: requests to an app that runs, through func's edge and through nginx in front of the same container."""

import os
import subprocess
from dataclasses import dataclass

from .failure import Unmeasured
from .figure import Figure
from .machine import cores
from .nginx import Nginx
from .process import cpu_seconds
from .request import get

APP = "warm"
CONNECTIONS = (1, 64)
PAGE = "<!doctype html><title>warm</title>" + "<p>A page of about one kilobyte.</p>\n" * 26
# The app stays awake, and may use all cores: what is measured is the proxy.
FUNC_TOML = 'idle = "1h"\n[limits]\ncpus = {cores}.0\n'
NOTE = (
    "wrk on the same machine, a page of 1 kB from the static recipe's server, kept connections, {seconds} s each, in "
    "turn; more requests and a lower p99 are better. nginx: `worker_processes auto`, kept connections to the "
    "container, no access log, the same added headers. Direct: without a proxy. The processor time is the proxy's own."
)
# wrk's own summary rounds; this gives microseconds.
REPORT = """
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format("bench %d %d %d %d\\n", summary.requests, summary.duration, latency:percentile(99.0),
    e.connect + e.read + e.write + e.status + e.timeout))
end
"""


@dataclass
class Door:
    """Where the same page is asked for: an address, and the processes that stand behind it before the app's."""

    name: str
    address: tuple
    pids: list


def measure(server, folder, rounds, seconds):
    """Gives three figures for each number of connections: requests per second, p99, processor time per request."""
    repository = server.repository(APP)
    repository.commit({"index.html": PAGE, "func.toml": FUNC_TOML.format(cores=cores())})
    repository.push()
    container = server.awake(APP)
    direct = server.address(container)
    report = os.path.join(folder, "report.lua")
    with open(report, "w", encoding="utf-8") as file:
        file.write(REPORT)
    with Nginx(os.path.join(folder, "nginx"), [(server.host(APP), direct)]) as nginx:
        doors = [
            Door("func's edge", server.edge, [server.pid]),
            Door("nginx", nginx.address, nginx.pids()),
            Door("direct", direct, []),
        ]
        for door in doors:
            if get(door.address, server.host(APP))[1] != PAGE:
                raise Unmeasured(f"{door.name} changed the page")
        figures = compare(doors, server.host(APP), report, rounds, seconds)
    if server.awake(APP)["Id"] != container["Id"]:
        raise Unmeasured("the container was replaced while it was measured")
    return figures


def compare(doors, host, report, rounds, seconds):
    figures, ways = [], []
    for connections in CONNECTIONS:
        plural = "" if connections == 1 else "s"
        kinds = [
            Figure(f"warm, {connections} connection{plural}: {title}", NOTE.format(seconds=seconds))
            for title in ("requests per second", "p99", "its processor time per request")
        ]
        figures += kinds
        for door in doors:
            rows = [kinds[0].row(door.name, "req/s"), kinds[1].row(door.name, "ms")]
            if door.pids:
                rows.append(kinds[2].row(door.name, "µs"))
            ways.append((connections, door, rows))
    for connections, door, _ in ways:
        wrk(door, host, report, connections, 1)
    for number in range(rounds):
        # Forwards and backwards in turn: whoever comes after another does so as often before it.
        for connections, door, rows in ways if number % 2 == 0 else reversed(ways):
            for row, value in zip(rows, wrk(door, host, report, connections, seconds)):
                row.add(value)
    return figures


def wrk(door, host, report, connections, seconds):
    """Gives requests per second, the 99th percentile of the latency in ms, and the door's processor time in µs for
    each request.

    Raises Unmeasured if a single request failed."""
    url = f"http://{door.address[0]}:{door.address[1]}/"
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", report, "-H", f"Host: {host}", url]
    before = cpu_seconds(door.pids)
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 30, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unmeasured(f"wrk: {error}") from error
    used = cpu_seconds(door.pids) - before
    words = next((line.split() for line in done.stdout.splitlines() if line.startswith("bench ")), None)
    if words is None:
        raise Unmeasured(f"wrk said: {done.stdout[-500:]} {done.stderr[-500:]}")
    requests, duration_us, p99_us, errors = map(int, words[1:])
    if errors or not requests:
        raise Unmeasured(f"{errors} of {requests} requests to {url} failed")
    return requests / duration_us * 1e6, p99_us / 1000, used / requests * 1e6
