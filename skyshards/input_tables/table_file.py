"""One way to read a catalogue from a file: CSV, Parquet, FITS, ECSV or VOTable, told apart by their first bytes."""

from __future__ import annotations

import bz2
import contextlib
import gzip
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from skyshards.errors import BuildError
from skyshards.input_tables.formats import Csv, InMemory, Parquet, Raw
from skyshards.input_tables.kinds import Guess, converted

FORMATS = "CSV, Parquet, FITS, ECSV or VOTable"
_BINARY = {"parquet": "Parquet", "pq": "Parquet", "fits": "FITS", "fit": "FITS", "vot": "VOTable", "votable": "VOTable"}


@dataclass(frozen=True)
class InputColumn:
    """A column of a catalogue, by its place there, as all of its values show it.

    Attributes
    ----------
    name : str
        As published; it may be empty, or that of another column too.
    place : int
    type : pyarrow type or None
        bool, int64, uint64, float64 or string; None for what is left out.
    gaps : bool
        Some value is missing (of floats, that is not looked for).
    exact : bool
        Its integers are exact as float64.
    note : str
        Why it is no number: "empty", the type that is not read, or the first cell that is text.
    """

    name: str
    place: int
    type: pa.DataType | None
    gaps: bool = False
    exact: bool = True
    note: str = ""


class TableFile:
    """A catalogue: names and stored types of its columns, and their values as far as they are asked for.

    The methods raise `BuildError` if the file turns out to be damaged.

    Parameters
    ----------
    origin : str
        Where it comes from, for messages.
    raw : Raw
    """

    def __init__(self, origin: str, raw: Raw):
        self.origin, self.raw = origin, raw

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns, in their order."""
        return self.raw.names

    def look(self, places: Collection[int] | None = None, text: Collection[int] = ()) -> list[InputColumn]:
        """What some columns hold, or all; reads all of each but floats. Those in `text` are text whatever they hold."""
        places = range(len(self.names)) if places is None else places
        guesses = {place: Guess() for place in places if place not in text and _is_open(self.raw.types[place])}
        with _clear_errors(self.origin):
            for batch in self.raw.batches(list(guesses)) if guesses else ():
                for guess, column in zip(guesses.values(), batch, strict=True):
                    guess.take(_normal(column))
        return [self._column(place, guesses.get(place), place in text) for place in places]

    def _column(self, place: int, guess: Guess | None, text: bool) -> InputColumn:
        name, type = self.names[place], self.raw.types[place]
        if text:
            return InputColumn(name, place, pa.string())
        if guess is not None:
            found = guess.type
            note = "empty" if found is None else guess.odd if pa.types.is_string(found) else ""
            return InputColumn(name, place, found, guess.gaps, guess.exact, note)
        if pa.types.is_null(type):
            return InputColumn(name, place, None, True, note="empty")
        if pa.types.is_floating(type):
            return InputColumn(name, place, pa.float64())
        return InputColumn(name, place, None, note=f"values of type {type}")

    def batches(self, columns: Sequence[InputColumn]) -> Iterator[list[pa.Array]]:
        """Values of columns that were looked at, each of its type, a batch of rows at a time."""
        with _clear_errors(self.origin):
            for batch in self.raw.batches([column.place for column in columns]):
                yield [_typed(_normal(values), column.type) for values, column in zip(batch, columns, strict=True)]

    def read(
        self, places: Sequence[int], likely: Mapping[int, pa.DataType] | None = None
    ) -> list[tuple[InputColumn, pa.ChunkedArray]]:
        """Some columns with all their values. CSV is read faster if the likely types are those of all cells."""
        with _clear_errors(self.origin):
            if likely and isinstance(self.raw, Csv):
                with contextlib.suppress(pa.ArrowInvalid):  # it is looked at, then
                    columns = [InputColumn(self.names[place], place, likely[place]) for place in places]
                    return _joined(columns, self.raw.batches(places, likely))
            columns = self.look(places)
            return _joined(columns, self.batches(columns))


def open_table(path: Path) -> TableFile:
    """Look at the columns of a catalogue's file. Raises `BuildError` if it cannot be read as a table."""
    with _clear_errors(str(path)):
        return TableFile(str(path), _open(path))


def _joined(
    columns: Sequence[InputColumn], batches: Iterator[list[pa.Array]]
) -> list[tuple[InputColumn, pa.ChunkedArray]]:
    parts = list(zip(*batches, strict=True)) or [()] * len(columns)
    return [
        (column, pa.chunked_array(part, column.type or pa.null())) for column, part in zip(columns, parts, strict=True)
    ]


@contextlib.contextmanager
def _clear_errors(origin: str) -> Iterator[None]:
    """Say which file it is that cannot be read. Parsers of damaged files raise errors of many kinds."""
    try:
        yield
    except (BuildError, MemoryError):
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise BuildError(f"{origin}: cannot be read as a table ({reason}); is it whole, and {FORMATS}?") from error


def _open(path: Path) -> Raw:
    start = _start(path)
    if start.startswith(b"PAR1"):
        return Parquet(path)
    if start.startswith(b"SIMPLE  ="):
        return InMemory.of_astropy(path, "fits")
    if start.startswith(b"# %ECSV"):
        return InMemory.of_astropy(path, "ascii.ecsv")
    if start.lstrip().lower().startswith((b"<?xml", b"<votable")):
        from astropy.io import votable

        return InMemory.of_votable(votable.parse_single_table(str(path), verify="ignore"))
    if start.lstrip().lower().startswith((b"<!doctype html", b"<html")):
        raise BuildError(f"{path}: expected a table ({FORMATS}), found an HTML page; download it again")
    wanted = _BINARY.get(path.name.removesuffix(".gz").rpartition(".")[2].lower())
    if wanted:
        raise BuildError(f"{path}: expected a table of {wanted}, found a file that begins with {start[:16]!r}")
    return Csv(path)


def _start(path: Path) -> bytes:
    """The first bytes of a file, of what is in it if it is compressed."""
    with open(path, "rb") as file:
        start = file.read(512)
    opened = gzip.open if start.startswith(b"\x1f\x8b") else bz2.open if start.startswith(b"BZh") else None
    if opened is None:
        return start
    with opened(path) as file:
        return file.read(512)


def _is_open(type: pa.DataType) -> bool:
    """Whether only the values of a column tell what it holds: text, and whether integers and truth values have gaps."""
    if pa.types.is_dictionary(type):
        return _is_open(type.value_type)
    return _is_text(type) or any(
        check(type) for check in (pa.types.is_boolean, pa.types.is_integer, pa.types.is_decimal)
    )


def _is_text(type: pa.DataType) -> bool:
    return any(check(type) for check in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view))


def _normal(column: pa.Array) -> pa.Array:
    """A column as bool, int64, float64 or string, whatever Arrow type holds such values."""
    type = column.type
    if pa.types.is_dictionary(type):
        return _normal(column.cast(type.value_type))
    if pa.types.is_floating(type):
        return column.cast(pa.float64())
    if _is_text(type) or pa.types.is_decimal(type) or pa.types.is_uint64(type):
        return column.cast(pa.string())
    if pa.types.is_integer(type):
        return column.cast(pa.int64())
    return column


def _typed(column: pa.Array, type: pa.DataType | None) -> pa.Array:
    if type is None:
        return pa.nulls(len(column))
    if pa.types.is_string(column.type):
        return converted(column, type)
    return column.cast(type)
