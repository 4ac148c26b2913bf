"""A join as a HATS collection and as a catalogue: valid, each value the joined table's, the same bytes again."""

import json
import shutil
import subprocess
from dataclasses import replace

import click
import numpy as np
import pandas as pd
import pyarrow.csv as pacsv
import pyarrow.dataset as pads
import pytest
import yaml
from astropy.table import Table
from huggingface_hub import DatasetCard

import skyshards
from skyshards.cli.main import main
from skyshards.errors import FolderError, UsageError
from skyshards.export import write
from skyshards.export.catalogue import write_catalogue
from skyshards.export.content import content_of
from skyshards.export.run import export
from skyshards.format.columns import flatten
from tests.exported_files import decoded, digests
from tests.joined_rows import values_in_export
from tests.sky_folder import build_sky
from tests.test_crossmatch import moved, sphere

pytestmark = pytest.mark.slow

pytest.importorskip("hats", reason="the extra `hats` is not installed")
NAMES = ("first", "second", "third")
SMALL_TILES = {"tile_mb": 0.005, "workers": 0}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Three datasets of one sky, each of which lacks some of the others' objects."""
    home, (ra, dec) = tmp_path_factory.mktemp("joined"), sphere(40, 1)
    dec[:12], ra[:12] = 45 + np.arange(12) * 2e-3, 12.5  # so near that margins are not empty
    near = moved(ra, dec, np.random.default_rng(2).uniform(0, 0.2, len(ra)), 3)
    again = moved(ra, dec, np.random.default_rng(4).uniform(0, 0.2, len(ra)), 5)
    return [
        build_sky(home / "first", ra, dec, 16),
        build_sky(home / "second", *(values[::2] for values in near), 64),
        build_sky(home / "third", *(np.append(values[:30], values[:9]) for values in again), 1),
    ]


def join(folders, count=2, **options):
    tables = [skyshards.open(folder, decode=False) for folder in folders[:count]]
    return skyshards.join(*tables, names=NAMES[:count], radius_arcsec=0.3, **options)


@pytest.fixture(scope="module")
def left(folders):
    return join(folders, how="left")


@pytest.fixture(scope="module")
def exported(left, tmp_path_factory):
    """An export of a left join in many tiles; tests must not change it."""
    out = tmp_path_factory.mktemp("exported") / "left"
    export(left, out, **SMALL_TILES)
    return out


def assert_same(joined, parts, out):
    """Each joined row is in the export, once, with the same values."""
    wanted = values_in_export(joined, parts)
    files = pads.dataset(out / "_x_".join(parts) / "dataset", exclude_invalid_files=True, partitioning=None)
    rows = files.to_table().to_pylist()
    keys = [f"{part}_object_id" if part != parts[0] else "object_id" for part in parts]
    found = {tuple(row[key] for key in keys): row for row in rows}
    assert len(rows) == len(found) == len(joined)
    splits = joined.catalog[f"{parts[0]}._split"].to_pylist()
    for number, key in enumerate(zip(*(wanted[key] for key in keys), strict=True)):
        row = found[tuple(None if name is None else str(name) for name in key)]
        assert set(row) == {name.partition(".")[0] for name in wanted} | {"_healpix_29", "_split"}
        assert row["_split"] == splits[number]
        for path, values in wanted.items():
            here = row
            for name in path.split("."):
                here = here and here[name]
            if values[number] is None:
                assert here is None, path
            elif isinstance(values[number], bytes):
                assert here == {"bytes": values[number], "path": None}
            else:
                np.testing.assert_array_equal(decoded(here), values[number], err_msg=path)


def test_is_a_valid_collection(exported):
    from hats.io.validation import is_valid_catalog

    assert is_valid_catalog(exported, strict=True)
    assert pads.dataset(exported / "first_x_second_10arcs" / "dataset", exclude_invalid_files=True).count_rows() > 0


def test_every_value_is_the_joined_tables(left, exported):
    assert 0 < left.catalog["matched"].to_numpy().sum() < len(left)
    assert_same(left, NAMES[:2], exported)


@pytest.mark.parametrize("options", [{}, {"match": "all"}, {"match": "all", "how": "left"}], ids=str)
def test_three_datasets(folders, tmp_path, options):
    joined = join(folders, 3, **options)
    export(joined, tmp_path / "out", **SMALL_TILES)
    assert_same(joined, NAMES, tmp_path / "out")


