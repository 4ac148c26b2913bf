"""The folder of a build under way: who holds it, what is in it already, and how finished files reach their places.

`.build`, below the output folder, has the lock, the spool, and the files of the next state of the dataset. These are
written to `.build/staged`; its renaming to `.build/ready` is the moment from which they count. A build that is killed
while it moves them to their places leaves the rest for the next one to move.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from skyshards import files
from skyshards.errors import BuildError, FolderError, NewerFormat, UsageError
from skyshards.files import is_disk_full, is_read_only, links_out, replacing, sync
from skyshards.format import catalog, provenance
from skyshards.format.layout import CARD, CATALOG, FILES, HEALPIX, SHARD, SHARDS, SOURCE, WORKSPACE
from skyshards.format.manifest import Manifest, Shard
from skyshards.pipeline import spool
from skyshards.pipeline.differences import difference

MANIFEST = "manifest.json"
"""What a build in its workspace is going to be, before there is a catalogue to say so."""


@contextlib.contextmanager
def hold(folder: Path, downloads: str) -> Iterator[Path]:
    """Hold a folder for this build alone, and give its workspace (absolute); in the end nothing is left of it, if all
    is done.

    What killed builds left is cleaned up or finished first. Errors of the disk become a `BuildError` that says what to
    do. For a dataset that cannot be written to, to see whether it is complete, the workspace lies elsewhere.
    """
    workspace = folder / WORKSPACE
    _refuse_other_folder(folder)
    if is_read_only(folder) and (folder / CATALOG).exists() and not workspace.exists():
        with _clear_errors(folder), tempfile.TemporaryDirectory() as elsewhere:
            yield Path(elsewhere).absolute() / WORKSPACE
        return
    busy = f"{folder}: another build is running in this folder; wait for it, or choose another `output_dir`"
    _refuse_links(workspace, folder / downloads)
    with _clear_errors(folder), files.hold(workspace, busy):
        try:
            files.remove_unfinished(folder)  # and not below it, where other builds may be at work
            files.remove_unfinished(folder / downloads, below=True)
            if (workspace / "staged").exists():
                shutil.rmtree(workspace / "staged")
            if (workspace / "ready").exists():
                _refuse_foreign(workspace, folder)
                _move(workspace, folder)
            yield workspace.absolute()
        finally:
            left = {path.name for path in workspace.iterdir()}
            if left <= {"lock", MANIFEST}:  # nothing was read: the next build may have other options
                (workspace / MANIFEST).unlink(missing_ok=True)


def _refuse_other_folder(folder: Path) -> None:
    """A card or shards that no build of ours accounts for are somebody else's."""
    ours = (folder / CATALOG).exists() or (folder / WORKSPACE).exists()
    if not ours and ((folder / CARD).exists() or any(folder.glob(f"{HEALPIX}=*"))):
        raise UsageError(f"{folder}: holds files that are not of a built dataset; choose another `output_dir`")


def _refuse_links(*folders: Path) -> None:
    """A build writes into its own folder alone, also where somebody else sent it."""
    for path in (path for folder in folders for path in links_out(folder)):
        raise BuildError(f"{path}: a link or device that leads out of the dataset's folder; remove it")


def _refuse_foreign(workspace: Path, folder: Path) -> None:
    """Raise `BuildError` unless `ready` holds just what a build that was killed left there."""
    ready = workspace / "ready"
    catalogs = [place / CATALOG for place in (ready, folder) if (place / CATALOG).is_file()]
    found = [catalog.open_folder(path.parent)[1] for path in catalogs]
    what = ""
    if not found or any(_differs(found[0], other) for other in found[1:]):
        what = "no catalogue of this dataset"
    shards = {shard.path: shard.nbytes for manifest in found[:1] for shard in manifest.shards}
    for path in ready.rglob("*"):
        name = path.relative_to(ready).as_posix()
        if path.is_file() and name not in FILES and shards.get(name) != path.stat().st_size:
            what = name
        target = folder / name
        if path.is_dir() and target.is_symlink():
            raise BuildError(f"{target}: a link, in place of a folder of shards; remove it")
    if what:
        raise BuildError(f"{ready}: holds {what}, which no build of this dataset left; delete {workspace} and go on")


@contextlib.contextmanager
def _clear_errors(folder: Path) -> Iterator[None]:
    """Do as `files.clear_errors`, for errors of SQLite and Arrow as well."""
    with files.clear_errors(folder):
        try:
            yield
        except (sqlite3.Error, pa.ArrowException) as error:
            if is_disk_full(error):
                raise OSError(errno.ENOSPC, str(error)) from error
            if type(error) is sqlite3.DatabaseError:  # not one of its subclasses, which are about something else
                message = f"the journal of what was read is damaged ({error})"
                raise BuildError(f"{message}; delete {folder / WORKSPACE} and build again") from error
            raise BuildError(f"{folder}: {error}") from error


