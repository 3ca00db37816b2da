"""Fairness: in which order those who asked were answered."""


def ranks(replies):
    """Gives for each, in the order of asking, its place in the order of answers."""
    by_answer = sorted(range(len(replies)), key=lambda i: replies[i].first)
    places = [0] * len(replies)
    for place, index in enumerate(by_answer):
        places[index] = place
    return places


def correlation(places):
    """Gives Spearman's rank correlation of asking and being answered: 1 if the order is kept, 0 if it is any."""
    number = len(places)
    if number < 2:
        return 1.0
    squares = sum((place - index) ** 2 for index, place in enumerate(places))
    return 1 - 6 * squares / (number * (number**2 - 1))


def displacement(places):
    """Gives by how many places somebody was answered earlier or later than asked, at most."""
    return max((abs(place - index) for index, place in enumerate(places)), default=0)
