"""One row between its source and its shard: checked against the schema, its large columns compressed just once."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import deflate
import numpy as np

from skyshards.errors import SourceError
from skyshards.format.columns import ColumnSpec, flatten
from skyshards.format.images import decode_image, described
from skyshards.format.rows import ENGINE_COLUMNS, EncodedRow

DEFLATE_LEVEL = 6


def encode(row: Mapping[str, Any], specs: Mapping[str, ColumnSpec], source: str) -> EncodedRow:
    """Check a row's values against the schema, and compress its heavy columns.

    Raises
    ------
    SourceError
        Naming the column, what was expected and what was found: a column too many or too few, a wrong shape, a value
        that the dtype cannot hold, a label without a name, bytes where text belongs, an image that cannot be decoded
        whole, an invalid position.
    """
    flat = flatten(row)
    expected = [path for path in specs if path not in ENGINE_COLUMNS]
    if set(flat) != set(expected):
        missing, extra = sorted(set(expected) - set(flat)), sorted(set(flat) - set(expected))
        raise SourceError(f"columns differ from the schema: missing {missing}, unexpected {extra}")
    ra, dec = (_number(flat[path], specs[path]) for path in ("ra", "dec"))
    if not (np.isfinite(ra) and np.isfinite(dec) and 0.0 <= ra <= 360.0 and -90.0 <= dec <= 90.0):
        raise SourceError(
            f"no position: expected 0 <= ra <= 360 and -90 <= dec <= 90 degrees, found ra={ra}, dec={dec}"
        )
    light: dict[str, Any] = {"source": source}
    heavy: dict[str, bytes] = {}
    for path, spec in specs.items():
        if path in ENGINE_COLUMNS:
            continue
        if spec.kind == "bytes":
            heavy[path] = _content(flat[path], spec)
        elif spec.heavy:
            array = _number(flat[path], spec)
            heavy[path] = deflate.zlib_compress(array, DEFLATE_LEVEL) if spec.deflate else array.tobytes()
        elif spec.kind == "string":
            light[path] = _text(flat[path], spec)
        else:
            light[path] = _number(flat[path], spec).tolist()
    payload = b"".join(heavy.values())
    sizes = {path: len(data) for path, data in heavy.items()}
    values = functools.partial(dict, light)
    return EncodedRow(light["object_id"], source, values, sizes, functools.partial(bytes, payload))


def _number(value: Any, spec: ColumnSpec) -> np.ndarray:
    number = _cast(value, spec)
    if spec.classes is not None:
        wrong = (number < -1) | (number >= len(spec.classes))  # datasets takes -1 for no label
        if wrong.any():
            expected = f"a label from 0 to {len(spec.classes) - 1} (-1: none)"
            raise SourceError(f"column {spec.path!r}: expected {expected}, found {number[wrong].flat[0]}")
    return number


def _cast(value: Any, spec: ColumnSpec) -> np.ndarray:
    if np.ma.is_masked(value):  # NumPy would give the number that lies under the mask
        raise SourceError(f"column {spec.path!r}: expected {spec.dtype}, found masked (missing) values")
    try:
        found = np.asarray(value)
    except ValueError as error:
        raise SourceError(f"column {spec.path!r}: expected shape {spec.shape}, found an uneven list") from error
    dtype = np.dtype(spec.dtype)
    if found.shape != spec.shape:
        raise SourceError(f"column {spec.path!r}: expected shape {spec.shape}, found {found.shape}")
    if found.dtype == dtype:
        return np.ascontiguousarray(found).reshape(found.shape)
    if found.dtype.kind not in "biuf":
        raise SourceError(f"column {spec.path!r}: expected {spec.dtype}, found {found.dtype}")
    with np.errstate(invalid="ignore", over="ignore"):
        cast = np.ascontiguousarray(found.astype(dtype)).reshape(found.shape)
    wrong = np.isfinite(cast) != np.isfinite(found) if dtype.kind == "f" else cast != found
    if wrong.any():
        worst = found[wrong].flat[0]
        raise SourceError(f"column {spec.path!r}: expected values that fit {spec.dtype}, found {worst}")
    return cast


def _text(value: Any, spec: ColumnSpec) -> str | list:
    if spec.shape:
        scalar = ColumnSpec(spec.path, spec.kind, spec.dtype, (), spec.description, spec.unit)
        if not isinstance(value, (list, tuple, np.ndarray)) or len(value) != spec.shape[0]:
            found = f"{len(value)}" if isinstance(value, (list, tuple, np.ndarray)) else f"{value!r:.40}"
            raise SourceError(f"column {spec.path!r}: expected {spec.shape[0]} strings, found {found}")
        return [_text(item, scalar) for item in value]
    if not isinstance(value, str):
        raise SourceError(f"column {spec.path!r}: expected a string, found {type(value).__name__} {value!r}")
    if "\0" in value or not _is_utf8(value):
        raise SourceError(f"column {spec.path!r}: expected text, found a NUL or half a character in {value!r}")
    if not value and spec.path == "object_id":
        raise SourceError("column 'object_id': expected a name, found nothing")
    return str(value)


def _is_utf8(value: str) -> bool:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:  # a lone surrogate
        return False
    return True


def _content(value: Any, spec: ColumnSpec) -> bytes:
    if not isinstance(value, (bytes, bytearray, memoryview)) or not len(value):
        raise SourceError(f"column {spec.path!r}: expected the bytes of a file, found {type(value).__name__}")
    content = bytes(value)
    try:
        decode_image(content)  # as the readers will: other decoders let a JPEG pass that lacks its end
    except ValueError as error:
        found = f"{described(content)} ({error})"
        raise SourceError(f"column {spec.path!r}: expected a whole PNG or JPEG file, found {found}") from error
    return content
