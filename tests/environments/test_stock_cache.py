"""A folder that was built again, in environments of several versions of stock `datasets`."""

import pytest

from tests.environments.python import run
from tests.stock_cache import LOAD, assert_told_apart

pytestmark = pytest.mark.environments


@pytest.mark.parametrize("version", ["4.4", "4.8", "5.2"])
def test_a_folder_that_was_built_again_gives_its_new_rows(make_environment, tmp_path, version):
    python = make_environment(f"stock-{version}", f"datasets=={version}.*", "h5py", "pillow")

    def load(folder):
        return run(python, "-c", LOAD, folder, tmp_path / "cache", folder=tmp_path)

    assert_told_apart(tmp_path / "toy", load)
