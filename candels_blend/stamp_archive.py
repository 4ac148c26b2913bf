"""Read and validate the unpacked archive of galaxy stamps."""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from skyshards.errors import BuildError
from skyshards.input_tables.table_file import open_table

IMAGES, SEGMENTATION, CATALOGUE = FILES = ("candels_img.npy", "candels_seg.npy", "candels_cat.csv")
COLUMNS = ("ID", "RA", "DEC", "mag", "radius", "z", "galtype")
"""Catalogue columns in use; it also has FIELD, mag_err and segval."""
SIZE = 128
"""Width and height of a stamp in pixels."""
NO_MAGNITUDE = 99
"""Values of unmeasured magnitudes in catalogues: 99 or -99."""
HUGE = 1e15
"""Bound on pixel values: their squares must fit float32."""


@dataclass(frozen=True)
class Archive:
    """Galaxies of the archive, except those without a usable stamp.

    Attributes
    ----------
    images : array, float32 [n, 128, 128]
        Stamps, memory-mapped.
    segmentation : array, any integer dtype [n, 128, 128]
        Number of the source that a pixel belongs to, 0 for the background; memory-mapped.
    catalogue : DataFrame of n rows
        Catalogue with at least `COLUMNS`.
    rows : array, int64 [m]
        Rows of the usable galaxies.
    left_out : dict of reason -> list of ID
        IDs of the other galaxies.
    """

    images: np.ndarray
    segmentation: np.ndarray
    catalogue: pd.DataFrame
    rows: np.ndarray
    left_out: dict[str, list[int]]

    def complaints(self) -> Iterator[str]:
        """Yield a line for each reason for leaving out stamps: how many, why, and which."""
        for reason, ids in self.left_out.items():
            yield f"{len(ids)} of {len(self.images)} stamps left out ({reason}): ID {', '.join(map(str, ids))}"


def read_archive(folder: Path | str) -> Archive:
    """Open the three files of an unpacked archive.

    A stamp is left out, and listed in `left_out`, if it has a NaN, an infinity or a value beyond `HUGE`, if its
    centre is background, or if the catalogue lacks its position, radius or magnitude. Right ascensions
    from -180 to 0 are wrapped to 180 to 360.

    Raises
    ------
    BuildError
        A file is missing, truncated or of another form, or the three differ in the number of galaxies.
    """
    folder = Path(folder)
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise BuildError(
            f"{folder}: {', '.join(missing)} not found; fetch the archive with `candels-blender download -o {folder}`"
        )
    images = _open(folder / IMAGES, np.floating, "floating-point")
    segmentation = _open(folder / SEGMENTATION, np.integer, "integer")
    catalogue = _read_catalogue(folder / CATALOGUE)
    lengths = {IMAGES: len(images), SEGMENTATION: len(segmentation), CATALOGUE: len(catalogue)}
    if len(set(lengths.values())) != 1:
        found = ", ".join(f"{count} in {name}" for name, count in lengths.items())
        raise BuildError(f"{folder}: expected as many stamps as catalogue rows, found {found}; fetch the archive again")
    faults = _faults(images, segmentation, catalogue)
    bad = np.any(list(faults.values()), axis=0)
    left_out = {why: catalogue["ID"][which].tolist() for why, which in faults.items() if which.any()}
    return Archive(images, segmentation, catalogue, np.flatnonzero(~bad), left_out)


def _open(path: Path, kind: type, kind_name: str) -> np.ndarray:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise BuildError(f"{path}: not a whole .npy file ({error}); fetch the archive again") from error
    if not isinstance(array, np.ndarray) or array.shape[1:] != (SIZE, SIZE) or not np.issubdtype(array.dtype, kind):
        found = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
        raise BuildError(f"{path}: expected {kind_name} values of shape (n, {SIZE}, {SIZE}), found {found}")
    return array


def let_go(array: np.ndarray) -> None:
    """Release the pages of a memory-mapped array from this process's memory."""
    if isinstance(array.base, mmap.mmap):
        array.base.madvise(mmap.MADV_DONTNEED)


def read_csv(path: Path, needed: Sequence[str], text: Sequence[str]) -> pd.DataFrame:
    """Read a catalogue, with the columns `text` as text. Raises `BuildError` if it cannot be read or lacks a column."""
    table = open_table(path)
    for name in needed:
        if (found := table.names.count(name)) != 1:
            raise BuildError(f"{path}: expected the columns {', '.join(needed)}, found {found or 'no'} {name}")
    columns = table.look(text=[place for place, name in enumerate(table.names) if name in text])
    schema = pa.schema([(column.name, column.type or pa.null()) for column in columns])
    batches = (pa.RecordBatch.from_arrays(batch, schema=schema) for batch in table.batches(columns))
    return pa.Table.from_batches(batches, schema).to_pandas()


def _read_catalogue(path: Path) -> pd.DataFrame:
    try:
        catalogue = read_csv(path, COLUMNS, text=("galtype",))
    except BuildError as error:
        raise BuildError(f"{error}; fetch the archive again") from error
    wrong = [name for name in COLUMNS[:-1] if not pd.api.types.is_numeric_dtype(catalogue[name])]
    if wrong or not pd.api.types.is_integer_dtype(catalogue["ID"]):
        raise BuildError(f"{path}: expected numbers (whole ones as ID), found others in column {(wrong or ['ID'])[0]}")
    ra = catalogue["RA"].astype(float)
    return catalogue.assign(galtype=catalogue["galtype"].fillna(""), RA=ra.where((ra < -180) | (ra >= 0), ra + 360))


def measured(redshift: pd.Series) -> pd.Series:
    """Redshifts with NaN for those that the catalogue lacks: it has -99 there."""
    return redshift.where(redshift > -1)


def _faults(images: np.ndarray, segmentation: np.ndarray, catalogue: pd.DataFrame) -> dict[str, np.ndarray]:
    """Masks of unusable galaxies, by reason."""
    largest = np.fromiter((np.abs(stamp).max() for stamp in images), float, len(images))
    centre = np.array(segmentation[:, SIZE // 2, SIZE // 2])
    let_go(images)
    let_go(segmentation)
    ra, dec, radius, mag = (catalogue[name].to_numpy(float) for name in ("RA", "DEC", "radius", "mag"))
    placed = (ra >= 0) & (ra <= 360) & (np.abs(dec) <= 90)
    return {
        "pixels that are NaN or infinite": ~(largest < HUGE),
        "the centre is background in the segmentation map": centre == 0,
        "no position or radius in the catalogue": ~(placed & (radius > 0) & np.isfinite(radius)),
        "no magnitude in the catalogue": ~(np.abs(mag) < NO_MAGNITUDE),
    }
