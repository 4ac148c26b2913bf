"""Render batches of blends with PyTorch, on a GPU or any other device, by the formulas of `candels_blend.render`."""

from __future__ import annotations

import functools
import importlib.util
import operator
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


def philox(counter: tuple[torch.Tensor, ...], key: tuple[int, int]) -> tuple[torch.Tensor, ...]:
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


def deviates(seed: int, numbers: torch.Tensor, field: int) -> torch.Tensor:
    """Normal deviates (float32 [n, 128, 128]), determined by seed, blend numbers (int64 [n]) and field."""
    number, block = numbers[:, None], torch.arange(PIXELS // 4, device=numbers.device)[None, :]
    words = philox((block, torch.full_like(block, field), number & WORD, number >> 32), (seed, 0))
    uniform = [(word.to(torch.float32) + 0.5) * 2.0**-32 for word in words]
    normal = []
    for radial, angular in (uniform[:2], uniform[2:]):  # Box & Muller (1958)
        radius, angle = torch.sqrt(-2.0 * torch.log(radial)), (2.0 * torch.pi) * angular
        normal += [radius * torch.cos(angle), radius * torch.sin(angle)]
    return torch.stack(normal, dim=1).reshape(-1, SIZE, SIZE)


def render(
    images: torch.Tensor,
    flags: torch.Tensor,
    variance: torch.Tensor,
    galaxies: torch.Tensor,
    shifts: torch.Tensor,
    numbers: torch.Tensor,
    offset: torch.Tensor | None,
    seed: int,
    names: tuple[str, ...],
) -> dict[str, torch.Tensor]:
    """Render the pixel columns of a batch.

    Parameters
    ----------
    images, flags, variance : float32 and uint8 tensors [stamps * 128 * 128], float32 tensor [stamps]
        The stamps.
    galaxies : int64 tensor [n_galaxies, n]
        Rows of the galaxies in the stamps.
    shifts : int64 tensor [2 (n_galaxies - 1), n]
        Shifts of all but the first, along y and x.
    numbers : int64 tensor [n]
        Numbers of the blends.
    offset : float32 tensor [n, 1, 1] or None
        Rounding offset of pixels; see `candels_blend.render.grid_offset`. None: stamps are added as they are.
    names : tuple of str
        Columns to render.
    """
    axis = torch.arange(SIZE, device=images.device)
    pixel = axis[:, None] * SIZE + axis[None, :]
    first = galaxies[0][:, None, None] * PIXELS + pixel
    stamps, found, inside = [images[first]], [flags[first]], [torch.ones_like(pixel, dtype=torch.bool)]
    for place in range(1, len(galaxies)):
        dy, dx = (shift[:, None, None] for shift in shifts[2 * place - 2 : 2 * place])
        y, x = axis[None, :, None] - dy, axis[None, None, :] - dx
        within = (y >= 0) & (y < SIZE) & (x >= 0) & (x < SIZE)
        where = galaxies[place][:, None, None] * PIXELS + torch.where(within, y * SIZE + x, 0)
        stamps.append(torch.where(within, images[where], 0.0))
        found.append(torch.where(within, flags[where], 0))
        inside.append(within)
    out = {}
    if "image" in names or "galaxies" in names:
        if offset is None:
            out = {"image": functools.reduce(operator.add, stamps)}
            if "galaxies" in names:
                out["galaxies"] = torch.stack(stamps, dim=1)
        else:
            variances = [
                variance[row][:, None, None] * torch.where(flag & REPLACED > 0, 2.0, 1.0) * within
                for row, flag, within in zip(galaxies, found, inside, strict=True)
            ]
            out = _with_noise(stamps, variances, inside[1], numbers, offset, seed, "galaxies" in names)
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
    seed: int,
    split: bool,
) -> dict[str, torch.Tensor]:
    """Add noise to the sum of the stamps and, with `split`, to each; `inside` is where the second galaxy's stamp is."""
    totals = list(accumulate(variances))
    noise = torch.sqrt(totals[-1]) * deviates(seed, numbers, 0)
    image = (functools.reduce(operator.add, stamps, noise) + offset) - offset
    if not split:
        return {"image": image}
    rest = image
    parts: list[torch.Tensor] = []
    for place in range(len(stamps) - 1, 1, -1):
        share = variances[place] / torch.clamp(totals[place], min=float(TINY))
        own = torch.sqrt(variances[place] * (1.0 - share)) * deviates(seed, numbers, place)
        own = share * noise + own
        part = (own + stamps[place] + offset) - offset
        noise, rest = noise - own, rest - part
        parts.insert(0, part)
    share = variances[0] / torch.clamp(totals[1], min=float(TINY))
    own = torch.sqrt(variances[0] * (1.0 - share)) * deviates(seed, numbers, 1)
    first = (share * noise + own + stamps[0] + offset) - offset
    first = torch.where(inside, first, rest)  # the second is 0 outside, however sums are fused
    return {"image": image, "galaxies": torch.stack([first, rest - first, *parts], dim=1)}


class DeviceRenderer:
    """Renderer of batches on a device, in place of `candels_blend.render.Renderer`.

    The stamps are kept there (80 kB per galaxy). On a GPU, rendering is compiled if Triton is installed, which reduces
    a hundred passes over memory to a few.

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
        self._seed = seed
        self._bound = stamps.bound
        self._masked = stamps.masked
        flags = stamps.central * np.uint8(CENTRAL) + stamps.replaced * np.uint8(REPLACED)
        self._stamps = [
            torch.from_numpy(array).to(device).reshape(-1) for array in (stamps.images, flags, stamps.variance)
        ]
        compiled = device.type == "cuda" and importlib.util.find_spec("triton") is not None
        self._render: Callable[..., dict[str, torch.Tensor]] = torch.compile(render) if compiled else render

    def batch(self, numbers: np.ndarray, drawn: np.ndarray, names: Collection[str]) -> dict[str, torch.Tensor]:
        """Render the named pixel columns of drawn blends with these numbers; tensors [blends, ...]."""
        if not names:
            return {}
        arrays = [galaxies_of(drawn).T, shifts_of(drawn).T, numbers]
        counted = [self._moved(array.astype(np.int64)) for array in arrays]
        offset = None
        if self._masked:
            bound = self._bound[galaxies_of(drawn)].sum(axis=1)
            offset = self._moved(grid_offset(bound).astype(np.float32))[:, None, None]
        return self._render(*self._stamps, *counted, offset, self._seed, tuple(names))

    def _moved(self, array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(array).to(self._device, non_blocking=True)
