"""`skyshards.open`: a table is indexed like an array, holds what the shards hold, and says so when it cannot."""

import errno
import io
import multiprocessing
import os
import pickle
import resource
import shutil
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow.compute as pc
import pytest
from astropy.coordinates import SkyCoord
from astropy.units import deg
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import skyshards
from skyshards.errors import FolderError, ShardCorrupted, UsageError
from skyshards.format import catalog
from skyshards.format.columns import flatten
from skyshards.format.images import decode_image
from skyshards.machine import spare_files
from skyshards.pipeline.build import build
from skyshards.read.memory import MAX_PIECES, MIN_BYTES, Recycler
from skyshards.read.store import LocalStore
from tests.contract import assert_same
from tests.toy import Toy

ROWS = 46


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("table") / "toy"
    build(Toy(ROWS), folder, workers=2)
    return folder


@pytest.fixture(scope="module")
def table(folder):
    return skyshards.open(folder, threads=2)


@pytest.fixture(scope="module")
def everything(table):
    """All rows, read one by one, as flat columns: what batches are compared with."""
    rows = [flatten(row) for row in table]
    return {path: np.array([row[path] for row in rows]) for path in rows[0]}


def assert_rows(batch, everything, positions):
    assert_same(flatten(batch), {path: values[positions] for path, values in everything.items()})


integers = st.integers(-ROWS, ROWS - 1)
slices = st.builds(slice, *[st.none() | st.integers(-60, 60)] * 2, st.none() | st.integers(-5, 5).filter(bool))


@settings(max_examples=60)
@given(
    key=st.lists(integers, max_size=9) | slices | st.lists(st.booleans(), min_size=ROWS, max_size=ROWS).map(np.array)
)
def test_batches_are_those_of_numpy(table, everything, key):
    positions = np.array(key, np.int64) if isinstance(key, list) else key
    batch = table[key]
    if not len(batch["ra"]):
        assert batch.pop("picture").shape == (0,)  # of no images, the size is not known
        everything = {path: values for path, values in everything.items() if path != "picture"}
    assert_rows(batch, everything, positions)


@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.uint16, np.int64])
def test_index_arrays_of_any_integer_dtype(table, everything, dtype):
    assert_rows(table[np.array([3, 1, 3], dtype)], everything, [3, 1, 3])


def test_arrays_and_tensors_of_one_integer(table, everything):
    """With a dimension they are a batch of one, without they are a row."""
    torch = pytest.importorskip("torch", reason="the extra `torch` is not installed")
    for make in (np.array, torch.tensor):
        assert_rows(table[make([3])], everything, [3])
        assert_rows(table[make(3)], everything, 3)


@pytest.mark.parametrize(
    "key",
    [ROWS, -ROWS - 1, [0, ROWS], [-ROWS - 1], np.ones(ROWS + 1, bool), np.array([2**64 - 1], np.uint64)],
    ids=repr,
)
def test_out_of_range(table, key):
    with pytest.raises(IndexError, match=str(ROWS)):
        table[key]


@pytest.mark.parametrize("key", [1.5, "ra", [1.0], [[1, 2]], None], ids=repr)
def test_what_is_no_index(table, key):
    with pytest.raises(TypeError, match="indexed by integers"):
        table[key]


def test_rows_are_in_stock_order(table):
    order = list(zip(table.catalog["_shard"].to_pylist(), table.catalog["_row"].to_pylist(), strict=True))
    assert order == sorted(order) and len(order) == ROWS


def test_one_row_has_no_batch_dimension(table):
    row = table[np.int64(4)]
    assert row["votes"]["mask"].shape == (16, 18) and row["picture"].shape == (6, 7, 3)
    assert row["ra"].dtype == np.float64 and row["flux"].dtype == np.float32 and isinstance(row["object_id"], str)


