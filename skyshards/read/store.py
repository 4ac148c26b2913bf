"""Read byte ranges of a built dataset's files, on disk or at any fsspec URL."""

from __future__ import annotations

import errno
import functools
import io
import os
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fsspec
import fsspec.asyn
import numpy as np
import pyarrow as pa

from skyshards.errors import FolderError, ShardCorrupted
from skyshards.files import is_url, open_regular
from skyshards.format import catalog, provenance
from skyshards.format.catalog_file import CatalogFile
from skyshards.format.layout import CATALOG, SOURCES
from skyshards.machine import spare_files

CONNECTIONS = 16
"""Maximum number of concurrent requests for file systems that are not asynchronous."""

WAITS = (0.2, 1.0, 4.0, 10.0)
"""Seconds before each retry of a byte range: a transient server error must not end an epoch."""
LASTING = (FileNotFoundError, PermissionError, NotImplementedError, ImportError, TypeError, ValueError)
"""Errors that are not retried."""

if not hasattr(fsspec.asyn, "reset_after_fork"):
    # Earlier versions leave a forked process an event loop whose thread it lacks: its first request would never end.
    os.register_at_fork(after_in_child=fsspec.asyn.reset_lock)

_caches: set[weakref.ref] = set()
"""The caches of open files of all stores in this process."""


class _File:
    """A file descriptor closed with its last reference, so that a cache can drop it while a thread reads from it."""

    def __init__(self, path: str, expected_bytes: int):
        self.descriptor = open_regular(path)
        found = os.fstat(self.descriptor).st_size
        if found != expected_bytes:
            cause = "it is damaged, or was built again since the dataset was opened"
            raise ShardCorrupted(f"{path}: {found} bytes long, expected {expected_bytes}; {cause}")

    def __del__(self):
        if hasattr(self, "descriptor"):
            os.close(self.descriptor)


class LocalStore:
    """A folder on disk. A forked or unpickled copy opens its own files.

    `sizes` are the expected file sizes in bytes; `read` rejects files of another size. A relative `root` refers to the
    current folder at construction.
    """

    parts_per_thread = 8
    """Maximum number of `read` calls per thread and batch; several let an idle thread take over work."""

    def __init__(self, root: Path):
        self.root = root.absolute()
        self._given = root
        self.sizes: Mapping[str, int] = {}
        self._opened: tuple[int, Callable[[str], _File]] | None = None  # the process, and its cache

    def __reduce__(self):
        return LocalStore, (self.root,)

    def __str__(self) -> str:
        return str(self._given)

    def open_catalog(self) -> CatalogFile:
        return catalog.open_catalog(self.root)

    def read_sources(self) -> pa.Table:
        return provenance.read_table(self.root / SOURCES, f"{self._given / SOURCES}")

    def read_file(self, name: str) -> bytes:
        """Read a whole file. Raises `FolderError` if it is missing."""
        try:
            with open(open_regular(self.root / name), "rb") as file:
                return file.read()
        except OSError as error:
            raise FolderError(
                f"{self._given / name}: cannot be read ({error.strerror or error}); build the dataset again"
            ) from error

    def read(self, names: Sequence[str], starts: Sequence[int], sizes: Sequence[int]) -> Iterator[bytes]:
        """Yield byte ranges, read lazily; a range beyond the end of a file comes back short.

        Raises `FolderError` if a file is missing, `ShardCorrupted` if its size is wrong.
        """
        return self._each(names, starts, sizes, os.pread)

    def fill(self, names: Sequence[str], starts: Sequence[int], places: Sequence[np.ndarray]) -> Iterator[int]:
        """Read byte ranges into contiguous arrays; yield the number of bytes that each got. Raises as `read` does."""
        return self._each(names, starts, zip(places, strict=True), os.preadv)

    def _each(
        self, names: Sequence[str], starts: Sequence[int], wanted: Iterable[Any], read: Callable[[int, Any, int], Any]
    ) -> Iterator[Any]:
        """Yield what `read` returns for each descriptor, wanted bytes and start."""
        open_file = self._cache()
        try:
            for name, start, each in zip(names, starts, wanted, strict=True):
                file = open_file(name)  # keep a reference: another thread may evict it from the cache
                yield read(file.descriptor, each, start)
        except OSError as error:
            too_many = error.errno in (errno.EMFILE, errno.ENFILE)
            advice = "raise the limit of open files (`ulimit -n`)" if too_many else "build the dataset again"
            raise FolderError(f"{self._given / name}: cannot be read ({error}); {advice}") from error

    def _cache(self) -> Callable[[str], _File]:
        """Return the cached opener of files. Threads that create it at the same time each use their own, once.

        No lock: a fork could leave it locked in the child.
        """
        opened = self._opened
        if opened is None or opened[0] != os.getpid():
            cache = functools.lru_cache(spare_files())(functools.partial(_open, str(self.root), self.sizes))
            _caches.add(weakref.ref(cache, _caches.discard))
            self._opened = opened = os.getpid(), cache
        return opened[1]


