"""Write all of a HATS collection except its rows: metadata, index, card, citations and Croissant."""

from __future__ import annotations

import json

import pyarrow as pa
from huggingface_hub import DatasetCard

from skyshards.export import card, croissant, hats_files, sources
from skyshards.export.plan import Plan
from skyshards.format import layout
from skyshards.format.bibtex import bibtex_entries, bibtex_field
from skyshards.format.card import SIMULATED
from skyshards.format.card_brief import in_brief
from skyshards.place import Place


def write_all(place: Place, plan: Plan, schema: pa.Schema, url: str | None, published: str | None) -> None:
    """Write everything; `collection.properties` comes last and marks the export as complete."""
    source, bibtex = sources.card(plan.content), sources.bibtex(plan.content)
    words = _words(source, plan, bibtex)
    _write_catalogues(place, plan, schema, words)
    rows = plan.split_rows
    tile = f"{plan.name}/dataset/Norder*/Dir*/Npix*"
    files = {split: f"{tile}/{split}.parquet" if plan.several else f"{tile}.parquet" for split in rows}
    load = card.LOAD.format(place="path/to/this/folder", name=plan.name, split=plan.split_names[0], **plan.first)
    margin = (
        f" and {plan.margin_rows:,} in their margins of {plan.margin_arcsec:g} arcsec" if plan.margin_arcsec else ""
    )
    copy = card.this_copy(plan.content, rows, len(plan.tiles), margin)
    front = card.front_matter(source.data.to_dict(), plan.content.specs, files, rows, plan.split_nbytes)
    described = croissant.describe(source, plan, files, bibtex, url, published)
    for name, text in (
        (layout.CARD, f"---\n{front}---\n\n{card.body(source.text, plan.content.specs, load, copy)}"),
        (layout.CITATION, bibtex),
        (layout.CROISSANT, json.dumps(described, indent=1, ensure_ascii=False) + "\n"),
    ):
        with place.writing(name) as path:
            path.write_text(text, encoding="utf-8")
    margin_name = plan.margin_name if plan.margin_arcsec else None
    hats_files.write_collection(place, f"{plan.name}_collection", plan.name, margin_name, plan.index_name, **words)


def _write_catalogues(place: Place, plan: Plan, schema: pa.Schema, words: dict[str, str]) -> None:
    hats_files.write_index(place, plan.index_name, plan.ids, plan.index, plan.tiles)
    info = hats_files.properties(
        plan.index_name, "index", len(plan.order), primary_catalog=plan.name, indexing_column="object_id", **words
    )
    hats_files.describe(place, info)
    if plan.margin_arcsec:
        tiles, most = list(plan.margins), max(map(len, plan.margins.values()), default=0)
        info = hats_files.properties(
            plan.margin_name,
            "margin",
            plan.margin_rows,
            primary_catalog=plan.name,
            margin_threshold=plan.margin_arcsec,
            **hats_files.spatial(tiles, ".parquet", most),
            **words,
        )
        hats_files.describe(place, info, schema=schema, tiles=tiles)
    most = max(tile.stop - tile.start for tile in plan.tiles)
    info = hats_files.properties(
        plan.name,
        "object",
        len(plan.order),
        skymap_order=hats_files.skymap_order(plan.tiles),
        **hats_files.spatial(plan.tiles, plan.suffix, most),
        **words,
    )
    # Validators of catalogues with `_metadata` expect a single file per tile.
    hats_files.describe(place, info, tiles=plan.tiles, index=plan.index, metadata=not plan.several)


def _words(source: DatasetCard, plan: Plan, bibtex: str) -> dict[str, str]:
    """Return descriptive properties, with the names of the IVOA Note on HATS."""
    brief = in_brief(source, plan.name)
    found = {
        "obs_title": brief.title,
        "obs_description": brief.description,
        "obs_copyright": ", ".join(brief.licences),
        "bib_reference": " ".join(doi for entry in bibtex_entries(bibtex) if (doi := bibtex_field(entry, "doi"))),
    }
    if plan.content.simulated:
        notice = " ".join(line.removeprefix(">").strip(" *") for line in SIMULATED.splitlines()).replace("**", "")
        found |= {"obs_title": f"{brief.title} (simulated)", "obs_description": f"{notice} {brief.description}"}
    return {name: value for name, value in found.items() if value}
