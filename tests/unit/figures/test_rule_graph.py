"""The picture of an experiment's rules."""

from pathlib import Path
from xml.etree import ElementTree

from umtfss.figures.rule_graph import draw_rule_graph, rows_of

EDGES = [("a", "b"), ("b", "d"), ("a", "c"), ("c", "e"), ("d", "e")]
SVG = "{http://www.w3.org/2000/svg}"


def test_a_rule_stands_below_all_that_it_reads() -> None:
    rows = rows_of("edcba", EDGES)
    assert rows == [["a"], ["b", "c"], ["d"], ["e"]]
    assert rows_of(["x", "y"], []) == [["x", "y"]]
    assert rows_of([], []) == []
    assert rows_of("abc", [("a", "b"), ("b", "c"), ("c", "b")]) == [["a"], ["b"], ["c"]]


def test_a_rule_stands_near_those_that_it_reads() -> None:
    edges = [("a", "z"), ("b", "y"), ("c", "x")]
    assert rows_of("abcxyz", edges) == [["a", "b", "c"], ["z", "y", "x"]]


def test_a_box_for_every_rule_and_a_line_for_every_edge(tmp_path: Path) -> None:
    rules = {name: ("train<ing", number) for number, name in enumerate("abcde", 1)}
    draw_rule_graph(rules, EDGES, tmp_path / "rules.svg")
    root = ElementTree.parse(tmp_path / "rules.svg").getroot()
    boxes, lines = root.findall(f"{SVG}rect"), root.findall(f"{SVG}path")
    texts = [one.text for one in root.findall(f"{SVG}text")]
    assert (len(boxes), len(lines)) == (5, 5)
    assert texts[:4] == ["a", "train<ing, 1 job", "b", "train<ing, 2 jobs"]
    width, height = float(root.get("width", 0)), float(root.get("height", 0))
    places = [[float(box.get(key, 0)) for key in ("x", "y", "width", "height")] for box in boxes]
    assert all(x >= 0 and x + w <= width and y >= 0 and y + h <= height for x, y, w, h in places)
    assert len({(x, y) for x, y, _, _ in places}) == 5