def what_is_there(folder: Path, wanted: Manifest) -> tuple[pa.Table, Manifest]:
    """The catalogue and manifest that the folder has, or empty ones.

    Raises `UsageError` if it was built, or begun, with other options than those of the manifest `wanted`, `BuildError`
    if it cannot be told.
    """
    if (folder / CATALOG).exists():
        try:
            table, found = catalog.open_folder(folder)
        except NewerFormat:
            raise
        except FolderError as error:
            message = f"{CATALOG} is damaged; delete the folder and build again, or choose another `output_dir`"
            raise BuildError(f"{folder}: {message}") from error
    else:
        table, found = catalog.schema(wanted.specs).empty_table(), wanted
        path = folder / WORKSPACE / MANIFEST
        if path.exists():
            try:
                found = Manifest.from_json(path.read_text())
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise BuildError(f"{path}: cannot be read ({error}); delete {path.parent} and build again") from error
        else:
            with replacing(path) as temporary:
                temporary.write_text(wanted.to_json())
    if words := difference(found, wanted):
        raise UsageError(f"{folder}: {words}")
    names = ("columns", "configs", "format", "written_by")
    return table, replace(found, **{name: getattr(wanted, name) for name in names})


def refuse_other_options(folder: Path, known: Manifest) -> None:
    """Raise `UsageError` if a folder was built, or begun, with other options than those that are known so far.

    A folder of which that cannot be told is left to `what_is_there`.
    """
    try:
        begun = folder / WORKSPACE / "manifest.json"
        if (folder / catalog.CATALOG).exists():
            found = catalog.read_manifest(folder)
        elif begun.exists():
            found = Manifest.from_json(begun.read_text())
        else:
            return
    except (FolderError, OSError, ValueError, KeyError, TypeError, AttributeError):
        return
    options = {name: found.options.get(name) for name in known.options}
    if words := difference(replace(found, options=options, columns=known.columns), known):
        raise UsageError(f"{folder}: {words}")


def _differs(found: Manifest, wanted: Manifest) -> list[str]:
    """In what a folder differs from what is to be built in it."""
    names = ("name", "simulated", "nside", "options", "form")
    return [name for name in names if getattr(found, name) != getattr(wanted, name)]


def without_lost_shards(folder: Path, table: pa.Table, manifest: Manifest) -> tuple[pa.Table, Manifest, set[str]]:
    """Leave out shards that are gone or of another size, and name the sources that are to be read again for them."""
    lost = {shard.path for shard in manifest.shards if not _is_whole(folder, shard)}
    if not lost:
        return table, manifest, set()
    is_lost = pc.is_in(table[SHARD].cast(pa.string()), pa.array(sorted(lost)))
    keys = set(table.filter(is_lost)[SOURCE].to_pylist())
    for path in lost:
        (folder / path).unlink(missing_ok=True)
    kept = tuple(shard for shard in manifest.shards if shard.path not in lost)
    return table.filter(pc.invert(is_lost)), replace(manifest, shards=kept), keys


def _is_whole(folder: Path, shard: Shard) -> bool:
    try:
        return (folder / shard.path).stat().st_size == shard.nbytes
    except OSError:
        return False


def publish(workspace: Path) -> None:
    """Make the files in `staged` the dataset's own. The spool, whose rows they hold now, is no longer needed."""
    staged, folder = workspace / "staged", workspace.parent
    for path in staged.rglob("*"):
        if path.is_dir():  # made now, while a full disk can still say so
            place = folder / path.relative_to(staged)
            place.mkdir(exist_ok=True)
            if place.is_symlink():
                raise BuildError(f"{place}: a link, in place of a folder of shards; remove it")
    for path in [*staged.rglob("*"), staged]:  # before they count
        sync(path)
    staged.rename(workspace / "ready")
    _move(workspace, folder)


def _move(workspace: Path, folder: Path) -> None:
    """Move what is in `ready`, remove what it replaces, then the spool, then `ready`. Can begin again at any point."""
    ready = workspace / "ready"
    for path in sorted(ready.rglob("*")):
        if path.is_file():
            os.replace(path, folder / path.relative_to(ready))
    shards = {shard.path for shard in catalog.open_folder(folder)[1].shards}
    for touched in (path.relative_to(ready) for path in ready.rglob("*") if path.is_dir()):
        for path in (folder / touched).glob(SHARDS):
            if path.relative_to(folder).as_posix() not in shards:
                path.unlink()
    if all(record.status != "failed" for record in provenance.read(folder).values()):
        (folder / provenance.FAILURES).unlink(missing_ok=True)
    spool.delete(workspace)
    (workspace / MANIFEST).unlink(missing_ok=True)
    shutil.rmtree(ready)
