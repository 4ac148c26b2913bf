"""The commands that documents and notebooks give: those that need no network run, all others are understood."""

import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest

from candels_blend.cli import main as candels_blender
from skyshards.cli import main

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[1]
SCRIPT = "build_parent_sample.py"
DOCUMENTS = sorted(
    path
    for pattern in ("*.md", "*/*.md", "notebooks/*.ipynb")
    for path in REPOSITORY.glob(pattern)
    if path.name not in ("CHANGELOG.md", "adding-a-dataset.md") and not path.is_relative_to(REPOSITORY / "data")
)
PROGRAMS = {"python", "skyshards", "candels-blender", "pip", "pytest", "hf"}
OFFLINE = ("info", "verify", "cite")
"""Commands that only look at a folder."""


def prose(path):
    text = path.read_text(encoding="utf-8")
    return text if path.suffix == ".md" else "\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"])


def commands_of(path):
    """Each command of a document as a list of words, in their order."""
    text = prose(path)
    fenced, indented, inline = r"```(?:bash|sh)\n(.*?)```", r"^    (\w.*)$", r"(?<!`)`([^`\n]+)`(?!`)"
    for found in re.findall(f"(?s:{fenced})|{indented}|{inline}", text, re.MULTILINE):
        for line in "".join(found).splitlines():
            for command in line.split("&&"):
                if command.split()[:1] and command.split()[0] not in PROGRAMS:
                    continue
                words = shlex.split(command, comments=True)
                if words[1:]:
                    yield words


COMMANDS = [(path.relative_to(REPOSITORY).as_posix(), words) for path in DOCUMENTS for words in commands_of(path)]
every_command = pytest.mark.parametrize(("document", "words"), COMMANDS, ids=[" ".join(words) for _, words in COMMANDS])


def understood(command, words, parent=None):
    """Have click read the words of a command, as far as it does before the command runs."""
    named = not words or "--help" in words  # and not given, with the arguments that it needs
    context = command.make_context("", list(words), parent, resilient_parsing=named)
    following = [*context._protected_args, *context.args]
    if isinstance(command, click.Group) and following:
        _, inner, rest = command.resolve_command(context, following)
        understood(inner, rest, context)  # with the names of its help option, which click 8.2 keeps


@every_command
def test_is_understood(document, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in (word for word in words if re.fullmatch(r"[\w.]+\.(parquet|csv)", word)):
        (tmp_path / name).touch()
    for name in (word for word in words if re.fullmatch(r"[\w.]+\.adql", word)):
        (tmp_path / name).write_text("SELECT ra, dec FROM table")
    for name in (word for word in words if re.fullmatch(r"data/\w+", word)):
        (tmp_path / name).mkdir(parents=True)
    program, *rest = words
    groups = {"skyshards": main.main, "candels-blender": candels_blender}
    if program in groups and len(rest) == 1:  # a command that is only mentioned
        assert rest[0] in groups[program].list_commands(None)
    elif program == "pip":
        (extras,) = re.findall(r"\[(.*)\]", words[-1]) or [""]
        there = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        assert set(filter(None, extras.split(","))) <= set(there)
    elif program == "candels-blender" and "|" in rest:
        assert set(rest) - {"|"} <= set(candels_blender.commands)
    elif program == "candels-blender":
        understood(candels_blender, rest)
    elif program == "hf":
        if not shutil.which("hf"):
            pytest.skip("huggingface_hub has no command hf")
        outcome = subprocess.run([*words, "--help"], capture_output=True, text=True, timeout=120)
        assert outcome.returncode == 0 and "Usage: hf" in outcome.stdout, outcome.stderr
    elif program == "skyshards":
        understood(main.main, rest)
    elif program == "python" and rest[0] == SCRIPT:
        understood(main.build, rest[1:])
    elif program == "python":
        assert rest[0].startswith("-") or (REPOSITORY / rest[0]).exists()


@pytest.fixture
def clone(tmp_path):
    """A folder to type commands in, as in a clone."""
    (tmp_path / SCRIPT).symlink_to(REPOSITORY / SCRIPT)
    (tmp_path / "notebooks").mkdir()
    return tmp_path


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(REPOSITORY).as_posix())
def test_those_without_a_network_run(path, clone):
    cwd = clone / "notebooks" if path.suffix == ".ipynb" else clone
    for words in commands_of(path):
        builds = "--demo" in words
        looks = words[0] == "skyshards" and words[1] in OFFLINE and words[-1].startswith("data/")
        if not builds and not looks:
            continue
        program = {"python": [], "skyshards": ["-c", "from skyshards.cli.main import main; main()"]}[words[0]]
        command = [sys.executable, *program, *words[1:], *(["--workers", "1"] if builds else [])]
        outcome = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300)
        assert outcome.returncode == 0, outcome.stderr


def test_there_are_commands():
    assert {"README.md", "gz_decals/README.md", "notebooks/demo_gz3d.ipynb"} <= {document for document, _ in COMMANDS}
