"""A process that only sleeps: what the machine itself does to whoever has to be on time.

A program of its own: `sleeper.py`. It sleeps half a millisecond again and again, at a high priority where it may. On SIGINT
it prints what wrk's report does; no latency is corrected, since nothing queues behind a sleep."""

import os
import signal
import time
from collections import Counter

SLEEP_S = 0.0005
NICE = -15


def main():
    asked = []
    signal.signal(signal.SIGINT, lambda *_: asked.append(True))
    try:
        os.nice(NICE)
    except PermissionError:
        pass  # It shares with everybody then.
    seen, began = Counter(), time.perf_counter()
    while not asked:
        before = time.perf_counter()
        time.sleep(SLEEP_S)
        seen[int((time.perf_counter() - before) * 1e6)] += 1
    print(f"bench {seen.total()} {(time.perf_counter() - began) * 1e6:.0f} 0")
    for value, count in sorted(seen.items()):
        print(f"at {value} {count}")


if __name__ == "__main__":
    main()
