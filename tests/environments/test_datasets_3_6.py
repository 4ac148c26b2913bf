"""In environments of their own: `datasets` 3.6 with the loading script, and the newest without anything of ours.

They come from the package index, and so run only when asked for: `pytest -m environments`. `SKYSHARDS_ENVIRONMENTS`
names a folder to keep them in.
"""

import sys
from pathlib import Path

import pytest

import skyshards
from gz3d.build_parent_sample import GZ3DRecipe
from skyshards.pipeline.build import build
from tests.environments.python import run

pytestmark = pytest.mark.environments

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def python_3_6(make_environment):
    return make_environment("datasets-3.6", "datasets==3.6.0", str(REPOSITORY))


@pytest.fixture(scope="module")
def stock_python(make_environment):
    return make_environment("stock", "datasets>=4.4,<6", "h5py")


LOADING_SCRIPT = """
import sys
import datasets, numpy as np, skyshards
from datasets import load_dataset

script, folder, streaming = sys.argv[1], sys.argv[2], sys.argv[3] == "streaming"
assert datasets.__version__ == "3.6.0"

def load(name=None, **options):
    options |= {"trust_remote_code": True, "split": "train", "streaming": streaming}
    return load_dataset(script, name, data_dir=folder, **options)

def same(found, wanted):
    if isinstance(wanted, dict):
        return set(found) == set(wanted) and all(same(found[name], wanted[name]) for name in wanted)
    found, wanted = np.asarray(found), np.asarray(wanted)
    if wanted.dtype.kind == "f":
        return found.shape == wanted.shape and np.array_equal(found, wanted, equal_nan=True)
    return found.shape == wanted.shape and bool((found == wanted).all())

table = skyshards.open(folder)
count = 0
for row, wanted in zip(load(), table):  # Python values: the numpy format of 3.6 makes float64 columns float32
    assert same(row, wanted), row["object_id"]
    count += 1
assert count == len(table)
assert load().features["segmentation"]["array"].shape == (4, 525, 525)
small = {name for name in table.catalog.column_names if not name.startswith("_")}
assert set(next(iter(load("catalog")))) == {
    name.partition(".")[0] for name in small if not table.schema[name].shape}
assert list(next(iter(load(columns=["object_id", "scale"])))) == ["object_id", "scale"]
print(count)
"""


@pytest.mark.parametrize("streaming", ["streaming", "not streaming"])
def test_datasets_3_6_loads_by_the_script(python_3_6, built_gz3d, tmp_path, streaming):
    script = REPOSITORY / "gz3d" / "gz3d.py"
    output = run(python_3_6, "-c", LOADING_SCRIPT, script, built_gz3d, streaming, folder=tmp_path)
    assert int(output.splitlines()[-1]) == len(skyshards.open(built_gz3d))


COUNT = """
import sys
from datasets import load_dataset
print(len(load_dataset(sys.argv[1], data_dir=sys.argv[2], trust_remote_code=True, split="train")))
"""


def test_a_folder_that_grew_is_loaded_anew(python_3_6, gz3d_fits, tmp_path):
    """`datasets` keeps what it once prepared; it must not take that for what the folder holds now."""
    folder = tmp_path / "gz3d"
    for limit in (2, 4):
        build(GZ3DRecipe(local_data_path=gz3d_fits), folder, limit=limit, workers=1)
        output = run(python_3_6, "-c", COUNT, REPOSITORY / "gz3d" / "gz3d.py", folder, folder=tmp_path)
        assert int(output.splitlines()[-1]) == limit


STOCK = """
import importlib.util, sys
from datasets import load_dataset

folder, streaming = sys.argv[1], sys.argv[2] == "streaming"
assert not [name for name in ("skyshards", "gz3d", "astropy", "deflate") if importlib.util.find_spec(name)]
rows = load_dataset(folder, split="train", streaming=streaming).with_format("numpy")
ids = []
for row in rows:
    assert row["image"].shape == (525, 525, 3) and row["segmentation"]["array"].shape == (4, 525, 525)
    sums = int(row["image"].sum()), int(row["segmentation"]["array"].sum())
    ids.append(f"{row['object_id']} {row['source']} {sums[0]} {sums[1]}")
assert set(next(iter(load_dataset(folder, "images", split="train", streaming=True)))) >= {"object_id", "image"}
assert "image" not in next(iter(load_dataset(folder, "catalog", split="train", streaming=True)))
print("\\n".join(ids))
"""


@pytest.mark.parametrize("streaming", ["streaming", "not streaming"])
def test_stock_datasets_loads_where_nothing_of_ours_is_installed(stock_python, built_gz3d, tmp_path, streaming):
    output = run(stock_python, "-c", STOCK, built_gz3d, streaming, folder=tmp_path)
    wanted = [
        f"{row['object_id']} {row['source']} {int(row['image'].sum(dtype=int))}"
        f" {int(row['segmentation']['array'].sum(dtype=int))}"
        for row in skyshards.open(built_gz3d)
    ]
    assert output.splitlines()[-len(wanted) :] == wanted
    assert sys.executable != str(stock_python)
