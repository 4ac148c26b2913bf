"""Fetch a source; read it, or a block of it, into encoded rows, and write their payloads as they come; in workers."""

from __future__ import annotations

import functools
import hashlib
import operator
import os
import re
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from skyshards.cluster import ClusterLost
from skyshards.errors import SourceError
from skyshards.fetch.client import Fetcher
from skyshards.files import TEMPORARY_PREFIX, file_digest, is_disk_full
from skyshards.format.provenance import BadRow, SourceRecord
from skyshards.format.rows import NewRow
from skyshards.pipeline.encode import encode
from skyshards.pipeline.payloads import PayloadFiles, SpooledRow, hand_over
from skyshards.pipeline.recipe import Deferred, Recipe, Source
from skyshards.pipeline.spool import repeated_id
from skyshards.text import printable

HELD_BYTES = 8 << 20
"""Payloads that are held before they are written."""
TASK_ROWS = 1 << 13
"""Rows after which a task ends: their journal entries are held by its worker, then by the process that builds."""


class Piece(NamedTuple):
    """A source, the result of fetching it, and the block of its rows to read; None for all, or to count them."""

    source: Source
    fetched: Any
    rows: range | None = None


@dataclass(frozen=True)
class ReadSource:
    """Result of reading a piece: its rows (`cut` if a limit truncated them) and failed rows, or an error.

    `total` is the number of rows that the source has, if that is known. `is_counted` marks a source whose rows were
    counted only, to be read in blocks.
    """

    rows: tuple[SpooledRow, ...] = ()
    nbytes: int | None = None
    sha256: str | None = None
    error: str | None = None
    cut: bool = False
    traceback: str = ""
    bad: tuple[BadRow, ...] = ()
    total: int | None = None
    is_counted: bool = False

    @property
    def objects(self) -> int:
        """Number of objects that count for a limit: rows, failed ones too; one for a failed source."""
        return 1 if self.error is not None else len(self.rows) + len(self.bad)

    def first(self, count: int) -> ReadSource:
        """Cut the rows to the first `count` objects."""
        numbers = sorted([row.number for row in self.rows] + [row.number for row in self.bad])
        if self.error is not None or len(numbers) <= count:
            return self
        end = numbers[count]
        rows = tuple(row for row in self.rows if row.number < end)
        bad = tuple(row for row in self.bad if row.number < end)
        return ReadSource(rows, self.nbytes, self.sha256, cut=True, bad=bad, traceback=self.traceback)

    def record(self, source: Source, earlier: SourceRecord | None) -> SourceRecord:
        """Journal record of this result for a source that was read whole."""
        status = "failed" if self.error else "in part" if self.cut else "done" if self.rows else "left out"
        tries = 1 + (earlier.tries if earlier else 0)
        error = self.error and lasting(self.error)
        record = SourceRecord(source.key, source.url, self.nbytes, self.sha256, status, error, tries)
        record = record._replace(release=source.release)
        if self.error:
            return record
        return record._replace(total=self.total, read=self.total or self.objects, failed=len(self.bad))


def lasting(error: str) -> str:
    """Reproducible text of an error: without memory addresses and temporary file names, and always valid UTF-8."""
    return _OF_ONE_RUN.sub("", error).encode("utf-8", "backslashreplace").decode()


_OF_ONE_RUN = re.compile(rf" at 0x[0-9a-fA-F]+|(?<={re.escape(TEMPORARY_PREFIX)})[0-9a-f]{{16}}")


def fetch_source(recipe: Recipe, source: Source, fetcher: Fetcher, folder: Path) -> Any:
    """Fetch a source; return what `Recipe.fetch` does, or a `ReadSource` with the error.

    Raises `OSError` only if the disk is full, and `ClusterLost`.
    """
    try:
        return recipe.fetch(source, fetcher, folder)
    except ClusterLost:
        raise
    except Exception as error:
        if is_disk_full(error) and not isinstance(error, SourceError):
            raise
        return ReadSource(error=reason(error, recipe), traceback=traceback.format_exc())


def sent_far(pieces: list[Piece], folder: Path) -> tuple[list[Piece], Path | None]:
    """Make pieces fit for workers on other machines: with absolute paths, and bytes in a file in `folder`.

    Returns the pieces, and the file if there is one, to be deleted once they were read.
    """
    pieces = [
        piece._replace(
            source=replace(piece.source, path=piece.source.path and piece.source.path.absolute()),
            fetched=piece.fetched.absolute() if isinstance(piece.fetched, Path) else piece.fetched,
        )
        for piece in pieces
    ]
    contents = [piece.fetched for piece in pieces if isinstance(piece.fetched, bytes)]
    if not contents:
        return pieces, None
    path, places = hand_over(contents, folder)
    left = iter(places)
    return [piece._replace(fetched=next(left)) if isinstance(piece.fetched, bytes) else piece for piece in pieces], path


def read_pieces(recipe: Recipe, files: PayloadFiles, limit: int | None, pieces: list[Piece]) -> list[ReadSource]:
    """Read several pieces in one task: as many as make `TASK_ROWS` rows; the others are left to later tasks."""
    found: list[ReadSource] = []
    rows = 0
    for piece in pieces:
        found.append(read_piece(recipe, files, limit, piece))
        rows += found[-1].objects
        if rows >= TASK_ROWS:
            break
    return found


