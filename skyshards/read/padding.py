"""Make dense arrays of lists of different lengths."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import numpy as np

from skyshards.errors import UsageError
from skyshards.format.kinds.base import Allocate
from skyshards.format.kinds.ragged import Ragged
from skyshards.read.memory import Recycler
from skyshards.read.shared_memory import recycler

_memory = Recycler()


class Padding(NamedTuple):
    """The length of dense arrays (None: that of the longest list of a batch), and the value after the end of a list."""

    length: int | None
    fill: float

    @classmethod
    def checked(cls, length: int | None, fill: float) -> Self:
        """Raise `UsageError` if the length is negative."""
        if length is not None and length < 0:
            raise UsageError(f"length: expected 0 or more, found {length}")
        return cls(length, fill)

    def width(self, lengths: np.ndarray) -> int:
        return int(lengths.max(initial=0)) if self.length is None else self.length


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
    padded = _padded(batch, Padding.checked(length, fill))
    if padded is batch:
        raise UsageError(f"expected a column of lists, or a batch with one, found {type(batch).__name__}")
    return padded


def allocate(lengths: np.ndarray, dtype: str, padding: Padding, empty: Allocate) -> tuple[Padded, list[np.ndarray]]:
    """Return a dense batch to be filled, and the place of each list in it; a list that is too long has its own.

    `cut` puts such lists into the batch.
    """
    values = empty((len(lengths), padding.width(lengths)), dtype)
    _fill(values, lengths, padding.fill)
    fits = lengths <= values.shape[1]
    places = zip(values, lengths.tolist(), fits.tolist(), strict=True)
    return Padded(values, _mask(lengths, values.shape[1], empty)), [
        row[:length] if fit else np.empty(length, dtype) for row, length, fit in places
    ]


def cut(batch: Padded, places: list[np.ndarray]) -> Padded:
    """Put the start of lists that were too long for a batch into it."""
    width = batch.values.shape[1]
    for row, place in zip(batch.values, places, strict=True):
        if len(place) > width:
            row[:] = place[:width]
    return batch


def _padded(batch: Any, padding: Padding) -> Any:
    """Pad the lists in a batch; return the batch itself if there are none."""
    if isinstance(batch, Ragged):
        return _dense(batch, padding)
    if isinstance(batch, Mapping):
        padded = {name: _padded(value, padding) for name, value in batch.items()}
        return padded if any(padded[name] is not value for name, value in batch.items()) else batch
    return batch


def _dense(batch: Ragged, padding: Padding) -> Padded:
    lengths = np.asarray(batch.lengths)
    shape = (len(lengths), padding.width(lengths))
    mask: Any = _mask(lengths, shape[1], recycler(_memory).empty)
    if isinstance(batch.values, np.ndarray):
        values = recycler(_memory).empty(shape, batch.values.dtype)
    else:
        values, mask = batch.values.new_empty(shape), _torch_mask(mask, batch.values.device)
    _fill(values, lengths, padding.fill)
    start = 0
    for size, row in zip(lengths.tolist(), values, strict=True):
        kept = min(size, shape[1])
        row[:kept] = batch.values[start : start + kept]
        start += size
    return Padded(values, mask)


def _fill(values: Any, lengths: np.ndarray, fill: float) -> None:
    """Fill what lies beyond the shortest list, before lists are put there; they are mostly of nearly one length."""
    values[:, int(lengths.min(initial=values.shape[1])) :] = fill


def _mask(lengths: np.ndarray, width: int, empty: Allocate) -> np.ndarray:
    mask = empty((len(lengths), width), "bool")
    shortest = min(int(lengths.min(initial=width)), width)
    mask[:, :shortest] = True
    np.less(np.arange(shortest, width), lengths[:, None], out=mask[:, shortest:])
    return mask


def _torch_mask(mask: np.ndarray, device: Any) -> Any:
    import torch  # its tensors are in the batch already

    return torch.from_numpy(mask).to(device)
