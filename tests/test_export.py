"""A built dataset as a HATS collection: valid to `hats`, every value as the table has it, the same bytes again."""

import errno
import hashlib
import json
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest

import skyshards
from skyshards.errors import BuildError, FolderError, ShardCorrupted, UsageError
from skyshards.export import plan, run, write
from skyshards.export.columns import picture_shape
from skyshards.export.plan import THUMBNAIL
from skyshards.export.run import export
from skyshards.format import catalog
from skyshards.format.columns import flatten
from skyshards.pipeline.build import build
from tests.exported_files import decoded, digests
from tests.toy import Toy

pytestmark = pytest.mark.slow

UPath = pytest.importorskip("upath", reason="the extra `hats` is not installed").UPath
pytest.importorskip("hats", reason="the extra `hats` is not installed")
REPOSITORY = Path(__file__).parents[1]
SMALL_TILES = {"tile_mb": 0.005, "workers": 0}


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export") / "toy"
    build(Toy(60), folder, workers=1)
    return folder


@pytest.fixture(scope="module")
def exported(toy, tmp_path_factory):
    """An export in many tiles, with rows in their margins; tests must not change it."""
    out = tmp_path_factory.mktemp("exported") / "toy"
    export(toy, out, **SMALL_TILES)
    return out


def assert_same(folder, out):
    """Each row of a dataset is in its export, once, with the same values."""
    table = skyshards.open(folder, decode=False)
    specs = catalog.open_folder(folder)[1].specs
    files = pads.dataset(out / specs_name(folder) / "dataset", exclude_invalid_files=True, partitioning=None)
    rows = files.to_table().to_pylist()
    found = {(row["object_id"], row["source"]): row for row in rows}
    assert len(rows) == len(found) == len(table)
    for wanted in table:
        row = found[wanted["object_id"], wanted["source"]]
        flat = flatten({name: value for name, value in row.items() if name not in ("_healpix_29", "_split")})
        for path, value in flatten(wanted).items():
            spec, here = specs[path], flat.get(path)
            if spec.kind == "bytes":
                assert flat[f"{path}.bytes"] == value and flat[f"{path}.path"] is None
                continue
            if here is None and path in flat:
                assert spec.missing is not None
                here = spec.missing
            if picture_shape(spec) == spec.shape:
                here = {"bytes": flat[f"{path}.bytes"], "path": None}
            np.testing.assert_array_equal(decoded(here), value, err_msg=path)


def specs_name(folder):
    return catalog.open_folder(folder)[1].name


def test_is_a_valid_collection(exported):
    from hats.io.validation import is_valid_catalog

    assert is_valid_catalog(exported, strict=True)
    margin = exported / "toy_10arcs"
    assert pads.dataset(margin / "dataset", exclude_invalid_files=True).count_rows() > 0


def test_every_value_is_the_tables(toy, exported):
    assert_same(toy, exported)


def test_gz3d_too(built_gz3d, tmp_path):
    export(built_gz3d, tmp_path / "out", workers=0)
    assert_same(built_gz3d, tmp_path / "out")


def test_the_same_bytes_again_on_any_number_of_processes(toy, exported, tmp_path):
    export(toy, tmp_path / "out", tile_mb=0.005, workers=2)
    assert digests(tmp_path / "out") == digests(exported)


def test_a_file_is_written_by_several_threads_at_once(toy, tmp_path, monkeypatch):
    """With the same bytes as by one."""
    monkeypatch.setattr(write, "BATCH_BYTES", 1)  # a row at a time
    export(toy, tmp_path / "one", workers=0)
    meeting, real, met = threading.Barrier(3), write.to_arrow, []

    def meets(*arguments):
        if not met:
            meeting.wait(60)
            met.append(threading.current_thread().name)
        return real(*arguments)

    monkeypatch.setattr(write, "to_arrow", meets)
    monkeypatch.setattr(run, "threads_for", lambda files, _: [3] * len(files))
    export(toy, tmp_path / "three", workers=0)
    assert len(set(met)) == 3
    assert digests(tmp_path / "three") == digests(tmp_path / "one")


