"""Make the columns of drawn blends, for shards and for `Blends`."""

from __future__ import annotations

import functools
from collections.abc import Collection
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from candels_blend.draw import draw_sample
from candels_blend.drawn import galaxies, n_galaxies, shifts
from candels_blend.render import PIXELS, Renderer
from candels_blend.sample import Sample
from candels_blend.stamp_archive import FILES, Archive, measured, read_archive
from candels_blend.stamps import Stamps, prepare
from candels_blend.targets import flux
from skyshards.errors import UsageError
from skyshards.format import healpix
from skyshards.format.folds import NO_FOLD, common_fold, fold_of

if TYPE_CHECKING:  # it needs PyTorch
    from candels_blend.device import DeviceRenderer

NSIDE = 16
"""HEALPix resolution of the column `healpix`: a build's default."""


Times = tuple[int | None, ...]


def load(folder: Path | str, masked: bool = True) -> tuple[Archive, Stamps]:
    """Read an archive and prepare its stamps, masked or not; the last one is cached in this process."""
    return _load(*_identity(folder), masked)


def _identity(folder: Path | str) -> tuple[Path, Times]:
    """Folder of an archive, and the times when its files were modified."""
    paths = [Path(folder).resolve() / name for name in FILES]
    return paths[0].parent, tuple(path.stat().st_mtime_ns if path.exists() else None for path in paths)


@functools.lru_cache(maxsize=1)
def _load(folder: Path, times: Times, masked: bool) -> tuple[Archive, Stamps]:
    archive = read_archive(folder)
    return archive, prepare(archive, masked)


def renderer(stamps: Stamps, seed: int, device: Any) -> Renderer | DeviceRenderer:
    """Make the renderer for a PyTorch device, or with NumPy if that is None. Raises `UsageError` without PyTorch."""
    if device is None:
        return Renderer(stamps, seed)
    try:
        from candels_blend.device import DeviceRenderer
    except ImportError as error:
        raise UsageError("device: needs PyTorch; install it, or leave out `device`") from error
    return DeviceRenderer(stamps, seed, device)


def folds_of(archive: Archive) -> np.ndarray:
    """Return the fold of each galaxy of the archive (int8); -1 also for those left out, which may have no position."""
    catalogue = archive.catalogue.iloc[archive.rows]
    folds = np.full(len(archive.catalogue), NO_FOLD, np.int8)
    folds[archive.rows] = fold_of(catalogue["RA"].to_numpy(float), catalogue["DEC"].to_numpy(float))
    return folds


def folds_of_blends(folds: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Return the fold of drawn blends by those of their galaxies: -1 where these differ."""
    return common_fold(folds[galaxies(drawn)])


def draw_once(folder: Path | str, masked: bool, sample: Sample, n_blends: int) -> dict[str, np.ndarray]:
    """Draw all blends of a sample, by split; the last sample is cached in this process."""
    return _draw(*_identity(folder), masked, sample, n_blends)


@functools.lru_cache(maxsize=1)
def _draw(folder: Path, times: Times, masked: bool, sample: Sample, n_blends: int) -> dict[str, np.ndarray]:
    return draw_sample(_load(folder, times, masked)[0], sample, n_blends)


class Blender:
    """Maker of the columns of one split's blends.

    Parameters
    ----------
    archive : Archive
    renderer : Renderer or DeviceRenderer
    seed : int
    split : str
    first : int
        Number in the whole sample of the split's blend 0, which determines the noise; train blends come first.
    zeropoint : float
        Magnitude of flux 1.
    """

    def __init__(
        self,
        archive: Archive,
        renderer: Renderer | DeviceRenderer,
        seed: int,
        split: str,
        first: int,
        zeropoint: float,
    ):
        self._archive = archive
        self._renderer = renderer
        self._seed = seed
        self._split = split
        self._first = first
        self._zeropoint = zeropoint

    @cached_property
    def _galaxies(self) -> dict[str, np.ndarray]:
        """Columns of each galaxy."""
        catalogue = self._archive.catalogue
        return {
            "flux": flux(catalogue["mag"].to_numpy(float), self._zeropoint),
            **{name: catalogue[name].to_numpy(float) for name in ("mag", "radius")},
            "z": measured(catalogue["z"]).to_numpy(float),
            "galtype": np.array(catalogue["galtype"].tolist(), dtype=str),
            "galaxy_id": catalogue["ID"].to_numpy(np.int64),
            "ra": catalogue["RA"].to_numpy(float),
            "dec": catalogue["DEC"].to_numpy(float),
        }

    @cached_property
    def _pixels(self) -> np.ndarray:
        """HEALPix pixels of the galaxies; -1 for those left out, which may have no position."""
        pixels = np.full(len(self._archive.catalogue), -1, np.int64)
        usable = self._archive.rows
        pixels[usable] = healpix.pixel_of(self._galaxies["ra"][usable], self._galaxies["dec"][usable], NSIDE)
        return pixels

    @cached_property
    def _folds(self) -> np.ndarray:
        return folds_of(self._archive)

    def columns(self, numbers: np.ndarray, drawn: np.ndarray, names: Collection[str]) -> dict[str, Any]:
        """Make the columns of a batch of blends, in the order of `names`.

        Parameters
        ----------
        numbers : int64 array [n]
            Numbers of the blends within their split.
        drawn : array [n] of `candels_blend.drawn.blend_dtype`
        names : collection of str
            Column names (see `candels_blend.candels_blend.schema_of`).

        Returns
        -------
        dict of name -> array with first dimension n (a tensor for pixel columns rendered on a device)
        """
        pixels = self._renderer.batch(numbers + self._first, drawn, [name for name in names if name in PIXELS])
        return {name: pixels[name] if name in pixels else self._light(name, numbers, drawn) for name in names}

    def chosen(self, number: int, drawn: np.ndarray, names: Collection[str]) -> dict[str, Any]:
        """Make the columns of a blend (array [1]) of chosen galaxies, whose number determines only the noise."""
        ids = "-".join(map(str, self._galaxies["galaxy_id"][galaxies(drawn)][0].tolist()))
        own = {"object_id": f"s{self._seed}-pair-{ids}", "source": "pair"}
        return self.columns(np.array([number - self._first]), drawn, names) | {
            name: np.array([text]) for name, text in own.items() if name in names
        }

    def _light(self, name: str, numbers: np.ndarray, drawn: np.ndarray) -> np.ndarray:
        if name == "healpix":
            return self._pixels[drawn["g1"]]
        if name == "fold":
            return folds_of_blends(self._folds, drawn)
        if name in ("ra", "dec"):
            return self._galaxies[name][drawn["g1"]]
        if name == "shift":
            return shifts(drawn)
        if name == "distance":
            along_y, along_x = np.moveaxis(shifts(drawn).reshape(len(drawn), n_galaxies(drawn) - 1, 2), -1, 0)
            distances = np.hypot(along_y, along_x, dtype=np.float64)
            return distances if n_galaxies(drawn) > 2 else distances[:, 0]
        if name == "object_id":
            return np.array([f"s{self._seed}-{self._split}-{number:06d}" for number in numbers.tolist()], dtype=str)
        if name == "source":
            return np.full(len(numbers), self._split)
        return self._galaxies[name][galaxies(drawn)]
