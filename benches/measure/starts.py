"""The containers that the engine started, by its own events."""

import json
import urllib.parse

from .failure import Unmeasured


def starts(engine, since, until, *labels):
    """Gives the ids of the containers with all these labels that were started between two Unix times in seconds."""
    asked = {"label": list(labels), "event": ["start"], "type": ["container"]}
    between = {"since": f"{since:.6f}", "until": f"{until:.6f}"}
    query = urllib.parse.urlencode(between | {"filters": json.dumps(asked)})
    status, answer = engine.raw("GET", f"/events?{query}")
    if status != 200:
        raise Unmeasured(f"the engine told no events: {status} {answer[:300]!r}")
    return [json.loads(line)["id"] for line in answer.splitlines() if line.strip()]
