"""The same program on the bare host: from exec to its first byte."""

import os
import subprocess

from .clock import now
from .engine import docker
from .machine import free_port, output
from .repository import write
from .request import get


class HostProgram:
    """A kind's program with its files in a folder."""

    def __init__(self, kind, folder):
        self.kind, self.folder = kind, os.path.join(folder, kind.name)
        write(self.folder, kind.files)

    def title(self):
        """Says which interpreter it is, and which one the image has."""
        in_image = docker("run", "--rm", "--network=none", self.kind.base, self.kind.interpreter, "--version")
        return f"{output(self.kind.program[0], '--version')}; the image has {in_image}"

    def start(self):
        """Starts it; gives the seconds to the first byte that it answers."""
        port = free_port()
        environment = {"PORT": str(port), "PATH": os.environ.get("PATH", "")}
        began = now()
        # No preexec_fn: with one, Python copies itself before it execs.
        child = subprocess.Popen(
            self.kind.program,
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            first, _ = get(("127.0.0.1", port))
        finally:
            child.kill()
            child.wait()
        return first - began
