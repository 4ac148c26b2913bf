"""Files of the payloads of rows that wait to be packed: each process that reads sources appends to its own."""

from __future__ import annotations

import functools
import itertools
import json
import os
import threading
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from skyshards.format.kinds.base import Json
from skyshards.format.layout import FOLD, HEALPIX
from skyshards.format.rows import EncodedRow
from skyshards.pipeline.recipe import Deferred


@dataclass(frozen=True, slots=True)
class WaitingRow(EncodedRow):
    """A row in the spool: its small values as JSON, and the place of its payload; any process can read it."""

    pixel: int
    fold: int
    text: str
    path: Path
    start: int

    def light(self) -> dict[str, Json]:
        return json.loads(self.text) | {HEALPIX: self.pixel, FOLD: self.fold}

    def payload(self) -> bytes:
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            return os.pread(descriptor, self.nbytes, self.start)
        finally:
            os.close(descriptor)


class SpooledRow(NamedTuple):
    """Journal entry of a row: position (degrees), sort key, columns and sizes as JSON, place of the payload, number in
    the source, the fold that the recipe gave or None.
    """

    ra: float
    dec: float
    object_id: str
    source: str
    light: str
    sizes: str
    file: str
    start: int
    nbytes: int
    number: int = 0
    fold: int | None = None


@dataclass(frozen=True)
class PayloadFiles:
    """Payload files of a build, one per writing process; can be sent to all of them.

    `build` distinguishes several builds in the same folder, for long-lived worker processes.
    """

    folder: Path
    build: str

    def keep(self, rows: Iterable[EncodedRow]) -> tuple[SpooledRow, ...]:
        """Write the rows' payloads to this process's file. Raises `OSError` if that fails."""
        return _payload_file(self).append(rows)


@dataclass(frozen=True)
class HandedOver(Deferred):
    """Bytes in a file, in place of the bytes themselves, for a worker on another machine."""

    path: Path
    start: int
    nbytes: int

    def content(self) -> bytes:
        with open(self.path, "rb") as file:
            file.seek(self.start)
            return file.read(self.nbytes)


def hand_over(contents: Sequence[bytes], folder: Path) -> tuple[Path, list[HandedOver]]:
    """Write bytes to a new file in the spool's folder, to be deleted once they were read."""
    path = folder / f"payloads-{uuid.uuid4().hex}"
    starts = itertools.accumulate(map(len, contents), initial=0)
    places = [HandedOver(path, start, len(content)) for start, content in zip(starts, contents, strict=False)]
    with open(path, "xb") as file:
        file.writelines(contents)
    return path, places


@functools.lru_cache(maxsize=8)
def _payload_file(files: PayloadFiles) -> _PayloadFile:
    return _PayloadFile(files.folder / f"payloads-{uuid.uuid4().hex}")


class _PayloadFile:
    """A payload file that the threads of one process append to."""

    def __init__(self, path: Path):
        self._path = path
        self._end = 0
        self._lock = threading.Lock()

    def append(self, rows: Iterable[EncodedRow]) -> tuple[SpooledRow, ...]:
        with self._lock, open(self._path, "ab", buffering=0) as file:
            file.truncate(self._end)  # a failed write is overwritten by the next
            end, spooled = self._end, []
            for row in rows:
                left = memoryview(row.payload())
                light = row.light()
                fold = light.pop(FOLD, None)
                place = light["ra"], light["dec"]
                texts = *row.order, json.dumps(light), json.dumps(row.sizes)
                spooled.append(SpooledRow(*place, *texts, self._path.name, end, len(left), fold=fold))
                end += len(left)
                while left:
                    left = left[file.write(left) :]
            self._end = end
            return tuple(spooled)
