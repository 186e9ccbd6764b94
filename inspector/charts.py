"""Pictures as SVG, drawn on the server: no script, colours from the style sheet's classes, a sentence for screen readers.

Every function returns markup that is safe to place in a page: all text in it is escaped here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, NamedTuple

from markupsafe import Markup
from markupsafe import escape as esc

from inspector.words import SIDES, per_cent, plain, thousands
from nouns.x import HELPFUL_AT, HELPFUL_FACTOR

NOT_HELPFUL_BASE, NOT_HELPFUL_SLOPE = -0.05, -0.8  # Not helpful below -0.05 - 0.8 |factor|


@dataclass(frozen=True)
class Line:
    """A curve of the factor-line chart: `kind` chooses colour and dash (winner, existing, runner)."""

    label: str
    kind: str
    curve: Sequence[float]


@dataclass(frozen=True)
class Score:
    """One row of the score strip."""

    label: str
    kind: str
    score: float | None
    lower: float | None
    upper: float | None
    href: str = ""


class Dot(NamedTuple):
    """A text in the factor-intercept plane. `shape`: winner, runner, candidate or note; `cluster` is a letter or ''."""

    label: str
    shape: str
    factor: float
    intercept: float
    cluster: str = ""
    colour: int = 0


def _svg(width: float, height: float, title: str, body: Sequence[str], css: str, role: str = "img") -> Markup:
    return Markup(
        f'<svg class="chart {css}" viewBox="0 0 {width:g} {height:g}" role="{role}" aria-label="{esc(title)}" '
        f'preserveAspectRatio="xMidYMid meet">{"".join(body)}</svg>'
    )


def _text(x: float, y: float, text: object, css: str = "tick", anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{css}" text-anchor="{anchor}">{esc(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, css: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{css}"/>'


def _short(value: float) -> str:
    """A tick's label: one decimal at most, a real minus."""
    return f"{value:.1f}".removesuffix(".0").replace("-", "−") if abs(value) > 1e-9 else "0"


