"""Worker processes of a PyTorch `DataLoader` send batches in shared memory, which serves again after each batch."""

import errno
import gc
import multiprocessing
import os
import signal

import numpy as np
import pytest

import skyshards
from skyshards.format.columns import flatten
from skyshards.pipeline.build import build
from skyshards.read import memory, shared_memory
from skyshards.read.memory import Recycler
from tests.contract import assert_same
from tests.toy import Toy

data = pytest.importorskip("torch.utils.data", reason="the extra `torch` is not installed")
pytestmark = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="this system has no memory without a file")
ROWS = 30
BATCHES = [[0, 7, 1], [2], [9, 8, 3, 4], [5, 6], [10, 11, 12], [29, 3, 3]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shared") / "toy"
    build(Toy(ROWS), folder, workers=0)
    return folder


@pytest.fixture
def table(folder, monkeypatch):
    """A table whose columns count as large, in forked workers, too."""
    for module in (memory, shared_memory):
        monkeypatch.setattr(module, "MIN_BYTES", 32)
    return skyshards.open(folder).select_columns(["flux", "noise", "votes.mask", "picture"])


def loader(source, **options):
    options = {"sampler": BATCHES, "batch_size": None, "num_workers": 2, "persistent_workers": True} | options
    return data.DataLoader(source, multiprocessing_context="fork", **options)


def as_it_is(batch):
    return batch


def turned(batch):
    """Views that are not contiguous, or begin in the middle."""
    return {"noise": batch["noise"][:, 1:].transpose(0, 2, 1), "mask": batch["votes"]["mask"][::2, 3:]}


@pytest.mark.parametrize("collate", [None, as_it_is], ids=["tensors", "arrays"])
def test_batches_stay_as_the_table_has_them(table, collate):
    """All batches of several epochs, kept and written to."""
    batches = loader(table, collate_fn=collate)
    kept = [batch for _ in range(3) for batch in batches]
    for rows, batch in zip(3 * BATCHES, kept, strict=True):
        for path, values in flatten(batch).items():
            assert type(values).__name__ == ("ndarray" if collate else "Tensor")
            assert_same(np.asarray(values), flatten(table[rows])[path], path)
            values[...] = 0


def test_views_and_rows_are_sent_as_well(table):
    for rows, batch in zip(BATCHES, loader(table, collate_fn=turned), strict=True):
        assert_same(batch["noise"], table[rows]["noise"][:, 1:].transpose(0, 2, 1))
        assert_same(batch["mask"], table[rows]["votes"]["mask"][::2, 3:])
    for start, rows in enumerate(loader(table, sampler=None, batch_size=5, collate_fn=as_it_is)):
        assert_same(np.stack([row["noise"] for row in rows]), table[5 * start : 5 * start + 5]["noise"])


def test_lists_and_joins_are_sent_as_well(table):
    both = skyshards.join(table, table.select([3, 4]), names=("all", "few"), on="flux", how="left")
    for rows, batch in zip(BATCHES, loader(both), strict=True):
        for path, values in flatten(batch).items():
            assert_same(np.asarray(values), flatten(both[rows])[path], path)


def test_memory_serves_again(table):
    """Few places in memory, whatever the number of batches, and the same ones in the next epoch."""
    one = loader(table.select_columns(["noise"]), sampler=20 * [[1, 2, 3]], num_workers=1)
    for _ in range(3):
        places = {batch["noise"].data_ptr() for batch in one}
    assert len(places) <= 6


def test_an_epoch_may_be_left(table):
    batches = loader(table)
    for _ in range(2):
        kept = next(iter(batches))
    for rows, batch in zip(BATCHES, batches, strict=True):
        assert_same(batch["noise"].numpy(), table[rows]["noise"])
    assert_same(kept["noise"].numpy(), table[BATCHES[0]]["noise"])


def test_memory_ends_with_its_workers_and_its_last_batch(table):
    before = set(shared_memory._mapped)
    batches = iter(loader(table))
    kept = list(batches)
    assert set(shared_memory._mapped) - before
    del batches
    gc.collect()
    assert set(shared_memory._mapped) <= before
    for rows, batch in zip(BATCHES, kept, strict=True):
        assert_same(batch["noise"].numpy(), table[rows]["noise"])


@pytest.mark.slow
def test_a_batch_outlives_a_killed_worker(table, monkeypatch):
    # PyTorch notices by a signal, too, which would raise in the middle of the last line.
    monkeypatch.setattr(data._utils.signal_handling, "_error_if_any_worker_fails", lambda: None)
    batches = iter(loader(table, sampler=20 * BATCHES))
    kept = next(batches)
    with pytest.raises((RuntimeError, EOFError, OSError)):  # whichever PyTorch notices first
        os.kill(batches._workers[0].pid, signal.SIGKILL)
        list(batches)
    assert_same(kept["noise"].numpy(), table[BATCHES[0]]["noise"])


def test_a_fork_gives_no_memory_back(table):
    batches = loader(table, collate_fn=as_it_is, sampler=BATCHES[:1])
    kept = [batch["noise"] for batch in batches]
    states = [segment.state for segment in shared_memory._mapped.values()]
    in_use = sum(state[shared_memory.FIRST_SENT :].sum() for state in states)
    child = multiprocessing.get_context("fork").Process(target=kept.clear)
    child.start()
    child.join()
    assert in_use and sum(state[shared_memory.FIRST_SENT :].sum() for state in states) == in_use


def test_without_descriptors_batches_are_copied(table, monkeypatch):
    def none_left(name):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(os, "memfd_create", none_left)
    before = set(shared_memory._mapped)
    for rows, batch in zip(BATCHES, loader(table), strict=True):
        assert_same(batch["noise"].numpy(), table[rows]["noise"])
    assert set(shared_memory._mapped) <= before


def test_this_process_shares_nothing(table):
    usual = Recycler()
    assert shared_memory.recycler(usual) is usual


def test_more_arrays_than_bytes_of_state_are_copied():
    shared = shared_memory.SharedRecycler()
    array = shared.empty((memory.MIN_BYTES,), "uint8")
    segment = next(iter(shared._segments.values()))
    segment.state[shared_memory.MAPPED] = 1  # send no descriptors
    places = [shared.place(array[number:]) for number in range(5000)]
    assert places.index(None) == segment.state.size - shared_memory.FIRST_SENT
    assert shared.place(np.zeros(3)) is None
    del array
    again = shared.empty((memory.MIN_BYTES,), "uint8")
    assert len(shared._segments) == 2, "the first is still in use by its receiver"
    segment.state[shared_memory.FIRST_SENT :] = 0
    del again
    shared.empty((memory.MIN_BYTES,), "uint8")
    assert len(shared._segments) == 2


def test_shared_memory_is_bounded():
    shared = shared_memory.SharedRecycler()
    arrays = [shared.empty((memory.MIN_BYTES,), "uint8") for _ in range(2 * memory.MAX_PIECES)]
    segments = list(shared._segments.values())
    del arrays
    assert len(shared._segments) == memory.MAX_PIECES
    assert sum(segment.state[shared_memory.DROPPED] for segment in segments) == memory.MAX_PIECES
