"""Folders that somebody sent: whatever they claim, a named error, no hang, little memory, no file outside of them."""

import contextlib
import json
import os
import shutil
import subprocess
import sys

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import skyshards
from skyshards.cli.main import main
from skyshards.errors import BuildError, FolderError, ShardCorrupted
from skyshards.format import catalog, parquet_bounds
from skyshards.format.images import decode_image
from skyshards.format.layout import HASHED, HASHES
from skyshards.pipeline.build import build
from skyshards.pipeline.workspace import WORKSPACE
from skyshards.read.arrow import ToArrow
from tests.contract import assert_same
from tests.toy import Toy

pytestmark = pytest.mark.slow

RECIPE = Toy(4, rows_each=2)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("foreign") / "toy"
    build(RECIPE, folder, workers=1)
    return folder


@pytest.fixture(scope="module")
def whole(built):
    return skyshards.open(built)[:]


@pytest.fixture
def folder(built, tmp_path):
    return shutil.copytree(built, tmp_path / "toy")


def with_manifest(folder, change):
    """Rewrite the catalogue with a manifest that `change` made of the JSON of the old one."""
    table = pq.read_table(folder / "catalog.parquet")
    record = json.loads(table.schema.metadata[b"skyshards"])
    change(record)
    table = table.replace_schema_metadata({b"skyshards": json.dumps(record)})
    pq.write_table(table, folder / "catalog.parquet")


def assert_refused(folder):
    """Whoever reads the folder says that the catalogue is at fault, in one printable line."""
    with pytest.raises(FolderError, match="catalog.parquet cannot be read"):
        skyshards.open(folder)
    for command in ("info", "verify", "cite"):
        outcome = CliRunner().invoke(main, [command, str(folder)])
        assert outcome.exit_code == 1 and "catalog.parquet cannot be read" in outcome.stderr
        assert len(outcome.stderr.splitlines()) == 1 and outcome.stderr.strip().isprintable()
    with pytest.raises(BuildError, match="catalog.parquet is damaged"):
        build(RECIPE, folder, workers=1)


def assert_refused_when_read(folder):
    """Whoever reads the columns at fault says so; the others do not look at them."""
    table = skyshards.open(folder)
    with pytest.raises(FolderError, match="catalog.parquet cannot be read"):
        assert table.catalog and table[:]
    outcome = CliRunner().invoke(main, ["verify", str(folder)])
    assert outcome.exit_code == 1 and "catalog.parquet cannot be read" in outcome.stderr
    assert len(outcome.stderr.splitlines()) == 1 and outcome.stderr.strip().isprintable()
    with pytest.raises(BuildError, match="catalog.parquet is damaged"):
        build(RECIPE, folder, workers=1)


def column(record, path):
    return next(column for column in record["columns"] if column["path"] == path)