@pytest.mark.parametrize(
    "sizes, workers, threads",
    [
        ([100], 8, [8]),
        ([100, 1, 1], 4, [4, 2, 4]),
        ([100, 100], 2, [1, 2]),
        ([100] * 9, 4, [1] * 6 + [1, 2, 4]),
        ([100] * 3, 1, [1, 1, 1]),
        ([0, 0], 4, [1, 1]),
        ([], 4, []),
    ],
)
def test_threads_are_shared_by_what_is_left(sizes, workers, threads):
    files = [write.RowFile("", {}, np.array([size]), None) for size in sizes]
    assert list(write.threads_for(files, workers)) == threads


def test_goes_on_where_it_was_killed(toy, exported, tmp_path, monkeypatch):
    out, real, written = tmp_path / "out", write.to_arrow, []

    def dies(*arguments):
        written.append(arguments)
        if len(written) == 9:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(write, "to_arrow", dies)
    with pytest.raises(KeyboardInterrupt):
        export(toy, out, **SMALL_TILES)
    monkeypatch.undo()
    (out / "toy" / "dataset" / ".writing-left").mkdir(parents=True)
    before = digests(out)
    assert before.items() < digests(exported).items()
    done = export(toy, out, **SMALL_TILES)
    files = [*exported.rglob("Npix=*.parquet"), exported / "toy" / THUMBNAIL]
    assert done.written == len(files) - (len(before) - 1)
    assert digests(out) == digests(exported)
    assert export(toy, out, **SMALL_TILES).written == 0


def test_the_page_and_date_can_be_given_later(toy, exported, tmp_path):
    """Without writing any rows again, with the same bytes as if they had been given at first."""
    shutil.copytree(exported, tmp_path / "later")
    options = {"url": "https://example.org/toy", "published": "2026-01-31"}
    assert export(toy, tmp_path / "later", **SMALL_TILES, **options).written == 0
    export(toy, tmp_path / "first", **SMALL_TILES, **options)
    assert digests(tmp_path / "later") == digests(tmp_path / "first") != digests(exported)


def test_other_options_or_datasets_are_refused(toy, exported, tmp_path):
    with pytest.raises(UsageError, match="tile_mb = 0.005 instead of 7"):
        export(toy, exported, tile_mb=7, workers=0)
    other = tmp_path / "other"
    build(Toy(3), other, workers=1)
    with pytest.raises(UsageError, match="catalog_sha256"):
        export(other, exported, **SMALL_TILES)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="files that are not part of an export"):
        export(toy, tmp_path / "mine")
    with pytest.raises(UsageError, match="within each other"):
        export(toy, toy / "hats")
    for option in ({"tile_mb": 0.0}, {"margin_arcsec": -1.0}, {"margin_arcsec": float("nan")}):
        with pytest.raises(UsageError, match=next(iter(option))):
            export(toy, tmp_path / "none", **option)
    with pytest.raises(FolderError, match="not a built data"):
        export(tmp_path / "mine", tmp_path / "none")


def test_a_damaged_shard_is_named(toy, tmp_path):
    folder = shutil.copytree(toy, tmp_path / "toy")
    shard = next(iter(sorted(folder.rglob("*.hdf5"))))
    shard.write_bytes(bytes(shard.stat().st_size))
    with pytest.raises(ShardCorrupted, match="001-of-001.hdf5"):
        export(folder, tmp_path / "out", workers=0)


def test_rows_are_sorted_and_row_groups_small(toy, exported, tmp_path, monkeypatch):
    monkeypatch.setattr(write, "GROUP_ROWS", 7)
    export(toy, tmp_path / "out", workers=0)
    for path in (tmp_path / "out" / "toy" / "dataset").rglob("*.parquet"):
        file = pq.ParquetFile(path)
        index = file.read(["_healpix_29"])["_healpix_29"]
        assert index.type == pa.int64() and (np.diff(index.to_numpy()) >= 0).all()
        groups = [file.metadata.row_group(number) for number in range(file.num_row_groups)]
        assert max(group.num_rows for group in groups) <= 7
        for column in (groups[0].column(number) for number in range(groups[0].num_columns)):
            assert column.compression == "ZSTD" and column.has_offset_index


