"""Fetch the catalogue over TAP, page by page: Galaxy Zoo votes joined with SDSS photometry, saved for reuse."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pandas as pd

from gz_sdss.cuts import BANDS
from gz_sdss.further_columns import FURTHER, Further
from gz_sdss.tables import of_votable, read_table, write_csv
from gz_sdss.tap_jobs import is_cut, run_query, tap_service
from gz_sdss.tap_words import complete_words
from skyshards.errors import BuildError, UsageError
from skyshards.files import refuse_links, remove_unfinished, replacing
from skyshards.progress import progress
from skyshards.text import counted

TAP_URL = "http://tap.roe.ac.uk/ssa"
CATALOG = "ZooSpecPhotoDR19.csv.gz"
REQUEST = "ZooSpecPhotoDR19.json"
PAGES = "ZooSpecPhotoDR19.pages"
PAGE_ROWS = 50_000
PAGES_NOTE = "request.json"
LAST = "end"
PAGE_NAME = re.compile(rf"\d{{6}}-(\d+|{LAST})\.parquet")
MOST_ROWS = 100_000_000
"""MAXREC of a complete query; without one, servers truncate the result at their own default."""

VOTE_COLUMNS = ("dr7objid", "specobjid", "objid", "p_el_debiased", "p_cs_debiased", "spiral", "elliptical")
PHOTO_COLUMNS = (
    "ra",
    "dec",
    "petroR50_r",
    "petroR90_r",
    *(f"{quantity}_{band}" for quantity in ("modelMag", "modelMagErr", "extinction") for band in BANDS),
)
VOTES = ("nvote", "p_el", "p_cw", "p_acw", "p_edge", "p_dk", "p_mg", "p_cs", "uncertain", "rastring", "decstring")
"""Further columns of ZooSpec, which `QUERY` can ask for by name; any other name is taken for one of PhotoObj."""
_NAME = re.compile(r"([zp]\.)?([A-Za-z_]\w*)")
# Every column by name: with `z.*, p.*`, ra and dec come from both tables (ZooSpec's are float32), and objid (DR8)
# differs from objID (DR7) in case alone.
QUERY = (
    "SELECT "
    + ", ".join([f"z.{name} AS {name}" for name in VOTE_COLUMNS] + [f"p.{name} AS {name}" for name in PHOTO_COLUMNS])
    + " FROM BestDR9.ZooSpec AS z JOIN BestDR7.PhotoObj AS p ON p.objid = z.dr7objid"
)


@dataclass(frozen=True)
class CatalogRequest:
    """Request to the TAP service.

    Parameters
    ----------
    adql : str, optional
        Query to run unchanged instead of `QUERY`.
    where : str, optional
        ADQL condition added to `QUERY`.
    top : int, optional
        Number of rows, those of the lowest dr7objid.
    columns : tuple of str
        Further columns: names, with `z.` or `p.` in front where ZooSpec and PhotoObj both have them; of a result of
        `adql` also patterns, such as "t01_*".
    source : str, optional
        Name of the service, so that tables and pages of different services are not confused; by default, its URL. The
        demo archive, whose port changes with every run, needs a fixed name.
    """

    adql: str | None = None
    where: str | None = None
    top: int | None = None
    columns: tuple[str, ...] = ()
    source: str | None = None

    @property
    def query(self) -> str:
        """The query without conditions. Raises `UsageError` for a pattern, which only a result's columns can fit."""
        if self.adql is not None:
            return self.adql
        further = [_selected(name) for name in self.columns]
        return QUERY.replace(" FROM ", "".join(f", {column}" for column in further if column) + " FROM ", 1)

    def within(self, other: CatalogRequest) -> bool:
        """Whether the result of `other` also answers this request: it is the same, or the whole catalogue."""
        whole = self.adql is None and other == CatalogRequest(columns=other.columns, source=self.source)
        return self == other or (whole and set(self.columns) <= set(other.columns))


