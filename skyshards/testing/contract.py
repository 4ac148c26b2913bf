"""Tests that every built dataset must pass. A dataset's test class inherits `Contract` and defines `recipe`."""

import importlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import datasets
import h5py
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from astropy import units
from datasets import Image, load_dataset
from packaging.version import Version

import skyshards
from skyshards import verify
from skyshards.fetch.client import Fetcher
from skyshards.format import catalog, own_card
from skyshards.format.bibtex import bibtex_entries
from skyshards.format.card import stock_features
from skyshards.format.columns import flatten, nest
from skyshards.format.shard import read_light
from skyshards.pipeline.build import build
from skyshards.pipeline.encode import complete
from skyshards.pipeline.recipe import Deferred, Recipe, Served, Source
from skyshards.testing.other_programs import OTHER_PROGRAMS

DATASETS = Version(datasets.__version__)

stock_reads_hdf5 = pytest.mark.skipif(Version("4.4") > DATASETS, reason="stock datasets reads HDF5 from 4.4 on")


def assert_same(found, expected, where=""):
    """Assert that two nested values have equal keys, shapes and values; NaN equals NaN."""
    found, expected = (value._asdict() if isinstance(value, skyshards.Ragged) else value for value in (found, expected))
    if isinstance(expected, dict):
        assert set(found) == set(expected), where
        for name in expected:
            assert_same(found[name], expected[name], f"{where}.{name}")
    else:
        found, expected = np.asarray(found), np.asarray(expected)
        assert found.shape == expected.shape, where
        if expected.dtype.kind == "f":
            np.testing.assert_array_equal(found, expected, err_msg=where)
        else:
            assert (found == expected).all(), where


def as_formatted(value, found):
    """Convert a value as the `numpy` format of `datasets`: float64 to float32 in lists, before version 5 always."""
    value = np.asarray(value)
    may_be_narrowed = value.dtype == np.float64 and (value.ndim or DATASETS.major < 5)
    is_narrowed = may_be_narrowed and np.asarray(found).dtype == np.float32
    return value.astype(np.float32) if is_narrowed else value


def run_card_formats(folder, split):
    """Run the code in the formats section of a folder's card; return its variables."""
    section = (folder / "README.md").read_text().partition("## In the formats of `datasets`")[2].partition("\n## ")[0]
    program = "\n".join(re.findall(r"```python\n(.*?)```", section, re.DOTALL))
    found: dict[str, Any] = {}
    exec(re.sub(r'"data/\w+", split="\w+"', f'{str(folder)!r}, split="{split}"', program), found)
    return found