def _open(root: str, sizes: Mapping[str, int], name: str) -> _File:
    """Open a file of a store. If all stores together exceed the limit of open files, clear their caches first."""
    caches = [cache for reference in _caches.copy() if (cache := reference()) is not None]
    if sum(cache.cache_info().currsize for cache in caches) > spare_files():
        for cache in caches:
            cache.cache_clear()
    return _File(f"{root}/{name}", sizes[name])  # pathlib would take longer than the system does to open it


def store_at(location: str | os.PathLike, storage_options: dict[str, Any] | None = None) -> LocalStore | RemoteStore:
    """Return the store of a folder on disk (`~` is expanded), or at an fsspec URL with options of its file system."""
    location = os.fspath(location)
    if is_url(location):
        return RemoteStore(location, storage_options or {})
    return LocalStore(Path(location).expanduser())


class RemoteStore:
    """A folder at an fsspec URL: https://, hf://, s3:// and so on. Each process has its own connections."""

    parts_per_thread = 1  # all requests of a part are in flight at once

    def __init__(self, url: str, options: dict[str, Any]):
        self.url = url.rstrip("/")
        self._query = ""  # a signature, appended to each file's URL
        if url.startswith(("http://", "https://")) and "?" in url:
            self.url, mark, query = url.partition("?")
            self.url, self._query = self.url.rstrip("/"), mark + query
            options = {"encoded": True} | options
        self.sizes: Mapping[str, int] = {}
        self._options = options
        self._opened: tuple[int, Any, str, ThreadPoolExecutor] | None = None  # the process, and what it reads with

    def __reduce__(self):
        return RemoteStore, (self.url + self._query, self._options)

    def __str__(self) -> str:
        return self.url

    def _connect(self) -> tuple[Any, str, ThreadPoolExecutor]:
        """Return the file system, the folder in it, and request threads; set in one step, as threads share them."""
        opened = self._opened
        if opened is None or opened[0] != os.getpid():
            try:
                filesystem, root = fsspec.core.url_to_fs(self.url, **self._options | self._bounds())
            except (ImportError, ValueError) as error:
                raise FolderError(
                    f"{self.url}: {error} (https and s3 need `pip install 'skyshards[remote]'`)"
                ) from error
            pool = ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="skyshards-fetch")
            self._opened = opened = os.getpid(), filesystem, root, pool
        return opened[1:]

    def _bounds(self) -> dict[str, Any]:
        """Return file system options that bound the size of HTTP responses."""
        if not self.url.startswith(("http://", "https://")) or "get_client" in self._options:
            return {}
        from skyshards.read.bounded_answers import client_options

        return {"client_kwargs": client_options() | self._options.get("client_kwargs", {})}

    def open_catalog(self) -> CatalogFile:
        return CatalogFile(self.read_file(CATALOG), self.url)

    def read_sources(self) -> pa.Table:
        return provenance.read_table(io.BytesIO(self.read_file(SOURCES)), f"{self.url}/{SOURCES}")

    def read_file(self, name: str) -> bytes:
        """Read a whole file that every built dataset has. Raises `FolderError` if it is missing."""
        filesystem, root, _ = self._connect()
        ask = functools.partial(_fetch, filesystem, f"{root}/{name}{self._query}")
        content = _until_whole(ask, None, ask())
        if isinstance(content, FileNotFoundError):
            raise FolderError(f"{self.url}: not a built dataset, it has no {name}") from content
        return self._checked(content, name)

    def read(self, names: Sequence[str], starts: Sequence[int], sizes: Sequence[int]) -> Iterator[bytes]:
        """Yield byte ranges, read with concurrent requests; a range beyond the end of a file comes back short.

        Raises `FolderError` if a request fails after all retries, or the server sends more than the range.
        """
        if 0 in sizes:  # an empty list has no bytes to request
            ranges = [each for each in zip(names, starts, sizes, strict=True) if each[2]]
            whole = self.read([name for name, *_ in ranges], [each[1] for each in ranges], [*filter(None, sizes)])
            yield from (next(whole) if size else b"" for size in sizes)
            return
        filesystem, root, pool = self._connect()
        paths = [f"{root}/{name}{self._query}" for name in names]
        ends = [start + size for start, size in zip(starts, sizes, strict=True)]
        lengths = [self.sizes[name] for name in names]
        if filesystem.async_impl or "::" in self.url:  # with threads, each would download the file for `simplecache::`
            contents = filesystem.cat_ranges(paths, list(starts), ends, on_error="return")
        else:
            contents = pool.map(functools.partial(_fetch, filesystem), paths, starts, ends, lengths)
        asked = zip(names, paths, starts, ends, lengths, contents, strict=True)
        for name, path, start, end, length, content in asked:
            ask = functools.partial(_fetch, filesystem, path, start, end, length)
            content = self._checked(_until_whole(ask, min(end, length) - start, content), name)
            if len(content) > end - start:
                found = f"requested {end - start} bytes, the server sent {len(content)}"
                raise FolderError(
                    f"{self.url}/{name}: {found}: it does not support byte ranges; use another server or a local copy"
                )
            yield content

    def _checked(self, content: bytes | Exception, name: str) -> bytes:
        """Return the content. Raises `FolderError` if it is an error or an HTML page, such as a login page."""
        if isinstance(content, Exception):
            words = " ".join(f"{type(content).__name__}: {content}".split())
            words = words.replace(self._query, "?...") if self._query else words  # a signature is a secret
            raise FolderError(f"{self.url}/{name}: cannot be read ({words})") from content
        if content[:1] in b"<\r\n \xef":
            from skyshards.fetch.answers import page_title

            if title := page_title(content):
                advice = "check the address, and whether you must log in"
                raise FolderError(f"{self.url}/{name}: an HTML page ({title}) came in its place; {advice}")
        return content


