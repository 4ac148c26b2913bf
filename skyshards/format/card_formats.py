"""The card's section on formats of stock `datasets`: what they do to the columns, and how to get the right values."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from skyshards.format.columns import ColumnSpec
from skyshards.format.kinds import KINDS
from skyshards.format.schema import Schema

LOAD = """\
from datasets import load_dataset

rows = load_dataset("data/{name}", split="{split}")
"""

INTEGERS = """\
`rows.with_format("numpy")` and `rows.with_format("torch")` convert arrays of integers ({names}) to int64: the same
values in {times} times the memory. To restore the dtype{first}:

```python
import torch

array = rows.with_format("numpy")[0]{key}.astype("{dtype}")
tensor = rows.with_format("torch")[0]{key}.to(torch.{dtype}){permuted}
```
"""

DOUBLES = """\
`rows.with_format("torch")` converts float64 ({names}) to float32: positions are then off by up to 0.06 arcsec.{vectors}
Before `datasets` 5, so does `with_format("numpy")` for all float64 columns of a stream; without a format, a stream
keeps them. Name the dtype to keep all digits:

```python
import torch

positions = rows.select_columns(["ra", "dec"]).with_format("torch", dtype=torch.float64)
```
"""

VECTORS = """ \
`rows.with_format("numpy")` does the same to vectors and lists only ({names})."""

PICTURES = """\
`{column}` has its channels last in every format. To view the picture of a row (`cast_column("{column}", Image())` shows
the same, but first encodes every picture as PNG):

```python
import PIL.Image

picture = PIL.Image.fromarray(rows.with_format("numpy")[0]["{column}"].astype("uint8"))
```
"""


def formats(schema: Schema, name: str, split: str) -> str:
    """Write the card's section on `with_format` and `cast_column` for the columns of this schema."""
    specs = schema.specs
    several = [spec for spec in specs.values() if _several(spec)]
    small = [spec for spec in several if np.dtype(spec.dtype).kind in "iu" and _times(spec) > 1]
    doubles = [path for path, spec in specs.items() if spec.dtype == "float64"]
    parts = [f"## In the formats of `datasets`\n\n```python\n{LOAD.format(name=name, split=split)}```\n"]
    if small:
        first = max(small, key=lambda spec: (_is_picture(spec), spec.nbytes))
        parts.append(
            INTEGERS.format(
                names=_listed(spec.path for spec in small),
                times=_times(first),
                key="".join(f'["{part}"]' for part in first.path.split(".")),
                dtype=first.dtype,
                permuted=".permute(2, 0, 1)" if _is_picture(first) else "",
                first=", and put the channels first for PyTorch" if _is_picture(first) else "",
            )
        )
    if doubles:
        vectors = [spec.path for spec in several if spec.dtype == "float64"]
        also = VECTORS.format(names=_listed(vectors)) if vectors else ""
        parts.append(DOUBLES.format(names=_listed(doubles), vectors=also))
    for path, spec in specs.items():
        if notes := KINDS[spec.kind].format_notes:
            parts.append(notes.format(column=path))
        elif _is_picture(spec):
            parts.append(PICTURES.format(column=path))
    return "\n".join(parts)


def _listed(paths: Iterable[str]) -> str:
    return ", ".join(f"`{path}`" for path in paths)


def _several(spec: ColumnSpec) -> bool:
    """Whether a value is an array or a list."""
    return bool(spec.shape) or KINDS[spec.kind].is_list(spec)


def _times(spec: ColumnSpec) -> int:
    return 8 // np.dtype(spec.dtype).itemsize


def _is_picture(spec: ColumnSpec) -> bool:
    return spec.dtype == "uint8" and len(spec.shape) == 3 and spec.shape[-1] == 3
