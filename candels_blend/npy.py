"""Write and read many .npy files of one dtype and shape quickly, and stacks of them."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from skyshards.errors import BuildError
from skyshards.files import replacing


def _header(dtype: np.dtype, shape: tuple[int, ...]) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": dtype.str, "fortran_order": False, "shape": shape})
    return buffer.getvalue()


@dataclass(frozen=True)
class Form:
    """Common dtype and shape of many files, so that their header is made only once."""

    dtype: np.dtype
    shape: tuple[int, ...]

    @cached_property
    def header(self) -> bytes:
        return _header(self.dtype, self.shape)

    def save(self, path: Path, array: np.ndarray) -> None:
        """Write a file as `numpy.save` does."""
        with open(path, "wb") as file:
            file.write(self.header)
            file.write(np.ascontiguousarray(array, self.dtype).data)

    def load(self, path: Path) -> np.ndarray:
        """Read a file. Raises `BuildError`, naming it, if it is missing, truncated or of another form."""
        try:
            content = path.read_bytes()
            if content.startswith(self.header):
                return np.frombuffer(content, self.dtype, offset=len(self.header)).reshape(self.shape)
            array = np.ascontiguousarray(np.lib.format.read_array(io.BytesIO(content), allow_pickle=False))
        except FileNotFoundError:
            raise BuildError(f"{path}: not found; were the single files deleted? Produce the sample again") from None
        except (ValueError, EOFError) as error:
            raise BuildError(f"{path}: not a whole .npy file ({error}); produce the sample again") from error
        if array.dtype != self.dtype or array.shape != self.shape:
            raise BuildError(f"{path}: expected {self.dtype} {self.shape}, found {array.dtype} {array.shape}")
        return array


def save_stack(path: Path, length: int, form: Form, rows: Iterable[np.ndarray]) -> None:
    """Write an array of `length` rows of a form, row by row; `path` appears once it is safely on disk."""
    with replacing(path) as temporary, open(temporary, "wb") as file:
        file.write(_header(form.dtype, (length, *form.shape)))
        for row in rows:
            file.write(row.data)
        file.flush()
        os.fsync(file.fileno())


def is_whole_stack(path: Path, length: int, form: Form) -> bool:
    """Whether a file has the header that `save_stack` writes for `length` rows, and all its bytes."""
    header = _header(form.dtype, (length, *form.shape))
    size = len(header) + length * math.prod(form.shape) * form.dtype.itemsize
    if not path.exists() or path.stat().st_size != size:
        return False
    with open(path, "rb") as file:
        return file.read(len(header)) == header
