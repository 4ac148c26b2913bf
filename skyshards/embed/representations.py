"""Files of representations (image embeddings), and their join to a dataset by id.

Such a table has a column of ids (iauname, id_str or object_id) and a column per component: feat_0, feat_1, … (or
feat_0_pred, …), like the files published for Galaxy Zoo DECaLS and Galaxy Zoo 2, and those of `skyshards embed`.
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

VECTOR_ID_COLUMNS = ("iauname", "id_str", "object_id")
"""Columns that may identify the rows of a file of representations, by preference."""
_COMPONENT = re.compile(r"feat_(\d+)(_pred)?")
BATCH_BYTES = 64 << 20
"""Approximate number of bytes to read of a file at once."""


@dataclass(frozen=True)
class RepresentationFile:
    """A file of representations: its id column, and the columns of the vector, in order."""

    path: Path
    id: InputColumn
    columns: tuple[InputColumn, ...]

    @property
    def length(self) -> int:
        return len(self.columns)

    @functools.cached_property
    def options(self) -> dict[str, Any]:
        """Recipe options that identify this file."""
        return {"representations": self.path.name, "representations_sha256": file_digest(self.path)}


def open_representations(path: Path) -> RepresentationFile:
    """Open a file of representations: Parquet, or any other format that `open_table` reads.

    Raises `BuildError` if its columns are not those of representations.
    """
    table = open_table(path)
    names = table.names
    found = sorted((int(match[1]), place) for place, name in enumerate(names) if (match := _COMPONENT.fullmatch(name)))
    key = next((name for name in VECTOR_ID_COLUMNS if name in names), None)
    if key is None or not found:
        wanted = f"a column {' or '.join(VECTOR_ID_COLUMNS)}, and columns feat_0, feat_1, …"
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
    """Open a temporary file in a folder, or elsewhere if the folder is read-only."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryFile(dir=folder)
    except OSError as error:
        if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise
    return tempfile.TemporaryFile()


class Joined:
    """Representations of some objects, in the objects' order, in a temporary file on disk; `joined[i]` is one vector.

    The file is read a few columns at a time, so that memory stays flat whatever its size and row groups.

    Parameters
    ----------
    file : RepresentationFile
    ids : sequence of str
        Ids of the objects.
    folder : Path
        Folder for the temporary file of `4 * file.length` bytes per object; if it is read-only, the system's temporary
        folder is used.

    Raises
    ------
    BuildError
        The file cannot be read, has missing or duplicate ids, or contains none of the objects.
    """

    def __init__(self, file: RepresentationFile, ids: Sequence[str], folder: Path):
        self.length, self._count = file.length, len(ids)
        self._file = _temporary_file(folder)
        self.close = weakref.finalize(self, self._file.close)
        """Delete the temporary file; also done when this object is garbage-collected."""
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
        """Number of objects without a representation."""

    def _find(self, file: RepresentationFile, ids: Sequence[str]) -> tuple[np.ndarray, int]:
        """Find each object's row in the file, or -1; also return the file's number of rows."""
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
        values[-1] = np.nan  # for row -1: no representation
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
        """Read an object's vector, float32 [length]; NaN if it has none. Thread-safe."""
        parts = []
        for start in range(0, self.length, self._width):
            width = min(self._width, self.length - start)
            place = 4 * (self._count * start + number * width)
            parts.append(os.pread(self._file.fileno(), 4 * width, place))
        return np.frombuffer(b"".join(parts), np.float32)
