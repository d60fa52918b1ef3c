"""The graph of an experiment's rules as a picture, SVG."""

from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path

from umtfss.common.files import atomic_path

BOX = (164, 40)  # width and height, px
GAP = (12, 34)  # px between boxes of a row, and between rows
STYLE = 'fill="none" stroke="#8a94a0" stroke-width="1.2"'


def draw_rule_graph(
    rules: Mapping[str, tuple[str, int]], edges: Iterable[tuple[str, str]], path: str | Path
) -> None:
    """Draw a box for every rule, and a line from a rule down to each rule that reads its output.

    Args:
        rules: Rule -> (arrow, number of jobs).
        edges: Pairs (rule, rule that reads its output).
        path: The picture, `.svg`.
    """
    edges = sorted(edges)
    rows = rows_of(rules, edges)
    width, height = (size + gap for size, gap in zip(BOX, GAP, strict=True))
    widest = max(map(len, rows))
    place = {
        rule: ((widest - len(row)) * width / 2 + column * width, number * height)
        for number, row in enumerate(rows)
        for column, rule in enumerate(row)
    }
    lines = [_line(place[rule], place[reader]) for rule, reader in edges]
    boxes = [_box(rule, *rules[rule], *corner) for rule, corner in place.items()]
    size = (widest * width - GAP[0] + 2, len(rows) * height - GAP[1] + 2)
    text = "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-1 -1 {size[0]} {size[1]}" '
            f'width="{size[0]}" height="{size[1]}" role="img" aria-label="Rules" '
            'font-family="system-ui, sans-serif" text-anchor="middle">',
            *lines,
            *boxes,
            "</svg>\n",
        ]
    )
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def rows_of(rules: Iterable[str], edges: Iterable[tuple[str, str]]) -> list[list[str]]:
    """The rules by row: a rule stands below all whose output it reads, near their mean place.

    Args:
        rules: The rules.
        edges: Pairs (rule, rule that reads its output); a circle is opened somewhere.
    """
    read: dict[str, list[str]] = {rule: [] for rule in rules}
    for rule, reader in edges:
        read[reader].append(rule)
    row: dict[str, int] = {}
    while waiting := [rule for rule in read if rule not in row]:
        free = [rule for rule in waiting if all(one in row for one in read[rule])]
        for rule in free or waiting[:1]:
            row[rule] = 1 + max((row[one] for one in read[rule] if one in row), default=-1)
    rows: list[list[str]] = [[] for _ in range(1 + max(row.values(), default=-1))]
    middle: dict[str, float] = {}
    for number, found in enumerate(rows):
        own = [rule for rule in read if row[rule] == number]
        means = {r: sum(middle.get(one, 0) for one in read[r]) / max(1, len(read[r])) for r in own}
        found += sorted(own, key=lambda rule: (means[rule], rule))
        middle |= {rule: i - (len(found) - 1) / 2 for i, rule in enumerate(found)}
    return rows


def _line(start: tuple[float, float], end: tuple[float, float]) -> str:
    x, y, to_x, to_y = start[0] + BOX[0] / 2, start[1] + BOX[1], end[0] + BOX[0] / 2, end[1]
    bend = GAP[1] * 0.7
    way = f"M{x:g} {y:g}C{x:g} {y + bend:g} {to_x:g} {to_y - bend:g} {to_x:g} {to_y:g}"
    return f'<path d="{way}" {STYLE}/>'


def _box(rule: str, arrow: str, jobs: int, left: float, top: float) -> str:
    middle = left + BOX[0] / 2
    count = f"{jobs:,} job{'s' if jobs != 1 else ''}"
    return (
        f'<rect x="{left:g}" y="{top:g}" width="{BOX[0]}" height="{BOX[1]}" rx="5" '
        'fill="#f5f7f9" stroke="#0072b2"/>'
        f'<text x="{middle:g}" y="{top + 17:g}" font-size="13">{escape(rule)}</text>'
        f'<text x="{middle:g}" y="{top + 32:g}" font-size="11" fill="#5b6470">'
        f"{escape(arrow)}, {count}</text>"
    )
