"""The bench's own folder, and what benches that were killed have left."""

import os
import shutil
import tempfile

from .server import remove_from_engine
from .twin import LABEL

PREFIX = "func-bench-"


class Folder:
    """A temporary folder, named after this process; what dead ones left is removed first, on the engine too."""

    def __init__(self, engine):
        self.engine, self.name = engine, f"{PREFIX}{os.getpid()}"

    def __enter__(self):
        sweep(self.engine)
        self.path = os.path.join(tempfile.gettempdir(), self.name)
        os.mkdir(self.path, 0o700)
        return self

    def __exit__(self, *_):
        clear(self.engine, self.path)

    def part(self, name):
        """Makes a folder in it."""
        path = os.path.join(self.path, name)
        os.mkdir(path)
        return path


def clear(engine, folder):
    """Removes a bench's folder, its servers' things on the engine, and its own."""
    for part in os.listdir(folder):
        data = os.path.join(folder, part, "data")
        if os.path.isdir(data):
            remove_from_engine(engine, data)
    name = os.path.basename(folder)
    engine.remove_all(f"{LABEL}={name}", name)
    shutil.rmtree(folder, ignore_errors=True)


def sweep(engine):
    for name in os.listdir(tempfile.gettempdir()):
        pid = name.removeprefix(PREFIX)
        if name != pid and pid.isdigit() and not os.path.exists(f"/proc/{pid}"):
            clear(engine, os.path.join(tempfile.gettempdir(), name))