def test_the_thumbnail_has_a_row_of_each_tile_within_bounds(toy, exported, tmp_path, monkeypatch):
    whole = pq.read_table(exported / "toy" / THUMBNAIL)
    tiles = list((exported / "toy" / "dataset").rglob("Npix=*.parquet"))
    assert len(whole) == len(tiles) > 9 and (np.diff(whole["_healpix_29"].to_numpy()) > 0).all()
    monkeypatch.setattr(plan, "THUMBNAIL_BYTES", 4000)
    export(toy, tmp_path / "out", **SMALL_TILES)
    few = pq.read_table(tmp_path / "out" / "toy" / THUMBNAIL)
    names, kept = whole["object_id"].to_pylist(), few["object_id"].to_pylist()
    assert 1 < len(kept) < len(names) / 2 and any(names[::step] == kept for step in range(2, len(names)))


def test_words_go_with_the_values(exported):
    schema = pq.read_schema(exported / "toy" / "dataset" / "_common_metadata")
    assert schema.field("flux").metadata == {b"description": b"flux", b"unit": b"uJy"}
    assert json.loads(schema.field("label").metadata[b"classes"]) == ["elliptical", "spiral"]
    assert schema.field("votes").type.field("mask").metadata[b"description"] == b"a mask"
    features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
    assert features["picture"]["_type"] == features["votes"]["mask"]["_type"] == "Image"
    assert features["label"]["names"] == ["elliptical", "spiral"]


def test_croissant_gives_the_rows(toy, exported):
    mlcroissant = pytest.importorskip("mlcroissant")
    dataset = mlcroissant.Dataset(exported / "croissant.json")
    assert not dataset.metadata.ctx.issues.errors
    description = json.loads((exported / "croissant.json").read_text())
    assert "Simulated" not in description["description"] and description["version"].count(".") == 2
    rows = {row["rows/object_id"].decode(): row for row in dataset.records("rows")}
    for wanted in skyshards.open(toy):
        row = rows[wanted["object_id"]]
        np.testing.assert_array_equal(np.asarray(row["rows/picture"]), wanted["picture"])
        np.testing.assert_array_equal(np.asarray(row["rows/noise"]).astype(np.float32), wanted["noise"])
        votes = row["rows/votes"]
        np.testing.assert_array_equal(np.asarray(votes["rows/votes/mask"]), wanted["votes"]["mask"])
        assert [name.decode() for name in votes["rows/votes/names"]] == wanted["votes"]["names"].tolist()


def test_croissant_names_page_and_date(built_gz3d, tmp_path):
    export(built_gz3d, tmp_path / "one", workers=0)
    found = json.loads((tmp_path / "one" / "croissant.json").read_text())
    assert (found["url"], found["datePublished"]) == ("https://doi.org/10.1093/mnras/stab2282", "2021")
    page = {"url": "https://example.org/gz3d", "published": "2026-01-31"}
    export(built_gz3d, tmp_path / "two", workers=0, **page)
    found = json.loads((tmp_path / "two" / "croissant.json").read_text())
    assert (found["url"], found["datePublished"]) == tuple(page.values())


def test_other_readers_of_parquet(toy, exported):
    pattern = str(exported / "toy" / "dataset" / "**" / "*.parquet")
    table = skyshards.open(toy)
    wanted = dict(zip(table.catalog["object_id"].to_pylist(), table.catalog["ra"].to_pylist(), strict=True))
    duckdb = pytest.importorskip("duckdb")
    assert (
        dict(duckdb.sql(f"SELECT object_id, ra FROM '{pattern}' WHERE octet_length(picture.bytes) > 0").fetchall())
        == wanted
    )
    polars = pytest.importorskip("polars")
    found = polars.scan_parquet(pattern).select("object_id", "ra", "votes").collect()
    assert dict(zip(found["object_id"], found["ra"], strict=True)) == wanted


