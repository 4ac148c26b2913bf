"""Describe an exported dataset in MLCommons Croissant 1.0, whose tools can read the rows from Parquet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from huggingface_hub import DatasetCard

from skyshards.export.columns import is_bare, is_file, picture_shape
from skyshards.export.content import Content
from skyshards.export.plan import Plan
from skyshards.format.columns import ColumnSpec, nest
from skyshards.format.croissant import CONTEXT, PARQUET_FORMAT, description_of, publication
from skyshards.format.kinds import KINDS
from skyshards.text import counted

FILES, ROWS = "tiles", "rows"


def describe(
    source: DatasetCard, plan: Plan, files: Mapping[str, str], bibtex: str, url: str | None, published: str | None
) -> dict[str, Any]:
    """Describe the export as JSON-LD with one record set, `rows`, over the files of all splits."""
    title = source.data.get("pretty_name") or plan.name
    simulated = " This dataset contains simulated galaxies only." if plan.content.simulated else ""
    given = {name: value for name, value in (("url", url), ("datePublished", published)) if value}
    found = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": plan.name,
        "alternateName": title,
        "description": f"{title}: {counted(len(plan.order), 'rows')} in a HATS collection.{simulated} See README.md.",
        **publication(bibtex, plan.content.first.manifest.written_by),
        **given,
        "license": source.data.get("license"),
        "keywords": source.data.get("tags"),
        "citeAs": bibtex.strip() or None,
        "distribution": [
            {
                "@type": "cr:FileSet",
                "@id": FILES,
                "name": FILES,
                "description": "Parquet files, one for each HEALPix pixel (and split, if there are several).",
                "encodingFormat": PARQUET_FORMAT,
                "includes": list(files.values()),
            }
        ],
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": ROWS,
                "name": ROWS,
                "description": "All columns of every row.",
                "key": [{"@id": f"{ROWS}/{name}"} for name in _key(plan.content)],
                "field": [_field(name, member, [name]) for name, member in nest(plan.content.specs).items()],
            }
        ],
    }
    return {name: value for name, value in found.items() if value}


def _key(content: Content) -> list[str]:
    """Return the columns that tell all rows apart: a galaxy may come from several sources."""
    return [
        part.names[path] for part in content.parts.values() for path in ("object_id", "source") if path in part.names
    ]


def _field(name: str, member: ColumnSpec | Mapping[str, Any], place: list[str]) -> dict[str, Any]:
    field: dict[str, Any] = {"@type": "cr:Field", "@id": "/".join([ROWS, *place]), "name": "/".join(place)}
    if isinstance(member, Mapping):
        return field | {"subField": [_field(inner, value, [*place, inner]) for inner, value in member.items()]}
    source: dict[str, Any] = {"fileSet": {"@id": FILES}, "extract": {"column": place[0]}}
    # One step per level; steps apply to each element of a list.
    steps = [
        {"jsonPath": name} for name in (*place[1:], *(["bytes"] if _is_image(member) and not is_bare(member) else []))
    ]
    if steps:
        source["transform"] = steps
    field |= {"description": description_of(member), "dataType": _type(member), "source": source}
    return field | (
        {"repeated": True} if KINDS[member.kind].is_list(member) and picture_shape(member) != member.shape else {}
    )


def _is_image(spec: ColumnSpec) -> bool:
    return is_file(spec) or picture_shape(spec) is not None


def _type(spec: ColumnSpec) -> str:
    return "sc:ImageObject" if _is_image(spec) else KINDS[spec.kind].croissant_type(spec)
