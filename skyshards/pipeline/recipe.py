"""What a dataset must say about itself to be built: its sources, and how one source becomes rows."""

from __future__ import annotations

import abc
import copy
import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from skyshards.pipeline.claims import claim, delete_claimed

if TYPE_CHECKING:
    from skyshards.fetch.client import Fetcher
    from skyshards.format.schema import Schema

DEMO = "the demo archive"
"""What an option that names an archive has in place of an address that is another in every run."""


@dataclass(frozen=True)
class Source:
    """One thing upstream: a FITS file, a cutout of one catalogue row, a block of blends.

    Attributes
    ----------
    key : str
        Its name, unique in the dataset; a file name where there is one.
    url : str or None
        Where it comes from; None if nothing is fetched.
    checksum : str or None
        "sha1:…", "sha256:…" or "md5:…" in hexadecimal, where the archive publishes one.
    path : Path or None
        The file itself, if it is on disk already; then nothing is fetched.
    split : str
        The split that its rows belong to.
    info : object
        Whatever else `Recipe.read` needs of it (picklable), such as its row of the catalogue.
    """

    key: str
    url: str | None = None
    checksum: str | None = None
    path: Path | None = None
    split: str = "train"
    info: Any = None


@dataclass(frozen=True)
class Cost:
    """About how much it takes to build some sources; None for what is not known.

    Attributes
    ----------
    fetch_bytes, keep_bytes : float or None
        To be downloaded, and to be on disk in the end.
    seconds : float or None
        At the `pace`, such as "5 requests/s".
    pace : str
    """

    fetch_bytes: float | None = None
    keep_bytes: float | None = None
    seconds: float | None = None
    pace: str = ""


class Recipe(abc.ABC):
    """How a dataset is made. An instance holds the build's options and is sent to worker processes: keep it small.

    A recipe is usually a frozen dataclass of its options. Nothing of it may depend on the order in which sources come.
    """

    name: ClassVar[str]
    """Name of the dataset and of its folder."""
    schema: ClassVar[Schema]
    splits: ClassVar[tuple[str, ...]] = ("train",)
    downloads: ClassVar[str] = "downloads"
    """Folder, below the output folder, for what `fetch` downloads."""
    keeps_downloads: bool = False
    """Whether that is to stay, also in later builds; else it is discarded once it is read."""
    unit: ClassVar[str] = "sources"
    """What users are told a source is, in the plural."""
    making: ClassVar[str] = "reading"
    """What users are told is done with sources of which nothing is fetched."""
    limit: int | None = None
    """How many objects are built at most (None for all), as `build` was told: no more need be asked of a server."""
    simulated: bool = False
    """Whether the sources are simulated, as `build` was told; in a class whose rows are always made up, True."""

    def told(self, limit: int | None, simulated: bool) -> Recipe:
        """A copy that knows what `build` was told; `simulated` stays true where it is."""
        recipe = copy.copy(self)
        vars(recipe).update(limit=limit, simulated=simulated or self.simulated)  # recipes may be frozen
        return recipe

    @property
    def folder(self) -> Path:
        """The dataset's own folder, with its data card and citations."""
        return Path(inspect.getfile(type(self))).parent

    def prepare(self, fetcher: Fetcher, folder: Path) -> Recipe:
        """Get what has to be known before the options can be compared, such as the catalogue that makes the columns.

        Called once, when the output folder is held. Gives the recipe that is built. By default, this one. Raises
        `BuildError` if something cannot be had.
        """
        return self

    @abc.abstractmethod
    def sources(self, fetcher: Fetcher) -> Iterable[Source]:
        """All the sources there are, always in the same order. Raises `BuildError` if they cannot be listed."""

    @abc.abstractmethod
    def read(self, source: Source, fetched: Any) -> Iterable[Mapping[str, Any]]:
        """Rows of one source, as nested dicts of values, all columns but `healpix` and `source`, which the build
        fills in; runs in a worker process.

        `fetched` is what `fetch` gave. Yield nothing for a source that the options leave out. Raise `SourceError` with
        the reason for one that cannot be read; no other source is affected.
        """

    def fetch(self, source: Source, fetcher: Fetcher, folder: Path) -> Any:
        """Get one source, in one of the fetching threads; what is returned (picklable) goes to `read`.

        By default, the path of the file: the one on disk, or a verified download of `source.url` in `folder`. Files of
        which `skyshards.pipeline.claims.claim` was told before are deleted by the default `discard`.
        """
        if source.path is not None or source.url is None:
            return source.path
        claim(folder / source.key)
        return fetcher.download(source.url, folder / source.key, source.checksum)

    def cost(self, sources: Sequence[Source]) -> Cost:
        """About how much it takes to build some of the sources that were listed. By default, all of it is unknown."""
        return Cost()

    def options(self) -> dict[str, Any]:
        """The options that decide what the rows hold, and which archive they come from (JSON values).

        A folder built with others is refused. Called before `prepare` as well, so that nothing is fetched for a build
        that is refused: leave out then what only `prepare` finds out.
        """
        return {}

    @property
    def lists_all(self) -> bool:
        """Whether `sources` lists all that an archive has: then a listing must not lack sources of an earlier one."""
        return False

    def discard(self, source: Source, fetched: Any, failed: bool) -> None:
        """Give back what `fetch` took, once the source's rows are on disk for good or it has `failed` to be read.

        By default, delete the file if a build downloaded it. One that failed must not stay: the next run is to fetch it
        again.
        """
        if source.path is None and isinstance(fetched, Path):
            delete_claimed(fetched)

    def close(self) -> None:  # noqa: B027 (optional to have)
        """Called on the prepared recipe when a build ends, however it does, while the folder is still held. Nothing, by
        default.
        """
