"""Convert columns of a built dataset for a HATS catalogue: Arrow types, values and `datasets` features.

uint8 images and masks become PNG files, stacks of them lists of PNG files; image files are kept unchanged. Other arrays
become nested lists, and groups structs.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
from PIL import Image

from skyshards.export import documentation
from skyshards.format.columns import ColumnSpec, flatten, nest
from skyshards.format.kinds import KINDS
from skyshards.format.kinds.image import ImageFile
from skyshards.format.kinds.ragged import Ragged
from skyshards.format.layout import SPLIT

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


def schema(name: str, specs: Mapping[str, ColumnSpec], splits: bool, lengths: Mapping[str, int]) -> pa.Schema:
    """Return the Arrow schema of every file, with features and documentation in its metadata.

    Fields carry `description`, `unit` and `classes`. `lengths` are from `documentation.text_lengths`. `datasets`
    accepts features in a file only if they match its types exactly, so lists have no length there and arrays no shape;
    the card declares those.
    """
    fields = [_field(name, member) for name, member in nest(specs).items()] + list(_added(splits).values())
    features = datasets.Features(
        {name: _map(member, stored_feature) for name, member in nest(specs).items()} | _added_features(splits)
    )
    plain = pa.schema(fields)
    words = documentation.metadata(name, plain, specs, lengths)
    return plain.with_metadata({"huggingface": json.dumps({"info": {"features": features.to_dict()}})} | words)


def features(specs: Mapping[str, ColumnSpec], splits: bool) -> datasets.Features:
    """Return the features for the card, with all lengths and shapes."""
    return datasets.Features(
        {name: _map(member, declared_feature) for name, member in nest(specs).items()} | _added_features(splits)
    )


def _added(splits: bool) -> dict[str, pa.Field]:
    return {name: field for name, field in ADDED.items() if splits or name != SPLIT}


def _added_features(splits: bool) -> dict[str, Any]:
    return {name: datasets.Value(str(field.type)) for name, field in _added(splits).items()}


def _map(member: Any, function: Any) -> Any:
    if isinstance(member, Mapping):
        return {name: _map(inner, function) for name, inner in member.items()}
    return function(member)


def is_file(spec: ColumnSpec) -> bool:
    """Whether a column holds image files."""
    return isinstance(KINDS[spec.kind], ImageFile)


def _item(spec: ColumnSpec) -> ColumnSpec:
    """Return the spec of a single element of a column."""
    return replace(spec, shape=())


def declared_feature(spec: ColumnSpec) -> Any:
    """Return the feature of a column for the card."""
    picture = picture_shape(spec)
    if picture is None:
        return KINDS[spec.kind].feature(spec)
    return datasets.Image() if picture == spec.shape else datasets.Sequence(datasets.Image(), length=spec.shape[0])


def stored_feature(spec: ColumnSpec) -> Any:
    """Return the feature that matches the type of a column in the files exactly."""
    picture = picture_shape(spec)
    image = datasets.Value("binary") if is_bare(spec) else datasets.Image()
    feature = KINDS[spec.kind].feature(_item(spec)) if picture is None else image
    depth = len(spec.shape) - len(picture or ())
    for _ in range(depth):
        feature = datasets.Sequence(feature)
    return feature


def _field(name: str, member: Any) -> pa.Field:
    if isinstance(member, Mapping):
        return pa.field(name, pa.struct([_field(inner, value) for inner, value in member.items()]))
    words = {"description": member.description} | ({"unit": member.unit} if member.unit else {})
    words |= {"classes": json.dumps(member.classes)} if member.classes else {}
    return pa.field(name, _type(member), metadata=words)


def _type(spec: ColumnSpec) -> pa.DataType:
    picture = picture_shape(spec)
    image = pa.binary() if is_bare(spec) else IMAGE
    kind = image if is_file(spec) or picture is not None else KINDS[spec.kind].arrow_type(_item(spec))
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
        kind, item = KINDS[spec.kind], _item(spec)
        return _lists(kind.to_arrow(values.reshape(-1), kind.feature(item)), values.shape)
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
    return ImageFile().to_arrow(contents, datasets.Image())


def png(pixels: np.ndarray) -> bytes:
    """Encode uint8 pixels [H, W], [H, W, 3] or [H, W, 4] as PNG."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=PNG_LEVEL)
    return file.getvalue()
