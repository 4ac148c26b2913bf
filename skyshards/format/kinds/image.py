"""Image files, stored unchanged."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from PIL import Image

from skyshards.errors import ShardCorrupted, SourceError
from skyshards.format.images import JPEG, PNG, decode_image, described
from skyshards.format.kinds.base import Allocate, Declared, Demand, Kind

if TYPE_CHECKING:
    from skyshards.format.columns import ColumnSpec

MODES = ("L", "RGB", "RGBA")
"""Pillow's modes of pictures that are stored without a change of their pixels."""


class ImageFile(Kind):
    name = "bytes"
    features = "Image"
    varies = True
    format_notes = """\
`{column}` holds the bytes of an image file. `with_format` converts them to int64, and
`rows.cast_column("{column}", Image())` takes them for pixels and gives a picture one pixel wide. To decode the pictures
of one row, or of all rows:

```python
import io

import PIL.Image

picture = PIL.Image.open(io.BytesIO(bytes(rows[0]["{column}"])))
```

```python
import datasets

features = rows.features.copy()
features["{column}"] = datasets.Image()
pictures = rows.map(lambda row: {{"{column}": {{"bytes": bytes(row["{column}"]), "path": None}}}}, features=features)
```

Then `pictures.with_format("numpy")` has uint8 with the channels last, `pictures.with_format("torch")` with the channels
first.
"""

    def declared(self, feature: Any) -> Declared | None:
        import datasets  # slow, and not needed for reading

        return Declared(self.name, "uint8") if isinstance(feature, datasets.Image) else None

    def feature(self, spec: ColumnSpec) -> Any:
        import datasets

        return datasets.Image()

    def demands(self, spec: ColumnSpec) -> Iterator[Demand]:
        yield spec.dtype == "uint8" and not spec.shape, "image files", spec

    def nbytes(self, spec: ColumnSpec) -> int:
        return 0

    def is_image(self, spec: ColumnSpec) -> bool:
        return True

    def is_large(self, spec: ColumnSpec) -> bool:
        return True

    def words(self, spec: ColumnSpec) -> str:
        return "image file"

    def card_words(self, spec: ColumnSpec) -> str:
        return "image"

    def stock_feature(self, feature: Any) -> Any:
        """Return a list of bytes, since stock `datasets` does not decode them."""
        import datasets

        return datasets.Sequence(datasets.Value("uint8"))

    def croissant_type(self, spec: ColumnSpec) -> str:
        return "sc:ImageObject"

    def encode(self, value: Any, spec: ColumnSpec) -> bytes:
        return self.encode_image(value, spec)[0]

    def encode_image(self, value: Any, spec: ColumnSpec) -> tuple[bytes, np.ndarray]:
        if isinstance(value, Image.Image):
            value = _pixels(value, spec)
        if isinstance(value, np.ndarray):
            return _png(value, spec), value
        if not isinstance(value, (bytes, bytearray, memoryview)) or not len(value):
            expected = "the bytes of a file, a Pillow image or a uint8 array"
            raise SourceError(f"column {spec.path!r}: expected {expected}, found {type(value).__name__}")
        content = bytes(value)
        try:
            pixels = decode_image(content)  # with the readers' decoder: others accept truncated JPEGs
        except ValueError as error:
            found = f"{described(content)} ({error})"
            raise SourceError(f"column {spec.path!r}: expected a whole PNG or JPEG file, found {found}") from error
        return content, pixels

    def to_arrow(self, values: Any, feature: Any) -> pa.Array:
        for content in values:
            # `datasets` lets Pillow decode any format. Empty bytes stand for a missing image in a left join.
            if content and not content.startswith((JPEG, PNG)):
                raise ShardCorrupted(f"an image column holds {described(content)}, expected a PNG or JPEG file")
        contents, paths = pa.array(values, pa.binary()), pa.nulls(len(values), pa.string())
        missing = pa.array([not content for content in values], pa.bool_())
        return pa.StructArray.from_arrays([contents, paths], ["bytes", "path"], mask=missing)

    def allocate(self, spec: ColumnSpec, sizes: np.ndarray, empty: Allocate) -> tuple[None, list]:
        return None, [None] * len(sizes)

    def decode(self, content: bytes, spec: ColumnSpec, out: np.ndarray | None = None) -> np.ndarray:
        return decode_image(content, out)


def _pixels(picture: Image.Image, spec: ColumnSpec) -> np.ndarray:
    if picture.mode not in MODES:
        expected = f"a picture of mode {', '.join(MODES)}"
        raise SourceError(f"column {spec.path!r}: expected {expected}, found {picture.mode}; `convert` it")
    return np.asarray(picture)


def _png(pixels: np.ndarray, spec: ColumnSpec) -> bytes:
    is_picture = pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (3, 4))
    if pixels.dtype != np.uint8 or not is_picture or not pixels.size:
        expected, found = "uint8 pixels [H, W], [H, W, 3] or [H, W, 4]", f"{pixels.dtype} {list(pixels.shape)}"
        raise SourceError(f"column {spec.path!r}: expected {expected}, found {found}")
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()
