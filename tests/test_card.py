"""The data card: what stock `datasets` learns from it, and what people do."""

import datasets
import numpy as np
import pytest
from datasets.utils.metadata import MetadataConfigs
from huggingface_hub import DatasetCard

import skyshards
from skyshards.format import card, catalog
from skyshards.format.card import columns_table, stock_features, with_columns
from skyshards.format.columns import flatten
from skyshards.pipeline.build import build
from tests.data_sets import DATA_SETS
from tests.toy import SCHEMA, Toy
from tests.versions import stock_reads_hdf5


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("card") / "toy"
    build(Toy(6), folder, workers=1)
    return folder


@pytest.fixture(params=["toy", "gz3d"])
def folder(request):
    return request.getfixturevalue({"toy": "toy", "gz3d": "built_gz3d"}[request.param])


@pytest.fixture
def data(folder):
    return DatasetCard.load(folder / "README.md").data


def schema_of(folder):
    from gz3d import SCHEMA as GZ3D_SCHEMA

    return GZ3D_SCHEMA if "gz3d" in folder.name else SCHEMA


@stock_reads_hdf5
def test_datasets_understands_every_config(folder, data):
    schema = schema_of(folder)
    configs = MetadataConfigs.from_dataset_card_data(data)
    infos = datasets.info.DatasetInfosDict.from_dataset_card_data(data)
    assert list(configs) == list(infos) == list(schema.config_names)
    for name, info in infos.items():
        assert info.features == stock_features(schema, name)
        assert info.splits["train"].num_examples == len(skyshards.open(folder))


def test_data_files_are_the_shards(folder, data):
    _, manifest = catalog.open_folder(folder)
    for config in data["configs"]:
        (files,) = config["data_files"]
        found = sorted(path.relative_to(folder).as_posix() for path in folder.glob(files["path"]))
        assert files["split"] == "train"
        assert found == [shard.path for shard in manifest.shards]


def test_a_slab_is_about_16_megabytes(folder, data):
    table = skyshards.open(folder)
    for config in data["configs"]:
        names = schema_of(folder).config_columns(config["config_name"])
        row_bytes = table.columns(names).row_nbytes  # without the text, which has no fixed size
        slab = config["batch_size"] * row_bytes
        assert slab <= 17 << 20
        assert slab + row_bytes + config["batch_size"] * 1000 >= 16 << 20 or config["batch_size"] == 10_000


def test_a_gz3d_slab_has_eight_rows(built_gz3d):
    """1.93 MB of image and masks a row."""
    data = DatasetCard.load(built_gz3d / "README.md").data
    sizes = {config["config_name"]: config["batch_size"] for config in data["configs"]}
    assert sizes["default"] == (16 << 20) // 1_929_711 == 8
    assert sizes["images"] == 20
    assert sizes["catalog"] >= 1000


def test_the_data_sets_own_words_stay(built_gz3d):
    data = DatasetCard.load(built_gz3d / "README.md").data
    assert data["pretty_name"] == "Galaxy Zoo 3D" and data["license"] and "astronomy" in data["tags"]
    from gz3d.build_parent_sample import GZ3DRecipe

    assert (built_gz3d / "CITATION.bib").read_bytes() == (GZ3DRecipe().folder / "CITATION.bib").read_bytes()


def test_simulated_data_say_so_and_real_ones_do_not(tmp_path, toy):
    build(Toy(2), tmp_path / "toy", workers=1, simulated=True)
    simulated = (tmp_path / "toy/README.md").read_text()
    title, note = simulated.index("\n# "), simulated.index("> **Simulated data.**")
    assert 0 < title < note < title + 200, "at the head, below the title"
    assert "imulated" not in (toy / "README.md").read_text()
    assert "simulated" in repr(skyshards.open(tmp_path / "toy")) and "simulated" not in repr(skyshards.open(toy))


def test_this_copy_is_described(toy):
    text = (toy / "README.md").read_text()
    assert "6 rows (train)" in text and "nside 16, NESTED" in text


class TwoSplits(Toy):
    splits = ("train", "validation", "test")

    def sources(self, fetcher):
        for source in super().sources(fetcher):
            yield type(source)(source.key, info=source.info, split="test" if source.info % 3 == 0 else "train")


