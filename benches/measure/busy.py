"""A machine that has something to do: a busy loop for each core."""

import os
import sys
import time

from .machine import cores
from .process import Process

# Each ends by itself as well, should nobody end it.
LOOP = "import time\nend = time.monotonic() + 900\nwhile time.monotonic() < end: pass"
SETTLE = 1.0


class Busy:
    """Busy loops at normal priority, as long as it is entered."""

    def __init__(self, folder):
        self.log, self.loops = os.path.join(folder, "busy.log"), []

    def __enter__(self):
        try:
            for _ in range(cores()):
                self.loops.append(Process([sys.executable, "-c", LOOP], self.log))
            time.sleep(SETTLE)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for loop in self.loops:
            loop.stop(grace=5)
