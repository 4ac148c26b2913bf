"""What a column may be: one table, which everybody asks."""

import ast
import json
from pathlib import Path

import datasets
import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

import skyshards
from skyshards.errors import FolderError, SourceError
from skyshards.format.columns import ColumnSpec
from skyshards.format.kinds import KINDS, declared, kind_of
from skyshards.format.schema import Column, Schema
from skyshards.pipeline.build import build
from skyshards.pipeline.encode import encode
from tests.test_tree import REPOSITORY
from tests.toy import Toy

NAMES = ["elliptical", "spiral"]


def spec(feature, **options):
    return Schema({"x": Column(feature, "a column", **options)}).specs["x"]


FEATURES = {
    "number": [datasets.Value("uint16"), datasets.ClassLabel(names=NAMES), datasets.Array3D((2, 2, 2), "bool")],
    "string": [datasets.Value("string"), datasets.Sequence(datasets.Value("string"), length=2)],
    "bytes": [datasets.Image(), datasets.Image(decode=False)],
    "ragged": [datasets.Sequence(datasets.Value("float32")), datasets.Sequence(datasets.ClassLabel(names=NAMES))],
}


def test_each_kind_claims_its_features():
    assert list(FEATURES) == list(KINDS)
    for name, features in FEATURES.items():
        for feature in features:
            assert kind_of(feature) is KINDS[name] and declared(feature).kind == spec(feature).kind == name
            assert [kind for kind in KINDS.values() if kind.declared(feature)] == [KINDS[name]]


LISTS = [datasets.Sequence(item, length=3) for item in (datasets.Value("float32"), datasets.ClassLabel(names=NAMES))]


@pytest.mark.parametrize("feature", [*sum(FEATURES.values(), []), *LISTS], ids=str)
def test_a_built_column_has_the_feature_that_it_was_declared_with(feature):
    declared_as = datasets.Image() if isinstance(feature, datasets.Image) else feature
    found = Schema.of_built([spec(feature, unit="deg")], {}).columns["x"]
    assert (found.feature, found.description, found.unit) == (declared_as, "a column", "deg")


def test_a_built_column_that_has_no_feature_is_named():
    column = ColumnSpec("votes.x", "number", "int8", (1,) * 6, "a column", "")
    with pytest.raises(FolderError, match=r"column 'votes.x': `datasets` has no feature for int8 \[1, 1, 1, 1, 1, 1\]"):
        Schema.of_built([column], {})


@pytest.mark.parametrize(
    ("feature", "instead"),
    [
        (datasets.Value("binary"), r"Image\(\) for the bytes of a PNG or JPEG file, or a list of uint8"),
        (datasets.Value("date32"), 'Value."string".*2001-01-31'),
        (datasets.Value("timestamp[s]"), "MJD"),
        (datasets.Value("large_string"), 'Value."string"'),
        (datasets.Array5D((1, 1, 1, 1, 1), "int8"), "at most four dimensions"),
        (datasets.Audio(), "one of these features"),
        (
            datasets.Sequence(datasets.Sequence(datasets.Value("int8"), length=3), length=2),
            r"Array2D\(\(2, 3\), dtype\)",
        ),
        (datasets.Sequence(datasets.Sequence(datasets.Value("int8"))), "a list of all values, and another of"),
        (datasets.Sequence(datasets.Array2D((2, 2), "int8")), "Array3D of a fixed number of them"),
        (datasets.Sequence(datasets.Value("string")), "a list of text with a length"),
        (datasets.Sequence(datasets.Value("date32")), "MJD"),
        (datasets.Array2D((None, 5), "float32"), "a fixed shape, or its rows as lists of any length"),
        ("float32", 'Value."float32"'),
        (datasets.Image, "an instance: Image"),
        (None, "one of these features"),
    ],
    ids=str,
)
def test_what_no_column_can_hold_is_refused_by_name(feature, instead):
    message = f"column 'x': expected one of these features: Value of a number.*; found .*; declare .*{instead}"
    with pytest.raises(TypeError, match=message):
        spec(feature)


def test_sequences_of_dicts_are_groups_of_lists():
    """As the Multimodal Universe declares them."""
    feature = datasets.Sequence({"flux": datasets.Value("float32"), "mask": datasets.Value("bool")})
    schema = Schema({"spectrum": Column(feature, "a spectrum", missing=[])})
    specs = {path: spec for path, spec in schema.specs.items() if path.startswith("spectrum")}
    assert [(spec.kind, spec.dtype, spec.aligned) for spec in specs.values()] == [
        ("ragged", "float32", True),
        ("ragged", "bool", True),
    ]
    assert specs["spectrum.flux"].description == "a spectrum: flux" and specs["spectrum.flux"].missing == ()
    row = {"object_id": "x", "ra": 1.0, "dec": 2.0, "spectrum": {"flux": [1.0, 2.0], "mask": [True, False]}}
    assert encode(row, schema.specs, "s").sizes == {"spectrum.flux": 8, "spectrum.mask": 2}
    assert encode(row | {"spectrum": None}, schema.specs, "s").sizes == {"spectrum.flux": 0, "spectrum.mask": 0}
    row["spectrum"]["mask"] = [True]
    with pytest.raises(SourceError, match="column 'spectrum': expected lists of equal length, found flux 2, mask 1"):
        encode(row, schema.specs, "s")
    with pytest.raises(
        SourceError, match="column 'spectrum': expected a dict of spectrum.flux, spectrum.mask, found li"
    ):
        encode(row | {"spectrum": [{"flux": 1.0, "mask": True}]}, schema.specs, "s")