def test_the_same_bytes_again_from_a_saved_join_and_on_any_number_of_processes(left, exported, tmp_path):
    left.save(tmp_path / "pairs.parquet")
    export(tmp_path / "pairs.parquet", tmp_path / "out", tile_mb=SMALL_TILES["tile_mb"], workers=2)
    assert digests(tmp_path / "out") == digests(exported)


def test_goes_on_where_it_was_stopped(left, exported, tmp_path, monkeypatch):
    real, written = write.to_arrow, []

    def dies(*arguments):
        written.append(arguments)
        if len(written) == 9:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(write, "to_arrow", dies)
    with pytest.raises(KeyboardInterrupt):
        export(left, tmp_path / "out", **SMALL_TILES)
    monkeypatch.undo()
    before = digests(tmp_path / "out")
    assert len(before) > 1 and before.items() < digests(exported).items()
    export(left, tmp_path / "out", **SMALL_TILES)
    assert digests(tmp_path / "out") == digests(exported)


def test_selected_rows_and_columns(left, tmp_path):
    few = left.where("matched").select_columns(["second.votes", "first.flux"]).select(slice(None, None, -1))
    export(few, tmp_path / "out", **SMALL_TILES)
    table = pads.dataset(tmp_path / "out" / "first_x_second" / "dataset", exclude_invalid_files=True).to_table()
    columns = ["object_id", "ra", "dec", "first_flux", "second_votes", "second__split", "_healpix_29", "_split"]
    assert table.column_names == columns and len(table) == len(few)
    flux = dict(zip(table["object_id"].to_pylist(), table["first_flux"].to_pylist(), strict=True))
    names = few.catalog["first.object_id"].to_pylist()
    np.testing.assert_array_equal([flux[name] for name in names], few[:]["first"]["flux"])


def test_other_joins_are_refused(left, folders, exported, tmp_path):
    with pytest.raises(UsageError, match="holds an export with other rows .its join_sha256 differs"):
        export(left.where("matched"), exported, **SMALL_TILES)
    with pytest.raises(UsageError, match="holds an export with dataset = 'first_x_second' instead of"):
        export(join(folders, 3), exported, **SMALL_TILES)
    with pytest.raises(FolderError, match="first_x_second: no rows of the datasets match"):
        export(left.select([]), tmp_path / "none")
    with pytest.raises(UsageError, match="within each other"):
        export(left, folders[1] / "out")
    assert not list(tmp_path.iterdir())


def test_a_dataset_that_changed_meanwhile_is_named(left, folders, tmp_path):
    content = content_of(left)
    dataset = write.Dataset.of(content.first.table)
    assert write._opened(dataset)
    with pytest.raises(FolderError, match="first: the dataset changed during the export"):
        write._opened(replace(dataset, state="another state"))


def test_datasets_at_urls_are_joined_as_those_on_disk(folders, exported, left, tmp_path):
    tables = [skyshards.open(folder) for folder in (folders[0], f"file://{folders[1]}")]
    export(skyshards.join(*tables, names=NAMES[:2], how="left", radius_arcsec=0.3), tmp_path / "out", **SMALL_TILES)
    assert digests(tmp_path / "out") == digests(exported)


