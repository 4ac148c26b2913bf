"""Render batches of blends with PyTorch, on a GPU or any other device, by the formulas of `candels_blend.render`."""

from __future__ import annotations

import importlib.util
from collections.abc import Collection
from typing import Any

import numpy as np
import torch

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
    drawn: torch.Tensor,
    offset: torch.Tensor,
    seed: int,
    names: tuple[str, ...],
) -> dict[str, torch.Tensor]:
    """Render the pixel columns of a batch.

    Parameters
    ----------
    images, flags, variance : float32 and uint8 tensors [galaxies * 128 * 128], float32 tensor [galaxies]
        The stamps.
    drawn : int64 tensor [5, n]
        Rows of the two galaxies, shift along y and x, number of the blend.
    offset : float32 tensor [n, 1, 1]
        Rounding offset of pixels; see `candels_blend.render.grid_offset`.
    names : tuple of str
        Columns to render.
    """
    g1, g2, dy, dx = (values[:, None, None] for values in drawn[:4])
    axis = torch.arange(SIZE, device=images.device)
    pixel = axis[:, None] * SIZE + axis[None, :]
    y, x = axis[None, :, None] - dy, axis[None, None, :] - dx
    inside = (y >= 0) & (y < SIZE) & (x >= 0) & (x < SIZE)
    place1, place2 = g1 * PIXELS + pixel, g2 * PIXELS + torch.where(inside, y * SIZE + x, 0)
    flags1, flags2 = flags[place1], torch.where(inside, flags[place2], 0)
    out = {}
    if "image" in names or "galaxies" in names:
        stamp1, stamp2 = images[place1], torch.where(inside, images[place2], 0.0)
        variance1 = variance[g1] * torch.where(flags1 & REPLACED > 0, 2.0, 1.0)
        variance2 = variance[g2] * torch.where(flags2 & REPLACED > 0, 2.0, 1.0) * inside
        both = variance1 + variance2
        noise = torch.sqrt(both) * deviates(seed, drawn[4], 0)
        out["image"] = (noise + stamp1 + stamp2 + offset) - offset
        if "galaxies" in names:
            share = variance1 / torch.clamp(both, min=float(TINY))
            own = torch.sqrt(variance1 * (1.0 - share)) * deviates(seed, drawn[4], 1)
            first = (share * noise + own + stamp1 + offset) - offset
            first = torch.where(inside, first, out["image"])  # the second is 0 outside, however sums are fused
            out["galaxies"] = torch.stack([first, out["image"] - first], dim=1)
    first, second = flags1 & CENTRAL, flags2 & CENTRAL
    if "masks" in names:
        out["masks"] = torch.stack([first, second], dim=1)
    if "ogg_masks" in names:
        out["ogg_masks"] = torch.stack([first & second, first, second], dim=-1)
    if "bogg_masks" in names:
        overlap = first & second
        out["bogg_masks"] = torch.stack([1 - (first | second), overlap, first - overlap, second - overlap], dim=-1)
    return {name: out[name] for name in names}


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
        flags = stamps.central * np.uint8(CENTRAL) + stamps.replaced * np.uint8(REPLACED)
        self._stamps = [
            torch.from_numpy(array).to(device).reshape(-1) for array in (stamps.images, flags, stamps.variance)
        ]
        compiled = device.type == "cuda" and importlib.util.find_spec("triton") is not None
        self._render = torch.compile(render) if compiled else render

    def batch(self, numbers: np.ndarray, pairs: np.ndarray, names: Collection[str]) -> dict[str, torch.Tensor]:
        """Render the named pixel columns of blends with these numbers and pairs; tensors [n, ...]."""
        if not names:
            return {}
        drawn = np.stack([pairs["g1"], pairs["g2"], pairs["dy"], pairs["dx"], numbers]).astype(np.int64)
        offset = grid_offset(self._bound[pairs["g1"]] + self._bound[pairs["g2"]]).astype(np.float32)
        drawn, offset = (torch.from_numpy(array).to(self._device, non_blocking=True) for array in (drawn, offset))
        images, flags, variance = self._stamps
        return self._render(images, flags, variance, drawn, offset[:, None, None], self._seed, tuple(names))
