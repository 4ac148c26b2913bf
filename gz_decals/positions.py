"""Derive a galaxy's position from its IAU name, such as J000411.19+020924.0."""

from __future__ import annotations

import re

import numpy as np

from skyshards.errors import SourceError

_IAUNAME = re.compile(r"J(\d\d)(\d\d)(\d\d\.\d\d)([+-])(\d\d)(\d\d)(\d\d\.\d)")
MAX_SEPARATION = 5.0
"""Maximum separation of the table's and the name's position, arcsec. Names are truncated, not rounded: 0.2 is usual."""


def position_of_name(iauname: str) -> tuple[float, float]:
    """Parse right ascension and declination, in degrees, from a name JHHMMSS.ss+DDMMSS.s.

    Raises
    ------
    ValueError
        If the name does not have that form, or its time or angle is invalid.
    """
    found = _IAUNAME.fullmatch(iauname)
    if not found:
        raise ValueError(f"expected a name of the form JHHMMSS.ss+DDMMSS.s, found {iauname!r}")
    hours, minutes, seconds, sign, degrees, arcminutes, arcseconds = found.groups()
    ra = 15.0 * (int(hours) + int(minutes) / 60 + float(seconds) / 3600)
    dec = int(degrees) + int(arcminutes) / 60 + float(arcseconds) / 3600
    sixties = (int(minutes), float(seconds), int(arcminutes), float(arcseconds))
    if ra >= 360 or dec > 90 or max(sixties) >= 60:
        raise ValueError(f"expected a name of the form JHHMMSS.ss+DDMMSS.s, found {iauname!r}, an invalid position")
    return ra, -dec if sign == "-" else dec


def position(iauname: str, ra: float = np.nan, dec: float = np.nan) -> tuple[float, float]:
    """Position of a galaxy in degrees: the table's, or its name's where the table has none (NaN).

    Raises
    ------
    SourceError
        If both are missing, or they differ by more than `MAX_SEPARATION`.
    """
    given = np.isfinite(ra) and np.isfinite(dec)
    try:
        named = position_of_name(iauname)
    except ValueError as error:
        if given:  # a name of another form does not contradict the table
            return float(ra), float(dec)
        raise SourceError(f"no position: the table has no ra, dec, and the name gives none ({error})") from error
    if not given:
        return named
    from astropy.coordinates import angular_separation

    apart = 3600 * np.degrees(angular_separation(*np.radians([*named, ra, dec])))
    if apart > MAX_SEPARATION:
        raise SourceError(
            f"{iauname}: the table says ra={ra}, dec={dec}, which is {apart:.1f} arcsec from where the name says"
            f" ({named[0]:.5f}, {named[1]:.5f}); expected {MAX_SEPARATION:g} at most"
        )
    return float(ra), float(dec)
