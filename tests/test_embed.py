"""Representations: of the right images, in order, the same after a kill, and in a file that `skyshards add` takes."""

import importlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import skyshards
from skyshards import verify
from skyshards.cli.embed import command
from skyshards.cli.main import main
from skyshards.embed import run as embedding
from skyshards.embed.encoders import Encoder, encode, prepared, timm_encoder
from skyshards.embed.run import embed
from skyshards.errors import UsageError
from skyshards.pipeline.build import build
from tests import stand_ins

torch = pytest.importorskip("torch")
ROOT = Path(__file__).parents[1]


class Means(torch.nn.Module):
    """Mean colours of an image's four quarters: 12 numbers that can be checked."""

    def forward(self, images):
        return torch.nn.functional.adaptive_avg_pool2d(images, 2).flatten(1)


ENCODER = Encoder(Means(), 16, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), {"model": "means"})


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    from tests.toy import Toy

    folder = tmp_path_factory.mktemp("built") / "toy"
    build(Toy(30), folder, workers=1)
    return folder


def vectors_of(path):
    table = pq.read_table(path)
    names = [name for name in table.column_names if name.startswith("feat_")]
    return table, np.stack([table[name].to_numpy() for name in names], axis=1)


def test_gives_each_image_its_vector(toy, tmp_path):
    out = tmp_path / "r.parquet"
    small = Encoder(Means(), 6, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), {"model": "means"})
    assert embed(toy, out, small, column="picture", batch_size=7) == 30
    written, found = vectors_of(out)
    table = skyshards.open(toy)
    assert written["object_id"].to_pylist() == list(table.catalog["object_id"].to_pylist())
    assert written["source"].to_pylist() == list(table.catalog["source"].to_pylist())
    assert found.dtype == np.float32 and found.shape == (30, 12)
    for row, vector in zip(table, found, strict=True):
        image = prepared(row["picture"][None], 6)[0].numpy()
        quarters = image.reshape(3, 2, 3, 2, 3).mean(axis=(2, 4))
        np.testing.assert_allclose(vector, ((quarters - 0.5) / 0.25).ravel(), atol=1e-5)


def test_metadata_say_what_it_was_made_of(toy, tmp_path):
    out = tmp_path / "r.parquet"
    embed(toy, out, ENCODER, column="picture")
    about = json.loads(pq.read_schema(out).metadata[b"skyshards"])
    assert about["model"] == "means" and about["data_set"] == "toy" and about["column"] == "picture"
    assert os.listdir(tmp_path) == ["r.parquet"]


def test_batches_and_parts_make_no_difference(toy, tmp_path, monkeypatch):
    embed(toy, tmp_path / "a.parquet", ENCODER, column="picture", batch_size=30)
    monkeypatch.setattr(embedding, "PART", 8)
    embed(toy, tmp_path / "b.parquet", ENCODER, column="picture", batch_size=3)
    a, b = (vectors_of(tmp_path / name)[1] for name in ("a.parquet", "b.parquet"))
    np.testing.assert_allclose(a, b, atol=1e-6)


def test_goes_on_where_it_was(toy, tmp_path, monkeypatch):
    monkeypatch.setattr(embedding, "PART", 8)
    seen = []

    def counting(images):
        seen.append(len(images))
        if sum(seen) == 24:
            raise RuntimeError("no more")
        return Means()(images)

    broken = Encoder(counting, 16, ENCODER.mean, ENCODER.std, ENCODER.about)
    out = tmp_path / "r.parquet"
    with pytest.raises(RuntimeError, match="no more"):
        embed(toy, out, broken, column="picture", batch_size=8)
    assert not out.exists()
    seen.clear()
    embed(toy, out, Encoder(counting, 16, ENCODER.mean, ENCODER.std, ENCODER.about), column="picture", batch_size=8)
    assert sum(seen) == 30 - 16
    embed(toy, tmp_path / "whole.parquet", ENCODER, column="picture", batch_size=8)
    np.testing.assert_array_equal(vectors_of(out)[1], vectors_of(tmp_path / "whole.parquet")[1])


def test_workers_write_the_same_bytes(toy, tmp_path, monkeypatch):
    """They load the encoder from a file, which is not left behind, and do not repeat the parts that are there."""
    pytest.importorskip("cloudpickle")
    monkeypatch.setattr(embedding, "PART", 8)
    embed(toy, tmp_path / "here.parquet", ENCODER, column="picture", batch_size=3)
    with ThreadPoolExecutor(2) as executor:
        embed(toy, tmp_path / "there.parquet", ENCODER, column="picture", batch_size=3, executor=executor)
    assert (tmp_path / "there.parquet").read_bytes() == (tmp_path / "here.parquet").read_bytes()
    assert sorted(os.listdir(tmp_path)) == ["here.parquet", "there.parquet"]


