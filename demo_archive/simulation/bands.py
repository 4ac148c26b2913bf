"""Frames of cameras with bands other than g, r and i, the only ones in which the sky is simulated."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from demo_archive.simulation.galaxies import BANDS
from demo_archive.simulation.sky import Field, Sky

CAMERAS = {
    "sdss": {"u": ("g", 0.3), "g": ("g", 1.0), "r": ("r", 1.0), "i": ("i", 1.0), "z": ("i", 1.2)},
    "uvot": {
        "v": ("g", 1.1),
        "b": ("g", 0.8),
        "u": ("g", 0.3),
        "uvw1": ("g", 0.1),
        "uvw2": ("g", 0.05),
        "uvm2": ("g", 0.05),
    },
}
"""For each band of a camera, the simulated band that stands for it, and the flux relative to that."""
BIAS, BACKGROUND, NANOMAGGIES = 1000.0, 120.0, 0.005
"""In the frames of SDSS: counts added to every pixel, those of the sky, and nanomaggies per count, about."""
UVOT_RATE = 0.01
"""In the frames of UVOT: counts per second for each nanomaggy, about."""


def frame(sky: Sky, field: Field, camera: str, band: str) -> np.ndarray:
    """Render a frame of a camera: float32 `[height, width]`, row 0 north, in counts, or counts per second for UVOT."""
    source, part = CAMERAS[camera][band]
    flux = sky.bands(field)[BANDS.index(source)] * np.float32(part * field.scale**2)
    if camera == "uvot":
        return flux * np.float32(UVOT_RATE)
    return flux * np.float32(1 / NANOMAGGIES) + np.float32(BIAS + BACKGROUND)


def grey_jpeg(frame: np.ndarray) -> bytes:
    """Encode a frame as a grey picture, white at its brightest 0.2 percent."""
    low, high = np.percentile(frame, (10, 99.8))
    levels = np.clip((frame - low) / max(high - low, 1e-6) * 255, 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(levels).convert("RGB").save(buffer, "JPEG", quality=90)
    return buffer.getvalue()
