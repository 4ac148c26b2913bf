"""Write the data card of a built dataset: YAML that tells stock `datasets` how to load it, then Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import datasets
import yaml
from huggingface_hub import DatasetCard

from skyshards.errors import BuildError
from skyshards.files import file_digest
from skyshards.format import card_additions, croissant, missing
from skyshards.format.addition import scalars_files, with_additions
from skyshards.format.bibtex import bibtex_entries
from skyshards.format.card_folds import folds_section, statistics_section
from skyshards.format.card_formats import formats
from skyshards.format.catalog_file import CatalogFile
from skyshards.format.columns import ColumnSpec
from skyshards.format.kinds import KINDS, kind_of
from skyshards.format.layout import ADDED_ROW, CARD, CATALOG, CITATION, SHARDS, SOURCES, pixel_folder
from skyshards.format.manifest import Manifest
from skyshards.format.row_bytes import RowBytes
from skyshards.format.schema import Schema
from skyshards.text import counted

COLUMNS_START, COLUMNS_END = "<!-- columns -->", "<!-- end of columns -->"
SIMULATED = (
    "> **Simulated data.** This dataset contains simulated galaxies only: images, votes and positions\n"
    "> are made up. It shows how the dataset works, and nothing about the sky.\n"
)

STOCK_BATCH_BYTES = 16 << 20
"""Approximate bytes per batch of stock `datasets`; its default, 1,000 rows, takes 1 s and 750 MB with large rows."""


def stock_features(schema: Schema, config: str) -> datasets.Features:
    """Return the features under stock `datasets`: as declared, but image files as lists of bytes."""
    leaves = schema.config_columns(config)

    def plain(feature: Any) -> Any:
        if isinstance(feature, dict):
            return {name: plain(inner) for name, inner in feature.items()}
        return kind_of(feature).stock_feature(feature)

    return datasets.Features(plain(dict(schema.features_of(leaves))))


def front_matter(schema: Schema, manifest: Manifest, catalog: CatalogFile, digest: str) -> dict[str, Any]:
    """Return the part of the card's YAML for loading: data files, batch size, features and splits of each config.

    Each config also holds the sha256 of `catalog.parquet`. Stock `datasets` caches by the folder's name and a hash of
    this YAML, so without the digest another build under the same name would load the old rows.
    """
    counts = {split: sum(shard.rows for shard in manifest.shards if shard.split == split) for split in manifest.splits}
    counts = {split: rows for split, rows in counts.items() if rows}
    shards = {split: f"{pixel_folder(split, '*', manifest.splits)}/{SHARDS}" for split in counts}
    sizes = RowBytes(catalog)
    found = [_config(schema, config, shards, counts, sizes) for config in schema.config_names]
    if manifest.additions:
        everything = Schema.of_built(manifest.specs.values(), manifest.configs)
        if paths := scalars_files(manifest):
            found[-1] = _config(everything, "catalog", paths, counts, sizes)
        split = manifest.splits[0] if len(manifest.splits) == 1 else "all_splits"
        found += [
            _config(everything, addition.name, {split: addition.path}, {split: addition.rows}, sizes)
            for addition in manifest.additions
        ]
    configs, infos = zip(*found, strict=True)
    build = f"{CATALOG} sha256 {digest}"
    infos = [{"config_name": info.pop("config_name"), "description": build} | info for info in infos]
    return {"size_categories": [size_category(sum(counts.values()))], "configs": list(configs), "dataset_info": infos}


def _config(
    schema: Schema, config: str, files: Mapping[str, str], counts: Mapping[str, int], sizes: RowBytes
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the entries of a config under `configs` and `dataset_info`, from its files and rows by split."""
    row_bytes = sum(sizes.mean(schema.specs[column]) for column in schema.config_columns(config))
    batch_size = max(1, min(10_000, STOCK_BATCH_BYTES // round(row_bytes)))
    splits = [
        {"name": split, "num_bytes": round(rows * row_bytes), "num_examples": rows} for split, rows in counts.items()
    ]
    data_files = [{"split": split, "path": path} for split, path in files.items()]
    features = _in_one_form(stock_features(schema, config)._to_yaml_list())
    return (
        {"config_name": config, "data_files": data_files, "batch_size": batch_size},
        {"config_name": config, "features": features, "splits": splits},
    )


def _in_one_form(features: Any) -> Any:
    """Normalize features to the form of `datasets` 4, which calls a sequence a list."""
    if isinstance(features, list):
        return [_in_one_form(feature) for feature in features]
    if isinstance(features, dict):
        return {"list" if key == "sequence" else key: _in_one_form(value) for key, value in features.items()}
    return features


def size_category(rows: int) -> str:
    """Return the Hub's size category for a number of rows."""
    for bound, name in ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M")):
        if rows < bound:
            return name
    return "1M<n<10M"


def type_in_words(spec: ColumnSpec) -> str:
    """Return the type of a column as cards show it."""
    words = KINDS[spec.kind].card_words(spec)
    return f"{words} {list(spec.shape)}" if spec.shape else words


def columns_table(specs: Iterable[ColumnSpec], kind: Callable[[ColumnSpec], str] = type_in_words) -> str:
    """Format the columns as a Markdown table: name, type, unit and description."""
    lines = ["| column | type | unit | what it is |", "|---|---|---|---|"]
    for spec in specs:
        notes = [spec.labels, f"{missing.in_words(spec)} where missing" if spec.missing is not None else ""]
        notes = [note for note in notes if note]
        words = f"{spec.description} ({'; '.join(notes)})" if notes else spec.description
        lines.append(f"| `{spec.path}` | {kind(spec)} | {spec.unit} | {words} |")
    return "\n".join(lines)


def with_columns(text: str, schema: Schema) -> str:
    """Insert the table of columns between the two marks of a card."""
    before, after = _around_columns(text)
    return f"{before}\n{columns_table(schema.specs.values())}\n{after}"


def _around_columns(text: str) -> tuple[str, str]:
    """Return the text before and after a card's table of columns, including the marks."""
    before, start, rest = text.partition(COLUMNS_START)
    _, end, after = rest.partition(COLUMNS_END)
    if not end:
        raise ValueError(f"a card needs the marks {COLUMNS_START} and {COLUMNS_END} for the table of its columns")
    return before + start, end + after


def check(own: Path) -> None:
    """Check the card and citations in a dataset's own folder, before downloading anything.

    Raises
    ------
    BuildError
        If one of them is missing or unreadable, the card lacks its marks, or there is no BibTeX entry.
    """
    path = own / CARD
    try:
        _around_columns(DatasetCard.load(path).text)  # the columns may not be known yet
        path = own / CITATION
        if not list(bibtex_entries(path.read_text(encoding="utf-8"))):
            raise ValueError("expected a BibTeX entry, found none")
    except (OSError, ValueError, TypeError, yaml.YAMLError) as error:
        reason = error.strerror if isinstance(error, OSError) else " ".join(str(error).split())
        raise BuildError(
            f"{path}: {reason}; a dataset needs a card and its citations before it can be built"
        ) from error


def _this_copy(manifest: Manifest) -> str:
    options = ", ".join(f"{name} = {value}" for name, value in manifest.options.items() if value is not None)
    rows = ", ".join(
        f"{counted(sum(shard.rows for shard in manifest.shards if shard.split == split), 'rows')} ({split})"
        for split in manifest.splits
    )
    gigabytes = sum(shard.nbytes for shard in manifest.shards) / 1e9
    return (
        f"## This copy\n\n{rows} in {counted(len(manifest.shards), 'HDF5 files')} ({gigabytes:.3f} GB), one folder per"
        f" HEALPix pixel (nside {manifest.nside}, NESTED). Built with: {options or 'the default options'}."
        f" Written by {manifest.written_by} in format {manifest.format}."
        f" `{CATALOG}` holds the small columns of every row, `{SOURCES}` where each row came from.\n\n"
        f"The same sources and options give the same bytes again with deflate {version('deflate')} and pyarrow"
        f" {version('pyarrow')}: others may compress the same values differently.\n"
    )


def _with_additions(body: str, manifest: Manifest, catalog: CatalogFile) -> str:
    counts = {each.name: len(catalog) - catalog.lacking(ADDED_ROW + each.name) for each in manifest.additions}
    return card_additions.inserted(body, card_additions.section(manifest, counts, columns_table))


def write(folder: Path, own: Path, schema: Schema, manifest: Manifest, catalog: CatalogFile) -> None:
    """Write `README.md` and `CITATION.bib` of a built dataset from those in the folder `own`, and `croissant.json`.

    Needs a finished `catalog.parquet`.
    """
    source = DatasetCard.load(own / CARD)
    matter = source.data.to_dict() | front_matter(schema, manifest, catalog, file_digest(folder / CATALOG))
    body = with_columns(source.text.strip(), schema)
    if manifest.simulated:
        title, newline, rest = body.partition("\n")
        body = f"{title}{newline}\n{SIMULATED}\n{rest}"
    front = yaml.safe_dump(matter, sort_keys=False, allow_unicode=True)
    split = next((shard.split for shard in manifest.shards), manifest.splits[0])
    how = formats(schema, manifest.name, split)
    counted = folds_section(manifest, catalog) + statistics_section(manifest)
    text = f"{body}\n\n{how}\n{counted}{_this_copy(manifest)}"
    (folder / CARD).write_text(f"---\n{front}---\n\n{_with_additions(text, manifest, catalog)}", encoding="utf-8")
    (folder / CITATION).write_bytes((own / CITATION).read_bytes())
    croissant.write(folder, manifest)


def amend(folder: Path, built: Path, manifest: Manifest, catalog: CatalogFile) -> None:
    """Write `README.md` and `croissant.json` of a built dataset with other additions, from its card in `built`.

    Needs the other files in `folder`, finished.
    """
    source = DatasetCard.load(built / CARD)
    own = with_additions(manifest, ())
    schema = Schema.of_built(own.columns, own.configs)
    content = (built / CARD).read_text(encoding="utf-8")
    written = yaml.safe_load(content.split("---\n")[1])  # in its order, which `source.content` may change
    matter = written | front_matter(schema, manifest, catalog, file_digest(folder / CATALOG))
    front = yaml.safe_dump(matter, sort_keys=False, allow_unicode=True)
    before, heading, _ = source.text.strip().partition(card_additions.COPY)
    body = f"{before}\n{_this_copy(manifest)}" if heading else before
    (folder / CARD).write_text(f"---\n{front}---\n\n{_with_additions(body, manifest, catalog)}", encoding="utf-8")
    croissant.write(folder, manifest)