CLAIMS = {
    "huge shape": lambda record: column(record, "votes.mask").update(shape=[1 << 40]),
    "huge product": lambda record: column(record, "votes.mask").update(shape=[1 << 20, 1 << 20]),
    "negative shape": lambda record: column(record, "votes.mask").update(shape=[-1, 5]),
    "float shape": lambda record: column(record, "votes.mask").update(shape=[1.5, 5]),
    "true as a shape": lambda record: column(record, "votes.mask").update(shape=[True, 5]),
    "text as a shape": lambda record: column(record, "votes.mask").update(shape="55"),
    "object dtype": lambda record: column(record, "votes.mask").update(dtype="object"),
    "void dtype": lambda record: column(record, "votes.mask").update(dtype="V1000000000"),
    "unknown dtype": lambda record: column(record, "flux").update(dtype="float33"),
    "unknown kind": lambda record: column(record, "flux").update(kind="pickle"),
    "null dtype": lambda record: column(record, "flux").update(dtype=None),
    "null name": lambda record: column(record, "flux").update(path=None),
    "escape in a name": lambda record: column(record, "flux").update(path="fl\x1b]0;gotcha\x07ux"),
    "escape in a unit": lambda record: column(record, "flux").update(unit="\x1b[2J"),
    "a group that is a column": lambda record: column(record, "flux").update(path="votes"),
    "twice": lambda record: record["columns"].append(record["columns"][0]),
    "no position": lambda record: record["columns"].remove(column(record, "ra")),
    "no columns": lambda record: record.pop("columns"),
    "columns that are text": lambda record: record.update(columns="flux"),
    "more than we know": lambda record: record["columns"].append({"path": "x"}),
    "a config of no column": lambda record: record.update(configs={"flags": ["barred", "bared"]}),
    "a config of another's name": lambda record: record.update(configs={"catalog": ["flux"]}),
    "a config of text": lambda record: record.update(configs={"flags": "flux"}),
    "a config of numbers": lambda record: record.update(configs={"flags": [1]}),
    "an unprintable config": lambda record: record.update(configs={"\x1b[2J": ["flux"]}),
    "configs that are a list": lambda record: record.update(configs=["flux"]),
    "an inflated column that is deflated": lambda record: record.update(inflated=["votes.mask"]),
    "inflated columns that are a number": lambda record: record.update(inflated=7),
    "splits": lambda record: record.update(splits=["../../x"]),
    "no split": lambda record: record.update(splits=[]),
    "null splits": lambda record: record.update(splits=None),
    "name": lambda record: record.update(name="\x1b[31mtoy"),
    "nside": lambda record: record.update(nside=3),
    "huge nside": lambda record: record.update(nside=1 << 80),
    "simulated": lambda record: record.update(simulated="no"),
    "options": lambda record: record.update(options=None),
    "pixel": lambda record: record["shards"][0].__setitem__(2, -1),
    "null rows": lambda record: record["shards"][0].__setitem__(3, None),
    "float rows": lambda record: record["shards"][0].__setitem__(3, 1e300),
    "length": lambda record: record["shards"][0].__setitem__(4, -5),
    "sha256": lambda record: record["shards"][0].__setitem__(5, "x"),
    "a shard of five": lambda record: record["shards"][0].__delitem__(slice(5, None)),
    "a shard twice": lambda record: record["shards"].append(record["shards"][0]),
    "a shard elsewhere": lambda record: record["shards"][0].__setitem__(0, "healpix=0/001-of-001.hdf5"),
}


CLAIMS_ABOUT_ROWS = {
    "larger than its bytes allow": lambda record: column(record, "votes.mask").update(shape=[4096, 4096]),
    "shorter than its values": lambda record: record["shards"][0].__setitem__(4, 100),
}


@pytest.mark.parametrize("claim", CLAIMS)
def test_a_manifest_that_makes_no_sense(folder, claim):
    with_manifest(folder, CLAIMS[claim])
    assert_refused(folder)


@pytest.mark.parametrize("claim", CLAIMS_ABOUT_ROWS)
def test_a_manifest_that_does_not_fit_the_rows(folder, claim):
    with_manifest(folder, CLAIMS_ABOUT_ROWS[claim])
    assert_refused_when_read(folder)


