"""The Python of GZ3D's data card does what the card says, run from its first block to its last."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

import skyshards
from gz3d.gz3d import SCHEMA
from tests.versions import stock_reads_hdf5

CARD = Path(__file__).parents[2] / "gz3d" / "README.md"


def with_a_cone_that_holds_rows(folder):
    """The card's text, its cone put round the galaxy of the (made-up) sky that has the most votes for a bar or arms."""
    table = skyshards.open(folder).columns(["ra", "dec", "segmentation.vote_fraction"])[:]
    best = table["segmentation"]["vote_fraction"].max(axis=1).argmax()
    text, count = re.subn(
        r"cone=\([^)]*\)", f"cone=({table['ra'][best]}, {table['dec'][best]}, 5.0)", CARD.read_text(encoding="utf-8")
    )
    assert count == 1
    return text


@stock_reads_hdf5
def test_python_of_the_card_runs(built_gz3d, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib", reason="the extra `notebooks` is not installed").use("Agg")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "gz3d").symlink_to(built_gz3d)
    monkeypatch.chdir(tmp_path)
    names, rows = {}, []
    for block in re.findall(r"```python\n(.*?)```", with_a_cone_that_holds_rows(built_gz3d), re.DOTALL):
        exec(compile(block, CARD.name, "exec"), names)
        rows.append(next(iter(names["rows"])))
    stock, registered, *_ = rows
    assert stock["segmentation"]["array"].shape == (4, 525, 525)
    assert set(registered) == {"image", "segmentation"}
    assert max(registered["segmentation"]["vote_fraction"]) >= 0.5
    assert names["batch"]["segmentation"]["array"].shape == (3, 4, 525, 525)
    np.testing.assert_array_equal(names["batch"]["image"][1], names["table"][1]["image"])
    names["plot_segmentation"].__globals__["plt"].close("all")


def test_every_column_of_the_volunteers_is_in_an_example():
    """In the Python of the card or of the notebook."""
    notebook = json.loads((CARD.parents[1] / "notebooks" / "demo_gz3d.ipynb").read_text(encoding="utf-8"))
    code = "".join("".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code")
    code += "".join(re.findall(r"```python\n(.*?)```", CARD.read_text(encoding="utf-8"), re.DOTALL))
    names = ["volunteers", "drew", "center_clusters", "star_clusters", "plateifu", "hexagon", "explorer_link", "drawn("]
    assert [name for name in names if name not in code] == []
    assert {name for name in names if not name.endswith("(")} < SCHEMA.columns.keys()
