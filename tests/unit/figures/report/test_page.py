"""The page of the report, from the committed results of `demo`."""

import csv
import json
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from tests.browser import CHROMIUM, browser
from umtfss.common.errors import StoreError, TableError
from umtfss.common.files import PACKAGE_ROOT
from umtfss.experiment.load import load_experiment
from umtfss.figures.episode_pictures import FORMAT, EpisodePictures, data_uri, save_pictures
from umtfss.figures.report.page import (
    ReportFiles,
    class_rows,
    costs,
    table_of,
    training_curve,
    write_report,
)
from umtfss.plan.jobs.write_report import ReportTable, WriteReport
from umtfss.plan.plan import Plan

DEMO = PACKAGE_ROOT / "results" / "demo"
LOG = "step,loss,iou,rate\n10,0.9,0.25,0.001\n20,0.5,0.75,0.001\n"
ROW = "a <row>,mean,miou,43.264,41.151,45.597,56.3,61.4,100,2,3,{},umtfss,1\n"
HEADER = (
    "row,column,metric,value,low,high,fb_iou,paper,episodes,seeds,trainings,collapsed,model,shot\n"
)


def notes(folder: Path) -> str:
    """A table's Markdown with notes."""
    path = folder / "table.md"
    path.write_text("Caption.\n\n| a |\n|---|\n| b |\n\nLess than 3 \\< 4 \\\\ 5.\n")
    return str(path)


