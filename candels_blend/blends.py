"""Blends on the fly: a random-access source of training data that is a pure function of its seed."""

from __future__ import annotations

import inspect
import logging
import math
import operator
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from candels_blend.blender import Blender, load
from candels_blend.candels_blend import schema_of
from candels_blend.draw import SPLITS, Draw, Pairs, Sample
from candels_blend.render import Renderer
from candels_blend.targets import METHODS
from skyshards.columns import select
from skyshards.errors import UsageError

ZEROPOINT = 25.96
"""Magnitude of the flux 1, as in candels-blender: HST's F160W."""
ENDLESS_TEST = 1 << 40
"""Number in the whole sample of an endless test split's blend 0: past any train blend, so that no noise is shared."""

log = logging.getLogger(__name__)


class Blends:
    """Blends of galaxies, rendered when they are asked for.

    `blends[i]` is a row, a dict of NumPy values; `blends[[3, 1, 4]]`, `blends[array]` and `blends[a:b]` are batches. Blend i is a
    function of the options and i alone, and equal to that of a data set built with the same options. Like
    `skyshards.open`, it can be read by threads, forked and pickled, and so goes into a `DataLoader` or a Grain pipeline.

    Parameters
    ----------
    datapath : path
        Folder with the unpacked archive.
    seed : int
    split : {"train", "test"}
    length : int, optional
        Number of blends; endless without it (then `len` raises `TypeError`).
    method : str
        The target: one of `candels_blend.targets.METHODS`.
    n_blends : int, optional
        Blends of both splits in the sample that these are to be part of: the pairs of a test split are drawn after all train
        ones. Gives `length`, too. Without it, a test split is that of the smallest sample with `length` test blends, or,
        endless, one that no train blends go before.
    zeropoint : float
        Magnitude of the flux 1.
    device : str or torch.device, optional
        Where to render with PyTorch, such as "cuda": columns of pixels are then tensors there. The masks and pairs are the
        same as without, the noise is another of the same statistics.
    **sample
        The other options of `candels_blend.draw.Sample`: mag_low, mag_high, mag_diff, rad_diff, test_ratio, excluded_types,
        use_clean_galaxies.

    Raises
    ------
    UsageError
        Options that make no sense, or a device that is not there.
    BuildError
        The archive is not whole, or the cuts leave too few galaxies.
    """

    def __init__(
        self,
        datapath: Path | str,
        *,
        seed: int = 42,
        split: str = "train",
        length: int | None = None,
        method: str = "ogg_masks",
        n_blends: int | None = None,
        zeropoint: float = ZEROPOINT,
        device: Any = None,
        **sample: Any,
    ):
        self._arguments = {name: value for name, value in locals().items() if name not in ("self", "sample")} | sample
        if unknown := set(sample) - set(inspect.signature(Sample).parameters):
            raise UsageError(f"no option {', '.join(sorted(unknown))}; there are {', '.join(inspect.signature(Sample).parameters)}")
        if split not in SPLITS or method not in METHODS:
            raise UsageError(f"expected split {' or '.join(SPLITS)} and method {', '.join(METHODS)}; found {split!r}, {method!r}")
        options = Sample(seed, **sample)
        self.length, before = _place(options, split, length, n_blends)
        archive, stamps = load(datapath)
        for complaint in archive.complaints():
            log.warning("%s: %s", datapath, complaint)
        if device is None:
            renderer = Renderer(stamps, seed)
        else:
            from candels_blend.device import DeviceRenderer

            renderer = DeviceRenderer(stamps, seed, device)
        draw = Draw(archive, options)
        self._galaxies = draw.galaxies
        self._pairs = Pairs(_stream(draw, split, before or 0))
        first = (ENDLESS_TEST if before is None else before) if split == "test" else 0
        self._blender = Blender(archive, renderer, seed, split, first, zeropoint)
        self._columns = tuple(schema_of(method).specs)
