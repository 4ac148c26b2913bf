"""What to cite for built datasets: the BibTeX entries and the acknowledgements of all that went into them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import click

from skyshards.cli.options import messages
from skyshards.errors import FolderError
from skyshards.files import open_regular
from skyshards.format import catalog
from skyshards.format.bibtex import HEAD, bibtex_entries
from skyshards.format.layout import CARD, CITATION
from skyshards.text import printable

_HEADING = "## How to cite"
_DOI = re.compile(r"""\bdoi\s*=\s*[{"]\s*([^}"]+?)\s*[}"]""", re.IGNORECASE)


@dataclass(frozen=True)
class Citation:
    """What a built dataset asks to be cited: its name, words about it, and BibTeX entries."""

    name: str
    simulated: bool
    words: str
    entries: tuple[str, ...]


def _work(entry: str) -> str:
    """What tells whether two entries are the same work: the DOI, or else the key."""
    doi = _DOI.search(entry)
    return doi[1].lower().removeprefix("https://doi.org/") if doi else _key(entry)


def _key(entry: str) -> str:
    """The key of a BibTeX entry, as `entries` gives it."""
    head = HEAD.match(entry)
    assert head is not None, entry
    return head[2]


def how_to_cite(card: str) -> str:
    """The section "How to cite" of a data card, without its heading; empty if there is none."""
    _, heading, rest = card.partition(f"{_HEADING}\n")
    return re.split(r"^## ", rest, maxsplit=1, flags=re.MULTILINE)[0].strip() if heading else ""


def citation(folder: Path) -> Citation:
    """What a built dataset asks to be cited.

    Raises
    ------
    FolderError
        If there is no built dataset, or its `CITATION.bib` or `README.md` is gone.
    """
    _, manifest = catalog.open_folder(folder)
    try:
        card, bibtex = (_text(folder / name) for name in (CARD, CITATION))
    except (OSError, UnicodeDecodeError) as error:
        raise FolderError(
            f"{folder}: {CARD} or {CITATION} cannot be read ({error}); build the dataset again"
        ) from error
    try:
        entries = tuple(bibtex_entries(bibtex))
    except ValueError as error:
        raise FolderError(f"{folder / CITATION}: {error}; build the dataset again") from error
    return Citation(manifest.name, manifest.simulated, how_to_cite(card), entries)


def _text(path: Path) -> str:
    with open(open_regular(path), encoding="utf-8") as file:
        return file.read()


def bibliography(citations: Iterable[Citation]) -> str:
    """A BibTeX file for several datasets: each work once, and the words about each dataset as comments before.

    Keys that stand for different works in different datasets get the dataset's name in front.
    """
    comments, entries = [], {}
    keys: dict[str, str] = {}
    for found in citations:
        simulated = " This copy is simulated: it is no data of theirs." if found.simulated else ""
        comments += [f"% {found.name}.{simulated}", *(f"% {line}".rstrip() for line in found.words.splitlines()), "%"]
        for entry in found.entries:
            work, key = _work(entry), _key(entry)
            if work in entries:
                continue
            if keys.setdefault(key, work) != work:
                entry = entry.replace(key, f"{found.name}:{key}", 1)
            entries[work] = entry
    # Outside of entries BibTeX reads an @ as the beginning of one, even in what looks like a comment.
    header = "\n".join(comments).replace("@", "(at)")
    return "\n\n".join([header.rstrip("%\n"), *entries.values()]) + "\n"


@click.command("cite")
@click.argument("folders", metavar="FOLDER...", nargs=-1, required=True, type=click.Path(path_type=Path))
def command(folders: tuple[Path, ...]) -> None:
    """Print the BibTeX and acknowledgements of all that went into built datasets."""
    with messages():
        click.echo(printable(bibliography(citation(folder) for folder in folders)), nl=False)
