"""Processes that are ended with the bench, whatever happens to it."""

import ctypes
import os
import signal
import subprocess

from .failure import Unmeasured

PR_SET_PDEATHSIG = 1
TICKS = os.sysconf("SC_CLK_TCK")
LIBC = ctypes.CDLL(None, use_errno=True)


def die_with_parent():
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class Process:
    """One started program with its output in a file; `stop` is for `with` and for `finally`."""

    def __init__(self, command, log, environment=None):
        self.name = command[0].rsplit("/", 1)[-1]
        self.log = log
        with open(log, "ab") as output:
            self.child = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                preexec_fn=die_with_parent,
            )
        self.pid = self.child.pid

    def said(self):
        with open(self.log, encoding="utf-8", errors="replace") as log:
            return log.read()

    def check(self):
        """Raises Unmeasured if it has ended."""
        if self.child.poll() is not None:
            raise Unmeasured(f"{self.name} ended with {self.child.returncode}:\n{self.said()[-2000:]}")

    def stop(self, grace=40):
        """Asks it to end, and kills it if it does not within `grace` seconds."""
        if self.child.poll() is not None:
            return
        self.child.terminate()
        try:
            self.child.wait(grace)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()


def cpu_seconds(pids):
    """Gives the processor time that these processes have used so far."""
    ticks = 0
    for pid in pids:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
            # The name, in parentheses, may contain anything; user and system time are the 12th and 13th after it.
            fields = stat.read().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / TICKS


def children(pid):
    """Gives the ids of a process' children."""
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as listed:
        return [int(child) for child in listed.read().split()]
