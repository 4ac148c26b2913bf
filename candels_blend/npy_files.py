"""Write a sample in the file layout of candels-blender: single blends, catalogues, stacks and fluxes."""

from __future__ import annotations

import csv
import io
import math
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from candels_blend.columns import BLOCK, load
from candels_blend.draw import SPLITS
from candels_blend.render import Renderer
from candels_blend.stamp_archive import SIZE, Archive, read_csv
from candels_blend.targets import CHANNELS, MASKS, flux
from skyshards.errors import BuildError, UsageError
from skyshards.files import clear_errors, hold, replacing
from skyshards.processes import fork_server, start_worker
from skyshards.progress import Progress, progress


def _header(dtype: np.dtype, shape: tuple[int, ...]) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": dtype.str, "fortran_order": False, "shape": shape})
    return buffer.getvalue()


@dataclass(frozen=True)
class Form:
    """Common dtype and shape of many files, so that their header is made only once."""

    dtype: np.dtype
    shape: tuple[int, ...]

    @cached_property
    def header(self) -> bytes:
        return _header(self.dtype, self.shape)

    def save(self, path: Path, array: np.ndarray) -> None:
        """Write a file as `numpy.save` does."""
        with open(path, "wb") as file:
            file.write(self.header)
            file.write(np.ascontiguousarray(array, self.dtype).data)

    def load(self, path: Path) -> np.ndarray:
        """Read a file. Raises `BuildError`, naming it, if it is missing, truncated or of another form."""
        try:
            content = path.read_bytes()
            if content.startswith(self.header):
                return np.frombuffer(content, self.dtype, offset=len(self.header)).reshape(self.shape)
            array = np.ascontiguousarray(np.lib.format.read_array(io.BytesIO(content), allow_pickle=False))
        except FileNotFoundError:
            raise BuildError(f"{path}: not found; were the single files deleted? Produce the sample again") from None
        except (ValueError, EOFError) as error:
            raise BuildError(f"{path}: not a whole .npy file ({error}); produce the sample again") from error
        if array.dtype != self.dtype or array.shape != self.shape:
            raise BuildError(f"{path}: expected {self.dtype} {self.shape}, found {array.dtype} {array.shape}")
        return array


IMAGE = Form(np.dtype(np.float32), (SIZE, SIZE, 2))
MASKS_PAIR = Form(np.dtype(np.uint8), (2, SIZE, SIZE))
BLEND = Form(np.dtype(np.float32), (SIZE, SIZE))
HEADER = ("id", "distance", "shift_x", "shift_y") + tuple(
    f"g{n}_{name}" for n in (1, 2) for name in ("id", "mag", "rad", "z", "type")
)
"""Columns of a catalogue. As in candels-blender, `shift_x` holds the shift along y, and `shift_y` that along x."""


def image_name(split: str, number: int) -> str:
    """File name of a blend's two galaxies: float32 [128, 128, 2]."""
    return f"{split}_blend_{number:06d}.npy"


def masks_name(split: str, number: int) -> str:
    """File name of a blend's two masks: uint8 [2, 128, 128]."""
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


def write_catalogue(path: Path, archive: Archive, pairs: np.ndarray) -> None:
    """Write the catalogue of pairs (array of `candels_blend.draw.PAIR`), byte for byte as candels-blender does."""
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


@dataclass(frozen=True)
class SingleFiles:
    """Writer of one file per blend, usable in any process.

    Parameters
    ----------
    datapath : Path
        Folder of the unpacked archive.
    folder : Path
    seed : int
    """

    datapath: Path
    folder: Path
    seed: int

    def write_block(self, split: str, first: int, start: int, pairs: np.ndarray) -> int:
        """Write two files for each pair of a block; returns the number of pairs.

        The first pair's number is `start` in its split, and `first + start` in the whole sample.
        """
        numbers = np.arange(start, start + len(pairs))
        renderer = Renderer(load(self.datapath)[1], self.seed)
        columns = renderer.batch(numbers + first, pairs, ("galaxies", "masks"))
        for number, galaxies, masks in zip(numbers.tolist(), columns["galaxies"], columns["masks"], strict=True):
            IMAGE.save(self.folder / image_name(split, number), np.stack(tuple(galaxies), axis=-1))
            MASKS_PAIR.save(self.folder / masks_name(split, number), masks)
        return len(pairs)

    def write(self, pairs: dict[str, np.ndarray], workers: int) -> None:
        """Write all files of a sample's pairs in `workers` processes."""
        first = {"train": 0, "test": len(pairs["train"])}
        blocks = [
            (split, first[split], start, pairs[split][start : start + BLOCK])
            for split in SPLITS
            for start in range(0, len(pairs[split]), BLOCK)
        ]
        with progress("rendering", "blends", sum(map(len, pairs.values()))) as bar:
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
            numbers = range(len(read_catalogue(folder, split)))
            images = [folder / image_name(split, number) for number in numbers]
            masks = [folder / masks_name(split, number) for number in numbers]
            _stack(folder / f"{split}_blends.npy", BLEND, images, IMAGE, lambda image: image[..., 0] + image[..., 1])
            target = folder / f"{split}_{method}.npy"
            if method == "single_images":
                _stack(target, IMAGE, images, IMAGE, lambda image: image)
            elif method == "gg_masks":
                _stack(target, MASKS_PAIR, masks, MASKS_PAIR, lambda masks: masks)
            else:
                form = Form(np.dtype(np.uint8), (SIZE, SIZE, CHANNELS[method]))
                _stack(target, form, masks, MASKS_PAIR, MASKS[method])
            single += images + masks
    return single


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
        file.write(_header(form.dtype, (length, *form.shape)))
        for row in rows:
            file.write(row.data)
        file.flush()
        os.fsync(file.fileno())


def is_whole_stack(path: Path, length: int, form: Form) -> bool:
    """Whether a file has the header that `save_stack` writes for `length` rows, and all its bytes."""
    header = _header(form.dtype, (length, *form.shape))
    size = len(header) + length * math.prod(form.shape) * form.dtype.itemsize
    if not path.exists() or path.stat().st_size != size:
        return False
    with open(path, "rb") as file:
        return file.read(len(header)) == header


def read_catalogue(folder: Path, split: str) -> pd.DataFrame:
    """Read a split's catalogue. Raises `BuildError` if the folder has none."""
    path = folder / catalogue_name(split)
    try:
        return read_csv(path, HEADER, text=("g1_type", "g2_type"))
    except BuildError as error:
        raise BuildError(f"{error}; expected a catalogue that `candels-blender produce` wrote") from error


def write_flux(folder: Path, zeropoint: float) -> list[Path]:
    """Write the fluxes (float64 [n, 2]) of both splits as `{split}_flux.npy`, from the magnitudes in the catalogues."""
    written = []
    with clear_errors(folder), hold(folder, lock=_lock(folder)):
        for split in SPLITS:
            magnitudes = read_catalogue(folder, split)[["g1_mag", "g2_mag"]].to_numpy(float)
            with replacing(folder / f"{split}_flux.npy") as temporary, open(temporary, "wb") as file:
                np.save(file, flux(magnitudes, zeropoint))
            written.append(folder / f"{split}_flux.npy")
    return written
