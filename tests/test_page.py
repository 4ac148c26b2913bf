"""The page of a dataset says what the dataset holds, within its bounds, and takes nothing in it for HTML."""

import io
import json
import math
import re
import shutil
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

import skyshards
from skyshards.cli.main import main
from skyshards.errors import FolderError, UsageError
from skyshards.format import catalog
from skyshards.format.column_info import ColumnInfo
from skyshards.format.columns import ColumnSpec
from skyshards.page import contents as page_contents
from skyshards.page import sky
from skyshards.page import write as page_write
from skyshards.page.contents import EXACT, contents, spread
from skyshards.page.fields import fields
from skyshards.page.histograms import BINS, histogram
from skyshards.page.thumbnails import SIZE, thumbnails, webp
from skyshards.page.write import write_page
from skyshards.pictures.drawing import Drawing
from skyshards.pictures.legend import in_order
from skyshards.pipeline.build import build
from tests.toy import Toy

ROWS = 30
EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("paged") / "toy"
    build(Toy(ROWS), folder, workers=1)
    return folder


@pytest.fixture(scope="module")
def page(toy, tmp_path_factory):
    """A page of it; tests must not change it."""
    out = tmp_path_factory.mktemp("page") / "page"
    write_page(toy, out)
    return out


def embedded(page):
    """The contents as the page's script reads them."""
    text = (page / "index.html").read_text(encoding="utf-8")
    return json.loads(re.search(r'<script type="application/json" id="contents">(.*?)</script>', text, re.DOTALL)[1])


def files_of(page):
    return {path.relative_to(page).as_posix(): path.read_bytes() for path in page.rglob("*") if path.is_file()}


def field(found, name):
    return next(field for field in found["fields"] if field["name"] == name)


# What it says


def test_has_every_value_of_the_light_columns(toy, page):
    table, found = skyshards.open(toy), embedded(page)
    assert found["rows"] == ROWS and found["gallery"]["rows"] == list(range(ROWS))
    assert [column["name"] for column in found["columns"]] == table.column_names
    for column in found["columns"]:
        name = column["name"]
        if name not in table.catalog.column_names:
            assert column["values"] is None
            continue
        wanted = table.catalog[name].to_pylist()
        dtype = table.schema[name].dtype
        if dtype.startswith("float"):  # written with as many digits as its precision has
            values = np.array(column["values"], dtype=object)
            values = np.where(np.equal(values, None), math.nan, values).astype(dtype)
            np.testing.assert_array_equal(values, np.array(wanted, dtype))
        else:
            assert column["values"] == wanted


def test_every_scalar_and_element_is_a_field(toy, page):
    kinds = {field["name"]: field["role"] for field in embedded(page)["fields"]}
    assert kinds == {
        "object_id": "text",
        "ra": "number",
        "dec": "number",
        "healpix": "number",
        "fold": "number",
        "flux": "number",
        "count": "number",
        "barred": "flag",
        "label": "class",
        "votes.names[0]": "choice",
        "votes.names[1]": "text",
        "votes.fraction[0]": "number",
        "votes.fraction[1]": "number",
        "source": "text",
    }


def test_counts_and_histograms_are_of_all_rows(toy, page):
    rows, found = skyshards.open(toy).catalog, embedded(page)
    assert field(found, "label")["counts"] == [["elliptical", 15], ["spiral", 15]]
    assert field(found, "barred")["counts"] == [["yes", 15], ["no", 15]]
    assert field(found, "votes.names[0]")["counts"] == [["bar", ROWS]]
    flux = rows["flux"].to_numpy()
    drawn = field(found, "flux")["histogram"]
    assert drawn["missing"] == np.isnan(flux).sum() == ROWS / 5
    assert sum(drawn["counts"]) + drawn["below"] + drawn["above"] + drawn["missing"] == ROWS
    assert drawn["median"] == pytest.approx(np.nanmedian(flux))


def test_each_row_leads_to_its_source_and_the_line_that_loads_it(toy, page):
    table, gallery = skyshards.open(toy), embedded(page)["gallery"]
    for number, (origin, code) in enumerate(zip(gallery["origins"], gallery["code"], strict=True)):
        source = table.source(number)
        assert origin[:5] == list(source)
        assert origin[5:] == [table.catalog["_shard"][number].as_py(), table.catalog["_row"][number].as_py()]
        row = eval(code, {"skyshards": skyshards})
        assert row["object_id"] == table[number]["object_id"]


