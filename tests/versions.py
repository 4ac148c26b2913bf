"""What some of the versions that `pyproject.toml` admits cannot do."""

import datasets
import pytest
from packaging.version import Version

DATASETS = Version(datasets.__version__)

stock_reads_hdf5 = pytest.mark.skipif(Version("4.4") > DATASETS, reason="stock datasets reads HDF5 from 4.4 on")
