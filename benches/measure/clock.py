"""Waiting for things, and the time they take."""

import time

from .failure import Unmeasured


def now():
    return time.perf_counter()


def until(what, done, limit=60.0, every=0.02):
    """Waits until `done()` gives something true, and gives it.

    Raises Unmeasured after `limit` seconds."""
    end = now() + limit
    while True:
        result = done()
        if result:
            return result
        if now() > end:
            raise Unmeasured(f"waited {limit:.0f} s in vain: {what}")
        time.sleep(every)
