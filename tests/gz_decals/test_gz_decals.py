"""Galaxy Zoo DECaLS against the contract: from real images and the real catalogue, and from the demo archive."""

import csv
import json
import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import requests
from click.testing import CliRunner
from datasets import Sequence, Value, load_dataset
from PIL import Image

import gz_decals
import skyshards
from gz_decals.build_parent_sample import GZDecalsRecipe, main
from gz_decals.release import fetch_catalog
from skyshards import Column, Schema, verify
from skyshards.cli.main import main as skyshards_command
from skyshards.errors import UsageError
from skyshards.fetch.client import Fetcher
from skyshards.format import catalog
from skyshards.format import provenance as sources
from skyshards.pipeline.build import build
from skyshards.pipeline.workspace import hold
from tests.contract import Contract


def recipe_for(path, workspace, **options):
    return GZDecalsRecipe(path, workspace, **options).prepare(Fetcher(), workspace)


@pytest.fixture(scope="module")
def real(shared_data, tmp_path_factory):
    """The recipe for the real images and the dataset that it builds."""
    folder = tmp_path_factory.mktemp("built") / "gz_decals"
    zoobot = shared_data / "zoobot"
    recipe = recipe_for(
        zoobot / "example_ring_catalog_basic.csv",
        folder,
        local_data_path=zoobot / "decals_png",
    )
    assert build(recipe, folder, workers=2).failed == 0
    return recipe, folder


class TestRealImages(Contract):
    @pytest.fixture
    def recipe(self, real):
        return real[0]

    @pytest.fixture
    def folder(self, real):
        return real[1]

    @pytest.fixture
    def expected(self, shared_data):
        """What the csv module, Pillow and arithmetic by hand say."""
        zoobot = shared_data / "zoobot"
        names = sorted(path.stem for path in (zoobot / "decals_png").glob("*.png"))
        rows = {}
        with open(zoobot / "example_ring_catalog_basic.csv", newline="") as file:
            for entry in csv.DictReader(file):
                name = entry["id_str"]
                if name not in names:
                    continue
                hours = int(name[1:3]) + int(name[3:5]) / 60 + float(name[5:10]) / 3600
                degrees = int(name[11:13]) + int(name[13:15]) / 60 + float(name[15:]) / 3600
                rows[name, f"{name}.png"] = {
                    "iauname": name,
                    "image": np.asarray(Image.open(zoobot / "decals_png" / f"{name}.png")),
                    "image_file": f"{name}.png",
                    "scale": np.nan,
                    "ring": np.int64(entry["ring"]),
                    **{key: np.float64(entry[key]) for key in entry if key.endswith("_fraction")},
                }
                rows[name, f"{name}.png"]["position"] = (15 * hours, -degrees if name[10] == "-" else degrees)
        return rows

    def test_table_holds_what_was_read(self, table, expected):
        assert len(expected) == 24
        for row in table:
            ra, dec = expected[str(row["object_id"]), str(row["source"])].pop("position")
            assert (row["ra"], row["dec"]) == pytest.approx((ra, dec), abs=1e-10)
        super().test_table_holds_what_was_read(table, expected)

    def test_images_are_the_files_themselves(self, folder, shared_data):
        for row in skyshards.open(folder, decode=False):
            assert row["image"] == (shared_data / "zoobot" / "decals_png" / str(row["image_file"])).read_bytes()


@pytest.fixture(scope="module")
def volunteers(demo, tmp_path_factory):
    folder = tmp_path_factory.mktemp("built") / "gz_decals"
    arguments = ["--catalog", "volunteers", "--archive_url", demo.decals_url, "-o", str(folder), "--workers", "2"]
    outcome = CliRunner().invoke(main, arguments)
    assert outcome.exit_code == 0, outcome.output
    return folder


def block_of_card(words):
    """The Python of the card that has these words."""
    text = (Path(__file__).parents[2] / "gz_decals" / "README.md").read_text(encoding="utf-8")
    (block,) = [block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if words in block]
    return block