def test_pandas_and_astropy(toy, exported):
    import pandas
    from astropy.table import Table

    frame = pandas.read_parquet(exported / "toy" / "dataset", columns=["object_id", "flux", "noise"])
    assert sorted(frame["object_id"]) == sorted(skyshards.open(toy).catalog["object_id"].to_pylist())
    path = min(exported.rglob("toy/dataset/**/Npix=*.parquet"))
    found = Table.read(path, include_names=["object_id", "ra", "flux"])
    assert found["flux"].unit == "uJy" and found["ra"].description == "right ascension (ICRS)" and len(found)


def test_to_a_url(toy, exported):
    import fsspec

    done = export(toy, "memory://exports/toy", **SMALL_TILES)
    files = fsspec.filesystem("memory")
    found = {name.removeprefix("/exports/toy/"): files.cat_file(name) for name in files.find("/exports/toy")}
    assert {name: hashlib.sha256(content).hexdigest() for name, content in found.items()} == digests(exported)
    assert done.written and export(toy, "memory://exports/toy", **SMALL_TILES).written == 0


def test_from_a_url(toy, exported, tmp_path):
    """The same bytes as from disk, in processes too; a table may be given for its options."""
    export(f"file://{toy}", tmp_path / "url", tile_mb=0.005, workers=2)
    export(skyshards.open(f"file://{toy}", decode=True), tmp_path / "table", **SMALL_TILES)
    assert digests(tmp_path / "url") == digests(tmp_path / "table") == digests(exported)


def test_a_selection_is_refused(toy, tmp_path):
    table = skyshards.open(toy)
    for part in (table.select([1, 0]), table.select_columns(["object_id", "ra", "dec"])):
        with pytest.raises(UsageError, match="toy: expected a table of all rows and columns to export"):
            export(part, tmp_path / "out")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "url, kind, message",
    [
        ("http://127.0.0.1:9/out", UsageError, "web servers cannot be written to; use a folder"),
        ("nonsense://out", UsageError, "cannot be written to .*nonsense"),
        ("broken://out", BuildError, "broken://out: cannot be written to or listed .RuntimeError: odd.; run it again"),
    ],
)
def test_a_url_that_cannot_be_written_is_said(toy, url, kind, message):
    import fsspec

    class Broken(fsspec.AbstractFileSystem):
        protocol = "broken"

        def exists(self, path, **_):
            raise RuntimeError("odd")

    fsspec.register_implementation("broken", Broken, clobber=True)
    with pytest.raises(kind, match=message):
        export(toy, url, **SMALL_TILES)


def test_to_a_url_of_a_folder(toy, exported, tmp_path):
    export(toy, f"file://{tmp_path}/out", **SMALL_TILES)
    assert digests(tmp_path / "out") == digests(exported)


def test_to_s3(toy, exported, s3):
    """Written by two processes, resumed after files were lost, and read back where it lies."""
    lsdb = pytest.importorskip("lsdb", reason="the extra `lsdb` is not installed")
    import s3fs

    where = {"endpoint_url": s3, "key": "testing", "secret": "testing"}
    export(toy, "s3://sky/hats", tile_mb=0.005, workers=2, storage_options=where)
    files = s3fs.S3FileSystem(**where)

    def there():
        found = {name.removeprefix("sky/hats/"): files.cat_file(name) for name in files.find("sky/hats")}
        return {name: hashlib.sha256(content).hexdigest() for name, content in found.items()}

    assert there() == digests(exported)
    lost = [name for name in files.find("sky/hats") if "Npix=1" in name] + ["sky/hats/collection.properties"]
    files.rm(lost)
    done = export(toy, "s3://sky/hats", tile_mb=0.005, workers=0, storage_options=where)
    assert done.written == len(lost) - 1 > 1 and there() == digests(exported)
    catalog = lsdb.open_catalog(UPath("s3://sky/hats", **where))
    assert len(catalog.compute()) == 60


