"""Text from elsewhere, made fit for a terminal."""

from __future__ import annotations


def printable(text: str) -> str:
    """A text whose control characters, which may steer a terminal, are written as escapes."""
    return "".join(letter if letter.isprintable() or letter in "\n\t" else ascii(letter)[1:-1] for letter in text)
