"""The reader that `docs/format.md` gives, run as a program of its own, against the table."""

import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np

import skyshards
from skyshards.format.columns import flatten

DOCUMENT = (Path(__file__).parents[1] / "docs" / "format.md").read_text(encoding="utf-8")
(READER,) = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)
DUMP = """
import pickle, sys

with open(sys.argv[2], "wb") as file:
    for row in rows(sys.argv[1]):
        pickle.dump(row, file)
assert not {"skyshards", "h5py", "datasets", "deflate"} & set(sys.modules)
"""


def assert_reads(folder, tmp_path):
    """Every value of a folder is the table's, in the table's order."""
    command = [sys.executable, "-c", READER + DUMP, str(folder), str(tmp_path / "rows")]
    outcome = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert outcome.returncode == 0, outcome.stderr
    table = skyshards.open(folder, decode=False)
    assert len(table) > 0
    with open(tmp_path / "rows", "rb") as file:
        for wanted in table:
            found, wanted = pickle.load(file), flatten(wanted)
            assert list(found) == list(wanted)
            for path, value in wanted.items():
                if isinstance(value, bytes):
                    assert found[path] == value, path
                else:
                    same_dtype = np.asarray(value).dtype.kind not in "UO"  # text is as long as the longest in a batch
                    np.testing.assert_array_equal(found[path], value, err_msg=path, strict=same_dtype)
        assert not file.read(1)
