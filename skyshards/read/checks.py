"""Check stored values against their size and crc32."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from deflate import crc32


def check(content: bytes | np.ndarray, found: int, size: int, expected: int) -> None:
    """Check that `found` of `size` bytes were read, and their crc32 (-1 if unknown). Raises `ValueError`."""
    if found != size:
        raise ValueError(f"the file ends after {found} of its {size} bytes")
    if expected >= 0 and crc32(content) != expected:
        raise ValueError("its bytes do not match their crc32")


def are_whole(contents: Sequence[bytes], sizes: np.ndarray, expected: np.ndarray) -> bool:
    """Whether all of several small values have these sizes and crc32s."""
    return list(map(len, contents)) == sizes.tolist() and list(map(crc32, contents)) == expected.tolist()
