"""candels_blend against the contract, and the shards against `Blends`."""

import hashlib
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from datasets import load_dataset

import skyshards
from candels_blend import Blends
from candels_blend.build_parent_sample import CandelsBlendRecipe
from candels_blend.sample import SPLITS, Sample
from candels_blend.stamp_archive import CATALOGUE, FILES
from candels_blend.targets import METHODS
from demo_archive import DemoArchive
from skyshards.errors import BuildError, UsageError
from skyshards.pipeline.blocks import BLOCK_BYTES, BlockSize
from skyshards.pipeline.build import build
from skyshards.pipeline.recipe import Source
from skyshards.progress import size
from tests.contract import Contract, as_formatted, assert_same
from tests.versions import stock_reads_hdf5

SAMPLE = Sample(seed=11, mag_high=23.5, excluded_types=("irr",))
N_BLENDS = 90
ROOT = Path(__file__).parents[2]


def built(folder, datapath, method, **options):
    recipe = CandelsBlendRecipe(datapath, N_BLENDS, SAMPLE, method)
    assert build(recipe, folder, **options).failed == 0
    return recipe


def on_the_fly(datapath, split, method):
    return Blends(
        datapath, seed=11, split=split, n_blends=N_BLENDS, method=method, mag_high=23.5, excluded_types=("irr",)
    )


@pytest.fixture(scope="module")
def by_method(datapath, tmp_path_factory):
    """A built folder and its recipe, by method; each is built when it is first asked for."""
    made = {}

    def get(method):
        if method not in made:
            folder = tmp_path_factory.mktemp("built") / "candels_blend"
            made[method] = folder, built(folder, datapath, method, workers=2)
        return made[method]

    return get


class TestTrain(Contract):
    @pytest.fixture
    def folder(self, by_method):
        return by_method("gg_masks")[0]

    @pytest.fixture
    def recipe(self, by_method):
        return by_method("gg_masks")[1]

    @pytest.fixture
    def expected(self, datapath):
        rows = on_the_fly(datapath, self.split, "gg_masks")
        return {(str(row["object_id"]), str(row["source"])): row for row in rows}


class TestTest(TestTrain):
    split = "test"


FOUR = Sample(seed=11, n_galaxies=4, cut="radius > 3 and z < 3")


@pytest.fixture(scope="module")
def four(datapath, tmp_path_factory):
    folder = tmp_path_factory.mktemp("built") / "candels_blend"
    recipe = CandelsBlendRecipe(datapath, 24, FOUR, "single_images", masked=False)
    assert build(recipe, folder, workers=1).failed == 0
    return folder


@pytest.mark.slow
class TestFourGalaxies(Contract):
    """The columns of more galaxies, cut by a condition and not masked."""

    @pytest.fixture
    def recipe(self, datapath):
        return CandelsBlendRecipe(datapath, 24, FOUR, "single_images", masked=False)

    @pytest.fixture
    def folder(self, four):
        return four

    @pytest.fixture
    def expected(self, datapath):
        options = {"seed": 11, "n_blends": 24, "method": "single_images", "n_galaxies": 4, "cut": FOUR.cut}
        rows = Blends(datapath, split=self.split, masked=False, **options)
        return {(str(row["object_id"]), str(row["source"])): row for row in rows}


def test_four_galaxies_are_built_as_rendered(datapath, tmp_path):
    recipe = CandelsBlendRecipe(datapath, 12, FOUR, "bogg_masks")
    summary = build(recipe, tmp_path / "built", workers=1)
    assert summary.rows == 12 and summary.nbytes == pytest.approx(kept(recipe), rel=0.25)  # small shards take more
    rows = Blends(datapath, seed=11, n_blends=12, method="bogg_masks", n_galaxies=4, cut=FOUR.cut)
    table = skyshards.open(tmp_path / "built", "train").find(rows[:]["object_id"].tolist())
    found, expected = table[:], rows[:]
    assert found["bogg_masks"].shape == (10, 128, 128, 6) and found["distance"].shape == (10, 3)
    for name, values in expected.items():
        assert np.array_equal(found[name], values, equal_nan=name == "z"), name


def kept(recipe):
    return recipe.cost([Source(split, split=split) for split in SPLITS]).keep_bytes