def test_from_s3(toy, exported, s3, tmp_path):
    import s3fs

    where = {"endpoint_url": s3, "key": "testing", "secret": "testing"}
    s3fs.S3FileSystem(**where).put(str(toy), "sky/built", recursive=True)
    table = skyshards.open("s3://sky/built", storage_options=where)
    export(table, tmp_path / "out", tile_mb=0.005, workers=2)
    assert digests(tmp_path / "out") == digests(exported)
    with pytest.raises(UsageError, match="cannot lie within each other"):
        export(table, "s3://sky/built/hats", storage_options=where)


def test_on_dask_from_the_command(toy, exported, tmp_path, capsys):
    distributed = pytest.importorskip("distributed", reason="the extra `dask` is not installed")
    from skyshards.cli.main import main

    options = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": None, "host": "127.0.0.1"}
    with distributed.LocalCluster(**options) as cluster:
        words = ["--tile_mb", "0.005", "--dask", cluster.scheduler_address]
        main(["export", str(toy), str(tmp_path / "out"), *words], standalone_mode=False)
    assert "60 rows in" in capsys.readouterr().out
    assert digests(tmp_path / "out") == digests(exported)


def test_a_scheduler_that_is_not_there_is_said(toy, tmp_path):
    pytest.importorskip("distributed", reason="the extra `dask` is not installed")
    import click

    from skyshards.cli.main import main

    with pytest.raises(click.UsageError, match="dask: no scheduler at nonsense://x"):
        main(["export", str(toy), str(tmp_path / "out"), "--dask", "nonsense://x"], standalone_mode=False)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_said(toy, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pq.ParquetWriter, "write_table", full)
    with pytest.raises(BuildError, match="the disk is full; free some space and run the same command again"):
        export(toy, tmp_path / "out", **SMALL_TILES)
    monkeypatch.undo()
    export(toy, tmp_path / "out", **SMALL_TILES)


def test_simulated_data_say_so(built_gz3d, tmp_path):
    build_toy = catalog.open_folder(built_gz3d)[1]
    export(built_gz3d, tmp_path / "out", workers=0)
    words = (tmp_path / "out" / "gz3d" / "hats.properties").read_text()
    assert ("(simulated)" in words) == build_toy.simulated
    assert "obs_copyright=cc-by-4.0" in words and "10.1093/mnras/stab2282" in words


def test_the_command_says_what_there_is(toy, tmp_path, capsys):
    from skyshards.cli.main import main

    words = ["export", str(toy), str(tmp_path / "out"), "--workers", "0", "--margin_arcsec", "0"]
    main(words, standalone_mode=False)
    assert "60 rows in" in capsys.readouterr().out
    assert not list((tmp_path / "out").glob("*arcs"))


KILLED = """
import sys
from skyshards.export.plan import THUMBNAIL
from skyshards.export.run import export

if __name__ == "__main__":
    export(sys.argv[1], sys.argv[2], tile_mb=0.005, workers=2)
"""


def test_a_killed_process_leaves_nothing_half_made(toy, exported, tmp_path):
    script, out = tmp_path / "script.py", tmp_path / "out"
    script.write_text(KILLED)
    process = subprocess.Popen([sys.executable, script, toy, out], cwd=REPOSITORY)
    try:
        while process.poll() is None and len(list(out.rglob("Npix=*.parquet"))) < 3:
            time.sleep(0.01)
    finally:
        process.kill()
        process.wait(60)
    wanted, margins = digests(exported), "toy_10arcs/"
    found = {name: digest for name, digest in digests(out).items() if ".writing-" not in name}
    assert len(found) >= 3 and found.items() <= wanted.items()
    export(toy, out, tile_mb=0.005, workers=0)
    assert digests(out) == wanted and any(name.startswith(margins) for name in wanted)