def test_columns_reads_only_these(table, everything, monkeypatch):
    narrow = table.columns(["votes", "ra"])
    assert narrow.column_names == ["ra", "votes.names", "votes.fraction", "votes.mask"]
    read = []
    store = type(table._data.reader.store)
    real = store.read
    monkeypatch.setattr(store, "read", lambda self, names, *where: read.extend(names) or real(self, names, *where))
    assert_rows(narrow[[5, 2]], {path: everything[path] for path in narrow.column_names}, [5, 2])
    assert len(read) == 2  # the masks, and nothing else that lies in a shard
    table.columns(["ra", "label"])[:]
    assert len(read) == 2
    with pytest.raises(KeyError, match="no column 'vote'; available: object_id"):
        table.columns(["vote"])


def test_selections_combine(table, everything):
    few = table.where(pc.field("count") > 0)
    wanted = np.flatnonzero(everything["count"] > 0)
    assert_rows(few[:], everything, wanted)
    assert_rows(few.select([2, 0])[:], everything, wanted[[2, 0]])
    assert_rows(few.select(np.arange(len(few)) % 2 == 0)[:], everything, wanted[::2])
    assert_rows(few.where(pc.field("barred"))[:], everything, wanted[everything["barred"][wanted]])
    assert few.catalog["object_id"].to_pylist() == everything["object_id"][wanted].tolist()
    assert len(table.where(pc.field("count") > 10_000)) == 0
    assert table.where(pc.field("count") > 10_000)[:]["votes"]["mask"].shape == (0, 16, 18)


@settings(max_examples=30)
@given(ra=st.floats(-10, 370), dec=st.floats(-90, 90), radius=st.floats(0, 180))
def test_cone_is_that_of_astropy(table, everything, ra, dec, radius):
    separation = SkyCoord(everything["ra"] * deg, everything["dec"] * deg).separation(SkyCoord(ra * deg, dec * deg)).deg
    clear = np.abs(separation - radius) > 1e-9
    inside = np.isin(everything["object_id"], table.cone(ra, dec, radius).catalog["object_id"].to_pylist())
    assert (inside == (separation <= radius))[clear].all()


def test_threads_do_not_matter(folder, everything):
    for threads in (1, 3):
        assert_rows(skyshards.open(folder, threads=threads)[::-1], everything, slice(None, None, -1))


def test_many_threads_share_a_table(table, everything):
    def read(seed):
        positions = np.random.default_rng(seed).integers(0, ROWS, 8)
        assert_rows(table[positions], everything, positions)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(read, range(60)))


def test_pickle_is_small_and_equal(table, everything):
    few = table.columns(["noise"]).select([4, 2])
    assert len(pickle.dumps(table)) < 1000
    assert_rows(pickle.loads(pickle.dumps(few))[:], {"noise": everything["noise"]}, [4, 2])


def test_pickled_selections_are_of_the_data_set_as_it_was(tmp_path):
    """Once it was built further, the numbers of its rows stand for others."""
    build(Toy(20), tmp_path / "toy", workers=1)
    table = skyshards.open(tmp_path / "toy")
    few = pickle.dumps(table.where(pc.field("object_id") == "galaxy-007-é"))
    whole = pickle.dumps(table.columns(["object_id"]))
    assert pickle.loads(few)[0]["object_id"] == "galaxy-007-é"
    build(Toy(40), tmp_path / "toy", workers=1)
    with pytest.raises(FolderError, match=r"toy: the dataset has changed .*repeat the selection"):
        pickle.loads(few)
    with pytest.raises(FolderError, match="open it again"):
        pickle.loads(whole)


def test_a_relative_path_is_of_the_folder_where_it_was_opened(folder, everything, tmp_path, monkeypatch):
    monkeypatch.chdir(folder.parent)
    table = skyshards.open(folder.name)
    assert f"rows at {folder.name}" in repr(table)
    monkeypatch.chdir(tmp_path)
    assert_rows(table[[2]], everything, [2])
    assert_rows(pickle.loads(pickle.dumps(table))[[2]], everything, [2])