@pytest.mark.parametrize("method", ["gg_masks", "single_images"])
def test_bytes_that_the_plan_tells_are_those_of_a_build(by_method, method):
    folder, recipe = by_method(method)
    nbytes = sum(path.stat().st_size for path in folder.rglob("*.hdf5"))
    assert nbytes == pytest.approx(kept(recipe), rel=0.1)


@pytest.mark.parametrize("method", METHODS)
def test_more_galaxies_take_more_disk_and_time_in_smaller_blocks(method):
    recipes = [CandelsBlendRecipe(Path(), 100, Sample(n_galaxies=n), method) for n in range(2, 6)]
    costs = [recipe.cost([Source("train", split="train"), Source("test", split="test")]) for recipe in recipes]
    for fewer, more in pairwise(costs):
        assert more.keep_bytes > fewer.keep_bytes and more.seconds > fewer.seconds
    for recipe in recipes:
        rows = BlockSize(recipe).rows
        assert BLOCK_BYTES / 2 < rows * sum(spec.nbytes for spec in recipe.schema.specs.values()) <= BLOCK_BYTES


def test_plan_with_a_limit_counts_both_splits(datapath, tmp_path):
    for limit, rows in ((50, 50), (None, 90)):
        recipe = CandelsBlendRecipe(datapath, N_BLENDS, Sample(n_galaxies=5))
        plan = build(recipe, tmp_path / "out", limit=limit, dry_run=True).plan
        assert f"about {size(rows * kept(recipe) / N_BLENDS)} to keep" in plan
        assert plan.startswith("up to 50 rows to do" if limit else "2 splits to do")


def test_options_of_pairs_are_those_of_earlier_versions(datapath):
    """So that earlier folders can be completed."""
    new, of_pairs = ("cut", "n_galaxies", "unmasked"), CandelsBlendRecipe(datapath, 12, SAMPLE).options()
    assert [of_pairs[name] for name in new] == [None, None, None]
    others = CandelsBlendRecipe(datapath, 12, FOUR, masked=False).options()
    assert [others[name] for name in new] == [FOUR.cut, 4, True]


@pytest.mark.slow
@stock_reads_hdf5
@pytest.mark.parametrize("method", ["ogg_masks", "bogg_masks", "single_images"])
def test_target_is_stored_and_read_by_all_three_readers(by_method, datapath, method, tmp_path):
    folder, recipe = by_method(method)
    expected = {str(row["object_id"]): row for row in on_the_fly(datapath, "test", method)}
    assert "galaxies" in recipe.schema.specs if method == "single_images" else method in recipe.schema.specs
    options = {"split": "test", "cache_dir": str(tmp_path)}
    for rows in (
        skyshards.open(folder, "test"),
        load_dataset(str(folder), **options).with_format("numpy"),
        load_dataset("candels_blend", data_dir=str(folder), **options).with_format("numpy"),
    ):
        assert len(rows) == len(expected) == 18
        for row in rows:
            assert set(row) == set(recipe.schema.specs)
            wanted = expected[str(row["object_id"])]
            formatted = {name: as_formatted(value, row[name]) for name, value in wanted.items()}
            assert_same(row, wanted if isinstance(rows, skyshards.Table) else formatted)


def test_galaxies_sum_to_the_image(by_method):
    rows = skyshards.open(by_method("single_images")[0])[:]
    assert (rows["galaxies"].sum(axis=1) == rows["image"]).all()


def test_no_galaxy_serves_in_both_splits(by_method):
    train, test = (skyshards.open(by_method("gg_masks")[0], split)[:] for split in ("train", "test"))
    assert (len(train["z"]), len(test["z"])) == (72, 18)
    assert not set(train["galaxy_id"].ravel()) & set(test["galaxy_id"].ravel())


def digests(folder):
    return {
        path.relative_to(folder): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.suffix in (".hdf5", ".parquet")
    }


def test_any_number_of_workers_gives_the_same_bytes(by_method, datapath, tmp_path):
    built(tmp_path / "one", datapath, "gg_masks", workers=1)
    assert digests(tmp_path / "one") == digests(by_method("gg_masks")[0])


