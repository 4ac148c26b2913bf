"""Small values that lie near each other are read together."""

import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import skyshards
from skyshards.errors import FolderError, ShardCorrupted
from skyshards.read import batches
from skyshards.read.nearby import GAP, LONGEST, runs
from skyshards.read.store import LocalStore, RemoteStore
from tests.contract import assert_same

ranges = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 3 * LONGEST), st.integers(0, 2 * GAP)), min_size=1, max_size=40
)


@given(ranges, st.integers(1, 2 * LONGEST))
def test_runs_cover_their_ranges_and_little_else(values, spacing):
    files, starts, sizes = np.array(values).T
    starts = starts // spacing * (GAP // 2)  # near each other, or far apart
    found = runs(files, starts, sizes)
    assert ((found.of >= 0) == (sizes > 0)).all()
    for run, (first, start, size) in enumerate(zip(found.firsts, found.starts, found.sizes, strict=True)):
        members = np.flatnonzero(found.of == run)
        assert (files[members] == files[first]).all()
        assert (start, start + size) == (starts[members].min(), (starts[members] + sizes[members]).max())
        assert np.ptp(starts[members]) < LONGEST
        ends = np.maximum.accumulate((starts + sizes)[members[np.argsort(starts[members], kind="stable")]])
        assert (np.sort(starts[members])[1:] - ends[:-1] <= GAP).all()


@pytest.fixture
def asked(monkeypatch):
    """The number of byte ranges that each call of a store asks for."""
    counts = []
    for store in (LocalStore, RemoteStore):

        def counted(self, names, starts, sizes, read=store.read):
            counts.append(len(names))
            return read(self, names, starts, sizes)

        monkeypatch.setattr(store, "read", counted)
    return counts


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_lists_of_a_row_are_read_at_once(built_gz3d, asked, scheme):
    table = skyshards.open(f"{scheme}{built_gz3d}")
    lists = table.select_columns(["star_clusters", "center_clusters"])
    assert len(lists.column_names) == 22
    lists[:]
    assert sum(asked) <= len(table)


@pytest.mark.parametrize("block", [1 << 6, 1 << 20])
@pytest.mark.parametrize("threads", [1, 3])
def test_values_do_not_depend_on_what_is_read_together(built_gz3d, monkeypatch, block, threads):
    table = skyshards.open(built_gz3d, threads=threads)
    rows = [3, 3, 0, 7, 1]
    alone = [table[row] for row in rows]
    monkeypatch.setattr(batches, "SMALL_BYTES", block)
    for number, row in enumerate(table.__getitems__(rows)):
        assert_same(row, alone[number])
    batch = table.with_padding()[rows]
    np.testing.assert_array_equal(batch["segmentation"]["array"], [row["segmentation"]["array"] for row in alone])
    padded = batch["star_clusters"]["x"]
    for number, row in enumerate(alone):
        np.testing.assert_array_equal(padded.values[number][padded.mask[number]], row["star_clusters"]["x"])


def test_a_damaged_value_among_others_is_named(built_gz3d, tmp_path):
    folder = tmp_path / "gz3d"
    shutil.copytree(built_gz3d, folder)
    catalog = skyshards.open(folder)._data.columns
    row = next(row for row in range(len(catalog)) if catalog.array("_size:star_clusters.dec")[row])
    with open(folder / skyshards.open(folder).catalog["_shard"][row].as_py(), "r+b") as file:
        file.seek(catalog.array("_start:star_clusters.dec")[row])
        file.write(b"\xff")
    with pytest.raises(ShardCorrupted, match=r"row \d+ of column 'star_clusters.dec' is damaged: .* crc32"):
        skyshards.open(folder)[:]


def test_a_missing_file_is_named_with_a_row_of_it(built_gz3d, tmp_path):
    folder = tmp_path / "gz3d"
    shutil.copytree(built_gz3d, folder)
    table = skyshards.open(folder).select_columns(["star_clusters"])
    last = table.catalog["_shard"][-1].as_py()
    with open(folder / last, "ab") as file:
        file.write(b"more")
    with pytest.raises(ShardCorrupted, match=rf"{last}: .* \(row \d+ of column 'star_clusters"):
        table[:]
    (folder / last).unlink()
    with pytest.raises(FolderError, match=last):
        skyshards.open(folder).select_columns(["star_clusters"])[:]
