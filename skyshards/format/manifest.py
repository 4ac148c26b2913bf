"""The manifest of a built dataset. It may come from an untrusted folder, so everything in it is validated."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, NamedTuple

import numpy as np

from skyshards.errors import NewerFormat
from skyshards.format import missing
from skyshards.format.addition import Addition
from skyshards.format.columns import RESERVED_CONFIGS, ColumnSpec
from skyshards.format.kinds import KINDS
from skyshards.format.kinds.number import MAX_VALUE_BYTES
from skyshards.format.kinds.text import MAX_TEXTS
from skyshards.format.layout import FORMAT_VERSION, SHARD_NAME, pixel_folder, shard_name
from skyshards.format.moments import Moments
from skyshards.version import __version__

WRITER = f"skyshards {__version__}"

MAX_INFLATION = 1032
"""Maximum compression factor of deflate (https://zlib.net/zlib_tech.html)."""

_WORD = re.compile(r"\w[\w-]*", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}")
_NEEDED = {"object_id": "string", "source": "string", "ra": "number", "dec": "number", "healpix": "number"}


class Shard(NamedTuple):
    """One file of a built dataset: its path below the folder, split, HEALPix pixel, rows, bytes and sha256.

    `moments` are the sums over the pixels of each image column, by its path; None in earlier folders.
    """

    path: str
    split: str
    pixel: int
    rows: int
    nbytes: int
    sha256: str
    moments: Mapping[str, Moments | None] | None = None


@dataclass(frozen=True)
class Manifest:
    """Description of a built dataset: its name, build options, columns and shards.

    `columns` are those in the shards, `additions` those put beside them later. `configs` are named selections of
    columns as in `Schema`; folders of version 0.1 have none. `inflated` are the columns that a fast store (see
    `storage`) does not deflate, although they were declared so.
    """

    name: str
    nside: int
    options: dict[str, Any]
    simulated: bool
    splits: tuple[str, ...]
    columns: tuple[ColumnSpec, ...]
    shards: tuple[Shard, ...]
    format: int = FORMAT_VERSION
    written_by: str = WRITER
    configs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    additions: tuple[Addition, ...] = ()
    inflated: tuple[str, ...] = ()

    @property
    def in_shards(self) -> dict[str, ColumnSpec]:
        """The columns in the shards, by dotted name."""
        return {spec.path: spec for spec in self.columns}

    @property
    def specs(self) -> dict[str, ColumnSpec]:
        """All columns, by dotted name."""
        added = {path: spec for addition in self.additions for path, spec in addition.specs.items()}
        return self.in_shards | added

    @property
    def added(self) -> dict[str, Addition]:
        """The additions by name."""
        return {addition.name: addition for addition in self.additions}

    @property
    def lengths(self) -> dict[str, int]:
        """Size in bytes of each shard and of the file of each addition, by path."""
        files: list[Shard | Addition] = [*self.shards, *self.additions]
        return {file.path: file.nbytes for file in files}

    @property
    def digests(self) -> dict[str, str]:
        """The sha256 of each shard and of the file of each addition, by path."""
        files: list[Shard | Addition] = [*self.shards, *self.additions]
        return {file.path: file.sha256 for file in files}

    @property
    def form(self) -> tuple[tuple, ...]:
        """The layout of the columns as declared: everything but descriptions and units."""
        return tuple(
            (spec.path, spec.kind, spec.dtype, spec.shape, spec.deflate or spec.path in self.inflated)
            for spec in self.columns
        )

    def to_json(self) -> str:
        record = vars(self) | {"columns": [asdict(column) for column in self.columns]}
        del record["additions"]
        if self.additions:
            record["additions"] = [asdict(addition) for addition in self.additions]
        if not self.inflated:
            del record["inflated"]
        return json.dumps(record, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """Parse and validate a manifest; unknown keys are ignored.

        Raises
        ------
        ValueError
            If it is invalid; the message names the fault.
        NewerFormat
            If its format is later than `FORMAT_VERSION`.
        """
        try:
            record = json.loads(text)
            _check_format(record)
            record |= {
                "splits": tuple(record["splits"]),
                "columns": tuple(_spec(spec) for spec in record["columns"]),
                "shards": tuple(map(_shard, record["shards"])),
                "configs": {name: tuple(columns) for name, columns in record.get("configs", {}).items()},
                "additions": tuple(_addition(addition) for addition in record.get("additions", ())),
                "inflated": tuple(record.get("inflated", ())),
            }
            found = cls(**_known(cls, {"format": 0, "written_by": "skyshards"} | record))
        except (KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"its manifest is incomplete ({type(error).__name__}: {error})") from error
        found.check()
        return found

    def check(self) -> None:
        """Raise `ValueError`, naming the fault, if anything is invalid."""
        _expect(_is_text(self.written_by), "a printable program that wrote it", self.written_by)
        _expect(_is_word(self.name), "a name of letters, digits, _ and -", self.name)
        _expect(_is_count(self.nside, 1 << 29) and self.nside & (self.nside - 1) == 0, "an nside", self.nside)
        _expect(isinstance(self.options, dict), "options by name", self.options)
        _expect(isinstance(self.simulated, bool), "true or false for `simulated`", self.simulated)
        _expect(self.splits and all(map(_is_word, self.splits)) and _unique(self.splits), "splits", self.splits)
        for addition in self.additions:
            _check_addition(addition)
        _expect(_unique(addition.name for addition in self.additions), "additions of different names", "one twice")
        specs = [*self.columns, *(spec for addition in self.additions for spec in addition.columns)]
        for spec in specs:
            _check_column(spec)
        paths = [spec.path for spec in specs]
        groups = {path[:place] for path in paths for place, letter in enumerate(path) if letter == "."}
        _expect(_unique(paths) and not groups.intersection(paths), "columns of different names", paths)
        for name, kind in _NEEDED.items():
            found = self.in_shards.get(name)
            _expect(found is not None and found.kind == kind and not found.shape, f"a column {name!r} ({kind})", found)
        for path in self.inflated:
            stored = self.in_shards.get(path)
            raw = stored is not None and stored.heavy and not stored.varies and not stored.deflate
            _expect(raw, "inflated columns that are large and not deflated", path)
        _expect(_unique(self.inflated), "inflated columns of different names", self.inflated)
        for name, columns in self.configs.items():
            _check_config(name, columns, paths)
        for shard in self.shards:
            _check_shard(shard, self.splits, self.nside)
        _expect(_unique(shard.path for shard in self.shards), "shards of different names", "one twice")


def _spec(record: dict[str, Any]) -> ColumnSpec:
    classes = record["classes"]
    if _is_count(classes, MAX_TEXTS):  # folders of version 0.1 store the number of names only
        classes = map(str, range(classes))
    record = record | {"shape": tuple(record["shape"]), "classes": None if classes is None else tuple(classes)}
    if record.get("missing") == []:
        record["missing"] = ()
    return ColumnSpec(**_known(ColumnSpec, record))


def _shard(record: list[Any]) -> Shard:
    shard = Shard(*record[: len(Shard._fields)])
    if shard.moments is None:
        return shard
    sums = {path: part and Moments(*map(tuple, part)) for path, part in shard.moments.items()}
    return shard._replace(moments=sums)


def _addition(record: dict[str, Any]) -> Addition:
    return Addition(**_known(Addition, record | {"columns": tuple(_spec(spec) for spec in record["columns"])}))


def _known(kind: type, record: dict[str, Any]) -> dict[str, Any]:
    """Return the entries for which a dataclass has a field."""
    return {field.name: record[field.name] for field in fields(kind) if field.name in record}


def _check_format(record: dict[str, Any]) -> None:
    found, writer = record.get("format", 0), record.get("written_by")
    _expect(_is_count(found, 1 << 31, 0), "the number of a format", found)
    if found > FORMAT_VERSION:
        by = writer if _is_text(writer) else "a later version"
        raise NewerFormat(
            f"written by {by} (format {found}), this is {WRITER} (format {FORMAT_VERSION}): upgrade skyshards"
        )


def _expect(condition: Any, expected: str, found: Any) -> None:
    if not condition:
        raise ValueError(f"its manifest: expected {expected}, found {found!r:.80}")


def _is_word(value: Any) -> bool:
    return isinstance(value, str) and len(value) < 200 and _WORD.fullmatch(value) is not None


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) < 200 and value.isprintable()


def _is_count(value: Any, most: int, least: int = 1) -> bool:
    return type(value) is int and least <= value <= most


def _unique(values: Iterable) -> bool:
    values = list(values)
    return len(set(values)) == len(values)


def _check_column(spec: ColumnSpec) -> None:
    texts = (spec.path, spec.kind, spec.dtype, spec.description, spec.unit)
    _expect(all(isinstance(text, str) and text.isprintable() for text in texts), "a printable column", texts)
    names = spec.path.split(".")
    is_name = all(names) and "/" not in spec.path and not spec.path.startswith("_")
    _expect(is_name, "a column's name without / or a leading _", spec.path)
    classes = spec.classes or ()
    _expect(all(isinstance(name, str) and name.isprintable() for name in classes), f"names of {spec.path!r}", classes)
    _expect(isinstance(spec.deflate, bool), f"true or false for `deflate` of {spec.path!r}", spec.deflate)
    _expect(isinstance(spec.aligned, bool), f"true or false for `aligned` of {spec.path!r}", spec.aligned)
    shape = all(_is_count(length, MAX_VALUE_BYTES, 0) for length in spec.shape)
    _expect(shape and len(spec.shape) <= 32, f"a shape of {spec.path!r}", spec.shape)
    _expect(spec.kind in KINDS, f"a kind of column ({', '.join(KINDS)})", spec.kind)
    for demand in KINDS[spec.kind].demands(spec):
        _expect(*demand)
    if spec.missing is not None:
        try:
            _expect(spec.path not in _NEEDED, f"a value of {spec.path!r} in every row", spec.missing)
            _expect(missing.check(spec, spec.missing) == spec.missing, f"a fill value of {spec.path!r}", spec.missing)
        except TypeError as error:
            raise ValueError(f"its manifest: column {spec.path!r}: {error}") from error


def _check_addition(addition: Addition) -> None:
    name = addition.name
    _expect(_is_word(name) and name not in RESERVED_CONFIGS, "an addition's name", name)
    _expect(_is_text(addition.table) and _is_text(addition.match), f"words on the table of {name}", addition.table)
    _expect(_is_count(addition.table_rows, 1 << 40, 0), f"a number of rows of the table of {name}", addition.table_rows)
    _expect(_is_count(addition.rows, 1 << 40), f"a number of rows of {name}", addition.rows)
    _expect(_is_count(addition.nbytes, 1 << 50), f"a length of {name}", addition.nbytes)
    for digest in (addition.sha256, addition.table_sha256):
        _expect(isinstance(digest, str) and _SHA256.fullmatch(digest), f"a sha256 of {name}", digest)
    _expect(addition.columns, f"columns of {name}", "none")
    for spec in addition.columns:
        _expect(spec.missing is not None, f"a value of {spec.path!r} for rows without one", None)
        _expect(spec.kind != "bytes", f"a kind of {spec.path!r} other than image files", spec.kind)


def _check_config(name: str, columns: tuple[str, ...], paths: list[str]) -> None:
    _expect(_is_word(name) and name not in RESERVED_CONFIGS, "a config's name", name)
    _expect(all(isinstance(column, str) for column in columns), f"names of columns in config {name!r}", columns)
    for column in columns:
        there = any(path == column or path.startswith(f"{column}.") for path in paths)
        _expect(there, f"existing columns in config {name!r}", column)


def _check_shard(shard: Shard, splits: tuple[str, ...], nside: int) -> None:
    _expect(shard.split in splits, f"a split of {splits}", shard.split)
    _expect(_is_count(shard.pixel, 12 * nside**2 - 1, 0), f"a HEALPix pixel of nside {nside}", shard.pixel)
    folder, _, name = shard.path.rpartition("/") if isinstance(shard.path, str) else ("", "", "")
    place = pixel_folder(shard.split, shard.pixel, splits)
    _expect(folder == place and SHARD_NAME.fullmatch(name), f"shards such as {place}/{shard_name(1, 1)}", shard.path)
    _expect(_is_count(shard.rows, 1 << 40), f"a number of rows of {shard.path}", shard.rows)
    _expect(_is_count(shard.nbytes, 1 << 50), f"a length of {shard.path}", shard.nbytes)
    sha256 = isinstance(shard.sha256, str) and _SHA256.fullmatch(shard.sha256)
    _expect(sha256, f"a sha256 of {shard.path}", shard.sha256)
    for path, sums in (shard.moments or {}).items():
        there = sums is None or (0 < len(sums.pixels) <= 4 and len(sums.pixels) == len(sums.total) == len(sums.squares))
        numbers = there and all(type(value) in (int, float) for part in sums or () for value in part)
        _expect(numbers, f"sums of the channels of {path!r} in {shard.path}", sums)


def check_ranges(spec: ColumnSpec, starts: np.ndarray, sizes: np.ndarray, lengths: np.ndarray) -> None:
    """Raise `ValueError` if byte ranges of a heavy column exceed their files, or cannot hold its values."""
    if ((starts < 0) | (sizes < 0) | (starts > lengths - sizes)).any():
        raise ValueError(f"values of column {spec.path!r} lie outside their files")
    if spec.varies and (sizes % np.dtype(spec.dtype).itemsize).any():
        raise ValueError(f"values of column {spec.path!r} are not whole numbers of {spec.dtype}")
    fewest = spec.nbytes if not spec.deflate else -(-spec.nbytes // MAX_INFLATION)  # 0 where sizes vary
    most = MAX_VALUE_BYTES if spec.varies or spec.deflate else spec.nbytes
    if ((sizes < fewest) | (sizes > most)).any():
        raise ValueError(f"values of column {spec.path!r} have impossible sizes")
