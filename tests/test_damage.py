"""Builds in folders that are not what a build left: files lost, changed, foreign, or not to be trusted."""

import contextlib
import io
import shutil
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import skyshards
from skyshards.errors import BuildError, FolderError, ShardCorrupted
from skyshards.format import catalog
from skyshards.format.layout import CATALOG, CRC32, WORKSPACE
from skyshards.pipeline.build import build
from tests.contract import assert_same
from tests.toy import Toy, unread
from tests.toy_folder import assert_whole, shard_bytes

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def toy_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toy") / "toy"
    build(Toy(20, rows_each=2), folder, workers=2)
    return folder


def test_lost_and_shortened_shards_are_made_again(tmp_path, toy_folder):
    folder = tmp_path / "toy"
    build(Toy(20, rows_each=2), folder, workers=1)
    first, second, *_ = sorted(folder.rglob("*.hdf5"))
    first.unlink()
    second.write_bytes(second.read_bytes()[:-10])
    summary = build(Toy(20, rows_each=2), folder, workers=1)
    assert summary.added > 0
    assert shard_bytes(folder) == shard_bytes(toy_folder)
    assert_whole(folder)


def test_what_was_read_again_for_a_lost_shard_is_kept(tmp_path, monkeypatch):
    """A build that is interrupted after that does not make the next one read it once more."""
    folder = tmp_path / "toy"
    build(Toy(8), folder, workers=1)
    for path in folder.rglob("*.hdf5"):
        path.unlink()
    with monkeypatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
        patch.setattr("skyshards.pipeline.build.pack_all", interrupt)
        build(Toy(8), folder, workers=1)
    with monkeypatch.context() as patch:
        patch.setattr(Toy, "read", unread)
        build(Toy(8), folder, workers=1)
    assert_whole(folder)


def interrupt(*_, **__):
    raise KeyboardInterrupt


def test_damaged_shards_are_not_built_upon(tmp_path, toy_folder):
    """A byte that changed on the disk must not get into a new shard, where nothing could tell any more."""
    folder, recipe, whole = tmp_path / "toy", Toy(20, rows_each=2), shard_bytes(toy_folder)
    build(recipe, folder, limit=12, workers=1)
    damaged = next(folder / path for path, digest in shard_bytes(folder).items() if whole[path] != digest)
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    with pytest.raises(ShardCorrupted, match=f"{damaged}: not what was written there; delete it, and run the same"):
        build(recipe, folder, workers=1)
    damaged.unlink()
    build(recipe, folder, workers=1)
    assert shard_bytes(folder) == whole
    assert_whole(folder)


def test_files_beside_the_shards_are_not_taken_for_some(tmp_path, toy_folder):
    folder, recipe = tmp_path / "toy", Toy(20, rows_each=2)
    build(recipe, folder, limit=12, workers=1)
    for path in list(folder.rglob("*.hdf5")):
        shutil.copy(path, path.with_name(f"copy of {path.name}"))
    build(recipe, folder, workers=1)
    assert len(skyshards.open(folder)) == len(skyshards.open(toy_folder))
    assert shard_bytes(toy_folder).items() <= shard_bytes(folder).items()


@pytest.mark.parametrize(
    "path", ["/victim.hdf5", "../victim.hdf5", "healpix=7/../../../victim.hdf5", "../healpix=7/1-of-1.hdf5"]
)
def test_a_catalogue_that_names_other_files_is_refused(tmp_path, path):
    """It may come from anybody."""
    folder, victim = tmp_path / "toy", tmp_path / "victim.hdf5"
    build(Toy(4), folder, workers=1)
    victim.write_text("precious")
    table, shard = pq.read_table(folder / CATALOG), catalog.read_manifest(folder).shards[0]
    strange = str(victim) if path.startswith("/") else path
    metadata = {
        name: text.replace(shard.path.encode(), strange.encode()) for name, text in table.schema.metadata.items()
    }
    assert metadata != table.schema.metadata
    pq.write_table(table.replace_schema_metadata(metadata), folder / CATALOG)
    with pytest.raises(FolderError, match=f"expected shards such as healpix={shard.pixel}/001-of-001.hdf5, found"):
        skyshards.open(folder)
    with pytest.raises(BuildError, match="catalog.parquet is damaged; delete the folder and build again"):
        build(Toy(5), folder, workers=1)
    assert victim.read_text() == "precious"


