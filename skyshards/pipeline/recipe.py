"""Interface of a dataset to the build: its sources, and how to read a source into rows."""

from __future__ import annotations

import abc
import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from skyshards.errors import UsageError
from skyshards.pipeline.claims import claim, delete_claimed

if TYPE_CHECKING:
    from skyshards.fetch.client import Fetcher
    from skyshards.format.schema import Schema

DEMO = "the demo archive"
"""Value of an option that names an archive, for the demo archive, whose address changes with every run."""

MAX_LARGE_FILE = 64 << 30
"""Maximum length of the download of a source that is read in blocks, bytes."""


@dataclass(frozen=True, slots=True)
class Source:
    """A unit of upstream data: a FITS file, the cutout of a catalogue row, one large file with many rows.

    Attributes
    ----------
    key : str
        Unique name in the dataset; the file name if there is one.
    url : str or None
        Address to fetch; None if nothing is fetched.
    checksum : str or None
        "sha1:…", "sha256:…" or "md5:…" in hexadecimal, if the archive publishes one.
    path : Path or None
        The file, if it is on disk already; nothing is fetched then.
    split : str
        Split of its rows.
    release : str or None
        Release of the archive that it belongs to, such as "SDSS DR17", for `sources.parquet`; None if unknown.
    info : object
        Anything else that `Recipe.read` needs (picklable), such as the catalogue row.
    """

    key: str
    url: str | None = None
    checksum: str | None = None
    path: Path | None = None
    split: str = "train"
    info: Any = None
    release: str | None = None


class Served(NamedTuple):
    """What `Recipe.fetch` may return in place of the content: the content, and the address that served it.

    `sources.parquet` then has this address instead of the source's, such as that of a mirror, and this release, unless
    it is None.
    """

    content: Any
    url: str | None
    release: str | None = None


class Deferred(abc.ABC):
    """What `Recipe.fetch` may return in place of bytes that are on disk: a worker reads them (picklable)."""

    @abc.abstractmethod
    def content(self) -> bytes:
        """Read the bytes. Raises `SourceError` if they are damaged."""


@dataclass(frozen=True)
class Cost:
    """Estimated cost of building some sources; None where unknown.

    Attributes
    ----------
    fetch_bytes, keep_bytes : float or None
        Bytes to download, and bytes on disk in the end.
    seconds : float or None
        Time at the given `pace`.
    pace : str
        Such as "5 requests/s".
    """

    fetch_bytes: float | None = None
    keep_bytes: float | None = None
    seconds: float | None = None
    pace: str = ""