def test_datasets_of_one_name_are_exported_from_a_crossmatch(folders, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["export", str(folders[0]), "out", "--join", str(shutil.copytree(folders[0], tmp_path / "again"))]
    with pytest.raises(click.UsageError, match="join: .* found sky twice; export the file that"):
        main(words, standalone_mode=False)
    main(["crossmatch", *words[1::3], "-o", "pairs.parquet"], standalone_mode=False)
    main(["export", "pairs.parquet", "out", "--workers", "0"], standalone_mode=False)
    assert "40 rows" in capsys.readouterr().out


def test_columns_of_one_name_are_refused(named):
    tables = [skyshards.open(folder) for folder in (named[1], *named)]
    names = ("first", "x", "x_gz_bar")
    where = "x.gz_bar_votes and x_gz_bar.votes"
    with pytest.raises(UsageError, match=f"two columns would be called x_gz_bar_votes .{where}.; name the tables"):
        content_of(skyshards.join(*tables, names=names))
    tables[2] = tables[2].select_columns(["flux"])
    assert content_of(skyshards.join(*tables, names=names)).specs["x_gz_bar_flux"].unit == "uJy"


def test_cards_tell_of_all_datasets(exported, folders):
    card = DatasetCard.load(exported / "README.md")
    assert card.data.to_dict()["pretty_name"].count(" joined with ") == 1
    assert card.text.count("\n## Load it") == card.text.count("\n## Columns") == 1
    assert "| `second_votes.mask` | PNG [16, 18] |" in card.text and "| `separation` | float64 | arcsec |" in card.text
    assert card.text.count("(`first`)") == card.text.count("(`second`)") == 1
    bibtex = (exported / "CITATION.bib").read_text()
    assert bibtex.count("@") == (folders[0] / "CITATION.bib").read_text().count("@")
    front = yaml.safe_load((exported / "README.md").read_text().split("---\n")[1])
    assert [split["num_examples"] for split in front["dataset_info"][0]["splits"]] == [20, 20]


def test_croissant_gives_the_rows(left, exported):
    mlcroissant = pytest.importorskip("mlcroissant")
    dataset = mlcroissant.Dataset(exported / "croissant.json")
    assert not dataset.metadata.ctx.issues.errors
    rows = {row["rows/object_id"].decode(): row for row in dataset.records("rows")}
    assert len(rows) == len(left)
    for wanted in left:
        row = rows[wanted["first"]["object_id"]]
        np.testing.assert_array_equal(np.asarray(row["rows/first_noise"]).astype(np.float32), wanted["first"]["noise"])
        assert row["rows/second_count"] == (wanted["second"]["count"] if wanted["matched"] else None)


def test_describes_its_keys(exported):
    (records,) = json.loads((exported / "croissant.json").read_text())["recordSet"]
    keys = [key["@id"].removeprefix("rows/") for key in records["key"]]
    assert keys == ["object_id", "first_source", "second_object_id", "second_source"]


LIGHT = ("object_id", "ra", "first_label", "second_count", "second_barred", "second_votes.names", "second_flux",
         "second_votes.fraction", "second_object_id", "separation", "matched", "second__split")  # fmt: skip


def assert_light(found, wanted, absent, but=()):
    """A catalogue's columns have the wanted values, and nothing where a row lacks the second dataset."""
    for name in set(LIGHT) - set(but):
        values = found[name]
        for number, value in enumerate(wanted[name]):
            here = values[number]
            if value is None:
                assert absent(here), (name, here)
            else:
                here = here.astype(str) if getattr(here, "dtype", None) is not None and here.dtype.kind == "S" else here
                np.testing.assert_array_equal(here, value, err_msg=name)


def nothing(value):
    """Whether astropy has no value: masked, NaN or an empty text."""
    value = np.ma.asarray(value)
    if np.ma.getmaskarray(value).all():
        return True
    return bool((value.astype(str) == "").all() if value.dtype.kind in "US" else np.isnan(value).all())


@pytest.mark.parametrize("form", ["votable", "fits"])
def test_catalogue_for_astropy(left, tmp_path, form):
    write_catalogue(left, tmp_path / "left", form)
    table = Table.read(tmp_path / "left", format=form)
    wanted = values_in_export(left, NAMES[:2])
    but = ["second_votes.names"] if form == "votable" else []
    assert_light(table, wanted, nothing, but)
    for value, names in zip(wanted["second_votes.names"], table["second_votes.names"], strict=True):
        if form == "votable":
            assert (value is None and nothing(names)) or json.loads(names) == value.tolist()
    assert table["second_flux"].unit == "uJy" and table["separation"].unit == "arcsec"
    assert not {"first_noise", "second_picture"} & set(table.colnames)


@pytest.mark.skipif(shutil.which("stilts") is None, reason="stilts is not installed (apt install stilts)")
@pytest.mark.parametrize("form", ["votable", "fits", "csv"])
def test_catalogue_for_topcat(left, tmp_path, form):
    """STILTS reads tables as TOPCAT does."""
    write_catalogue(left, tmp_path / "left", form)
    command = ["stilts", "tpipe", f"in={tmp_path / 'left'}", f"ifmt={form}", "ofmt=csv", f"out={tmp_path / 'out.csv'}"]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    found, wanted = pd.read_csv(tmp_path / "out.csv"), values_in_export(left, NAMES[:2])
    assert len(found) == len(left) and found["object_id"].tolist() == wanted["object_id"]
    for name in ("second_count", "second_flux", "separation", "second_object_id"):
        values = [None if value != value else value for value in found[name].tolist()]
        assert [value is None for value in values] == [value is None or value != value for value in wanted[name]]
        assert all(value is None or value == mine for value, mine in zip(values, wanted[name], strict=True)), name


def test_catalogue_as_parquet_and_csv(left, tmp_path):
    left.save(tmp_path / "pairs.parquet")
    write_catalogue(tmp_path / "pairs.parquet", tmp_path / "left.parquet", "parquet")
    wanted = values_in_export(left, NAMES[:2])
    frame = pd.read_parquet(tmp_path / "left.parquet", dtype_backend="pyarrow")
    assert_light(frame, wanted, lambda value: value is None or value is pd.NA)
    write_catalogue(left, tmp_path / "left.csv", "csv")
    table = pacsv.read_csv(tmp_path / "left.csv", convert_options=pacsv.ConvertOptions(strings_can_be_null=True))
    assert table["second_count"].to_pylist() == [
        value if value is None else int(value) for value in wanted["second_count"]
    ]
    for text, value in zip(table["second_votes.names"].to_pylist(), wanted["second_votes.names"], strict=True):
        assert (text is None) if value is None else json.loads(text) == value.tolist()


def test_coverage_is_that_of_the_first(left, tmp_path):
    mocpy = pytest.importorskip("mocpy", reason="the extra `hats` is not installed")
    from astropy import units

    write_catalogue(left, tmp_path / "moc.fits", "moc")
    where = left.catalog
    place = [where[f"first.{axis}"].to_numpy() * units.deg for axis in ("ra", "dec")]
    assert mocpy.MOC.load(tmp_path / "moc.fits", format="fits").contains_lonlat(*place).all()


def run(capsys, *words):
    main(["export", *map(str, words)], standalone_mode=False)
    return capsys.readouterr().out


@pytest.fixture(scope="module")
def named(tmp_path_factory, built_gz3d):
    """Two datasets of different names at the same places."""
    table = skyshards.open(built_gz3d)
    home = tmp_path_factory.mktemp("named")
    return built_gz3d, build_sky(home / "sky", *(table.catalog[axis].to_numpy()[:3] for axis in ("ra", "dec")))


def test_from_the_command_line(named, tmp_path, capsys):
    gz3d, sky = named
    rows = len(skyshards.open(gz3d))
    joined = skyshards.join(skyshards.open(gz3d, decode=False), skyshards.open(sky, decode=False), how="left")
    said = run(capsys, gz3d, tmp_path / "one", "--join", sky, "--how", "left", "--workers", 0)
    assert said.startswith(f"{tmp_path / 'one'}: {rows} rows in ")
    export(joined, tmp_path / "two", workers=0)
    assert digests(tmp_path / "one") == digests(tmp_path / "two")
    main(["crossmatch", str(gz3d), str(sky), "-o", str(tmp_path / "pairs.parquet")], standalone_mode=False)
    capsys.readouterr()
    assert " 3 rows in " in run(capsys, tmp_path / "pairs.parquet", tmp_path / "three", "--workers", 0)
    assert ": 3 rows" in run(capsys, gz3d, tmp_path / "a.csv", "--format", "csv", "--join", sky, "--radius_arcsec", 0.1)
    assert flatten({name: 1 for name in pd.read_csv(tmp_path / "a.csv")}).keys() > {"gz3d_scale", "sky_flux"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--how", "left"], "how: is for exports with --join"),
        (["--radius-arcsec", "2"], "radius-arcsec: is for exports with --join"),
        (["--format", "fits", "--tile_mb", "30"], "tile_mb: is for --format hats, not fits"),
        (["--format", "moc", "--dask", "127.0.0.1:1"], "dask: is for --format hats, not moc"),
        (["--format", "csv", "--workers", "0"], "workers: is for --format hats, not csv"),
        (["--join", "nowhere"], "nowhere: not a built dataset"),
        (["--join", "SELF"], "found gz3d twice"),
    ],
)
def test_options_that_make_no_sense_are_refused(built_gz3d, tmp_path, capsys, words, message):
    given = [str(built_gz3d) if word == "SELF" else word for word in words]
    with pytest.raises(click.ClickException, match=message):
        run(capsys, built_gz3d, tmp_path / "out", *given)
    assert not list(tmp_path.iterdir())
