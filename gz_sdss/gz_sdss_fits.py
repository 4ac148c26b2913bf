"""The `datasets` builder for a folder built with `--format fits`: `load_dataset("gz_sdss_fits", data_dir=...)`.

In a module of its own, as `datasets` takes the first builder that it finds in one.
"""

from gz_sdss.gz_sdss import FITS_SCHEMA
from skyshards.builder import ShardBuilder


class GZSDSSFits(ShardBuilder):
    """Galaxy Zoo labels with cutouts of any survey, in its own units."""

    schema = FITS_SCHEMA