def test_card_selects_the_split_of_another_package_by_its_table(volunteers, tmp_path, monkeypatch):
    table = skyshards.open(volunteers)
    wanted = table.catalog["object_id"].to_pylist()[1:4]
    files = [*(f"{name}.jpg" for name in wanted), "J000000.00+000000.0.jpg"]
    pq.write_table(pa.table({"filename": files}), tmp_path / "decals_dr5_ortho_test_catalog.parquet")
    monkeypatch.chdir(tmp_path)
    names = {"table": table}
    exec(compile(block_of_card("ortho_test"), "README.md", "exec"), names)
    assert names["test"][:]["object_id"].tolist() == wanted


def test_card_names_the_labels_of_another_package(volunteers):
    """Its `decals_dr5_ortho_pairs` (galaxy_datasets/shared/label_metadata.py)."""
    pairs = {
        "smooth-or-featured": ["smooth", "featured-or-disk", "artifact"],
        "disk-edge-on": ["yes", "no"],
        "has-spiral-arms": ["yes", "no"],
        "bar": ["strong", "weak", "no"],
        "bulge-size": ["dominant", "large", "moderate", "small", "none"],
        "how-rounded": ["round", "in-between", "cigar-shaped"],
        "edge-on-bulge": ["boxy", "none", "rounded"],
        "spiral-winding": ["tight", "medium", "loose"],
        "spiral-arm-count": ["1", "2", "3", "4", "more-than-4", "cant-tell"],
        "merging": ["none", "minor-disturbance", "major-disturbance", "merger"],
    }
    names = {"table": (table := skyshards.open(volunteers))}
    exec(compile(block_of_card("-dr5_"), "README.md", "exec"), names)
    assert list(names["labels"]) == [f"{question}-dr5_{answer}" for question in pairs for answer in pairs[question]]
    assert names["labels"]["bar-dr5_strong"].to_pylist() == table.catalog["bar_strong"].to_pylist()


class TestDemoVolunteers(Contract):
    @pytest.fixture
    def folder(self, volunteers):
        return volunteers

    @pytest.fixture
    def recipe(self, published, tmp_path):
        return recipe_for(published, tmp_path)

    @pytest.fixture
    def published(self, demo, tmp_path):
        return download(demo, "gz_decals_volunteers_5.parquet", tmp_path)

    @pytest.fixture
    def expected(self, published):
        """The published table's own values, by their published names."""
        rows = {}
        files = (f"gz_decals_dr5_png_part{part}.zip" for part in range(1, 5))
        files = list(files)
        for entry in pq.read_table(published).to_pylist():
            name = entry["iauname"]
            values = {key: value for key, value in entry.items() if value is not None or not key.endswith("_debiased")}
            for key, value in values.items():
                if key.endswith(("_fraction", "_debiased")):
                    values[key] = np.float64(np.nan if value is None else value)
            for file in files:
                rows[name, f"{file}/{name[:4]}/{name}.png"] = values
        return rows

    def test_table_holds_what_was_read(self, table, expected):
        assert len(table) == len(expected) / 4
        for row in table:
            for name, value in expected[str(row["object_id"]), str(row["source"])].items():
                np.testing.assert_array_equal(row[name], value, err_msg=name)

    def test_nothing_downloaded_is_left(self, folder):
        assert not (folder / "downloads").exists()

    def test_sources_lead_to_members_of_archives(self, folder):
        for record in sources.read(folder):
            assert record.url.endswith(".png") and "/gz_decals_dr5_png_part" in record.url
            assert len(record.sha256) == 64 and record.nbytes > 10_000


def download(demo, name, folder):
    files = {file["key"]: file["links"]["self"] for file in requests.get(demo.decals_url, timeout=60).json()["files"]}
    path = folder / name
    path.write_bytes(requests.get(files[name], timeout=60).content)
    return path


