"""Build pipeline: list sources, fetch them in threads, read them into rows in processes, pack the rows into shards."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skyshards.cluster import as_executor
from skyshards.errors import BuildError, UsageError
from skyshards.fetch.client import Fetcher
from skyshards.fetch.rate import RateLimit
from skyshards.files import is_read_only
from skyshards.format import card, catalog, hashes, healpix, provenance, scalars, storage
from skyshards.format.addition import beside, with_additions
from skyshards.format.layout import ADDED_ROW, CATALOG
from skyshards.format.manifest import Manifest
from skyshards.format.provenance import SourceRecord
from skyshards.pipeline import object_store, status
from skyshards.pipeline.catalog_parts import ROWS
from skyshards.pipeline.check import check_request, check_schema, checked
from skyshards.pipeline.downloads import Downloads
from skyshards.pipeline.earlier import earlier, object_ids
from skyshards.pipeline.listing import Listing
from skyshards.pipeline.outcomes import Outcomes, with_listed
from skyshards.pipeline.pixels import pack_all
from skyshards.pipeline.plan import plan
from skyshards.pipeline.pools import start_fork_server
from skyshards.pipeline.reading import Reading
from skyshards.pipeline.recipe import Recipe, Source
from skyshards.pipeline.sample import Sample
from skyshards.pipeline.spool import Spool
from skyshards.pipeline.workers import Workers
from skyshards.pipeline.workspace import hold, publish, refuse_other_options, what_is_there, without_lost_shards
from skyshards.processes import leave_if_unguarded
from skyshards.progress import Progress, progress, say, stalled, waiting
from skyshards.text import counted

if TYPE_CHECKING:
    from distributed import Client


@dataclass(frozen=True)
class Summary:
    """What a build did, and what the folder now holds.

    `failed` counts the sources that could not be fetched or read, `left_out` those that the options exclude,
    `failed_rows` the rows that failed alone, and `missing_rows` those that a limit left unread in sources of known
    length; `plan` is the estimate made before the build (see `skyshards.pipeline.plan.plan`). Of a dataset at a URL,
    `url` is that, and `folder` the working folder.
    """

    folder: Path
    rows: int
    shards: int
    nbytes: int
    added: int
    failed: int
    left_out: int
    elapsed: float
    plan: str
    failed_rows: int = 0
    missing_rows: int = 0
    url: str | None = None

    @property
    def location(self) -> Path | str:
        """Folder or URL of the dataset."""
        return self.url or self.folder


def build(
    recipe: Recipe,
    output_dir: Path | str,
    *,
    limit: int | None = None,
    workers: int | None = None,
    connections: int = 8,
    max_rows_per_shard: int | None = None,
    nside: int = 16,
    store: str = storage.SMALL,
    simulated: bool = False,
    executor: Executor | Client | None = None,
    dry_run: bool = False,
    work_dir: Path | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> Summary:
    """Build, resume or extend a dataset in a folder, without downloading again what it already has.

    Parameters
    ----------
    recipe : Recipe
    output_dir : path or URL
        Folder of the built dataset; created if missing. Or a URL of an object store that fsspec supports.
    limit : int, optional
        Build only the first `limit` objects of the listing; a failed source counts as one.
    workers : int, optional
        Number of processes that read sources into rows; by default, the number of usable cores. 0 reads them in this
        process, where a debugger can follow.
    connections : int
        Maximum number of concurrent downloads.
    max_rows_per_shard : int, optional
        Maximum number of rows in a shard, whose size is bounded by 512 MiB, too; default: 65,536.
    nside : int
        HEALPix nside of the partition.
    store : {"small", "fast"}
        Deflate large columns, or store them uncompressed, which reads several times faster and takes more disk. Columns
        that are nearly empty (deflate shrinks them 100-fold) stay deflated. See `skyshards.repack`.
    simulated : bool
        Mark the card and the shards as simulated.
    executor : concurrent.futures.Executor or distributed.Client, optional
        Work here instead of in own processes. The workers of a Dask cluster, or of another executor, must see
        `output_dir` under the same path; those of a cluster also fetch. Of an executor, `workers` sets how many tasks
        run at once.
    dry_run : bool
        List the sources, estimate the cost of building them (`Summary.plan`), and stop.
    work_dir : Path, optional
        Of a dataset at a URL: folder on disk for all but the shards, such as journal, waiting rows and downloads. All
        workers must see it; default: `data/NAME.work`.
    storage_options : mapping, optional
        Options for the file system of a URL.

    Returns
    -------
    Summary

    Raises
    ------
    UsageError
        The options are invalid, or differ from those that the folder was built with.
    BuildError
        The sources cannot be listed, the disk is full, or another build holds the folder. Finished work is kept.

    Examples
    --------
    >>> from gz3d.build_parent_sample import GZ3DRecipe
    >>> if __name__ == "__main__":  # worker processes import this script  # doctest: +SKIP
    ...     summary = skyshards.build(GZ3DRecipe(), "data/gz3d", limit=5)
    """
    leave_if_unguarded()
    started = time.monotonic()
    check_request(recipe, limit=limit, workers=workers, max_rows_per_shard=max_rows_per_shard, nside=nside, store=store)
    folder, place = object_store.destination(output_dir, work_dir, recipe.name, storage_options)
    recipe = recipe.told(limit, simulated)
    fetcher = Fetcher(connections, limit=RateLimit(recipe.rate), on_wait=waiting, progress=progress)
    with contextlib.ExitStack() as stack:
        executor = stack.enter_context(as_executor(executor, stalled))
        workspace = stack.enter_context(hold(folder, recipe.downloads, place=place))
        there = None if place is None else object_store.begin(place, folder)
        writable = workspace.parent if is_read_only(folder) else folder
        given = {"max_rows_per_shard": max_rows_per_shard} | storage.options_of(store)
        asked = Manifest(recipe.name, nside, recipe.options() | given, simulated, recipe.splits, (), ())
        refuse_other_options(folder, asked, recipe.reuse)  # before any download; `what_is_there` compares all
        own_processes = executor is None and workers != 0
        if own_processes and not dry_run and not (folder / CATALOG).exists():  # a new build has sources to read
            start_fork_server(recipe)
        recipe = stack.enter_context(_prepared(recipe, fetcher, writable))
        check_schema(recipe, nside)
        options = recipe.options() | given
        columns = tuple(recipe.schema.specs.values())
        empty = Manifest(
            recipe.name, nside, options, recipe.simulated, recipe.splits, columns, (), configs=recipe.schema.configs
        )
        spool = stack.enter_context(contextlib.closing(Spool(workspace, nside)))
        listing = stack.enter_context(contextlib.closing(Listing(workspace)))
        old, manifest = what_is_there(folder, empty, recipe.reuse)
        additions = manifest.additions
        if place is not None and additions:
            raise UsageError(f"{place.url}: has columns of `skyshards add`; copy it to disk, and build it there")
        old, manifest, lost = without_lost_shards(folder, old, with_additions(manifest, ()), there)
        known = earlier(folder, old, spool, listing, lost, limit)
        records = known.records
        objects = known.objects(spool) if limit else {}
        sources = checked(recipe, recipe.sources(fetcher))
        first = list(islice(sources, 1))  # downloads needed before the first source show their own bars
        with progress("listing", "sources") as bar:
            shown = _counted(chain(first, sources), bar)
            sample = Sample(shown, limit, records, objects, listing, recipe.counts, known.begun)
            pending = sample.take()
        if recipe.lists_all and limit is None:
            _refuse_shorter_listing(folder, known.in_order(spool), listing)
        rows = len(old)
        if pending and not dry_run and is_read_only(folder):
            raise BuildError(
                f"{folder}: cannot be written to, with {counted(len(pending), 'sources')} still to be read; make it"
                " writable, or build elsewhere with `output_dir`"
            )
        read = sum(known.read(source.key, spool) for source in pending) if recipe.counts else 0
        fast = storage.most_bytes(manifest) if store == storage.FAST else 0
        words = plan(recipe.told(limit, recipe.simulated), pending, len(listing), read, fast)
        if pending and not dry_run:
            say(words)
        downloads = Downloads(workspace.parent / recipe.downloads, recipe, not dry_run and listing.downloads)
        if not dry_run and (pending or not spool.empty or lost or not (folder / CATALOG).exists()):
            spool.note(sources=str(len(pending) + spool.done), command=status.command())
            staged = workspace / "staged"
            staged.mkdir()
            (workspace / ROWS).mkdir()
            if place is not None:
                say(f"{place.url}: its working folder, with journal and waiting rows, is {folder}")
                object_store.claim(place, folder)
            if own_processes:
                start_fork_server(recipe)
            healpix.load()  # meanwhile
            with Workers(recipe, spool.files, workers, executor, limit) as pool:
                recipe.expect(pending)
                Reading(sample, known, fetcher, pool, spool, downloads).run(pending)
                spool.forget_begun()  # of sources that an earlier build began, and a limit now excludes
                if recipe.counts:
                    spool.drop_repeated(object_ids(old, spool.continued()))
                if store == storage.FAST and not manifest.shards:  # later builds keep the choice
                    manifest = storage.in_fast_store(manifest, *spool.large_bytes())
                manifest = pack_all(staged, spool, manifest, pool, place)
            manifest = with_additions(manifest, additions)
            parts = partial(old.with_new, workspace / ROWS, manifest.shards)
            written = catalog.write_parts(staged, manifest, beside(parts, old.columns, manifest))
            shutil.rmtree(workspace / ROWS)
            rows = len(written)
            provenance.write(staged, lambda: known.in_order(spool), written, known.all_bad(spool))
            scalars.write(staged, manifest, written)
            card.write(staged, recipe.folder, recipe.schema, manifest, written)
            hashes.write(staged, manifest.digests)
            outcomes = Outcomes.of(known.in_order(spool), listing)
            spool.close()
            publish(workspace, place)
            for addition in additions:
                if lacking := written.lacking(ADDED_ROW + addition.name):
                    words = f"no values of {addition.name} in {lacking:,} of {counted(rows, 'rows')}"
                    say(f"{words}; run `skyshards add` again, with {addition.table}")
        else:
            outcomes = Outcomes.of(known.in_order(spool), listing)
        if not dry_run:
            downloads.remove_leftovers(listing, outcomes.needed)
    nbytes = sum(shard.nbytes for shard in manifest.shards)
    return Summary(
        folder,
        rows=rows,
        shards=len(manifest.shards),
        nbytes=nbytes,
        added=rows - len(old),
        failed=outcomes.failed,
        left_out=outcomes.left_out,
        failed_rows=outcomes.failed_rows,
        missing_rows=outcomes.missing_rows,
        elapsed=time.monotonic() - started,
        plan=words,
        url=None if place is None else place.url,
    )


@contextlib.contextmanager
def _prepared(recipe: Recipe, fetcher: Fetcher, folder: Path) -> Iterator[Recipe]:
    """Prepare a recipe; close it on exit.

    It does not know the limit from then on. Sources that it cut itself would pass for done, and their other rows be
    missing from a later build without the limit.
    """
    try:
        recipe = recipe.prepare(fetcher, folder).told(None, recipe.simulated)
        yield recipe
    finally:
        recipe.close()


def _refuse_shorter_listing(folder: Path, records: Iterable[SourceRecord], listing: Listing) -> None:
    total, gone = 0, []
    for record, is_listed in with_listed(records, listing):
        total += 1
        gone += [] if is_listed else [record.key]
    if gone:
        raise BuildError(
            f"{folder}: the archive's listing lacks {len(gone):,} of the {counted(total, 'sources')} that this"
            f" folder has of it, such as {gone[0]}; it may be cut short: try again later, or choose another"
            " `output_dir`"
        )


def _counted(sources: Iterable[Source], bar: Progress) -> Iterator[Source]:
    for source in sources:
        bar.update()
        yield source
