"""Identifiers of SDSS spectra: as catalogues have them, packed into a specObjID, and as a file's address."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from skyshards.catalogue_rows import whole

SDSS, BOSS, FIRST_BOSS_PLATE = ("26", "103", "104"), "v5_13_2", 3510
"""Reductions (run2d) in data release 17, of SDSS-I and II and of BOSS and eBOSS."""
BOSS_VERSIONS = re.compile(r"v5_([4-9]|1[0-3])_\d\d?")
BITS = ((50, 14), (38, 12), (24, 14), (10, 14), (0, 10))
"""First bit and number of bits in a specObjID of plate, fibre, MJD - 50000, run2d and an index of lines, here 0."""


class SpectrumID(NamedTuple):
    """A spectrum: the fibre of a plate, observed on a night (MJD), and its reduction."""

    plate: int
    mjd: int
    fiberid: int
    run2d: str

    @property
    def path(self) -> str:
        """Path below the root of the data release."""
        survey, plate = "sdss" if self.run2d in SDSS else "eboss", f"{self.plate:04d}"
        name = f"spec-{plate}-{self.mjd}-{self.fiberid:04d}.fits"
        return f"{survey}/spectro/redux/{self.run2d}/spectra/lite/{plate}/{name}"

    @property
    def file_name(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def specobjid(self) -> int:
        """The 64 bits that SDSS gives it since DR8, as `pydl.pydlutils.sdss.sdss_specobjid` packs them."""
        version = [int(number) for number in self.run2d.removeprefix("v").split("_")]
        run2d = version[0] if len(version) == 1 else (version[0] - 5) * 10000 + version[1] * 100 + version[2]
        return self.plate << 50 | self.fiberid << 38 | (self.mjd - 50000) << 24 | run2d << 10


def of_specobjid(value: Any) -> SpectrumID:
    """Unpack a specObjID. Raises `ValueError` unless it is that of a spectrum of SDSS-I to IV, with all its digits."""
    number = whole(value)
    plate, fiberid, mjd, run2d, rest = (number >> first & (1 << bits) - 1 for first, bits in BITS)
    version = str(run2d) if run2d < 400 else f"v5_{run2d // 100}_{run2d % 100}"
    if rest or number >> 64 not in (0, -1) or not (version in SDSS or BOSS_VERSIONS.fullmatch(version)):
        reason = "DR7's are other numbers, and floats may round them: store them as text"
        raise ValueError(f"{number} is no specObjID of DR8 or later; {reason}")
    return of_plate(plate, mjd + 50000, fiberid, version)


def of_plate(plate: Any, mjd: Any, fiberid: Any, run2d: Any) -> SpectrumID:
    """Identify a spectrum in DR17's reduction. Raises `ValueError` for numbers that are not whole, or another run2d."""
    plate, mjd, fiberid = whole(plate), whole(mjd), whole(fiberid)
    version = str(run2d or (SDSS[0] if plate < FIRST_BOSS_PLATE else BOSS)).strip().removesuffix(".0")
    if version not in SDSS and not BOSS_VERSIONS.fullmatch(version):
        raise ValueError(f"run2d: expected {', '.join(SDSS)} or v5_..., found {version}")
    return SpectrumID(plate, mjd, fiberid, version if version in SDSS else BOSS)


COLUMNS: dict[tuple[str, ...], Callable[..., SpectrumID]] = {
    ("specobjid",): of_specobjid,
    ("plate", "mjd", "fiberid|fiber", "run2d?"): of_plate,
}
"""Columns that name spectra, for `read_rows`."""
