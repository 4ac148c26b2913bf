"""Encoding of a row: check it against the schema, and compress its large columns once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from skyshards.errors import SourceError
from skyshards.format.columns import ColumnSpec, flatten
from skyshards.format.folds import FOLDS, NO_FOLD
from skyshards.format.kinds import KINDS
from skyshards.format.kinds.base import Json
from skyshards.format.layout import ENGINE_COLUMNS, FOLD, SOURCE
from skyshards.format.missing import fill, is_missing
from skyshards.format.moments import MOMENTS, moments_of
from skyshards.format.rows import NewRow


def encode(row: Mapping[str, Any], specs: Mapping[str, ColumnSpec], source: str) -> NewRow:
    """Check a row's values against the schema, and compress its large columns.

    Parameters
    ----------
    row : mapping
        Nested values of all columns but those that the engine fills in. `fold` may be among them, for rows that show
        several objects: the fold that all have, or -1.
    specs : mapping of str to ColumnSpec
        The schema, by column path.
    source : str
        Key of the source.

    Returns
    -------
    NewRow

    Raises
    ------
    SourceError
        Names the row, the column, the expected and the found value: a missing or unexpected column, no value where none
        was declared for missing ones, a wrong shape, a value out of the dtype's range, an unknown label, bytes instead
        of text, an image that cannot be decoded completely, an invalid position.
    """
    name = row.get("object_id") if isinstance(row, Mapping) else None
    try:
        return _encoded(row, specs, source)
    except SourceError as error:
        where = f"object_id {name!r:.80}: " if isinstance(name, str) and name else ""
        raise SourceError(f"{where}{error}") from error


def _encoded(row: Mapping[str, Any], specs: Mapping[str, ColumnSpec], source: str) -> NewRow:
    values = complete(row, specs)
    light: dict[str, Json] = {SOURCE: source}
    heavy: dict[str, bytes] = {}
    sums: dict[str, Json] = {}
    for path, value in values.items():
        kind, spec = KINDS[specs[path].kind], specs[path]
        if spec.is_image:
            heavy[path], pixels = kind.encode_image(value, spec)
            sums[path] = moments_of(pixels)
            continue
        encoded = kind.encode(value, spec)
        if isinstance(encoded, bytes):
            heavy[path] = encoded
        else:
            light[path] = encoded
    _check_lengths(heavy, specs)
    ra, dec = light["ra"], light["dec"]
    if not (0.0 <= ra <= 360.0 and -90.0 <= dec <= 90.0):  # nor is NaN
        raise SourceError(
            f"no position: expected 0 <= ra <= 360 and -90 <= dec <= 90 degrees, found ra={ra}, dec={dec}"
        )
    if not NO_FOLD <= light.get(FOLD, NO_FOLD) < FOLDS:
        raise SourceError(f"column {FOLD!r}: expected -1 to {FOLDS - 1}, found {light[FOLD]}")
    object_id = str(light["object_id"])
    if not object_id:
        raise SourceError("column 'object_id': expected a name, found nothing")
    if sums:
        light[MOMENTS] = sums
    sizes = {path: len(content) for path, content in heavy.items()}
    return NewRow(object_id, source, sizes, light, b"".join(heavy.values()))


def _check_lengths(heavy: Mapping[str, bytes], specs: Mapping[str, ColumnSpec]) -> None:
    """Raise `SourceError` if aligned lists of a group have different lengths."""
    groups: dict[str, dict[str, int]] = {}
    for path, content in heavy.items():
        if specs[path].aligned:
            group, _, name = path.rpartition(".")
            groups.setdefault(group, {})[name] = len(content) // np.dtype(specs[path].dtype).itemsize
    for group, lengths in groups.items():
        if len(set(lengths.values())) > 1:
            found = ", ".join(f"{name} {length}" for name, length in lengths.items())
            raise SourceError(f"column {group!r}: expected lists of equal length, found {found}")


def complete(row: Mapping[str, Any], specs: Mapping[str, ColumnSpec]) -> dict[str, Any]:
    """Return a row's values by column, fill values included.

    Raises `SourceError` for an unexpected column, and for one without a value where none is declared for that.
    """
    if not isinstance(row, Mapping):
        raise SourceError(f"expected a row as a dict of its columns, found {type(row).__name__} {row!r:.40}")
    flat = flatten(row)
    specs = {
        path: spec for path, spec in specs.items() if path not in ENGINE_COLUMNS or (path == FOLD and FOLD in flat)
    }
    for path in sorted(flat.keys() - specs.keys()):
        members = [name for name in specs if name.startswith(f"{path}.")]
        column = next((name for name in specs if path.startswith(f"{name}.")), None)
        if members and flat[path] is None:
            del flat[path]
        elif members:
            found = type(flat[path]).__name__
            raise SourceError(f"column {path!r}: expected a dict of {', '.join(members)}, found {found}")
        elif column is not None:
            expected = KINDS[specs[column].kind].words(specs[column])
            raise SourceError(f"column {column!r}: expected {expected}, found a dict with {path!r}")
    absent = sorted(path for path, spec in specs.items() if path not in flat and spec.missing is None)
    if extra := sorted(flat.keys() - specs.keys()):
        raise SourceError(f"columns differ from the schema: missing {absent}, unexpected {extra}")
    if absent:
        advice = "or declare `missing`, the value of rows without one"
        raise SourceError(f"columns differ from the schema: missing {absent}, unexpected []; give them, {advice}")
    values = {}
    for path, spec in specs.items():
        value = flat.get(path)
        if is_missing(value, spec):
            if spec.missing is None:
                expected = KINDS[spec.kind].card_words(spec)
                advice = "declare `missing`, the value of rows without one"
                raise SourceError(f"column {path!r}: expected {expected}, found {_words(value)}; {advice}")
            value = fill(spec)
        values[path] = value
    return values


def _words(value: Any) -> str:
    return "masked (missing) values" if value is np.ma.masked or hasattr(value, "mask") else f"{value!r:.40}"
