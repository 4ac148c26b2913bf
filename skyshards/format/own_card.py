"""The card and citations in a dataset's own folder, kept by its author: the columns table, and what they must hold."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import yaml
from huggingface_hub import DatasetCard

from skyshards.files import replacing
from skyshards.format.bibtex import HEAD, bibtex_entries, bibtex_field
from skyshards.format.card import with_columns
from skyshards.format.layout import CARD, CITATION
from skyshards.format.schema import Schema

FIELDS = ("pretty_name", "license", "tags", "task_categories")
"""Fields that the YAML of a card must have."""
GENERATED = ("configs", "dataset_info")
"""Fields that the build writes."""
PLACES = ("doi", "url", "eprint", "series")
"""Fields of a BibTeX entry that say where the work is; it needs one of them."""
LINES = {
    "load_dataset(": "how stock `datasets` loads it",
    "skyshards.open(": "how `skyshards.open` loads it",
    "\n## How to cite\n": "a section `## How to cite`",
    CITATION: f"that {CITATION} has what to cite",
}
"""Text that every card has, and what it says."""


def fill_in(folder: Path, schema: Schema) -> bool:
    """Write the table of columns between the marks of a dataset's own card; the rest stays as it is.

    Returns whether the card has changed. Raises `ValueError` if it lacks its marks, `OSError` if it cannot be written.
    """
    path = (folder / CARD).resolve()
    with path.open(encoding="utf-8", newline="") as file:
        found = file.read()
    newline = "\r\n" if "\r\n" in found else "\n"
    text = found.replace("\r\n", "\n")
    filled = with_columns(text, schema)
    if filled == text:
        return False
    with replacing(path) as temporary:
        temporary.write_text(filled, encoding="utf-8", newline=newline)
    return True


def problems(folder: Path, schema: Schema) -> Iterator[str]:
    """Yield what is wrong with a dataset's own card and citations, a line each: where, what, and what to do.

    Parameters
    ----------
    folder : Path
        Folder of the dataset's package.
    schema : Schema
        Columns of the card's table.
    """
    for name, check in ((CARD, lambda text: _of_card(text, schema)), (CITATION, _of_citations)):
        try:
            text = (folder / name).read_text(encoding="utf-8")
        except OSError as error:
            yield f"{folder / name}: cannot be read: {error.strerror}"
        except UnicodeDecodeError as error:
            yield f"{folder / name}: expected UTF-8, found another encoding ({error.reason})"
        else:
            yield from (f"{folder / name}: {problem}" for problem in check(text))


def _of_card(text: str, schema: Schema) -> Iterator[str]:
    try:
        data = DatasetCard(text, ignore_metadata_errors=False).data.to_dict()
    except (ValueError, TypeError, yaml.YAMLError) as error:
        yield f"the YAML between the first two lines of `---` cannot be read: {' '.join(str(error).split())}"
    else:
        for field in FIELDS:
            if not data.get(field):
                yield f"the YAML has no `{field}`; see https://huggingface.co/docs/hub/datasets-cards"
        if "astronomy" not in (data.get("tags") or ()):
            yield "the YAML's `tags` lack `astronomy`"
        for field in GENERATED:
            if field in data:
                yield f"the YAML has `{field}`, which the build writes; delete it"
    try:
        if with_columns(text, schema) != text:
            yield "the table of columns is not that of the schema; `skyshards card` writes it"
    except ValueError as error:
        yield str(error)
    for line, says in LINES.items():
        if line not in text:
            yield f"does not say {says}: expected {line.strip()!r} in it"
    for number, block in enumerate(re.findall(r"```python\n(.*?)```", text, re.DOTALL), 1):
        try:
            compile(block, CARD, "exec")
        except SyntaxError as error:
            yield f"Python block {number}, line {error.lineno}: {error.msg}"


def _of_citations(text: str) -> Iterator[str]:
    try:
        entries = list(bibtex_entries(text))
    except ValueError as error:
        yield f"{error}"
        return
    if not entries:
        yield "expected a BibTeX entry, found none"
    for entry in entries:
        head = HEAD.match(entry)
        assert head is not None, entry
        if bibtex_field(entry, "title") is None:
            yield f"the entry {head[2]!r} has no title"
        if not any(bibtex_field(entry, field) for field in PLACES):
            yield f"the entry {head[2]!r} does not say where the work is: expected one of {', '.join(PLACES)}"
