"""Write encoded rows to a shard (an HDF5 file) and read them back.

A shard is plain HDF5: light columns are contiguous numbers, or UTF-8 text of fixed or variable length, whichever is
shorter; heavy columns have one chunk per row, deflated or not; image files and lists of any length are variable-length.
The bytes do not depend on the time or machine.
"""

from __future__ import annotations

import io
import mmap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import deflate
import h5py
import numpy as np

from skyshards.errors import ShardCorrupted
from skyshards.format import missing
from skyshards.format.columns import ColumnSpec
from skyshards.format.kinds import KINDS
from skyshards.format.kinds.base import Json
from skyshards.format.layout import SOURCE
from skyshards.format.rows import EncodedRow

Specs = Mapping[str, ColumnSpec]
RECORDED_LEVEL = 4
"""Deflate level recorded in the file (h5py's default), for programs that add rows; our chunks are deflated before."""
ALIGNED_BYTES, PAGE = 64 << 10, 4096
"""Uncompressed values of this size start at the beginning of a page, which makes reading them 8 % faster."""
KEPT_PAGES = 32 << 20
"""Bytes of a file kept in memory while verifying it."""
Ranges = dict[str, np.ndarray]
"""By heavy column, int64 [rows, 3]: offset, size in bytes and crc32 of each row's value in the file."""


def write(
    path: Path,
    specs: Specs,
    rows: Sequence[EncodedRow],
    attributes: Mapping[str, str],
    column: Callable[[str], Sequence[Any]] | None = None,
) -> Ranges:
    """Write a shard of at least one row, and verify every heavy value in the file.

    Peak memory is one row's payload and the light columns. These may be given by `column`, one after the other; then
    only heavy values are taken from the rows, which need not be given without any.

    Raises
    ------
    OSError
        If the disk is full or fails.
    ShardCorrupted
        If the file does not hold what was written, or a row's payload does not match its sizes.
    """
    version, alignment = ("earliest", "v110"), _alignment(specs)
    with _DiskFile(path, "w+") as disk, h5py.File(disk, "w", libver=version, **alignment) as file:
        file.attrs.update(attributes)
        datasets = {}
        light = [row.light() for row in rows] if column is None else []
        for name, spec in specs.items():
            if spec.heavy:
                datasets[name] = _create(file, spec, len(rows))
            else:
                values = [row[name] for row in light] if column is None else column(name)
                datasets[name] = file.create_dataset(_inner(name), data=KINDS[spec.kind].to_hdf5(values, spec))
            _describe(datasets[name], spec)
        del light
        for index, row in enumerate(rows):
            if disk.error:
                break
            for name, content in parts(row).items():
                if specs[name].varies:
                    datasets[name][index] = np.frombuffer(content, specs[name].dtype)
                else:
                    datasets[name].id.write_direct_chunk((index, *(0,) * len(specs[name].shape)), content)
    return _verified_ranges(path, specs, rows)


def _alignment(specs: Specs) -> dict[str, int]:
    """Return h5py's options that align large uncompressed values, if there are any."""
    raw = (spec for spec in specs.values() if spec.heavy and not spec.deflate and not spec.varies)
    if not any(spec.nbytes >= ALIGNED_BYTES for spec in raw):
        return {}
    return {"alignment_threshold": ALIGNED_BYTES, "alignment_interval": PAGE}


def _describe(dataset: h5py.Dataset, spec: ColumnSpec) -> None:
    dataset.attrs["description"] = spec.description
    if spec.unit:
        dataset.attrs["unit"] = spec.unit
    if spec.missing not in (None, ()):
        dataset.attrs["missing_value"] = missing.attribute(spec)
    if spec.classes:
        dataset.attrs["classes"] = np.array(spec.classes, h5py.string_dtype())


class _DiskFile(io.FileIO):
    """A file for HDF5 to write to, which holds back errors until its `with` block ends.

    HDF5 must not see them: after a failed write it leaves the file half open, and may crash the process later.
    """

    error: BaseException | None = None

    def write(self, content) -> int:
        rest = memoryview(content)
        try:
            while len(rest) and not self.error:  # a full disk accepts part of a write
                rest = rest[super().write(rest) :]
        except BaseException as error:
            self.error = error
        return len(content)

    def truncate(self, size: int | None = None, /) -> int:
        try:
            return super().truncate(size)
        except BaseException as error:
            self.error = self.error or error
            return self.tell() if size is None else size

    def __exit__(self, *raised) -> None:
        super().__exit__(*raised)
        if isinstance(self.error, OSError):
            self.error.filename = str(self.name)
        if self.error:
            raise self.error


