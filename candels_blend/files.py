"""A sample in files, as candels-blender lays them out: single blends, catalogues, stacks and fluxes."""

from __future__ import annotations

import csv
import math
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import filelock
import numpy as np
import pandas as pd
from tqdm import tqdm

from candels_blend.archive import SIZE, Archive
from candels_blend.blender import BLOCK
from candels_blend.draw import SPLITS
from candels_blend.render import Renderer
from candels_blend.targets import CHANNELS, MASKS, flux
from skyshards.atomic import is_disk_full, replacing
from skyshards.errors import BuildError, UsageError

GALAXIES, PAIR_OF_MASKS = np.empty((SIZE, SIZE, 2), np.float32), np.empty((2, SIZE, SIZE), np.uint8)
"""Arrays of the form that single files have."""
HEADER = ("id", "distance", "shift_x", "shift_y") + tuple(f"g{n}_{name}" for n in (1, 2) for name in ("id", "mag", "rad", "z", "type"))
"""Columns of a catalogue. As its users have it, `shift_x` holds the shift along y, and `shift_y` that along x."""


def image_name(split: str, number: int) -> str:
    """File of a blend's two galaxies: float32 [128, 128, 2]."""
    return f"{split}_blend_{number:06d}.npy"


def masks_name(split: str, number: int) -> str:
    """File of a blend's two masks: uint8 [2, 128, 128]."""
    return f"{split}_blend_seg_{number:06d}.npy"


