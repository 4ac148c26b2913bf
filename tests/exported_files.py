"""The files of an export: their digests, and the values in them."""

import hashlib
import io

import numpy as np
from PIL import Image


def digests(folder):
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def decoded(value):
    """A value as Parquet has it, its image files decoded."""
    if isinstance(value, dict) and set(value) == {"bytes", "path"}:
        value = value["bytes"]
    if isinstance(value, bytes):
        return np.asarray(Image.open(io.BytesIO(value)))
    if isinstance(value, list):
        return np.stack([decoded(inner) for inner in value]) if value else np.empty(0)
    return np.asarray(value)