def _inner(path: str) -> str:
    return path.replace(".", "/")


def parts(row: EncodedRow) -> dict[str, memoryview]:
    """Return the stored bytes of a row's large values, by column."""
    payload, start, parts = memoryview(row.payload()), 0, {}
    if len(payload) != row.nbytes:
        raise ShardCorrupted(
            f"row {row.object_id!r} of source {row.source!r}: expected {row.nbytes} bytes of large values, found "
            f"{len(payload)}; the file that held them is damaged, delete it and build again"
        )
    for name, size in row.sizes.items():
        parts[name] = payload[start : start + size]
        start += size
    return parts


def _create(file: h5py.File, spec: ColumnSpec, count: int) -> h5py.Dataset:
    """Create the dataset of a heavy column."""
    name = _inner(spec.path)
    if spec.varies:
        return file.create_dataset(name, shape=(count,), dtype=h5py.vlen_dtype(np.dtype(spec.dtype)))
    file[name] = h5py.Dataset(_chunked(file, spec, count))
    return file[name]


def _chunked(file: h5py.File, spec: ColumnSpec, count: int) -> h5py.h5d.DatasetID:
    """Create a dataset with one chunk per row. Sets all properties whose defaults differ between h5py versions."""
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_chunk((1, *spec.shape))
    properties.set_fill_time(h5py.h5d.FILL_TIME_IFSET)
    properties.set_obj_track_times(False)
    if spec.deflate:
        properties.set_deflate(RECORDED_LEVEL)
    kind, space = h5py.h5t.py_create(np.dtype(spec.dtype)), h5py.h5s.create_simple((count, *spec.shape))
    return h5py.h5d.create(file.id, None, kind, space, dcpl=properties)


def _verified_ranges(path: Path, specs: Specs, rows: Sequence[EncodedRow]) -> Ranges:
    """Locate every heavy value in the finished file and compare it with the original."""
    ranges = {name: np.zeros((len(rows), 3), np.int64) for name, spec in specs.items() if spec.heavy}
    if not ranges:
        return ranges
    with h5py.File(path) as file, open(path, "rb") as raw, mmap.mmap(raw.fileno(), 0, access=mmap.ACCESS_READ) as view:
        places = {
            name: _heap_ranges(view, file[_inner(name)]) if specs[name].varies else _chunk_ranges(file[_inner(name)])
            for name in ranges
        }
        compared = 0
        for index, row in enumerate(rows):
            if compared > KEPT_PAGES:
                view.madvise(mmap.MADV_DONTNEED)  # otherwise the whole file counts as memory of this process
                compared = 0
            compared += row.nbytes
            for name, part in parts(row).items():
                content = bytes(part)  # memoryviews compare byte by byte, bytes objects at memory speed
                start, size = places[name][index]
                if size != len(content) or view[start : start + size] != content:
                    raise ShardCorrupted(
                        f"{path}: row {index} of column {name!r} was not written correctly; check the disk"
                    )
                ranges[name][index] = start, size, deflate.crc32(content)
    return ranges


_REFERENCE = np.dtype([("length", "<u4"), ("heap", "<u8"), ("object", "<u4")])
"""Where HDF5 keeps a value of variable length: its number of elements, a global heap, and an object in that. From the
HDF5 File Format Specification 3.0, III.E and IV.A.2.d (https://support.hdfgroup.org/documentation/hdf5/latest/_f_m_t3.html)."""


def _heap_ranges(view: mmap.mmap, dataset: h5py.Dataset) -> list[tuple[int, int]]:
    """Return the byte range of each variable-length value; (0, 0) for empty ones, which have no place."""
    offset, size = dataset.id.get_offset(), h5py.check_vlen_dtype(dataset.dtype).itemsize
    if offset is None:  # all values are empty
        return [(0, 0)] * len(dataset)
    references = np.frombuffer(view[offset : offset + len(dataset) * _REFERENCE.itemsize], _REFERENCE)
    heaps = {heap: _heap_objects(view, heap) for heap in np.unique(references["heap"]).tolist() if heap}
    return [(heaps[heap][number], length * size) if length else (0, 0) for length, heap, number in references.tolist()]


