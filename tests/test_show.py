"""Rows shown: `table.plot`, the HTML of a table in notebooks, and the command `skyshards show`."""

import re
import shutil
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner
from PIL import Image, ImageShow

import skyshards
from skyshards.cli.main import main
from skyshards.errors import UsageError
from skyshards.format.column_info import ColumnInfo
from skyshards.pictures.html import Thumbnail, page
from skyshards.pictures.overlay import COLOURS
from skyshards.pictures.words import in_words
from skyshards.pipeline.build import build
from skyshards.read.shown import BATCH, FIRST, nearest, positions, shown
from tests.toy import Toy


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("show") / "toy"
    build(Toy(8), folder, workers=0)
    return folder


@pytest.fixture
def table(folder):
    return skyshards.open(folder)


@pytest.fixture
def joined(table):
    return skyshards.join(table, table.select([1, 2, 3]), names=("all", "some"), how="left", on="object_id")


@pytest.fixture
def run(monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    return lambda *words: CliRunner().invoke(main, ["show", *map(str, words)])


def damaged(folder, tmp_path):
    """A copy of a folder in which the pictures of one row are overwritten; its table, and that row."""
    copy = shutil.copytree(folder, tmp_path / "damaged")
    table = skyshards.open(copy)
    shard = copy / table.catalog["_shard"][2].as_py()
    data = table._data
    start, size = (int(data.columns.array(prefix + "picture")[2]) for prefix in ("_start:", "_size:"))
    with open(shard, "r+b") as file:
        file.seek(start)
        file.write(bytes(size))
    return skyshards.open(copy), 2


# Which rows


def test_rows_are_given_by_number_or_by_name(table, joined):
    names = table.catalog["object_id"].to_pylist()
    assert positions(table, 3) == positions(table, np.int64(3)) == positions(table, -5) == [3]
    assert positions(table, names[3]) == positions(table, np.str_(names[3])) == [3]
    assert positions(table, [names[2], 5, names[0]]) == [2, 5, 0]
    assert positions(table, np.array([4, 1])) == positions(table, pa.array([4, 1])) == [4, 1]
    assert positions(table, range(2)) == positions(table, iter([0, 1])) == [0, 1]
    assert positions(table, None) == list(range(FIRST)) and positions(table.select([7]), None) == [0]
    assert positions(table.select([5, 6, 7]), names[6]) == [1]
    assert positions(joined, names[6]) == [6]


def test_all_rows_of_a_name_are_meant(table):
    twice = table.select([3, 1, 3])
    assert positions(twice, table.catalog["object_id"][3].as_py()) == [0, 2]


@pytest.mark.parametrize(("keys", "error", "words"), [
    (8, IndexError, "row 8 is out of range for a table of 8 rows"),
    (-9, IndexError, "row -9"),
    (587722981744060018, IndexError, "object_ids are text"),
    ("galaxy-00", KeyError, "no row has object_id 'galaxy-00' .*; similar: galaxy-00"),
    ("3", KeyError, "no row has object_id '3'"),
    ([1.5], TypeError, "expected row numbers and object_ids, found 1.5"),
    (True, TypeError, "found True"),
])  # fmt: skip
def test_rows_that_are_not_there_are_said(table, keys, error, words):
    with pytest.raises(error, match=words):
        positions(table, keys)


def test_numbers_that_are_typed_are_names_first(table):
    assert positions(table, ["3"], numerals=True) == [3]
    with pytest.raises(KeyError, match="no row has object_id '8' .*, and rows are numbered 0 to 7"):
        positions(table, ["8"], numerals=True)


@pytest.mark.parametrize(("typed", "found"), [
    ("1-100032", "1-100031"), ("J080454.1", "J080454.10+475449.0"), ("j080454.10", "J080454.10+475449.0"),
    ("s42-tran-000002", "s42-train-000002"), ("2-100031", "1-100031"),
])  # fmt: skip
def test_similar_names_are_found_among_many(typed, found):
    names = [f"x{number:06d}" for number in range(20_000)] + ["1-100031", "J080454.10+475449.0", "s42-train-000002"]
    assert nearest(typed, pa.chunked_array([names]))[0] == found


def test_nothing_is_similar_to_nonsense():
    assert (
        nearest("zzz", pa.chunked_array([["1-100031"]]))
        == []
        == nearest("a", pa.chunked_array([pa.array([], "string")]))
    )


def test_rows_are_shown_in_the_order_asked_for(table):
    rows = [7, 6, 5, 4, 3, 2, 1, 0, 3, 5]
    assert len(rows) > BATCH
    for row, found in zip(rows, shown(table, rows, None), strict=True):
        assert found.position == row and found.name == table.catalog["object_id"][row].as_py()
        assert np.array_equal(found.picture, table[row]["picture"])


# Words


def column(dtype, shape=(), unit="", classes=None):
    return ColumnInfo("x", dtype, shape, unit, "", classes)


@pytest.mark.parametrize(("value", "kind", "words"), [
    (np.int64(1), column("int64", classes=("elliptical", "spiral")), "spiral (1)"),
    (np.int64(-1), column("int64", classes=("elliptical", "spiral")), "no class (-1)"),
    (np.float32(17.819635), column("float32", unit="mag"), "17.8196 mag"),
    (np.float64(354.8487941185275), column("float64", unit="deg"), "354.848794 deg"),
    (np.float64("nan"), column("float64", unit="deg"), "missing"),
    (np.array([0.25, np.nan]), column("float64", (2,), "mag"), "0.25, missing mag"),
    (np.array([np.nan, np.nan]), column("float64", (2,), "mag"), "missing, missing"),
    (np.bool_(True), column("bool"), "yes"),
    (np.int64(1237648720146369004), column("int64"), "1237648720146369004"),
    (np.array(["irr", "sph"]), column("str", (2,)), "irr, sph"),
    (np.str_(""), column("str"), "(empty)"),
])  # fmt: skip
def test_values_in_words(value, kind, words):
    assert in_words(value, kind) == words


# table.plot


@pytest.fixture
def plt():
    pyplot = pytest.importorskip("matplotlib.pyplot", reason="the extra `notebooks` is not installed")
    pyplot.switch_backend("agg")
    yield pyplot
    pyplot.close("all")


def test_plot_has_a_panel_for_each_row(table, plt):
    names = table.catalog["object_id"].to_pylist()
    figure = table.plot([2, names[5]])
    panels = [axes for axes in figure.axes if axes.images]
    assert [axes.get_title() for axes in panels] == [
        f"{names[row]}\n{('elliptical', 'spiral')[table[row]['label']]}" for row in (2, 5)
    ]
    for axes, row in zip(panels, (2, 5), strict=True):
        assert np.array_equal(axes.images[0].get_array(), table[row]["picture"])
    assert plt.fignum_exists(figure.number)


def test_plot_of_one_row_of_the_first_and_of_a_selection(table, joined, plt):
    assert len(table.plot(0).axes) == 1
    assert sum(bool(axes.images) for axes in table.plot().axes) == FIRST
    assert sum(bool(axes.images) for axes in joined.plot([0, 1]).axes) == 2
    some = table.select_columns(["picture"]).select([4])
    assert some.plot(0).axes[0].get_title() == table.catalog["object_id"][4].as_py()


def test_masks_are_named_where_they_are_drawn(built_gz3d, plt):
    table, names = skyshards.open(built_gz3d), ["center", "star", "spiral", "bar"]
    (legend,) = table.plot([0, 1]).legends
    assert [text.get_text() for text in legend.get_texts()] == names
    colours = [bytes.fromhex(colour[1:]) for colour in COLOURS[:4]]
    faces = [np.rint(255 * np.array(patch.get_facecolor()[:3])) for patch in legend.get_patches()]
    assert np.array_equal(faces, [list(colour) for colour in colours])
    html = table._repr_html_()
    assert all(html.count(colour) == 1 for colour in COLOURS[:4])
    assert [word for word in Page(html).words if word in names] == names
    assert not table.select_columns(["image"]).plot(0).legends
    assert "<ul" not in table.select_columns(["image"])._repr_html_()


def test_titles_are_shown_as_they_are(table, plt, monkeypatch):
    drawing = type(table.drawing)(("ra",), lambda row, *_: np.zeros((5, 9, 3), np.uint8), lambda row: "$\\frac$ $x^$")
    monkeypatch.setattr(type(table), "drawing", drawing)
    table.plot(0).canvas.draw()


def test_long_titles_are_wrapped(plt):
    from skyshards.pictures.figure import figure

    made = figure([np.zeros((8, 8, 3), np.uint8)] * 3, ["s42-train-000003\n" + "a word " * 12] * 3)
    made.canvas.draw()
    titles = [axes.title.get_window_extent() for axes in made.axes]
    assert all(title.x1 < following.x0 for title, following in pairwise(titles)) and titles[0].y1 <= made.bbox.y1
    plt.close(made)


def test_a_notebook_shows_a_figure_once(table, plt, monkeypatch):
    monkeypatch.setattr(plt, "get_backend", lambda: "module://matplotlib_inline.backend_inline")
    assert not plt.fignum_exists(table.plot(0).number)


def test_what_cannot_be_plotted_is_said(table, plt):
    with pytest.raises(UsageError, match="no column has images to plot: ra, dec"):
        table.select_columns(["ra", "dec"]).plot(0)
    with pytest.raises(UsageError, match="expected 1 to 100 rows to plot, found 101"):
        table.plot([0] * 101)
    with pytest.raises(UsageError, match="found 0"):
        table.plot([])


def test_plot_without_matplotlib_says_what_to_install(table, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.pyplot", None)
    with pytest.raises(UsageError, match=re.escape("plots need matplotlib: pip install 'skyshards[notebooks]'")):
        table.plot(0)


# HTML


class Page(HTMLParser):
    """The elements of a page, its text, and what its pictures are."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words, self.images, self.open = [], [], [], []
        self.feed(text)
        assert not self.open, "every element is closed"

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag == "img":
            self.images.append(dict(attributes))
        elif tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def test_html_has_thumbnails_and_columns(table):
    found = Page(table._repr_html_())
    assert len(found.images) == FIRST
    assert all(image["src"].startswith("data:image/jpeg;base64,") for image in found.images)
    assert "Table of toy: 8 rows" in found.words
    assert {*table.column_names, "uJy", "a flag", "float32", "int64: 0 elliptical, 1 spiral"} <= set(found.words)
    names = table.catalog["object_id"].to_pylist()
    assert found.images[0]["alt"].startswith(f"0: {names[0]}: ")


def test_html_of_selections_and_joins(table, joined):
    assert len(Page(table.select([1])._repr_html_()).images) == 1
    assert not Page(table.select([])._repr_html_()).images
    assert not Page(table.select_columns(["ra"])._repr_html_()).images
    found = Page(joined._repr_html_())
    assert len(found.images) == FIRST and "all.picture" in found.words and "Join of all, some: 8 rows" in found.words


def test_html_reads_six_rows_and_no_more_columns_than_it_draws(table, monkeypatch):
    read = []
    start = type(table)._start
    monkeypatch.setattr(
        type(table),
        "_start",
        lambda self, rows, *how, **named: read.append((self._columns, len(rows))) or start(self, rows, *how, **named),
    )
    table._repr_html_()
    assert read == [(table.drawing.columns, FIRST)]


def test_a_damaged_row_is_said_and_the_others_are_shown(folder, tmp_path):
    table, row = damaged(folder, tmp_path)
    found = Page(table._repr_html_())
    assert len(found.images) == FIRST - 1
    assert any(words.startswith("cannot be drawn: ") for words in found.words)
    assert str(row) in found.words


def test_a_folder_that_is_gone_is_said(folder, tmp_path):
    table = skyshards.open(shutil.copytree(folder, tmp_path / "gone"))
    shutil.rmtree(tmp_path / "gone")
    found = Page(table._repr_html_())
    assert not found.images and sum(words.startswith("cannot be drawn: ") for words in found.words) == 1


EVIL = '<script>alert(1)</script>"><img src=x onerror=alert(1)>'


def test_text_from_folders_does_nothing():
    kinds = {EVIL: ColumnInfo(EVIL, "float32", (2,), EVIL, EVIL, (EVIL,))}
    rows = [Thumbnail(EVIL, EVIL, np.zeros((4, 4, 3), np.uint8)), Thumbnail(EVIL, EVIL, None, EVIL)]
    found = Page(page(EVIL, EVIL, rows, kinds, ((EVIL, EVIL),)))
    assert "script" not in found.tags and [set(image) for image in found.images] == [{"src", "width", "height", "alt"}]
    assert found.images[0]["alt"] == f"{EVIL}: {EVIL}" and EVIL in found.words


# skyshards show


def test_show_prints_values_and_writes_the_picture(run, folder, table, tmp_path):
    name = table.catalog["object_id"][2].as_py()
    outcome = run(folder, name, "-o", tmp_path / "row.png", "--size", 100)
    assert outcome.exit_code == 0, outcome.output
    row = table[2]
    kind = ("elliptical", "spiral")[row["label"]]
    lines = outcome.stdout.splitlines()
    assert lines[0] == f"{name} (row 2): {kind}"
    values = {line.split()[0]: line for line in lines[1:-2]}
    assert f"{kind} ({row['label']})" in values["label"] and values["label"].endswith("a class")
    assert "right ascension" in values["ra"] and f"{row['ra']:.9g} deg" in values["ra"]
    assert "picture" not in values and "votes.fraction" in values
    assert lines[-1] == f"{tmp_path / 'row.png'}: a picture of 1 row"
    with Image.open(tmp_path / "row.png") as file:
        picture = np.asarray(file)
    assert picture.shape[1] == 100 + 2 * 8 and (picture[8:90, 8:100] != 255).any()


def test_show_takes_names_and_numbers(run, folder, table, tmp_path):
    names = table.catalog["object_id"].to_pylist()
    outcome = run(folder, names[4], 1, "-o", tmp_path / "rows.jpg")
    heads = [line for line in outcome.stdout.splitlines() if "(row" in line]
    assert [head.partition(" (")[0] for head in heads] == [names[4], names[1]]
    with Image.open(tmp_path / "rows.jpg") as picture:
        assert picture.format == "JPEG" and picture.width > picture.height
    assert sum("(row" in line for line in run(folder).stdout.splitlines()) == FIRST


def test_show_of_joined_rows(run, folder, joined, tmp_path, table):
    joined.save(tmp_path / "pairs.parquet")
    outcome = run(tmp_path / "pairs.parquet", 1, "-o", tmp_path / "row.png")
    assert outcome.exit_code == 0, outcome.output
    assert "some.label" in outcome.stdout and "all.ra" in outcome.stdout and "matched" in outcome.stdout


def test_show_opens_the_picture_where_there_is_a_display(run, folder, monkeypatch):
    opened = []
    monkeypatch.setattr(ImageShow, "show", lambda image, title=None: bool(opened.append(image.size)) or True)
    outcome = run(folder, 0)
    assert outcome.exit_code == 0 and not opened and "no display" in outcome.stderr and "-o FILE.png" in outcome.stderr
    monkeypatch.setenv("DISPLAY", ":0")
    assert run(folder, 0).stderr == "" and len(opened) == 1


@pytest.mark.parametrize(("words", "code", "message"), [
    (["galaxy-9"], 2, "no row has object_id 'galaxy-9' (searched 8 rows)"),
    (["galaxy-001"], 2, "similar: galaxy-001-é"),
    (["12"], 2, "no row has object_id '12' (searched 8 rows), and rows are numbered 0 to 7"),
    (["0", "-o", "row.tif"], 2, "-o: expected a name that ends in .png, .jpg, .jpeg, found 'row.tif'"),
    (["0"] * 101, 2, "expected at most 100 rows to show, found 101"),
])  # fmt: skip
def test_show_says_what_is_wrong_in_a_line(run, folder, words, code, message):
    outcome = run(folder, *words)
    assert outcome.exit_code == code and outcome.stdout == ""
    (line,) = outcome.stderr.splitlines()
    assert message in line


def test_show_of_no_dataset_and_of_a_damaged_row(run, folder, tmp_path):
    (line,) = run(tmp_path).stderr.splitlines()
    assert "not a built dataset" in line
    table, row = damaged(folder, tmp_path)
    outcome = run(tmp_path / "damaged", row, "-o", tmp_path / "row.png")
    (line,) = outcome.stderr.splitlines()
    assert outcome.exit_code == 1 and "Error: " in line and not (tmp_path / "row.png").exists()


def test_show_escapes_what_would_change_the_terminal(run, folder, monkeypatch):
    monkeypatch.setattr("skyshards.pictures.words.in_words", lambda value, column: "\x1b[2J")
    assert "\x1b" not in run(folder, 0).stdout
