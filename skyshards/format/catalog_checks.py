"""What the columns of a catalogue must not say: it may come from anybody, and is checked before it is used."""

from __future__ import annotations

import functools

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from skyshards.format import manifest as manifests
from skyshards.format.addition import Addition, catalog_columns
from skyshards.format.arrow_arrays import numbers, texts, values
from skyshards.format.layout import ADDED_ROW, CRC32, ROW, SHARD, SIZE, SPLIT, START
from skyshards.format.manifest import Manifest


class Checks:
    """Checks of the values in the columns of a catalogue, a few of its rows and columns at a time."""

    def __init__(self, manifest: Manifest):
        self._manifest = manifest
        self._shards = {shard.path: number for number, shard in enumerate(manifest.shards)}
        self._splits = {split: number for number, split in enumerate(manifest.splits)}
        self._dictionaries = {SHARD: texts(list(self._shards)), SPLIT: texts(list(self._splits))}
        self._added = {path: addition for addition in manifest.additions for path in addition.specs}
        self._may_lack = {path for path, spec in manifest.specs.items() if spec.missing is not None}
        self._may_lack |= {name for addition in manifest.additions for name in catalog_columns(addition)}

    @functools.cached_property
    def _lengths(self) -> tuple[np.ndarray, np.ndarray]:
        """Number of rows and bytes of each shard."""
        shards = self._manifest.shards
        return np.array([each.rows for each in shards], np.int64), np.array([each.nbytes for each in shards], np.int64)

    def needed(self, name: str) -> list[str]:
        """Return the columns that are checked together with a column, itself included."""
        what, mark, path = name.partition(":")
        if what + mark in (START, SIZE):
            addition = self._added.get(path)
            return [SHARD if addition is None else ADDED_ROW + addition.name, START + path, SIZE + path]
        return [SHARD, ROW] if name == ROW else [name]

    def coded(self, name: str, column: pa.DictionaryArray) -> pa.DictionaryArray:
        """Return a column of shards or splits with those of the manifest, in their order, as its dictionary.

        Raises `ValueError` if it has another one.
        """
        known = self._shards if name == SHARD else self._splits
        codes = np.array([known.get(each, -1) for each in column.dictionary.to_pylist()], np.int32)
        self._check_nulls(name, column)
        codes = codes[values(column.indices)]
        if (codes < 0).any():
            raise ValueError(f"it has rows of undeclared {'shards' if name == SHARD else 'splits'}")
        return pa.DictionaryArray.from_arrays(numbers(codes), self._dictionaries[name])

    def check(self, columns: dict[str, pa.Array]) -> None:
        """Raise `ValueError` if there are nulls where none may be, or places outside the declared shards.

        `columns` are some rows of columns by name, with all that `needed` names.
        """
        for name, column in columns.items():
            self._check_nulls(name, column)
            if name == ROW:
                rows = values(column)
                if ((rows < 0) | (rows >= self._lengths[0][_codes(columns)])).any():
                    raise ValueError("it has rows beyond the end of their shards")
            elif name.startswith(ADDED_ROW):
                _check_added_rows(self._manifest.added[name.removeprefix(ADDED_ROW)], column)
            elif name.startswith(START):
                self._check_ranges(name.removeprefix(START), columns)

    def _check_nulls(self, name: str, column: pa.Array) -> None:
        lacking = column.null_count and name not in self._may_lack and not name.startswith(CRC32)
        if lacking or (pa.types.is_fixed_size_list(column.type) and column.flatten().null_count):
            raise ValueError(f"column {name!r} lacks values")

    def _check_ranges(self, path: str, columns: dict[str, pa.Array]) -> None:
        starts, sizes = columns[START + path], columns[SIZE + path]
        addition = self._added.get(path)
        if addition is None:
            spec, lengths = self._manifest.in_shards[path], self._lengths[1][_codes(columns)]
        else:
            spec, there = addition.specs[path], columns[ADDED_ROW + addition.name].is_valid()
            for column in (starts, sizes):
                if pc.any(pc.and_(column.is_valid(), pc.invert(there))).as_py():
                    raise ValueError(f"column {path!r} has values in rows without {addition.name}")
            if not starts.is_valid().equals(sizes.is_valid()):
                raise ValueError(f"column {path!r} lacks values")
            starts, sizes = starts.drop_null(), sizes.drop_null()
            lengths = np.full(len(starts), addition.nbytes)
        manifests.check_ranges(spec, values(starts), values(sizes), lengths)


def _codes(columns: dict[str, pa.Array]) -> np.ndarray:
    return values(columns[SHARD].indices)


def _check_added_rows(addition: Addition, column: pa.Array) -> None:
    rows = values(column.drop_null())
    if ((rows < 0) | (rows >= addition.rows)).any():
        raise ValueError(f"it has rows beyond the end of {addition.path}")


def is_coded(name: str) -> bool:
    """Whether a column is one of shards or splits."""
    return name in (SHARD, SPLIT)