@pytest.mark.parametrize(
    ("feature", "message"),
    [
        ({"flux": datasets.Value("float32")}, "expected lists of any length in a dict of features.*; declare a group"),
        (
            datasets.Sequence({"a": datasets.Sequence(datasets.Value("int8"))}),
            "column 'x.a': .*a list of all values, and another of|column 'x': .*declare a group of lists",
        ),
        (datasets.Sequence({"a": datasets.Value("string")}), "column 'x.a': .*a list of text with a length"),
    ],
    ids=str,
)
def test_dicts_of_other_features_are_refused_by_name(feature, message):
    with pytest.raises(TypeError, match=message):
        spec(feature)


def test_a_feature_without_a_column_is_refused_by_name():
    with pytest.raises(TypeError, match=r"column 'spectrum.flux': expected Column\(feature, description\)"):
        Schema({"spectrum": {"flux": datasets.Value("float32")}}).specs  # noqa: B018
    with pytest.raises(TypeError, match="column 'x': expected a unit for each list, found 'Jy'"):
        spec(datasets.Sequence({"flux": datasets.Value("float32")}), unit="Jy")


@pytest.mark.parametrize("name", KINDS)
def test_a_kind_has_an_answer_in_each_form(name):
    for feature in FEATURES[name]:
        column, kind = spec(feature), KINDS[name]
        assert all(holds for holds, *_ in kind.demands(column))
        assert kind.words(column) and kind.card_words(column) and kind.croissant_type(column).startswith("sc:")
        assert isinstance(kind.stock_feature(feature), (datasets.Value, type(feature), type(datasets.Sequence("int8"))))
        if not column.heavy:
            assert isinstance(kind.arrow_type(column), pa.DataType)


@pytest.mark.parametrize("name", ["number", "string"])
def test_small_values_are_the_same_by_way_of_each_form(name):
    values = {"number": [[1, 2], [3, 4]], "string": [["a", "é"], ["", "b" * 9]]}[name]
    item = datasets.Value("int16" if name == "number" else "string")
    feature = datasets.Sequence(item, length=2)
    column, kind = spec(feature), KINDS[name]
    kept = [kind.encode(value, column) for value in values]
    arrow = pa.chunked_array([pa.array(kept, kind.arrow_type(column))])
    by_arrow = (
        np.array(arrow.to_pylist(), column.dtype) if kind.shares_memory else kind.from_arrow(arrow, column, False)
    )
    with h5py.File("x", "w", driver="core", backing_store=False) as file:
        by_hdf5 = kind.from_hdf5(file.create_dataset("x", data=kind.to_hdf5(kept, column)))
        assert kind.expected_in_hdf5(file["x"].dtype, column) is None
        assert kind.expected_in_hdf5(np.dtype("complex64"), column) in ("int16", "text")
    for found in (by_arrow, by_hdf5):
        assert found.tolist() == kept == values
        assert kind.to_arrow(found, feature).to_pylist() == values


def test_names_of_labels_are_everywhere(tmp_path):
    build(Toy(3), tmp_path / "toy", workers=1)
    table = skyshards.open(tmp_path / "toy")
    assert "label: int64 (0 elliptical, 1 spiral)" in repr(table)
    with h5py.File(next((tmp_path / "toy").glob("**/*.hdf5"))) as file:
        assert file["label"].attrs["classes"].tolist() == NAMES
    field = pq.read_schema(tmp_path / "toy" / "catalog.parquet").field("label")
    assert json.loads(field.metadata[b"classes"]) == NAMES
    _, front, body = (tmp_path / "toy" / "README.md").read_text().split("---\n", 2)
    features = {one["name"]: one for one in yaml.safe_load(front)["dataset_info"][0]["features"]}
    assert features["label"]["dtype"] == {"class_label": {"names": {"0": "elliptical", "1": "spiral"}}}
    assert "(0 elliptical, 1 spiral)" in body


def test_labels_in_a_list_have_names_too():
    column = spec(datasets.Sequence(datasets.ClassLabel(names=NAMES), length=2))
    assert (column.classes, column.shape) == (tuple(NAMES), (2,))
    with pytest.raises(SourceError, match=r"expected a label from 0 to 1 \(-1: none\), found 2"):
        KINDS["number"].encode([0, 2], column)


def test_nobody_else_tells_kinds_apart():
    """A comparison with `spec.kind` elsewhere would have to know a further kind."""
    found = []
    for path in sorted((REPOSITORY / "skyshards").rglob("*.py")):
        if path.is_relative_to(REPOSITORY / "skyshards/format/kinds") or path.name == "manifest.py":
            continue
        if path.is_relative_to(REPOSITORY / "skyshards/testing"):  # tests say what they expect of each
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Compare) and isinstance(node.left, ast.Attribute) and node.left.attr == "kind":
                owner = ast.unparse(node.left.value)
                if not owner.endswith("dtype") and not owner.startswith("np."):
                    found.append(f"{path.relative_to(Path(REPOSITORY))}: {ast.unparse(node)}")
    assert found == []
