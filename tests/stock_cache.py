"""Two builds that stock `datasets` must tell apart, and a program that loads one with nothing of ours."""

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from skyshards.pipeline.build import build
from tests.toy import Toy

LOAD = """
import json, sys
from datasets import disable_progress_bars, load_dataset

disable_progress_bars()
folder, cache = sys.argv[1:]
found = {}
for config in ("default", "flags", "catalog"):
    for processes in (None, 2):
        place = f"{cache}/{processes}"
        rows = load_dataset(folder, config, split="train", cache_dir=place, num_proc=processes)
        found[f"{config}, num_proc={processes}"] = rows["object_id"][:]
print(json.dumps(found))
"""


@dataclass(frozen=True)
class OtherToy(Toy):
    """The same pictures and positions under other names."""

    def read(self, source, fetched):
        for row in super().read(source, fetched):
            yield row | {"object_id": row["object_id"].replace("galaxy", "nebula")}


def assert_told_apart(folder: Path, load) -> None:
    """Build twice at the same place, load after each; `load` runs the program above on a folder and gives its output.

    But for the name of the build, the YAML of both cards is the same.
    """
    cards, found = [], []
    for recipe in (Toy(6), OtherToy(6)):
        shutil.rmtree(folder, ignore_errors=True)
        build(recipe, folder, workers=1)
        text = (folder / "README.md").read_text().split("---\n")[1]
        cards.append(re.subn(r" sha256 \w{64}\n", "", text))
        found.append(json.loads(load(folder).splitlines()[-1]))
    (first, configs), (second, _) = cards
    assert first == second and configs == 3
    for name, ids in found[1].items():
        assert ids == [name.replace("galaxy", "nebula") for name in found[0][name]], name
        assert len(ids) == 6
