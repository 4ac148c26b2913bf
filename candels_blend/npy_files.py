"""Write a sample in the file layout of candels-blender: single blends, catalogues, stacks and fluxes."""

from __future__ import annotations

import csv
import functools
import math
import operator
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd

from candels_blend.columns import load
from candels_blend.drawn import n_galaxies
from candels_blend.npy_forms import BLEND, Form, image_form, masks_form, npy_header
from candels_blend.render import Renderer
from candels_blend.sample import MOST_GALAXIES, SPLITS
from candels_blend.stamp_archive import SIZE, Archive, read_csv
from candels_blend.targets import MASKS, channels, flux
from skyshards.errors import BuildError, UsageError
from skyshards.files import clear_errors, hold, replacing
from skyshards.processes import fork_server, start_worker
from skyshards.progress import Progress, progress

BLOCK = 64
"""Number of blends that a process renders at a time: 30 MB of five galaxies."""


def header(galaxies: int) -> tuple[str, ...]:
    """Columns of a catalogue. As in candels-blender, `shift_x` is the shift along y, and `shift_y` that along x.

    Those of a third galaxy are `g3_shift_x` and `g3_shift_y`.
    """
    places = range(1, galaxies + 1)
    names = [f"g{place}_{name}" for place in places for name in ("id", "mag", "rad", "z", "type")]
    further = [f"g{place}_{name}" for place in places[2:] for name in ("distance", "shift_x", "shift_y")]
    return ("id", "distance", "shift_x", "shift_y", *names, *further)


def image_name(split: str, number: int) -> str:
    """File name of a blend's galaxies: float32 [128, 128, n]."""
    return f"{split}_blend_{number:06d}.npy"


def masks_name(split: str, number: int) -> str:
    """File name of a blend's masks: uint8 [n, 128, 128]."""
    return f"{split}_blend_seg_{number:06d}.npy"


def catalogue_name(split: str) -> str:
    return f"{split}_catalogue.csv"


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Context manager for a new folder, which is moved to `folder` on success and removed on failure.

    Raises
    ------
    UsageError
        The folder exists already.
    BuildError
        Another run is writing it, or the disk is full.
    """
    if folder.exists():
        raise UsageError(f"{folder} is there already; move or delete it, or choose another `seed` or `n_blends`")
    unfinished = folder.with_name(f"{folder.name}.partial")
    busy = f"{folder}: another run is writing it; wait for it, or work in another folder"
    with clear_errors(folder), hold(unfinished, busy, _lock(folder)):
        for leftover in unfinished.iterdir():  # from a killed run
            leftover.unlink()
        try:
            yield unfinished
            unfinished.rename(folder)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise


def _lock(folder: Path) -> Path:
    """Lock file of a sample's folder; beside it, so that no lock remains in the result."""
    path = folder.resolve()
    return path.with_name(f"{path.name}.lock")


