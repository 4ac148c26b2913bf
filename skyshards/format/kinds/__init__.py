"""The registry of column kinds. To add a kind, write a class beside these and register it here.

Other code looks kinds up here and does not distinguish them itself.
"""

from __future__ import annotations

from typing import Any

from skyshards.format.kinds.advice import advice
from skyshards.format.kinds.base import Declared, Kind
from skyshards.format.kinds.image import ImageFile
from skyshards.format.kinds.number import Number
from skyshards.format.kinds.ragged import RaggedList
from skyshards.format.kinds.text import Text

KINDS: dict[str, Kind] = {kind.name: kind for kind in (Number(), Text(), ImageFile(), RaggedList())}
"""Kinds by their name in manifests."""


def declared(feature: Any) -> Declared:
    """Return what a `datasets` feature declares; raises `TypeError` if no kind of column can hold it."""
    for kind in KINDS.values():
        if (found := kind.declared(feature)) is not None:
            return found
    expected = "; ".join(kind.features for kind in KINDS.values())
    raise TypeError(f"expected one of these features: {expected}; found {feature!r}; declare {advice(feature)}")


def kind_of(feature: Any) -> Kind:
    """Return the kind of column that holds a `datasets` feature."""
    return KINDS[declared(feature).kind]