def get_catalog(
    request: CatalogRequest, folder: Path, tap_url: str = TAP_URL, refresh: bool = False, page_rows: int = PAGE_ROWS
) -> pd.DataFrame:
    """Load the catalogue saved in a folder if it answers the request, or else fetch it and save it there.

    Parameters
    ----------
    request : CatalogRequest
    folder : Path
        Folder of `ZooSpecPhotoDR19.csv.gz`. A file without the note `ZooSpecPhotoDR19.json` beside it was put there by
        hand and is used unchanged; one from another source is fetched again.
    tap_url : str
        URL of the TAP service.
    refresh : bool
        Fetch it even if it is there.
    page_rows : int
        Rows per page.

    Returns
    -------
    pandas.DataFrame
        The columns `gz_sdss.tables.NEEDED`: identifiers nullable Int64, all others float64; angles in degrees, radii in
        arcsec, magnitudes in mag. Further columns are described by `attrs["further"]`, as in `gz_sdss.tables.typed`.

    Raises
    ------
    BuildError
        The query failed (with the server's own message), its result is truncated and cannot be completed, or the file
        cannot be read.
    """
    path, note = folder / CATALOG, folder / REQUEST
    refuse_links(folder / PAGES)
    request = replace(request, source=request.source or tap_url.rstrip("/"))
    if path.exists() and not refresh and (not note.exists() or request.within(_read_request(note))):
        _delete_pages(folder / PAGES)  # left by a run killed after it wrote the table
        further = _read_further(note)
        if request.adql is None:
            return read_table(path, [_bare(name) for name in request.columns], further)
        return read_table(path, request.columns if further is None else tuple(further), further)
    if request.adql is None:
        table = _fetch_in_pages(request, folder / PAGES, tap_url, page_rows)
    else:
        table = _fetch_at_once(request, tap_url)
    if table.empty:
        raise BuildError(f"{tap_url}: the query gave no row; expected galaxies")
    complete_words(table, tap_url, request.query)
    path.unlink(missing_ok=True)  # the note must never stand beside a table that it does not describe
    with replacing(note) as temporary:
        temporary.write_text(json.dumps(asdict(request) | {"rows": len(table)} | table.attrs, indent=1))
    write_csv(table, path)
    _delete_pages(folder / PAGES)
    return table


def _delete_pages(folder: Path) -> None:
    """Delete saved pages, starting with the note, without which the rest is ignored."""
    (folder / PAGES_NOTE).unlink(missing_ok=True)
    if folder.exists():
        shutil.rmtree(folder)


