"""The `datasets` features of an export, and the Arrow schema of its files, which carries them.

Not needed to write rows: importing `datasets` takes a second.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import datasets
import pyarrow as pa

from skyshards.export import columns, documentation
from skyshards.format.columns import ColumnSpec, nest
from skyshards.format.kinds import KINDS


def schema(name: str, specs: Mapping[str, ColumnSpec], splits: bool, lengths: Mapping[str, int]) -> pa.Schema:
    """Return the Arrow schema of every file, with features and documentation in its metadata.

    `lengths` are from `documentation.text_lengths`. `datasets` accepts features in a file only if they match its types
    exactly, so lists have no length there and arrays no shape; the card declares those.
    """
    stored = datasets.Features(
        {name: _map(member, stored_feature) for name, member in nest(specs).items()} | _added_features(splits)
    )
    plain = pa.schema(columns.fields(specs, splits))
    words = documentation.metadata(name, plain, specs, lengths)
    return plain.with_metadata({"huggingface": json.dumps({"info": {"features": stored.to_dict()}})} | words)


def features(specs: Mapping[str, ColumnSpec], splits: bool) -> datasets.Features:
    """Return the features for the card, with all lengths and shapes."""
    return datasets.Features(
        {name: _map(member, declared_feature) for name, member in nest(specs).items()} | _added_features(splits)
    )


def _added_features(splits: bool) -> dict[str, Any]:
    return {name: datasets.Value(str(field.type)) for name, field in columns.added(splits).items()}


def _map(member: Any, function: Any) -> Any:
    if isinstance(member, Mapping):
        return {name: _map(inner, function) for name, inner in member.items()}
    return function(member)


def declared_feature(spec: ColumnSpec) -> Any:
    """Return the feature of a column for the card."""
    picture = columns.picture_shape(spec)
    if picture is None:
        return KINDS[spec.kind].feature(spec)
    return datasets.Image() if picture == spec.shape else datasets.Sequence(datasets.Image(), length=spec.shape[0])


def stored_feature(spec: ColumnSpec) -> Any:
    """Return the feature that matches the type of a column in the files exactly."""
    picture = columns.picture_shape(spec)
    image = datasets.Value("binary") if columns.is_bare(spec) else datasets.Image()
    feature = KINDS[spec.kind].feature(columns.item(spec)) if picture is None else image
    depth = len(spec.shape) - len(picture or ())
    for _ in range(depth):
        feature = datasets.Sequence(feature)
    return feature