class Page(HTMLParser):
    """Collects the tags, the addresses and the text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.ids: list[str] = []
        self.cells: list[str] = []
        self.opened: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.addresses += [str(found[key]) for key in ("src", "href") if key in found]
        self.ids += [str(found["id"])] if "id" in found else []
        if tag not in ("meta", "img", "br"):
            self.opened.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag != "polyline":
            assert self.opened.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_data(self, data: str) -> None:
        if data.strip() and self.opened and self.opened[-1] in ("td", "small"):
            self.cells.append(data.strip())


@pytest.fixture
def job(tmp_path: Path) -> WriteReport:
    """The job of `demo`, with one training curve."""
    found = WriteReport.of(Plan(load_experiment("demo")), None)
    tables = tuple(
        replace(one, path=str(PACKAGE_ROOT / one.path), notes=str(PACKAGE_ROOT / one.notes))
        for one in found.tables
    )
    (tmp_path / "log.csv").write_text(LOG)
    curves = {"shapes/umtfss": str(tmp_path / "log.csv")}
    return replace(found, tables=tables, curves=curves, benchmarks=str(tmp_path / "none"))


@pytest.fixture
def files(tmp_path: Path) -> ReportFiles:
    """What the report of `demo` shows, with one test episode and no figure."""
    picture = data_uri(Image.new("RGB", (80, 60)))
    titles = ("support", "query, true mask", "training-free floor", "umtfss")
    pictures = dict.fromkeys(titles, picture)
    episode = EpisodePictures(2, 17, "top <hat>", "worst", 12.5, 40.0, pictures)
    (tmp_path / "rules.svg").write_text('<svg><rect width="1"/><text>train_model</text></svg>')
    path = tmp_path / "episodes.json"
    save_pictures(path, {1: "top"}, [episode])
    plan = Plan(load_experiment("demo"))
    result = PACKAGE_ROOT / plan.paths.evaluation(plan.runs.panel)
    floor = PACKAGE_ROOT / plan.paths.evaluation(plan.runs.panel_floor)
    return ReportFiles(
        [str(DEMO / "settings.yaml")],
        [str(DEMO / "tables/claims.json")],
        [],
        [str(path)],
        [str(result)],
        [str(floor)],
        [str(tmp_path / "rules.svg")],
    )


def page_of(job: WriteReport, files: ReportFiles, folder: Path) -> str:
    write_report(job, files, folder / "report.html")
    return (folder / "report.html").read_text()


def test_the_page_is_well_formed_and_loads_nothing(job, files, tmp_path) -> None:
    page = Page(page_of(job, files, tmp_path))
    assert page.opened == []
    assert page.addresses
    local = [one for one in page.addresses if not one.startswith("data:")]
    assert sorted(one.removeprefix("#") for one in local) == sorted(
        set(page.ids) & {one.removeprefix("#") for one in local}
    )


def test_the_page_holds_every_number_of_the_tables(job, files, tmp_path) -> None:
    cells = Page(page_of(job, files, tmp_path)).cells
    for table in job.tables:
        with open(table.path, newline="") as stream:
            for line in csv.DictReader(stream):
                if line["value"]:
                    assert f"{float(line['value']):.1f}" in cells
                    assert f"{float(line['low']):.1f} to {float(line['high']):.1f}" in cells
                if line["paper"]:
                    assert f"P {float(line['paper']):.1f}" in cells


def test_the_page_holds_the_notes_of_every_table_and_the_rules(job, files, tmp_path) -> None:
    text = unescape(page_of(job, files, tmp_path))
    for table in job.tables:
        lines = Path(table.notes).read_text().replace("\\", "").splitlines()
        assert len(lines[-1]) > 80
        assert lines[-1] in text
    assert "<text>train_model</text></svg>" in text


# README asks for no browser, so `make test` must pass without one; CI has Chromium.
@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")
def test_nothing_is_wider_than_a_sheet_or_a_phone(job, files, tmp_path) -> None:
    names = [f"{data} {k}-shot fold {n}" for data in ("pascal", "coco") for k in (1, 5)
             for n in range(5)]  # fmt: skip
    line = "UMTFSS without labels,{},miou,43.264,-41.151,45.597,56.3,61.4,100,2,3,0,umtfss,1\n"
    (tmp_path / "wide.csv").write_text(HEADER + "".join(line.format(name) for name in names))
    wide = ReportTable("Wide", "model", str(tmp_path / "wide.csv"), notes(tmp_path))
    page_of(replace(job, tables=(*job.tables, wide)), files, tmp_path)
    shown = "[...document.querySelectorAll('td, th, img, svg')]"
    right = f"Math.max(...{shown}.map(one => one.getBoundingClientRect().right))"
    with browser(tmp_path) as page:
        page.open((tmp_path / "report.html").as_uri(), width=390, height=844)
        assert page.run("document.documentElement.scrollWidth") == 390
        page.open((tmp_path / "report.html").as_uri(), width=703)  # 186 mm, A4 without margins
        assert page.run(right) > 703
        page.send("Emulation.setEmulatedMedia", media="print")
        assert page.run(right) <= 703


def test_names_are_escaped(job, files, tmp_path) -> None:
    text = page_of(job, files, tmp_path)
    assert "top &lt;hat&gt;" in text
    assert "<hat>" not in text


def test_an_experiment_without_tables_has_a_page(job, tmp_path) -> None:
    bare = replace(job, tables=(), curves={}, run="")
    page = Page(page_of(bare, ReportFiles([], [], [], [], [], [], []), tmp_path))
    assert page.opened == []
    assert {"costs", "settings"} <= set(page.ids)
    assert not {"tables", "claims", "episodes"} & set(page.ids)


def test_a_page_of_a_development_split_says_so(job, files, tmp_path) -> None:
    assert "Development" not in page_of(job, files, tmp_path)
    development = replace(job, development=("pascal/train",))
    assert "Development: tested on pascal/train" in page_of(development, files, tmp_path)


@pytest.mark.parametrize("collapsed", [0, 1])
def test_cells_of_a_table(tmp_path: Path, collapsed: int) -> None:
    path = tmp_path / "table.csv"
    quoted = "a <row>,fold 0,miou,,,,,60.0,,,,,umtfss,1\n"
    path.write_text(HEADER + ROW.format(collapsed) + quoted)
    table = table_of(ReportTable("Title", "model", str(path), notes(tmp_path)))
    assert table["columns"] == ["mean", "fold 0"]
    assert table["rows"] == {"a <row>": [("43.3", "41.2 to 45.6", "61.4"), ("", "", "60.0")]}
    assert table["collapsed"] == ({"a <row>"} if collapsed else set())
    assert table["trainings"] == 3
    assert table["notes"] == "Less than 3 < 4 \\ 5."


def test_the_fullest_row_orders_the_columns(tmp_path: Path) -> None:
    quoted = "{},{},miou,,,,,60.0,,,,,umtfss,1\n"
    places = [("scratch", "20 %"), ("tuned", "0 %"), ("tuned", "20 %")]
    path = tmp_path / "table.csv"
    path.write_text(HEADER + "".join(quoted.format(*place) for place in places))
    table = table_of(ReportTable("Title", "model", str(path), notes(tmp_path)))
    assert table["columns"] == ["0 %", "20 %"]
    assert table["rows"]["scratch"][0] is None


def test_a_table_without_a_column_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("row,column\na,b\n")
    with pytest.raises(TableError, match="lacks the columns"):
        table_of(ReportTable("Title", "model", str(tmp_path / "t.csv"), ""))


def test_iou_by_class_is_that_of_the_counts(files) -> None:
    rows = class_rows(files.results[0], files.floor[0], {"1": "top"})
    assert len(rows) == 20
    assert (rows[0][0], rows[0][1]) == (0, "top")
    for path, place in ((files.results[0], 2), (files.floor[0], 3)):
        folds = json.loads(Path(path).read_text())["folds"]
        counted = []
        for fold in folds.values():
            sums: dict[int, list[int]] = {}
            for seed in fold["seeds"].values():
                of = zip(seed["class_id"], seed["intersection"], seed["union"], strict=True)
                for label, intersection, union in of:
                    both = sums.setdefault(label, [0, 0])
                    both[0] += intersection
                    both[1] += union
            counted += [100 * sums[label][0] / sums[label][1] for label in sorted(sums)]
        assert [row[place] for row in rows] == pytest.approx(counted)


def test_iou_by_class_without_a_tested_floor(files) -> None:
    rows = class_rows(files.results[0], None, {})
    assert {row[3] for row in rows} == {None}
    assert rows[0][1] == "1"  # without a name, the class id


def test_a_training_curve_reaches_from_0_to_1(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text(LOG)
    curve = training_curve(tmp_path / "log.csv")
    assert curve["points"] == "120.0,67.5 240.0,22.5"
    assert (curve["steps"], curve["iou"], curve["loss"]) == (20, 75.0, 0.5)


def test_costs_are_added_up_by_arrow(tmp_path: Path) -> None:
    for name, seconds, memory in (
        ("training/a/b.tsv", 1800, 900.5),
        ("training/c.tsv", 5400, 100),
        ("data/d.tsv", 36, "NA"),
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"s\tmax_rss\n{seconds}\t{memory}\n")
    assert costs(tmp_path) == [("data", 1, 0.01, 0.0), ("training", 2, 2.0, 900.5)]
    assert costs(tmp_path / "none") == []


def test_pictures_of_another_version_are_refused(job, files, tmp_path) -> None:
    (tmp_path / "old.json").write_text(json.dumps({"format": FORMAT, "version": 0}))
    old = replace(files, episodes=[str(tmp_path / "old.json")])
    with pytest.raises(StoreError, match=r"wrong version(?s:.*)episodes"):
        write_report(job, old, tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()
