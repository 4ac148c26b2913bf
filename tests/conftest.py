"""Fixtures that all tests share."""

import gc
import signal
import warnings
from pathlib import Path

import pytest
import requests
from hypothesis import HealthCheck, settings

from demo_archive import DemoArchive
from skyshards.pipeline.build import build

if (
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN
):  # what runs in the background ignores it, and so does all it starts
    signal.signal(signal.SIGINT, signal.default_int_handler)

# a slow machine is no fault
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


def pytest_make_parametrize_id(config, val, argname) -> str | None:
    """Name long bytes by their length: those that gzip makes differ from process to process, and so would names."""
    return f"{len(val)} bytes" if isinstance(val, bytes) and len(val) > 30 else None


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real-format input that lies beside a development checkout."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the shared data are not beside this checkout")
    return SHARED_DATA


@pytest.fixture(scope="session")
def cases(shared_data) -> Path:
    """Inputs that were once read wrongly, with what is right for each."""
    folder = shared_data.parent / "cases"
    if not folder.is_dir():
        pytest.skip("the shared cases are not beside this checkout")
    return folder


@pytest.fixture(scope="module")
def pyvo_leftovers():
    """Close here, not during another file's tests, the connections that pyvo leaves to the garbage collector."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture(scope="session")
def demo():
    """A demo archive without faults, for tests that only read from it."""
    with DemoArchive(galaxies=10) as archive:
        yield archive


@pytest.fixture(scope="session")
def gz3d_fits(demo, tmp_path_factory) -> Path:
    """A folder with all GZ3D files of the demo archive."""
    from gz3d.sas import files_in_listing

    folder = tmp_path_factory.mktemp("fits")
    for name, url in files_in_listing(requests.get(demo.sas_url, timeout=60).text, demo.sas_url).items():
        if name.endswith(".fits.gz"):
            (folder / name).write_bytes(requests.get(url, timeout=60).content)
    return folder


@pytest.fixture(scope="session")
def built_gz3d(gz3d_fits, tmp_path_factory) -> Path:
    """A built GZ3D dataset; tests must not change it."""
    from gz3d.build_parent_sample import GZ3DRecipe

    folder = tmp_path_factory.mktemp("built") / "gz3d"
    assert build(GZ3DRecipe(local_data_path=gz3d_fits), folder, workers=2).failed == 0
    return folder


@pytest.fixture
def s3(monkeypatch):
    """The address of an S3 server on loopback with an empty bucket `sky`; credentials are in the environment."""
    s3fs = pytest.importorskip("s3fs", reason="the extra `remote` is not installed")
    moto = pytest.importorskip("moto.server", reason="moto is not installed")
    import boto3

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    try:
        host, port = server.get_host_and_port()
        requests.post(f"http://{host}:{port}/moto-api/reset", timeout=60)  # servers of a process share their objects
        boto3.client("s3", endpoint_url=f"http://{host}:{port}").create_bucket(Bucket="sky")
        yield f"http://{host}:{port}"
    finally:
        server.stop()
        s3fs.S3FileSystem.clear_instance_cache()  # or another test, whose server has another port, gets this one's
