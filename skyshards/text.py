"""Make untrusted text safe for a terminal."""

from __future__ import annotations


def printable(text: str) -> str:
    """Escape control characters, which can change the terminal's state."""
    return "".join(letter if letter.isprintable() or letter in "\n\t" else ascii(letter)[1:-1] for letter in text)
