"""Numbers, bools and labels: scalars, lists of a fixed length and arrays."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import deflate
import numpy as np
import pyarrow as pa
from zlib_ng import zlib_ng

from skyshards.errors import SourceError
from skyshards.format.kinds.base import LARGE_BYTES, Allocate, Declared, Demand, Json, Kind, element, in_list
from skyshards.text import counted

if TYPE_CHECKING:
    from skyshards.format.columns import ColumnSpec

DEFLATE_LEVEL = 6
SPARSE = 128
"""Values that deflate shrank more than this many times are inflated by zlib-ng, which takes a third of the time of
libdeflate for long runs of equal bytes; libdeflate is faster at all others."""
MAX_VALUE_BYTES = 512 << 20
"""Maximum size of one value in memory."""
_CROISSANT = {"b": "sc:Boolean", "i": "sc:Integer", "u": "sc:Integer", "f": "sc:Float"}


class Number(Kind):
    name = "number"
    features = "Value of a number or bool, ClassLabel, lists of these with a length, Array2D to Array4D"

    def declared(self, feature: Any) -> Declared | None:
        import datasets  # slow, and not needed for reading

        if isinstance(feature, (datasets.Array2D, datasets.Array3D, datasets.Array4D)):
            item, shape = datasets.Value(feature.dtype), tuple(feature.shape)
        else:
            item, shape = element(feature)
        if isinstance(item, datasets.ClassLabel):
            return Declared(self.name, "int64", shape, tuple(item.names))
        is_number = isinstance(item, datasets.Value) and is_dtype(item.dtype) and None not in shape
        return Declared(self.name, item.dtype, shape) if is_number else None

    def feature(self, spec: ColumnSpec) -> Any:
        import datasets

        if len(spec.shape) > 1:
            return getattr(datasets, f"Array{len(spec.shape)}D")(spec.shape, spec.dtype)
        item = datasets.Value(spec.dtype)
        if spec.classes is not None and spec.dtype == "int64":
            item = datasets.ClassLabel(names=list(spec.classes))
        return in_list(item, spec.shape)

    def demands(self, spec: ColumnSpec) -> Iterator[Demand]:
        yield is_dtype(spec.dtype), f"a dtype of {spec.path!r}", spec.dtype
        yield spec.nbytes <= MAX_VALUE_BYTES, f"at most {MAX_VALUE_BYTES} bytes a row of {spec.path!r}", spec.shape

    def nbytes(self, spec: ColumnSpec) -> int:
        return math.prod(spec.shape) * np.dtype(spec.dtype).itemsize

    def is_image(self, spec: ColumnSpec) -> bool:
        if not spec.heavy or spec.classes or re.search("mask|segm|label", spec.path):
            return False
        is_colour = len(spec.shape) == 3 and spec.shape[2] in (3, 4) and spec.dtype != "bool"
        return 0 not in spec.shape and (is_colour or (len(spec.shape) == 2 and spec.dtype.startswith("float")))

    def absent(self, spec: ColumnSpec) -> Any:
        dtype = np.dtype(spec.dtype)
        return {"f": "nan", "i": -1}.get(dtype.kind, np.iinfo(dtype).max if dtype.kind == "u" else None)

    def is_large(self, spec: ColumnSpec) -> bool:
        return spec.nbytes > LARGE_BYTES or len(spec.shape) > 1

    def words(self, spec: ColumnSpec) -> str:
        return spec.dtype

    def croissant_type(self, spec: ColumnSpec) -> str:
        return _CROISSANT[np.dtype(spec.dtype).kind]

    def encode(self, value: Any, spec: ColumnSpec) -> Json | bytes:
        number = self.checked(value, spec)
        if not spec.heavy:
            return number.tolist()
        return _stored(number, spec)

    def encode_image(self, value: Any, spec: ColumnSpec) -> tuple[bytes, np.ndarray]:
        number = self.checked(value, spec)
        return _stored(number, spec), number

    def checked(self, value: Any, spec: ColumnSpec) -> np.ndarray:
        """Cast a value to the dtype of a column; raises `SourceError` unless value, shape and labels fit.

        Names of classes become labels.
        """
        if spec.classes is not None:
            value = _labels(value, spec)
        elif hasattr(value, "to_value"):  # an astropy Quantity, Angle or masked Quantity
            value = _in_unit(value, spec)
        value, absent = _without_gaps(value, spec)
        number = cast(value, spec)
        if absent is not None:
            number[absent] = spec.missing
        if spec.classes is not None:
            wrong = (number < -1) | (number >= len(spec.classes))  # -1 is datasets' missing label
            if wrong.any():
                expected = f"a label from 0 to {len(spec.classes) - 1} (-1: none)"
                raise SourceError(f"column {spec.path!r}: expected {expected}, found {number[wrong].flat[0]}")
        return number

    def missing(self, value: Any, spec: ColumnSpec) -> Json:
        dtype, expected = np.dtype(spec.dtype), f"a value of {spec.dtype}"
        if dtype.kind == "b":
            raise TypeError("a bool has no value to spare; declare it as int8, with missing=-1")
        if spec.classes is not None and value != -1:
            raise ValueError("expected -1, the label of none")
        if dtype.kind == "f" and (value == "nan" or (isinstance(value, (float, np.floating)) and np.isnan(value))):
            return "nan"
        is_number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
        if not is_number or not np.isfinite(value) or not np.isfinite(dtype.type(value)) or dtype.type(value) != value:
            raise ValueError(f"expected {expected}")
        return dtype.type(value).item()

    def fill(self, spec: ColumnSpec) -> Json:
        return np.full(spec.shape, spec.missing, spec.dtype).tolist()

    def to_arrow(self, values: np.ndarray, feature: Any) -> pa.Array:
        storage = pa.array(values.reshape(-1))
        if hasattr(feature, "feature"):
            return pa.FixedSizeListArray.from_arrays(storage, feature.length)
        if not hasattr(feature, "shape"):
            return storage
        for level in range(len(feature.shape) - 1, -1, -1):
            storage = pa.ListArray.from_arrays(_offsets(len(values), tuple(feature.shape), level), storage)
        return pa.ExtensionArray.from_storage(feature(), storage)

    def arrow_type(self, spec: ColumnSpec) -> pa.DataType:
        item = pa.from_numpy_dtype(np.dtype(spec.dtype))
        return pa.list_(item, spec.shape[0]) if spec.shape else item

    def to_hdf5(self, values: Sequence[Any], spec: ColumnSpec) -> np.ndarray:
        return np.array(values, dtype=spec.dtype)

    def expected_in_hdf5(self, dtype: np.dtype, spec: ColumnSpec) -> str | None:
        return None if dtype == np.dtype(spec.dtype) else spec.dtype

    def is_raw(self, spec: ColumnSpec) -> bool:
        return not spec.deflate

    def allocate(self, spec: ColumnSpec, sizes: np.ndarray, empty: Allocate) -> tuple[np.ndarray, np.ndarray]:
        batch = empty((len(sizes), *spec.shape), spec.dtype)
        return batch, batch

    def decode(self, content: bytes, spec: ColumnSpec, out: np.ndarray | None = None) -> np.ndarray:
        out = np.empty(spec.shape, spec.dtype) if out is None else out
        values = inflated(content, out.nbytes) if spec.deflate else content
        if len(values) != out.nbytes:
            raise ValueError(f"{counted(len(values), 'bytes')}, expected {out.nbytes}")
        out[...] = np.frombuffer(values, out.dtype).reshape(out.shape)
        return out


def inflated(content: bytes, nbytes: int) -> bytes | bytearray:
    """Inflate a value; raises `ValueError` if it is damaged, or has more than `nbytes` + 1 bytes."""
    try:
        if len(content) * SPARSE > nbytes:
            return deflate.zlib_decompress(content, nbytes)
        stream = zlib_ng.decompressobj()
        values = stream.decompress(content, nbytes + 1)  # one more, or it would not come to the end of the stream
        if not stream.eof:
            raise EOFError("longer, or cut short")
        return values
    except (deflate.DeflateError, zlib_ng.error, EOFError) as error:  # type: ignore[misc]  # as zlib-ng types its error
        raise ValueError(f"its {len(content)} bytes do not inflate to {nbytes} ({error})") from error


def _stored(number: np.ndarray, spec: ColumnSpec) -> bytes:
    return bytes(deflate.zlib_compress(number, DEFLATE_LEVEL)) if spec.deflate else number.tobytes()


def is_dtype(dtype: str) -> bool:
    """Whether this is NumPy's canonical name of a numeric or bool dtype."""
    try:
        return np.dtype(dtype).kind in "biuf" and np.dtype(dtype).name == dtype
    except TypeError:
        return False


