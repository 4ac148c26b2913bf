"""A table in the training loops of others: PyTorch's samplers, torchdata's exact resume, Grain."""

import pickle
import subprocess
import sys

import numpy as np
import pytest

import skyshards
from skyshards.format.columns import flatten
from skyshards.pipeline.build import build
from tests.contract import assert_same
from tests.toy import Toy

ROWS = 50


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("training") / "toy"
    build(Toy(ROWS), folder, workers=2)
    return folder


@pytest.fixture
def table(folder):
    return skyshards.open(folder)


COLUMNS = ["dec", "label", "votes.mask"]


def assert_batches(batches, table):
    """Each row once, every one as the table has it."""
    by_dec = {float(row["dec"]): flatten(row) for row in table.columns(COLUMNS)}
    for batch in batches:
        flat = {path: np.asarray(values) for path, values in flatten(batch).items()}
        for number, dec in enumerate(flat["dec"].tolist()):
            assert_same({path: values[number] for path, values in flat.items()}, by_dec.pop(dec))
    assert not by_dec


@pytest.mark.parametrize("workers", [0, 2])
def test_pytorch_batch_sampler(table, workers):
    data = pytest.importorskip("torch.utils.data", reason="the extra `torch` is not installed")
    source = table.columns(COLUMNS)
    sampler = data.BatchSampler(data.RandomSampler(source), 16, drop_last=False)
    loader = data.DataLoader(source, sampler=sampler, batch_size=None, num_workers=workers)
    batches = list(loader)
    assert [len(batch["dec"]) for batch in batches] == [16, 16, 16, 2]
    assert str(batches[0]["votes"]["mask"].dtype) == "torch.uint8" and str(batches[0]["dec"].dtype) == "torch.float64"
    assert_batches(batches, table)


def test_distributed_sampler_over_three_ranks(table):
    data = pytest.importorskip("torch.utils.data", reason="the extra `torch` is not installed")
    from torch.utils.data.distributed import DistributedSampler

    source = table.columns(COLUMNS).select(slice(0, 48))
    ranks = []
    for rank in range(3):
        sampler = DistributedSampler(source, num_replicas=3, rank=rank, shuffle=True, seed=1)
        sampler.set_epoch(2)
        loader = data.DataLoader(source, sampler=data.BatchSampler(sampler, 5, drop_last=False), batch_size=None)
        ranks.append(list(loader))
    assert [sum(len(batch["dec"]) for batch in batches) for batches in ranks] == [16, 16, 16]
    assert_batches([batch for batches in ranks for batch in batches], source)


STATEFUL = """
import pickle, sys
import torch
import torchdata.stateful_dataloader as stateful
import skyshards

folder, state_file, stop = sys.argv[1], sys.argv[2], int(sys.argv[3])
table = skyshards.open(folder).columns(["dec", "votes"])
torch.manual_seed(5)
sampler = stateful.sampler.BatchSampler(stateful.sampler.RandomSampler(table), 4, drop_last=False)
loader = stateful.StatefulDataLoader(table, sampler=sampler, batch_size=None, num_workers=2)
if stop < 0:
    loader.load_state_dict(pickle.load(open(state_file, "rb")))
seen = []
for number, batch in enumerate(loader, 1):
    seen += batch["dec"].tolist()
    if number == stop:
        pickle.dump(loader.state_dict(), open(state_file, "wb"))
        break
print(seen)
"""


@pytest.mark.parametrize("stop", [1, 7, 12])
def test_stateful_data_loader_resumes_in_a_new_process(folder, table, tmp_path, stop):
    pytest.importorskip("torchdata", reason="the extra `torch` is not installed")

    def run(steps):
        command = [sys.executable, "-c", STATEFUL, str(folder), str(tmp_path / "state"), str(steps)]
        outcome = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert outcome.returncode == 0, outcome.stderr
        return [float(dec) for dec in outcome.stdout.strip().strip("[]").split(", ")]

    seen = run(stop)
    assert len(seen) == 4 * stop
    seen += run(-1)
    assert sorted(seen) == sorted(table.catalog["dec"].to_pylist())


def test_grain(table):
    grain = pytest.importorskip("grain", reason="the extra `grain` is not installed")
    source = table.columns(COLUMNS)
    data_set = grain.MapDataset.source(source).shuffle(seed=3)
    order = [data_set[number]["dec"] for number in range(len(data_set))]
    assert order != table.catalog["dec"].to_pylist()
    assert_batches(list(data_set.batch(8)), table)


