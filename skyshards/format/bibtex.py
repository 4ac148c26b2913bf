"""Read the entries of a BibTeX file and their fields."""

from __future__ import annotations

import re
from collections.abc import Iterator

HEAD = re.compile(r"@(\w+)\s*\{\s*([^,\s]+)\s*,")
"""The start of an entry: its type and key."""


def bibtex_entries(text: str) -> Iterator[str]:
    """Yield the entries of a BibTeX file verbatim, without the text between them.

    Raises `ValueError` for an unterminated entry.
    """
    place = 0
    while head := HEAD.search(text, place):
        depth, place = 0, head.start()
        for found in re.finditer(r"\\.|[{}]", text[head.start() :]):
            depth += {"{": 1, "}": -1}.get(found[0], 0)
            place = head.start() + found.end()
            if depth == 0 and found[0] == "}":
                break
        else:
            raise ValueError(f"the entry {head[2]!r} has an unclosed brace")
        yield text[head.start() : place]


def bibtex_field(entry: str, name: str) -> str | None:
    """Return the value of an entry's field, which holds no braces; a DOI without the address of its resolver."""
    found = re.search(rf"""\b{name}\s*=\s*(?:[{{"]\s*([^}}"]+?)\s*[}}"]|(\w+))""", entry, re.IGNORECASE)
    return (found[1] or found[2]).removeprefix("https://doi.org/") if found else None