def catalogue_name(split: str) -> str:
    return f"{split}_catalogue.csv"


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Give a folder to fill that is moved to `folder` if the block ends well, and removed if it does not.

    Raises
    ------
    UsageError
        The folder is there already.
    BuildError
        Another run is writing it, or the disk is full.
    """
    if folder.exists():
        raise UsageError(f"{folder} is there already; move or delete it, or choose another seed or number of blends")
    unfinished, lock = folder.with_name(f"{folder.name}.partial"), folder.with_name(f"{folder.name}.lock")
    with _clear_errors(folder), _held(lock, f"{folder}: another run is writing it; wait for it, or work in another folder"):
        shutil.rmtree(unfinished, ignore_errors=True)  # what a killed run left
        unfinished.mkdir(parents=True)
        try:
            yield unfinished
            unfinished.rename(folder)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise


@contextmanager
def _held(path: Path, otherwise: str) -> Iterator[None]:
    lock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise BuildError(otherwise) from None
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        lock.release()


@contextmanager
def _clear_errors(folder: Path) -> Iterator[None]:
    """Say in one line what the disk did."""
    try:
        yield
    except OSError as error:
        reason = "the disk is full; free some space and run the same command again" if is_disk_full(error) else error
        raise BuildError(f"{folder}: {reason}") from error


def write_catalogue(path: Path, archive: Archive, pairs: np.ndarray) -> None:
    """The catalogue of a split's pairs (array of `candels_blend.draw.PAIR`), byte for byte as candels-blender has it."""
    galaxies = archive.catalogue
    names = [galaxies[name].tolist() for name in ("ID", "mag", "radius", "z", "galtype")]
    texts = [
        (f"{number}", f"{mag:.6f}", f"{radius:.6f}", f"{z:.6f}", galtype)
        for number, mag, radius, z, galtype in zip(*names, strict=True)
    ]
    with open(path, "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(HEADER)
        for i, (g1, g2, dy, dx) in enumerate(pairs.tolist()):
            table.writerow((i, f"{math.hypot(dy, dx):.6f}", dy, dx, *texts[g1], *texts[g2]))


def write_blends(folder: Path, renderer: Renderer, split: str, first: int, pairs: np.ndarray, workers: int) -> None:
    """Two files for each blend of a split; `first` is the number of its blend 0 in the whole sample.

    The workers are threads: NumPy and the file system let go of Python's lock for all but a tenth of the time.
    """
    starts = range(0, len(pairs), BLOCK)

    def write(start: int) -> int:
        block = pairs[start : start + BLOCK]
        numbers = np.arange(start, start + len(block))
        columns = renderer.batch(numbers + first, block, ("galaxies", "masks"))
        for number, galaxies, masks in zip(numbers.tolist(), columns["galaxies"], columns["masks"], strict=True):
            np.save(folder / image_name(split, number), np.stack(galaxies, axis=-1))
            np.save(folder / masks_name(split, number), masks)
        return len(block)

    with _bar(f"{split} blends", len(pairs)) as bar, ThreadPoolExecutor(workers) as threads:
        try:
            for count in threads.map(write, starts):
                bar.update(count)
        finally:
            threads.shutdown(cancel_futures=True)


def concatenate(folder: Path, method: str) -> list[Path]:
    """Stack the single files of a sample: `{split}_blends.npy` and `{split}_{method}.npy`; stacks that are there are kept.

    Returns
    -------
    list of Path
        The single files, none of which is needed any more for these stacks.

    Raises
    ------
    BuildError
        A single file is missing or of another form, or the disk is full; no stack is left half-written.
    """
    single = []
    with _clear_errors(folder):
        for split in SPLITS:
            numbers = range(len(read_catalogue(folder, split)))
            images = [folder / image_name(split, number) for number in numbers]
            masks = [folder / masks_name(split, number) for number in numbers]
            _stack(folder / f"{split}_blends.npy", images, GALAXIES, np.zeros((SIZE, SIZE), np.float32), _sum)
            target = folder / f"{split}_{method}.npy"
            if method == "single_images":
                _stack(target, images, GALAXIES, np.zeros((SIZE, SIZE, 2), np.float32), _copy)
            else:
                _stack(target, masks, PAIR_OF_MASKS, np.zeros((SIZE, SIZE, CHANNELS[method]), np.uint8), MASKS[method])
            single += images + masks
    return single


def _stack(path: Path, files: list[Path], form: np.ndarray, row: np.ndarray, fill: Callable) -> None:
    """Write an array of what `fill(content, out=row)` makes of each file; `form` is an array such as a file has."""
    if path.exists():
        return
    with replacing(path) as temporary, open(temporary, "wb") as stack, _bar(path.name, len(files)) as bar:
        header = {"descr": row.dtype.str, "fortran_order": False, "shape": (len(files), *row.shape)}
        np.lib.format.write_array_header_1_0(stack, header)
        for file in files:
            fill(_load(file, form), out=row)
            stack.write(row.data)
            bar.update()
        stack.flush()
        os.fsync(stack.fileno())  # the single files may go next


def _load(path: Path, form: np.ndarray) -> np.ndarray:
    try:
        array = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise BuildError(f"{path}: not found; were the single files deleted? Produce the sample again") from None
    except (ValueError, EOFError) as error:
        raise BuildError(f"{path}: not a whole .npy file ({error}); produce the sample again") from error
    if array.dtype != form.dtype or array.shape != form.shape:
        raise BuildError(f"{path}: expected {form.dtype} {form.shape}, found {array.dtype} {array.shape}")
    return array


def _sum(galaxies: np.ndarray, out: np.ndarray) -> None:
    np.add(galaxies[..., 0], galaxies[..., 1], out=out)


def _copy(galaxies: np.ndarray, out: np.ndarray) -> None:
    np.copyto(out, galaxies)


def read_catalogue(folder: Path, split: str) -> pd.DataFrame:
    """A split's catalogue; raises `BuildError` if the folder has none."""
    path = folder / catalogue_name(split)
    try:
        catalogue = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise BuildError(f"{path}: expected a catalogue that `candels-blender produce` wrote ({error})") from error
    if missing := set(HEADER) - set(catalogue):
        raise BuildError(f"{path}: expected the columns {', '.join(HEADER)}; found no {', '.join(sorted(missing))}")
    return catalogue


def write_flux(folder: Path, zeropoint: float) -> list[Path]:
    """Fluxes (float64 [n, 2]) of both splits' galaxies as `{split}_flux.npy`, from the magnitudes in the catalogues."""
    written = []
    with _clear_errors(folder):
        for split in SPLITS:
            magnitudes = read_catalogue(folder, split)[["g1_mag", "g2_mag"]].to_numpy(float)
            with replacing(folder / f"{split}_flux.npy") as temporary, open(temporary, "wb") as file:
                np.save(file, flux(magnitudes, zeropoint))
            written.append(folder / f"{split}_flux.npy")
    return written


def _bar(what: str, total: int) -> tqdm:
    """A progress bar on standard error; none where that is not a terminal."""
    return tqdm(desc=what, unit=" blends", total=total, disable=None)
