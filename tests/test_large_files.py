"""Files of many rows are read in blocks as `docs/adding-a-dataset.md` shows, and by `skyshards.large_files`."""

import io
import re
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import datasets
import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.table import Table
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import skyshards
import skyshards.large_files
from skyshards.format.schema import Column, Schema
from skyshards.large_files import parquet_rows
from skyshards.pipeline.build import build
from skyshards.pipeline.recipe import Recipe, Source
from tests.toy_folder import assert_whole

PAGE = (Path(__file__).parents[1] / "docs" / "adding-a-dataset.md").read_text(encoding="utf-8")
METHODS = dict(re.findall(r"```py\n# (galaxies\.\w+)\b[^\n]*\n(.*?)```", PAGE, re.DOTALL))
NAMES = {
    "h5py": h5py, "fits": fits, "pq": pq, "zipfile": zipfile, "tarfile": tarfile, "skyshards": skyshards,
}  # fmt: skip
ROWS = 30
PLACES = [f"{12.5 + number}_{-40 + number}.png" for number in range(ROWS)]


def picture(number):
    file = io.BytesIO()
    Image.fromarray(np.full((4, 4, 3), number, np.uint8)).save(file, "png")
    return file.getvalue()


def table():
    ra, dec = np.array([name.removesuffix(".png").split("_") for name in PLACES], float).T
    return {"object_id": PLACES, "ra": ra, "dec": dec}


def write(path):
    """Write a file of the kind that a path's name tells."""
    if path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            for name in ("ra", "dec"):
                file[name] = table()[name]
    elif path.suffix == ".fits":
        Table(table()).write(path)
    elif path.suffix == ".parquet":
        pq.write_table(pa.table(table()), path, row_group_size=8)
    elif path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for number, name in enumerate(PLACES):
                archive.writestr(name, picture(number))
    else:
        with tarfile.open(path, "w") as archive:
            for number, name in enumerate(PLACES):
                member = tarfile.TarInfo(name)
                member.size = len(picture(number))
                archive.addfile(member, io.BytesIO(picture(number)))
    return path


@dataclass(frozen=True)
class OneFile(Recipe):
    path: Path
    name = "large"
    folder = Path(__file__).parent / "toy_card"
    rows_per_block = 7

    @property
    def schema(self):
        places = {
            "object_id": Column(datasets.Value("string"), "name"),
            "ra": Column(datasets.Value("float64"), "right ascension", "deg"),
            "dec": Column(datasets.Value("float64"), "declination", "deg"),
        }
        return Schema(
            places | ({"image": Column(datasets.Image(), "one")} if self.path.suffix in (".zip", ".tar") else {})
        )

    def sources(self, fetcher):
        yield Source(self.path.name, path=self.path)


def test_every_kind_of_file_is_shown():
    assert set(METHODS) == {f"galaxies.{kind}" for kind in ("h5", "fits", "parquet", "zip", "tar")}


@pytest.mark.parametrize("name", METHODS)
def test_the_methods_that_the_page_shows(tmp_path, name):
    methods = {}
    exec(compile(METHODS[name], name, "exec"), dict(NAMES), methods)
    recipe = type("OneFile", (OneFile,), methods)(write(tmp_path / name))
    for limit in (10, None):
        summary = build(recipe, tmp_path / "toy", limit=limit, workers=0)
        assert (summary.rows, summary.failed, summary.failed_rows) == (limit or ROWS, 0, 0)
    rows = skyshards.open(tmp_path / "toy")
    found = sorted((float(row["ra"]), str(row["object_id"]), row) for row in rows)
    for number, (ra, object_id, row) in enumerate(found):
        assert ra == 12.5 + number
        assert object_id == (str(number) if name == "galaxies.h5" else PLACES[number])
        if "image" in rows.column_names:
            assert (row["image"] == number).all()
    assert_whole(tmp_path / "toy")


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 40), st.integers(0, 40), st.integers(1, 50))
def test_rows_of_parquet_files(tmp_path_factory, start, length, group):
    path = tmp_path_factory.mktemp("parquet") / "t.parquet"
    whole = pa.table({"a": range(40), "b": [str(number) for number in range(40)]})
    pq.write_table(whole, path, row_group_size=group)
    rows = range(start, min(start + length, 40))
    assert parquet_rows(path, rows).equals(whole.slice(start, len(rows)))
    assert parquet_rows(path, rows, ["b"]).equals(whole.slice(start, len(rows)).select(["b"]))
