"""The plot: every way's median and range on one scale of time, as an SVG."""

from html import escape
from math import log10

from .ways import API, COLD, FROZEN, HOST, POISED, RUN, START, WARM

# From the slowest kind of way to the fastest; func's own are set in bold.
ORDER = (RUN, API, START, COLD, HOST, FROZEN, POISED, WARM)
FUNCS = (COLD, FROZEN, POISED, WARM)
LABELS = {
    RUN: "docker run",
    API: "create + start (API)",
    START: "docker start",
    COLD: "func, not poised",
    HOST: "bare host, no container",
    FROZEN: "func, frozen",
    POISED: "func, poised",
    WARM: "func, warm",
}
# Of the machine that is idle, and of the one under load: readable on white by those who see no red or no green.
COLOURS = {False: "#1f5fbf", True: "#d9822b"}
WIDTH, LEFT, RIGHT, TOP, ROW, HEAD, GAP = 860, 190, 90, 64, 26, 30, 14
DECADES = (0.1, 1, 10, 100, 1_000, 10_000)
FONT = "font-family='system-ui, sans-serif'"


class Scale:
    """Milliseconds to pixels, by their logarithm; from one power of ten to another."""

    def __init__(self, values):
        low = max((d for d in DECADES if d <= min(values)), default=DECADES[0])
        high = min((d for d in DECADES if d >= max(values)), default=DECADES[-1])
        self.decades = [d for d in DECADES if low <= d <= high]

    def x(self, value):
        low, high = self.decades[0], self.decades[-1]
        share = log10(min(max(value, low), high) / low) / max(log10(high / low), 1)
        return LEFT + share * (WIDTH - LEFT - RIGHT)


def svg(all_samples):
    """Gives the text of the picture: a panel for each kind of app and number of apps, a line for each way."""
    panels = {}
    for samples in all_samples:
        if any(row.values for row in samples.rows.values()):
            panels.setdefault((samples.title, samples.apps), []).append(samples)
    values = [v for group in panels.values() for s in group for row in s.rows.values() for v in row.values]
    if not values:
        return ""
    scale, y, body = Scale(values), TOP, []
    for (title, apps), group in panels.items():
        ways = [way for way in ORDER if any(s.rows[way].values for s in group)]
        body += panel(scale, y, heading(title, apps), ways, group)
        y += HEAD + len(ways) * ROW + GAP
    return document(y + 24, [*legend(), *body, *ticks(scale, y)])


def heading(title, apps):
    return f"{title}, 1 app of each kind" if apps == 1 else f"{title}, {apps} apps"


def panel(scale, top, title, ways, group):
    height = HEAD + len(ways) * ROW
    parts = [f"<text x='{LEFT}' y='{top + 18}' font-weight='600'>{escape(title)}</text>"]
    for decade in scale.decades:
        x = scale.x(decade)
        parts.append(f"<line x1='{x:.1f}' x2='{x:.1f}' y1='{top + HEAD - 4}' y2='{top + height}' stroke='#ddd'/>")
    for number, way in enumerate(ways):
        y = top + HEAD + number * ROW + ROW / 2
        weight = " font-weight='600'" if way in FUNCS else ""
        parts.append(f"<text x='{LEFT - 12}' y='{y + 4:.1f}' text-anchor='end'{weight}>{LABELS[way]}</text>")
        for samples in group:
            parts += mark(scale, y + (4.5 if samples.loaded else -4.5), samples.rows[way], samples)
    return parts


def mark(scale, y, row, samples):
    """A line from the least to the most, a dot for the median; the idle machine's medians are written as well."""
    if not row.values:
        return []
    colour = COLOURS[samples.loaded]
    least, middle, most = (scale.x(v) for v in (min(row.values), row.median, max(row.values)))
    told = f"{samples.machine}: {min(row.values):.2f} / {row.median:.2f} / {max(row.values):.2f} ms"
    parts = [
        f"<g><title>{told}</title>",
        f"<line x1='{least:.1f}' x2='{most:.1f}' y1='{y}' y2='{y}' stroke='{colour}' stroke-width='2' opacity='.45'/>",
        f"<circle cx='{middle:.1f}' cy='{y}' r='4' fill='{colour}'/></g>",
    ]
    if not samples.loaded:
        text = f"{row.median:.0f} ms" if row.median >= 100 else f"{row.median:.1f} ms"
        parts.append(f"<text x='{WIDTH - 12}' y='{y + 8.5:.1f}' text-anchor='end' fill='{colour}'>{text}</text>")
    return parts


def legend():
    title = "From the request to the first byte of its answer"
    parts = [f"<text x='12' y='24' font-size='16' font-weight='600'>{title}</text>"]
    texts = ((False, LEFT, "idle machine (its medians at the right)"), (True, LEFT + 290, "a busy loop on each core"))
    for loaded, x, text in texts:
        parts.append(f"<circle cx='{x}' cy='46' r='4' fill='{COLOURS[loaded]}'/>")
        parts.append(f"<text x='{x + 10}' y='50'>{text}</text>")
    return parts


def ticks(scale, y):
    texts = []
    for decade in scale.decades:
        told = f"{decade / 1000:g} s" if decade >= 1000 else f"{decade:g} ms"
        texts.append(f"<text x='{scale.x(decade):.1f}' y='{y + 6}' text-anchor='middle' fill='#555'>{told}</text>")
    return texts


def document(height, parts):
    head = (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {height}' width='{WIDTH}' height='{height}' "
        f"{FONT} font-size='13' fill='#222'>"
    )
    return "\n".join([head, f"<rect width='{WIDTH}' height='{height}' fill='#fff'/>", *parts, "</svg>", ""])