def test_other_options_are_refused_in_the_same_folder(by_method, datapath):
    folder, _ = by_method("gg_masks")
    with pytest.raises(Exception, match="seed"):
        build(CandelsBlendRecipe(datapath, N_BLENDS, Sample(seed=12), "gg_masks"), folder)
    with pytest.raises(UsageError, match="was built without `unmasked`, now with it;"):
        build(CandelsBlendRecipe(datapath, N_BLENDS, SAMPLE, "gg_masks", masked=False), folder, workers=0)
    with pytest.raises(UsageError, match="was built without `n_galaxies`, now with 3;"):
        build(CandelsBlendRecipe(datapath, N_BLENDS, replace(SAMPLE, n_galaxies=3), "gg_masks"), folder, workers=0)


def test_no_pair_within_mag_diff_ends_the_build(datapath, tmp_path):
    recipe = CandelsBlendRecipe(datapath, 10, Sample(mag_diff=0))
    with pytest.raises(BuildError, match="no two of the 32 train galaxies"):
        build(recipe, tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*.hdf5"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "program", [("build_parent_sample.py", "candels_blend"), ("candels_blend/build_parent_sample.py",)]
)
def test_tiny_demo_from_the_command_line(program, tmp_path):
    script, *rest = program
    options = [
        "--tiny",
        "--demo",
        "--workers",
        "1",
        "--zeropoint",
        "25",
        "--method",
        "ogg_masks",
        "-o",
        str(tmp_path / "out"),
    ]
    command = [sys.executable, str(ROOT / script), *rest, *options]
    outcome = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=tmp_path)
    assert outcome.returncode == 0, outcome.stderr
    assert "5 rows" in outcome.stdout and "simulated" in outcome.stdout
    train, test = (skyshards.open(tmp_path / "out", split) for split in ("train", "test"))
    assert (len(train), len(test)) == (4, 1)
    row = train[0]
    np.testing.assert_allclose(row["flux"], 10 ** (-0.4 * (row["mag"] - 25)), rtol=1e-5)
    assert row["ogg_masks"].shape == (128, 128, 3)
    assert "Simulated data" in (tmp_path / "out" / "README.md").read_text()


def test_other_stamps_are_refused(by_method, datapath, tmp_path):
    """Whether they are there when the build begins, or are fetched then."""
    folder, recipe = by_method("gg_masks")
    for name in FILES:
        (tmp_path / name).write_bytes((datapath / name).read_bytes())
    catalogue = tmp_path / CATALOGUE
    catalogue.write_text(catalogue.read_text().replace("0.5", "0.6"))
    with pytest.raises(UsageError, match="stamps_sha256"):
        build(replace(recipe, datapath=tmp_path), folder, workers=1)
    with DemoArchive(galaxies=1) as archive, pytest.raises(UsageError, match="stamps_sha256"):
        build(replace(recipe, datapath=tmp_path / "fetched", zenodo_url=archive.zenodo_url), folder, workers=1)


def test_a_build_with_other_options_fetches_nothing(by_method, tmp_path):
    folder, recipe = by_method("gg_masks")
    recipe = replace(recipe, datapath=tmp_path / "stamps", zenodo_url="http://127.0.0.1:9", zeropoint=20.0)
    with pytest.raises(UsageError, match="with `zeropoint`"):
        build(recipe, folder, workers=1)
    assert not (tmp_path / "stamps").exists()


def test_a_build_without_an_earlier_option_fetches_nothing(tmp_path):
    with DemoArchive(galaxies=1) as archive:
        recipe = CandelsBlendRecipe(
            tmp_path / "stamps", 2, Sample(n_galaxies=3, cut="z < 9"), zenodo_url=archive.zenodo_url, masked=False
        )
        build(recipe, tmp_path / "built", workers=0)
    plain = CandelsBlendRecipe(tmp_path / "others", 2, zenodo_url="http://127.0.0.1:9")
    words = "with `cut` z < 9, now without it, with `n_galaxies` 3, now without it, with `unmasked`, now without it;"
    with pytest.raises(UsageError, match=words):
        build(plain, tmp_path / "built", workers=0)
    assert not (tmp_path / "others").exists()


def test_a_build_that_fetched_the_stamps_goes_on(tmp_path):
    with DemoArchive(galaxies=1) as archive:
        recipe = CandelsBlendRecipe(tmp_path / "stamps", 20, SAMPLE, zenodo_url=archive.zenodo_url)
        assert build(recipe, tmp_path / "built", workers=1).rows == 20
        assert build(recipe, tmp_path / "built", workers=1).added == 0