@pytest.mark.parametrize("text", ["", "[]", "null", "{", "[" * 100_000, '{"name": 1}', "\x00"])
def test_a_manifest_that_is_none(folder, text):
    table = pq.read_table(folder / "catalog.parquet").replace_schema_metadata({b"skyshards": text.encode()})
    pq.write_table(table, folder / "catalog.parquet")
    assert_refused(folder)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("_start:votes.mask", None),
        ("_start:votes.mask", -1),
        ("_start:votes.mask", 1 << 62),
        ("_size:votes.mask", -1),
        ("_size:votes.mask", (1 << 31) - 1),
        ("_size:picture", None),
        ("_row", 1 << 30),
        ("_row", None),
        ("_split", "other"),
        ("_shard", "healpix=0/001-of-001.hdf5"),
        ("_shard", None),
        ("ra", None),
    ],
)
def test_places_that_are_none(folder, name, value):
    table, manifest = catalog.open_folder(folder)
    values = table[name].to_pylist()
    place = table.schema.get_field_index(name)
    changed = pa.array([value, *values[1:]], pa.string() if pa.types.is_dictionary(table[name].type) else None)
    table = table.set_column(place, table.schema.field(name), changed.cast(table.schema.field(name).type))
    pq.write_table(table.replace_schema_metadata({b"skyshards": manifest.to_json()}), folder / "catalog.parquet")
    assert_refused_when_read(folder)
    with pytest.raises(FolderError, match="catalog.parquet cannot be read"):
        skyshards.open(folder)._data.columns.array(name)


def shard_of(folder):
    return folder / catalog.open_folder(folder)[1].shards[0].path


def test_a_pipe_in_place_of_a_shard_does_not_hang(folder):
    path = shard_of(folder)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(FolderError, match=f"{path}.*not a regular file"):
        skyshards.open(folder)[0]
    assert "missing" in CliRunner().invoke(main, ["verify", str(folder)]).stderr
    build(RECIPE, folder, workers=1)
    assert CliRunner().invoke(main, ["verify", str(folder)]).exit_code == 0


@pytest.mark.parametrize("name", ["README.md", "CITATION.bib", "catalog.parquet", "sources.parquet", "SHA256SUMS"])
def test_a_pipe_in_place_of_a_file_does_not_hang(folder, name):
    (folder / name).unlink()
    os.mkfifo(folder / name)
    for command in ("info", "verify", "cite"):
        outcome = CliRunner().invoke(main, [command, str(folder)])
        assert outcome.exception is None or isinstance(outcome.exception, SystemExit), outcome.exception


@pytest.mark.parametrize("name", ["README.md", "CITATION.bib"])
def test_what_is_cited_is_text(folder, name):
    (folder / name).write_bytes(b"## How to cite\n\xff\xfe")
    outcome = CliRunner().invoke(main, ["cite", str(folder)])
    assert outcome.exit_code == 1 and len(outcome.stderr.splitlines()) == 1 and name in outcome.stderr


def test_control_characters_do_not_reach_the_terminal(folder):
    (folder / "CITATION.bib").write_text("@misc{x,\n  title = {\x1b]0;gotcha\x07}\n}\n")
    outcome = CliRunner().invoke(main, ["cite", str(folder)])
    assert "\\x1b]0;gotcha\\x07" in outcome.stdout and "\x1b" not in outcome.stdout
    with_manifest(folder, lambda record: record["options"].update(query="\x1b[31mred"))
    outcome = CliRunner().invoke(main, ["info", str(folder)])
    assert "query=\\x1b[31mred" in outcome.stdout and "\x1b" not in outcome.stdout