@pytest.mark.slow
def test_tiny_demo(tmp_path):
    outcome = CliRunner().invoke(main, ["--tiny", "--demo", "-o", str(tmp_path / "tiny")])
    assert outcome.exit_code == 0, outcome.output
    assert len(skyshards.open(tmp_path / "tiny")) == 5
    assert "simulated" in outcome.output


@pytest.mark.slow
def test_advanced_cut_counts_what_it_leaves_out(demo, tmp_path):
    path = download(demo, "example_ring_catalog_advanced.parquet", tmp_path)
    arguments = ["--catalog", "advanced", "--archive_url", demo.decals_url]
    outcome = CliRunner().invoke(main, [*arguments, "-o", str(tmp_path / "cut")])
    assert outcome.exit_code == 0, outcome.output
    whole = pq.read_table(path).to_pandas()
    inside = (whole["smooth-or-featured_smooth_fraction"] < 0.75) & (whole["disk-edge-on_yes_fraction"] < 0.25)
    assert 0 < inside.sum() < len(whole)
    assert f"{(~inside).sum()} galaxies of example_ring_catalog_advanced.parquet are outside the cut" in outcome.output
    assert set(skyshards.open(tmp_path / "cut").catalog["iauname"].to_pylist()) == set(whole["iauname"][inside])
    loose = [*arguments, "--max_smooth", "1.1", "--max-edge-on", "1.1", "-o", str(tmp_path / "all")]
    assert CliRunner().invoke(main, loose).exit_code == 0
    assert len(skyshards.open(tmp_path / "all")) == len(whole)


def test_representations_of_the_release_are_added(demo, tmp_path):
    """`skyshards add` takes the file as it is, and so do all readers; rows without a representation have NaN."""
    path, folder = download(demo, "cnn_features_decals.parquet", tmp_path), tmp_path / "built"
    pq.write_table(pq.read_table(path)[1:], path)  # that of one galaxy less
    outcome = CliRunner().invoke(main, ["--archive_url", demo.decals_url, "--size", "16", "-o", str(folder)])
    assert outcome.exit_code == 0, outcome.output
    outcome = CliRunner().invoke(skyshards_command, ["add", str(folder), str(path)])
    assert outcome.exit_code == 0, outcome.output
    assert "added cnn_features_decals: 1 column (representation)" in outcome.output
    assert list(verify.problems(folder)) == []
    published = pq.read_table(path).to_pandas().set_index("iauname")
    table = skyshards.open(folder)
    loaded = load_dataset("gz_decals", "cnn_features_decals", data_dir=str(folder), split="train", streaming=True)
    without = 0
    for row, same in zip(table, loaded.with_format("numpy"), strict=True):
        name, vector = str(row["iauname"]), row["representation"]
        assert vector.dtype == np.float32 and vector.shape == (1280,)
        np.testing.assert_array_equal(vector, same["representation"])
        if name in published.index:
            np.testing.assert_array_equal(vector, published.loc[name].to_numpy(np.float32))
        else:
            assert np.isnan(vector).all()
            without += 1
    assert without == len(table) - len(published) == 1


@dataclass(frozen=True)
class Earlier(GZDecalsRecipe):
    """The recipe of an earlier version, given `--representations`."""

    folder = Path(gz_decals.__file__).parent

    @property
    def schema(self):
        vector = Column(Sequence(Value("float32"), length=70), "image embedding", deflate=False, missing=np.nan)
        own = super().schema
        configs = own.configs | {"representations": ("object_id", "ra", "dec", "healpix", "representation")}
        return Schema(own.columns | {"representation": vector}, configs)

    def options(self):
        return super().options() | {"representations": "cnn_features.parquet", "representations_sha256": "0" * 64}

    def read(self, source, fetched):
        for row in super().read(source, fetched):
            yield row | {"representation": np.full(70, row["ra"], np.float32)}