def factor_line(lines: Sequence[Line], rug: Sequence[float] = ()) -> Markup:
    """Helpful probability (0 to 1) along the rater-factor line (-1 to 1), one curve a text, jurors as ticks below.

    Curves have equally spaced points from -1 to 1. With no curve an empty frame is drawn.
    """
    width, height, left, right, top, bottom = 520.0, 250.0, 40.0, 12.0, 12.0, 54.0
    inner_w, inner_h, third = width - left - right, height - top - bottom, 1 / 3

    def x(f: float) -> float:
        return left + (min(1.0, max(-1.0, f)) + 1) / 2 * inner_w

    def y(p: float) -> float:
        return top + (1 - min(1.0, max(0.0, p))) * inner_h

    body = [
        f'<rect x="{x(low):.1f}" y="{top}" width="{x(high) - x(low):.1f}" height="{inner_h}" class="side"/>'
        for low, high in ((-1, -third), (third, 1))
    ]
    for p in (0, 0.25, 0.5, 0.75, 1):
        body += [_line(left, y(p), width - right, y(p), "grid"), _text(left - 6, y(p) + 4, per_cent(p), anchor="end")]
    rug_y = y(0) + 4
    if rug:
        shown = sorted(rug)[:: max(1, len(rug) // 240)]
        body.append(f'<path d="{"".join(f"M{x(f):.1f} {rug_y:.0f}v9" for f in shown)}" class="rug"/>')
    for f, name in ((-1 + third, "negative"), (0, "middle"), (1 - third, "positive")):
        body.append(_text(x(f), rug_y + 24, SIDES[name]))
    body.append(
        _text(left + inner_w / 2, height - 8, "raters, from one side to the other: the two usually disagree", "axis")
    )
    # Drawn last lies on top: the winner over the others.
    known = [line for line in lines if len(line.curve) > 1]
    for line in sorted(known, key=lambda entry: {"existing": 0, "runner": 1}.get(entry.kind, 2)):
        last = len(line.curve) - 1
        points = " ".join(f"{x(-1 + 2 * k / last):.1f},{y(p):.1f}" for k, p in enumerate(line.curve) if p is not None)
        body.append(
            f'<polyline points="{points}" class="curve {esc(line.kind)}"><title>{esc(line.label)}</title></polyline>'
        )
    said = "; ".join(
        f"{line.label}: {per_cent(line.curve[0])} at the end of {SIDES['negative']}, "
        f"{per_cent(line.curve[len(line.curve) // 2])} in the middle, {per_cent(line.curve[-1])} at the end of {SIDES['positive']}"
        for line in known
    )
    title = f"How many raters would find it helpful, from one side to the other. {said or 'No curves.'}"
    return _svg(width, height, title, body, "factor-line")


def score_strip(rows: Sequence[Score], left: float = 118.0) -> Markup:
    """Scores with their intervals on X's scale, one row a text, with the line at which a note becomes Helpful.

    `left`: room for the rows' labels.
    """
    known = [row for row in rows if row.score is not None]
    values = [v for row in known for v in (row.score, row.lower, row.upper) if v is not None]
    low, high = min([-0.1, *values]) - 0.05, max([0.5, *values]) + 0.05
    width, right, row_h, top = 520.0, 14.0, 26.0, 20.0
    height = top + row_h * max(1, len(known)) + 24

    def x(value: float) -> float:
        return left + (value - low) / (high - low) * (width - left - right)

    base = top + row_h * max(1, len(known))
    body = [_line(left, base, width - right, base, "axis-line")]
    tick = -1.0
    while tick <= 1.001:
        if low <= tick <= high:
            body.append(_text(x(tick), base + 16, _short(tick)))
            body.append(_line(x(tick), top - 4, x(tick), base, "grid"))
        tick = round(tick + 0.2, 1)
    body += [
        _line(x(HELPFUL_AT), top - 6, x(HELPFUL_AT), base, "threshold"),
        _text(x(HELPFUL_AT), 10, "Helpful from 0.40", "threshold-label"),
    ]
    for number, row in enumerate(known):
        middle = top + row_h * (number + 0.5)
        label = _text(left - 10, middle + 4, row.label, "row-label", "end")
        body.append(f'<a href="{esc(row.href)}">{label}</a>' if row.href else label)
        if row.lower is not None and row.upper is not None:
            body.append(_line(x(row.lower), middle, x(row.upper), middle, f"whisker {esc(row.kind)}"))
        body.append(f'<circle cx="{x(row.score or 0):.1f}" cy="{middle:.1f}" r="5.5" class="point {esc(row.kind)}"/>')
    said = "; ".join(
        f"{row.label} {plain(row.score)}, between {plain(row.lower)} and {plain(row.upper)}" for row in known
    )
    return _svg(
        width,
        height,
        f"Scores on X's scale. {said or 'Nothing was judged.'}",
        body,
        "score-strip",
        role="group" if any(row.href for row in known) else "img",
    )


Place = Callable[[float], float]


def _ground(values: Sequence[float]) -> tuple[list[str], Place, Place, float, float]:
    """The factor-intercept plane with the regions of X's statuses, as tall as the values need: shapes, x, y, width, height."""
    width, height, left, right, top, bottom = 520.0, 330.0, 44.0, 12.0, 12.0, 42.0
    low = max(-1.2, min([-0.45, *values]) - 0.05)
    high = min(1.2, max([0.62, *values]) + 0.05)
    inner_w, inner_h = width - left - right, height - top - bottom

    def x(f: float) -> float:
        return left + (min(1.0, max(-1.0, f)) + 1) / 2 * inner_w

    def y(i: float) -> float:
        return top + (high - min(high, max(low, i))) / (high - low) * inner_h

    edge = NOT_HELPFUL_BASE + NOT_HELPFUL_SLOPE
    body = [
        f'<rect x="{left}" y="{top}" width="{inner_w}" height="{inner_h}" class="region nmr"/>',
        f'<rect x="{x(-HELPFUL_FACTOR):.1f}" y="{top}" width="{x(HELPFUL_FACTOR) - x(-HELPFUL_FACTOR):.1f}" height="{y(HELPFUL_AT) - top:.1f}" class="region crh"/>',
    ]
    # Below -0.05 - 0.8 |f|: a roof whose slopes leave the picture where they reach its lower edge.
    reach = min(1.0, (NOT_HELPFUL_BASE - low) / -NOT_HELPFUL_SLOPE) if low > edge else 1.0
    foot = max(low, edge)
    corner = f"{x(1):.1f},{y(low):.1f} {x(-1):.1f},{y(low):.1f}" if foot == edge else ""
    body.append(
        f'<polygon points="{x(-reach):.1f},{y(foot):.1f} {x(0):.1f},{y(NOT_HELPFUL_BASE):.1f} {x(reach):.1f},{y(foot):.1f} {corner}" class="region crnh"/>'
    )
    body += [
        _text(x(0), top + 15, "Helpful", "region-label"),
        _text(x(0), y(low) - 7, "Not helpful", "region-label"),
        _text(x(-1) + 6, y(-0.02) + 4, "Needs more ratings", "region-label", "start"),
    ]
    tick = round(ceil(low * 5 - 1e-9) / 5, 1)
    while tick <= high:
        body.append(_text(left - 6, y(tick) + 4, _short(tick), anchor="end"))
        body.append(_line(left - 3, y(tick), left, y(tick), "axis-line"))
        tick = round(tick + 0.2, 1)
    for f in (-1, -0.5, 0, 0.5, 1):
        body.append(_text(x(f), top + inner_h + 16, _short(f)))
    body.append(_text(left + inner_w / 2, height - 6, "leaning: side A to the left, side B to the right", "axis"))
    body.append(
        f'<text x="12" y="{top + inner_h / 2:.1f}" class="axis" text-anchor="middle" transform="rotate(-90 12 {top + inner_h / 2:.1f})">score</text>'
    )
    return body, x, y, width, height


def plane(dots: Sequence[Dot]) -> Markup:
    """Texts in the factor-intercept plane with the regions of X's statuses: Helpful, Needs more ratings, Not helpful."""
    body, x, y, width, height = _ground([dot.intercept for dot in dots])
    for dot in dots:
        if dot.shape == "candidate":
            body.append(
                f'<circle cx="{x(dot.factor):.1f}" cy="{y(dot.intercept):.1f}" r="3.2" class="point candidate">'
                f"<title>{esc(dot.label)}</title></circle>"
            )
    order = ("note", "runner", "winner")  # drawn last lies on top
    for dot in sorted((dot for dot in dots if dot.shape in order), key=lambda entry: order.index(entry.shape)):
        cx, cy = x(dot.factor), y(dot.intercept)
        title = f"<title>{esc(dot.label)}</title>"
        if dot.shape == "note":
            body.append(
                f'<g class="note-dot c{dot.colour}"><rect x="{cx - 8:.1f}" y="{cy - 8:.1f}" width="16" height="16" rx="3"/>'
                f'<text x="{cx:.1f}" y="{cy + 4:.1f}" text-anchor="middle">{esc(dot.cluster)}</text>{title}</g>'
            )
        elif dot.shape == "winner":
            body.append(f'<path d="{_star(cx, cy, 10.5)}" class="point winner">{title}</path>')
        else:
            body.append(f'<path d="M{cx:.1f} {cy - 8:.1f}l8 8l-8 8l-8 -8z" class="point runner">{title}</path>')
    notes = sum(dot.shape == "note" for dot in dots)
    said = "; ".join(
        f"{dot.label}: intercept {plain(dot.intercept)}, factor {plain(dot.factor)}"
        for dot in dots
        if dot.shape in ("winner", "runner")
    )
    return _svg(
        width,
        height,
        f"{notes} notes and {len(dots) - notes} candidates by factor and intercept with the regions of X's statuses. {said}",
        body,
        "plane",
    )


def moves(winners: Sequence[Mapping[str, Any]], base: str) -> Markup:
    """Every winner of a run in the plane, with a line from the best existing note of its post; each opens its post.

    `base`: where posts lie, to which the id is added. Winners without score or factor are left out.
    """
    known = [row for row in winners if row["score"] is not None and row["factor"] is not None]
    ends = []
    for row in known:
        best = row["best"] or {}
        height = best.get("score") if best.get("score") is not None else best.get("intercept")
        lean = best.get("factor") if best.get("factor") is not None else best.get("factor1")
        ends.append((lean, height) if height is not None and lean is not None else None)
    body, x, y, width, tall = _ground([row["score"] for row in known] + [end[1] for end in ends if end])
    for row, end in zip(known, ends, strict=True):
        cx, cy, said = x(row["factor"]), y(row["score"]), f"{row['words']}: {plain(row['score'])}"
        line = ""
        if end is not None:
            line = _line(x(end[0]), y(end[1]), cx, cy, "move")
            line += f'<circle cx="{x(end[0]):.1f}" cy="{y(end[1]):.1f}" r="2.5" class="point existing"/>'
        body.append(
            f'<a href="{esc(base)}{int(row["post_id"])}" aria-label="{esc(said)}">{line}'
            f'<circle cx="{cx:.1f}" cy="{cy:.1f}" r="5" class="point winner"><title>{esc(said)}</title></circle></a>'
        )
    said = f"{len(known)} winners by factor and intercept, each with the best existing note of its post."
    return _svg(width, tall, said, body, "plane", role="group")


def _star(cx: float, cy: float, r: float) -> str:
    from math import cos, pi, sin

    points = [
        (cx + (r if k % 2 == 0 else r * 0.45) * sin(pi * k / 5), cy - (r if k % 2 == 0 else r * 0.45) * cos(pi * k / 5))
        for k in range(10)
    ]
    return "M" + "L".join(f"{px:.1f} {py:.1f}" for px, py in points) + "z"


def bars(values: Sequence[tuple[str, float]], label: str) -> Markup:
    """Shares between 0 and 1 as small horizontal bars, with their names and per cent; for instance helpful by side."""
    width, row_h, left, right = 300.0, 20.0, 74.0, 42.0
    body = []
    for number, (name, value) in enumerate(values):
        y = number * row_h
        length = min(1.0, max(0.0, value)) * (width - left - right)
        body += [
            _text(left - 8, y + 14, name, "row-label", "end"),
            f'<rect x="{left}" y="{y + 5}" width="{width - left - right}" height="10" rx="5" class="track"/>',
            f'<rect x="{left}" y="{y + 5}" width="{length:.1f}" height="10" rx="5" class="bar"/>',
            _text(width - right + 6, y + 14, per_cent(value), "row-value", "start"),
        ]
    said = ", ".join(f"{name} {per_cent(value)}" for name, value in values)
    return _svg(width, row_h * max(1, len(values)) + 2, f"{label}: {said}", body, "bars")


def ratings_by_side(counts: Sequence[int] | None) -> Markup:
    """Real ratings of a note by side: three stacked bars of helpful, somewhat, not helpful. `counts`: nine, see index.py."""
    if not counts or len(counts) != 9 or not sum(counts):
        return Markup('<span class="muted">no ratings by raters of known side</span>')
    width, row_h, left, right = 220.0, 16.0, 52.0, 26.0
    most = max(sum(counts[3 * k : 3 * k + 3]) for k in range(3))
    body, said = [], []
    for k, name in enumerate(SIDES.values()):
        no, some, yes = counts[3 * k : 3 * k + 3]
        y, x = k * row_h, left
        scale = (width - left - right) / most
        body.append(_text(left - 6, y + 12, name, "row-label small", "end"))
        for value, css in ((yes, "yes"), (some, "some"), (no, "no")):
            if value:
                body.append(
                    f'<rect x="{x:.1f}" y="{y + 3:.1f}" width="{max(1.0, value * scale - 1):.1f}" height="10" class="r-{css}"/>'
                )
                x += value * scale
        body.append(_text(x + 4, y + 12, no + some + yes, "row-value small", "start"))
        said.append(f"{name} {yes} helpful, {some} somewhat, {no} not")
    return _svg(width, row_h * 3 + 2, "Ratings: " + "; ".join(said), body, "ratings")


def histogram(edges: Sequence[float], series: Sequence[tuple[str, Sequence[int]]], label: str) -> Markup:
    """Distributions over equal bins as lines scaled to their own total, so that few winners and many candidates compare."""
    width, height, left, right, top, bottom = 520.0, 190.0, 14.0, 12.0, 10.0, 30.0
    used = [k for k in range(len(edges) - 1) if any(values[k] for _, values in series)]
    if not used:
        return Markup('<p class="muted">Nothing was scored.</p>')
    first, last = max(0, used[0] - 1), min(len(edges) - 2, used[-1] + 1)
    low, high = edges[first], edges[last + 1]
    shares = [(name, [values[k] / max(1, sum(values)) for k in range(first, last + 1)]) for name, values in series]
    most = max(max(values) for _, values in shares) or 1

    def x(value: float) -> float:
        return left + (value - low) / (high - low) * (width - left - right)

    def y(share: float) -> float:
        return top + (1 - share / most) * (height - top - bottom)

    body = [_line(left, y(0), width - right, y(0), "axis-line")]
    tick = round(ceil(low * 5 - 1e-9) / 5, 1)
    while tick <= high:
        body.append(_text(x(tick), height - 12, _short(tick)))
        tick = round(tick + 0.2, 1)
    if low < HELPFUL_AT < high:
        body.append(_line(x(HELPFUL_AT), top, x(HELPFUL_AT), y(0), "threshold"))
    for number, (name, values) in enumerate(shares):
        path = f"M{x(edges[first]):.1f} {y(0):.1f}"
        for k, share in enumerate(values):
            path += f"V{y(share):.1f}H{x(edges[first + k + 1]):.1f}"
        body.append(
            f'<path d="{path}V{y(0):.1f}" class="step s{number}"><title>{esc(name)}: {sum(series[number][1])}</title></path>'
        )
    return _svg(
        width, height, f"{label}: " + ", ".join(f"{name} ({sum(values)})" for name, values in series), body, "histogram"
    )


def funnel(steps: Sequence[dict[str, Any]]) -> Markup:
    """How many posts pass each step, as bars that narrow, with what was lost on the way written between them."""
    if not steps:
        return Markup("")
    width, row_h, left = 760.0, 42.0, 150.0
    most = max(1, steps[0]["n"])
    body = []
    for number, step in enumerate(steps):
        y = number * row_h
        w = max(2.0, (width - left - 70) * step["n"] / most)
        body += [
            _text(left - 12, y + 20, step["name"], "row-label", "end"),
            f'<rect x="{left}" y="{y + 6}" width="{w:.1f}" height="20" rx="4" class="bar"/>',
            _text(left + w + 8, y + 21, thousands(step["n"]), "row-value", "start"),
        ]
        if number + 1 < len(steps):
            after = left + min(w, max(2.0, (width - left - 70) * steps[number + 1]["n"] / most))
            body.append(
                f'<path d="M{left + w:.1f} {y + 26}L{after:.1f} {y + row_h + 6:.1f}H{left}V{y + 26}z" class="flow"/>'
            )
    said = ", ".join(f"{step['name']} {step['n']}" for step in steps)
    return _svg(width, row_h * len(steps) - 12, f"Posts through the stages: {said}", body, "funnel")
