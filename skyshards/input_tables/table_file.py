"""Reader of a catalogue file: CSV, Parquet, FITS, ECSV or VOTable, detected by its first bytes."""

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
from skyshards.input_tables.guess import Guess, converted

FORMATS = "CSV, Parquet, FITS, ECSV or VOTable"
_BINARY = {"parquet": "Parquet", "pq": "Parquet", "fits": "FITS", "fit": "FITS", "vot": "VOTable", "votable": "VOTable"}


@dataclass(frozen=True)
class InputColumn:
    """A column of a catalogue, with the type that its values have.

    Attributes
    ----------
    name : str
        As published; may be empty or duplicate.
    place : int
        Position among the columns, from 0.
    type : pyarrow type or None
        bool, int64, uint64, float64, float32 (if the file says so) or string; None if it cannot be stored.
    gaps : bool
        Whether a value is missing (not checked for floats).
    exact : bool
        Whether its integers are exact as float64.
    note : str
        Why it is not numeric: "empty", the unsupported type, or the first text cell.
    direct : bool
        Whether its text can be converted while parsing.
    """

    name: str
    place: int
    type: pa.DataType | None
    gaps: bool = False
    exact: bool = True
    note: str = ""
    direct: bool = False


class TableFile:
    """A catalogue file: names and types of its columns, and values of selected ones.

    The methods raise `BuildError` if the file is damaged.

    Parameters
    ----------
    origin : str
        Path or address, for messages.
    raw : Raw
        Reader of its format.
    """

    def __init__(self, origin: str, raw: Raw):
        self.origin, self.raw = origin, raw

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns, in file order."""
        return self.raw.names

    def look(self, places: Collection[int] | None = None, text: Collection[int] = ()) -> list[InputColumn]:
        """Determine the types of some columns (default: all), reading their values where needed.

        Columns in `text` are taken as text.
        """
        places = range(len(self.names)) if places is None else places
        unknown = [place for place in places if place not in text and self._only_values_tell(place)]
        with _clear_errors(self.origin):
            direct = self._first_guess(unknown) if isinstance(self.raw, Csv) else {}
            try:
                guesses = self._guesses(unknown, direct)
            except pa.ArrowInvalid:  # a later cell differs from the first ones, or the file is damaged
                direct, guesses = {}, self._guesses(unknown, {})
        return [self._column(place, guesses.get(place), place in text, place in direct) for place in places]

    def _only_values_tell(self, place: int) -> bool:
        type = self.raw.types[place]
        type = type.value_type if pa.types.is_dictionary(type) else type
        if pa.types.is_signed_integer(type) or pa.types.is_boolean(type):
            return place not in self.raw.gapless
        return _is_text(type) or pa.types.is_decimal(type) or pa.types.is_integer(type)

    def _first_guess(self, places: list[int]) -> dict[int, pa.DataType]:
        """Types of the text columns that begin with numbers, for fast conversion while parsing."""
        first = next(self.raw.batches(places), [])
        guesses = [Guess() for _ in first]
        for guess, cells in zip(guesses, first, strict=True):
            guess.take(cells)
        types = {place: guess.type for place, guess in zip(places, guesses, strict=False)}
        return {place: type for place, type in types.items() if type in (pa.int64(), pa.float64())}

    def _guesses(self, places: list[int], direct: Mapping[int, pa.DataType]) -> dict[int, Guess]:
        guesses = {place: Guess() for place in places}
        for batch in self._raw_batches(places, direct):
            for guess, cells in zip(guesses.values(), batch, strict=True):
                guess.take(_normal(cells))
        return guesses

    def _raw_batches(self, places: Sequence[int], direct: Mapping[int, pa.DataType]) -> Iterator[list[pa.Array]]:
        if not places:
            return iter(())
        return self.raw.batches(places, direct) if isinstance(self.raw, Csv) else self.raw.batches(places)

    def _column(self, place: int, guess: Guess | None, text: bool, direct: bool) -> InputColumn:
        name, type = self.names[place], self.raw.types[place]
        if text:
            if pa.types.is_floating(type):
                raise BuildError(
                    f"{self.origin}: column {name}: expected names, found {type}, which loses digits of long numbers;"
                    " write it as text or 64-bit integers"
                )
            return InputColumn(name, place, pa.string())
        if guess is not None:
            found = guess.type
            note = "empty" if found is None else guess.odd if pa.types.is_string(found) else ""
            return InputColumn(name, place, found, guess.gaps, guess.exact, note, direct)
        if pa.types.is_null(type):
            return InputColumn(name, place, None, True, note="empty")
        if pa.types.is_floating(type):
            return InputColumn(name, place, pa.float64() if type == pa.float64() else pa.float32())
        if place in self.raw.gapless:
            return InputColumn(name, place, pa.bool_() if pa.types.is_boolean(type) else pa.int64())
        return InputColumn(name, place, None, note=f"values of type {type}")

    def batches(self, columns: Sequence[InputColumn]) -> Iterator[list[pa.Array]]:
        """Yield the values of columns from `look`, each in its type, in batches of rows."""
        direct = {column.place: column.type for column in columns if column.direct}
        with _clear_errors(self.origin):
            for batch in self._raw_batches([column.place for column in columns], direct):
                yield [_typed(_normal(values), column.type) for values, column in zip(batch, columns, strict=True)]

    def read(
        self, places: Sequence[int], likely: Mapping[int, pa.DataType] | None = None, text: Collection[int] = ()
    ) -> list[tuple[InputColumn, pa.ChunkedArray]]:
        """Read columns with all their values; those in `text` as text. CSV is read faster if the `likely` types fit."""
        with _clear_errors(self.origin):
            if likely and isinstance(self.raw, Csv):
                with contextlib.suppress(pa.ArrowInvalid):  # then fall back to `look`
                    columns = [InputColumn(self.names[place], place, likely[place]) for place in places]
                    return _joined(columns, self._raw_batches(places, likely))
            columns = self.look(places, text)
            return _joined(columns, self.batches(columns))


def open_table(path: Path) -> TableFile:
    """Open a catalogue file. Raises `BuildError` if it cannot be read as a table."""
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
    """Turn the many kinds of parser errors into a `BuildError` that names the file."""
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
    """First bytes of a file, after decompression."""
    with open(path, "rb") as file:
        start = file.read(512)
    opened = gzip.open if start.startswith(b"\x1f\x8b") else bz2.open if start.startswith(b"BZh") else None
    if opened is None:
        return start
    with opened(path) as file:
        return file.read(512)


def _is_text(type: pa.DataType) -> bool:
    return any(check(type) for check in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view))


def _normal(column: pa.Array) -> pa.Array:
    """Cast integers to int64, and text, decimals and uint64 to string; leave other types as they are."""
    type = column.type
    if pa.types.is_dictionary(type):
        return _normal(column.cast(type.value_type))
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
