"""The main loop of a build: fetch sources in threads, read them in a pool, and enter the outcomes in the spool."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from dataclasses import dataclass, field, replace
from queue import SimpleQueue
from typing import Any

from skyshards.errors import BuildError
from skyshards.fetch.client import Fetcher
from skyshards.fetch.waiting import FETCHING_THREADS, Stopped, stop_with
from skyshards.format.provenance import SourceRecord
from skyshards.pipeline.blocks import Blocks, BlockSize
from skyshards.pipeline.downloads import Downloads
from skyshards.pipeline.earlier import Earlier
from skyshards.pipeline.interrupts import FirstInterrupt
from skyshards.pipeline.recipe import Served, Source
from skyshards.pipeline.sample import Sample
from skyshards.pipeline.source_rows import Piece, ReadSource, all_failed, fetch_source
from skyshards.pipeline.spool import Block, Entry, Spool
from skyshards.pipeline.workers import Outcome, Workers
from skyshards.progress import progress, say
from skyshards.text import counted, printable

log = logging.getLogger(__name__)

MAX_UNREAD = 128
"""Bound on sources that are being fetched, or fetched but not yet read; each is a file on disk or bytes in memory."""
UNREAD_EACH = 4
"""The bound where there are many workers: sources for each."""


@dataclass
class _Open:
    """A source that is being read in blocks."""

    source: Source
    fetched: Any
    blocks: Blocks
    record: SourceRecord
    """As it is in the journal while blocks are missing."""
    rows: int = 0
    failed: int = 0
    granted: int = 0
    """Rows that were granted, and not given yet."""
    under_way: int = 0
    """Blocks that are being read."""

    @property
    def objects(self) -> int:
        return self.rows + self.failed


@dataclass
class Reading:
    """Fetch and read sources, a bounded number at a time, and enter their outcomes in the spool."""

    sample: Sample
    earlier: Earlier
    fetcher: Fetcher
    pool: Workers
    spool: Spool
    downloads: Downloads
    _open: dict[str, _Open] = field(default_factory=dict)
    _active: set[str] = field(default_factory=set)
    """Sources from their fetching to their end, if they are read in blocks."""
    _fetching: dict[Future, Source] = field(default_factory=dict)
    _done: SimpleQueue[Future | None] = field(default_factory=SimpleQueue)
    _stopping: threading.Event = field(default_factory=threading.Event)

    def run(self, pending: Sequence[Source]) -> None:
        """Read the pending sources, and those that the sample needs in place of missing ones.

        The first Ctrl-C starts no more sources and finishes those in progress.
        """
        recipe, connections = self.pool.recipe, self.fetcher.connections
        self._taken: deque[Iterable[Source]] = deque()
        self._waiting, self._left = iter(pending), len(pending)
        self._size = BlockSize(recipe)
        what = "fetching" if self.sample.listing.downloads and not recipe.counts else recipe.making
        shown = (what, "rows", 0) if recipe.counts else (what, recipe.unit, len(pending))
        threads = ThreadPoolExecutor(connections, FETCHING_THREADS, stop_with, (self._stopping,))
        interrupt = FirstInterrupt(lambda: self._done.put(None))
        fetching, folder = self.pool.fetching(self.fetcher, self._stopping), self.downloads.folder
        wait = True
        try:
            with interrupt, progress(*shown) as self._bar, fetching as fetcher:
                while True:
                    if interrupt.came and not self._stopping.is_set():
                        self._stop()
                    if not self._stopping.is_set():
                        self._read_blocks()
                        self._take_more()
                    for _ in range(self._free()):
                        source = self._next()
                        fetch = threads.submit(fetch_source, recipe, source, fetcher, folder)
                        self._fetching[fetch] = source
                        if recipe.counts:
                            self._active.add(source.key)
                        fetch.add_done_callback(self._done.put)
                    if not self._fetching and not self.pool.busy:
                        break
                    self._process(self._finished())
            interrupt.pass_on()
        except KeyboardInterrupt:
            wait = interrupt.came and not self._fetching  # a second Ctrl-C stops at once
            raise
        finally:
            self._stopping.set()
            threads.shutdown(wait=wait, cancel_futures=True)

    def _free(self) -> int:
        """Number of sources that may be fetched now."""
        connections, fetching = self.fetcher.connections, len(self._fetching)
        unread = max(MAX_UNREAD, UNREAD_EACH * self.pool.count)
        free = min(2 * connections - fetching, unread - self.pool.busy - fetching, self._left)
        if self.pool.recipe.counts:  # large files
            free = min(free, connections - len(self._active))
        return max(0, free)

    def _take_more(self) -> None:
        more = self.sample.take()
        if more:
            self._taken.append(more)
            self._left += len(more)
        if not self.pool.recipe.counts:
            self._bar.expect(len(more))

    def _next(self) -> Source:
        """Take the next source that waits; there must be one."""
        self._left -= 1
        while (source := next(self._waiting, None)) is None:
            self._waiting = iter(self._taken.popleft())
        return source

    def _finished(self) -> list[Outcome]:
        """Wait for something to finish; submit what was fetched, and give the outcomes."""
        finished = [self._done.get()]
        while not self._done.empty():
            finished.append(self._done.get())
        outcomes, arrived = self.pool.finished(), []
        for future in finished:
            if future is None or future not in self._fetching:  # an interrupt, a read task, or cancelled
                continue
            source = self._fetching.pop(future)
            try:
                fetched = future.result()
            except Stopped:
                continue
            if isinstance(fetched, ReadSource):  # with an error
                outcomes.append((Piece(source, None), fetched))
            else:
                if isinstance(fetched, Served):
                    source = replace(source, url=fetched.url, release=fetched.release or source.release)
                    fetched = fetched.content
                arrived.append(Piece(source, fetched))
        self.pool.submit(arrived, self._done.put)
        return outcomes

    def _process(self, outcomes: list[Outcome]) -> None:
        """Enter outcomes in the spool, discard what was fetched, and report."""
        entries: list[Entry] = []
        ended: list[tuple[Piece, bool]] = []
        for piece, read in outcomes:
            if read.traceback:
                log.debug("%s", printable(f"{piece.source.key} failed:\n{read.traceback}"))
        for piece, read in outcomes:
            if read.is_counted:
                self._begin(piece, read)
            elif piece.rows is not None:
                entries += self._block(piece, read, ended)
        whole = [(piece, read) for piece, read in outcomes if piece.rows is None and not read.is_counted]
        entered, beyond = self.sample.sift(whole)
        for piece, read in entered:
            entries.append(Entry(self._record(piece.source, read), piece.source.split, read.rows, read.bad))
        if entries:
            self.spool.enter(entries)
        for piece, read in entered + beyond:
            ended.append((piece, read.error is not None))
            self._bar.update(read.objects if self.pool.recipe.counts else 1)
        for piece, failed in ended:
            self._active.discard(piece.source.key)
            if piece.fetched is not None:
                self.downloads.discard(piece.source, piece.fetched, failed=failed)

    def _record(self, source: Source, read: ReadSource) -> SourceRecord:
        """Record of a source that was read whole, or failed.

        One that is in the folder in part, and whose rest failed, stays in part.
        """
        record = read.record(source, None)._replace(tries=1 + self.earlier.tries(source.key))
        packed = self.earlier.packed.get(source.key)
        if record.status == "failed" and packed is not None and packed.status == "in part":
            self.spool.forget(source.key)
            return packed._replace(error=record.error, tries=record.tries)
        return record

    def _begin(self, piece: Piece, read: ReadSource) -> None:
        """Begin to read a source in blocks, after those that were read earlier."""
        source, total = piece.source, read.total or 0
        key = source.key
        tries = 1 + self.earlier.tries(key)
        record = SourceRecord(key, source.url, read.nbytes, read.sha256, "begun", None, tries, total)
        record = record._replace(release=source.release)
        journal, packed = self.earlier.in_spool(key), self.earlier.packed.get(key)
        done = []
        file = _Open(source, piece.fetched, Blocks(total, ()), record)
        if packed is not None and packed.status == "in part" and packed.total is not None:
            self._compare(record, packed, f"the first {counted(packed.read, 'rows')} in this folder")
            done.append(range(packed.read))
            file.rows, file.failed = self.earlier.rows.get(key, 0), packed.failed
        if journal is not None and (journal.sha256, journal.total) != (record.sha256, record.total):
            say(f"{key}: is not what it was when its reading was interrupted; all its rows are read again")
            self.spool.forget(key)
        for block in self.spool.blocks(key):
            done.append(range(block.start, block.stop))
            file.rows += block.rows
            file.failed += block.failed
        file.blocks = Blocks(total, done)
        self.sample.opened(file.objects)
        self._bar.expect(self.sample.most(total - sum(map(len, done))))
        self._open[key] = file

    def _compare(self, found: SourceRecord, known: SourceRecord, what: str) -> None:
        """Raise `BuildError` if a source is not the one that its rows in the folder come from."""
        for name, before, now in (("sha256", known.sha256, found.sha256), ("rows", known.total, found.total)):
            if before != now:
                raise BuildError(
                    f"{found.key}: not the source of {what}: {name} {before} then, {now} now; build elsewhere with"
                    " `output_dir`, or delete the folder"
                )

    def _block(self, piece: Piece, read: ReadSource, ended: list[tuple[Piece, bool]]) -> list[Entry]:
        """Entries for a block; a block that cannot be read fails its source."""
        source, rows = piece.source, piece.rows
        file = self._open.get(source.key)
        if file is None or rows is None:  # another block failed
            return []
        if read.error is not None:
            del self._open[source.key]
            self.sample.gave(file.granted + file.objects, 1)
            self.sample.close(source, 1)
            ended.append((piece, True))
            return [Entry(self._record(source, read), source.split)]
        file.under_way -= 1
        file.granted -= len(rows)
        file.rows += len(read.rows)
        file.failed += len(read.bad)
        self.sample.gave(len(rows), read.objects)
        self._size.learn(len(rows), sum(row.nbytes for row in read.rows))
        self._bar.update(len(rows))
        block = Block(rows.start, rows.stop, len(read.rows), len(read.bad))
        return [Entry(file.record, source.split, read.rows, read.bad, block)]

    def _read_blocks(self) -> None:
        """Hand out blocks while workers are free; end sources of which nothing is left to read."""
        for file in list(self._open.values()):
            block: range | None = range(0)
            while self.pool.free and block is not None:
                block = file.blocks.take(self._size, self.sample.grant)
                if block is not None:
                    file.under_way += 1
                    file.granted += len(block)
                    self.pool.submit([Piece(file.source, file.fetched, block)], self._done.put)
            if block is None and not file.under_way:
                self._end(file)

    def _end(self, file: _Open) -> None:
        """Enter a source whose blocks were all read, or as many as the limit allows."""
        source, blocks = file.source, file.blocks
        status = "in part" if blocks.read < blocks.total else "done" if file.rows else "left out"
        record = file.record._replace(status=status, read=blocks.read, failed=file.failed)
        if status == "left out" and file.failed:
            status, first = "failed", next(self.spool.bad_rows(source.key))
            record = file.record._replace(status=status, error=all_failed(file.failed, first))
        self.spool.enter([Entry(record, source.split)])
        del self._open[source.key]
        self._active.discard(source.key)
        self.sample.close(source, file.objects)
        if status != "in part" and file.fetched is not None:
            self.downloads.discard(source, file.fetched, failed=status == "failed")

    def _stop(self) -> None:
        """Start nothing more, and tell the user what is still in progress."""
        self._left = 0
        self._stopping.set()
        for future in [future for future in self._fetching if future.cancel()]:
            del self._fetching[future]
        self.pool.drop()
        under_way = wait_for(self._fetching, timeout=0.2).not_done  # requests that wait for their turn give up by then
        count, what = (len(under_way), "requests") if under_way else (self.pool.busy, "sources")
        if count:
            say(f"finishing {counted(count, what)}; again to stop now")
