"""What a page says, as plain data: everything that its script draws, but the pictures."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import yaml
from huggingface_hub import DatasetCard

from skyshards.files import is_url
from skyshards.format.card_brief import Brief, in_brief
from skyshards.format.layout import CARD, ROW, SHARD, SOURCE, SPLIT
from skyshards.format.manifest import WRITER, Manifest
from skyshards.format.missing import without_nulls
from skyshards.page import sky
from skyshards.page.fields import CHOICE, NUMBER, TEXT, Field, counts, fields, numbers
from skyshards.page.histograms import histogram
from skyshards.read.table import Table

MAX_ROWS = 600
"""Maximum number of rows in the gallery."""
MAX_VALUES_BYTES = 4_000_000
"""Approximate maximum size of their values, as JSON; with very many columns, there are fewer rows."""
MAX_TEXT = 500
"""Longer texts are cut."""
EXACT = 1 << 53
"""Integers beyond this are passed on as text: JavaScript's numbers would round them."""
Contents = dict[str, Any]


def contents(folder: str, table: Table) -> tuple[Contents, np.ndarray]:
    """Describe a built dataset.

    Parameters
    ----------
    folder : str
        Path or URL as the user named it; the lines of code on the page open it.
    table : Table
        All rows of this folder.

    Returns
    -------
    dict, int64 array
        The contents, ready for JSON; and the rows of the gallery, positions in the table.
    """
    manifest, sources = table._data.manifest, table._data.sources
    rows = _with_few_nulls(table.catalog, manifest)
    found = fields(rows, table.schema, len(manifest.splits) > 1)
    shown, columns, origins = _sample(table, rows, sources)
    x, y = sky.project(*(rows[name].take(pa.array(shown)).to_numpy() for name in ("ra", "dec")))
    map_ = sky.coverage(rows["ra"].to_numpy(), rows["dec"].to_numpy())
    brief = _brief(table)
    described = {
        "name": manifest.name,
        "title": brief.title,
        "description": brief.description,
        "licences": brief.licences,
        "simulated": manifest.simulated,
        "open": _opened(folder),
        "shell": shlex.quote(folder),
        "on_disk": not is_url(folder),
        "rows": len(rows),
        "splits": dict(_tally(rows[SPLIT])),
        "shards": len(manifest.shards),
        "nbytes": sum(shard.nbytes for shard in manifest.shards),
        "nside": manifest.nside,
        "sources": dict(_tally(sources["status"])),
        "options": {name: str(value) for name, value in manifest.options.items() if value is not None},
        "format": manifest.format,
        "built_by": manifest.written_by,
        "page_by": WRITER,
        "sky": {
            "map": map_.url,
            "nside": sky.NSIDE,
            "pixels": map_.pixels,
            "most": map_.most,
            "square_degrees": map_.square_degrees,
            "graticule": sky.graticule(),
            "galactic": sky.galactic_plane(),
            "labels": sky.labels(),
        },
        "columns": columns,
        "fields": [_field(field, rows, table) for field in found],
        "gallery": {
            "rows": shown.tolist(),
            "origins": origins,
            "code": list(_code(folder, rows, shown)),
            "x": _plain(pa.chunked_array([np.round(x, 4)])),
            "y": _plain(pa.chunked_array([np.round(y, 4)])),
        },
    }
    return described, shown


def _with_few_nulls(rows: pa.Table, manifest: Manifest) -> pa.Table:
    """Keep nulls of single numbers, which the page shows as NaN; lists, texts and labels have their fill values."""
    for name, spec in manifest.specs.items():
        if not spec.heavy and (spec.shape or spec.classes or spec.dtype == "str"):
            place = rows.schema.get_field_index(name)
            rows = rows.set_column(place, rows.schema.field(place), without_nulls(rows[name], spec))
    return rows


def _brief(table: Table) -> Brief:
    """Read the card, which a page can do without."""
    try:
        return in_brief(DatasetCard(table._data.reader.store.read_file(CARD).decode()), table.name)
    except (OSError, ValueError, TypeError, yaml.YAMLError):
        return Brief(table.name, "", ())


def _tally(column: pa.ChunkedArray) -> list[tuple[str | int, int]]:
    return counts(Field("", "", None, CHOICE), column, None)


