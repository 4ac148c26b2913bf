"""The card and citations of what is exported: those of the built dataset, or those of all joined datasets."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import yaml
from huggingface_hub import DatasetCard

from skyshards.export.card import NOT_OF_THIS_FORM
from skyshards.export.content import Content, Part
from skyshards.format import layout
from skyshards.format.bibtex import bibtex_entries
from skyshards.format.card import COLUMNS_END, COLUMNS_START, SIMULATED, size_category
from skyshards.format.card_brief import listed
from skyshards.text import counted

UNITED = ("license", "task_categories", "tags")
"""Keys of a card's YAML with lists, which a join has from all its datasets."""
KEPT = ("license_name", "license_link")
"""Keys that a join has from the first dataset with them."""


def bibtex(content: Content) -> str:
    """Return the citations of all datasets, each once."""
    texts = [_text(part, layout.CITATION) for part in content.parts.values()]
    if not content.joined:
        return texts[0]
    return "\n\n".join(dict.fromkeys(entry for text in texts for entry in bibtex_entries(text))) + "\n"


def card(content: Content) -> DatasetCard:
    """Return the card of the built dataset; for a join, one made from the cards of all its datasets."""
    cards = {name: DatasetCard(_text(part, layout.CARD)) for name, part in content.parts.items()}
    if not content.joined:
        return next(iter(cards.values()))
    titles = {name: of.data.get("pretty_name") or name for name, of in cards.items()}
    first, *others = titles.values()
    matter = _matter([of.data.to_dict() for of in cards.values()])
    matter |= {"pretty_name": f"{first} joined with {_and(others)}", "size_categories": [size_category(len(content))]}
    sections = [
        f"# {matter['pretty_name']}",
        *([SIMULATED.strip()] if content.simulated else []),
        _about(content),
        f"## Columns\n\n{COLUMNS_START}\n{COLUMNS_END}",
        *(f"## {titles[name]} (`{name}`)\n\n{_without_files(of.text)}" for name, of in cards.items()),
    ]
    text = "\n\n".join(sections)
    return DatasetCard(f"---\n{yaml.safe_dump(matter, sort_keys=False, allow_unicode=True)}---\n\n{text}\n")


def _text(part: Part, name: str) -> str:
    return part.store.read_file(name).decode()


def _matter(cards: list[dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key in UNITED:
        values = [value for of in cards for value in listed(of.get(key))]
        if values:
            found[key] = list(dict.fromkeys(values))
    for key in KEPT:
        values = [of[key] for of in cards if key in of]
        if values:
            found[key] = values[0]
    return found


def _about(content: Content) -> str:
    """Describe the rows and columns of a join."""
    first, *others = content.parts
    found = [f"{int((part.rows >= 0).sum()):,} with a row of `{name}`" for name, part in content.parts.items()][1:]
    absent = " or ".join(f"`{name}`" for name in others)
    return (
        f"{counted(len(content), 'rows')} of `{first}`, {_and(found)}: the same objects in several datasets. The names"
        " of columns"
        f" begin with that of their dataset, but `object_id`, `ra` and `dec` are those of `{first}`, and so are the"
        f" splits. Values are null where there is no row of {absent}."
    )


def _and(words: Iterable[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last


def _without_files(text: str) -> str:
    """Return a card's text one level down, without its title, table of columns and sections on files."""
    before, start, rest = text.replace(SIMULATED, "").partition(COLUMNS_START)
    text = before + rest.partition(COLUMNS_END)[2] if start else before
    title, *sections = re.split(r"^(?=## )", text.strip(), flags=re.MULTILINE)
    kept = [part for part in sections if part.partition("\n")[0].removeprefix("## ").strip() not in NOT_OF_THIS_FORM]
    about = re.sub(r"^# .*\n", "", title)
    whole = "\n\n".join(part.strip() for part in (about, *kept)).strip()
    pieces = re.split(r"(^```.*?^```)", whole, flags=re.MULTILINE | re.DOTALL)  # every other one is code
    pieces[::2] = [re.sub(r"^#", "##", piece, flags=re.MULTILINE) for piece in pieces[::2]]
    return "".join(pieces)
