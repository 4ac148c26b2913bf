"""Vectors that a network made of images, in a table with a column per component; joined to a dataset by id.

Such a file has a column of ids (iauname, id_str or object_id) and columns feat_0, feat_1, … (or feat_0_pred, …), as the
files published for Galaxy Zoo DECaLS and Galaxy Zoo 2 do, and those that `skyshards embed` writes.
"""

from __future__ import annotations

import errno
import functools
import os
import re
import tempfile
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from skyshards.errors import BuildError
from skyshards.files import file_digest
from skyshards.input_tables.table_file import InputColumn, open_table

IDS = ("iauname", "id_str", "object_id")
_COMPONENT = re.compile(r"feat_(\d+)(_pred)?")
BATCH_BYTES = 64 << 20
"""About how much of a file is read at once."""


@dataclass(frozen=True)
class RepresentationFile:
    """A file of representations: the column that identifies its rows, and those of the vector, in order."""

    path: Path
    id: InputColumn
    columns: tuple[InputColumn, ...]

    @property
    def length(self) -> int:
        return len(self.columns)

    @functools.cached_property
    def options(self) -> dict[str, Any]:
        """What tells this file from others, for a recipe's options."""
        return {"representations": self.path.name, "representations_sha256": file_digest(self.path)}


def open_representations(path: Path) -> RepresentationFile:
    """Look at a file's columns: Parquet, or any that `open_table` reads.

    Raises `BuildError` if they are not those of representations.
    """
    table = open_table(path)
    names = table.names
    found = sorted((int(match[1]), place) for place, name in enumerate(names) if (match := _COMPONENT.fullmatch(name)))
    key = next((name for name in IDS if name in names), None)
    if key is None or not found:
        wanted = f"a column {' or '.join(IDS)}, and columns feat_0, feat_1, …"
        raise BuildError(f"{path}: expected {wanted}; found {', '.join(names[:10])}")
    if [number for number, _ in found] != list(range(len(found))) or names.count(key) > 1:
        raise BuildError(
            f"{path}: expected {key} and feat_0 to feat_{len(found) - 1} once each; some are missing or stand twice"
        )
    place = names.index(key)
    id, *columns = table.look([place, *(place for _, place in found)], text=[place])
    odd = next((column for column in columns if column.note not in ("", "empty")), None)
    if odd is not None:
        raise BuildError(f"{path}: column {odd.name}: expected numbers, found {odd.note}")
    return RepresentationFile(path, id, tuple(columns))


def _temporary_file(folder: Path) -> IO[bytes]:
    """A temporary file in a folder; elsewhere for a dataset that is read-only, which may be complete."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryFile(dir=folder)
    except OSError as error:
        if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise
    return tempfile.TemporaryFile()


class Joined:
    """The representations of some objects, in the objects' order, in a temporary file on disk; `joined[i]` is one.

    The file is read a few columns at a time, so that memory stays flat whatever its size and its row groups.

    Parameters
    ----------
    file : RepresentationFile
    ids : sequence of str
        Of the objects.
    folder : Path
        Where there is room for `4 * file.length` bytes an object; if it cannot be written to, they go to the system's
        temporary folder.

    Raises
    ------
    BuildError
        If the file cannot be read, has a row without an id or an id twice, or has none of the objects.
    """

    def __init__(self, file: RepresentationFile, ids: Sequence[str], folder: Path):
        self.length, self._count = file.length, len(ids)
        self._file = _temporary_file(folder)
        self.close = weakref.finalize(self, self._file.close)
        """Delete the temporary file; done by itself when nothing refers to this any more."""
        try:
            rows, count = self._find(file, ids)
            self._width = max(1, BATCH_BYTES // (4 * max(count, 1)))
            for start in range(0, self.length, self._width):
                self._join(file.path, file.columns[start : start + self._width], rows, count)
            self._file.flush()
        except BaseException:
            self.close()
            raise
        self.missing = int((rows < 0).sum())
        """How many of the objects have no representation."""

    def _find(self, file: RepresentationFile, ids: Sequence[str]) -> tuple[np.ndarray, int]:
        """For each object its row in the file, or -1; and the number of rows of the file."""
        parts = [batch for [batch] in open_table(file.path).batches([file.id])]
        known = pa.chunked_array(parts, pa.string()).combine_chunks()
        if known.null_count:
            raise BuildError(f"{file.path}: {known.null_count:,} rows have no {file.id.name}, expected one in each")
        if len(known) != pc.count_distinct(known).as_py():
            raise BuildError(f"{file.path}: expected every {file.id.name} once, found some more than once")
        rows = pc.index_in(pa.array(ids, pa.string()), known)
        if len(ids) and rows.null_count == len(ids):
            theirs = f", which has names such as {known[0].as_py()!r}" if len(known) else ""
            raise BuildError(
                f"{file.path}: none of {len(ids):,} galaxies, such as {ids[0]!r}, is in its column"
                f" {file.id.name}{theirs}; is it of this dataset, and its names written in the same way?"
            )
        return rows.fill_null(-1).to_numpy(zero_copy_only=False), len(known)

    def _join(self, path: Path, columns: Sequence[InputColumn], rows: np.ndarray, count: int) -> None:
        """Append a stripe of columns: float32 [objects, columns]."""
        values = np.empty((count + 1, len(columns)), np.float32)
        values[-1] = np.nan  # what the row -1 finds
        start = 0
        for batch in open_table(path).batches(columns):
            stop = start + len(batch[0])
            for number, column in enumerate(batch):
                values[start:stop, number] = column.cast(pa.float32()).to_numpy(zero_copy_only=False)
            start = stop
        for first in range(0, len(rows), 1 << 16):
            self._file.write(values[rows[first : first + (1 << 16)]].data)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: int) -> np.ndarray:
        """One object's vector, float32 [length]; NaN if it has none. For many threads."""
        parts = []
        for start in range(0, self.length, self._width):
            width = min(self._width, self.length - start)
            place = 4 * (self._count * start + number * width)
            parts.append(os.pread(self._file.fileno(), 4 * width, place))
        return np.frombuffer(b"".join(parts), np.float32)
