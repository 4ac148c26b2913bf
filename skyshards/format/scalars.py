"""Files with all scalars of a dataset, added ones included: what stock `datasets` reads as the config `catalog`."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from skyshards.files import sync
from skyshards.format import missing
from skyshards.format import shard as hdf5
from skyshards.format.addition import scalars_files
from skyshards.format.catalog_file import CatalogFile
from skyshards.format.columns import ColumnSpec
from skyshards.format.layout import SPLIT
from skyshards.format.manifest import Manifest


def write(folder: Path, manifest: Manifest, catalog: CatalogFile) -> None:
    """Write the files, one for each split, from the finished catalogue; none unless a scalar was added."""
    files = scalars_files(manifest)
    if not files:
        return
    specs = {path: spec for path, spec in manifest.specs.items() if spec.scalar}
    splits = catalog.table([SPLIT])[SPLIT].cast(pa.string())
    for split, name in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        column = functools.partial(_values, catalog, specs, pc.equal(splits, split))
        hdf5.write(folder / name, specs, (), attributes(manifest) | {"split": split}, column)
        sync(folder / name)


def _values(catalog: CatalogFile, specs: Mapping[str, ColumnSpec], rows: pa.ChunkedArray, path: str) -> Sequence:
    """Read a column of some rows."""
    column = missing.without_nulls(catalog.table([path])[path].filter(rows), specs[path])
    return column.to_pylist() if pa.types.is_string(column.type) else column.to_numpy()


def attributes(manifest: Manifest) -> dict[str, str]:
    """Return the HDF5 attributes of all files of a dataset."""
    written = {"format": str(manifest.format), "written_by": manifest.written_by}
    return {"data_set": manifest.name} | written | ({"simulated": "true"} if manifest.simulated else {})
