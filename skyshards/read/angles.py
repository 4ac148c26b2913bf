"""Convert angles and positions to degrees: numbers, or astropy's Quantity and SkyCoord."""

from __future__ import annotations

import math
from typing import Any

from skyshards.errors import UsageError


def degrees(angle: Any, name: str) -> Any:
    """Convert an angle to degrees; plain numbers are degrees already.

    Raises `UsageError`, with the argument's name, if the unit is not an angle.
    """
    if not hasattr(angle, "to_value"):
        return angle
    try:
        return angle.to_value("deg")
    except (ValueError, TypeError) as error:  # astropy's UnitConversionError is both
        raise UsageError(f"{name}: expected an angle, found {angle}") from error


def cone(ra: Any, dec: Any = None, radius: Any = None) -> tuple[float, float, float]:
    """Return right ascension, declination and radius of a cone in degrees.

    Takes these three, or a SkyCoord and a radius. Raises `UsageError` for an invalid cone.
    """
    if hasattr(ra, "icrs"):
        centre, radius = ra, dec if radius is None else radius
        if not centre.isscalar:
            raise UsageError(f"expected the position of one cone, found a SkyCoord of shape {centre.shape}")
        ra, dec = centre.icrs.ra.deg, centre.icrs.dec.deg
    if dec is None or radius is None:
        raise UsageError("expected a cone as (ra, dec, radius) in degrees or (SkyCoord, radius), found no radius")
    given = {"ra": ra, "dec": dec, "radius": radius}
    angles = [degrees(value, name) for name, value in given.items()]
    try:
        ra, dec, radius = map(float, angles)
    except (TypeError, ValueError) as error:
        found = ", ".join(f"{name} = {value!r:.40}" for name, value in given.items())
        raise UsageError(f"expected ra, dec and radius as numbers (degrees) or Quantities, found {found}") from error
    if not (math.isfinite(ra) and -90 <= dec <= 90 and radius >= 0):
        cause = f"found ra = {ra}, dec = {dec}, radius = {radius}"
        raise UsageError(f"expected a cone with dec from -90 to 90 and a radius of at least 0 degrees, {cause}")
    return ra, dec, radius
