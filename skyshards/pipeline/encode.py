"""Encoding of a row: check it against the schema, and compress its large columns once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from skyshards.errors import SourceError
from skyshards.format.columns import ColumnSpec, flatten
from skyshards.format.folds import FOLDS, NO_FOLD
from skyshards.format.kinds import KINDS
from skyshards.format.kinds.base import Json
from skyshards.format.layout import ENGINE_COLUMNS, FOLD, SOURCE
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
        Names the column, the expected and the found value: a missing or unexpected column, a wrong shape, a value out
        of the dtype's range, an unknown label, bytes instead of text, an image that cannot be decoded completely, an
        invalid position.
    """
    flat = flatten(row)
    expected = [path for path in specs if path not in ENGINE_COLUMNS or (path == FOLD and path in flat)]
    if set(flat) != set(expected):
        missing, extra = sorted(set(expected) - set(flat)), sorted(set(flat) - set(expected))
        raise SourceError(f"columns differ from the schema: missing {missing}, unexpected {extra}")
    light: dict[str, Json] = {SOURCE: source}
    heavy: dict[str, bytes] = {}
    for path in expected:
        value = KINDS[specs[path].kind].encode(flat[path], specs[path])
        if isinstance(value, bytes):
            heavy[path] = value
        else:
            light[path] = value
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
    sizes = {path: len(content) for path, content in heavy.items()}
    return NewRow(object_id, source, sizes, light, b"".join(heavy.values()))
