"""Write the card of an exported dataset: the built dataset's card, with instructions to load the export."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import yaml

from skyshards.export.columns import picture_shape
from skyshards.export.content import Content
from skyshards.export.features import features
from skyshards.format.card import COLUMNS_END, COLUMNS_START, columns_table, type_in_words
from skyshards.format.columns import ColumnSpec
from skyshards.format.manifest import WRITER, Manifest
from skyshards.text import counted

NOT_OF_THIS_FORM = ("Load it", "Build it", "In the formats of `datasets`", "This copy")
"""Sections of a built dataset's card that apply to HDF5 shards only."""
TAGS = ("hats", "lsdb")
INDEX_ROW = "| `_healpix_29` | int64 |  | HEALPix pixel of order 29 (NESTED), by which rows are sorted |"

LOAD = """\
## Load it

This is a [HATS](https://hats.readthedocs.io) collection: Parquet files by HEALPix pixel, with a margin cache and an
index by `object_id`. With [LSDB](https://docs.lsdb.io), lazily, from a folder or an `hf://datasets/OWNER/NAME` URL:

```python
import lsdb

catalog = lsdb.open_catalog("{place}")
near = catalog.cone_search(ra={ra:.4f}, dec={dec:.4f}, radius_arcsec=3600).compute()
```

With [`datasets`](https://huggingface.co/docs/datasets) (4.4 or later), pictures decoded:

```python
from datasets import load_dataset

rows = load_dataset("{place}", split="{split}", streaming=True)
```

With pandas, polars, DuckDB or anything that reads Parquet, the columns that are wanted:

```python
import duckdb

duckdb.sql("SELECT object_id, ra, dec FROM '{place}/{name}/dataset/**/*.parquet'")
```
"""


def front_matter(
    matter: Mapping[str, Any],
    specs: Mapping[str, ColumnSpec],
    files: Mapping[str, str],
    rows: Mapping[str, int],
    nbytes: Mapping[str, int],
) -> str:
    """Return the card's YAML, based on that of the built dataset.

    `files`, `rows` and `nbytes` are by split: the pattern of its files, its rows, and their approximate bytes.
    """
    kept = {key: value for key, value in matter.items() if key not in ("configs", "dataset_info", "tags")}
    tags = [*(matter.get("tags") or []), *TAGS]
    info = {
        "config_name": "default",
        "features": features(specs, len(rows) > 1)._to_yaml_list(),
        "splits": [{"name": split, "num_bytes": nbytes[split], "num_examples": rows[split]} for split in rows],
    }
    configs = [
        {"config_name": "default", "data_files": [{"split": split, "path": path} for split, path in files.items()]}
    ]
    found = kept | {"tags": tags, "configs": configs, "dataset_info": [info]}
    return yaml.safe_dump(found, sort_keys=False, allow_unicode=True)


def body(card: str, specs: Mapping[str, ColumnSpec], load: str, this_copy: str) -> str:
    """Return the card's Markdown: that of the built dataset, without the sections on its files."""
    before, start, rest = card.partition(COLUMNS_START)
    _, end, after = rest.partition(COLUMNS_END)
    table = f"{columns_table(specs.values(), _type_in_words)}\n{INDEX_ROW}"
    text = f"{before}{start}\n{table}\n{end}{after}"
    title, *sections = re.split(r"^(?=## )", text.strip(), flags=re.MULTILINE)
    kept = [part.strip() for part in sections if part.partition("\n")[0].removeprefix("## ") not in NOT_OF_THIS_FORM]
    return "\n\n".join([title.strip(), *kept[:1], load.strip(), *kept[1:], this_copy.strip()]) + "\n"


def _type_in_words(spec: ColumnSpec) -> str:
    picture = picture_shape(spec)
    if picture is None:
        return type_in_words(spec)
    files = "PNG" if picture == spec.shape else f"list of {spec.shape[0]} PNG"
    return f"{files} {list(picture)}"


def this_copy(content: Content, rows: Mapping[str, int], tiles: int, margin: str) -> str:
    """Describe what was exported, and with which versions."""
    counts = ", ".join(f"{counted(count, 'rows')} ({split})" for split, count in rows.items())
    used = ", ".join(f"{package} {version(package)}" for package in ("hats", "pyarrow", "pillow"))
    built = " and ".join(_built(name if content.joined else "", part.manifest) for name, part in content.parts.items())
    return (
        f"## This copy\n\n{counts} in {counted(tiles, 'HEALPix tiles')}{margin}, exported by {WRITER} from {built}."
        f" The same {'join' if content.joined else 'dataset'} gives the same bytes again"
        f" with {used}: others may compress the same values differently.\n"
    )


def _built(name: str, manifest: Manifest) -> str:
    options = ", ".join(f"{name} = {value}" for name, value in manifest.options.items() if value is not None)
    what = f"`{name}`" if name else "a dataset"
    return f"{what} built by {manifest.written_by} with: {options or 'the default options'}"
