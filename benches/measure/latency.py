"""Latencies as they are counted: how often each was seen."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Latencies:
    """How often each latency was seen, in µs. What was held up counts for those that would have come meanwhile."""

    seen: Counter = field(default_factory=Counter)
    requests: int = 0
    errors: int = 0
    seconds: float = 0.0

    def add(self, other):
        self.seen += other.seen
        self.requests += other.requests
        self.errors += other.errors
        self.seconds += other.seconds

    def percentile_ms(self, percent):
        """Gives the latency in ms that so many percent do not exceed; None if nothing was seen."""
        least, counted = self.seen.total() * percent / 100, 0
        for value, count in sorted(self.seen.items()):
            counted += count
            if counted >= least:
                return value / 1000
        return None


def read(text):
    """Reads what wrk and the pulse print: `bench <requests> <µs> <errors>`, then `at <µs> <count>` for each latency.
    None if they did not."""
    found, seen = None, Counter()
    for line in text.splitlines():
        words = line.split()
        if words[:1] == ["bench"]:
            found = [int(word) for word in words[1:]]
        elif words[:1] == ["at"]:
            seen[int(words[1])] += int(words[2])
    if found is None:
        return None
    requests, duration_us, errors = found
    return Latencies(seen, requests, errors, duration_us / 1e6)
