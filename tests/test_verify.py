"""`skyshards verify` names whatever is not as it was built."""

import dataclasses
import random
import re
import shutil
import subprocess

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from skyshards import verify
from skyshards.cli.main import main
from skyshards.format import catalog
from skyshards.format.layout import CATALOG, HASHED, HASHES
from skyshards.pipeline.build import build
from skyshards.read.catalog_columns import CatalogColumns
from tests.toy import Toy

SOURCES = 4


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("verify") / "toy"
    build(Toy(SOURCES, rows_each=2), folder, workers=1, max_rows_per_shard=2)
    return folder


@pytest.fixture
def folder(built, tmp_path):
    return shutil.copytree(built, tmp_path / "toy")


@pytest.fixture
def shards(folder):
    """The paths of the shards, those with most rows first."""
    _, manifest = catalog.open_folder(folder)
    return [shard.path for shard in sorted(manifest.shards, key=lambda shard: -shard.rows)]


def problems(folder):
    """What the command says is wrong, a line each; that it exits so and shows no traceback is checked on the way."""
    outcome = CliRunner().invoke(main, ["verify", str(folder)])
    assert outcome.exception is None or isinstance(outcome.exception, SystemExit), outcome.exception
    lines = outcome.stderr.splitlines()
    assert (outcome.exit_code, bool(lines)) in ((0, False), (1, True))
    return lines


def test_a_good_folder_has_no_problem(built):
    outcome = CliRunner().invoke(main, ["verify", str(built)])
    assert (outcome.exit_code, outcome.stdout) == (0, f"{built}: all is well\n")


