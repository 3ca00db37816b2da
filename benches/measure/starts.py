"""The containers that the engine started, as it tells of each."""

from datetime import datetime, timezone


def starts(engine, since, until, *labels):
    """Gives the ids of the containers with all these labels that were started between two Unix times in seconds, and are
    there still. Not by the engine's events: it keeps the last 256 of them, which is those of 85 containers."""
    found = (engine.container(container) for container in engine.containers(*labels))
    return [each["Id"] for each in found if since <= seconds(each["State"]["StartedAt"]) <= until]


def seconds(told):
    """Gives the Unix time of one of the engine's, which have nanoseconds and are in UTC."""
    whole, _, part = told.removesuffix("Z").partition(".")
    at = datetime.fromisoformat(whole).replace(tzinfo=timezone.utc)
    return at.timestamp() + float(f"0.{part or 0}")
