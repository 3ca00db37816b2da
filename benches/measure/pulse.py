"""A small client for where there is no wrk: kept connections, each asks again a pause after its answer.

A program of its own, so that nothing else of the bench holds it up: `pulse.py <address> <port> <host> <connections>
<pause in ms>`. On SIGINT it prints what wrk's report does, latencies corrected as wrk does."""

import asyncio
import signal
import sys
import time
from collections import Counter


async def main(address, port, host, connections, pause_ms):
    seen, errors, began = [], Counter(), time.perf_counter()
    ask = f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
    beats = [beat(address, int(port), ask, int(pause_ms) / 1000, seen, errors) for _ in range(int(connections))]
    tasks = [asyncio.create_task(each) for each in beats]
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, stopped.set)
    await stopped.wait()
    for task in tasks:
        task.cancel()
    duration_us = (time.perf_counter() - began) * 1e6
    print(f"bench {len(seen)} {duration_us:.0f} {errors.total()}")
    each_us = duration_us * int(connections) / max(len(seen), 1)
    for value, count in sorted(Counter(corrected(seen, each_us)).items()):
        print(f"at {value} {count}")


def corrected(seen, each_us):
    """Gives each latency, and for one that held up others what they would have had: one shorter by `each_us`, and so
    on."""
    for value in seen:
        yield value
        shorter = value - each_us
        while value > 2 * each_us and shorter > each_us:
            yield int(shorter)
            shorter -= each_us


async def beat(address, port, ask, pause, seen, errors):
    while True:
        try:
            reader, writer = await asyncio.open_connection(address, port)
            while True:
                await asyncio.sleep(pause)
                began = time.perf_counter()
                writer.write(ask)
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = head.partition(b"content-length:")[2].split(b"\r\n")[0]
                await reader.readexactly(int(length))
                if head.split(b" ", 2)[1] != b"200":
                    errors["status"] += 1
                seen.append(int((time.perf_counter() - began) * 1e6))
        except (OSError, EOFError, ValueError) as error:
            errors[type(error).__name__] += 1
            await asyncio.sleep(0.1)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
