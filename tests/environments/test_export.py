"""An exported dataset in environments without this project: LSDB, and stock `datasets` of several versions."""

import pickle
from pathlib import Path

import pytest
from click.testing import CliRunner

import skyshards
from candels_blend.build_parent_sample import main as build_candels_blend
from galaxy10.build_parent_sample import main as build_galaxy10
from sdss_spectra.build_parent_sample import main as build_sdss_spectra
from skyshards.export.run import export
from skyshards.format.columns import flatten
from skyshards.pipeline.build import build
from tests.environments.python import run
from tests.joined_rows import known, listed, values_in_export
from tests.toy import Toy

pytest.importorskip("hats", reason="the extra `hats` is not installed")
pytestmark = pytest.mark.environments

COMPARE = Path(__file__).with_name("stock_rows.py")


BUILT = {"candels_blend": build_candels_blend, "galaxy10": build_galaxy10, "sdss_spectra": build_sdss_spectra}
EXPORTS = ["gz3d", "toy", *BUILT, "joined_gz3d", "joined_toy"]


@pytest.fixture(scope="module")
def exports(built_gz3d, tmp_path_factory):
    """By name, an export and its rows: masks, all kinds of columns, two splits, pixels, spectra, left joins."""
    place = tmp_path_factory.mktemp("exports")
    build(Toy(60), place / "toy", workers=1)
    for name, main in BUILT.items():
        options = ["--demo", "--limit", "40", "--workers", "0", "-o", str(place / name)]
        assert CliRunner().invoke(main, options).exit_code == 0
    found = {}
    for folder in (built_gz3d, place / "toy", *(place / name for name in BUILT)):
        out, rows = place / "out" / folder.name, place / f"{folder.name}.pickle"
        export(folder, out, tile_mb=0.02 if folder.name == "toy" else 300, workers=0)
        table = skyshards.open(folder, decode=False)
        values = {path: listed(values) for path, values in flatten(table[:]).items()}
        nulls = [path for path in values if path in table.catalog.column_names and table.catalog[path].null_count]
        assert nulls or folder != built_gz3d  # so that they are compared as well
        values |= {path: known(values[path], table.catalog[path]) for path in nulls}
        rows.write_bytes(pickle.dumps((values, table.catalog["_split"].to_pylist())))
        found[folder.name] = out, rows, len(table)
    for name, folder in (("joined_gz3d", built_gz3d), ("joined_toy", place / "toy")):
        table = skyshards.open(folder, decode=False)
        half = table.select(slice(None, None, 2))
        joined = skyshards.join(table, half, names=("first", "second"), on="object_id", how="left")
        out, rows = place / "out" / name, place / f"{name}.pickle"
        export(joined, out, tile_mb=0.03, workers=0)
        values = values_in_export(joined, ("first", "second"))
        rows.write_bytes(pickle.dumps((values, joined.catalog["first._split"].to_pylist())))
        found[name] = out, rows, len(joined)
    return found


def assert_same(python, exported, how, folder):
    out, rows, count = exported
    assert int(run(python, COMPARE, out, rows, how, folder=folder).splitlines()[-1]) == count


@pytest.mark.parametrize("name", EXPORTS)
def test_lsdb(make_environment, exports, tmp_path, name):
    assert_same(make_environment("lsdb", "lsdb>=0.11,<0.12", "pillow"), exports[name], "lsdb", tmp_path)


@pytest.mark.parametrize("version", ["4.4", "5.2"])
@pytest.mark.parametrize("how", ["streaming", "stored"])
@pytest.mark.parametrize("name", EXPORTS)
def test_stock_datasets(make_environment, exports, tmp_path, name, how, version):
    python = make_environment(f"stock-{version}", f"datasets=={version}.*", "h5py", "pillow")
    assert_same(python, exports[name], how, tmp_path)