def test_a_folder_that_an_earlier_version_joined_representations_to(shared_data, tmp_path):
    """It is read as ever; builds and additions say what is there, and what to do."""
    zoobot, folder = shared_data / "zoobot", tmp_path / "built"
    given = {"catalog_file": zoobot / "example_ring_catalog_basic.csv", "local_data_path": zoobot / "decals_png"}
    recipe = Earlier(given["catalog_file"], folder, local_data_path=given["local_data_path"])
    build(recipe, folder, limit=3, workers=1)
    table = skyshards.open(folder)[:]
    np.testing.assert_array_equal(table["representation"], np.float32(table["ra"])[:, None].repeat(70, axis=1))
    loaded = load_dataset("gz_decals", "representations", data_dir=str(folder), split="train", streaming=True)
    np.testing.assert_array_equal([row["representation"] for row in loaded], table["representation"])
    arguments = [word for name, path in given.items() for word in (f"--{name}", str(path))]
    outcome = CliRunner().invoke(main, [*arguments, "-o", str(folder)])
    assert outcome.exit_code == 2
    assert outcome.output == (
        f"Error: {folder}: was built with `representations` cnn_features.parquet by an earlier version; read it as it"
        " is, or build again elsewhere with -o, then: skyshards add FOLDER TABLE\n"
    )
    outcome = CliRunner().invoke(main, [*arguments, "--representations", "cnn_features.parquet"])
    assert outcome.exit_code == 2
    assert outcome.output.startswith("Error: No such option") and "Build without it, then: skyshards add" in (
        outcome.output
    )
    names = {"iauname": table["object_id"].tolist()}
    columns = {f"feat_{number}": np.zeros(3, np.float32) for number in range(70)}
    pq.write_table(pa.table(names | columns), tmp_path / "cnn_features.parquet")
    with pytest.raises(UsageError, match="'representation' .* is the name of a column of the dataset"):
        skyshards.add(folder, tmp_path / "cnn_features.parquet")


