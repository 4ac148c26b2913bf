"""Render batches of blends with PyTorch, on a GPU or any other device, by the formulas of `candels_blend.render`."""

from __future__ import annotations

import functools
import importlib.util
import operator
import os
from collections.abc import Callable, Collection
from itertools import accumulate
from typing import Any

import numpy as np
import torch

from candels_blend.drawn import galaxies as galaxies_of
from candels_blend.drawn import shifts as shifts_of
from candels_blend.render import TINY, grid_offset
from candels_blend.stamp_archive import SIZE
from candels_blend.stamps import Stamps
from skyshards.errors import UsageError

PIXELS = SIZE * SIZE
CENTRAL, REPLACED = 1, 2
"""Bits of a pixel's flags; see `candels_blend.stamps.Stamps`."""
WORD = 0xFFFFFFFF
VARIANTS = 64
"""How often rendering may be compiled: once per set of columns, number of galaxies, and dtype."""


def philox(counter: tuple[torch.Tensor, ...], key: tuple[torch.Tensor | int, int]) -> tuple[torch.Tensor, ...]:
    """Draw four random 32-bit words per counter (four words) and key (two): Philox4x32-10 (Salmon et al. 2011, SC11).

    Words are int64 tensors of values below 2**32, of any shapes that broadcast.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        first, second = c0 * 0xD2511F53, c2 * 0xCD9E8D57  # modulo 2**64, which keeps all the bits used
        c0, c1, c2, c3 = (
            ((second >> 32) & WORD) ^ c1 ^ k0,
            second & WORD,
            ((first >> 32) & WORD) ^ c3 ^ k1,
            first & WORD,
        )
        k0, k1 = (k0 + 0x9E3779B9) & WORD, (k1 + 0xBB67AE85) & WORD
    return c0, c1, c2, c3


def start_of_noise(seed: int, device: torch.device | str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the seed (int64 []) and the numbers of the blocks of four pixels (int64 [4096]) on a device.

    Compiled code takes both as tensors: TorchInductor computes with 32 bits what it knows to be an index or a size.
    """
    return torch.tensor(seed, device=device), torch.arange(PIXELS // 4, device=device)


def deviates(start: tuple[torch.Tensor, torch.Tensor], numbers: torch.Tensor, field: int) -> torch.Tensor:
    """Normal deviates (float32 [n, 128, 128]), determined by seed, blend numbers (int64 [n]) and field.

    `start` is that of `start_of_noise`.
    """
    seed, blocks = start
    number, block = numbers[:, None], blocks[None, :]
    words = philox((block, torch.full_like(block, field), number & WORD, number >> 32), (seed, 0))
    uniform = [(word.to(torch.float32) + 0.5) * 2.0**-32 for word in words]
    normal = []
    for radial, angular in (uniform[:2], uniform[2:]):  # Box & Muller (1958)
        radius, angle = torch.sqrt(-2.0 * torch.log(radial)), (2.0 * torch.pi) * angular
        normal += [radius * torch.cos(angle), radius * torch.sin(angle)]
    return torch.stack(normal, dim=1).reshape(-1, SIZE, SIZE)


def render(
    stamps: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    galaxies: torch.Tensor,
    shifts: torch.Tensor,
    numbers: torch.Tensor,
    offset: torch.Tensor | None,
    start: tuple[torch.Tensor, torch.Tensor],
    names: tuple[str, ...],
) -> dict[str, torch.Tensor]:
    """Render the pixel columns of a batch.

    Parameters
    ----------
    stamps : tuple of tensors
        Images (float32 [stamps * 128 * 128]), flags (uint8, as long) and variances (float32 [stamps]).
    galaxies : int64 tensor [n, n_galaxies]
        Rows of the galaxies in the stamps.
    shifts : int64 tensor [n, 2 (n_galaxies - 1)]
        Shifts of all but the first, along y and x.
    numbers : int64 tensor [n]
        Numbers of the blends.
    offset : float32 tensor [n] or None
        Rounding offset of pixels; see `candels_blend.render.grid_offset`. None: stamps are added as they are.
    start : tuple of tensors
        See `start_of_noise`.
    names : tuple of str
        Columns to render.
    """
    images, flags, variance = stamps
    axis = torch.arange(SIZE, device=images.device)
    pixel = axis[:, None] * SIZE + axis[None, :]
    rows = galaxies.T[:, :, None, None]
    first = rows[0] * PIXELS + pixel
    parts, found, inside = [images[first]], [flags[first]], [torch.ones_like(pixel, dtype=torch.bool)]
    for place in range(1, len(rows)):
        dy, dx = shifts.T[2 * place - 2 : 2 * place, :, None, None]
        y, x = axis[None, :, None] - dy, axis[None, None, :] - dx
        within = (y >= 0) & (y < SIZE) & (x >= 0) & (x < SIZE)
        where = rows[place] * PIXELS + torch.where(within, y * SIZE + x, 0)
        parts.append(torch.where(within, images[where], 0.0))
        found.append(torch.where(within, flags[where], 0))
        inside.append(within)
    out = {}
    if "image" in names or "galaxies" in names:
        if offset is None:
            out = {"image": functools.reduce(operator.add, parts)}
            if "galaxies" in names:
                out["galaxies"] = torch.stack(parts, dim=1)
        else:
            variances = [
                variance[row] * torch.where(flag & REPLACED > 0, 2.0, 1.0) * within
                for row, flag, within in zip(rows, found, inside, strict=True)
            ]
            out = _with_noise(parts, variances, inside[1], numbers, offset[:, None, None], start, "galaxies" in names)
    masks = [flag & CENTRAL for flag in found]
    if "masks" in names:
        out["masks"] = torch.stack(masks, dim=1)
    if "ogg_masks" in names or "bogg_masks" in names:
        union, overlap = masks[0] | masks[1], masks[0] & masks[1]
        for mask in masks[2:]:
            overlap, union = overlap | (union & mask), union | mask
        if "ogg_masks" in names:
            out["ogg_masks"] = torch.stack([overlap, *masks], dim=-1)
        if "bogg_masks" in names:
            out["bogg_masks"] = torch.stack([1 - union, overlap, *(mask & (1 - overlap) for mask in masks)], dim=-1)
    return {name: out[name] for name in names}


def _with_noise(
    stamps: list[torch.Tensor],
    variances: list[torch.Tensor],
    inside: torch.Tensor,
    numbers: torch.Tensor,
    offset: torch.Tensor,
    start: tuple[torch.Tensor, torch.Tensor],
    split: bool,
) -> dict[str, torch.Tensor]:
    """Add noise to the sum of the stamps and, with `split`, to each; `inside` is where the second galaxy's stamp is."""
    totals = list(accumulate(variances))
    noise = torch.sqrt(totals[-1]) * deviates(start, numbers, 0)
    image = (functools.reduce(operator.add, stamps, noise) + offset) - offset
    if not split:
        return {"image": image}
    rest = image
    parts: list[torch.Tensor] = []
    for place in range(len(stamps) - 1, 1, -1):
        share = variances[place] / torch.clamp(totals[place], min=float(TINY))
        own = torch.sqrt(variances[place] * (1.0 - share)) * deviates(start, numbers, place)
        own = share * noise + own
        part = (own + stamps[place] + offset) - offset
        noise, rest = noise - own, rest - part
        parts.insert(0, part)
    share = variances[0] / torch.clamp(totals[1], min=float(TINY))
    own = torch.sqrt(variances[0] * (1.0 - share)) * deviates(start, numbers, 1)
    first = (share * noise + own + stamps[0] + offset) - offset
    first = torch.where(inside, first, rest)  # the second is 0 outside, however sums are fused
    return {"image": image, "galaxies": torch.stack([first, rest - first, *parts], dim=1)}


class DeviceRenderer:
    """Renderer of batches on a device, in place of `candels_blend.render.Renderer`.

    The stamps are kept there (80 kB per galaxy). On a GPU, rendering is compiled if Triton is installed, which reduces
    a hundred passes over memory to a few; the first batch of a set of columns then takes some seconds.

    Raises
    ------
    UsageError
        `device` is not a device or the name of one, or is unavailable.
    """

    def __init__(self, stamps: Stamps, seed: int, device: Any):
        try:
            device = torch.device(device)
            torch.empty(1, device=device)
        except TypeError as error:
            raise UsageError(
                f"device: expected a torch.device or the name of one, such as 'cuda', found {device!r}; "
                "leave out `device` to render with NumPy"
            ) from error
        except (RuntimeError, AssertionError, ValueError) as error:
            raise UsageError(
                f"PyTorch {torch.__version__} has no device {str(device)!r} here ({str(error).splitlines()[0]}); "
                "leave out `device` to render with NumPy"
            ) from error
        self._device = device
        self._process = os.getpid()
        self._start = start_of_noise(seed, device)
        self._bound = stamps.bound
        self._masked = stamps.masked
        flags = stamps.central * np.uint8(CENTRAL) + stamps.replaced * np.uint8(REPLACED)
        images, variance = self._moved(stamps.images).reshape(-1), self._moved(stamps.variance)
        self._stamps = images, self._moved(flags).reshape(-1), variance
        self._compiled: Callable[..., dict[str, torch.Tensor]] | None = None
        if device.type == "cuda" and importlib.util.find_spec("triton") is not None:
            self._compiled = compiled()

    def batch(self, numbers: np.ndarray, drawn: np.ndarray, names: Collection[str]) -> dict[str, torch.Tensor]:
        """Render the named pixel columns of drawn blends with these numbers; tensors [blends, ...].

        Raises
        ------
        UsageError
            In a process forked from the one that made the renderer, if the device is a GPU.
        """
        if self._device.type == "cuda" and os.getpid() != self._process:
            raise UsageError(
                "device: a forked process cannot use its parent's GPU; leave out num_workers of DataLoader (the GPU "
                "renders, so workers gain nothing), or leave out `device` to render with NumPy in the workers"
            )
        if not names:
            return {}
        rows = len(numbers)
        render_batch: Callable[..., dict[str, torch.Tensor]] = self._compiled if self._compiled and rows else render
        if rows == 1:  # PyTorch would compile for this size alone
            numbers, drawn = np.repeat(numbers, 2), np.repeat(drawn, 2)
        galaxies, shifts, counters = (
            self._moved(array, np.int64) for array in (galaxies_of(drawn), shifts_of(drawn), numbers)
        )
        offset = None
        if self._masked:
            offset = self._moved(grid_offset(self._bound[galaxies_of(drawn)].sum(axis=1)), np.float32)
        rendered = render_batch(self._stamps, galaxies, shifts, counters, offset, self._start, tuple(names))
        return {name: values[:rows] for name, values in rendered.items()}

    def _moved(self, array: np.ndarray, dtype: type | None = None) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array, dtype)).to(self._device, non_blocking=True)


def compiled(backend: str | Callable = "inductor") -> Callable[..., dict[str, torch.Tensor]]:
    """Compile `render` for batches of any size but one, once for each set of columns and number of galaxies."""
    graph: Callable[..., dict[str, torch.Tensor]] = torch.compile(render, backend=backend, fullgraph=True)

    def rendered(
        stamps: Any, galaxies: Any, shifts: Any, numbers: Any, offset: Any, *others: Any
    ) -> dict[str, torch.Tensor]:
        for tensor in (galaxies, shifts, numbers, offset):
            if tensor is not None:
                torch._dynamo.maybe_mark_dynamic(tensor, 0)
        with torch._dynamo.config.patch(cache_size_limit=VARIANTS):
            return graph(stamps, galaxies, shifts, numbers, offset, *others)

    return rendered