def rows_of(recipe: Recipe, source: Source, fetched: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the rows of a source as its recipe reads them, in whatever way."""
    fetched = fetched.content if isinstance(fetched, Served) else fetched
    fetched = fetched.content() if isinstance(fetched, Deferred) else fetched
    total = recipe.count(source, fetched) if recipe.counts else None
    if total is None:
        yield from recipe.read(source, fetched)
    else:
        yield from (row for row in recipe.read_rows(source, fetched, range(total)) if row is not None)


class Contract:
    """Tests of the guarantees of all datasets.

    A subclass defines the fixture `recipe`, and may override `folder` (a dataset built with it) and `expected` (the
    contents of rows by `object_id` and source, best computed independently of the recipe). `split` is the split under
    test.
    """

    split = "train"
    built: ClassVar[Path]
    """The dataset of the tests of one class, once the first of them has built it."""

    @pytest.fixture
    def folder(self, recipe, tmp_path_factory):
        built = vars(type(self)).get("built")
        if built is None:  # once for all tests of the class
            type(self).built = built = tmp_path_factory.mktemp("built") / recipe.name
            assert build(recipe, built, workers=0).failed == 0
        return built

    @pytest.fixture
    def expected(self, recipe, tmp_path):
        fetcher, rows = Fetcher(), {}
        files = [path for path, spec in recipe.schema.specs.items() if spec.kind == "bytes"]  # the table decodes them
        recipe = recipe.prepare(fetcher, tmp_path)
        for source in recipe.sources(fetcher):
            if source.split == self.split:
                for row in rows_of(recipe, source, recipe.fetch(source, fetcher, tmp_path)):
                    values = {
                        path: value for path, value in complete(row, recipe.schema.specs).items() if path not in files
                    }
                    rows[row["object_id"], source.key] = nest(values)
        return rows

    @pytest.fixture
    def table(self, folder):
        return skyshards.open(folder, self.split)

    def test_table_holds_what_was_read(self, table, expected):
        assert len(table) == len(expected)
        for row in table:
            wanted = expected[str(row["object_id"]), str(row["source"])]
            assert_same({name: row[name] for name in wanted}, wanted)

    def test_table_keeps_dtypes(self, table, recipe):
        for path, values in flatten(table[:2]).items():
            spec = recipe.schema.specs[path]
            if spec.kind == "number":
                assert values.dtype == np.dtype(spec.dtype)
                assert values.shape == (2, *spec.shape)
            elif spec.kind == "string":
                assert values.dtype.kind == "U"
            elif spec.kind == "ragged":
                assert (values.values.dtype, len(values.lengths)) == (np.dtype(spec.dtype), 2)

    @stock_reads_hdf5
    @pytest.mark.parametrize("streaming", [True, False])
    def test_stock_load_equals_table(self, folder, recipe, streaming, tmp_path):
        table = skyshards.open(folder, self.split, decode=False)
        data_set = load_dataset(str(folder), split=self.split, streaming=streaming, cache_dir=str(tmp_path))
        assert data_set.features == stock_features(recipe.schema, "default")
        count = 0
        for row, wanted in zip(data_set.with_format("numpy"), table, strict=True):
            for path, value in flatten(wanted).items():
                if recipe.schema.specs[path].kind == "bytes":
                    assert bytes(np.asarray(flatten(row)[path], np.uint8)) == value
                else:
                    assert_same(flatten(row)[path], as_formatted(value, flatten(row)[path]), path)
            count += 1
        assert count == len(table) > 0

    @pytest.mark.parametrize("own", [True, False], ids=["own", "skyshards"])
    @pytest.mark.parametrize("streaming", [True, False])
    def test_registered_load_equals_table(self, folder, recipe, streaming, own, tmp_path):
        table, name = skyshards.open(folder, self.split), recipe.name if own else "skyshards"
        data_set = load_dataset(
            name, data_dir=str(folder), split=self.split, streaming=streaming, cache_dir=str(tmp_path)
        )
        assert data_set.features == recipe.schema.features
        images = [name for name, feature in recipe.schema.features.items() if isinstance(feature, Image)]
        for row, wanted in zip(data_set.with_format("numpy"), table, strict=True):
            for path, value in flatten(wanted).items():
                if path in images:
                    assert np.abs(flatten(row)[path].astype(int) - value).max() <= 2
                else:
                    assert_same(flatten(row)[path], as_formatted(value, flatten(row)[path]), path)

    @stock_reads_hdf5
    def test_configs_read_fewer_columns(self, folder, recipe):
        for config in recipe.schema.config_names:
            stock = load_dataset(str(folder), config, split=self.split, streaming=True)
            own, generic = (
                load_dataset(name, config, data_dir=str(folder), split=self.split, streaming=True)
                for name in (recipe.name, "skyshards")
            )
            assert set(flatten(stock.features)) == set(recipe.schema.config_columns(config))
            assert set(flatten(own.features)) == set(flatten(generic.features)) == set(flatten(stock.features))
            assert next(iter(stock))["object_id"] == next(iter(own))["object_id"] == next(iter(generic))["object_id"]

    @stock_reads_hdf5
    def test_stock_load_needs_nothing_of_ours(self, folder, recipe):
        program = f"""
import sys
for name in ("skyshards", {recipe.name!r}):
    sys.modules[name] = None  # any import of it fails
from datasets import load_dataset
rows = load_dataset(sys.argv[1], split={self.split!r}, streaming=True).with_format("numpy")
print(sum(1 for row in rows))
"""
        command = [sys.executable, "-c", program, str(folder)]
        outcome = subprocess.run(
            command, capture_output=True, text=True, timeout=120, cwd=folder.parent, env=os.environ
        )
        assert outcome.returncode == 0, outcome.stderr
        assert int(outcome.stdout) == len(skyshards.open(folder, self.split))

    def test_units_are_vounits(self, recipe):
        for path, spec in recipe.schema.specs.items():
            if spec.unit:
                assert units.Unit(spec.unit, format="vounit") == units.Unit(spec.unit), path

    def test_h5py_alone_reads_the_shards(self, folder, recipe):
        _, manifest = catalog.open_folder(folder)
        for shard in manifest.shards[:3]:
            with h5py.File(folder / shard.path) as file:
                for path, spec in recipe.schema.specs.items():
                    dataset = file[path.replace(".", "/")]
                    assert dataset.attrs["description"] == spec.description
                    assert dataset.attrs.get("unit", "") == spec.unit
                    assert tuple(dataset.attrs.get("classes", ())) == (spec.classes or ())
                    assert len(dataset) == shard.rows
                assert (read_light(file, recipe.schema.specs["healpix"]) == shard.pixel).all()

    @pytest.mark.parametrize("file", ["catalog.parquet", "sources.parquet"])
    @pytest.mark.parametrize("program", ["astropy", "astropy.votable", "pandas", "polars", "duckdb"])
    def test_other_programs_read_the_tables(self, folder, recipe, file, program):
        expected = pq.read_table(folder / file)
        found = OTHER_PROGRAMS[program](folder / file)
        if found is None:
            pytest.skip("astropy's VOTable has no lists of text")
        assert set(found) >= set(expected.column_names)  # astropy's VOTable knows `_start:image` as `_start_image`, too
        for name in expected.column_names:
            values = found[name]
            there = expected[name].is_valid().to_pylist()
            nulls = [value for value, is_there in zip(values, there, strict=True) if not is_there]
            assert all(pd.isna(value) or value is np.ma.masked or str(value) == "None" for value in nulls), name
            given = [value for value, is_there in zip(values, there, strict=True) if is_there]
            assert_same(given, expected[name].drop_null().to_pylist(), name)
            if program.startswith("astropy"):
                unit = (expected.schema.field(name).metadata or {}).get(b"unit", b"").decode()
                assert values.unit == (units.Unit(unit, format="vounit") if unit else None), name
                assert values.description, name

    def test_every_row_leads_to_its_source(self, folder, table):
        sources = pq.read_table(folder / "sources.parquet").to_pylist()
        done = {source["key"] for source in sources if source["status"] == "done"}
        assert set(table.catalog["source"].to_pylist()) <= done

    def test_folds_are_those_of_the_positions(self, table):
        rows = table.catalog
        found, wanted = rows["fold"].to_numpy(), skyshards.fold_of(rows["ra"], rows["dec"])
        assert ((found == wanted) | (found == -1)).all(), "a row may also be in no fold, if it shows several objects"
        assert table.folds(range(10)).catalog["object_id"].equals(rows.filter(found >= 0)["object_id"])

    def test_verifies(self, folder):
        assert list(verify.problems(folder)) == []

    def test_own_card_is_complete(self, recipe):
        package = importlib.import_module(type(recipe).__module__.rpartition(".")[0])
        assert list(own_card.problems(recipe.folder, package.SCHEMA)) == []

    def test_card_says_how_to_cite(self, folder):
        assert "\n## How to cite\n" in (folder / "README.md").read_text()
        assert list(bibtex_entries((folder / "CITATION.bib").read_text()))

    def test_card_describes_every_column(self, folder, recipe):
        card = (folder / "README.md").read_text()
        for path, spec in recipe.schema.specs.items():
            assert f"| `{path}` |" in card and spec.description in card

    def test_card_has_the_right_line_for_each_format(self, folder, recipe, tmp_path, monkeypatch):
        pytest.importorskip("torch", reason="the extra `torch` is not installed")
        monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
        found = run_card_formats(folder, self.split)
        first = flatten(skyshards.open(folder, self.split)[0])
        assert (found["positions"][0]["ra"].item(), found["positions"][0]["dec"].item()) == (first["ra"], first["dec"])
        if "array" in found:
            array, tensor = found["array"], found["tensor"].numpy()
            assert any(value.dtype == array.dtype and np.array_equal(value, array) for value in first.values())
            assert array.dtype == tensor.dtype
            assert np.array_equal(array, tensor if array.shape == tensor.shape else np.moveaxis(tensor, 0, 2))
        name = next((name for name in first if name in ("image", "picture")), "")
        if "picture" in found:
            assert np.abs(np.asarray(found["picture"]).astype(int) - first[name]).max() <= 2
        if "pictures" in found:
            height, width, _ = first[name].shape
            numpy, torch = (found["pictures"].with_format(form)[0][name] for form in ("numpy", "torch"))
            assert (numpy.shape, numpy.dtype) == ((height, width, 3), np.uint8)
            assert (tuple(torch.shape), str(torch.dtype)) == ((3, height, width), "torch.uint8")
            assert found["rows"].cast_column(name, Image())[0][name].size[0] == 1, "what the card warns of"

    def test_a_data_loader_batches_the_table_as_it_is(self, table, recipe):
        data = pytest.importorskip("torch.utils.data", reason="the extra `torch` is not installed")
        specs = {path: spec for path, spec in recipe.schema.specs.items() if spec.kind != "ragged"}
        table = table.select_columns(specs)  # lists of different lengths need a sampler of batches
        batch, wanted = flatten(next(iter(data.DataLoader(table, batch_size=2)))), flatten(table[:2])
        for path, spec in specs.items():
            if spec.kind != "string":
                assert_same(batch[path].numpy(), wanted[path], path)
                assert batch[path].numpy().dtype == wanted[path].dtype
            else:
                assert (wanted[path] == np.array(batch[path]).T).all()

    def test_manifest_survives_json(self, folder):
        _, manifest = catalog.open_folder(folder)
        assert catalog.Manifest.from_json(json.dumps(json.loads(manifest.to_json()))) == manifest
