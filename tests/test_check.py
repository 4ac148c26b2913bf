"""What would break only later is refused before anything is fetched, in one line."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from datasets import Array2D, Image, Sequence, Value
from hypothesis import given
from hypothesis import strategies as st

from skyshards import Column, Recipe, Schema, Source
from skyshards.errors import BuildError, UsageError
from skyshards.pipeline.build import build
from skyshards.pipeline.check import checked, is_key

NUMBER = Column(Value("float32"), "a number")


@dataclass(frozen=True)
class Given(Recipe):
    columns: dict = field(default_factory=lambda: {"x": NUMBER})
    listed: tuple = (Source("a"),)
    configs: dict = field(default_factory=dict)
    told_options: dict = field(default_factory=dict)
    prepares: bool = False

    name = "given"

    @property
    def schema(self):
        return Schema(self.columns, self.configs)

    @property
    def folder(self) -> Path:
        return Path(__file__).parent / "toy_card"

    def options(self):
        return self.told_options

    def sources(self, fetcher):
        yield from self.listed

    def fetch(self, source, fetcher, folder):
        raise AssertionError("nothing may be fetched")

    def read(self, source, fetched):
        yield {}


class Downloading(Given):
    fetch = Recipe.fetch


def refused(recipe, folder, kind, message, **options):
    with pytest.raises(kind, match=message) as caught:
        build(recipe, folder / "built", workers=0, **options)
    assert "\n" not in str(caught.value)
    left = [path for path in folder.rglob("*") if path.is_file() and path.name != "lock"]
    assert not left


COLUMNS = {
    "a/b": (NUMBER, "expected a column's name without / or a leading _, found 'a/b'"),
    "_row": (NUMBER, "found '_row'"),
    "_anything": (NUMBER, "found '_anything'"),
    "": (NUMBER, "expected a column's name"),
    "a.": (NUMBER, "expected a column's name"),
    "x": (Column(Value("float32"), "two\nlines"), "expected a printable column"),
    "ra": (
        Column(Value("float32"), "right ascension", "deg"),
        "column 'ra': expected float64, found float32; a float32 is",
    ),
    "dec": (Column(Value("int16"), "declination", "deg"), "column 'dec': expected float64, found int16"),
    "object_id": (Column(Value("int64"), "name"), r"a column 'object_id' \(string\)"),
    "healpix": (Column(Value("int32"), "pixel"), "column 'healpix': expected int64, found int32"),
    "fold": (Column(Value("int64"), "fold"), "column 'fold': expected the engine's own, int8"),
    "source": (Column(Value("string"), "key", missing=""), "expected a value of 'source' in every row"),
    "day": (Column(Value("date32"), "day"), "column 'day': expected one of these features.*declare Value"),
    "cube": (Column(Array2D((None, 5), "float32"), "cube"), "column 'cube': .*declare a fixed shape"),
    "huge": (Column(Array2D((1 << 20, 1 << 20), "float32"), "cube"), "at most 536870912 bytes a row of 'huge'"),
    "picture": (Column(Image(), "a picture", missing=b""), "column 'picture': missing=b'': .*leave such rows out"),
    "bare": (Value("float32"), r"column 'bare': expected Column\(feature, description\)"),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_columns(name, tmp_path):
    column, message = COLUMNS[name]
    refused(Given({name: column}), tmp_path, UsageError, message)


def test_a_column_that_is_a_group_too(tmp_path):
    refused(Given({"a.b": NUMBER, "a": NUMBER}), tmp_path, UsageError, "expected columns of different names")


@pytest.mark.parametrize(
    ("configs", "message"),
    [
        ({"few": ("y",)}, "expected existing columns in config 'few', found 'y'"),
        ({"few": "x"}, "config 'few': expected a tuple of columns, found the string 'x'"),
        ({"default": ("x",)}, "expected a config's name, found 'default'"),
        ({"no good": ("x",)}, "expected a config's name, found 'no good'"),
    ],
)
def test_configs(configs, message, tmp_path):
    refused(Given(configs=configs), tmp_path, UsageError, message)


@pytest.mark.parametrize(
    "value", [Path("x"), {1, 2}, (1, 2), float("nan"), object()], ids=lambda value: type(value).__name__
)
def test_options_that_do_not_come_back_as_they_were(value, tmp_path):
    message = r"Given: options\(\)\['cut'\]: expected text, a number, a bool, None, or lists and dicts of them, found "
    refused(Given(told_options={"cut": value}), tmp_path, UsageError, message)


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        ((), "the recipe lists no sources, expected at least one; check its options and the archive"),
        (("a.fits",), "source 1 of the recipe's listing: expected a Source, found 'a.fits'"),
        (
            (Source("a"), Source("b", split="tset")),
            r"source 2 .*b: expected a split of the recipe \(train\), found 'tset'",
        ),
        ((Source("a", path="a.fits"),), "a: expected a Path, found the path 'a.fits'"),
        ((Source("a", url="archive/a.fits"),), "a: expected a URL, such as https://…, found 'archive/a.fits'"),
        ((Source("a", url="https://x.org/a", checksum="abc"),), "a: expected a checksum sha1:"),
        ((Source("a"), Source("a")), "have the same key 'a'"),
        *[
            ((Source(key, url="https://x.org/a"),), "expected a key that can name a file")
            for key in ("../x", "/x", "a\0b", "a//b", ".", "a/")
        ],
        *[((Source(key),), f"expected a key, text that is not empty, found {key!r}") for key in ("", 7)],
    ],
    ids=str,
)
def test_sources(listed, message, tmp_path):
    refused(Downloading(listed=listed), tmp_path, BuildError, message)


def test_keys_name_files_only_where_the_build_downloads_them():
    """A hostile member of an archive costs its row, not the build."""

    hostile = Source("a.zip/../../b.png", url="https://x.org/a.zip")
    assert list(checked(Given(), [hostile])) == [hostile]
    with pytest.raises(BuildError, match="expected a key that can name a file"):
        list(checked(Downloading(), [hostile]))


@pytest.mark.parametrize("name", ["my survey", "a-b", "../x", "", "9lives", "_x", "é", None, 7])
def test_names_of_recipes(name, tmp_path):
    class Named(Given):
        pass

    Named.name = name
    message = "Named: name: expected a name of ASCII letters, digits and _, such as 'my_survey', found "
    refused(Named(), tmp_path, UsageError, message + re.escape(repr(name)))


@pytest.mark.parametrize("splits", ["train", (), ("a", "a"), ("a/b",)], ids=repr)
def test_splits(splits, tmp_path):
    class Split(Given):
        pass

    Split.splits = splits
    refused(Split(), tmp_path, UsageError, "Split: .*expected (a tuple of names|splits), found")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"limit": 0}, "limit: expected 1 or more, or None for all, found 0"),
        ({"max_rows_per_shard": 0}, "max_rows_per_shard: expected 1 or more"),
        ({"nside": 3}, "nside: expected a power of two"),
    ],
    ids=str,
)
def test_arguments(options, message, tmp_path):
    refused(Given(), tmp_path, UsageError, message, **options)


def test_a_class_is_no_recipe(tmp_path):
    refused(Given, tmp_path, UsageError, "expected an instance of a subclass of Recipe, found <class")


def test_a_schema_of_the_class_is_checked_before_anything_is_prepared(tmp_path):
    class Early(Given):
        schema = Schema({"_x": Column(Sequence(Value("int8")), "x")})

        def prepare(self, fetcher, folder):
            raise AssertionError("must not be called")

    refused(Early(), tmp_path, UsageError, "Early: .*found '_x'")


@given(st.text(max_size=20))
def test_a_key_stays_below_its_folder(key):
    if is_key(key):
        path = Path("/downloads", key)
        assert path.is_relative_to("/downloads") and path != Path("/downloads") and path.resolve() == path
