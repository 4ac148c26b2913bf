"""Identifiers of SDSS spectra: read from catalogues, packed into a specObjID, and turned into a file's address."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from skyshards.catalogues import open_catalogue
from skyshards.errors import BuildError, UsageError
from skyshards.progress import say

SDSS, BOSS = ("26", "103", "104"), "v5_13_2"
"""Reductions (run2d) in data release 17: of SDSS-I and II, and of BOSS and eBOSS."""
FIRST_BOSS_PLATE = 3510
ALIASES = {"fiber": "fiberid", "fibre": "fiberid", "fibreid": "fiberid"}


class SpectrumID(NamedTuple):
    """A spectrum: the fibre of a plate, observed on a night (MJD), and its reduction."""

    plate: int
    mjd: int
    fiberid: int
    run2d: str

    @property
    def file_name(self) -> str:
        return f"spec-{self.plate:04d}-{self.mjd}-{self.fiberid:04d}.fits"

    @property
    def path(self) -> str:
        """Path below the root of the data release."""
        survey = "sdss" if self.run2d in SDSS else "eboss"
        return f"{survey}/spectro/redux/{self.run2d}/spectra/lite/{self.plate:04d}/{self.file_name}"

    @property
    def specobjid(self) -> int:
        """The 64 bits that SDSS gives it since DR8, as `pydl.pydlutils.sdss.sdss_specobjid` packs them."""
        version = re.fullmatch(r"v(\d+)_(\d+)_(\d+)", self.run2d)
        major, minor, patch = map(int, version.groups()) if version else (5, 0, int(self.run2d))
        number = (major - 5) * 10000 + minor * 100 + patch
        return self.plate << 50 | self.fiberid << 38 | (self.mjd - 50000) << 24 | number << 10


def of_specobjid(number: int) -> SpectrumID:
    """Unpack a specObjID. Raises `ValueError` unless it is that of a spectrum of SDSS-I to IV."""
    plate, fiberid, mjd, run2d, rest = (
        number >> first & (1 << bits) - 1 for first, bits in ((50, 14), (38, 12), (24, 14), (10, 14), (0, 10))
    )
    text = str(run2d) if run2d < 400 else f"v5_{run2d // 100}_{run2d % 100}"
    try:
        if rest or not -(2**63) <= number < 2**64:
            raise ValueError("bits that are never set")
        return checked(plate, mjd + 50000, fiberid, text)
    except ValueError as error:
        reason = f"{error}; DR7's are other numbers, and floats may round them: store them as text"
        raise ValueError(f"{number} is no specObjID of DR8 or later: {reason}") from error


def checked(plate: Any, mjd: Any, fiberid: Any, run2d: Any = None) -> SpectrumID:
    """Make an identifier, of DR17's reduction of the spectrum. Raises `ValueError` if there is none."""
    numbers = int(plate), int(mjd), int(fiberid)
    text = str(run2d).strip() if run2d is not None else SDSS[0] if numbers[0] < FIRST_BOSS_PLATE else BOSS
    text = BOSS if re.fullmatch(r"v5_([4-9]|1[0-3])_\d\d?", text) else text.removesuffix(".0")
    for name, value, least, most in zip(SpectrumID._fields, numbers, (1, 51000, 1), (16383, 66383, 1000), strict=False):
        if not least <= value <= most:
            raise ValueError(f"{name}: expected {least} to {most}, found {value}")
    if text not in (*SDSS, BOSS):
        raise ValueError(f"run2d: expected {', '.join(SDSS)} or v5_..., found {text}")
    return SpectrumID(*numbers, text)


def read_catalogue(location: Path, simulated: bool) -> list[SpectrumID]:
    """Read the spectra of a catalogue: of a table file, or of a built folder, in its order, each once.

    Of columns `specobjid` and `plate`, `mjd`, `fiberid` (and `run2d`), in any case, the first is used if its digits are
    all there. Rows without are left out. A built folder must be `simulated` or not, as the spectra are.

    Raises
    ------
    BuildError
        If it cannot be read, or names no spectra, or a row has numbers that no spectrum has.
    UsageError
        If a built folder's galaxies are simulated and the spectra are not, or the other way round.
    """
    catalogue = open_catalogue(str(location))
    if catalogue.table is not None and catalogue.table.simulated != simulated:
        expected, there = ("simulated", "real") if simulated else ("real", "simulated")
        raise UsageError(f"{location}: expected {expected} galaxies, found {there} ones; `demo` is for simulated ones")
    names = {re.sub(r"\W|_", "", name.lower()): name for name in catalogue.names}
    names = {ALIASES.get(key, key): name for key, name in names.items()}
    ways = [way for way in (("specobjid",), ("plate", "mjd", "fiberid", "run2d")) if set(way[:3]) <= names.keys()]
    if not ways:
        there = ", ".join(catalogue.names)
        raise BuildError(f"{location}: expected a column specobjid, or plate, mjd and fiberid; found {there}")
    for way in ways:
        columns = [names[key] for key in way if key in names]
        found = catalogue.read(columns, None)
        try:
            rows = list(_parsed(list(zip(*(found[name].to_pylist() for name in columns), strict=True)), columns))
            break
        except ValueError as error:
            if way is ways[-1]:
                raise BuildError(f"{location}: {error}") from error
            say(f"{location.name}: {error}; plate, mjd and fiberid are used instead")
    spectra = list(dict.fromkeys(row for row in rows if row is not None))
    if without := rows.count(None):
        say(f"{location.name}: {without:,} of {len(rows):,} rows have no spectrum")
    if not spectra:
        raise BuildError(f"{location}: none of its {len(rows):,} rows has a spectrum")
    return spectra


def _parsed(rows: list[tuple], columns: list[str]) -> Iterator[SpectrumID | None]:
    """Parse rows: (specobjid) or (plate, mjd, fiberid[, run2d]); None for those without."""
    for number, row in enumerate(rows, 1):
        try:
            if any(value is None or value != value or value in (0, "", "0") for value in row[:3]):
                yield None
            else:
                yield checked(*row) if len(row) > 1 else of_specobjid(_whole(row[0]))
        except ValueError as error:
            raise ValueError(f"column {', '.join(columns)}, row {number:,}: {error}") from error


def _whole(value: Any) -> int:
    """Return a number as an integer: also one that was read as a float, if it kept its digits (see `of_specobjid`)."""
    try:
        return int(value)
    except ValueError:
        raise ValueError(f"expected a whole number, found {value!r}; store it as text or a 64-bit integer") from None
