"""Write `croissant.json`: a built dataset in MLCommons Croissant 1.0, for search engines and tools."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from huggingface_hub import DatasetCard

from skyshards.files import file_digest
from skyshards.format.addition import Addition
from skyshards.format.bibtex import bibtex_entries, bibtex_field
from skyshards.format.columns import ColumnSpec
from skyshards.format.kinds import KINDS
from skyshards.format.layout import CARD, CATALOG, CITATION, CROISSANT, SHARDS, SOURCES, pixel_folder
from skyshards.format.manifest import Manifest
from skyshards.text import counted

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

    Its records are those of `catalog.parquet`: Croissant's tools read no HDF5, so the shards are described, but have no
    record set. (They read all columns from the files of `skyshards export`.)

    Parameters
    ----------
    folder : Path
        Holds the data card, `CITATION.bib`, `catalog.parquet` and `sources.parquet`.
    manifest : Manifest
    """
    card, bibtex = DatasetCard.load(folder / CARD).data, (folder / CITATION).read_text(encoding="utf-8")
    title = card.get("pretty_name") or manifest.name
    rows = sum(shard.rows for shard in manifest.shards)
    simulated = " This dataset contains simulated galaxies only." if manifest.simulated else ""
    description = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": manifest.name,
        "alternateName": title,
        "description": f"{title}: {counted(rows, 'rows')} in HEALPix-partitioned HDF5 shards.{simulated} See {CARD}.",
        **publication(bibtex, manifest.written_by),
        "license": card.get("license"),
        "keywords": card.get("tags"),
        "citeAs": bibtex.strip() or None,
        "distribution": [
            *(_file(folder / name) for name in (CATALOG, SOURCES)),
            _shards(manifest),
            *map(_addition, manifest.additions),
        ],
        "recordSet": [_catalogue(manifest)],
    }
    return {name: value for name, value in description.items() if value is not None}


def publication(bibtex: str, written_by: str) -> dict[str, str | None]:
    """Return the page, date and version of a dataset: address and year of the first work, version of the builder.

    The address is that of the DOI or, if there is none, `url` or arXiv. Croissant requires versions of three numbers.
    """
    first = next(bibtex_entries(bibtex), "")  # the work that describes the data
    doi, url, eprint = (bibtex_field(first, name) for name in ("doi", "url", "eprint"))
    page = f"https://doi.org/{doi}" if doi else url or (f"https://arxiv.org/abs/{eprint}" if eprint else None)
    version = re.search(r"\d+\.\d+\.\d+", written_by)
    return {
        "url": page,
        "version": version[0] if version else "1.0.0",
        "datePublished": bibtex_field(first, "year"),
    }


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


def _addition(addition: Addition) -> dict[str, Any]:
    columns = "; ".join(f"{spec.path}: {description_of(spec)}" for spec in addition.columns)
    return {
        "@type": "cr:FileObject",
        "@id": addition.path,
        "name": addition.name,
        "description": f"Columns added from {addition.table}: {columns}",
        "contentUrl": addition.path,
        "contentSize": f"{addition.nbytes} B",
        "encodingFormat": HDF5_FORMAT,
        "sha256": addition.sha256,
    }


def _shards(manifest: Manifest) -> dict[str, Any]:
    columns = "; ".join(f"{spec.path}: {description_of(spec)}" for spec in manifest.columns if spec.heavy)
    where = f"HDF5 files, one folder per HEALPix pixel; their sha256 are in {CATALOG}."
    return {
        "@type": "cr:FileSet",
        "@id": "shards",
        "name": "shards",
        "description": f"{where} They hold all columns, also the large ones. {columns}".strip(),
        "encodingFormat": HDF5_FORMAT,
        "includes": [f"{pixel_folder(split, '*', manifest.splits)}/{SHARDS}" for split in manifest.splits],
    }


def _catalogue(manifest: Manifest) -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": "catalog",
        "name": "catalog",
        "description": f"The small columns of every row, in {CATALOG}.",
        "field": [_field(spec) for spec in manifest.specs.values() if not spec.heavy],
        # A galaxy may come from several sources, so the key is both columns.
        "key": [{"@id": "catalog/object_id"}, {"@id": "catalog/source"}],
    }


def description_of(spec: ColumnSpec) -> str:
    """Describe a column with its unit and shape."""
    shape = f" Shape {list(spec.shape)}." if spec.shape else ""
    unit = f" Unit: {spec.unit}." if spec.unit else ""
    return f"{spec.description}.{unit}{shape}"


def _field(spec: ColumnSpec) -> dict[str, Any]:
    field = {
        "@type": "cr:Field",
        "@id": f"catalog/{spec.path}",
        "name": spec.path,
        "description": description_of(spec),
        "dataType": KINDS[spec.kind].croissant_type(spec),
        "source": {"fileObject": {"@id": CATALOG}, "extract": {"column": spec.path}},
    }
    return field | ({"repeated": True} if KINDS[spec.kind].is_list(spec) else {})


def write(folder: Path, manifest: Manifest) -> None:
    """Write `croissant.json` from the other files in the folder, so after all of them."""
    text = json.dumps(describe(folder, manifest), indent=1, ensure_ascii=False)
    (folder / CROISSANT).write_text(text + "\n", encoding="utf-8")
