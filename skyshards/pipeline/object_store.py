"""Builds whose shards go to an object store: a dataset at a URL, and a working folder on disk with all else.

The working folder has the lock, the journal, the spool, downloads, and copies of the dataset's files but for the
shards. Whoever packs a pixel puts its shards, whole, below `.build/staged` at the URL. Publication gives them their
final names and puts the other files, the catalogue last; if a build is killed meanwhile, the next one goes on.
"""

from __future__ import annotations

import json
import shutil
import socket
import tempfile
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from skyshards.errors import BuildError, UsageError
from skyshards.files import TEMPORARY_PREFIX, is_url, replacing
from skyshards.format import catalog
from skyshards.format.layout import CATALOG, FAILURES, FILES, HASHES, SHARD_NAME, WORKSPACE
from skyshards.format.manifest import Manifest, Shard
from skyshards.format.rows import EncodedRow
from skyshards.pipeline import pack
from skyshards.pipeline.catalog_parts import part_path
from skyshards.place import Place

ADDRESS = "output_url.txt"
"""File in a working folder with the URL of the dataset."""
OWNER = f"{WORKSPACE}/working_folder.json"
"""Object at the URL that names the working folder of a build that has not ended."""
STAGED = f"{WORKSPACE}/staged"


def destination(
    output_dir: Path | str, work_dir: Path | None, name: str, storage_options: Mapping[str, Any] | None
) -> tuple[Path, Place | None]:
    """Return the folder to work in, and the URL of the dataset if that is elsewhere.

    Raises `UsageError` if a URL cannot be written to, or `work_dir` is given without one.
    """
    place = Place(str(output_dir), dict(storage_options or {})) if is_url(output_dir) else None
    if place is not None and place.folder is None:
        return work_dir or default_folder(name), place
    if work_dir is not None:
        raise UsageError("work_dir: is for an `output_dir` that is a URL, such as s3://bucket/folder")
    folder = Path(output_dir) if place is None else place.folder
    assert folder is not None
    if (folder / ADDRESS).is_file():
        found = (folder / ADDRESS).read_text().strip()
        raise UsageError(f"{folder}: is the working folder of a build at {found}; choose another `output_dir`")
    return folder, None


def default_folder(name: str) -> Path:
    """Return the working folder of builds at a URL."""
    return Path("data", f"{name}.work")


def begin(place: Place, folder: Path) -> dict[str, int]:
    """Compare a locked working folder with its URL, and renew its copies; return the files there, and their bytes.

    Raises `UsageError` if either belongs to something else.
    """
    other = "choose another `work_dir`"
    address, found = folder / ADDRESS, place.sizes()
    if address.is_file() and (of := address.read_text().strip()) != place.url:
        raise UsageError(f"{folder}: is the working folder of a build at {of}, not of {place.url}; {other}")
    if not address.is_file() and (folder / CATALOG).exists():
        raise UsageError(f"{folder}: holds a built dataset, expected a working folder of {place.url}; {other}")
    if found and CATALOG not in found and OWNER not in found:
        raise UsageError(f"{place.url}: holds files that are not of a built dataset; choose another `output_dir`")
    if OWNER in found and (owner := json.loads(place.read(OWNER))) != _named(folder):
        where = f"{owner['folder']} on {owner['host']}"
        words = f"{place.url}: a build of it has not ended, whose working folder is {where}; go on there, or delete"
        raise UsageError(f"{words} {place.url}/{WORKSPACE} to begin anew")
    if CATALOG in found and not _is_same(place, folder, found):
        for name in sorted(FILES & found.keys()):
            with replacing(folder / name) as path:
                place.get(name, path)
    with replacing(address) as path:
        path.write_text(f"{place.url}\n")
    return found


def claim(place: Place, folder: Path) -> None:
    """Note at the URL that this working folder builds there."""
    with place.writing(OWNER) as path:
        path.write_text(json.dumps(_named(folder)))


def _named(folder: Path) -> dict[str, str]:
    return {"host": socket.gethostname(), "folder": str(folder.resolve())}


def _is_same(place: Place, folder: Path, found: Mapping[str, int]) -> bool:
    """Whether the working folder has the files of the state at the URL."""
    hashes = folder / HASHES
    return HASHES in found and hashes.is_file() and hashes.read_bytes() == place.read(HASHES)


def pack_there(
    place: Place,
    workspace: Path,
    split: str,
    pixel: int,
    new: Iterable[EncodedRow],
    manifest: Manifest,
    attributes: Mapping[str, str],
) -> tuple[Path, list[Shard]]:
    """Pack a pixel in a temporary folder and put its shards to the URL, with its earlier ones from there.

    The parts of the catalogue go to a new folder in the workspace. Parameters and result are those of
    `pack.pack_apart`.
    """
    apart = workspace / f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}"
    with tempfile.TemporaryDirectory() as name:
        before, after = Path(name, "before"), Path(name, "after")
        for shard in manifest.shards:
            (before / shard.path).parent.mkdir(parents=True, exist_ok=True)
            place.get(shard.path, before / shard.path)
        packed = pack.pack_pixel(before, after, split, pixel, new, manifest, attributes)
        for shard in packed:
            place.put(after / shard.path, f"{STAGED}/{shard.path}")
            (apart / shard.path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(after / part_path(shard), apart / part_path(shard))
    return apart, packed


def publish(place: Place, ready: Path, folder: Path) -> None:
    """Give staged shards their names, and put the files in `ready`, the catalogue last; safe to repeat."""
    manifest = catalog.read_manifest(ready if (ready / CATALOG).exists() else folder)
    found = place.sizes()
    for shard in manifest.shards:
        if (name := f"{STAGED}/{shard.path}") in found:
            place.move(name, shard.path)
    found = place.sizes()
    if lacking := [shard.path for shard in manifest.shards if found.get(shard.path) != shard.nbytes]:
        advice = f"delete {ready.parent} and build again"
        raise BuildError(
            f"{place.url}: {len(lacking):,} shards are missing or cut short, such as {lacking[0]}; {advice}"
        )
    files = [path for path in ready.iterdir() if path.is_file()]
    for path in sorted(files, key=lambda path: path.name == CATALOG):
        place.put(path, path.name)


def clean(place: Place, folder: Path) -> None:
    """Delete what the published dataset does not have."""
    known = catalog.read_manifest(folder).lengths

    def is_old(name: str) -> bool:
        if name == FAILURES:
            return not (folder / FAILURES).exists()
        is_shard = SHARD_NAME.fullmatch(name.rpartition("/")[2]) is not None
        return name.startswith(f"{WORKSPACE}/") or (is_shard and name not in known)

    place.remove(filter(is_old, sorted(place.sizes())))
