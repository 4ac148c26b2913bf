"""Galaxy Zoo on SDSS: galaxies that volunteers were sure about, spiral or elliptical, each with a colour cutout."""

from gz_sdss.gz_sdss import GZSDSS, LABELS, SCHEMA
from gz_sdss.hips2fits import Hips2Fits_access, download_with_retries, session
from gz_sdss.tables import safe_to_numeric
from gz_sdss.tar_files import save_images_to_TAR
from skyshards.read.hf_names import register

register("gz_sdss", "gz_sdss.gz_sdss")

__all__ = [
    "GZSDSS",
    "LABELS",
    "SCHEMA",
    "Hips2Fits_access",
    "download_with_retries",
    "safe_to_numeric",
    "save_images_to_TAR",
    "session",
]
