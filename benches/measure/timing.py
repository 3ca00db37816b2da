"""`Server-Timing`: what the edge says about where the time of a request went."""

# What of a poised start is func's own; the rest is the app's: connect until it listens, first-byte until it answers.
OWN = ("queue", "claim", "gate", "commit")
PARTS = ("queue", "claim", "gate", "connect", "commit", "first-byte")


def read(text):
    """Gives the way of a cold start, empty for a warm request, and the parts in ms."""
    way, parts = "", {}
    for metric in text.split(","):
        name, *fields = (field.strip() for field in metric.split(";"))
        given = dict(field.partition("=")[::2] for field in fields)
        if name == "cold":
            way = given.get("desc", "").strip('"')
        elif "dur" in given:
            parts[name] = parts.get(name, 0.0) + float(given["dur"])
    return way, parts
