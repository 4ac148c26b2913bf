"""What a data card says in a few words: title, description and licences."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from huggingface_hub import DatasetCard

_NO_PROSE = ("#", ">", "|", "<", "```")
"""How a Markdown paragraph begins that is a heading, a quotation, a table, a comment or code."""


class Brief(NamedTuple):
    """The title of a card, its first paragraph as plain text, and the names of its licences."""

    title: str
    description: str
    licences: tuple[str, ...]


def in_brief(card: DatasetCard, name: str) -> Brief:
    """Summarize the card of the dataset `name`, which stands in for what the card lacks."""
    title = str(card.data.get("pretty_name") or name)
    paragraphs = (" ".join(part.split()) for part in card.text.split("\n\n"))
    first = next((part for part in paragraphs if part and not part.startswith(_NO_PROSE)), title)
    return Brief(title, _plain(first), tuple(map(str, listed(card.data.get("license")))))


def _plain(markdown: str) -> str:
    """Return the text of links without their addresses, and that of code without its marks."""
    return re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", markdown).replace("`", "")


def listed(value: Any) -> list:
    """Return a value of a card's YAML that may be a list as a list."""
    return value if isinstance(value, list) else [value] if value else []