def cast(value: Any, spec: ColumnSpec) -> np.ndarray:
    """Cast a value to the dtype of a column; raises `SourceError` unless value and shape fit."""
    if np.ma.is_masked(value):  # NumPy would use the value under the mask
        raise SourceError(f"column {spec.path!r}: expected {spec.dtype}, found masked (missing) values")
    try:
        found = np.asarray(value)
    except ValueError as error:
        raise SourceError(f"column {spec.path!r}: expected shape {spec.shape}, found an uneven list") from error
    dtype = np.dtype(spec.dtype)
    if found.dtype.kind not in "biuf" and found.size:
        expected = f"{spec.dtype} of shape {spec.shape}" if spec.shape else spec.dtype
        raise SourceError(f"column {spec.path!r}: expected {expected}, found {_what(value)}{_advice(value, spec)}")
    if found.shape != spec.shape:
        raise SourceError(f"column {spec.path!r}: expected shape {spec.shape}, found {found.shape}")
    if found.dtype == dtype:
        return np.ascontiguousarray(found).reshape(found.shape)
    with np.errstate(invalid="ignore", over="ignore"):
        number = np.ascontiguousarray(found.astype(dtype)).reshape(found.shape)
    wrong = np.isfinite(number) != np.isfinite(found) if dtype.kind == "f" else number != found
    if wrong.any():
        worst = found[wrong].flat[0]
        raise SourceError(f"column {spec.path!r}: expected values that fit {spec.dtype}, found {worst}")
    return number


