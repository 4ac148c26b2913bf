"""Write the metadata files of HATS catalogues and collections with `hats`, each moved into place when complete."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hats.catalog import PartitionInfo
from hats.catalog.dataset.collection_properties import CollectionProperties
from hats.catalog.dataset.table_properties import TableProperties
from hats.io import file_io, get_common_metadata_pointer, get_parquet_metadata_pointer, write_parquet_metadata
from hats.io.file_io.file_pointer import get_upath
from hats.io.skymap import write_skymap
from hats.pixel_math.healpix_pixel import HealpixPixel
from upath import UPath

from skyshards.export.columns import INDEX
from skyshards.export.tiles import ORDER, Tile
from skyshards.format.manifest import WRITER
from skyshards.place import Place

COLLECTION = "collection.properties"
"""The file written last in an export."""
ZSTD_LEVEL = 3
INDEX_GROUP = 100_000
"""Rows per row group of the index."""


def parquet_arguments(schema: pa.Schema) -> dict[str, Any]:
    """Return the writer options of `hats` for this schema (page index, byte stream split), with a fast zstd level."""
    arguments = file_io.get_parquet_write_table_kwargs(schema) | {"compression_level": ZSTD_LEVEL}
    return {name: value for name, value in arguments.items() if name != "row_group_size"}


def upath(place: Place) -> UPath:
    """Convert a place to the path type of `hats`."""
    return get_upath(UPath(place.url, **place.storage_options) if place.folder is None else place.folder)


def properties(name: str, kind: str, rows: int, **others: Any) -> TableProperties:
    """Make the properties of a catalogue, without a date, so that files are reproducible."""
    own = {"hats_builder": f"{WRITER}, hats v{version('hats')}", "hats_version": "v1.0"}
    given = {key: value for key, value in others.items() if value is not None}
    return TableProperties(catalog_name=name, catalog_type=kind, total_rows=rows, **own, **given)


def spatial(tiles: Sequence[Tile], suffix: str, max_rows: int) -> dict[str, Any]:
    """Return the properties common to catalogues with positions."""
    area = sum(1 / (12 * 4**tile.order) for tile in tiles)
    return {
        "ra_column": "ra",
        "dec_column": "dec",
        "healpix_column": INDEX,
        "healpix_order": ORDER,
        "npix_suffix": suffix,
        "hats_max_rows": max_rows,
        "moc_sky_fraction": round(area, 9),
    }


def describe(
    place: Place,
    info: TableProperties,
    *,
    schema: pa.Schema | None = None,
    tiles: Sequence[Tile] = (),
    index: np.ndarray | None = None,
    metadata: bool = True,
) -> None:
    """Write the metadata files of a catalogue, its properties last.

    Parameters
    ----------
    schema : pyarrow.Schema, optional
        Needed for a catalogue that may be empty, such as a margin cache.
    tiles : sequence of Tile
        The tiles of a catalogue with positions.
    index : int64 [rows], optional
        `_healpix_29` of all rows, to write a sky map.
    metadata : bool
        Whether to write `_metadata`.
    """
    name = info.catalog_name
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if info.total_rows:
            write_parquet_metadata(
                upath(place) / name,
                output_path=folder,
                create_metadata=metadata,
                order_by_healpix=bool(tiles),
            )
        else:
            (folder / "dataset").mkdir()
            for path in (get_common_metadata_pointer(folder), get_parquet_metadata_pointer(folder)):
                file_io.write_parquet_metadata(schema, path)
        if tiles or schema is not None:
            pixels = [HealpixPixel(tile.order, tile.pixel) for tile in tiles]
            PartitionInfo.from_healpix(pixels).write_to_file(catalog_path=folder)
        if index is not None:
            write_skymap(
                np.bincount(index >> 2 * (ORDER - info.skymap_order), minlength=12 * 4**info.skymap_order), folder
            )
        put(place, name, folder)
        info.to_properties_file(folder)
        put(place, name, folder)


def put(place: Place, name: str, folder: Path) -> None:
    """Move the files of a folder to their places below `name`."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with place.writing("/".join(filter(None, (name, path.relative_to(folder).as_posix())))) as out:
            out.write_bytes(path.read_bytes())
        path.unlink()


def skymap_order(tiles: Sequence[Tile]) -> int:
    """Choose the order of a sky map: about 256 pixels per tile, at most 6 MB."""
    return min(8, max(tile.order for tile in tiles) + 4)


def write_index(place: Place, name: str, ids: pa.Array, index: np.ndarray, tiled: Sequence[Tile]) -> None:
    """Write the index by `object_id`: sorted names, with the tile of each row."""
    counts = [tile.stop - tile.start for tile in tiled]
    columns = {
        "object_id": ids,
        INDEX: pa.array(index),
        "Norder": pa.array(np.repeat([tile.order for tile in tiled], counts).astype(np.uint8)),
        "Npix": pa.array(np.repeat([tile.pixel for tile in tiled], counts).astype(np.uint64)),
    }
    table = pa.table(columns).sort_by([("object_id", "ascending"), (INDEX, "ascending")])
    with place.writing(f"{name}/dataset/index/part.0.parquet") as path:
        pq.write_table(table, path, row_group_size=INDEX_GROUP, **parquet_arguments(table.schema))


def write_collection(place: Place, name: str, primary: str, margin: str | None, index: str, **words: str) -> None:
    """Write the collection's properties, which mark the export as complete."""
    info = CollectionProperties(
        name=name,
        hats_primary_table_url=primary,
        all_margins=[margin] if margin else None,
        default_margin=margin,
        all_indexes={"object_id": index},
        default_index="object_id",
        **words,
    )
    with tempfile.TemporaryDirectory() as temporary:
        info.to_properties_file(Path(temporary))
        put(place, "", Path(temporary))