PEAK = """
import resource, sys
from skyshards.cli.main import main
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    main(sys.argv[1:])
except SystemExit as end:
    print(end.code, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def repeated(table, rows, **columns):
    """A table whose rows are all the first one, with other values in some columns, as few bytes in Parquet."""
    first = table.slice(0, 1)
    for name, value in columns.items():
        first = first.set_column(first.schema.get_field_index(name), first.schema.field(name), pa.array([value]))
    return first.take(pa.array(np.zeros(rows, int)))


@pytest.mark.parametrize("name", ["catalog.parquet", "sources.parquet"])
@pytest.mark.parametrize("kind", ["long text", "many rows"])
def test_what_inflates_a_millionfold_is_refused(folder, name, kind):
    table = pq.read_table(folder / name)
    said = {key: value for key, value in (table.schema.metadata or {}).items() if b"::len::" not in key}
    table = table.replace_schema_metadata(said)  # not even how long its texts are
    key = "object_id" if name == "catalog.parquet" else "key"
    rows = repeated(table, 1 << 20) if kind == "many rows" else repeated(table, 100, **{key: "x" * 999_999})
    with pq.ParquetWriter(folder / name, table.schema, compression="zstd") as writer:
        for _ in range(4 if (name, kind) == ("catalog.parquet", "many rows") else 16):
            writer.write_table(rows)
    assert (folder / name).stat().st_size < 2_000_000
    done = subprocess.run(
        [sys.executable, "-c", PEAK, "verify", str(folder)], capture_output=True, text=True, timeout=120
    )
    status, megabytes = done.stdout.split()
    assert status == "1" and int(megabytes) < 700
    assert name in done.stderr
    refusal = "bytes of memory, expected at most"
    if (name, kind) == ("catalog.parquet", "long text"):  # not that many rows
        refusal = "does not have the 1 row of"
    assert refusal in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_true_catalogue_of_many_rows_is_opened(folder, monkeypatch):
    """One whose rows repeat themselves no more than those of real ones do."""
    monkeypatch.setattr(parquet_bounds, "LEAST", 0)
    rows = 50_000
    table = pq.read_table(folder / "catalog.parquet")
    many = table.take(pa.array(np.arange(rows) % len(table)))
    rng = np.random.default_rng(0)
    values = {
        "object_id": [f"J{n:019d}" for n in rng.integers(0, 1 << 60, rows)],
        "source": [f"manga-{n // 50}.fits.gz" for n in range(rows)],
        "ra": rng.uniform(0, 360, rows),
        "dec": rng.uniform(-90, 90, rows),
    }
    for name, column in values.items():
        many = many.set_column(many.schema.get_field_index(name), many.schema.field(name), pa.array(column))
    path = folder / "many.parquet"
    pq.write_table(many, path, compression="zstd")
    parquet_bounds.check_memory(path, pq.ParquetFile(path), many.column_names)


@pytest.mark.parametrize("change", ["no column", "another type", "no key"])
def test_sources_of_another_form(folder, change):
    table = pq.read_table(folder / "sources.parquet")
    if change == "no column":
        table = table.drop_columns(["status"])
    elif change == "another type":
        table = table.set_column(4, "status", pa.array([1] * len(table)))
    else:
        table = table.set_column(0, "key", pa.array([None] * len(table), pa.string()))
    pq.write_table(table, folder / "sources.parquet")
    for command in ("info", "verify"):
        outcome = CliRunner().invoke(main, [command, str(folder)])
        assert outcome.exit_code == 1 and "sources.parquet" in outcome.stderr
    with pytest.raises(FolderError, match="sources.parquet: cannot be read.*delete it"):
        build(RECIPE, folder, workers=1)


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n"


def test_no_other_program_is_started_for_an_image(tmp_path, monkeypatch):
    """Pillow would run `gs`, found on PATH, for PostScript."""
    script = tmp_path / "gs"
    script.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(ValueError, match="cannot identify image"):
        decode_image(EPS)
    assert not (tmp_path / "started").exists()


def test_the_builder_gives_datasets_no_other_file_to_decode():
    """It would have Pillow try all the formats that it knows."""
    features = datasets.Features({"picture": datasets.Image()})
    with pytest.raises(ShardCorrupted, match="holds 70 bytes that begin with b'%!PS-Adobe.*expected a PNG or JPEG"):
        ToArrow(features)({"picture": np.array([EPS], object)})


@pytest.mark.parametrize("name", [WORKSPACE, "downloads"])
def test_a_build_follows_no_link_out_of_its_folder(tmp_path, name):
    outside, folder = tmp_path / "outside", tmp_path / "toy"
    outside.mkdir()
    (outside / ".writing-mine").write_text("precious")
    folder.mkdir()
    (folder / name).symlink_to(outside)
    with pytest.raises(BuildError, match=f"{folder / name}: a link or device that leads out"):
        build(RECIPE, folder, workers=1)
    assert [path.name for path in outside.iterdir()] == [".writing-mine"]


@pytest.mark.parametrize("name", ["lock", "journal.sqlite", "manifest.json"])
def test_a_build_follows_no_link_in_its_workspace(tmp_path, name):
    (tmp_path / "precious").write_text("precious")
    workspace = tmp_path / "toy" / WORKSPACE
    workspace.mkdir(parents=True)
    (workspace / name).symlink_to(tmp_path / "precious")
    with pytest.raises(BuildError, match="leads out of the dataset's folder; remove it"):
        build(RECIPE, tmp_path / "toy", workers=1)
    assert (tmp_path / "precious").read_text() == "precious"


def test_no_shard_is_written_through_a_link(tmp_path, built):
    """A folder of shards that is one."""
    folder = tmp_path / "toy"
    build(RECIPE, folder, limit=1, workers=1)
    outside = tmp_path / "outside"
    outside.mkdir()
    later = {shard.path.rpartition("/")[0] for shard in catalog.open_folder(built)[1].shards}
    for name in later - {path.name for path in folder.iterdir()}:
        (folder / name).symlink_to(outside)
    with pytest.raises(BuildError, match="a link, in place of a folder of shards; remove it"):
        build(RECIPE, folder, workers=1)
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("strange", ["evil.py", "healpix=7/001-of-001.hdf5", "healpix=7/note.txt"])
def test_only_what_a_build_left_is_moved_to_its_place(folder, built, strange):
    ready = folder / WORKSPACE / "ready"
    shutil.copytree(built, ready)
    (ready / strange).parent.mkdir(exist_ok=True)
    (ready / strange).write_text("x")
    with pytest.raises(BuildError, match=f"holds {strange}, which no build of this dataset left; delete"):
        build(RECIPE, folder, workers=1)
    assert not (folder / strange).exists()
    (ready / strange).unlink()
    build(RECIPE, folder, workers=1)
    assert CliRunner().invoke(main, ["verify", str(folder)]).exit_code == 0


def test_the_next_state_of_another_dataset_is_not_moved(folder, tmp_path):
    ready = folder / WORKSPACE / "ready"
    build(RECIPE, tmp_path / "other", workers=1, nside=8)
    shutil.copytree(tmp_path / "other", ready)
    with pytest.raises(BuildError, match="no catalogue of this dataset"):
        build(RECIPE, folder, workers=1)


def test_shards_of_other_bytes_are_named(folder):
    path = shard_of(folder)
    path.write_bytes(b"\0" * path.stat().st_size)
    with pytest.raises(ShardCorrupted, match=str(path)):
        skyshards.open(folder)[:]


NAMES = sorted((HASHED | {HASHES}) - {"failures.csv"})


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_happens_to_a_file(built, whole, tmp_path_factory, data):
    """Random damage to any file: the right rows or a named error from all that reads, and `verify` finds it."""
    folder = shutil.copytree(built, tmp_path_factory.mktemp("damage") / "toy")
    name = data.draw(st.sampled_from([*NAMES, *(shard.path for shard in catalog.open_folder(built)[1].shards)]))
    content = bytearray((folder / name).read_bytes())
    start = data.draw(st.integers(0, len(content)))
    end = data.draw(st.integers(start, min(start + 40, len(content))))
    content[start:end] = data.draw(st.binary(max_size=40))
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content))) :]
    (folder / name).write_bytes(content)
    with contextlib.suppress(FolderError, ShardCorrupted):
        assert_same(skyshards.open(folder)[:], whole)
    for command in ("info", "cite", "verify"):
        outcome = CliRunner().invoke(main, [command, str(folder)])
        assert outcome.exception is None or isinstance(outcome.exception, SystemExit), outcome.exception
        assert outcome.exit_code in (0, 1)
    changed = bytes(content) != (built / name).read_bytes()
    assert outcome.exit_code == changed or name == HASHES
    shutil.rmtree(folder.parent)