def write_catalogue(path: Path, archive: Archive, drawn: np.ndarray) -> None:
    """Write the catalogue of drawn blends, of two galaxies byte for byte as candels-blender does."""
    galaxies = archive.catalogue
    names = [galaxies[name].tolist() for name in ("ID", "mag", "radius", "z", "galtype")]
    texts = [
        (f"{number}", f"{mag:.6f}", f"{radius:.6f}", f"{z:.6f}", galtype)
        for number, mag, radius, z, galtype in zip(*names, strict=True)
    ]
    with open(path, "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(header(n_galaxies(drawn)))
        for i, (first, *others) in enumerate(drawn.tolist()):
            rows = (first, *others[::3])
            shifts = [(f"{math.hypot(dy, dx):.6f}", dy, dx) for dy, dx in zip(others[1::3], others[2::3], strict=True)]
            table.writerow((i, *shifts[0], *chain(*(texts[row] for row in rows), *shifts[1:])))


@dataclass(frozen=True)
class SingleFiles:
    """Writer of one file per blend, usable in any process.

    Parameters
    ----------
    datapath : Path
        Folder of the unpacked archive.
    folder : Path
    seed : int
    masked : bool
        See `candels_blend.Blends`.
    """

    datapath: Path
    folder: Path
    seed: int
    masked: bool = True

    def write_block(self, split: str, first: int, start: int, drawn: np.ndarray) -> int:
        """Write two files for each blend of a block; returns the number of blends.

        The first blend's number is `start` in its split, and `first + start` in the whole sample.
        """
        numbers = np.arange(start, start + len(drawn))
        renderer = Renderer(load(self.datapath, self.masked)[1], self.seed)
        columns = renderer.batch(numbers + first, drawn, ("galaxies", "masks"))
        image, masks_of = image_form(n_galaxies(drawn)), masks_form(n_galaxies(drawn))
        for number, galaxies, masks in zip(numbers.tolist(), columns["galaxies"], columns["masks"], strict=True):
            image.save(self.folder / image_name(split, number), np.stack(tuple(galaxies), axis=-1))
            masks_of.save(self.folder / masks_name(split, number), masks)
        return len(drawn)

    def write(self, drawn: dict[str, np.ndarray], workers: int) -> None:
        """Write all files of a sample's blends in `workers` processes."""
        first = {"train": 0, "test": len(drawn["train"])}
        blocks = [
            (split, first[split], start, drawn[split][start : start + BLOCK])
            for split in SPLITS
            for start in range(0, len(drawn[split]), BLOCK)
        ]
        with progress("rendering", "blends", sum(map(len, drawn.values()))) as bar:
            if workers == 1:
                for block in blocks:
                    bar.update(self.write_block(*block))
                return
            with ProcessPoolExecutor(workers, fork_server([__name__]), initializer=start_worker) as pool:
                futures = [pool.submit(self.write_block, *block) for block in blocks]
                try:
                    for future in as_completed(futures):
                        bar.update(future.result())
                finally:
                    pool.shutdown(cancel_futures=True)


def concatenate(folder: Path, method: str) -> list[Path]:
    """Stack the single files of a sample as `{split}_blends.npy` and `{split}_{method}.npy`.

    An existing stack is kept if it is complete, with a row for each blend of the catalogue; otherwise it is rewritten.

    Returns
    -------
    list of Path
        The single files, which these stacks no longer need.

    Raises
    ------
    BuildError
        A single file is missing or of another form, or the disk is full; no stack is left half-written.
    """
    single = []
    with clear_errors(folder), hold(folder, lock=_lock(folder)):
        for split in SPLITS:
            catalogue = read_catalogue(folder, split)
            numbers, galaxies = range(len(catalogue)), galaxies_in(catalogue)
            image, masks_of = image_form(galaxies), masks_form(galaxies)
            images = [folder / image_name(split, number) for number in numbers]
            masks = [folder / masks_name(split, number) for number in numbers]
            _stack(folder / f"{split}_blends.npy", BLEND, images, image, _added)
            target = folder / f"{split}_{method}.npy"
            if method == "single_images":
                _stack(target, image, images, image, lambda image: image)
            elif method == "gg_masks":
                _stack(target, masks_of, masks, masks_of, lambda masks: masks)
            else:
                form = Form(np.dtype(np.uint8), (SIZE, SIZE, channels(method, galaxies)))
                _stack(target, form, masks, masks_of, MASKS[method])
            single += images + masks
    return single


def _added(image: np.ndarray) -> np.ndarray:
    """Add up galaxies, channels last, in their order."""
    return functools.reduce(operator.add, np.moveaxis(image, -1, 0))


def _stack(
    path: Path, form: Form, files: list[Path], file_form: Form, make: Callable[[np.ndarray], np.ndarray]
) -> None:
    def rows(bar: Progress) -> Iterator[np.ndarray]:
        for file in files:
            bar.update()
            yield make(file_form.load(file))

    if not is_whole_stack(path, len(files), form):
        with progress(path.name, "blends", len(files)) as bar:
            save_stack(path, len(files), form, rows(bar))


def save_stack(path: Path, length: int, form: Form, rows: Iterable[np.ndarray]) -> None:
    """Write an array of `length` rows of a form, row by row; `path` appears once it is safely on disk."""
    with replacing(path) as temporary, open(temporary, "wb") as file:
        file.write(npy_header(form.dtype, (length, *form.shape)))
        for row in rows:
            file.write(row.data)
        file.flush()
        os.fsync(file.fileno())


def is_whole_stack(path: Path, length: int, form: Form) -> bool:
    """Whether a file has the header that `save_stack` writes for `length` rows, and all its bytes."""
    header = npy_header(form.dtype, (length, *form.shape))
    size = len(header) + length * math.prod(form.shape) * form.dtype.itemsize
    if not path.exists() or path.stat().st_size != size:
        return False
    with open(path, "rb") as file:
        return file.read(len(header)) == header


def read_catalogue(folder: Path, split: str) -> pd.DataFrame:
    """Read a split's catalogue. Raises `BuildError` if the folder has none."""
    path = folder / catalogue_name(split)
    try:
        return read_csv(path, header(2), text=[f"g{place}_type" for place in range(1, MOST_GALAXIES + 1)])
    except BuildError as error:
        raise BuildError(f"{error}; expected a catalogue that `candels-blender produce` wrote") from error


def galaxies_in(catalogue: pd.DataFrame) -> int:
    """Return the number of galaxies in the blends of a catalogue."""
    return sum(f"g{place}_mag" in catalogue for place in range(1, MOST_GALAXIES + 1))


def write_flux(folder: Path, zeropoint: float) -> list[Path]:
    """Write the fluxes (float64 [blends, galaxies]) of both splits as `{split}_flux.npy`, from the catalogues."""
    written = []
    with clear_errors(folder), hold(folder, lock=_lock(folder)):
        for split in SPLITS:
            catalogue = read_catalogue(folder, split)
            names = [f"g{place}_mag" for place in range(1, galaxies_in(catalogue) + 1)]
            magnitudes = catalogue[names].to_numpy(float)
            with replacing(folder / f"{split}_flux.npy") as temporary, open(temporary, "wb") as file:
                np.save(file, flux(magnitudes, zeropoint))
            written.append(folder / f"{split}_flux.npy")
    return written
