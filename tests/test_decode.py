"""Stored values to arrays: exactly, and bad bytes are refused."""

import zlib

import numpy as np
import pytest

from skyshards.format.columns import ColumnSpec
from skyshards.format.kinds import KINDS

SPEC = ColumnSpec("mask", "number", "uint8", (9, 7), "", "")


@pytest.mark.parametrize("deflated", [True, False])
def test_numbers_fill_the_array_exactly(deflated):
    values = np.arange(63, dtype=np.uint8).reshape(9, 7)
    spec = ColumnSpec("mask", "number", "uint8", (9, 7), "", "", deflated)
    out = np.zeros_like(values)
    content = zlib.compress(values) if deflated else values.tobytes()
    assert KINDS["number"].decode(content, spec, out) is out
    assert (out == values).all()
    for wrong in (values[:8], np.arange(70, dtype=np.uint8)):
        with pytest.raises(ValueError):
            KINDS["number"].decode(zlib.compress(wrong) if deflated else wrong.tobytes(), spec, out)