def test_resampled_images_say_their_scale(shared_data, tmp_path):
    """The catalogue's scale, times the ratio of the sizes; the pixels as Pillow resamples them."""
    images = shared_data / "zoobot" / "decals_png"
    names = sorted(path.stem for path in images.glob("*.png"))[:2]
    path = tmp_path / "table.parquet"
    pq.write_table(pa.table({"iauname": names, "pixel_scale": [0.5, None]}), path)
    folder = tmp_path / "built"
    recipe = recipe_for(path, folder, local_data_path=images, size=106)
    assert build(recipe, folder, workers=1).failed == 0
    rows = {str(row["iauname"]): row for row in skyshards.open(folder)}
    assert rows[names[0]]["scale"] == 2 / 3600 and np.isnan(rows[names[1]]["scale"])
    with Image.open(images / f"{names[0]}.png") as picture:
        small = picture.resize((106, 106), Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(rows[names[0]]["image"], np.asarray(small))


def test_another_size_in_the_same_folder_is_refused(real, shared_data):
    recipe, folder = real
    outcome = CliRunner().invoke(
        main,
        ["--catalog_file", str(recipe.layout.path), "--local_data_path", str(recipe.local_data_path), "--size", "64",
         "-o", str(folder)],
    )  # fmt: skip
    assert outcome.exit_code == 2 and "was built without --size, now with 64" in outcome.output


@pytest.mark.slow
def test_a_position_that_the_name_denies_fails_alone(shared_data, tmp_path):
    images = shared_data / "zoobot" / "decals_png"
    names = sorted(path.stem for path in images.glob("*.png"))[:2]
    path = tmp_path / "table.csv"
    path.write_text(f"iauname,ra,dec\n{names[0]},1.04663,2.1567\n{names[1]},100.0,0.0\n")
    folder = tmp_path / "built"
    assert build(recipe_for(path, folder, local_data_path=images), folder, workers=1).failed == 1
    assert skyshards.open(folder).catalog["ra"].to_pylist() == [1.04663]
    assert "arcsec from where the name says" in (folder / "failures.csv").read_text()


@pytest.mark.slow
def test_counts_are_said(shared_data, tmp_path):
    zoobot = shared_data / "zoobot"
    arguments = ["--catalog_file", str(zoobot / "example_ring_catalog_basic.csv")]
    outcome = CliRunner().invoke(
        main, [*arguments, "--local_data_path", str(zoobot / "decals_png"), "-o", str(tmp_path / "built")]
    )
    assert outcome.exit_code == 0, outcome.output
    assert "446 galaxies have no image here" in outcome.output


def test_a_config_that_is_not_there_is_named(volunteers):
    with pytest.raises(ValueError, match="no config 'representations'; available: default, images, catalog"):
        load_dataset("gz_decals", "representations", data_dir=str(volunteers), split="train", streaming=True)


def test_two_sources_are_refused(shared_data, tmp_path):
    outcome = CliRunner().invoke(main, ["--demo", "--local_data_path", str(shared_data), "-o", str(tmp_path / "x")])
    assert outcome.exit_code == 2 and "--demo cannot be combined with --local_data_path" in outcome.output


def test_the_card_names_the_catalogue(real):
    _, manifest = catalog.open_folder(real[1])
    assert manifest.options["catalog"] == "example_ring_catalog_basic.csv"
    assert json.dumps(manifest.options)


def test_another_catalogue_of_the_same_name_and_another_archive_are_refused(real, shared_data, tmp_path):
    recipe, folder = real
    other = tmp_path / recipe.layout.path.name
    other.write_text("\n".join(recipe.layout.path.read_text().splitlines()[:-1]))
    with pytest.raises(UsageError, match="catalog_sha256"):
        build(replace(recipe, catalog=other), folder, workers=1)
    with pytest.raises(UsageError, match="without `archive_url`, now with http://127.0.0.1:9/record"):
        build(replace(recipe, local_data_path=None, archive_url="http://127.0.0.1:9/record"), folder, workers=1)


def test_a_refused_build_touches_nothing(demo, tmp_path):
    """Another build holds the folder: nothing is fetched, and none of its files is deleted."""
    folder, asked = tmp_path / "built", len(demo.requests)
    with hold(folder, GZDecalsRecipe.downloads):
        path = folder / GZDecalsRecipe.downloads / "example_ring_catalog_basic.csv"
        path.parent.mkdir()
        path.write_text("of the other build")
        outcome = CliRunner().invoke(main, ["--archive_url", demo.decals_url, "-o", str(folder)])
        assert outcome.exit_code == 1 and "another build is running in this folder" in outcome.output
        assert path.read_text() == "of the other build" and len(demo.requests) == asked


def test_a_build_with_other_options_fetches_nothing(demo, tmp_path):
    """Not even the catalogue, whose contents are compared too."""
    begin = ["--archive_url", demo.decals_url, "-o", str(tmp_path / "built")]
    assert CliRunner().invoke(main, [*begin, "--tiny"]).exit_code == 0
    for changed in (["--size", "64"], ["--catalog", "volunteers"], ["--max_smooth", "0.5"], ["--nside", "32"]):
        asked = len(demo.requests)
        outcome = CliRunner().invoke(main, [*begin, *changed])
        assert outcome.exit_code == 2 and "built: was built with" in outcome.output
        assert len(demo.requests) == asked


def test_a_catalogue_that_a_user_put_there_stays(demo, tmp_path):
    folder = tmp_path / "built"
    assert CliRunner().invoke(main, ["--archive_url", demo.decals_url, "-o", str(folder), "--tiny"]).exit_code == 0
    assert not (folder / GZDecalsRecipe.downloads).exists()
    name = "example_ring_catalog_basic.csv"
    fetch_catalog("basic", demo.decals_url, Fetcher(), tmp_path / "elsewhere")
    (folder / GZDecalsRecipe.downloads).mkdir()
    (folder / GZDecalsRecipe.downloads / name).write_bytes((tmp_path / "elsewhere" / name).read_bytes())
    assert CliRunner().invoke(main, ["--archive_url", demo.decals_url, "-o", str(folder), "--tiny"]).exit_code == 0
    assert [path.name for path in (folder / GZDecalsRecipe.downloads).iterdir()] == [name]