def test_rows_that_share_a_name_are_loaded_by_position(toy, page):
    table = skyshards.open(toy)
    rows = table.catalog
    names = pa.array(["same"] * ROWS)
    renamed = rows.set_column(rows.column_names.index("object_id"), "object_id", names)
    lines = list(page_contents._code(str(toy), renamed, np.array([0, 7])))
    assert lines == [f"skyshards.open({str(toy)!r})[0]", f"skyshards.open({str(toy)!r})[7]"]


def test_pictures_are_those_of_the_rows(toy, page):
    table, gallery = skyshards.open(toy), embedded(page)["gallery"]
    drawing = table.drawing
    for number in (0, 11, 29):
        with Image.open(page / gallery["pictures"][number]) as image:
            picture = drawing.picture(table[number], SIZE)
            assert image.size == picture.shape[1::-1]
            content = io.BytesIO()
            Image.fromarray(picture).save(content, "webp", quality=82, method=0)
            assert (page / gallery["pictures"][number]).read_bytes() == content.getvalue()
    assert gallery["captions"] == [drawing.caption(row) for row in table]


def test_masks_can_be_hidden(tmp_path):
    """There is a second picture of each row, without masks, if there are any."""
    write_page("tests/format_0/gz3d", tmp_path / "masks")
    gallery = embedded(tmp_path / "masks")["gallery"]
    table = skyshards.open("tests/format_0/gz3d")
    for number, (picture, bare) in enumerate(zip(gallery["pictures"], gallery["bare"], strict=True)):
        with Image.open(tmp_path / "masks" / bare) as image:
            drawn = table.drawing.picture(table[number], SIZE, masks=False)
            assert np.abs(np.asarray(image).astype(int) - drawn).mean() < 10 and picture != bare
    write_page("tests/format_0/gz_decals", tmp_path / "no-masks")
    none = embedded(tmp_path / "no-masks")["gallery"]
    assert set(none["bare"]) == {None} and none["legend"] == []
    assert gallery["legend"] == [list(entry) for entry in in_order(["center", "star", "spiral", "bar"])]


def test_columns_of_all_kinds_are_described(page):
    columns = {column["name"]: column for column in embedded(page)["columns"]}
    assert columns["flux"]["unit"] == "uJy" and columns["flux"]["type"] == "float32"
    assert columns["label"]["classes"] == ["elliptical", "spiral"]
    assert columns["votes.mask"]["type"] == "uint8 [16, 18]" and columns["picture"]["type"] == "image file"


def test_says_what_the_card_says(tmp_path):
    folder = tmp_path / "gz3d"
    shutil.copytree("tests/format_0/gz3d", folder)
    write_page(folder, tmp_path / "page")
    found = embedded(tmp_path / "page")
    assert (found["title"], found["licences"]) == ("Galaxy Zoo 3D", ["cc-by-4.0"])
    assert found["description"].startswith("False-colour images") and "](" not in found["description"]
    for card in ("---\n{\n---\n", None):
        (folder / "README.md").unlink()
        if card is not None:
            (folder / "README.md").write_text(card)
        write_page(folder, tmp_path / "page")
        found = embedded(tmp_path / "page")
        assert (found["title"], found["description"], found["licences"]) == ("gz3d", "", [])


def test_several_splits_are_a_field(tmp_path):
    folder = "tests/format_0/candels_blend"
    write_page(folder, tmp_path / "page")
    found, table = embedded(tmp_path / "page"), skyshards.open(folder)
    splits = table.catalog["_split"].to_pylist()
    assert dict(field(found, "_split")["counts"]) == {name: splits.count(name) for name in set(splits)}
    assert next(column for column in found["columns"] if column["name"] == "_split")["values"] == splits


@pytest.mark.parametrize("name", ["gz3d", "gz_sdss", "gz_decals"])
def test_folders_of_earlier_formats_have_pages(name, tmp_path):
    done = write_page(f"tests/format_0/{name}", tmp_path / "page")
    assert done.rows == done.shown == len(embedded(tmp_path / "page")["gallery"]["pictures"])


# Samples


@given(st.integers(1, 10**7), st.integers(2, 2000))
def test_samples_are_evenly_spaced(count, most):
    rows = spread(count, most)
    assert len(rows) == min(count, most) and rows[0] == 0 and rows[-1] == count - 1
    steps = np.diff(rows)
    assert not len(steps) or (steps.min() >= 1 and steps.max() - steps.min() <= 1)


