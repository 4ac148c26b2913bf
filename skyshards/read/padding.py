"""Make dense arrays of lists of different lengths."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from skyshards.errors import UsageError
from skyshards.format.kinds.ragged import Ragged
from skyshards.read.memory import Recycler

_memory = Recycler()


class Padded(NamedTuple):
    """A dense array of lists of different lengths, and which of its elements are values.

    Attributes
    ----------
    values : numpy.ndarray or torch.Tensor [rows, length]
        The values of each row, followed by the fill value.
    mask : numpy.ndarray or torch.Tensor, bool [rows, length]
        True for values, False for padding.
    """

    values: Any
    mask: Any


def pad(batch: Any, length: int | None = None, fill: float = 0) -> Any:
    """Pad the lists in a batch to one length.

    Parameters
    ----------
    batch : Ragged or mapping
        Such as `table[:8]["spectrum"]["flux"]`; of a mapping, all lists in it are padded, and its other values kept.
        PyTorch tensors stay tensors, on their device.
    length : int, optional
        Length of the dense arrays; longer lists are cut. By default, that of the longest list of each column.
    fill : number
        Value after the end of each list.

    Returns
    -------
    Padded or dict
        `values` [rows, length] of the dtype of the lists, and `mask`, True where they are values.

    Raises
    ------
    UsageError
        If `batch` holds no lists of different lengths, or `length` is negative.

    Examples
    --------
    >>> import numpy as np
    >>> from skyshards import Ragged, pad
    >>> values, mask = pad(Ragged(np.array([1.0, 2.0, 3.0]), np.array([1, 2])))
    >>> values
    array([[1., 0.],
           [2., 3.]])
    >>> mask
    array([[ True, False],
           [ True,  True]])
    """
    if length is not None and length < 0:
        raise UsageError(f"length: expected 0 or more, found {length}")
    padded = _padded(batch, length, fill)
    if padded is batch:
        raise UsageError(f"expected a column of lists, or a batch with one, found {type(batch).__name__}")
    return padded


def _padded(batch: Any, length: int | None, fill: float) -> Any:
    """Pad the lists in a batch; return the batch itself if there are none."""
    if isinstance(batch, Ragged):
        return _dense(batch, length, fill)
    if isinstance(batch, Mapping):
        padded = {name: _padded(value, length, fill) for name, value in batch.items()}
        return padded if any(padded[name] is not value for name, value in batch.items()) else batch
    return batch


def _dense(batch: Ragged, length: int | None, fill: float) -> Padded:
    lengths = batch.lengths.tolist()
    shape = (len(lengths), max(lengths, default=0) if length is None else length)
    if isinstance(batch.values, np.ndarray):
        values, mask = _memory.empty(shape, batch.values.dtype), _memory.empty(shape, "bool")
    else:
        values, mask = batch.values.new_empty(shape), batch.values.new_empty(shape, dtype=_torch_bool())
    start = 0
    for size, row, where in zip(lengths, values, mask, strict=True):
        kept = min(size, shape[1])
        row[:kept] = batch.values[start : start + kept]
        row[kept:] = fill
        where[:kept] = True
        where[kept:] = False
        start += size
    return Padded(values, mask)


def _torch_bool() -> Any:
    import torch  # its tensors are in the batch already

    return torch.bool