@pytest.mark.slow
def test_survives_kill_9(toy, tmp_path):
    program = f"""
import os, signal
from pathlib import Path
from skyshards.embed import run as embedding
from tests.test_embed import ENCODER, Means
from skyshards.embed.encoders import Encoder
embedding.PART = 4
calls = []
def deadly(images):
    calls.append(0)
    if len(calls) == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return Means()(images)
encoder = Encoder(deadly, 16, ENCODER.mean, ENCODER.std, ENCODER.about)
embedding.embed(Path({str(toy)!r}), Path({str(tmp_path / "r.parquet")!r}), encoder, column="picture", batch_size=4)
"""
    outcome = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=120, cwd=ROOT)
    assert outcome.returncode == -signal.SIGKILL, outcome.stderr
    assert len(list((tmp_path / "r.parquet.parts").glob("part-*.parquet"))) == 4
    embed(toy, tmp_path / "w.parquet", ENCODER, column="picture")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embedding, "PART", 4)
        assert embed(toy, tmp_path / "r.parquet", ENCODER, column="picture") == 30
    np.testing.assert_allclose(vectors_of(tmp_path / "r.parquet")[1], vectors_of(tmp_path / "w.parquet")[1], atol=1e-6)


def test_refuses_parts_of_another_run(toy, tmp_path):
    out, parts = tmp_path / "r.parquet", tmp_path / "r.parquet.parts"
    parts.mkdir()
    (parts / "about.json").write_text("{}")
    with pytest.raises(UsageError, match="another dataset or model"):
        embed(toy, out, ENCODER, column="picture")
    assert (parts / "about.json").exists() and not out.exists()


def test_refuses_what_it_cannot_do(toy, tmp_path):
    with pytest.raises(UsageError, match="no-such"):
        embed(toy, tmp_path / "r.parquet", ENCODER, column="no-such")
    with pytest.raises(UsageError, match="1, 3 or 4 channels"):
        embed(toy, tmp_path / "r.parquet", ENCODER, column="votes.fraction")
    (tmp_path / "there.parquet").touch()
    with pytest.raises(UsageError, match="exists already"):
        embed(toy, tmp_path / "there.parquet", ENCODER, column="picture")
    assert sorted(os.listdir(tmp_path))[-1] == "there.parquet"


@pytest.mark.parametrize("shape", [(2, 9, 9), (2, 9, 9, 1), (2, 9, 9, 3), (2, 9, 9, 4), (2, 3, 9, 9), (2, 1, 9, 9)])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_images_of_every_form(shape, dtype):
    images = (np.random.default_rng(0).random(shape) * 200).astype(dtype)
    batch = prepared(images, 9)
    assert batch.shape == (2, 3, 9, 9) and batch.dtype == torch.float32
    assert batch.min() >= 0 and batch.max() <= 1
    if dtype == "float32":
        assert batch[1].min() == 0 and batch[1].max() <= 1


def test_images_of_several_sizes_and_constant_ones():
    images = np.empty(2, object)
    images[:] = [np.zeros((5, 6, 3), np.uint8), np.full((30, 30, 3), 255, np.uint8)]
    vectors = encode(images, ENCODER)
    np.testing.assert_allclose(vectors, [[-2.0] * 12, [2.0] * 12], atol=1e-5)
    assert not prepared(np.full((1, 4, 4), 7.0), 4).any()


@pytest.fixture(scope="module")
def timm():
    if importlib.util.find_spec("timm") is None:
        pytest.skip("timm is not installed")
    with stand_ins.torchvision():
        yield importlib.import_module("timm")


def test_untrained_timm_model_end_to_end(timm, toy, tmp_path):
    out = tmp_path / "r.parquet"
    arguments = [str(toy), "--out", str(out), "--column", "picture", "--model", "test_convnext", "--untrained"]
    outcome = CliRunner().invoke(command, arguments)
    assert outcome.exit_code == 0, outcome.output
    assert "random" in outcome.output
    about = json.loads(pq.read_schema(out).metadata[b"skyshards"])
    assert about["untrained"] is True and about["seed"] == 0 and about["model"] == "test_convnext"
    _, found = vectors_of(out)
    assert np.isfinite(found).all() and found.std(axis=0).max() > 0
    embed(toy, tmp_path / "again.parquet", timm_encoder("test_convnext", untrained=True), column="picture")
    np.testing.assert_allclose(vectors_of(tmp_path / "again.parquet")[1], found, atol=1e-5)


def test_says_which_models_it_cannot_make(timm):
    with pytest.raises(UsageError, match="no-such-model"):
        timm_encoder("no-such-model", untrained=True)
    with pytest.raises(UsageError, match="`untrained`: expected"):
        timm_encoder("hf_hub:mwalmsley/zoobot-encoder-convnext_nano", untrained=True)


def test_command_says_what_is_wrong(toy, tmp_path):
    outcome = CliRunner().invoke(command, [str(tmp_path), "--model", "x:y", "--untrained"])
    assert outcome.exit_code == 2 and "--untrained: expected" in outcome.output
    outcome = CliRunner().invoke(command, [str(toy), "--workers", "2"])
    assert outcome.exit_code == 2 and "--workers: is for --dask, with local or slurm" in outcome.output


def test_add_takes_what_embed_wrote(toy, tmp_path):
    folder = shutil.copytree(toy, tmp_path / "toy")
    embed(folder, tmp_path / "representations.parquet", ENCODER, column="picture")
    outcome = CliRunner().invoke(main, ["add", str(folder), str(tmp_path / "representations.parquet")])
    assert outcome.exit_code == 0 and "values in 30 of 30 rows" in outcome.output, outcome.output
    _, vectors = vectors_of(tmp_path / "representations.parquet")
    np.testing.assert_array_equal(skyshards.open(folder)[:]["representation"], vectors)
    assert list(verify.problems(folder)) == []
