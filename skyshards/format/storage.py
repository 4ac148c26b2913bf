"""How large values are stored: a `small` folder deflates them, a `fast` one mostly leaves them as they are in memory.

From the page cache, most values are read much faster uncompressed (`benchmarks/storing.py`). A fast folder deflates
only columns that are nearly empty, such as masks of zeros: they lose little, and would take hundreds of times the disk.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import BinaryIO

import numpy as np

from skyshards.errors import ShardCorrupted
from skyshards.format.columns import ColumnSpec
from skyshards.format.kinds import KINDS
from skyshards.format.kinds.base import Json
from skyshards.format.manifest import Manifest
from skyshards.format.rows import EncodedRow
from skyshards.format.shard import parts

STORE = "store"
"""Option of a build with the name of its store; absent if that is `small`."""
SMALL, FAST = STORES = ("small", "fast")
SHRUNK = 100
"""A fast folder deflates a column that this makes at least so many times smaller (at most 1032 times). Alone, it is
then read at 0.66 to 0.83 of the rate of an uncompressed one; below, at half of it or less."""


def store_of(manifest: Manifest) -> str:
    """Return the store of a built dataset."""
    return manifest.options.get(STORE) or SMALL


def options_of(store: str) -> dict[str, str]:
    """Return the options of a build into this store."""
    return {} if store == SMALL else {STORE: store}


def may_inflate(spec: ColumnSpec) -> bool:
    """Whether values of a column are deflated, and may as well be as they are."""
    return spec.heavy and spec.deflate and not spec.varies


def most_bytes(manifest: Manifest) -> int:
    """Return the bytes a row of the columns that are inflated, or, before the first build, that may be."""
    is_chosen = may_inflate if not manifest.shards else lambda spec: spec.path in manifest.inflated
    return sum(spec.nbytes for spec in manifest.columns if is_chosen(spec))


def in_fast_store(manifest: Manifest, rows: int, nbytes: Mapping[str, int]) -> Manifest:
    """Choose which columns of a fast folder not to deflate.

    Parameters
    ----------
    manifest : Manifest
        With all columns as they were declared.
    rows : int
        Number of rows that were measured.
    nbytes : mapping of str to int
        Bytes of their deflated values, by column.
    """
    manifest = inflating(manifest, ())
    candidates = (spec for spec in manifest.columns if may_inflate(spec))
    chosen = (spec.path for spec in candidates if nbytes.get(spec.path, 0) * SHRUNK > rows * spec.nbytes)
    return inflating(manifest, tuple(chosen))


def inflating(manifest: Manifest, paths: tuple[str, ...]) -> Manifest:
    """Return the manifest with these columns, and no others, inflated against their declaration."""
    deflate = dict.fromkeys(manifest.inflated, True) | dict.fromkeys(paths, False)
    columns = (replace(spec, deflate=deflate.get(spec.path, spec.deflate)) for spec in manifest.columns)
    return replace(manifest, columns=tuple(columns), inflated=paths)


def in_spool(manifest: Manifest) -> dict[str, ColumnSpec]:
    """Return the columns that are inflated in shards as rows in the spool have them, deflated."""
    return {path: replace(manifest.in_shards[path], deflate=True) for path in manifest.inflated}


@dataclass(frozen=True, slots=True)
class InflatedRow(EncodedRow):
    """A row with some values inflated; `specs` are those columns, deflated."""

    row: EncodedRow
    specs: Mapping[str, ColumnSpec]

    def light(self) -> dict[str, Json]:
        return self.row.light()

    def payload(self) -> bytes:
        values: list[memoryview] = []
        for path, part in parts(self.row).items():
            spec = self.specs.get(path)
            try:
                values.append(part if spec is None else KINDS[spec.kind].decode(bytes(part), spec).data)
            except ValueError as error:
                where = f"row {self.object_id!r} of source {self.source!r}: column {path!r}"
                raise ShardCorrupted(f"{where}: {error}; the file that held it is damaged, build again") from error
        return b"".join(values)


def inflated(row: EncodedRow, specs: Mapping[str, ColumnSpec]) -> EncodedRow:
    """Inflate values of these deflated columns, when they are asked for."""
    if not specs:
        return row
    sizes = {path: specs[path].nbytes if path in specs else size for path, size in row.sizes.items()}
    return InflatedRow(row.object_id, row.source, sizes, row, specs)


@dataclass(frozen=True, slots=True)
class DeflatedRow(EncodedRow):
    """A row whose deflated values wait in a file."""

    row: EncodedRow
    file: BinaryIO
    start: int

    def light(self) -> dict[str, Json]:
        return self.row.light()

    def payload(self) -> bytes:
        return os.pread(self.file.fileno(), self.nbytes, self.start)


def deflated(rows: Iterable[EncodedRow], specs: Mapping[str, ColumnSpec], file: BinaryIO) -> Iterator[EncodedRow]:
    """Deflate values of these columns, and keep them in an unbuffered file; the sizes are not known before."""
    end = 0
    for row in rows:
        contents = {path: _deflated(part, specs.get(path)) for path, part in parts(row).items()}
        sizes = {path: len(content) for path, content in contents.items()}
        for content in contents.values():
            left = memoryview(content)
            while left:
                left = left[file.write(left) :]
        yield DeflatedRow(row.object_id, row.source, sizes, row, file, end)
        end += sum(sizes.values())


def _deflated(content: memoryview, spec: ColumnSpec | None) -> bytes | memoryview:
    if spec is None:
        return content
    return KINDS[spec.kind].encode(np.frombuffer(content, spec.dtype).reshape(spec.shape), spec)
