"""The command `skyshards cite`: BibTeX entries and acknowledgements for built datasets."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass

import click

from skyshards.cli.options import messages
from skyshards.errors import FolderError
from skyshards.format.bibtex import HEAD, bibtex_entries, bibtex_field
from skyshards.format.layout import CARD, CITATION
from skyshards.read.store import store_at
from skyshards.text import printable

_HEADING = "## How to cite"


@dataclass(frozen=True)
class Citation:
    """How to cite a built dataset: its name, the acknowledgements, and BibTeX entries."""

    name: str
    simulated: bool
    words: str
    entries: tuple[str, ...]


def _work(entry: str) -> str:
    """Identifier of an entry's work: the DOI, or else the key."""
    doi = bibtex_field(entry, "doi")
    return doi.lower() if doi else _key(entry)


def _key(entry: str) -> str:
    """Key of a BibTeX entry."""
    head = HEAD.match(entry)
    assert head is not None, entry
    return head[2]


def how_to_cite(card: str) -> str:
    """Section "How to cite" of a data card, without its heading; empty if missing."""
    _, heading, rest = card.partition(f"{_HEADING}\n")
    return re.split(r"^## ", rest, maxsplit=1, flags=re.MULTILINE)[0].strip() if heading else ""


def citation(folder: str | os.PathLike) -> Citation:
    """Read how to cite a built dataset at a path or URL.

    Raises
    ------
    FolderError
        The folder has no built dataset, or its `CITATION.bib` or `README.md` cannot be read.
    """
    store = store_at(folder)
    manifest = store.open_catalog().manifest
    try:
        card, bibtex = (store.read_file(name).decode() for name in (CARD, CITATION))
    except UnicodeDecodeError as error:
        raise FolderError(f"{store}: {CARD} or {CITATION} cannot be read ({error}); build the dataset again") from error
    try:
        entries = tuple(bibtex_entries(bibtex))
    except ValueError as error:
        raise FolderError(f"{store}/{CITATION}: {error}; build the dataset again") from error
    return Citation(manifest.name, manifest.simulated, how_to_cite(card), entries)


def bibliography(citations: Iterable[Citation]) -> str:
    """Make a BibTeX file for several datasets: each work once, after the acknowledgements as comments.

    A key used for different works in different datasets is prefixed with the dataset's name.
    """
    comments, entries = [], {}
    keys: dict[str, str] = {}
    for found in citations:
        simulated = " This copy is simulated and contains none of their data." if found.simulated else ""
        comments += [f"% {found.name}.{simulated}", *(f"% {line}".rstrip() for line in found.words.splitlines()), "%"]
        for entry in found.entries:
            work, key = _work(entry), _key(entry)
            if work in entries:
                continue
            if keys.setdefault(key, work) != work:
                entry = entry.replace(key, f"{found.name}:{key}", 1)
            entries[work] = entry
    # BibTeX reads an @ as the beginning of an entry, even in a comment.
    header = "\n".join(comments).replace("@", "(at)")
    return "\n\n".join([header.rstrip("%\n"), *entries.values()]) + "\n"


@click.command("cite")
@click.argument("folders", metavar="FOLDER...", nargs=-1, required=True)
def command(folders: tuple[str, ...]) -> None:
    """Print BibTeX entries and acknowledgements for built datasets.

    Folders may be URLs.
    """
    with messages():
        click.echo(printable(bibliography(citation(folder) for folder in folders)), nl=False)
