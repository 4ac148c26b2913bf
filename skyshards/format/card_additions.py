"""The card's section on columns that were added to a built dataset."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from skyshards.format.addition import Addition, scalars_files
from skyshards.format.columns import ColumnSpec
from skyshards.format.layout import CATALOG
from skyshards.format.manifest import Manifest
from skyshards.format.missing import in_words
from skyshards.text import counted

START, END = "<!-- added columns -->", "<!-- end of added columns -->\n"
FORMATS, COPY = "\n## In the formats of `datasets`\n", "\n## This copy\n"
"""Headings before which the section stands, the first that there is."""

WHERE = """\
These columns were put beside the shards later, in files of their own. `skyshards.open` and
`load_dataset("skyshards", ...)` read them with the others; `{catalog}` has the small ones, with nulls in rows without
values. Stock `datasets` reads each addition as the config of its name, with the rows that have values{scalars}. Its
other configs read the shards, which do not have these columns.
"""
SCALARS = ", and the added scalars in the config `catalog` as well"


def section(manifest: Manifest, counts: dict[str, int], table: Callable[[Iterable[ColumnSpec]], str]) -> str:
    """Write the section; "" without additions.

    Parameters
    ----------
    manifest : Manifest
    counts : dict of int
        By addition, the number of rows of the dataset with values.
    table : callable
        Formats columns as a Markdown table.
    """
    if not manifest.additions:
        return ""
    rows = sum(shard.rows for shard in manifest.shards)
    scalars = SCALARS if scalars_files(manifest) else ""
    parts = ["## Added columns", WHERE.format(catalog=CATALOG, scalars=scalars).strip()]
    for addition in manifest.additions:
        parts += [f"### {addition.name}", _origin(addition, counts[addition.name], rows), table(addition.columns)]
    return "\n" + START + "\n" + "\n\n".join(parts) + "\n" + END


def _origin(addition: Addition, count: int, rows: int) -> str:
    fills: dict[str, list[str]] = {}
    for spec in addition.columns:
        fills.setdefault(in_words(spec), []).append(f"`{spec.path}`")
    others = "; ".join(f"{words} in {', '.join(names)}" for words, names in fills.items())
    without = f" The others have {others}." if count < rows else ""
    return (
        f"From `{addition.table}` ({counted(addition.table_rows, 'rows')}, sha256 {addition.table_sha256}),"
        f" by {addition.match}: values in {count:,} of {counted(rows, 'rows')}.{without} File: `{addition.path}`."
    )


def inserted(body: str, text: str) -> str:
    """Put the section into a card's body, in place of an earlier one."""
    before, start, rest = body.partition("\n" + START)
    body = before + rest.partition(END)[2] if start else body
    heading = next((heading for heading in (FORMATS, COPY) if heading in body), None)
    if heading is None:
        return f"{body.rstrip()}\n{text}"
    before, _, after = body.partition(heading)
    return f"{before}{text}{heading}{after}"
