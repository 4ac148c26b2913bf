"""Read and write many .npy files of one dtype and shape."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import numpy as np

from candels_blend.stamp_archive import SIZE
from skyshards.errors import BuildError


def npy_header(dtype: np.dtype, shape: tuple[int, ...]) -> bytes:
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
        return npy_header(self.dtype, self.shape)

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


BLEND = Form(np.dtype(np.float32), (SIZE, SIZE))


@cache
def image_form(galaxies: int) -> Form:
    """Form of a blend's galaxies."""
    return Form(np.dtype(np.float32), (SIZE, SIZE, galaxies))


@cache
def masks_form(galaxies: int) -> Form:
    """Form of a blend's masks."""
    return Form(np.dtype(np.uint8), (galaxies, SIZE, SIZE))
