"""`docs/adding-a-dataset.md` does what it says: its commands run, with its files in their places."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import skyshards

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[1]
PAGE = (REPOSITORY / "docs" / "adding-a-dataset.md").read_text(encoding="utf-8")
PROGRAMS = {
    "skyshards": ["-c", "from skyshards.cli.main import main; main()"],
    "python": [],
    "pytest": ["-m", "pytest", "-q", "-p", "no:cacheprovider"],
}


def run(words, cwd):
    variables = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, *PROGRAMS[words[0]], *words[1:]]
    outcome = subprocess.run(command, cwd=cwd, env=variables, capture_output=True, text=True, timeout=300)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder in which the page was followed from its first line to its last."""
    home = tmp_path_factory.mktemp("home")
    blocks = re.findall(r"```(bash|python)\n(.*?)```", PAGE, re.DOTALL)
    for number, (language, block) in enumerate(blocks):
        if language == "python":
            path, text = re.fullmatch(r"# (\S+)\n(.*)", block, re.DOTALL).groups()
            assert (home / path).exists(), "the page changes files that are there"
            (home / path).write_text(text, encoding="utf-8")
            continue
        later = {line for _, text in blocks[number + 1 :] for line in text.splitlines()}
        for line in block.splitlines():
            if line not in later:  # tests of made-up rows: see test_new.py
                run(shlex.split(line), home)
    return home


def test_what_the_page_builds_is_whole(home):
    made_up, images = (skyshards.open(home / "data" / name) for name in ("my_survey", "five_images"))
    assert len(made_up) == len(images) == 5
    assert images[0]["image"].shape == (525, 525, 3)


def test_the_page_names_every_file(home):
    for path in (home / "my_survey").iterdir():
        assert path.name == "__pycache__" or f"`{path.name}`" in PAGE