def test_a_large_dataset_is_sampled(toy, tmp_path, monkeypatch):
    monkeypatch.setattr(page_contents, "MAX_ROWS", 7)
    done = write_page(toy, tmp_path / "page")
    assert (done.rows, done.shown) == (ROWS, 7)
    found, table = embedded(tmp_path / "page"), skyshards.open(toy)
    rows = found["gallery"]["rows"]
    assert rows == spread(ROWS, 7).tolist()
    ids = next(column for column in found["columns"] if column["name"] == "object_id")["values"]
    assert ids == table.catalog["object_id"].take(pa.array(rows)).to_pylist()
    assert sum(rows for _, rows in field(found, "label")["counts"]) == ROWS


def test_many_columns_mean_fewer_rows(toy, tmp_path, monkeypatch):
    monkeypatch.setattr(page_contents, "MAX_VALUES_BYTES", 5000)
    write_page(toy, tmp_path / "page")
    found = embedded(tmp_path / "page")
    assert 1 < len(found["gallery"]["rows"]) < ROWS
    values = [[column["values"] for column in found["columns"]], found["gallery"]["origins"]]
    assert len(json.dumps(values)) < 5000


@given(st.integers(1, 64), st.integers(1, 64), st.integers(300, 5000))
def test_pictures_fit_in_their_bytes(height, width, nbytes):
    noise = np.random.default_rng(height).integers(0, 256, (height * 10, width * 10, 3), np.uint8)
    content = webp(noise, nbytes)
    assert len(content) <= max(nbytes, 1500)  # the least that noise takes
    with Image.open(io.BytesIO(content)) as image:
        assert max(image.size) <= SIZE


def test_rows_that_cannot_be_drawn_say_why(toy):
    def fail(row, size, masks):
        raise ValueError("odd")

    class Odd:
        drawing = Drawing(("picture",), fail, lambda row: "spiral")
        select_columns = staticmethod(skyshards.open(toy).select_columns)

    assert list(thumbnails(Odd, np.arange(2), 9999)) == [(None, None, "cannot be drawn: odd", ())] * 2


# Its parts


@given(st.lists(st.floats(width=64) | st.integers(-(2**62), 2**62).map(float), max_size=60), st.booleans())
def test_histograms_count_every_value_once(values, whole):
    values = np.array(values, float)
    if whole:
        values = np.rint(np.clip(values, -(2.0**50), 2.0**50))
    if np.abs(values[np.isfinite(values)]).max(initial=0) > 1e300:
        return  # beyond what differences of float64 can express
    found = histogram(values, whole)
    finite = values[np.isfinite(values)]
    if found is None:
        assert not finite.size
        return
    assert sum(found.counts) + found.below + found.above == finite.size
    assert found.missing == values.size - finite.size and len(found.counts) <= BINS[1] + 1
    assert found.minimum == finite.min() and found.maximum == finite.max()


def test_integers_have_bins_of_whole_numbers():
    found = histogram(np.array([0, 1, 1, 5.0]), whole=True)
    assert (found.start, found.stop, found.counts) == (-0.5, 5.5, [1, 2, 0, 0, 0, 1])


def test_outliers_do_not_hide_the_bulk():
    values = np.append(np.random.default_rng(0).normal(size=1000), [1e9, -1e9])
    found = histogram(values, whole=False)
    assert (found.below, found.above) == (6, 6) and found.stop < 5 and found.maximum == 1e9


def test_values_over_many_decades_have_logarithmic_bins():
    values = 10 ** np.random.default_rng(0).uniform(-3, 4, 1000)
    assert histogram(values, whole=False).log
    assert not histogram(np.linspace(0.001, 1, 1000), whole=False).log


@given(st.floats(0, 360, exclude_max=True), st.floats(-90, 90))
@example(0.0, 89.75)
@example(17.3, -89.99999)
def test_projection_is_inverted(ra, dec):
    x, y = sky.project(np.array([ra]), np.array([dec]))
    assert x[0] ** 2 + y[0] ** 2 <= 1 + 1e-9
    again_ra, again_dec = sky._unproject(x, y)
    assert again_dec[0] == pytest.approx(dec, abs=0.05)
    apart = (again_ra[0] - ra + 180) % 360 - 180
    assert abs(apart) * math.cos(math.radians(dec)) < 0.05