def _fetch(
    filesystem: Any, path: str, start: int | None = None, end: int | None = None, length: int | None = None
) -> bytes | Exception:
    """Request a byte range of a file of known length, or the whole file; return the content or the error."""
    try:
        if start is None:
            return filesystem.cat_file(path)
        try:  # fsspec's files would read 5 MiB ahead, and ask for the length first
            return filesystem.cat_file(path, start, end, cache_type="none", size=length)
        except TypeError:  # this file system has no such options
            return filesystem.cat_file(path, start, end)
    except Exception as error:  # each file system has its own
        return error


def _until_whole(
    ask: Callable[[], bytes | Exception], size: int | None, content: bytes | Exception
) -> bytes | Exception:
    """Return the content; retry after a transient error or with fewer bytes than `size`."""
    for wait in WAITS:
        if isinstance(content, Exception):
            from skyshards.fetch.answers import retry_after
            from skyshards.fetch.client import LONGEST_BACKOFF, RETRY_STATUSES

            if isinstance(content, LASTING) or getattr(content, "status", None) not in (None, *RETRY_STATUSES):
                break
            asked = retry_after(getattr(content, "headers", None) or {})
            wait = wait if asked is None else min(asked, LONGEST_BACKOFF)
        elif size is None or len(content) >= size or content[:1] == b"<":
            break
        time.sleep(wait)
        content = ask()
    return content
