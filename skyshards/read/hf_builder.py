"""The `datasets` side: a builder that yields Arrow tables straight from the shards, and its registration by name."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import datasets
import datasets.builder
import datasets.packaged_modules
import numpy as np
import pyarrow as pa

from skyshards.errors import FolderError, UsageError
from skyshards.files import file_digest
from skyshards.format import catalog
from skyshards.format.columns import ColumnSpec, select
from skyshards.format.layout import CATALOG
from skyshards.format.schema import Schema
from skyshards.read import angles
from skyshards.read.arrow import to_arrow
from skyshards.read.table import Table, open_table

SLAB_BYTES = 64 << 20
"""About how many bytes of values one Arrow table holds, at most. Smaller ones leave threads idle between them."""

_Key = getattr(datasets.builder, "Key", lambda *numbers: numbers)  # what numbers the tables; new in datasets 5


@dataclass
class ShardConfig(datasets.BuilderConfig):
    """Options of `load_dataset(name, config, data_dir=folder, ...)`.

    Parameters
    ----------
    columns : list of str, optional
        Read nothing but these (dotted names; a group's name stands for all in it).
    cone : (float, float, float) or (SkyCoord, Quantity), optional
        Only rows within a cone: right ascension, declination, radius; numbers are degrees. Shards without such rows are
        not opened.
    decode : bool
        Whether an image file comes decoded, or as its bytes.
    """

    columns: list | None = None
    cone: tuple | None = None
    decode: bool = True

    def create_config_id(self, config_kwargs: dict, custom_features: datasets.Features | None = None) -> str:
        """Also tells apart what a folder held at other times, so that a cached copy of it is not taken for it."""
        path = Path(self.data_dir or "").expanduser() / CATALOG
        state = {"catalog": file_digest(path)} if path.is_file() else {}
        if self.cone is not None:
            state["cone"] = self.cone = angles.cone(*self.cone)
        return super().create_config_id(config_kwargs | state, custom_features)


class ShardBuilder(datasets.ArrowBasedBuilder):
    """Base of the data sets' builders. A subclass names its `schema`; it may add options, and narrow the rows in
    `select`.
    """

    BUILDER_CONFIG_CLASS = ShardConfig
    DEFAULT_CONFIG_NAME = "default"
    schema: ClassVar[Schema]

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        cls.BUILDER_CONFIGS = [cls.BUILDER_CONFIG_CLASS(name=name) for name in cls.schema.config_names]

    def select(self, table: Table) -> Table:
        """The rows that the options ask for."""
        return table if self.config.cone is None else table.cone(*self.config.cone)

    def built_schema(self, specs: Mapping[str, ColumnSpec]) -> Schema:
        """The schema of a built folder, from the columns that it has: for data sets whose columns depend on options."""
        return self.schema

    def _columns(self) -> tuple[str, ...]:
        columns = self.schema.config_columns(self.config.name)
        if self.config.columns is not None and not len(self.config.columns):
            advice = "datasets keeps no rows without columns; `skyshards.open` counts them"
            raise UsageError(f"columns: expected at least one name, found []; {advice}")
        return columns if self.config.columns is None else select(columns, self.config.columns)

    def _info(self) -> datasets.DatasetInfo:
        if self.config.data_dir is not None:
            folder = Path(self.config.data_dir).expanduser()
            manifest = catalog.open_folder(folder)[1]
            if manifest.name != self.name:
                advice = f'load_dataset("{manifest.name}", data_dir="{self.config.data_dir}", ...)'
                raise FolderError(f"{folder}: this is a folder of {manifest.name}, not of {self.name}; use {advice}")
            self.schema = self.built_schema(manifest.specs)
            if self.config.name not in self.schema.config_names:
                there = ", ".join(self.schema.config_names)
                raise ValueError(f"{folder}: has no config {self.config.name!r}; there are {there}")
        features = self.schema.features_of(self._columns())
        if not self.config.decode:
            for name, feature in features.items():
                if isinstance(feature, datasets.Image):
                    features[name] = datasets.Image(decode=False)
        return datasets.DatasetInfo(features=features)

    def _split_generators(self, dl_manager) -> list[datasets.SplitGenerator]:
        if self.config.data_dir is None:
            raise ValueError(
                f'give the built folder: load_dataset("{self.dataset_name}", data_dir="data/{self.dataset_name}", ...)'
            )
        table = self.select(open_table(Path(self.config.data_dir).expanduser(), decode=False))
        narrowed = table.columns(self._columns())
        return [
            datasets.SplitGenerator(split, {"table": narrowed, "shards": shards})
            for split, shards in _rows_by_shard(table).items()
        ]

    def _generate_tables(self, table: Table, shards: list[np.ndarray]) -> Iterator[tuple[Any, pa.Table]]:
        length = max(1, SLAB_BYTES // max(table.row_nbytes, 1))
        slabs = [
            (_Key(number, start // length), rows[start : start + length])
            for number, rows in enumerate(shards)
            for start in range(0, len(rows), length)
        ]
        batches = table.batches(rows for _, rows in slabs)
        for (key, _), batch in zip(slabs, batches, strict=True):
            yield key, to_arrow(batch, self.info.features)

    def _as_dataset(self, split: Any = "train", in_memory: bool = False) -> datasets.Dataset:
        """Also a split without rows, which `datasets` itself writes but does not read."""
        info = self.info.splits.get(str(split))
        if info is None or info.num_examples:
            return super()._as_dataset(split, in_memory)
        nothing = datasets.Dataset.from_dict({name: [] for name in self.info.features}, self.info.features)
        fingerprint = self._get_dataset_fingerprint(split)
        return datasets.Dataset(nothing.data, self.info, datasets.NamedSplit(info.name), fingerprint=fingerprint)


def _rows_by_shard(table: Table) -> dict[str, list[np.ndarray]]:
    """By split, the positions in the table of each shard's rows: what `datasets` deals out to its workers.

    A split of which no row is left has one empty shard, since `datasets` wants at least one.
    """
    shards: dict[str, list[np.ndarray]] = {split: [] for split in table.splits}
    if len(table):
        rows = table.catalog
        codes = rows["_shard"].combine_chunks().indices.to_numpy()
        starts = np.flatnonzero(np.diff(codes, prepend=-1))
        splits = rows["_split"].take(pa.array(starts)).to_pylist()
        for split, positions in zip(splits, np.split(np.arange(len(codes)), starts[1:]), strict=True):
            shards[split].append(positions)
    return {split: parts or [np.arange(0)] for split, parts in shards.items()}


def register(name: str, builder: type[ShardBuilder]) -> None:
    """Make `load_dataset(name, data_dir=folder, ...)` find a builder, as it finds those of `datasets`."""
    module = builder.__module__
    digest = datasets.packaged_modules._hash_python_lines(inspect.getsource(builder).splitlines())
    datasets.packaged_modules._PACKAGED_DATASETS_MODULES[name] = (module, digest)