def _read_in_child(table, queue):
    queue.put(flatten(table[[7, 3]]))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_usable_in_a_child_process(table, everything, method):
    table[:4]  # opens files and starts threads, none of which a child can use
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    child = context.Process(target=_read_in_child, args=(table, queue))
    child.start()
    assert_rows(queue.get(timeout=60), everything, [7, 3])
    child.join(60)
    assert child.exitcode == 0


@pytest.mark.parametrize(("limit", "spare"), [(64, 16), (1024, 256), (10**6, 1024), (resource.RLIM_INFINITY, 1024)])
def test_only_some_of_the_files_that_may_be_open_are(folder, everything, monkeypatch, limit, spare):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))
    assert spare_files() == spare
    table = skyshards.open(folder)
    before = len(os.listdir("/proc/self/fd"))
    for position in range(ROWS):
        assert_rows(flatten(table[[position]]), everything, [position])
    assert len(os.listdir("/proc/self/fd")) - before <= spare


def test_tables_share_the_files_that_may_be_open(folder, everything, monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (64, 64))
    tables = [skyshards.open(folder, threads=1) for _ in range(5)]
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(2):
        for table in tables:
            assert_rows(table[:], everything, slice(None))
            assert len(os.listdir("/proc/self/fd")) - before <= spare_files() + 1


def test_too_many_open_files(folder, monkeypatch):
    table = skyshards.open(folder)

    def refuse(*_):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(FolderError, match=r"Too many open files.*raise the limit of open files \(`ulimit -n`\)"):
        table[3]


def test_images_of_another_size_than_those_before(folder, everything):
    """Batches are laid out for images like the last ones."""
    table = skyshards.open(folder)
    for shape in ((6, 7, 3), (5, 7, 3), (6, 8, 3), (6, 7)):
        table._data._image_shapes["picture"] = shape
        assert_rows(flatten(table[[7, 3, 3]]), everything, [7, 3, 3])


def test_files_are_left_as_encoded_if_asked(folder):
    picture = skyshards.open(folder, decode=False)[3]["picture"]
    assert isinstance(picture, bytes) and picture.startswith(b"\x89PNG")


def test_split_must_exist(folder):
    assert len(skyshards.open(folder, "train")) == ROWS
    with pytest.raises(FolderError, match="no split 'test'; available: train"):
        skyshards.open(folder, "test")


def test_what_is_no_data_set(tmp_path):
    with pytest.raises(FolderError, match=r"not a built dataset, it has no catalog\.parquet"):
        skyshards.open(tmp_path)


def test_datasets_near_a_folder_that_is_none_are_named(folder, tmp_path):
    for name in ("gz3d", "gz_sdss"):
        (tmp_path / "data" / name).mkdir(parents=True)
        shutil.copy(folder / "catalog.parquet", tmp_path / "data" / name)
    with pytest.raises(FolderError, match=r"data: not a built dataset.*; name one that is in it: gz3d, gz_sdss$"):
        skyshards.open(tmp_path / "data")
    with pytest.raises(FolderError, match=r"there is no such folder; similar: \S+/data/gz3d$"):
        skyshards.open(tmp_path / "data" / "gz3dd")


def test_a_name_in_place_of_a_number_leads_to_what_takes_names(table):
    with pytest.raises(TypeError, match=r"found 'flux'; see select_columns\(\['flux'\]\) and find\('flux'\)"):
        table["flux"]


def test_repr_says_what_there_is(table):
    assert (
        "46 rows" in repr(table) and "votes.mask: uint8 [16, 18]" in repr(table) and "ra: float64 (deg)" in repr(table)
    )


@pytest.fixture
def damaged(folder, tmp_path):
    """A copy of the dataset, a place in it, and how to spoil the bytes there."""
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    rows, _ = catalog.open_folder(copy)
    shard = rows["_shard"][5].as_py()
    start = rows["_start:votes.mask"][5].as_py()

    def spoil(content=None, keep=None):
        path = copy / shard
        data = bytearray(path.read_bytes())
        if content is not None:
            data[start : start + len(content)] = content
        path.write_bytes(data[:keep] if keep else data)

    return copy, shard, rows["_row"][5].as_py(), start, spoil


