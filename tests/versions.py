"""What some of the versions that `pyproject.toml` admits cannot do."""

import datasets
import pytest
from packaging.version import Version

DATASETS = Version(datasets.__version__)

stock_reads_hdf5 = pytest.mark.skipif(Version("4.4") > DATASETS, reason="stock datasets reads HDF5 from 4.4 on")


def as_formatted(value):
    """A value as `with_format("numpy")` gives it: before datasets 4, float64 became float32."""
    is_narrowed = Version("4") > DATASETS and value.dtype == "float64"
    return value.astype("float32") if is_narrowed else value
