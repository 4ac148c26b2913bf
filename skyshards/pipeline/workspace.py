"""Workspace of a running build: lock, checks of the existing folder, and atomic publication of finished files.

`.build`, inside the output folder, has the lock, the spool, and the files of the next state of the dataset. These are
written to `.build/staged`; renaming it to `.build/ready` commits them. If a build is killed while it moves them into
place, the next build moves the rest.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from skyshards import files
from skyshards.errors import BuildError, FolderError, NewerFormat, UsageError
from skyshards.files import is_disk_full, is_read_only, replacing, sync
from skyshards.format import catalog, provenance, storage
from skyshards.format.addition import scalars_files
from skyshards.format.layout import ADDED, CARD, CATALOG, FILES, HEALPIX, SHARDS, SOURCE, WORKSPACE, scalars_path
from skyshards.format.manifest import Manifest, Shard
from skyshards.pipeline import object_store, spool
from skyshards.pipeline.catalog_parts import ROWS, OldCatalog
from skyshards.pipeline.differences import REPLACED, difference
from skyshards.place import Place

MANIFEST = "manifest.json"
"""File in the workspace with the manifest of a build that has no catalogue yet."""


@contextlib.contextmanager
def hold(
    folder: Path, downloads: str, otherwise: str = ", or choose another `output_dir`", place: Place | None = None
) -> Iterator[Path]:
    """Lock a folder for this build and yield its workspace (absolute path), which is removed if the build completes.

    Remains of killed builds are cleaned up or finished first. Disk errors become a `BuildError` that says what to do.
    For a read-only dataset, whose completeness can still be checked, the workspace is a temporary folder elsewhere.
    With a `place`, the dataset is there, and the folder is its working folder.
    """
    workspace = folder / WORKSPACE
    _refuse_other_folder(folder)
    if is_read_only(folder) and (folder / CATALOG).exists() and not workspace.exists():
        with _clear_errors(folder), tempfile.TemporaryDirectory() as elsewhere:
            yield Path(elsewhere).absolute() / WORKSPACE
        return
    busy = f"{folder}: another build is running in this folder; wait for it{otherwise}"
    files.refuse_links(workspace, folder / downloads)
    with _clear_errors(folder), files.hold(workspace, busy):
        try:
            files.remove_unfinished(folder)  # not in subfolders, where other builds may be running
            files.remove_unfinished(folder / downloads, below=True)
            for unfinished in ("staged", ROWS):
                if (workspace / unfinished).exists():
                    shutil.rmtree(workspace / unfinished)
            if (workspace / "ready").exists():
                _refuse_foreign(workspace, folder)
                _move(workspace, folder, place)
            yield workspace.absolute()
        finally:
            left = {path.name for path in workspace.iterdir()}
            if left <= {"lock", MANIFEST}:  # nothing was read, so the next build may have other options
                (workspace / MANIFEST).unlink(missing_ok=True)


def _refuse_other_folder(folder: Path) -> None:
    """Refuse a folder with a card or shards but no catalogue or workspace: it is not ours."""
    ours = (folder / CATALOG).exists() or (folder / WORKSPACE).exists()
    if not ours and ((folder / CARD).exists() or any(folder.glob(f"{HEALPIX}=*"))):
        raise UsageError(f"{folder}: holds files that are not of a built dataset; choose another `output_dir`")


def _refuse_foreign(workspace: Path, folder: Path) -> None:
    """Raise `BuildError` unless `ready` holds exactly what a killed build of this dataset left there."""
    ready = workspace / "ready"
    catalogs = [place / CATALOG for place in (ready, folder) if (place / CATALOG).is_file()]
    found = [catalog.open_catalog(path.parent).manifest for path in catalogs]
    what = ""
    if not found or any(difference(found[0], other) for other in found[1:]):
        what = "no catalogue of this dataset"
    lengths = {name: nbytes for manifest in found[:1] for name, nbytes in manifest.lengths.items()}
    others = FILES.union(*(scalars_files(manifest).values() for manifest in found[:1]))
    for path in ready.rglob("*"):
        name = path.relative_to(ready).as_posix()
        if path.is_file() and name not in others and lengths.get(name) != path.stat().st_size:
            what = name
        target = folder / name
        if path.is_dir() and target.is_symlink():
            raise BuildError(f"{target}: a link, in place of a folder of shards; remove it")
    if what:
        raise BuildError(f"{ready}: holds {what}, which no build of this dataset left; delete {workspace} and go on")


@contextlib.contextmanager
def _clear_errors(folder: Path) -> Iterator[None]:
    """Extend `files.clear_errors` to errors of SQLite and Arrow."""
    with files.clear_errors(folder):
        try:
            yield
        except (sqlite3.Error, pa.ArrowException) as error:
            if is_disk_full(error):
                raise OSError(errno.ENOSPC, str(error)) from error
            if type(error) is sqlite3.DatabaseError:  # its subclasses do not mean damage
                message = f"the journal of what was read is damaged ({error})"
                raise BuildError(f"{message}; delete {folder / WORKSPACE} and build again") from error
            raise BuildError(f"{folder}: {error}") from error


def what_is_there(folder: Path, wanted: Manifest, reuse: str = "") -> tuple[OldCatalog, Manifest]:
    """Open the folder's catalogue and read its manifest; empty ones for a new folder. `reuse` is `Recipe.reuse`.

    Raises `UsageError` if the build was started with options other than those of the manifest `wanted`, `BuildError` if
    the options cannot be read.
    """
    if (folder / CATALOG).exists():
        try:
            file = catalog.open_catalog(folder)
            old, found = OldCatalog(file, wanted.specs), file.manifest
        except NewerFormat:
            raise
        except FolderError as error:
            message = f"{CATALOG} is damaged; delete the folder and build again, or choose another `output_dir`"
            raise BuildError(f"{folder}: {message}") from error
    else:
        old, found = OldCatalog(None, wanted.specs), wanted
        path = folder / WORKSPACE / MANIFEST
        if path.exists():
            try:
                found = Manifest.from_json(path.read_text())
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise BuildError(f"{path}: cannot be read ({error}); delete {path.parent} and build again") from error
        else:
            with replacing(path) as temporary:
                temporary.write_text(wanted.to_json())
    if words := difference(found, wanted, reuse):
        raise UsageError(f"{folder}: {words}")
    names = ("columns", "configs", "format", "written_by")
    renewed = replace(found, **{name: getattr(wanted, name) for name in names})
    return old, storage.inflating(renewed, found.inflated)


def refuse_other_options(folder: Path, known: Manifest, reuse: str = "") -> None:
    """Raise `UsageError` if a folder's build was started with options other than the ones known so far.

    `reuse` is `Recipe.reuse`. A folder whose options cannot be read is left to `what_is_there`.
    """
    try:
        begun = folder / WORKSPACE / MANIFEST
        if (folder / CATALOG).exists():
            found = catalog.read_manifest(folder)
        elif begun.exists():
            found = Manifest.from_json(begun.read_text())
        else:
            return
    except (FolderError, OSError, ValueError, KeyError, TypeError, AttributeError):
        return
    options = {name: found.options.get(name) for name in (*known.options, *REPLACED, storage.STORE)}
    if words := difference(replace(found, options=options, columns=known.columns, inflated=()), known, reuse):
        raise UsageError(f"{folder}: {words}")


def without_lost_shards(
    folder: Path, old: OldCatalog, manifest: Manifest, elsewhere: Mapping[str, int] | None = None
) -> tuple[OldCatalog, Manifest, set[str]]:
    """Drop shards that are missing or of the wrong size; also return the keys of the sources to read again.

    `elsewhere` has the sizes of files in bytes, if shards are not in the folder.
    """
    if elsewhere is None:
        lost = [shard for shard in manifest.shards if not _is_whole(folder, shard)]
    else:
        lost = [shard for shard in manifest.shards if elsewhere.get(shard.path) != shard.nbytes]
    keys = {key for part in old.tables([SOURCE], lost) for key in part[SOURCE].to_pylist()}
    for shard in lost:
        (folder / shard.path).unlink(missing_ok=True)
    gone = {shard.path for shard in lost}
    kept = tuple(shard for shard in manifest.shards if shard.path not in gone)
    return old.without(gone), replace(manifest, shards=kept), keys


def _is_whole(folder: Path, shard: Shard) -> bool:
    try:
        return (folder / shard.path).stat().st_size == shard.nbytes
    except OSError:
        return False


def publish(workspace: Path, place: Place | None = None) -> None:
    """Move the files in `staged` into the dataset, then delete the spool, whose rows they hold.

    With a `place`, the dataset is there; see `object_store`.
    """
    staged, folder = workspace / "staged", workspace.parent
    for path in staged.rglob("*"):
        if path.is_dir():  # create folders before the commit, while a full disk can still stop it
            target = folder / path.relative_to(staged)
            target.mkdir(exist_ok=True)
            if target.is_symlink():
                raise BuildError(f"{target}: a link, in place of a folder of shards; remove it")
    for path in [*staged.rglob("*"), staged]:  # before the commit
        sync(path)
    staged.rename(workspace / "ready")
    _move(workspace, folder, place)


def _move(workspace: Path, folder: Path, place: Place | None) -> None:
    """Move the files in `ready` into place, remove those that they replace, the spool and `ready`; safe to repeat."""
    ready = workspace / "ready"
    if place is not None:
        object_store.publish(place, ready, folder)
    for path in sorted(ready.rglob("*")):
        if path.is_file():
            os.replace(path, folder / path.relative_to(ready))
    manifest = catalog.open_catalog(folder).manifest
    known = {*manifest.lengths, *scalars_files(manifest).values()}
    for touched in (path.relative_to(ready) for path in ready.rglob("*") if path.is_dir()):
        for path in (folder / touched).glob(SHARDS):
            if path.relative_to(folder).as_posix() not in known:
                path.unlink()
    for below in (folder / scalars_path("")).parent, folder / ADDED:
        if below.is_dir():
            files.remove_if_empty(below)
    if not any(record.error or record.failed for record in provenance.read(folder)):
        (folder / provenance.FAILURES).unlink(missing_ok=True)
    if place is not None:
        object_store.clean(place, folder)
    spool.delete(workspace)
    (workspace / MANIFEST).unlink(missing_ok=True)
    shutil.rmtree(ready)