def test_the_map_shows_where_rows_lie():
    """Each position has its colour where it is projected to; a pixel with more rows is brighter."""
    ra, dec = np.array([31.3, 181.3, 302.2] + [200.7] * 50), np.array([0.9, 44.2, -59.1] + [10.4] * 50)
    found = sky.coverage(ra, dec)
    assert (found.pixels, found.most) == (4, 50)
    with Image.open(io.BytesIO(found.png)) as image:
        pixels = np.asarray(image.convert("RGBA")).astype(int)
    x, y = sky.project(ra, dec)
    height, width = pixels.shape[:2]
    across, down = ((1 + x) / 2 * width).astype(int), ((1 - y) / 2 * height).astype(int)
    around = [pixels[row - 1 : row + 2, column - 1 : column + 2] for row, column in zip(down, across, strict=True)]
    assert all(part[..., 3].max() == 255 for part in around)
    assert around[3][..., :3].sum(axis=-1).max() > around[0][..., :3].sum(axis=-1).max()
    assert (pixels[..., 3] > 0).mean() < 4 * 1.5 / (12 * sky.NSIDE**2)


def test_east_is_left_and_north_up():
    (x, west), (y, north) = sky.project(np.array([190.0, 170.0]), np.array([10.0, 20.0]))
    assert x < 0 < west and 0 < y < north


def test_integers_that_javascript_would_round_are_text():
    column = pa.chunked_array([pa.array([1237648720693755918, 5])])
    assert page_contents._plain(column) == ["1237648720693755918", "5"]
    assert page_contents._plain(pa.chunked_array([pa.array([EXACT, -EXACT])])) == [EXACT, -EXACT]


def test_values_without_a_form_in_json_have_one_here():
    column = pa.chunked_array([pa.array([math.nan, math.inf, -math.inf, 0.1], pa.float32())])
    assert page_contents._plain(column) == [None, "Infinity", "-Infinity", 0.1]
    assert page_contents._plain(pa.chunked_array([["x" * 9999]])) == ["x" * page_contents.MAX_TEXT + "…"]


def test_columns_with_few_short_values_are_choices():
    values = {"ring": [0, 1] * 10, "votes": list(range(20)), "part": ["a", "b"] * 10, "essay": ["x" * 200, "y"] * 10}
    rows = pa.table(values)
    columns = {name: ColumnInfo(name, str(rows[name].type), (), "", "", None) for name in values}
    kinds = {field.name: field.role for field in fields(rows, columns, False)}
    assert kinds == {"ring": "choice", "votes": "number", "part": "choice", "essay": "text"}


def test_numbers_that_identify_are_told_from_measurements():
    values = {
        "nsa_id": list(range(20)),
        "TILEID": [5000.0, math.nan] * 10,
        "plate": list(range(20)),
        "galaxy_id": pa.array([[n, n + 1] for n in range(20)], pa.list_(pa.int64(), 2)),
        "centroid": [0.5, 1.0] * 10,
        "votes": list(range(20)),
    }
    rows = pa.table(values)
    columns = {
        name: ColumnInfo(name, "int64", (2,) if name == "galaxy_id" else (), "", "", None) for name in rows.column_names
    }
    found = {field.name for field in fields(rows, columns, False) if field.identifies(rows)}
    assert found == {"nsa_id", "TILEID", "plate", "galaxy_id[0]", "galaxy_id[1]"}


def test_identifiers_have_no_histogram(built_gz3d, tmp_path):
    write_page(built_gz3d, tmp_path / "page")
    found = embedded(tmp_path / "page")
    drawn = {field["name"] for field in found["fields"] if "histogram" in field}
    assert not drawn & {"healpix", "nsa_id", "subject_id", "manga_tileid"}
    assert {"ra", "gz_bar_votes", "ifudesignsize"} <= drawn
    assert field(found, "nsa_id")["role"] == "number"  # to sort and filter by


# Untrusted text


def with_words(folder, out, **changes):
    """A copy of a folder whose columns have these words in place of their own."""
    shutil.copytree(folder, out)
    rows, manifest = catalog.open_folder(out)
    columns = tuple(
        replace(spec, **{key: value for key, value in changes.items() if _fits(spec, key)}) for spec in manifest.columns
    )
    catalog.write(out, replace(manifest, columns=columns), rows)
    return out


def _fits(spec: ColumnSpec, key: str) -> bool:
    return key != "classes" or spec.classes is not None


def test_nothing_that_a_dataset_says_becomes_html(toy, tmp_path):
    folder = with_words(toy, tmp_path / "evil", description=EVIL, unit=EVIL, classes=(EVIL, "<b>"))
    write_page(folder, tmp_path / "page")
    text = (tmp_path / "page" / "index.html").read_text(encoding="utf-8")
    assert EVIL not in text and "<script>alert" not in text and "<img" not in text and "<b>" not in text
    assert len(re.findall("<script", text)) == len(re.findall("</script", text)) == 2
    found = embedded(tmp_path / "page")
    assert {column["description"][: len(EVIL)] for column in found["columns"]} == {EVIL}


