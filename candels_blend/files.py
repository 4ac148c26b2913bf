"""A sample in files, as candels-blender lays them out: single blends, catalogues, stacks and fluxes."""

from __future__ import annotations

import csv
import multiprocessing
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import filelock
import numpy as np
import pandas as pd
from tqdm import tqdm

from candels_blend.archive import SIZE, Archive
from candels_blend.blender import BLOCK, load
from candels_blend.draw import SPLITS
from candels_blend.render import Renderer
from candels_blend.targets import CHANNELS, MASKS, flux
from skyshards.atomic import is_disk_full, replacing
from skyshards.errors import BuildError, UsageError

HEADER = ("id", "distance", "shift_x", "shift_y") + tuple(f"g{n}_{name}" for n in (1, 2) for name in ("id", "mag", "rad", "z", "type"))
"""Columns of a catalogue. As its users have it, `shift_x` holds the shift along y, and `shift_y` that along x."""
PARTIAL = ".partial"
"""What is added to a folder's name while its files are being written."""


def image_name(split: str, number: int) -> str:
    """File of a blend's two galaxies: float32 [128, 128, 2]."""
    return f"{split}_blend_{number:06d}.npy"


def masks_name(split: str, number: int) -> str:
    """File of a blend's two masks: uint8 [2, 128, 128]."""
    return f"{split}_blend_seg_{number:06d}.npy"


def catalogue_name(split: str) -> str:
    return f"{split}_catalogue.csv"
