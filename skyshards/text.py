"""Text for people: safe for a terminal, and counts with their nouns."""

from __future__ import annotations


def printable(text: str) -> str:
    """Escape control characters, which can change the terminal's state."""
    return "".join(letter if letter.isprintable() or letter in "\n\t" else ascii(letter)[1:-1] for letter in text)


def counted(number: int, nouns: str) -> str:
    """A number with a plural noun, which is in the singular after 1: "1 row", "2,000 rows", "1 galaxy"."""
    return f"{number:,} {singular(nouns) if number == 1 else nouns}"


def singular(nouns: str) -> str:
    """Singular of a plural noun, such as "rows", "galaxies" or "spectra"."""
    for plural, ending in (("spectra", "spectrum"), ("ies", "y"), ("ches", "ch"), ("s", "")):
        if nouns.endswith(plural):
            return nouns.removesuffix(plural) + ending
    return nouns