def _without_gaps(value: Any, spec: ColumnSpec) -> tuple[Any, np.ndarray | None]:
    """Replace masked values by zeros, as well as None in lists, and NaN in columns of integers; return them as a mask.

    Nothing is replaced in a column without a value for missing ones.
    """
    if spec.missing is None:
        return value, None
    if isinstance(value, (list, tuple)) and any(item is None for item in value):
        absent, values = np.array([item is None for item in value]), np.array([item or 0 for item in value])
    elif isinstance(value, np.ma.MaskedArray) or hasattr(value, "unmasked"):  # astropy's masked arrays
        values = np.ma.getdata(getattr(value, "unmasked", value))
        absent = np.broadcast_to(value.mask, values.shape)
    else:
        values, absent = np.asarray(value), np.zeros(np.shape(value), bool)
    if values.dtype.kind == "f" and np.dtype(spec.dtype).kind != "f":
        absent = absent | np.isnan(values)
    return (np.where(absent, np.zeros_like(values), values), absent) if absent.any() else (value, None)


def _what(value: Any) -> str:
    """Describe a value that is no number, or its first that is none."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return counted(len(value), "bytes")
    if isinstance(value, (list, tuple, np.ndarray)):
        items = np.asarray(value)
        other = next((item for item in items.flat if not isinstance(item, (bool, int, float))), items.flat[0])
        return f"{type(value).__name__} of {items.dtype} with {other!r:.40}"
    return f"{type(value).__name__} {value!r:.40}"


def _advice(value: Any, spec: ColumnSpec) -> str:
    """Say how to give a value, or to declare its column."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return f"; use np.frombuffer(…, '{spec.dtype}'), or declare Image() for the bytes of a picture"
    return '; declare Value("string") for text' if isinstance(value, str) else ""


def _in_unit(quantity: Any, spec: ColumnSpec) -> Any:
    """Convert a Quantity to the unit of a column."""
    from astropy import units  # slow, and a Quantity comes with it

    try:
        return quantity.to_value(units.Unit(spec.unit))
    except units.UnitConversionError as error:
        expected = f"a quantity in {spec.unit}" if spec.unit else "a number without a unit"
        raise SourceError(f"column {spec.path!r}: expected {expected}, found one in {quantity.unit}") from error


def _labels(value: Any, spec: ColumnSpec) -> Any:
    """Replace names of classes by their labels; anything else is returned unchanged."""
    names = np.asarray(value)
    if names.dtype.kind != "U":
        return value
    labels = {name: label for label, name in enumerate(spec.classes or ())}
    for name in names.flat:
        if name not in labels:
            expected = f"a class ({', '.join(labels)})"
            raise SourceError(f"column {spec.path!r}: expected {expected}, found {str(name)!r:.40}")
    return np.array([labels[name] for name in names.flat], np.int64).reshape(names.shape)


@functools.lru_cache(64)
def _offsets(rows: int, shape: tuple[int, ...], level: int) -> pa.Array:
    """Return the offsets of the lists at one level of nesting."""
    lists = rows * math.prod(shape[:level])
    return pa.array(np.arange(0, (lists + 1) * shape[level], shape[level], dtype=np.int32))
