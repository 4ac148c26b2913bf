"""Stored values to arrays: exactly, and bad bytes are refused."""

import tracemalloc
import zlib

import numpy as np
import pytest

from skyshards.format.columns import ColumnSpec
from skyshards.format.kinds import KINDS, number

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


BLANK = ColumnSpec("mask", "number", "uint8", (4, 525, 525), "", "")


@pytest.fixture(params=[True, False], ids=["sparse", "dense"])
def blank(request, monkeypatch):
    """A mask that is nearly all zeros, deflated, as either library inflates it."""
    if not request.param:
        monkeypatch.setattr(number, "SPARSE", 1 << 30)
    values = np.zeros(BLANK.shape, np.uint8)
    values[1, 200:300, 250:260] = 7
    content = zlib.compress(values)
    assert len(content) * 128 < values.nbytes
    return values, content


def test_values_that_shrank_much_are_read_exactly(blank):
    values, content = blank
    out = np.ones_like(values)
    assert KINDS["number"].decode(content, BLANK, out) is out
    assert (out == values).all()


def test_damaged_values_that_shrank_much_are_refused(blank):
    values, content = blank
    wrong = [content[:-1], content[:-5], content[:40], b"", b"\0" + content[1:], content[:-1] + b"\0"]
    wrong += [zlib.compress(values[:3]), zlib.compress(bytes(values.nbytes + 1)), zlib.compress(bytes(1 << 26))]
    for each in wrong:
        with pytest.raises(ValueError, match="bytes do not inflate to|bytes, expected"):
            KINDS["number"].decode(each, BLANK, np.ones_like(values))


def test_a_bomb_takes_no_memory():
    spec = ColumnSpec("mask", "number", "uint8", (1 << 20,), "", "")
    bomb = zlib.compress(bytes(1 << 30), 9)[: (1 << 20) // 200]  # 5 MB would come of it
    tracemalloc.start()
    with pytest.raises(ValueError, match="longer, or cut short"):
        KINDS["number"].decode(bomb, spec, np.zeros(1 << 20, np.uint8))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20