def test_a_folder_may_have_any_name(toy, tmp_path):
    folder = tmp_path / EVIL.replace("/", "'\"")
    shutil.copytree(toy, folder)
    write_page(folder, tmp_path / "page")
    found = embedded(tmp_path / "page")
    table = eval(found["open"], {"skyshards": skyshards})
    assert len(table) == ROWS and "<script>alert" not in (tmp_path / "page" / "index.html").read_text(encoding="utf-8")


# The folder


def test_the_same_dataset_gives_the_same_page(toy, page, tmp_path):
    write_page(toy, tmp_path / "again")
    assert files_of(tmp_path / "again") == files_of(page)


def test_a_rerun_replaces_a_page(toy, page, tmp_path):
    out = tmp_path / "page"
    write_page("tests/format_0/gz3d", out)
    before = set(files_of(out))
    write_page(toy, out)
    assert files_of(out) == files_of(page) and before & set(files_of(page)) == {"index.html"}


def test_a_failing_rerun_leaves_the_page_usable(toy, page, tmp_path, monkeypatch):
    out = tmp_path / "page"
    shutil.copytree(page, out)

    def fail(described):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(page_write, "document", fail)
    with pytest.raises(skyshards.BuildError, match="the disk is full"):
        write_page("tests/format_0/gz3d", out)
    left = files_of(out)
    assert files_of(page).items() <= left.items()
    monkeypatch.undo()
    write_page(toy, out)
    assert files_of(out) == files_of(page)


def test_a_page_can_be_written_after_a_first_one_failed(toy, page, tmp_path, monkeypatch):
    out = tmp_path / "page"
    monkeypatch.setattr(page_write, "replacing", _interrupted(page_write.replacing, "index.html"))
    with pytest.raises(KeyboardInterrupt):
        write_page(toy, out)
    assert not (out / "index.html").exists() and any(out.iterdir())
    monkeypatch.undo()
    write_page(toy, out)
    assert files_of(out) == files_of(page)


def _interrupted(replacing, name):
    def interrupt(path):
        if path.name == name:
            raise KeyboardInterrupt
        return replacing(path)

    return interrupt


@pytest.mark.parametrize("name", ["notes.txt", "pictures/mine.jpg", "index.html", "pictures/0123.webp", ".git/config"])
def test_other_folders_are_left_alone(toy, tmp_path, name):
    path = tmp_path / "site" / name
    path.parent.mkdir(parents=True)
    path.write_text("<title>mine</title>")
    with pytest.raises(UsageError, match=f"found {re.escape(name.split('/config')[0])}; move it"):
        write_page(toy, tmp_path / "site")
    assert files_of(tmp_path / "site") == {name: b"<title>mine</title>"}


def test_a_page_cannot_lie_in_its_dataset(toy, tmp_path):
    for out in (toy / "page", toy, toy.parent):
        with pytest.raises(UsageError, match="cannot lie within each other"):
            write_page(toy, out)
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file" / "page"):
        with pytest.raises(UsageError, match="file: expected a folder, found a file"):
            write_page(toy, out)


def test_command(toy, page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, ["page", str(toy)])
    assert done.exit_code == 0, done.output
    assert re.fullmatch(r"page/index.html: all 30 rows, \d\.\d MB\n", done.stdout)
    assert files_of(tmp_path / "page") == files_of(page)
    elsewhere = CliRunner().invoke(main, ["page", str(toy), "-o", "s3://a/b"])
    assert elsewhere.exit_code == 2 and "s3://a/b: a page is written to disk, found a URL" in elsewhere.output
    missing = CliRunner().invoke(main, ["page", "nowhere"])
    assert missing.exit_code == 1 and "nowhere: not a built dataset" in missing.output
    (tmp_path / "page" / "mine").touch()
    refused = CliRunner().invoke(main, ["page", str(toy), "-o", "page"])
    assert refused.exit_code == 2 and "found mine" in refused.output


def test_a_dataset_without_rows_has_no_page(toy, tmp_path):
    shutil.copytree(toy, tmp_path / "empty")
    rows, manifest = catalog.open_folder(tmp_path / "empty")
    catalog.write(tmp_path / "empty", replace(manifest, shards=()), rows.slice(0, 0))
    with pytest.raises(FolderError, match="no rows"):
        write_page(tmp_path / "empty", tmp_path / "page")
    assert not (tmp_path / "page").exists()


def test_contents_name_the_rows_that_are_drawn(toy):
    described, shown = contents(str(toy), skyshards.open(toy))
    assert described["gallery"]["rows"] == shown.tolist()
