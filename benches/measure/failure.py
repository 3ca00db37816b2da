"""What can go wrong with a measurement."""


class Unmeasured(Exception):
    """Something could not be measured; the text says what and why."""
