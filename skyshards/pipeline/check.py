"""Checks of what a recipe declares and lists, before anything is fetched: what would only break later is refused."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from skyshards.errors import BuildError, UsageError
from skyshards.format import card, healpix
from skyshards.format.layout import FOLD, HEALPIX, SOURCE
from skyshards.format.manifest import Manifest
from skyshards.format.schema import Schema
from skyshards.format.storage import STORES
from skyshards.pipeline.recipe import Recipe, Source

STANDARD = {
    "object_id": "str",
    "ra": "float64",
    "dec": "float64",
    HEALPIX: "int64",
    FOLD: "int8",
    SOURCE: "str",
}
"""The dtypes of the columns that every dataset has."""

_CHECKSUM = re.compile(r"(sha1:[0-9a-f]{40}|sha256:[0-9a-f]{64}|md5:[0-9a-f]{32})", re.IGNORECASE)


def check_request(
    recipe: Recipe, *, limit: int | None, workers: int | None, max_rows_per_shard: int | None, nside: int, store: str
) -> None:
    """Check the arguments of a build, and what is known of its recipe before `Recipe.prepare`, its card included.

    Raises
    ------
    UsageError, BuildError
        With what was expected and found, and where.
    """
    if not isinstance(recipe, Recipe):
        raise UsageError(f"recipe: expected an instance of a subclass of Recipe, found {recipe!r:.80}")
    if workers is not None and workers < 0:
        raise UsageError(f"workers: expected a number of processes, or 0 for none, found {workers}")
    for what, number in (("limit", limit), ("max_rows_per_shard", max_rows_per_shard)):
        if number is not None and number < 1:
            raise UsageError(f"{what}: expected 1 or more, or None for all, found {number}")
    if not healpix.is_nside(nside):
        raise UsageError(f"nside: expected a power of two up to 2**29, found {nside}")
    check_store(store)
    name: Any = getattr(recipe, "name", None)
    if not isinstance(name, str) or not name.isidentifier() or not name.isascii() or name.startswith("_"):
        raise _refused(recipe, "name", "a name of ASCII letters, digits and _, such as 'my_survey'", name)
    if isinstance(recipe.splits, str):
        raise _refused(recipe, "splits", "a tuple of names", recipe.splits)
    recipe.check_methods()
    if isinstance(inspect.getattr_static(type(recipe), "schema", None), Schema):  # does not depend on options
        check_schema(recipe, nside)
    card.check(recipe.folder)


def check_store(store: str) -> None:
    """Raise `UsageError` for a store that does not exist."""
    if store not in STORES:
        raise UsageError(f"store: expected {' or '.join(STORES)}, found {store!r:.40}")


def check_schema(recipe: Recipe, nside: int) -> None:
    """Check the columns, configs, splits and options of a recipe. Raises `UsageError`, naming the fault."""
    options = _options(recipe)
    schema = recipe.schema
    if not isinstance(schema, Schema):
        raise _refused(recipe, "schema", "a Schema", schema)
    try:
        specs = schema.specs
        columns, splits = tuple(specs.values()), tuple(recipe.splits)
        configs = {name: _listed(name, config) for name, config in schema.configs.items()}
        Manifest(recipe.name, nside, options, False, splits, columns, (), configs=configs).check()
    except (ValueError, TypeError) as error:
        raise UsageError(f"{type(recipe).__name__}: {str(error).removeprefix('its manifest: ')}") from error
    for path, dtype in STANDARD.items():
        if specs[path].dtype != dtype or specs[path].shape:
            found = f"{specs[path].dtype} {list(specs[path].shape) or ''}".strip()
            why = "; a float32 is off by up to 5 arcsec" if found == "float32" else ""
            raise UsageError(f"{type(recipe).__name__}: column {path!r}: expected {dtype}, found {found}{why}")


def _listed(name: str, config: Any) -> tuple[str, ...]:
    if isinstance(config, str):
        raise TypeError(f"config {name!r}: expected a tuple of columns, found the string {config!r}")
    return tuple(config)


def _options(recipe: Recipe) -> dict[str, Any]:
    """Return the options as they come back from the manifest. Raises `UsageError` unless they are the same."""
    options = recipe.options()
    for name, value in options.items():
        try:
            is_same = json.loads(json.dumps(value, allow_nan=False)) == value
        except (TypeError, ValueError):
            is_same = False
        if not is_same:
            raise _refused(
                recipe, f"options()[{name!r}]", "text, a number, a bool, None, or lists and dicts of them", value
            )
    return options


def _refused(recipe: Recipe, what: str, expected: str, found: Any) -> UsageError:
    return UsageError(f"{type(recipe).__name__}: {what}: expected {expected}, found {found!r:.80}")


def checked(recipe: Recipe, sources: Iterable[Source]) -> Iterator[Source]:
    """Yield the sources of a listing. Raises `BuildError` for one that could not be fetched or read, or if none is."""
    are_files = type(recipe).fetch is Recipe.fetch
    number = 0
    for number, source in enumerate(sources, 1):
        if words := _fault(source, recipe.splits, are_files):
            raise BuildError(f"source {number:,} of the recipe's listing: {words}")
        yield source
    if not number:
        raise BuildError("the recipe lists no sources, expected at least one; check its options and the archive")


def _fault(source: Any, splits: Sequence[str], are_files: bool) -> str | None:
    """Return what is wrong with a source: what was expected and found; None if nothing is.

    With `are_files`, sources with a URL are downloaded to files that their keys name.
    """
    if not isinstance(source, Source):
        return f"expected a Source, found {source!r:.80}"
    if not isinstance(source.key, str) or not source.key:
        return f"expected a key, text that is not empty, found {source.key!r:.80}"
    if are_files and source.url is not None and not is_key(source.key):
        return f"expected a key that can name a file (printable, no .. or leading /), found {source.key!r:.80}"
    if source.split not in splits:
        return f"{source.key}: expected a split of the recipe ({', '.join(splits)}), found {source.split!r:.80}"
    if source.path is not None and not isinstance(source.path, Path):
        return f"{source.key}: expected a Path, found the path {source.path!r:.80}"
    if source.url is not None and not re.match(r"\w+://\S", str(source.url)):
        return f"{source.key}: expected a URL, such as https://…, found {source.url!r:.80}"
    if source.checksum is not None and not _CHECKSUM.fullmatch(str(source.checksum)):
        return (
            f"{source.key}: expected a checksum sha1:…, sha256:… or md5:… in hexadecimal, found {source.checksum!r:.80}"
        )
    return None


def is_key(key: str) -> bool:
    """Whether a source's key can name a file: printable, and no way out of the folder of downloads."""
    path = PurePosixPath(key)
    inside = not path.is_absolute() and ".." not in path.parts and str(path) == key and key != "."
    return key.isprintable() and inside and all(len(part.encode()) <= 200 for part in path.parts)