def _field(field: Field, rows: pa.Table, table: Table) -> Contents:
    """Describe a field: a histogram of all rows for numbers that measure, counts for classes, flags and choices."""
    values = field.of(rows)
    described: Contents = {"name": field.name, "column": field.column, "element": field.element, "role": field.role}
    if field.identifies(rows):
        pass  # it is sorted and filtered by, but has no histogram
    elif field.role == NUMBER:
        found = histogram(numbers(values), pa.types.is_integer(values.type))
        described["histogram"] = found and found._asdict()
    elif field.role != TEXT:
        described["counts"] = counts(field, values, table.schema.get(field.column))
    return described


def _sample(table: Table, rows: pa.Table, sources: pa.Table) -> tuple[np.ndarray, list[Contents], list]:
    """Return evenly spaced rows, the columns with their values, and their origins, all within `MAX_VALUES_BYTES`."""
    most = MAX_ROWS
    while True:
        shown = spread(len(rows), most)
        part = rows.take(pa.array(shown))
        columns, origins = _columns(table, part), _origins(part, sources)
        nbytes = len(json.dumps([columns, origins]))
        if nbytes <= MAX_VALUES_BYTES or len(shown) <= 1:
            return shown, columns, origins
        most = max(1, min(len(shown) // 2, len(shown) * MAX_VALUES_BYTES // nbytes))


def spread(count: int, most: int) -> np.ndarray:
    """Return at most `most` of `count` rows, evenly spaced from the first to the last."""
    if count <= most:
        return np.arange(count)
    return np.linspace(0, count - 1, most).round().astype(np.int64)


def _columns(table: Table, part: pa.Table) -> list[Contents]:
    """Describe the columns, and list the values of the light ones for the rows of the gallery."""
    described = []
    if len(table.splits) > 1:
        words = "part of the dataset that the row belongs to"
        values = part[SPLIT].cast(pa.string()).to_pylist()
        described.append({"name": SPLIT, "type": "str", "unit": "", "description": words, "values": values})
    for name, column in table.schema.items():
        values = _plain(part[name]) if name in part.column_names else None
        entry = {
            "name": name,
            "type": column.type_in_words,
            "unit": column.unit,
            "description": column.description,
            "values": values,
        }
        described.append(entry | ({"classes": column.classes} if column.classes else {}))
    return described


def _plain(column: pa.ChunkedArray) -> list:
    """Convert values to those of JSON: NaN is None, infinities, and integers that JavaScript would round, are text."""
    kind = column.type
    if pa.types.is_fixed_size_list(kind):
        flat, length = _plain(pa.chunked_array([column.combine_chunks().flatten()])), kind.list_size
        return [flat[first : first + length] for first in range(0, len(flat), length)] if length else [[]] * len(column)
    if pa.types.is_string(kind):
        return [text if len(text) <= MAX_TEXT else text[:MAX_TEXT] + "…" for text in column.to_pylist()]
    if pa.types.is_floating(kind):
        # float32 as its own shortest decimals, not those of the nearest float64
        texts = column.to_numpy().astype(str).tolist()
        return [_number(text) for text in texts]
    values = column.to_pylist()
    exact = all(value is None or abs(value) <= EXACT for value in values)
    return values if exact else [value if value is None else str(value) for value in values]


def _number(text: str) -> float | str | None:
    if text in ("inf", "-inf"):
        return text.replace("inf", "Infinity")
    return None if text == "nan" else float(text)


def _origins(part: pa.Table, sources: pa.Table) -> list[list]:
    """Return source, URL, bytes, sha256, release, shard and place in it of each row; None for what is unknown."""
    places = pc.index_in(part[SOURCE], sources["key"].combine_chunks())
    origin = sources.take(places)
    releases = origin["release"] if "release" in origin.column_names else pa.nulls(len(part))  # of earlier versions
    of_file = (origin[name] for name in ("url", "bytes", "sha256"))
    columns = [part[SOURCE], *of_file, releases, part[SHARD].cast(pa.string()), part[ROW]]
    found = zip(*(column.to_pylist() for column in columns), strict=True)
    return [
        [key, url or None, nbytes if digest else None, digest or None, release or None, shard, row]
        for key, url, nbytes, digest, release, shard, row in found
    ]


def _opened(folder: str) -> str:
    return f"skyshards.open({folder!r})"


def _code(folder: str, rows: pa.Table, shown: np.ndarray) -> Iterator[str]:
    """Return the line that loads each row: by name where names are unique, else by position."""
    ids = rows["object_id"]
    unique = pc.count_distinct(ids).as_py() == len(ids)
    opened = _opened(folder)
    for row, name in zip(shown.tolist(), ids.take(pa.array(shown)).to_pylist(), strict=True):
        yield f"{opened}.find({name!r})[0]" if unique else f"{opened}[{row}]"
