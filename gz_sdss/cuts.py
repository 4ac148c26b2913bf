"""Quality cuts: well-measured galaxies with a clear vote, of a size that suits a cutout of 64 pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

BANDS = "ugriz"
CUT_PIXEL = 0.4
"""Pixel of an SDSS frame (0.396), as rounded by the cuts on size; arcsec."""
SAMPLE_SEED = 42


@dataclass(frozen=True)
class Cuts:
    """Quality cuts. All bounds except `min_vote` are exclusive; missing values pass none of them.

    Parameters
    ----------
    min_mag : float
        modelMag_u, g, r, i, z above this, mag; -9999 marks an unmeasured magnitude.
    max_magerr_u, max_magerr_g, max_magerr_r, max_magerr_i, max_magerr_z : float
        modelMagErr of each band below this, mag.
    min_vote : float
        p_cs_debiased or p_el_debiased at least this.
    min_pixels, max_pixels : float
        2 petroR90_r / 0.4 arcsec above the first, 3 petroR90_r / 0.4 arcsec below the second.
    """

    min_mag: float = -30.0
    max_magerr_u: float = 0.5
    max_magerr_g: float = 0.05
    max_magerr_r: float = 0.05
    max_magerr_i: float = 0.05
    max_magerr_z: float = 0.1
    min_vote: float = 0.9
    min_pixels: float = 20.0
    max_pixels: float = 64.0

    def mask(self, table: pd.DataFrame) -> np.ndarray:
        """Boolean mask of the rows that pass all cuts. Comparisons with NaN are false, so rows without a value fail."""
        passed = table[["p_cs_debiased", "p_el_debiased"]].max(axis="columns").to_numpy() >= self.min_vote
        for band in BANDS:
            passed &= table[f"modelMag_{band}"].to_numpy() > self.min_mag
            passed &= table[f"modelMagErr_{band}"].to_numpy() < getattr(self, f"max_magerr_{band}")
        radius = table["petroR90_r"].to_numpy()
        return passed & (2.0 * radius / CUT_PIXEL > self.min_pixels) & (3.0 * radius / CUT_PIXEL < self.max_pixels)

    def adql(self, votes: str, photometry: str) -> str:
        """The same cuts as an ADQL condition on tables with these aliases.

        Databases that rank NaN above all numbers let more rows pass than `mask`, so `mask` has the last word.
        """
        conditions = []
        for band in BANDS:
            conditions.append(f"{photometry}.modelMag_{band} > {self.min_mag}")
            conditions.append(f"{photometry}.modelMagErr_{band} < {getattr(self, f'max_magerr_{band}')}")
        conditions.append(f"({votes}.p_cs_debiased >= {self.min_vote} OR {votes}.p_el_debiased >= {self.min_vote})")
        conditions.append(f"2 * {photometry}.petroR90_r / {CUT_PIXEL} > {self.min_pixels}")
        conditions.append(f"3 * {photometry}.petroR90_r / {CUT_PIXEL} < {self.max_pixels}")
        return " AND ".join(conditions)


def one_row_a_galaxy(table: pd.DataFrame) -> pd.DataFrame:
    """Drop rows that lack an identifier or a position, and all but the first of those that share one.

    Two entries with one `objid` are a DR8 galaxy to which two DR7 galaxies were matched.
    """
    table = table.dropna(subset=["dr7objid", "objid", "ra", "dec"])
    table = table.drop_duplicates("dr7objid").drop_duplicates("objid")
    return table.astype({"dr7objid": "int64", "objid": "int64"})


def shuffled(table: pd.DataFrame) -> pd.DataFrame:
    """Shuffle the rows into a fixed order; its first N are `table.sample(N, random_state=42)`."""
    return table.sample(frac=1, random_state=SAMPLE_SEED)
