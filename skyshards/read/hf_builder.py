"""The `datasets` builder for any built folder, which yields Arrow tables straight from the shards.

`load_dataset("skyshards", data_dir=folder)` finds it once skyshards is imported; the builders of single datasets are
thin subclasses. Features and configs are read from the folder. `data_dir` may also be the file of a saved join.
"""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import datasets
import datasets.builder
import numpy as np
import pyarrow as pa

from skyshards.errors import FolderError, UsageError
from skyshards.format.columns import flatten, select
from skyshards.format.folds import checked
from skyshards.format.layout import SHARD, SPLIT
from skyshards.format.schema import Schema
from skyshards.read import angles, join_file
from skyshards.read.arrow import ToArrow
from skyshards.read.in_order import InOrder
from skyshards.read.joined import JoinedTable
from skyshards.read.table import Table, open_table

ARROW_TABLE_BYTES = 128 << 20
"""Approximate maximum size of one Arrow table in bytes. Smaller tables leave threads idle."""

_Key = getattr(datasets.builder, "Key", lambda *numbers: numbers)  # the key of a table; new in datasets 5


@dataclass
class ShardConfig(datasets.BuilderConfig):
    """Options of `load_dataset(name, config, data_dir=folder, ...)`.

    Parameters
    ----------
    columns : list of str, optional
        Read only these columns (dotted names; a group's name selects all its members).
    cone : (float, float, float) or (SkyCoord, Quantity), optional
        Read only rows within a cone: right ascension, declination, radius; numbers are degrees. Shards without such
        rows are not opened.
    folds : list of int, optional
        Read only rows in these folds (0 to 9), parts of the sky that are the same in every dataset; see `Table.folds`.
        Shards without such rows are not opened.
    decode : bool
        Decode image files, or return their bytes.
    build : str, optional
        Digest of the folder, filled in by the builder, so that the cache tells builds apart.
    """

    columns: list | None = None
    cone: tuple | None = None
    folds: list | None = None
    decode: bool = True
    build: str | None = None

    def create_config_id(self, config_kwargs: dict, custom_features: datasets.Features | None = None) -> str:
        """Normalize cone and folds, so that equal ones share a cached copy."""
        if self.cone is not None:
            self.cone = angles.cone(*self.cone)
            config_kwargs = config_kwargs | {"cone": self.cone}
        if self.folds is not None:
            self.folds = list(checked(self.folds))
            config_kwargs = config_kwargs | {"folds": self.folds}
        return super().create_config_id(config_kwargs, custom_features)