class Recipe(abc.ABC):
    """Base class of a dataset's recipe: how to list, fetch and read its sources.

    Define `sources`, and either `read` or, for large files with many rows, `count` and `read_rows`. A recipe is usually
    a frozen dataclass of the build's options. It is sent to worker processes, so keep it small. Its rows must not
    depend on the order in which sources arrive.
    """

    name: ClassVar[str]
    """Name of the dataset and of its folder."""
    splits: ClassVar[tuple[str, ...]] = ("train",)
    downloads: ClassVar[str] = "downloads"
    """Folder for downloads, inside the output folder."""
    reuse: ClassVar[str] = ""
    """How a build elsewhere uses again what this folder has, for the message that refuses other options."""
    unit: ClassVar[str] = "sources"
    """Plural noun for sources in messages."""
    making: ClassVar[str] = "reading"
    """Verb of the progress bar for sources that need no download."""
    rows_per_block: ClassVar[int | None] = None
    """Rows of a block of a source with a `count`, where its files are best read so, such as the rows of an HDF5 chunk;
    by default, the build chooses (blocks of about 16 MiB)."""
    limit: int | None = None
    """Maximum number of objects to build (None for all), which `prepare` and `cost` know: a query need not ask a server
    for more. Elsewhere it is None, so that sources never depend on it: the build itself cuts their rows."""
    rate: float = 0.0
    """Maximum number of requests per second by `fetcher`, over all threads and workers; 0 for no limit."""
    simulated: bool = False
    """Whether the sources are simulated, set by `build`; always True in a class that only simulates."""

    def told(self, limit: int | None, simulated: bool) -> Recipe:
        """Copy the recipe with the build's `limit` and `simulated`; a true `simulated` stays true."""
        recipe = object.__new__(type(self))  # recipes may be frozen, and `copy.copy` drops what a pickle leaves out
        vars(recipe).update(vars(self) | {"limit": limit, "simulated": simulated or self.simulated})
        return recipe

    @property
    @abc.abstractmethod
    def schema(self) -> Schema:
        """Columns of the rows; a class attribute, unless options change them."""

    @property
    def keeps_downloads(self) -> bool:
        """Whether to keep downloads, also in later builds; otherwise, they are discarded once read."""
        return False

    @property
    def folder(self) -> Path:
        """Folder of the dataset's package, with its data card and citations."""
        return Path(inspect.getfile(type(self))).parent

    def prepare(self, fetcher: Fetcher, folder: Path) -> Recipe:
        """Fetch what the columns or options depend on, such as a catalogue, and return the recipe to build.

        Called once, after the output folder is locked. By default, returns the recipe itself. Raises `BuildError` if
        something cannot be fetched or read.
        """
        return self

    @abc.abstractmethod
    def sources(self, fetcher: Fetcher) -> Iterable[Source]:
        """List all sources, always in the same order. Raises `BuildError` if they cannot be listed."""

    def read(self, source: Source, fetched: Any) -> Iterable[Mapping[str, Any]]:
        """Read a source into rows: nested dicts of all columns but those that the build adds.

        The build adds `healpix`, `source` and `fold`. For a row that shows several objects, such as a blend, give
        `fold`: the one that all of them have (`skyshards.fold_of`), or -1.

        Runs in a worker process. `fetched` is what `fetch` returned. Yield rows one by one: each is written at once.
        Yield nothing for a source that the options exclude. Raise `SourceError` with the reason for one that cannot be
        read; other sources are not affected.
        """
        raise NotImplementedError(f"{type(self).__name__} has no method `read`")

    def count(self, source: Source, fetched: Any) -> int | None:
        """Count the rows of a fetched source that is to be read in blocks; None (the default) to `read` it whole.

        Runs in a worker process, once a build, after the source was fetched.
        """
        return None

    def read_rows(self, source: Source, fetched: Any, rows: range) -> Iterable[Mapping[str, Any] | None]:
        """Read the given rows of a source with a `count`, in order: one nested dict each, or None to leave a row out.

        Runs in several worker processes, each with blocks of its own. The build chooses the blocks and remembers which
        are done; read only what it asks for. Where this raises, the rest of the block is read row by row, and only rows
        that raise again are lost.
        """
        raise NotImplementedError(f"{type(self).__name__} has no method `read_rows`")

    @property
    def counts(self) -> bool:
        """Whether sources may be read in blocks: whether the class has a `count` of its own."""
        return _own_method(type(self), "count")

    def check_methods(self) -> None:
        """Raise `UsageError` unless the class defines how to read its sources."""
        defined = [name for name in ("read", "count", "read_rows") if _own_method(type(self), name)]
        if ("count" in defined) != ("read_rows" in defined) or not defined:
            found = ", ".join(defined) or "none of them"
            raise UsageError(f"{type(self).__name__}: expected `read`, or `count` and `read_rows`; found {found}")

    def expect(self, sources: Iterable[Source]) -> None:  # noqa: B027 (optional to have)
        """Take note of the sources that are about to be fetched, in this order; more may follow.

        Called once, in the process that builds: what many of them share can be fetched ahead.
        """

    def fetch(self, source: Source, fetcher: Fetcher, folder: Path) -> Any:
        """Fetch a source, in a download thread of the process that builds; the result (picklable) is passed to `read`.

        Send requests by `fetcher`. In a Dask cluster, its `download` and what its `run` calls run in a worker.

        Return a `Deferred` for bytes that `read` takes and a worker can read from disk, and `Served(result, url)` where
        another address than `source.url` served it.

        By default, returns the path of the file: the one on disk, or a verified download of `source.url` in `folder`
        (of sources that are read in blocks, a download that a kill interrupts is resumed by the next build). The
        default `discard` deletes only files marked with `skyshards.pipeline.claims.claim` before the download.
        """
        if source.path is not None or source.url is None:
            return source.path
        claim(folder / source.key)
        path = folder / source.key
        if self.counts:
            return fetcher.download(source.url, path, source.checksum, MAX_LARGE_FILE, keep_part=True)
        return fetcher.download(source.url, path, source.checksum)

    def cost(self, sources: Sequence[Source]) -> Cost:
        """Estimate the cost of building some of the listed sources. By default, unknown."""
        return Cost()

    def options(self) -> dict[str, Any]:
        """Options that determine the content of the rows, and their archive (JSON values).

        A build refuses a folder that was built with other options. Also called before `prepare`, to refuse a build
        before any download: leave out then what only `prepare` finds out.
        """
        return {}

    @property
    def lists_all(self) -> bool:
        """Whether `sources` lists everything an archive has; a later listing must then not be shorter."""
        return False

    def discard(self, source: Source, fetched: Any, failed: bool) -> None:
        """Clean up after `fetch`, once the source's rows are safely on disk or reading it has `failed`.

        By default, deletes the file if a build downloaded it. A failed file must not stay: the next run has to download
        it again.
        """
        if source.path is None and isinstance(fetched, Path):
            delete_claimed(fetched)

    def close(self) -> None:  # noqa: B027 (optional to have)
        """Release resources of the prepared recipe; called whenever a build ends, while the folder is still locked."""


def _own_method(recipe: type[Recipe], name: str) -> bool:
    """Whether a recipe defines a method; a field of the same name does not count."""
    found = getattr(recipe, name)
    return callable(found) and found != getattr(Recipe, name)