def test_rows_of_a_shard_that_is_not_declared(tmp_path):
    build(Toy(4), tmp_path, workers=1)
    table, manifest = catalog.open_folder(tmp_path)
    catalog.write(tmp_path, replace(manifest, shards=manifest.shards[1:]), table)
    with pytest.raises(FolderError, match="rows of undeclared shards"):
        skyshards.open(tmp_path)[0]


@pytest.mark.parametrize(
    ("name", "message"),
    [("journal.sqlite", "the journal of what was read is damaged"), ("manifest.json", "manifest.json: cannot be read")],
)
def test_a_damaged_workspace_is_named(tmp_path, monkeypatch, name, message):
    with monkeypatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
        patch.setattr("skyshards.pipeline.build.pack_all", interrupt)
        build(Toy(4), tmp_path, workers=1)
    (tmp_path / WORKSPACE / name).write_bytes(b"no such thing " * 400)
    with pytest.raises(BuildError, match=f"{message}.*delete .*{WORKSPACE} and build again"):
        build(Toy(4), tmp_path, workers=1)
    shutil.rmtree(tmp_path / WORKSPACE)
    build(Toy(4), tmp_path, workers=1)
    assert_whole(tmp_path)


def test_what_another_build_writes_below_is_left_alone(tmp_path):
    other = tmp_path / "other" / "downloads"
    other.mkdir(parents=True)
    (other / ".writing-1").write_text("half a file")
    build(Toy(2), tmp_path, workers=1)
    assert (other / ".writing-1").exists()


class JpegToy(Toy):
    """Pictures that show other pixels, and no error, where one byte is another."""

    def read(self, source, fetched):
        for row in super().read(source, fetched):
            file = io.BytesIO()
            pixels = np.asarray(Image.open(io.BytesIO(row["picture"])).resize((48, 48)))
            Image.fromarray(pixels).save(file, "jpeg")
            yield row | {"picture": file.getvalue()}


@pytest.fixture(scope="module")
def jpeg_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("jpegs") / "toy"
    build(JpegToy(3), folder, workers=1, max_rows_per_shard=1)
    return folder


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255), shard=st.integers(0, 2))
def test_a_changed_byte_never_gives_other_values(jpeg_folder, place, flip, shard):
    """Whatever lies in a shard: the row as it was built, or a named error."""
    whole = skyshards.open(jpeg_folder)[:]
    path = jpeg_folder / catalog.open_folder(jpeg_folder)[1].shards[shard].path
    content = path.read_bytes()
    changed = bytearray(content)
    changed[int(place * len(content))] ^= flip
    try:
        path.write_bytes(changed)
        with contextlib.suppress(ShardCorrupted):
            assert_same(skyshards.open(jpeg_folder)[:], whole)
    finally:
        path.write_bytes(content)


def test_a_picture_that_decodes_to_others_is_refused(jpeg_folder):
    path = jpeg_folder / catalog.open_folder(jpeg_folder)[1].shards[0].path
    content, picture = path.read_bytes(), skyshards.open(jpeg_folder, decode=False)[0]["picture"]
    changed = picture[:-20] + bytes([picture[-20] ^ 1]) + picture[-19:]
    try:
        path.write_bytes(content.replace(picture, changed))
        with pytest.raises(ShardCorrupted, match="row 0 of column 'picture' is damaged: its bytes do not match"):
            skyshards.open(jpeg_folder)[0]
    finally:
        path.write_bytes(content)


def without_crc32s(folder):
    """As folders were before there was one."""
    table = pq.read_table(folder / CATALOG)
    table = table.drop_columns([name for name in table.column_names if name.startswith(CRC32)])
    split_and_shard = pa.dictionary(pa.int32(), pa.string())
    for name in ("_split", "_shard"):
        table = table.set_column(table.column_names.index(name), name, table[name].cast(split_and_shard))
    pq.write_table(table, folder / CATALOG)
    (folder / "SHA256SUMS").unlink()


def test_a_folder_without_crc32s_is_read_and_built_upon(tmp_path, toy_folder):
    folder = tmp_path / "toy"
    build(Toy(20, rows_each=2), folder, limit=12, workers=1)
    before = skyshards.open(folder)[:]
    without_crc32s(folder)
    assert_same(skyshards.open(folder)[:], before)
    build(Toy(20, rows_each=2), folder, workers=1)
    assert shard_bytes(folder) == shard_bytes(toy_folder)
    assert_same(skyshards.open(folder)[:], skyshards.open(toy_folder)[:])
    assert_whole(folder)
