"""Write `croissant.json`: a built dataset in MLCommons Croissant 1.0, for search engines and tools."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from huggingface_hub import DatasetCard

from skyshards.files import file_digest
from skyshards.format.columns import ColumnSpec
from skyshards.format.kinds import KINDS
from skyshards.format.layout import CARD, CATALOG, CITATION, CROISSANT, SHARDS, SOURCES, pixel_folder
from skyshards.format.manifest import Manifest

HDF5_FORMAT, PARQUET_FORMAT = "application/x-hdf5", "application/x-parquet"

_PLAIN = (
    "citeAs column equivalentProperty extract field fileProperty fileObject fileSet format includes isLiveDataset"
    " jsonPath key md5 parentField path recordSet references regex repeated replace samplingRate separator source"
    " subField transform"
)
CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    **{name: f"cr:{name}" for name in _PLAIN.split()},
    "conformsTo": "dct:conformsTo",
}
"""The JSON-LD context of Croissant 1.0 (https://docs.mlcommons.org/croissant/docs/croissant-spec.html)."""


def describe(folder: Path, manifest: Manifest) -> dict[str, Any]:
    """Describe a built dataset as JSON-LD.

    There are two record sets: `catalog`, the light columns, which Croissant's tools read from the Parquet file; and
    `rows`, the heavy ones in the HDF5 shards, which those tools cannot read but can show.

    Parameters
    ----------
    folder : Path
        Holds the data card, `CITATION.bib`, `catalog.parquet` and `sources.parquet`.
    manifest : Manifest
    """
    card = DatasetCard.load(folder / CARD).data
    title = card.get("pretty_name") or manifest.name
    rows = sum(shard.rows for shard in manifest.shards)
    simulated = " This dataset contains simulated galaxies only." if manifest.simulated else ""
    description = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": manifest.name,
        "alternateName": title,
        "description": f"{title}: {rows:,} rows in HEALPix-partitioned HDF5 shards.{simulated} See {CARD}.",
        "license": card.get("license"),
        "keywords": card.get("tags"),
        "citeAs": (folder / CITATION).read_text(encoding="utf-8").strip() or None,
        "distribution": [*(_file(folder / name) for name in (CATALOG, SOURCES)), _shards(manifest)],
        "recordSet": [_records(manifest, heavy=False), _records(manifest, heavy=True)],
    }
    description["recordSet"] = [records for records in description["recordSet"] if records["field"]]
    return {name: value for name, value in description.items() if value is not None}


def _file(path: Path) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": path.name,
        "name": path.name,
        "contentUrl": path.name,
        "contentSize": f"{path.stat().st_size} B",
        "encodingFormat": PARQUET_FORMAT,
        "sha256": file_digest(path),
    }


def _shards(manifest: Manifest) -> dict[str, Any]:
    return {
        "@type": "cr:FileSet",
        "@id": "shards",
        "name": "shards",
        "description": "HDF5 files, one folder per HEALPix pixel; their sha256 are in {CATALOG}.",
        "encodingFormat": HDF5_FORMAT,
        "includes": [f"{pixel_folder(split, '*', manifest.splits)}/{SHARDS}" for split in manifest.splits],
    }


def _records(manifest: Manifest, heavy: bool) -> dict[str, Any]:
    name = "rows" if heavy else "catalog"
    fields = [_field(name, spec) for spec in manifest.columns if spec.heavy == heavy]
    words = f"{'large' if heavy else 'small'} columns of every row, in {'the HDF5 shards' if heavy else CATALOG}"
    records = {"@type": "cr:RecordSet", "@id": name, "name": name, "description": f"The {words}.", "field": fields}
    # A galaxy may come from several sources, so the key is both columns.
    return records if heavy else records | {"key": [{"@id": "catalog/object_id"}, {"@id": "catalog/source"}]}


def _field(records: str, spec: ColumnSpec) -> dict[str, Any]:
    origin = {"fileSet": {"@id": "shards"}} if records == "rows" else {"fileObject": {"@id": CATALOG}}
    column = spec.path.replace(".", "/") if records == "rows" else spec.path
    shape = f" Shape {list(spec.shape)}." if spec.shape else ""
    unit = f" Unit: {spec.unit}." if spec.unit else ""
    field = {
        "@type": "cr:Field",
        "@id": f"{records}/{spec.path}",
        "name": spec.path,
        "description": f"{spec.description}.{unit}{shape}",
        "dataType": KINDS[spec.kind].croissant_type(spec),
        "source": origin | {"extract": {"column": column}},
    }
    return field | ({"repeated": True} if KINDS[spec.kind].is_list(spec) else {})


def write(folder: Path, manifest: Manifest) -> None:
    """Write `croissant.json` from the other files in the folder, so after all of them."""
    text = json.dumps(describe(folder, manifest), indent=1, ensure_ascii=False)
    (folder / CROISSANT).write_text(text + "\n", encoding="utf-8")
