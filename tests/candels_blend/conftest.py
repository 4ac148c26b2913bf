"""An archive of simulated galaxies, and blends of them."""

import pytest

from candels_blend.download import unpack
from candels_blend.stamp_archive import read_archive
from candels_blend.stamps import prepare
from demo_archive.holdings import candels as simulated


@pytest.fixture(scope="session")
def tarball(tmp_path_factory):
    """The archive as it is fetched; tests must not change it."""
    path = tmp_path_factory.mktemp("tarball") / "candels-blender-data.tar.gz"
    path.write_bytes(simulated.archive(40, seed=1))
    return path


@pytest.fixture(scope="session")
def datapath(tarball, tmp_path_factory):
    """The unpacked archive; tests must not change it."""
    folder = tmp_path_factory.mktemp("data")
    unpack(tarball, folder)
    return folder


@pytest.fixture(scope="session")
def archive(datapath):
    return read_archive(datapath)


@pytest.fixture(scope="session")
def stamps(archive):
    return prepare(archive)
