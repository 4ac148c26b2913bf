"""Stock `datasets` caches by a folder's name and its card: it must see that a folder was built again."""

import sys

import pytest

from tests.environments.python import run
from tests.stock_cache import LOAD, assert_told_apart
from tests.versions import stock_reads_hdf5

pytestmark = pytest.mark.slow


@stock_reads_hdf5
def test_a_folder_that_was_built_again_gives_its_new_rows(tmp_path):
    def load(folder):
        return run(sys.executable, "-c", LOAD, folder, tmp_path / "cache", folder=tmp_path)

    assert_told_apart(tmp_path / "toy", load)