def _read_request(note: Path) -> CatalogRequest:
    try:
        values = json.loads(note.read_text())
        columns = tuple(values.get("columns", ()))
        return CatalogRequest(values["adql"], values["where"], values["top"], columns, values.get("source"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BuildError(f"{note}: cannot be read: {error}; delete it to use the table beside it as it is") from error


def _read_further(note: Path) -> dict[str, Further] | None:
    """What the service said of the further columns in the saved table; None if the table is not from a service."""
    if not note.exists():
        return None
    try:
        return {name: Further(*values) for name, values in json.loads(note.read_text()).get(FURTHER, {}).items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise BuildError(f"{note}: cannot be read: {error}; delete it to use the table beside it as it is") from error


def _bare(name: str) -> str:
    """Name of a further column without its table."""
    return name.rpartition(".")[2]


def _selected(name: str) -> str:
    """A further column in `QUERY`'s SELECT; "" for one that is there."""
    match = _NAME.fullmatch(name)
    if match is None:
        expected = "a column of ZooSpec or PhotoObj, such as nvote, petroMag_r or p.petroMag_r"
        raise UsageError(f"`keep_columns`: expected {expected}, found {name!r}; patterns need `adql` or `catalog`")
    table, column = match.groups()
    if column.lower() in {known.lower() for known in (*VOTE_COLUMNS, *PHOTO_COLUMNS)}:
        return ""
    return f"{table or ('z.' if column.lower() in VOTES else 'p.')}{column} AS {column}"


def page_query(request: CatalogRequest, rows: int, first: int | None) -> str:
    """Query for the next `rows` rows by dr7objid, from the key `first` on."""
    conditions = [f"({request.where})"] if request.where else []
    if first is not None:
        conditions.append(f"z.dr7objid >= {first}")
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    return request.query.replace("SELECT ", f"SELECT TOP {rows} ", 1) + where + " ORDER BY z.dr7objid"


def _fetch_in_pages(request: CatalogRequest, folder: Path, tap_url: str, page_rows: int) -> pd.DataFrame:
    """Fetch all pages, except those saved by a killed run."""
    names = _saved_pages(request, folder)
    pages = [pd.read_parquet(folder / name) for name in names]
    following = names[-1].removesuffix(".parquet").partition("-")[2] if names else None
    rows = sum(len(page) for page in pages)
    if following != LAST:
        first = None if following is None else int(following)
        with progress("catalogue", "rows", request.top, rows) as bar:
            for page, key in _pages(request, tap_url, page_rows, rows, first):
                # The name holds the next page's first key, so that page and key are saved together.
                with replacing(folder / f"{len(pages):06d}-{key or LAST}.parquet") as temporary:
                    page.to_parquet(temporary)
                pages.append(page)
                bar.update(len(page))
    table = pd.concat(pages, ignore_index=True)
    table.attrs = pages[0].attrs
    return table


def _pages(
    request: CatalogRequest, tap_url: str, page_rows: int, rows: int, first: int | None
) -> Iterator[tuple[pd.DataFrame, int | None]]:
    """Yield pages from a key on, each with the first key of the next one (None after the last)."""
    service = tap_service(tap_url)
    while True:
        wanted = page_rows if request.top is None else min(page_rows, request.top - rows)
        result = run_query(service, page_query(request, wanted, first), wanted)
        page = of_votable(result.resultstable, tap_url, [_bare(name) for name in request.columns])
        keys = page["dr7objid"]
        if keys.hasnans or not keys.is_monotonic_increasing or (first is not None and (keys < first).any()):
            raise BuildError(f"{tap_url}: expected rows ordered by dr7objid, from {first} on; the server gave others")
        is_enough = request.top is not None and rows + len(page) >= request.top
        if is_enough or (len(page) < wanted and not is_cut(result)):
            yield page.head(wanted), None
            return
        # Truncated, by us or the server: the last key may have more rows, so all its rows go to the next page.
        following = int(keys.iloc[-1]) if len(page) else None
        page = page[keys < following] if len(page) else page
        if page.empty:
            raise BuildError(f"{tap_url}: the server cuts results after {len(keys)} rows, too few to go page by page")
        yield page, following
        rows += len(page)
        first = following


def _saved_pages(request: CatalogRequest, folder: Path) -> list[str]:
    """Names, in order, of the pages saved for this request by an interrupted run; other pages are deleted."""
    note = folder / PAGES_NOTE
    described = json.dumps(asdict(request))
    if not (note.exists() and note.read_text() == described):
        _delete_pages(folder)
        with replacing(note) as temporary:
            temporary.write_text(described)
    remove_unfinished(folder)
    return sorted(path.name for path in folder.iterdir() if PAGE_NAME.fullmatch(path.name))


def _fetch_at_once(request: CatalogRequest, tap_url: str) -> pd.DataFrame:
    top = request.top
    result = run_query(tap_service(tap_url), request.query, top or MOST_ROWS)
    table = of_votable(result.resultstable, tap_url, request.columns)
    if is_cut(result) and (top is None or len(table) < top):
        raise BuildError(
            f"{tap_url}: the server cut the result of `adql` after {counted(len(table), 'rows')}, so rows are missing;"
            " narrow the query, ask for fewer rows with `top`, or leave out `adql`: the default query is paged"
        )
    return table if top is None else table.head(top)
