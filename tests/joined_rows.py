"""What an export must hold: values by their names there, None where a row lacks a value or, in a join, a dataset."""

import pyarrow.compute as pc

from skyshards import Ragged
from skyshards.format.columns import flatten

IDENTITY = ("object_id", "ra", "dec")


def name_in_export(path, parts):
    """The name of a joined table's column in its export: `gz3d.votes.mask` becomes `gz3d_votes.mask`."""
    part, _, rest = path.partition(".")
    if part not in parts:
        return path.replace(".", "_")
    return rest if part == parts[0] and rest in IDENTITY else f"{part}_{rest}"


def listed(values):
    """The values of a batch row by row, as a file has them."""
    if isinstance(values, Ragged):
        return values.rows()
    return values.tolist() if values.dtype.kind in "OU" else values


def known(values, column):
    """Values as a list, with None where the column of the catalogue is null."""
    is_known = pc.is_valid(column).to_pylist()
    return [value if there else None for value, there in zip(values, is_known, strict=True)]


def values_in_export(joined, parts):
    """The values of all rows of a table opened with `decode=False`, by their names in its export."""
    catalog, found = joined.catalog, {}
    there = {part: pc.is_valid(catalog[f"{part}._row"]).to_pylist() for part in parts}
    for path, values in flatten(joined[:]).items():
        part = path.partition(".")[0]
        if path in catalog.column_names and catalog[path].null_count:
            found[name_in_export(path, parts)] = known(values, catalog[path])
            continue
        values = values.rows() if isinstance(values, Ragged) else values
        if part == "separation":
            present = [value == value for value in values.tolist()]
        else:
            present = there.get(part, [True] * len(values))
        found[name_in_export(path, parts)] = [
            value if is_there else None for value, is_there in zip(values, present, strict=True)
        ]
    for part in parts[1:]:
        if len(set(catalog[f"{part}._split"].to_pylist()) - {None}) > 1:
            found[f"{part}__split"] = catalog[f"{part}._split"].to_pylist()
    return found
