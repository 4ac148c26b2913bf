"""The entries of a BibTeX file."""

from __future__ import annotations

import re
from collections.abc import Iterator

HEAD = re.compile(r"@(\w+)\s*\{\s*([^,\s]+)\s*,")
"""How an entry begins: its type and key."""


def bibtex_entries(text: str) -> Iterator[str]:
    """The entries of a BibTeX file, as they stand in it; what is between them is left out.

    Raises `ValueError` for an entry without an end.
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
            raise ValueError(f"the entry {head[2]!r} has no end: a brace is not closed")
        yield text[head.start() : place]
