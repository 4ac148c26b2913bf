"""The one table of what a column may be. A further kind is a class beside these, and an entry here.

Whoever handles columns asks the table; nobody else tells kinds apart.
"""

from __future__ import annotations

from typing import Any

from skyshards.format.kinds.base import Declared, Kind
from skyshards.format.kinds.image import ImageFile
from skyshards.format.kinds.number import Number
from skyshards.format.kinds.text import Text

KINDS: dict[str, Kind] = {kind.name: kind for kind in (Number(), Text(), ImageFile())}
"""By the name that manifests have for them."""


def declared(feature: Any) -> Declared:
    """What a `datasets` feature declares; raises `TypeError` if no kind of column can hold it."""
    for kind in KINDS.values():
        if (found := kind.declared(feature)) is not None:
            return found
    if getattr(feature, "length", None) == -1:
        raise TypeError(f"a list needs a fixed length; found {feature!r}")
    expected = "; ".join(kind.features for kind in KINDS.values())
    raise TypeError(f"expected one of these features: {expected}; found {feature!r}")


def kind_of(feature: Any) -> Kind:
    """The kind of column that holds a `datasets` feature."""
    return KINDS[declared(feature).kind]