def test_grain_resumes_where_it_was(table):
    grain = pytest.importorskip("grain", reason="the extra `grain` is not installed")
    data_set = grain.MapDataset.source(table.columns(["dec"])).shuffle(seed=3).to_iter_dataset()
    rows = iter(data_set)
    seen = [next(rows)["dec"] for _ in range(17)]
    state = pickle.loads(pickle.dumps(rows.get_state()))
    resumed = iter(data_set)
    resumed.set_state(state)
    assert sorted(seen + [row["dec"] for row in resumed]) == sorted(table.catalog["dec"].to_pylist())


@pytest.mark.parametrize("workers", [0, 2])
def test_a_data_loader_batches_the_table_as_it_is(table, workers):
    """Text columns, also of several texts a row, and decoded images among them."""
    data = pytest.importorskip("torch.utils.data", reason="the extra `torch` is not installed")
    for source in (table, data.Subset(table, range(ROWS))):
        seen = 0
        for batch in data.DataLoader(source, batch_size=4, num_workers=workers):
            wanted = table[seen : seen + len(batch["dec"])]
            seen += len(batch["dec"])
            assert batch["object_id"] == wanted["object_id"].tolist()
            assert [list(texts) for texts in zip(*batch["votes"].pop("names"), strict=True)] == wanted["votes"].pop(
                "names"
            ).tolist()
            for path, values in flatten(batch).items():
                if path not in ("object_id", "source"):
                    assert_same(values.numpy(), flatten(wanted)[path], path)
                    values.zero_()
        assert seen == ROWS


RANK = """
import sys
import torch
from torch.utils.data import BatchSampler, DataLoader
from torch.utils.data.distributed import DistributedSampler
import skyshards

folder, address, rank = sys.argv[1], sys.argv[2], int(sys.argv[3])
torch.distributed.init_process_group("gloo", init_method=address, world_size=2, rank=rank)
table = skyshards.open(folder).columns(["dec"])
sampler = BatchSampler(DistributedSampler(table, shuffle=True, seed=3), 4, drop_last=False)
seen = [dec for batch in DataLoader(table, sampler=sampler, batch_size=None) for dec in batch["dec"].tolist()]
both = [None, None]
torch.distributed.all_gather_object(both, seen)
print(sum(both, []))
torch.distributed.destroy_process_group()
"""


@pytest.mark.slow
def test_two_ranks_see_every_row(folder, table, tmp_path):
    pytest.importorskip("torch", reason="the extra `torch` is not installed")
    command = [sys.executable, "-c", RANK, str(folder), f"file://{tmp_path}/meeting"]
    ranks = [subprocess.Popen([*command, str(rank)], stdout=subprocess.PIPE, text=True) for rank in range(2)]
    try:
        outputs = [rank.communicate(timeout=120)[0] for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
            rank.wait()
    wanted = sorted(table.catalog["dec"].to_pylist())
    for output in outputs:
        assert sorted(float(dec) for dec in output.strip().strip("[]").split(", ")) == wanted


LIGHTNING = """
import sys
import lightning
import torch
from torch.utils.data import BatchSampler, DataLoader, DistributedSampler
import skyshards

folder = sys.argv[1]

class Model(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer, self.seen = torch.nn.Linear(1, 1), []

    def train_dataloader(self):
        table = skyshards.open(folder).columns(["dec"])
        rank = DistributedSampler(table, num_replicas=self.trainer.world_size, rank=self.trainer.global_rank)
        return DataLoader(table, sampler=BatchSampler(rank, 4, drop_last=False), batch_size=None)

    def training_step(self, batch, _):
        self.seen += batch["dec"].tolist()
        return self.layer(batch["dec"].float()[:, None]).mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 1e-9)

    def on_train_epoch_end(self):
        both = [None, None]
        torch.distributed.all_gather_object(both, self.seen)
        if self.global_rank == 0:
            print(f"rows seen: {len(set(sum(both, [])))}", flush=True)

if __name__ == "__main__":
    quiet = dict(logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False)
    options = dict(accelerator="cpu", devices=2, strategy="ddp", max_epochs=1, use_distributed_sampler=False)
    lightning.Trainer(**options, **quiet).fit(Model())
"""


def test_two_ranks_of_lightning_see_every_row(folder, tmp_path):
    pytest.importorskip("lightning", reason="Lightning is not installed")
    program = tmp_path / "program.py"  # which Lightning starts once more for the other rank
    program.write_text(LIGHTNING)
    outcome = subprocess.run(
        [sys.executable, str(program), str(folder)], capture_output=True, text=True, timeout=120, cwd=tmp_path
    )
    assert f"rows seen: {ROWS}" in outcome.stdout, outcome.stderr
