"""The machine on which it was measured."""

import datetime
import os
import platform
import socket
import subprocess

from .engine import docker

ENGINE = "{{.ServerVersion}}, {{.DefaultRuntime}}, {{.Driver}}, cgroup v{{.CgroupVersion}}"


def release_program():
    """Returns the path of the release program that cargo makes of this checkout."""
    checkout = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    target = os.environ.get("CARGO_TARGET_DIR", os.path.join(checkout, "target"))
    return os.path.join(target, output("rustc", "--print", "host-tuple"), "release/func")


def cores():
    return len(os.sched_getaffinity(0))


def load():
    return " ".join(f"{average:.2f}" for average in os.getloadavg())


def output(*command):
    """Gives the first line that a program prints of itself, on either stream; `?` if it cannot be run."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return "?"
    lines = (done.stdout + done.stderr).splitlines()
    return lines[0].strip() if lines else "?"


def free_port():
    """Gives a port that is free now, for those who cannot be told to take any."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def facts(program, before, *beside):
    """Gives the lines above the table; `before` is the load before the first measurement, `beside` the versions of
    what func is measured beside."""
    engine = docker("info", "--format", ENGINE)
    folder = os.path.dirname(os.path.abspath(__file__))
    commit = output("git", "-C", folder, "describe", "--always", "--dirty")
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    today = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    return [
        f"- {today}, {output(program, '--version')}, checkout at {commit}",
        f"- {cores()} cores, {memory_gib:.0f} GiB, Linux {platform.release()}; load before: {before}, after: {load()}",
        f"- Docker Engine {engine}; {'; '.join([*beside, output('git', '--version')])}",
    ]