@pytest.mark.slow
@settings(max_examples=20)
@given(data=st.data())
def test_any_changed_byte_of_a_shard_is_noticed(built, tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("flip") / "toy"
    shutil.copytree(built, folder)
    _, manifest = catalog.open_folder(folder)
    shard = data.draw(st.sampled_from([shard.path for shard in manifest.shards]))
    content = bytearray((folder / shard).read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    (folder / shard).write_bytes(content)
    found = problems(folder)
    assert found and all(line.startswith(f"{shard}: ") for line in found)
    shutil.rmtree(folder.parent)


@pytest.mark.slow
@settings(max_examples=20)
@given(data=st.data())
def test_a_changed_byte_of_the_catalogue_raises_nothing_strange(built, tmp_path_factory, data):
    """Not every byte of a Parquet file counts; those that do are noticed, in words."""
    folder = tmp_path_factory.mktemp("flip") / "toy"
    shutil.copytree(built, folder)
    path = folder / CATALOG
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    assert problems(folder) or without_options(folder) == without_options(built)
    shutil.rmtree(folder.parent)


def test_a_path_that_is_no_text_any_more(folder, shards):
    path = folder / CATALOG
    content = path.read_bytes()
    name = shards[0].encode()
    assert name in content
    path.write_bytes(content.replace(name, b"\xe8" + name[1:], 1))
    (found,) = problems(folder)
    assert "cannot be read" in found


def without_options(folder):
    """All of a catalogue but what nothing can be checked against: the options that it was built with."""
    table, manifest = catalog.open_folder(folder)
    return str(table.to_pylist()), manifest.columns, manifest.shards  # as text: NaN is not equal to itself


@pytest.mark.parametrize("kept", [0, 100, -1])
def test_a_shard_cut_short(folder, shards, kept):
    path = folder / shards[0]
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[:kept])
    found = problems(folder)
    assert found[0] == f"{shards[0]}: {path.stat().st_size} bytes, expected {size}"
    assert all(line.startswith(shards[0]) for line in found)


def test_a_missing_shard(folder, shards):
    (folder / shards[1]).unlink()
    assert problems(folder) == [f"{shards[1]}: missing"]


def test_a_stray_shard(folder, shards):
    stray = "healpix=99999/001-of-001.hdf5"
    (folder / stray).parent.mkdir()
    shutil.copy(folder / shards[0], folder / stray)
    assert problems(folder) == [f"{stray}: is not in the catalogue, and stock datasets would load it"]


@pytest.mark.parametrize("place", [".build/staged/healpix=7/001-of-001.hdf5", "healpix=7/.writing-123.hdf5"])
def test_files_of_a_build_under_way_are_no_stray_shards(folder, shards, place):
    (folder / place).parent.mkdir(parents=True)
    shutil.copy(folder / shards[0], folder / place)
    assert problems(folder) == []


class ToyWithGaps(Toy):
    """NaN wherever a float may be, and in one of two of a list."""

    def read(self, source, fetched):
        for row in super().read(source, fetched):
            votes = row["votes"] | {"fraction": np.array([source.info, np.nan], np.float32)}
            yield row | {"flux": np.float32("nan"), "votes": votes}


def test_nan_is_a_value_like_others(tmp_path):
    build(ToyWithGaps(SOURCES), tmp_path / "toy", workers=1)
    assert problems(tmp_path / "toy") == []
    table, manifest = catalog.open_folder(tmp_path / "toy")
    for name, value in (("flux", 1.0), ("votes.fraction", [1.0, np.nan])):
        edited(tmp_path / "toy", set_column(table, name, [value] * len(table)), manifest)
        assert any(f"column {name!r} differs from the catalogue's" in line for line in problems(tmp_path / "toy"))
    for name in ("flux", "votes.fraction"):
        edited(tmp_path / "toy", set_column(table, name, [None] * len(table)), manifest)
        (line,) = problems(tmp_path / "toy")  # pyarrow itself refuses lists without values before version 20
        assert f"column {name!r} lacks values" in line or "Expected all lists to be of size=2" in line


def test_two_shards_in_each_others_place(folder, shards):
    first, second = (folder / shard for shard in shards[:2])
    first.rename(folder / "aside")
    second.rename(first)
    (folder / "aside").rename(second)
    found = problems(folder)
    for shard in shards[:2]:
        assert any(line.startswith(f"{shard}: ") for line in found)


def rewrite(folder, shard, change):
    """Change a shard's data and record its new hash, as one would who wants it unnoticed."""
    with h5py.File(folder / shard, "r+") as file:
        change(file)
    table, manifest = catalog.open_folder(folder)
    path = folder / shard
    now = {"nbytes": path.stat().st_size, "sha256": verify.file_digest(path)}
    shards = tuple(each._replace(**now) if each.path == shard else each for each in manifest.shards)
    edited(folder, table, dataclasses.replace(manifest, shards=shards))


def edited(folder, table, manifest):
    """Write a catalogue again, as it is given."""
    table = table.replace_schema_metadata({b"skyshards": manifest.to_json()})
    pq.write_table(table, folder / CATALOG)


def set_column(table, name, values):
    index = table.column_names.index(name)
    return table.set_column(index, table.schema.field(index), pa.array(values, table.schema.field(index).type))


def replace_dataset(name, values):
    def change(file):
        del file[name]
        file[name] = values(file) if callable(values) else values

    return change


def swap_rows(file):
    for name in ("object_id", "source"):
        values = file[name][()]
        values[[0, 1]] = values[[1, 0]]
        file[name][...] = values


TAMPERED = {
    "another value": (lambda file: file["flux"].__setitem__(0, 77.0), "column 'flux' differs from the catalogue's"),
    "another fold": (
        lambda file: file["fold"].__setitem__(0, (file["fold"][0] + 1) % 10),
        "has rows whose column 'fold' is not the fold of their position",
    ),
    "another pixel": (lambda file: file["healpix"].__setitem__(0, 1), "lie outside its pixel"),
    "another place": (lambda file: file["dec"].__setitem__(0, -80.0), "lie outside its pixel"),
    "another order": (swap_rows, r"not in order of \(object_id, source\)"),
    "another dtype": (
        replace_dataset("flux", lambda file: file["dec"][()]),
        "column 'flux' is float64, expected float32",
    ),
    "fewer rows": (replace_dataset("flux", np.zeros(1, "f4")), r"column 'flux' has shape \(1,\), expected"),
    "no column": (lambda file: file.__delitem__("count"), "no column 'count'"),
    "numbers for text": (replace_dataset("object_id", lambda file: file["count"][()]), "object_id"),
    "a group for a column": (lambda file: (file.__delitem__("count"), file.create_group("count")), "count"),
    "an external link": (replace_dataset("flux", h5py.ExternalLink("other.hdf5", "flux")), "do not trust this file"),
    "another mask": (lambda file: file["votes/mask"].__setitem__(0, 9), "votes.mask"),
}


@pytest.mark.parametrize("case", TAMPERED)
def test_a_tampered_shard_with_its_hash_put_right(folder, shards, case):
    change, message = TAMPERED[case]
    rewrite(folder, shards[0], change)
    assert any(line.startswith(f"{shards[0]}: ") and re.search(message, line) for line in problems(folder))


def exchanged(table, names):
    """The values that two rows of one shard have in some columns, in each other's place."""
    shards, values = table["_shard"].to_pylist(), table[names[0]].to_pylist()
    first = next(n for n in range(len(table)) if shards[n] == shards[n + 1] and values[n] != values[n + 1])
    order = np.arange(len(table))
    order[[first, first + 1]] = first + 1, first
    for name in names:
        table = set_column(table, name, table[name].take(order).to_pylist())
    return table


@pytest.mark.parametrize("name", ["object_id", "dec", "votes.names", "label", "_row"])
def test_a_catalogue_with_two_values_in_each_others_place(folder, name):
    table, manifest = catalog.open_folder(folder)
    edited(folder, exchanged(table, [name]), manifest)
    assert problems(folder)


@pytest.mark.parametrize("name", ["votes.mask", "noise", "picture"])
def test_a_catalogue_that_leads_to_another_rows_array(folder, name):
    """Both ranges hold a good value, but not the row's own."""
    table, manifest = catalog.open_folder(folder)
    edited(folder, exchanged(table, [f"_start:{name}", f"_size:{name}"]), manifest)
    assert any(name in line for line in problems(folder))


def test_a_catalogue_without_a_row(folder):
    table, manifest = catalog.open_folder(folder)
    edited(folder, table.slice(1), manifest)
    assert "catalog.parquet: does not have the" in problems(folder)[0]


def test_a_catalogue_with_a_row_twice(folder):
    table, manifest = catalog.open_folder(folder)
    edited(folder, pa.concat_tables([table.slice(0, 1), table]), manifest)
    assert problems(folder)


def test_a_catalogue_with_its_rows_in_another_order(folder):
    table, manifest = catalog.open_folder(folder)
    order = list(range(len(table)))
    random.Random(1).shuffle(order)
    edited(folder, table.take(order), manifest)
    assert problems(folder)


def test_statistics_that_conditions_would_be_misled_by(folder):
    (folder / HASHES).unlink()  # as before there was one
    path = folder / CATALOG
    content = path.read_bytes()
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    lowest = min(pq.read_table(path)["dec"].to_pylist())
    changed = content[footer:].replace(np.float64(lowest).tobytes(), np.float64(lowest + 0.5).tobytes())
    path.write_bytes(content[:footer] + changed)
    (line,) = problems(folder)
    assert (
        line == "catalog.parquet: the statistics of column 'dec' differ from its values, so that conditions miss rows"
    )


@pytest.mark.parametrize("lengths", [[5, 3, 2], [2, 2, 2, 4], [0, 10], [10]])
def test_rows_are_cut_into_those_of_shards(lengths):
    parts = [pa.table({"row": range(first, first + 4)}).slice(0, 10 - first) for first in (0, 4, 8)]
    found = list(verify._cut(parts, lengths))
    assert [len(part) for part in found] == lengths
    assert pa.concat_tables(found)["row"].to_pylist() == list(range(10))


def test_a_folder_with_row_groups_of_a_few_rows(folder, monkeypatch):
    """Shards may lie in several row groups, of which few are in memory."""
    table, manifest = catalog.open_folder(folder)
    monkeypatch.setattr(catalog, "GROUP_ROWS", 3)
    catalog.write(folder, manifest, table)
    (folder / HASHES).unlink()
    held = []
    forget = CatalogColumns.forget_before

    def watched(columns, row):
        forget(columns, row)
        held.append(max(int(column.read.sum()) for column in columns._columns.values()))

    monkeypatch.setattr(CatalogColumns, "forget_before", watched)
    assert problems(folder) == []
    assert len(table) == 8 and max(held) <= 1


def test_no_catalogue(folder):
    (folder / CATALOG).unlink()
    (line,) = problems(folder)
    assert str(folder) in line and "not a built dataset" in line


def test_no_sources(folder):
    (folder / HASHES).unlink()  # as before there was one
    (folder / "sources.parquet").unlink()
    assert problems(folder) == ["sources.parquet: missing, so that no row leads to its source"]


def test_damaged_sources(folder):
    (folder / "sources.parquet").write_bytes(b"PAR1")
    assert problems(folder) and all("sources.parquet" in line for line in problems(folder))


def test_a_source_that_is_not_recorded(folder):
    (folder / HASHES).unlink()  # as before there was one
    table = pq.read_table(folder / "sources.parquet")
    pq.write_table(table.slice(1), folder / "sources.parquet")
    assert problems(folder) == ["sources.parquet: source 's00000' of 2 rows is not recorded as done"]


def test_a_source_whose_rows_are_gone(folder):
    (folder / HASHES).unlink()  # as before there was one
    table = pq.read_table(folder / "sources.parquet")
    more = table.slice(0, 1).to_pylist()[0] | {"key": "s99999"}
    pq.write_table(pa.concat_tables([table, pa.Table.from_pylist([more], table.schema)]), folder / "sources.parquet")
    assert problems(folder) == ["catalog.parquet: has no row of source 's99999', which is recorded as done"]


def test_no_card(folder):
    (folder / HASHES).unlink()  # as before there was one
    """Without it, stock `datasets` loads the folder with other features and in slabs that fill the memory."""
    (folder / "README.md").unlink()
    assert any("README.md" in line for line in problems(folder))


def test_no_folder(tmp_path):
    (line,) = problems(tmp_path / "nowhere")
    assert str(tmp_path / "nowhere") in line


def test_info_says_what_there_is(built):
    outcome = CliRunner().invoke(main, ["info", str(built)])
    assert outcome.exit_code == 0
    for words in (f"{2 * SOURCES} rows", "float32", "nside 16 NESTED", f"{SOURCES} done", "max_rows_per_shard=2"):
        assert words in outcome.stdout


def test_info_of_nothing_is_one_line(tmp_path):
    outcome = CliRunner().invoke(main, ["info", str(tmp_path)])
    assert outcome.exit_code == 1 and outcome.stdout == ""
    (line,) = outcome.stderr.splitlines()
    assert "not a built dataset" in line


@pytest.mark.parametrize("name", sorted((HASHED | {HASHES}) - {"failures.csv"}))
def test_any_file_that_is_changed_or_gone_is_noticed(folder, name):
    path = folder / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert any(name in line for line in problems(folder))
    path.unlink()
    assert name == HASHES or any(name in line for line in problems(folder))  # without the list, it is an older folder


def test_failures_are_listed_too(tmp_path):
    build(Toy(SOURCES, broken=(1,)), tmp_path / "toy", workers=1)
    assert problems(tmp_path / "toy") == []
    with open(tmp_path / "toy" / "failures.csv", "a") as file:
        file.write("more\n")
    assert problems(tmp_path / "toy") == ["failures.csv: its sha256 differs from SHA256SUMS"]


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="sha256sum is not on this machine")
def test_sha256sum_checks_the_list(folder, shards):
    command = ["sha256sum", "--check", "--quiet", HASHES]
    assert subprocess.run(command, cwd=folder, capture_output=True).returncode == 0
    (folder / shards[0]).write_bytes(b"")
    assert subprocess.run(command, cwd=folder, capture_output=True).returncode == 1
