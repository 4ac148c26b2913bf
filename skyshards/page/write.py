"""Write a page: one HTML file with its data, style and script, and the pictures beside it."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import os
import re
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

from skyshards.errors import FolderError, UsageError
from skyshards.files import TEMPORARY_PREFIX, clear_errors, hold, is_url, replacing
from skyshards.format.manifest import WRITER
from skyshards.page.contents import contents
from skyshards.page.thumbnails import thumbnails
from skyshards.pictures.legend import shared
from skyshards.progress import progress
from skyshards.read.store import LocalStore
from skyshards.read.table import open_table

INDEX, PICTURES = "index.html", "pictures"
MARK = '<meta name="generator" content="skyshards '
"""What makes a folder with an `index.html` a page of ours."""
SCRIPTS = ("dom.js", "charts.js", "sky.js", "filters.js", "gallery.js", "details.js", "main.js")
MAX_PICTURES_BYTES = 9_500_000
"""Maximum size of all pictures together; with at most 4 MB of values, a page stays below 15 MB."""
_PICTURE = re.compile(r"[0-9a-f]{20}\.webp")


@dataclass(frozen=True)
class Page:
    """A written page: the file to open, the rows of the dataset and in the gallery, and its size in bytes."""

    index: Path
    rows: int
    shown: int
    nbytes: int


def write_page(
    folder: str | os.PathLike, out: str | os.PathLike, *, storage_options: dict[str, Any] | None = None
) -> Page:
    """Write a page of a built dataset. The same dataset gives the same bytes.

    Pictures are named by their content, and `index.html` is replaced in one step after they are there, so that the
    page works at any moment. Pictures of an earlier page are then deleted.

    Parameters
    ----------
    folder : path or URL
        The built dataset. Of one at a URL, the catalogue and the rows of the gallery are read.
    out : path
        The page's folder: a new or empty one, or an earlier page, which is replaced.
    storage_options : dict, optional
        Options for the file system of a URL.

    Returns
    -------
    Page

    Raises
    ------
    UsageError
        If `out` is a URL, holds anything but a page, or lies in the dataset's folder.
    FolderError
        If `folder` is not a built dataset, has no rows, or cannot be read.
    ShardCorrupted
        If a shard does not match its catalogue.
    BuildError
        If the disk is full, or another run writes the same page.
    """
    if is_url(out):
        raise UsageError(f"{out}: a page is written to disk, found a URL; copy it there afterwards")
    out = Path(out)
    table = open_table(folder, storage_options=storage_options)
    store = table._data.reader.store
    if not len(table):
        raise FolderError(f"{store}: the dataset has no rows; there is nothing to show")
    _check_place(store.root if isinstance(store, LocalStore) else None, out)
    busy = f"{out}: another run is writing this page; wait for it, or choose another folder"
    with clear_errors(out), hold(out, busy, out.with_name(f".{out.name}.lock")):
        described, shown = contents(str(store), table)
        (out / PICTURES).mkdir(exist_ok=True)
        drawn: dict[str, list] = {"pictures": [], "bare": [], "captions": []}
        legends = []
        with progress("drawing", "rows", len(shown)) as bar:
            for thumbnail in thumbnails(table, shown, MAX_PICTURES_BYTES // len(shown)):
                drawn["pictures"].append(_write_picture(out, thumbnail.content))
                drawn["bare"].append(_write_picture(out, thumbnail.bare))
                drawn["captions"].append(thumbnail.caption)
                legends.append(thumbnail.legend)
                bar.update()
        described["gallery"] |= drawn | {"legend": shared(legends)}
        with replacing(out / INDEX) as path:
            path.write_text(document(described), encoding="utf-8")
        _delete_pictures(out / PICTURES, {*drawn["pictures"], *drawn["bare"]})
        nbytes = sum(path.stat().st_size for path in (out / INDEX, *(out / PICTURES).iterdir()))
    return Page(out / INDEX, len(table), len(shown), nbytes)


def _check_place(folder: Path | None, out: Path) -> None:
    """Raise `UsageError` unless a page may be written to `out`; `folder` is the dataset's, if it is on disk."""
    if folder and (out.resolve().is_relative_to(folder.resolve()) or folder.resolve().is_relative_to(out.resolve())):
        raise UsageError(f"{out}: a page and the dataset cannot lie within each other; choose another folder with -o")
    there = next(path for path in (out.absolute(), *out.absolute().parents) if path.exists())
    if not there.is_dir():
        raise UsageError(f"{there}: expected a folder, found a file; choose another with -o")
    strange = sorted(_strangers(out)) if out.exists() else []
    if strange:
        advice = "move it, or choose another folder with -o"
        raise UsageError(f"{out}: expected a new folder or an earlier page, found {strange[0]}; {advice}")


def _strangers(out: Path) -> set[str]:
    """Return the names of what no page of ours has."""
    found = set()
    for path in out.iterdir():
        if path.name == PICTURES and path.is_dir() and not path.is_symlink():
            inside = (picture.name for picture in path.iterdir())
            found |= {f"{PICTURES}/{name}" for name in inside if not (_PICTURE.fullmatch(name) or _unfinished(name))}
        elif not _unfinished(path.name) and not (path.name == INDEX and _is_ours(path)):
            found.add(path.name)
    return found


def _unfinished(name: str) -> bool:
    return name.startswith(TEMPORARY_PREFIX)


def _is_ours(index: Path) -> bool:
    with open(index, encoding="utf-8", errors="replace") as file:
        return MARK in file.read(2000)


def _write_picture(out: Path, content: bytes | None) -> str | None:
    """Write a picture unless it is there; return its path below the page's folder, None if there is no picture."""
    if content is None:
        return None
    name = f"{PICTURES}/{hashlib.sha256(content).hexdigest()[:20]}.webp"
    if not (out / name).exists():
        with replacing(out / name) as path:
            path.write_bytes(content)
    return name


def _delete_pictures(folder: Path, kept: set[str]) -> None:
    for path in folder.iterdir():
        if f"{PICTURES}/{path.name}" not in kept:
            path.unlink()


def document(described: dict[str, Any]) -> str:
    """Return the HTML. All that a dataset says is in the JSON, which the script shows as text only."""
    style = _asset("page.css")
    script = '"use strict";\n' + "".join(_asset(name) for name in SCRIPTS)
    return Template(_asset("page.html")).substitute(
        generator=html.escape(WRITER),
        style_hash=_hash(style),
        script_hash=_hash(script),
        title=html.escape(described["title"]),
        style=style,
        contents=in_script(described),
        script=script,
    )


def in_script(value: Any) -> str:
    """Return JSON that cannot end the HTML element that it is in."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _asset(name: str) -> str:
    return resources.files("skyshards.page").joinpath("assets", name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """Return the hash by which the page's own policy lets a style or script through."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