class ShardBuilder(datasets.ArrowBasedBuilder):
    """Builder for any built folder.

    A subclass is the builder of one dataset: it sets the dataset's `schema`, may add options, and may select rows in
    `select`. It rejects folders of other datasets.
    """

    BUILDER_CONFIG_CLASS = ShardConfig
    DEFAULT_CONFIG_NAME = "default"
    schema: ClassVar[Schema | None] = None

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if cls.schema is not None:
            cls.BUILDER_CONFIGS = [cls.BUILDER_CONFIG_CLASS(name=name) for name in cls.schema.config_names]

    def __init__(self, *arguments, data_dir: Any = None, storage_options: dict | None = None, **options):
        self._table: Table | JoinedTable | None = None
        if data_dir is not None:
            data_dir = os.fspath(data_dir)
            if data_dir.startswith("hf://") and options.get("token") is not None:
                storage_options = {"token": options["token"]} | (storage_options or {})
            self._table = _open(data_dir, decode=False, storage_options=storage_options)
            options["build"] = hashlib.sha256(self._table._description.encode()).hexdigest()
            # The folder says which there are: additions and earlier versions have others.
            self.BUILDER_CONFIGS: list[ShardConfig] = []
        super().__init__(*arguments, data_dir=data_dir, storage_options=storage_options, **options)

    @property
    def _where(self) -> str:
        """The folder as given, without the signature of a URL."""
        given = str(self.config.data_dir)
        return given.partition("?")[0] if "://" in given else given

    @property
    def _opened(self) -> Table | JoinedTable:
        if self._table is None:
            advice = f'load_dataset("{self.dataset_name}", data_dir="path/to/it", ...)'
            raise UsageError(f"data_dir is missing; name the built folder: {advice}")
        return self._table

    def select(self, table: Table | JoinedTable) -> Table | JoinedTable:
        """Select rows according to the options."""
        if self.config.folds is not None:
            table = table.folds(self.config.folds)
        return table if self.config.cone is None else table.cone(*self.config.cone)

    def _built_schema(self) -> Schema:
        """Return the folder's schema. Raises `FolderError` for a folder of another dataset."""
        table, where = self._opened, self._where
        if self.schema is not None and table.name != self.name:
            advice = f'load_dataset("skyshards", data_dir="{where}", ...), which takes any'
            kind = "join" if isinstance(table, JoinedTable) else "folder"
            raise FolderError(f"{where}: this is a {kind} of {table.name}, not of {self.name}; use {advice}")
        if isinstance(table, JoinedTable):
            return Schema.of_built(table._leaves.values(), {})
        manifest = table._data.manifest
        configs = manifest.configs
        if not configs and self.schema is not None:  # version 0.1 did not write them
            configs = {name: names for name, names in self.schema.configs.items() if set(names) <= set(manifest.specs)}
        return Schema.of_built(manifest.specs.values(), configs)

    def _info(self) -> datasets.DatasetInfo:
        schema = self.schema if self._table is None else self._built_schema()
        return datasets.DatasetInfo(features=None if schema is None else self._features(schema))

    def _features(self, schema: Schema) -> datasets.Features:
        """Return the features selected by the options."""
        if self.config.name not in schema.config_names:
            there = ", ".join(schema.config_names)
            raise UsageError(f"{self._where}: has no config {self.config.name!r}; available: {there}")
        columns = schema.config_columns(self.config.name)
        if self.config.columns is not None:
            if not len(self.config.columns):
                advice = "datasets keeps no rows without columns; `skyshards.open` counts them"
                raise UsageError(f"columns: expected at least one name, found []; {advice}")
            columns = select(columns, self.config.columns)
        features = schema.features_of(columns)
        return features if self.config.decode else datasets.Features(_undecoded(features))

    def _split_generators(self, dl_manager) -> list[datasets.SplitGenerator]:
        table = self.select(self._opened)
        narrowed = table.select_columns(flatten(self.info.features))
        return [
            datasets.SplitGenerator(
                split, {"rows": InOrder(narrowed, shards, ARROW_TABLE_BYTES), "shards": list(range(len(shards)))}
            )
            for split, shards in _rows_by_shard(table).items()
        ]

    @functools.cached_property
    def _to_arrow(self) -> ToArrow:
        return ToArrow(self.info.features)

    def _generate_tables(self, rows: InOrder, shards: list[int]) -> Iterator[tuple[Any, pa.Table]]:
        for numbers, batch in rows.batches(shards):
            yield _Key(*numbers), self._to_arrow(batch)

    def _as_dataset(self, split: Any = "train", in_memory: bool = False) -> datasets.Dataset:
        """Support splits without rows, which `datasets` writes but cannot read."""
        info = self.info.splits.get(str(split))
        if info is None or info.num_examples:
            return super()._as_dataset(split, in_memory)
        nothing = datasets.Dataset.from_dict({name: [] for name in self.info.features}, self.info.features)
        fingerprint = self._get_dataset_fingerprint(split)
        return datasets.Dataset(nothing.data, self.info, datasets.NamedSplit(info.name), fingerprint=fingerprint)


def _open(location: str, **options: Any) -> Table | JoinedTable:
    if "://" not in location and os.path.isfile(location):  # streaming, `datasets` has this function ask servers
        return JoinedTable.of(join_file.read(location, {}, **options))
    return open_table(location, **options)


def _undecoded(features: Mapping[str, Any]) -> dict[str, Any]:
    """Return the features with images left as bytes."""
    found = {}
    for name, feature in features.items():
        if isinstance(feature, Mapping):
            found[name] = _undecoded(feature)
        else:
            found[name] = datasets.Image(decode=False) if isinstance(feature, datasets.Image) else feature
    return found


def _rows_by_shard(table: Table | JoinedTable) -> dict[str, list[np.ndarray]]:
    """Return by split the table positions of each shard's rows, the units that `datasets` assigns to its workers.

    Joined rows count to the split and shard of their first dataset. A split without rows has one empty shard, since
    `datasets` needs at least one.
    """
    shards: dict[str, list[np.ndarray]] = {split: [] for split in table.splits}
    if len(table):
        first = f"{table._matches.first}." if isinstance(table, JoinedTable) else ""
        codes = table._asked(f"{first}{SHARD}").combine_chunks().indices.to_numpy()
        starts = np.flatnonzero(np.diff(codes, prepend=-1))
        splits = table._asked(f"{first}{SPLIT}").take(pa.array(starts)).to_pylist()
        for split, positions in zip(splits, np.split(np.arange(len(codes)), starts[1:]), strict=True):
            shards[split].append(positions)
    return {split: parts or [np.arange(0)] for split, parts in shards.items()}
