"""Vectors that a network made of images, in a Parquet file of one column per component; joined to a data set by id.

Such a file has a column of ids (iauname, id_str or object_id) and columns feat_0, feat_1, … (or feat_0_pred, …), as the
files published for Galaxy Zoo DECaLS and Galaxy Zoo 2 do, and those that `skyshards embed` writes.
"""

from __future__ import annotations

import os
import re
import tempfile
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from skyshards.errors import BuildError

IDS = ("iauname", "id_str", "object_id")
_COMPONENT = re.compile(r"feat_(\d+)(_pred)?")
BATCH_BYTES = 64 << 20
"""About how much of a file is read at once."""


@dataclass(frozen=True)
class RepresentationFile:
    """A file of representations: which column identifies its rows, and the columns of the vector, in order."""

    path: Path
    id: str
    columns: tuple[str, ...]

    @property
    def length(self) -> int:
        return len(self.columns)


def open_representations(path: Path) -> RepresentationFile:
    """Look at a file's columns, without reading it. Raises `BuildError` if they are not those of representations."""
    try:
        names = pq.read_schema(path).names
    except (pa.ArrowException, OSError) as error:
        raise BuildError(f"{path}: cannot be read as Parquet ({error}); is the file whole?") from error
    found = sorted((int(match[1]), name) for name in names if (match := _COMPONENT.fullmatch(name)))
    key = next((name for name in IDS if name in names), None)
    if key is None or not found:
        wanted = f"a column {' or '.join(IDS)}, and columns feat_0, feat_1, …"
        raise BuildError(f"{path}: expected {wanted}; found {', '.join(names[:10])}")
    if [number for number, _ in found] != list(range(len(found))):
        raise BuildError(f"{path}: expected feat_0 to feat_{len(found) - 1} once each; some are missing or stand twice")
    return RepresentationFile(path, key, tuple(name for _, name in found))


class Joined:
    """The representations of some objects, in the objects' order, in a temporary file on disk; `joined[i]` is one.

    The file is read a few columns at a time, so that memory stays flat whatever its size and its row groups.

    Parameters
    ----------
    file : RepresentationFile
    ids : sequence of str
        Of the objects.
    folder : Path
        Where there is room for `4 * file.length` bytes an object.

    Raises
    ------
    BuildError
        If the file cannot be read, or has an id twice.
    """

    def __init__(self, file: RepresentationFile, ids: Sequence[str], folder: Path):
        self.length, self._count = file.length, len(ids)
        folder.mkdir(parents=True, exist_ok=True)
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
        self.close = weakref.finalize(self, self._file.close)
        """Delete the temporary file; done by itself when nothing refers to this any more."""
        try:
            with pq.ParquetFile(file.path, pre_buffer=False) as parquet:
                rows = self._find(parquet, file, ids)
                self._width = max(1, BATCH_BYTES // (4 * max(parquet.metadata.num_rows, 1)))
                for start in range(0, self.length, self._width):
                    self._join(parquet, file.columns[start : start + self._width], rows)
            self._file.flush()
        except (pa.ArrowException, OSError, ValueError) as error:
            self.close()
            if getattr(error, "errno", None):  # the disk that it is written to
                raise
            raise BuildError(f"{file.path}: cannot be read ({error}); is the file whole?") from error
        except BaseException:
            self.close()
            raise
        self.missing = int((rows < 0).sum())
        """How many of the objects have no representation."""

    def _find(self, parquet: pq.ParquetFile, file: RepresentationFile, ids: Sequence[str]) -> np.ndarray:
        """For each object its row in the file, or -1."""
        known = parquet.read(columns=[file.id])[file.id].cast(pa.string()).combine_chunks()
        if len(known) != pc.count_distinct(known).as_py():
            raise BuildError(f"{file.path}: expected every {file.id} once, found some more than once")
        rows = pc.index_in(pa.array(ids, pa.string()), known)
        return rows.fill_null(-1).to_numpy(zero_copy_only=False)

    def _join(self, parquet: pq.ParquetFile, columns: Sequence[str], rows: np.ndarray) -> None:
        """Append a stripe of columns: float32 [objects, columns]."""
        values = np.empty((parquet.metadata.num_rows + 1, len(columns)), np.float32)
        values[-1] = np.nan  # what the row -1 finds
        start = 0
        for group in range(parquet.num_row_groups):
            table = parquet.read_row_group(group, columns=list(columns))
            for number, column in enumerate(table.columns):
                values[start : start + len(table), number] = column.cast(pa.float32()).to_numpy()
            start += len(table)
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