def _heap_objects(view: mmap.mmap, heap: int) -> dict[int, int]:
    """Return where each object of a global heap begins."""
    signature, end = view[heap : heap + 4], heap + int.from_bytes(view[heap + 8 : heap + 16], "little")
    if signature != b"GCOL":
        raise ShardCorrupted(f"expected a heap of HDF5 at byte {heap}, found {signature!r}; check the disk")
    objects, place = {}, heap + 16
    while place + 16 <= end and (number := int.from_bytes(view[place : place + 2], "little")):  # 0 is free space
        objects[number] = place + 16
        length = int.from_bytes(view[place + 8 : place + 16], "little")
        place += 16 + -(-length // 8) * 8
    return objects


def _chunk_ranges(dataset: h5py.Dataset) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = [(0, 0)] * len(dataset)

    def note(chunk) -> None:
        found[chunk.chunk_offset[0]] = (chunk.byte_offset, chunk.size)

    dataset.id.chunk_iter(note)
    return found


def open_safely(path: Path) -> h5py.File:
    """Open a shard for reading; reject HDF5 external links and storage, which point outside the file.

    Raises
    ------
    ShardCorrupted
        If it is not an HDF5 file, is truncated, or points outside itself.
    """
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise ShardCorrupted(f"{path}: not a whole HDF5 file ({error}); delete it and build again") from error
    try:
        _refuse_links(file, path, {_address(file)})
    except (KeyError, OSError, RuntimeError) as error:  # raised by HDF5 for damaged files
        file.close()
        raise ShardCorrupted(f"{path}: not a whole HDF5 file ({error}); delete it and build again") from error
    except BaseException:
        file.close()
        raise
    return file


def _address(item: h5py.HLObject) -> int:
    return h5py.h5o.get_info(item.id).addr


def _refuse_links(group: h5py.Group, path: Path, seen: set[int]) -> None:
    """Check every item in the file. (Too deeply nested groups raise RecursionError, a RuntimeError.)"""
    for name in group:
        link = group.get(name, getlink=True)
        if not isinstance(link, h5py.HardLink):
            raise ShardCorrupted(
                f"{path}: {name!r} is a {type(link).__name__}, expected the data itself; do not trust this file"
            )
        item = group[name]
        if (address := _address(item)) in seen:
            raise ShardCorrupted(f"{path}: {name!r} has a second name, expected one; do not trust this file")
        seen.add(address)
        if isinstance(item, h5py.Group):
            _refuse_links(item, path, seen)
        elif not isinstance(item, h5py.Dataset):
            raise ShardCorrupted(f"{path}: {name!r} is a {type(item).__name__}, expected data; do not trust this file")
        elif item.is_virtual or item.external:
            raise ShardCorrupted(f"{path}: data of {name!r} lie in another file; do not trust this one")


def read_light(file: h5py.File, spec: ColumnSpec) -> np.ndarray:
    """Read a light column of an open shard; text as a str array."""
    return KINDS[spec.kind].from_hdf5(file[_inner(spec.path)])


def read_rows(file: h5py.File, specs: Specs) -> list[EncodedRow]:
    """Read the encoded rows of an open shard."""
    light = {name: read_light(file, spec).tolist() for name, spec in specs.items() if not spec.heavy}
    chunks = {name: _chunk_ranges(file[_inner(name)]) for name, spec in specs.items() if spec.heavy and not spec.varies}
    rows: list[EncodedRow] = []
    for index in range(len(light["object_id"])):
        sizes = {
            name: chunks[name][index][1] if name in chunks else file[_inner(name)][index].nbytes
            for name, spec in specs.items()
            if spec.heavy
        }
        rows.append(ShardRow(light["object_id"][index], light[SOURCE][index], sizes, index, light, file, specs))
    return rows


@dataclass(frozen=True, slots=True)
class ShardRow(EncodedRow):
    """A row of an open shard; `columns` holds the light values of all rows."""

    index: int
    columns: Mapping[str, list[Json]]
    file: h5py.File
    specs: Specs

    def light(self) -> dict[str, Json]:
        return {name: column[self.index] for name, column in self.columns.items()}

    def payload(self) -> bytes:
        large = ((name, spec) for name, spec in self.specs.items() if spec.heavy)
        return b"".join(stored(self.file[_inner(name)], spec, self.index) for name, spec in large)


def stored(dataset: h5py.Dataset, spec: ColumnSpec, index: int) -> bytes:
    """Read the stored bytes of one value of a heavy column through HDF5."""
    if spec.varies:
        return dataset[index].tobytes()
    return dataset.id.read_direct_chunk((index, *(0,) * len(spec.shape)))[1]
