"""Labels have their names in stock `datasets`, from the oldest that reads HDF5 to the newest."""

import json

import pytest

from skyshards.pipeline.build import build
from tests.environments.python import run
from tests.toy import Toy

pytestmark = pytest.mark.environments

NAMES = """
import json, sys
from datasets import load_dataset

found = []
for streaming in (True, False):
    for config in ("default", "flags", "catalog"):
        rows = load_dataset(sys.argv[1], config, split="train", streaming=streaming)
        label = rows.features["label"]
        found.append([label.names, {label.int2str(row["label"]) for row in rows} == set(label.names)])
print(json.dumps(found))
"""


@pytest.mark.parametrize("version", ["4.4", "4.8", "5.2"])
def test_labels_have_names(make_environment, tmp_path, version):
    python = make_environment(f"stock-{version}", f"datasets=={version}.*", "h5py", "pillow")
    folder = tmp_path / "toy"
    build(Toy(4), folder, workers=1)
    output = run(python, "-c", NAMES, folder, folder=tmp_path)
    assert json.loads(output.splitlines()[-1]) == [[["elliptical", "spiral"], True]] * 6