@stock_reads_hdf5
def test_splits_without_rows_are_left_out(tmp_path):
    folder = tmp_path / "toy"
    build(TwoSplits(6), folder, workers=1)
    data = DatasetCard.load(folder / "README.md").data
    files = {file["split"]: file["path"] for file in data["configs"][0]["data_files"]}
    assert files == {"train": "train/healpix=*/*.hdf5", "test": "test/healpix=*/*.hdf5"}
    counts = {split["name"]: split["num_examples"] for split in data["dataset_info"][0]["splits"]}
    assert counts == {"train": 4, "test": 2}
    loaded = datasets.load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))
    assert {name: len(rows) for name, rows in loaded.items()} == counts
    assert sorted(loaded["test"]["source"]) == ["s00000", "s00003"]


def test_a_built_folder_of_no_rows_has_a_card_too(tmp_path):
    build(Toy(2, broken=(0, 1)), tmp_path / "toy", workers=1)
    assert "0 rows (train)" in (tmp_path / "toy/README.md").read_text()


@pytest.mark.parametrize("text", ["", "no marks", card.COLUMNS_START, f"{card.COLUMNS_END}{card.COLUMNS_START}"])
def test_a_card_without_marks_is_refused(text):
    with pytest.raises(ValueError, match="<!-- columns -->"):
        with_columns(text, SCHEMA)


def test_the_table_of_columns_is_put_between_the_marks():
    text = f"before\n{card.COLUMNS_START}\nwhat was there\n{card.COLUMNS_END}\nafter"
    filled = with_columns(text, SCHEMA)
    assert filled.startswith("before\n") and filled.endswith("\nafter") and "what was there" not in filled
    assert columns_table(SCHEMA.specs.values()) in filled
    assert with_columns(filled, SCHEMA) == filled


def test_the_table_of_columns_has_a_line_for_each():
    lines = columns_table(SCHEMA.specs.values()).splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert [cell[0] for cell in cells] == [f"`{name}`" for name in SCHEMA.specs]
    kinds = {cell[0].strip("`"): cell[1] for cell in cells}
    assert (kinds["votes.mask"], kinds["ra"], kinds["picture"], kinds["votes.names"]) == (
        "uint8 [16, 18]", "float64", "image", "string [2]",
    )  # fmt: skip
    assert next(cell for cell in cells if cell[0] == "`ra`")[2:] == ["deg", "right ascension (ICRS)"]


def test_the_cards_in_the_repository_are_in_step():
    """`skyshards.format.card.with_columns` fills in the table; this fails where a column was changed since."""
    from gz3d.build_parent_sample import GZ3DRecipe

    text = (GZ3DRecipe().folder / "README.md").read_text(encoding="utf-8")
    assert with_columns(text, GZ3DRecipe().schema) == text
    assert "gz3d" in DATA_SETS


@stock_reads_hdf5
def test_image_files_are_lists_of_bytes_to_stock_datasets(toy):
    row = next(iter(datasets.load_dataset(str(toy), split="train", streaming=True)))
    table = skyshards.open(toy, decode=False)
    assert bytes(np.asarray(row["picture"], np.uint8)) == table[0]["picture"]


def test_formats_are_described_for_the_columns_there_are(folder):
    """What the card says of `with_format`, against what it does; the lines are run in `Contract`."""
    pytest.importorskip("torch", reason="the extra `torch` is not installed")
    text = (folder / "README.md").read_text()
    rows = datasets.load_dataset(str(folder), split="train", streaming=True)
    for form, changed in (("numpy", "int64"), ("torch", "torch.int64")):
        values = flatten(next(iter(rows.with_format(form))))
        for path, spec in schema_of(folder).specs.items():
            several = bool(spec.shape) or spec.kind == "ragged"
            if spec.kind in ("number", "ragged") and several and np.dtype(spec.dtype).kind in "iu":
                assert f"arrays of integers (`{path}`" in text or f", `{path}`" in text
                assert str(values[path].dtype) == changed
            if spec.dtype == "float64":
                vectors = {"numpy": "float32", "torch": "torch.float32"}
                wanted = (vectors if several else vectors | {"numpy": "float64"})[form]
                assert str(values[path].dtype) == wanted
                assert not several or path in text.partition("does the same to vectors and lists only (")[2]
