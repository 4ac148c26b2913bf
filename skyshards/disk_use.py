"""How the large columns of a built dataset are stored, and the disk that they take, in words."""

from __future__ import annotations

import numpy as np

from skyshards.errors import FolderError, ShardCorrupted
from skyshards.files import is_url
from skyshards.format import storage
from skyshards.format.columns import ColumnSpec, flatten
from skyshards.format.kinds import KINDS
from skyshards.format.layout import SIZE
from skyshards.progress import size
from skyshards.read.table import Table

SAMPLE = 8
"""Number of values that are deflated to tell how much more disk uncompressed ones take."""


def disk_use(table: Table) -> str | None:
    """Describe each large column of the shards: "fast; image uncompressed, 423 MB (deflated about 233 MB)".

    Uncompressed values are compared with what deflate would make of some of them, unless they are at a URL. None
    without large columns.
    """
    manifest, columns = table._data.manifest, table._data.columns
    large = [spec for spec in manifest.columns if spec.heavy]
    if not large or not len(columns):
        return None
    nbytes = {spec.path: int(columns.array(SIZE + spec.path).sum(dtype=np.int64)) for spec in large}
    words = [_words(spec, table, nbytes[spec.path]) for spec in large if not spec.varies]
    if files_and_lists := [spec.path for spec in large if spec.varies]:
        groups = dict.fromkeys(path.partition(".")[0] for path in files_and_lists)
        words.append(f"{', '.join(groups)} as given, {size(sum(nbytes[path] for path in files_and_lists))}")
    return "; ".join([storage.store_of(manifest), *words])


def _words(spec: ColumnSpec, table: Table, nbytes: int) -> str:
    whole = len(table) * spec.nbytes
    if spec.deflate:
        return f"{spec.path} deflated, {size(nbytes)} (uncompressed {size(whole)})"
    words = f"{spec.path} uncompressed, {size(nbytes)}"
    if spec.path not in table._data.manifest.inflated or is_url(str(table._data.reader.store)):
        return words
    try:
        return f"{words} (deflated about {size(whole * _deflated_share(spec, table))})"
    except (FolderError, ShardCorrupted):  # of damaged files, `skyshards verify` tells
        return words


def _deflated_share(spec: ColumnSpec, table: Table) -> float:
    """Return the size of some deflated values, as a fraction of their size in memory."""
    places = np.unique(np.linspace(0, len(table) - 1, SAMPLE).astype(int))
    values = flatten(table.select_columns([spec.path])[places])[spec.path]
    packed = storage.in_spool(table._data.manifest)[spec.path]
    return sum(len(KINDS[spec.kind].encode(value, packed)) for value in values) / values.nbytes