def read_piece(recipe: Recipe, files: PayloadFiles, limit: int | None, piece: Piece) -> ReadSource:
    """Read a source or one of its blocks, or count its rows; a bad source gives an `error`, a bad row is in `bad`.

    With a limit, at most one row more of a whole source is read, to find out whether there are more.

    Raises `OSError` only if the payloads cannot be written: a problem of the disk, not of the source.
    """
    source, fetched, block = piece
    nbytes = sha256 = total = None
    try:
        if isinstance(fetched, Deferred):
            fetched = fetched.content()
        if block is not None:
            numbered = _of_block(recipe, source, fetched, block)
        else:
            nbytes, sha256 = _digest(fetched)
            if (total := _count(recipe, source, fetched)) is not None:
                return ReadSource((), nbytes, sha256, total=total, is_counted=True)
            numbered = islice(enumerate(recipe.read(source, fetched)), limit and limit + 1)
        kept = _Kept(recipe, files, source.key)
        for number, row in numbered:
            kept.add(number, row)
            total = number + 1
        kept.flush()
    except _DiskError as error:
        raise error.cause from None
    except Exception as error:  # one bad file must not end a build of 30,000
        return ReadSource((), nbytes, sha256, reason(error, recipe), traceback=traceback.format_exc())
    total = None if block is None and limit and total == limit + 1 else total or 0
    if kept.bad and not kept.rows and block is None and total is not None:
        return ReadSource((), nbytes, sha256, all_failed(len(kept.bad), kept.bad[0]), traceback=kept.traceback)
    return ReadSource(tuple(kept.rows), nbytes, sha256, traceback=kept.traceback, bad=tuple(kept.bad), total=total)


def all_failed(count: int, first: BadRow) -> str:
    """Error of a source all of whose rows failed."""
    return first.error if count == 1 else f"all {count:,} rows failed; row {first.number}: {first.error}"


class _DiskError(Exception):
    """A payload could not be written."""

    def __init__(self, cause: OSError):
        self.cause = cause


class _Kept:
    """Rows of a source that were encoded and written so far, and those that failed."""

    def __init__(self, recipe: Recipe, files: PayloadFiles, key: str):
        self.rows: list[SpooledRow] = []
        self.bad: list[BadRow] = []
        self.traceback = ""
        self._recipe, self._files, self._key = recipe, files, key
        self._specs = recipe.schema.specs
        self._ids: set[str] = set()
        self._held: list[tuple[int, NewRow]] = []
        self._nbytes = 0

    def add(self, number: int, row: Mapping[str, Any] | Exception) -> None:
        """Encode a row; one that was not read, or cannot be encoded, is added to the failed ones."""
        try:
            if isinstance(row, Exception):
                raise row
            encoded = encode(row, self._specs, self._key)
            if encoded.object_id in self._ids:
                raise SourceError(repeated_id(encoded.object_id))
        except Exception as error:  # one bad row must not cost 17,736
            self.traceback = self.traceback or traceback.format_exc()
            self.bad.append(BadRow(self._key, number, lasting(reason(error, self._recipe))))
            return
        self._ids.add(encoded.object_id)
        self._held.append((number, encoded))
        self._nbytes += encoded.nbytes
        if self._nbytes > HELD_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write the payloads that are held."""
        try:
            spooled = self._files.keep(encoded for _, encoded in self._held)
        except OSError as error:
            raise _DiskError(error) from error
        self.rows += [row._replace(number=number) for (number, _), row in zip(self._held, spooled, strict=True)]
        self._held.clear()
        self._nbytes = 0


def _of_block(recipe: Recipe, source: Source, fetched: Any, rows: range) -> Iterator[tuple[int, Any]]:
    """Yield the numbered rows of a block that are not left out; an error in place of each row that cannot be read."""
    number = rows.start
    try:
        for row in recipe.read_rows(source, fetched, rows):
            if number == rows.stop:
                raise _WrongCount(rows, "more")
            if row is not None:
                yield number, row
            number += 1
        if number < rows.stop:
            raise _WrongCount(rows, str(number - rows.start))
        return
    except _WrongCount:
        raise
    except Exception as error:
        if len(rows) == 1:
            yield rows.start, error
            return
    for single in range(number, rows.stop):
        yield from _of_block(recipe, source, fetched, range(single, single + 1))


class _WrongCount(SourceError):
    def __init__(self, rows: range, found: str):
        super().__init__(
            f"read_rows: expected a row or None for each of the {len(rows)} rows from {rows.start} to {rows.stop - 1},"
            f" found {found}"
        )


def _count(recipe: Recipe, source: Source, fetched: Any) -> int | None:
    total = recipe.count(source, fetched) if recipe.counts else None
    if total is None:
        return None
    if (number := operator.index(total)) < 0:
        raise SourceError(f"count: expected a number of rows, found {number}")
    return number


def _digest(fetched: Any) -> tuple[int | None, str | None]:
    """Length and sha256 of what was fetched, if it is a file or bytes."""
    if isinstance(fetched, bytes):
        return len(fetched), hashlib.sha256(fetched).hexdigest()
    if isinstance(fetched, Path):
        found = os.stat(fetched)
        return found.st_size, _file_digest(fetched, found.st_ino, found.st_size, found.st_mtime_ns)
    return None, None


@functools.lru_cache(maxsize=64)
def _file_digest(path: Path, *identity: int) -> str:
    """Digest of a file, computed once where many sources share it."""
    return file_digest(path)


def reason(error: Exception, recipe: Recipe) -> str:
    """Explain in one line why a source or row failed.

    A `SourceError` speaks for itself; any other error gets the file and line of the recipe where it came from, or, if
    the recipe is not in the traceback, where it was raised.
    """
    if isinstance(error, SourceError):
        return printable(str(error))
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(recipe.folder)]
    frame = (own or frames)[-1]
    place = "/".join(Path(frame.filename).parts[-2:])  # no full path: folders are shared
    return printable(" ".join(f"{type(error).__name__}: {error} ({place}, line {frame.lineno})".split()))