def test_bytes_that_do_not_inflate(damaged):
    copy, shard, row, _, spoil = damaged
    spoil(b"\x00garbage!")
    table = skyshards.open(copy)
    with pytest.raises(ShardCorrupted, match=f"{shard}: row {row} of column 'votes.mask' is damaged"):
        table[[1, 5]]
    assert_same(table[4], skyshards.open(copy)[4])  # the others can be read


def test_file_that_was_cut_short(damaged):
    copy, shard, row, start, spoil = damaged
    spoil(keep=start + 3)
    with pytest.raises(
        ShardCorrupted, match=rf"{shard}: {start + 3} bytes long, expected .*row {row} of column 'votes.mask'"
    ):
        skyshards.open(copy).columns(["votes.mask"])[5]


def test_file_that_is_missing(damaged):
    copy, shard, *_ = damaged
    (copy / shard).unlink()
    with pytest.raises(FolderError, match=f"{shard}: cannot be read .*build the dataset again"):
        skyshards.open(copy)[5]


class Memory:
    """Memory that a caller gives; it knows which arrays it gave."""

    def __init__(self):
        self.given = []

    def empty(self, shape, dtype):
        assert isinstance(dtype, str)
        self.given.append(np.empty(shape, dtype))
        return self.given[-1]


@pytest.mark.parametrize("decode", [True, False])
def test_batches_are_read_into_the_memory_of_the_caller(folder, decode):
    table, memory, keys = skyshards.open(folder, decode=decode), Memory(), [[3, 1], slice(4, 9), [0]]
    for key, batch in zip(keys, table.batches(keys, empty=memory.empty), strict=True):
        found, wanted = flatten(batch), flatten(table[key])
        for path, values in found.items():
            assert_same(values, wanted[path], path)
            assert values.dtype.kind in "OU" or any(values is array for array in memory.given), path


@pytest.mark.parametrize(
    ("empty", "found"),
    [
        (lambda shape, dtype: np.empty(shape, "float64"), r"float64 \[2\]"),
        (lambda shape, dtype: np.empty((*shape, 1), dtype), r"float32 \[2, 1\]"),
        (lambda shape, dtype: bytearray(8), "a bytearray"),
        (lambda shape, dtype: np.frombuffer(bytes(8), dtype), r"float32 \[2\]"),
    ],
    ids=["dtype", "shape", "type", "read-only"],
)
def test_memory_that_does_not_fit_is_refused(table, empty, found):
    with pytest.raises(UsageError, match=rf"empty: expected a writable array in C order, float32 \[2\], found {found}"):
        list(table.select_columns(["flux"]).batches([[0, 1]], empty=empty))


def test_recycled_memory_is_never_in_use(table):
    """Whatever view of a batch is kept, a later batch does not write over it."""
    recycler = Recycler(max_bytes=10 << 20)
    first = recycler.empty((1 << 20, 2), "uint8")
    first[:] = 1
    kept = first[5:7].T.view(np.int8)
    del first
    second = recycler.empty((1 << 20, 2), "uint8")
    second[:] = 2
    assert (kept == 1).all()
    address = second.ctypes.data
    del second
    assert recycler.empty((1 << 19, 4), "uint8").ctypes.data == address, "memory that nobody uses is used again"
    del kept
    assert recycler.empty((3, 3), "float32").shape == (3, 3)


def test_memory_is_used_again_for_a_batch_of_nearly_the_same_size():
    """Batches of lists are never of quite the same size."""
    recycler = Recycler()
    first = recycler.empty((1_000_000,), "float32")
    address = first.ctypes.data
    del first
    second = recycler.empty((995_001,), "float32")
    assert second.ctypes.data == address and second.shape == (995_001,)
    other = recycler.empty((1_000_000,), "float32")
    assert not np.shares_memory(second, other)


