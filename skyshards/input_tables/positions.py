"""Conversion of a catalogue's positions, decimal or sexagesimal, to degrees."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def degrees(values: pa.Array | pa.ChunkedArray, name: str) -> np.ndarray:
    """Convert angles to float64 degrees; NaN where missing.

    Parameters
    ----------
    values : pyarrow array
        Numbers (degrees), or text such as "10:27:30.5" or "-1 16 06".
    name : str
        "ra" or "dec". Right ascension in text is in hours; values from -180 to 0 degrees are wrapped to 180 to 360.

    Returns
    -------
    float64 array

    Raises
    ------
    ValueError
        A text is not a sexagesimal angle.
    """
    if pa.types.is_string(values.type):
        angles = _sexagesimal(values, "hourangle" if name == "ra" else "deg")
    else:
        angles = np.array(values.cast(pa.float64()).to_numpy(zero_copy_only=False), np.float64)
    if name == "ra":
        angles[(angles < 0) & (angles >= -180)] += 360.0
    return angles


def _sexagesimal(values: pa.Array | pa.ChunkedArray, unit: str) -> np.ndarray:
    from astropy.coordinates import Angle

    angles = np.full(len(values), np.nan)
    cells = values.drop_null().to_pylist()
    number = next((cell for cell in cells if cell.strip(" +-").replace(".", "", 1).isdecimal()), None)
    if number is not None:  # 10.5 beside 10:30:00 may be degrees or hours
        raise ValueError(f"expected sexagesimal angles as in other rows, found {number!r}")
    try:
        angles[np.flatnonzero(pc.is_valid(values))] = Angle(cells, unit=unit).degree
    except ValueError as error:
        raise ValueError(f"expected numbers or sexagesimal angles ({' '.join(str(error).split())})") from error
    return angles
