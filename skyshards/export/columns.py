"""Convert columns of a built dataset for a HATS catalogue: Arrow types and values.

uint8 images and masks become PNG files, stacks of them lists of PNG files; image files are kept unchanged. Other arrays
become nested lists, and groups structs.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from skyshards.format.columns import ColumnSpec, flatten, nest
from skyshards.format.kinds import KINDS
from skyshards.format.kinds.image import ImageFile
from skyshards.format.kinds.ragged import Ragged
from skyshards.format.layout import SPLIT
from skyshards.format.missing import with_nulls

PNG_LEVEL = 4
"""Pillow's compression level: 6 takes twice the time for 0.5 % less, 1 half of it for 20 % more (images of GZ3D)."""
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
"""An image as `datasets` stores it."""
INDEX = "_healpix_29"
"""Column added by an export: the row's HEALPix pixel. With several splits, `SPLIT` is added too."""
ADDED = {
    INDEX: pa.field(INDEX, pa.int64(), metadata={"description": "HEALPix pixel of order 29 (NESTED)"}),
    SPLIT: pa.field(SPLIT, pa.string(), metadata={"description": "split that the row belongs to"}),
}


def picture_shape(spec: ColumnSpec) -> tuple[int, ...] | None:
    """Return the shape of one picture, [H, W], [H, W, 3] or [H, W, 4]; None if the column holds no pictures.

    Pictures are uint8 arrays of two or more dimensions: one per row, or one stack [N, ...] per row.
    """
    if spec.dtype != "uint8" or len(spec.shape) < 2 or 0 in spec.shape:
        return None
    dimensions = 3 if len(spec.shape) > 2 and spec.shape[-1] in (3, 4) else 2
    return spec.shape[-dimensions:] if len(spec.shape) - dimensions <= 1 else None


def is_bare(spec: ColumnSpec) -> bool:
    """Whether pictures are stored as plain bytes instead of structs: true for stacks outside of groups.

    LSDB would treat lists of structs as nested tables, which its searches cannot select.
    """
    return "." not in spec.path and picture_shape(spec) not in (None, spec.shape)


def is_file(spec: ColumnSpec) -> bool:
    """Whether a column holds image files."""
    return isinstance(KINDS[spec.kind], ImageFile)


def item(spec: ColumnSpec) -> ColumnSpec:
    """Return the spec of a single element of a column."""
    return replace(spec, shape=())


def fields(specs: Mapping[str, ColumnSpec], splits: bool) -> list[pa.Field]:
    """Return the Arrow fields of every file, with `description`, `unit` and `classes`."""
    return [*(_field(name, member) for name, member in nest(specs).items()), *added(splits).values()]


def added(splits: bool) -> dict[str, pa.Field]:
    """Return the fields that an export adds."""
    return {name: field for name, field in ADDED.items() if splits or name != SPLIT}


def _field(name: str, member: Any) -> pa.Field:
    if isinstance(member, Mapping):
        return pa.field(name, pa.struct([_field(inner, value) for inner, value in member.items()]))
    words = {"description": member.description} | ({"unit": member.unit} if member.unit else {})
    words |= {"classes": json.dumps(member.classes)} if member.classes else {}
    return pa.field(name, _type(member), metadata=words)


def _type(spec: ColumnSpec) -> pa.DataType:
    picture = picture_shape(spec)
    image = pa.binary() if is_bare(spec) else IMAGE
    kind = image if is_file(spec) or picture is not None else KINDS[spec.kind].arrow_type(item(spec))
    for _ in range(len(spec.shape) - len(picture or ())):
        kind = pa.list_(kind)
    return kind


def to_arrow(batch: Mapping[str, Any], specs: Mapping[str, ColumnSpec]) -> dict[str, pa.Array]:
    """Convert a batch of a table opened with `decode=False` to Arrow arrays by name."""
    flat = flatten(batch)
    return {
        name: _array(member)
        for name, member in nest({path: _values(flat[path], specs[path]) for path in specs}).items()
    }


def _array(member: Any) -> pa.Array:
    if isinstance(member, Mapping):
        return pa.StructArray.from_arrays([_array(inner) for inner in member.values()], list(member))
    return member


def _values(values: Any, spec: ColumnSpec) -> pa.Array:
    if is_file(spec):
        return _images(values)
    picture = picture_shape(spec)
    if isinstance(values, Ragged):
        return KINDS[spec.kind].to_arrow(values, None)
    if picture is None:
        return with_nulls(_lists(KINDS[spec.kind].to_arrow(values.reshape(-1), None), values.shape), spec)
    files = [png(pixels) for pixels in values.reshape(-1, *picture)]
    return _lists(
        pa.array(files, pa.binary()) if is_bare(spec) else _images(files), values.shape[: values.ndim - len(picture)]
    )


def _lists(flat: pa.Array, shape: tuple[int, ...]) -> pa.Array:
    """Wrap values in row-major order into nested lists of this shape."""
    for level in range(len(shape) - 1, 0, -1):
        count = int(np.prod(shape[:level]))
        flat = pa.ListArray.from_arrays(np.arange(count + 1, dtype=np.int32) * np.int32(shape[level]), flat)
    return flat


def _images(contents: Any) -> pa.Array:
    return ImageFile().to_arrow(contents, None)


def png(pixels: np.ndarray) -> bytes:
    """Encode uint8 pixels [H, W], [H, W, 3] or [H, W, 4] as PNG."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=PNG_LEVEL)
    return file.getvalue()