def test_memory_of_a_larger_batch_is_used_again():
    """The last rows of a shard are fewer than a batch; new memory for each would cost most of the time of reading."""
    recycler = Recycler()
    larger, large = recycler.empty((64, 1 << 16), "uint8"), recycler.empty((56, 1 << 16), "uint8")
    addresses = large.ctypes.data, larger.ctypes.data
    del large, larger
    found = [recycler.empty((40, 1 << 16), "uint8") for _ in range(3)]
    assert [each.ctypes.data for each in found[:2]] == list(addresses), "the smallest that is large enough"
    small = recycler.empty((10, 1 << 16), "uint8")
    del found
    assert recycler.empty((1, 1 << 16), "uint8").ctypes.data not in addresses, "not a piece that is far too large"
    assert len(small) == 10


def test_recycler_keeps_no_more_than_it_may():
    recycler = Recycler(max_bytes=3 << 20)
    batches = [recycler.empty((2 << 20,), "uint8") for _ in range(4)]
    del batches
    assert sum(memory.nbytes for memory in recycler._free.values()) <= 3 << 20


def test_recycler_keeps_few_pieces():
    """It looks through all that it keeps, for each array."""
    recycler = Recycler()
    rows = [recycler.empty((MIN_BYTES,), "uint8") for _ in range(2 * MAX_PIECES)]
    del rows[:]
    assert len(recycler._free) == MAX_PIECES


@pytest.fixture
def hasty_threads():
    """Threads take turns as often as they can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(interval)


def test_threads_that_read_first_do_not_disturb_each_other(folder, table, hasty_threads):
    """What they share is made by whichever comes first."""
    shard = table._data.manifest.shards[0]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(1000):
            store = LocalStore(folder)
            store.sizes = {shard.path: shard.nbytes}
            barrier = threading.Barrier(8)

            def read(_, store=store, barrier=barrier):
                barrier.wait(60)
                return next(store.read([shard.path], [0], [8]))

            assert set(pool.map(read, range(8))) == {b"\x89HDF\r\n\x1a\n"}


def test_threads_that_open_a_table_at_once_do_not_disturb_each_other(folder, everything, hasty_threads):
    with ThreadPoolExecutor(8) as pool:
        for start in range(20):
            table = skyshards.open(folder, threads=4)
            rows = [(start + offset) % ROWS for offset in range(8)]
            for row, found in zip(rows, pool.map(table.__getitem__, [[row] for row in rows]), strict=True):
                assert_rows(found, everything, [row])


def test_recycled_memory_is_given_to_one_thread_only(hasty_threads):
    recycler = Recycler(max_bytes=4 * MIN_BYTES)

    def work(number):
        for _ in range(200):
            mine = recycler.empty((MIN_BYTES,), "uint8")
            mine[:] = number
            assert (mine == number).all()
            del mine

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert sum(memory.nbytes for memory in recycler._free.values()) <= 4 * MIN_BYTES


@pytest.mark.parametrize("decode", [True, False])
def test_arrays_can_be_written_to(folder, decode):
    """Rows, batches and images of several sizes; what is written is seen nowhere else."""
    table = skyshards.open(folder, decode=decode)
    before = table[:]
    for values in (table[3], table[[3]], table[3:9], table.columns(["ra", "votes"])[[1, 2]]):
        for array in flatten(values).values():
            if isinstance(array, np.ndarray) and array.dtype.kind not in "OU":
                assert array.flags.writeable
                array[...] = 1
    assert_same(flatten(table[:]), flatten(before))


def test_images_that_are_given_singly_can_be_written_to(folder):
    file = skyshards.open(folder, decode=False)[0]["picture"]
    jpeg = io.BytesIO()
    Image.open(io.BytesIO(file)).save(jpeg, "jpeg")
    for content in (file, jpeg.getvalue()):
        assert decode_image(content).flags.writeable and decode_image(content).base is None
