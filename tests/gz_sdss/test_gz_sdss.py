"""Galaxy Zoo on SDSS against the contract, and what only this dataset promises."""

import contextlib
import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from astropy.coordinates import SkyCoord
from click.testing import CliRunner
from datasets import ClassLabel, Image, load_dataset
from huggingface_hub import DatasetCard

import skyshards
from demo_archive import DemoArchive
from demo_archive.holdings.sdss_tables import PHOTOOBJ, photoobj_row, zoospec_row
from demo_archive.serve.faults import Fault
from gz_sdss import image_checks as images
from gz_sdss.build_parent_sample import FEW_ROWS, FILTERED, GZSDSSRecipe, main
from gz_sdss.cuts import Cuts
from gz_sdss.gz_sdss import LABELS
from gz_sdss.hips2fits import field_of_view
from gz_sdss.image_tars import DONE, ImageArchive
from gz_sdss.sia import Service
from gz_sdss.tables import KEPT, read_table
from gz_sdss.tap_catalog import CATALOG, QUERY, REQUEST, CatalogRequest
from skyshards.errors import UsageError
from skyshards.fetch.client import Fetcher
from skyshards.pipeline.build import build
from skyshards.pipeline.encode import encode
from tests.contract import Contract
from tests.gz_sdss.conftest import picture
from tests.versions import stock_reads_hdf5

REPOSITORY = Path(__file__).parents[2]


FURTHER = ("nvote", "p_mg", "rastring", "p.petroMag_r", "modelMagErr_u")
"""Further columns: of each of the two tables, of every type, and one that is also used for cuts."""


def recipe_for(archive, folder, **options):
    urls = {"tap_url": archive.tap_url, "hips2fits_urls": (archive.hips2fits_url,)}
    return GZSDSSRecipe(folder, rate=0.0, **urls | options)


def build_with(recipe, **options):
    with contextlib.closing(recipe):
        return build(recipe, recipe.output_dir, workers=1, **options)


@pytest.fixture(scope="module")
def archive():
    with DemoArchive(galaxies=40) as archive:
        yield archive
        assert archive.errors == []


@pytest.fixture(scope="module")
def built(archive, tmp_path_factory):
    recipe = recipe_for(archive, tmp_path_factory.mktemp("built") / "gz_sdss")
    assert build_with(recipe).failed == 0
    return recipe


@pytest.fixture(scope="module")
def built_fits(archive, tmp_path_factory):
    folder = tmp_path_factory.mktemp("built") / "gz_sdss"
    request = CatalogRequest(columns=FURTHER)
    sia = Service("demo", archive.sia2_url, 2)
    recipe = recipe_for(archive, folder, sia=sia, format="fits", request=request, size=48, margin=0.5)
    assert build_with(recipe, limit=6).failed == 0
    return recipe


def further(galaxy, names):
    """What the archive's tables have in further columns."""
    values = photoobj_row(galaxy) | zoospec_row(galaxy)
    single = {column.name for column in PHOTOOBJ if column.datatype == "float"}
    return {name: np.float32(values[name]) if name in single else values[name] for name in names}


def expected_rows(archive, recipe, image):
    """What the archive's own galaxies say, for all whose images are there."""
    rows = {}
    for galaxy in archive.galaxies:
        content = recipe.images.archive.get(galaxy.objid)
        if content is not None:
            key = f"{galaxy.objid}.{recipe.format}"
            rows[str(galaxy.dr7objid), key] = {
                "objid": np.int64(galaxy.objid),
                "specobjid": np.int64(galaxy.specobjid),
                "ra": np.float64(galaxy.ra),
                "dec": np.float64(galaxy.dec),
                "label": np.int64(LABELS.index("spiral" if galaxy.spiral else "elliptical")),
                "petroR90_r": np.float32(galaxy.petroR90_r),
                "p_cs_debiased": np.float64(galaxy.p_cs_debiased),
                "scale": np.float64(field_of_view(float(np.float32(galaxy.petroR90_r)), recipe.margin) / recipe.size),
                "image": image(content),
                **further(galaxy, [column.name for column in recipe.further]),
            }
    return rows


class TestPictures(Contract):
    @pytest.fixture
    def folder(self, built):
        return built.output_dir

    @pytest.fixture
    def recipe(self, built):
        return built

    @pytest.fixture
    def expected(self, archive, built):
        return expected_rows(archive, built, images.open_jpeg)

    def test_table_holds_what_was_read(self, table, expected):
        """As in the contract, but pictures may differ by the decoder's rounding."""
        assert len(table) == len(expected) > 10
        for row in table:
            wanted = expected[str(row["object_id"]), str(row["source"])]
            assert row["image"].shape == (64, 64, 3) and row["image"].dtype == np.uint8
            assert np.abs(row["image"].astype(int) - wanted.pop("image")).max() <= 2
            assert {name: row[name] for name in wanted} == wanted

    def test_the_jpeg_s_own_bytes_are_in_the_shard(self, folder, built):
        for row in skyshards.open(folder, decode=False):
            assert row["image"] == built.images.archive.get(int(row["objid"]))

    @stock_reads_hdf5
    @pytest.mark.parametrize("streaming", [True, False])
    def test_card_s_line_makes_pictures_of_the_bytes(self, folder, streaming, tmp_path):
        text = DatasetCard.load(folder / "README.md").text
        of_a_stream, of_the_whole = (block.removeprefix("python") for block in text.split("```") if "ds.map" in block)
        scope = {"ds": load_dataset(str(folder), split="train", streaming=streaming, cache_dir=str(tmp_path))}
        exec(of_a_stream if streaming else of_the_whole, scope)
        for row, wanted in zip(scope["ds"], skyshards.open(folder), strict=True):
            assert row["image"].size == (64, 64) and row["image"].mode == "RGB"
            assert np.abs(np.asarray(row["image"]).astype(int) - wanted["image"]).max() <= 2

    def test_bytes_on_request(self, folder):
        ds = load_dataset("gz_sdss", data_dir=str(folder), split="train", streaming=True, decode=False)
        assert next(iter(ds))["image"]["bytes"][:2] == b"\xff\xd8"

    def test_features(self, recipe):
        features = recipe.schema.features
        assert isinstance(features["image"], Image)
        assert isinstance(features["label"], ClassLabel) and features["label"].names == ["elliptical", "spiral"]
        assert features["objid"].dtype == features["specobjid"].dtype == "int64"

    def test_columns_have_the_types_of_the_source(self, recipe, shared_data):
        """As SDSS's own tables have them: fractions of votes in double precision, magnitudes and radii in single."""
        types = {"double": "float64", "float": "float32", "int": "int32"}
        for table, prefixes in {
            "BestDR9.zooSpec": "p_ spiral elliptical",
            "BestDR7.PhotoObj": "petro modelMag_ ext",
        }.items():
            columns = json.loads((shared_data / f"schema/{table}.json").read_text())
            declared = {column["name"]: types.get(column["datatype"]) for column in columns}
            names = [name for name in recipe.schema.specs if name.startswith(tuple(prefixes.split()))]
            assert names
            assert {name: recipe.schema.specs[name].dtype for name in names} == {name: declared[name] for name in names}

    def test_webdataset_loads_the_archives(self, folder, table):
        rows = load_dataset("webdataset", data_files=f"{folder}/Images/TAR-*.tar", split="train", streaming=True)
        found = {f"{row['__key__']}.jpg": row["cls"] for row in rows}
        assert found == dict(zip(*(table.catalog[name].to_pylist() for name in ("source", "label")), strict=True))


class TestFits(Contract):
    @pytest.fixture
    def folder(self, built_fits):
        return built_fits.output_dir

    @pytest.fixture
    def recipe(self, built_fits):
        with contextlib.closing(built_fits.prepare(Fetcher(), built_fits.output_dir)) as recipe:
            yield recipe

    @pytest.fixture
    def expected(self, archive, recipe):
        return expected_rows(archive, recipe, lambda content: images.open_fits(content)[0])

    def test_further_columns_have_the_words_of_the_service(self, table):
        found = {name: table.schema[name.removeprefix("p.")] for name in FURTHER}
        assert [column.dtype for column in found.values()] == ["int32", "float64", "str", "float32", "float32"]
        assert found["p.petroMag_r"].unit == "mag"
        assert found["p.petroMag_r"].description == "Petrosian magnitude (UCD phot.mag;em.opt.R)"
        assert found["nvote"].description == "Votes in all"


def test_representations_are_added_by_objid(built, tmp_path):
    """`skyshards add` takes a file like the published one, whose column id_str has DR7 objIDs, as it is."""
    kept = pd.read_csv(built.output_dir / FILTERED)["dr7objid"]
    known = kept.iloc[: len(kept) // 2]
    vectors = np.random.default_rng(0).standard_normal((len(known), 7)).astype(np.float32)
    file = pd.DataFrame(vectors, columns=[f"feat_{number}" for number in range(7)])
    file.insert(0, "id_str", known.astype(str).to_numpy())
    file.to_parquet(tmp_path / "cnn_features_gz2.parquet")
    shutil.copytree(built.output_dir, tmp_path / "out")
    assert skyshards.add(tmp_path / "out", tmp_path / "cnn_features_gz2.parquet").columns == ("representation",)
    wanted = dict(zip(known.astype(str), vectors, strict=True))
    data_set = load_dataset("gz_sdss", data_dir=str(tmp_path / "out"), split="train", streaming=True)
    assert data_set.features["representation"].length == 7
    found = 0
    for row in skyshards.open(tmp_path / "out"):
        if str(row["object_id"]) in wanted:
            assert (row["representation"] == wanted[str(row["object_id"])]).all()
            found += 1
        else:
            assert np.isnan(row["representation"]).all()
    assert 0 < found < len(kept)


def test_files_beside_the_shards(built, archive):
    folder = built.output_dir
    whole, kept = pd.read_csv(folder / CATALOG), pd.read_csv(folder / FILTERED)
    assert len(whole) == len(archive.galaxies)
    assert list(kept) == list(KEPT)
    assert kept["dr7objid"].tolist() == sorted(whole.loc[Cuts().mask(whole), "dr7objid"])
    done = pd.read_csv(folder / "Images" / DONE, dtype={"objid": str})
    assert sorted(done["objid"].astype("int64")) == sorted(kept["objid"])
    sources = {source["key"]: source for source in pq.read_table(folder / "sources.parquet").to_pylist()}
    for objid, sha256 in zip(done["objid"], done["sha256"], strict=True):
        assert sources[f"{objid}.jpg"]["sha256"] == sha256
        assert "hips2fits" in sources[f"{objid}.jpg"]["url"]


def test_limit_draws_the_sample_of_pandas(built, archive, tmp_path):
    kept = pd.read_csv(built.output_dir / FILTERED)
    shutil.copytree(built.output_dir / "Images", tmp_path / "Images")
    build_with(recipe_for(archive, tmp_path), limit=4)
    ids = skyshards.open(tmp_path).catalog["object_id"].to_pylist()
    assert sorted(map(int, ids)) == sorted(kept.sample(4, random_state=42)["dr7objid"])


def test_images_on_disk_are_not_fetched_again(built, archive, tmp_path):
    shutil.copytree(built.output_dir / "Images", tmp_path / "Images")
    with DemoArchive(galaxies=40) as other:
        recipe = recipe_for(other, tmp_path)
        build_with(recipe)
        assert not [request for request in other.requests if "hips2fits" in request.path]
    for path in [*built.output_dir.glob("healpix=*/*.hdf5"), built.output_dir / "sources.parquet"]:
        assert path.read_bytes() == (tmp_path / path.relative_to(built.output_dir)).read_bytes()


@pytest.mark.slow
def test_images_of_another_build_are_used_for_other_cuts_and_columns(built, archive, tmp_path):
    asked = len(archive.requests)
    request = CatalogRequest(columns=("nvote",))
    recipe = recipe_for(archive, tmp_path, cuts=Cuts(min_vote=0.5), request=request, images_from=built.output_dir)
    assert build_with(recipe).failed == 0
    table, before = skyshards.open(tmp_path), skyshards.open(built.output_dir)
    urls = {row["source"]: before.source(number).url for number, row in enumerate(before.select_columns(["source"]))}
    fetched = sum("hips2fits" in request.path for request in archive.requests[asked:])
    assert fetched == len(table) - len(before) > 0
    assert len(ImageArchive(tmp_path / "Images")) == len(table)
    for number, row in enumerate(table.select_columns(["source", "nvote"])):
        assert table.source(number).url == urls.get(row["source"], table.source(number).url)


@pytest.mark.parametrize("where", ["there", "elsewhere"])
def test_an_image_of_another_place_is_not_used_again(built, archive, tmp_path, where):
    table = pd.read_csv(built.output_dir / CATALOG, dtype={"specobjid": "Int64"})
    table = table[Cuts().mask(table)].head(3).copy()
    moved = table.index[0]
    table.loc[moved, "ra"] += 1e-4
    table.to_csv(tmp_path / "own.csv", index=False)
    folder = tmp_path / "out"
    if where == "there":
        shutil.copytree(built.output_dir / "Images", folder / "Images")
    asked = len(archive.requests)
    images_from = None if where == "there" else built.output_dir / "Images"
    build_with(recipe_for(archive, folder, catalog=tmp_path / "own.csv", images_from=images_from))
    (request,) = [request for request in archive.requests[asked:] if "hips2fits" in request.path]
    assert float(request.get("RA")) == table.loc[moved, "ra"]
    with ImageArchive(folder / "Images") as images:
        assert images.cutout(int(table.loc[moved, "objid"])).ra == table.loc[moved, "ra"]


def test_images_of_another_survey_are_refused(built, archive, tmp_path):
    recipe = recipe_for(archive, tmp_path, hips="unWISE", surveys_url=archive.surveys_url)
    with pytest.raises(UsageError, match="holds jpg cutouts of CDS/P/SDSS9/color by hips2fits, .* leave out `images`"):
        build_with(replace(recipe, images_from=built.output_dir), limit=1)


def test_a_source_names_the_mirror_that_served_it(archive, tmp_path):
    mirrors = ("http://127.0.0.1:9/hips2fits", archive.hips2fits_url)
    build_with(recipe_for(archive, tmp_path, hips2fits_urls=mirrors), limit=2)
    table = skyshards.open(tmp_path)
    for number, row in enumerate(table):
        source = table.source(number)
        assert source.url.startswith(f"{archive.hips2fits_url}?hips=CDS/P/SDSS9/color&")
        assert f"&ra={row['ra']}&" in source.url and source.release == "SDSS DR9 (CDS/P/SDSS9/color)"


def test_a_source_names_the_image_of_the_sia_record(built_fits):
    table = skyshards.open(built_fits.output_dir)
    for number in range(len(table)):
        source = table.source(number)
        assert re.search(r"/sia/cutout/[^?]*\.fits$", source.url)
        assert source.release.startswith("demo: "), "with what the service calls the image"


@pytest.mark.parametrize("faults", [[Fault("hips2fits", "503", 3), Fault("hips2fits", "truncate", 2)]])
def test_faults_leave_no_trace(built, tmp_path, faults, monkeypatch):
    monkeypatch.setattr("skyshards.fetch.client.pause", lambda seconds: None)
    with DemoArchive(galaxies=40, faults=faults) as archive:
        assert build_with(recipe_for(archive, tmp_path)).failed == 0
    for path in built.output_dir.glob("healpix=*/*.hdf5"):
        assert path.read_bytes() == (tmp_path / path.relative_to(built.output_dir)).read_bytes()


@pytest.mark.slow
def test_a_cutout_that_cannot_be_had_is_a_recorded_failure(tmp_path):
    with DemoArchive(galaxies=40, faults=[Fault("hips2fits", "404", 2)]) as archive:
        summary = build_with(recipe_for(archive, tmp_path))
        assert summary.failed == 2 and summary.rows > 10
        errors = pd.read_csv(tmp_path / "failures.csv")["error"]
        assert errors.str.contains("HTTP status 404").all()
        again = build_with(recipe_for(archive, tmp_path))
        assert again.failed == 0 and again.rows == summary.rows + 2


def test_a_place_outside_the_survey_is_a_recorded_failure(built, archive, tmp_path):
    table = pd.read_csv(built.output_dir / CATALOG, dtype={"specobjid": "Int64"})
    table = table[Cuts().mask(table)].head(3).copy()
    table.loc[table.index[0], ["ra", "dec"]] = 10.0, -89.0
    table.to_csv(tmp_path / "own.csv", index=False)
    summary = build_with(recipe_for(archive, tmp_path / "out", catalog=tmp_path / "own.csv"))
    assert (summary.rows, summary.failed) == (2, 1)
    assert pd.read_csv(tmp_path / "out" / "failures.csv")["error"].str.contains("outside the survey").all()


def test_own_table_with_sexagesimal_positions(built, archive, tmp_path):
    table = pd.read_csv(built.output_dir / CATALOG, dtype={"specobjid": "Int64"})
    table = table[Cuts().mask(table)].head(3)
    places = SkyCoord(table["ra"], table["dec"], unit="deg")
    text = table.assign(
        ra=places.ra.to_string("hour", sep=":", precision=2), dec=places.dec.to_string("deg", sep=":", precision=1)
    )
    text.to_csv(tmp_path / "own.csv", index=False)
    build_with(recipe_for(archive, tmp_path / "out", catalog=tmp_path / "own.csv"))
    found = skyshards.open(tmp_path / "out").catalog.to_pandas().set_index("object_id")
    for _, galaxy in table.iterrows():
        row = found.loc[str(int(galaxy["dr7objid"]))]
        assert abs(row["ra"] - galaxy["ra"]) < 0.2 / 3600 and abs(row["dec"] - galaxy["dec"]) < 0.2 / 3600


@pytest.mark.slow
def test_a_killed_build_loses_nothing_that_arrived(tmp_path, built):
    """Each image is asked for once, and those in flight when the build was killed, once more."""
    with DemoArchive(galaxies=40, faults=[Fault("hips2fits", "slow", None, delay=0.1)]) as archive:
        program = f"""
import contextlib, pathlib, sys
from gz_sdss.build_parent_sample import GZSDSSRecipe
from skyshards.pipeline.build import build
recipe = GZSDSSRecipe(pathlib.Path(sys.argv[1]), tap_url={archive.tap_url!r}, rate=0.0,
                      hips2fits_urls=({archive.hips2fits_url!r},))
with contextlib.closing(recipe):
    build(recipe, recipe.output_dir, workers=1, connections=2)
"""
        command = [sys.executable, "-c", program, str(tmp_path)]

        def arrived():
            return sum("hips2fits" in request.path for request in archive.requests)

        process = subprocess.Popen(command, cwd=REPOSITORY)
        while arrived() < 9:
            assert process.poll() is None
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert subprocess.run(command, cwd=REPOSITORY, timeout=300).returncode == 0
        rows = len(skyshards.open(tmp_path))
        assert arrived() <= rows + 2
    assert rows == len(skyshards.open(built.output_dir))
    for path in built.output_dir.glob("healpix=*/*.hdf5"):
        assert path.read_bytes() == (tmp_path / path.relative_to(built.output_dir)).read_bytes()


def test_other_cuts_are_refused_in_the_same_folder(built, archive):
    with pytest.raises(UsageError, match="with `min_vote` 0.9, now 0.8; .*, where `images` with this folder uses"):
        build_with(recipe_for(archive, built.output_dir, cuts=Cuts(min_vote=0.8)))


@pytest.mark.parametrize(
    ("option", "value"),
    [("tap_url", "http://127.0.0.1:9/tap"), ("hips2fits_urls", ("http://127.0.0.1:9/hips2fits",))],
)
def test_another_archive_is_refused(built, archive, option, value):
    with pytest.raises(UsageError, match="127.0.0.1:9"):
        build_with(recipe_for(archive, built.output_dir, **{option: value}))


def test_another_table_of_the_same_name_is_refused(built, archive, tmp_path):
    for name, rows in (("first", 30), ("second", 20)):
        (tmp_path / name).mkdir()
        pd.read_csv(built.output_dir / CATALOG).head(rows).to_csv(tmp_path / name / "table.csv", index=False)
    recipe = recipe_for(archive, tmp_path / "built", catalog=tmp_path / "first/table.csv")
    build_with(recipe, limit=2)
    with pytest.raises(UsageError, match="catalog_sha256"):
        build_with(replace(recipe, catalog=tmp_path / "second/table.csv"))


def test_the_larger_vote_names_the_label(archive, tmp_path):
    recipe = recipe_for(archive, tmp_path, cuts=Cuts(min_vote=0.4))
    build_with(recipe)
    found = skyshards.open(tmp_path).catalog.to_pandas()
    assert ((found["label"] == 1) == (found["p_cs_debiased"] >= found["p_el_debiased"])).all()
    assert found["label"].nunique() == 2


def test_sources_take_little_memory(built):
    """70,000 of them are listed at once."""
    with contextlib.closing(built.prepare(Fetcher(), built.output_dir)) as recipe:
        sources = list(recipe.sources(Fetcher()))
    assert len(pickle.dumps(sources)) < 2000 * len(sources)


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [(), ("--image_source", "sia"), ("--image-source", "sia", "--sia_version", 2, "--format", "fits")]
)
def test_tiny_demo_builds_five(tmp_path, options):
    outcome = run("--tiny", "--demo", "-o", tmp_path, *options)
    assert outcome.exit_code == 0, outcome.output
    assert len(skyshards.open(tmp_path)) == 5
    assert len(ImageArchive(tmp_path / "Images", ".fits" if "fits" in options else ".jpg")) == 5
    assert list((tmp_path / "Images").glob("*.part")) == []


@pytest.mark.slow
def test_tiny_asks_for_little_and_the_whole_follows_in_the_same_folder(built, tmp_path):
    assert run("--tiny", "--demo", "-o", tmp_path).exit_code == 0
    assert json.loads((tmp_path / REQUEST).read_text())["top"] == FEW_ROWS
    outcome = run("--demo", "-o", tmp_path)
    assert outcome.exit_code == 0, outcome.output
    assert len(skyshards.open(tmp_path)) == len(skyshards.open(built.output_dir))
    assert json.loads((tmp_path / REQUEST).read_text())["top"] is None


@pytest.mark.slow
def test_demo_with_a_service_from_the_registry(tmp_path):
    registry = ("--image_source", "sia", "--sia_keywords", "SDSS", "--sia_waveband", "optical")
    outcome = run("--tiny", "--demo", "-o", tmp_path, *registry)
    assert outcome.exit_code == 0, outcome.output
    used, *others = outcome.stderr.splitlines()
    assert used.startswith("Images from: Simulated SDSS images")
    assert any(" --sia_version 2: " in other for other in others)


@pytest.mark.slow
def test_simulated_data_do_not_get_into_a_real_data_set(tmp_path):
    """A build that ends before there is a row leaves its table and images, and nothing else to tell them by."""
    outcome = run("--demo", "--min_vote", 1.5, "-o", tmp_path)
    assert outcome.exit_code == 1 and "none of" in outcome.output and (tmp_path / CATALOG).exists()
    outcome = run("--tap_url", "http://127.0.0.1:9/", "-o", tmp_path)
    assert outcome.exit_code == 1 and "http://127.0.0.1:9" in outcome.output
    with ImageArchive(tmp_path / "Images", origin="jpg cutouts of a simulated sky") as images:
        images.add(1, picture())
    own = tmp_path / "own.parquet"
    read_table(tmp_path / CATALOG).to_parquet(own)
    outcome = run("--catalog", own, "-o", tmp_path)
    assert outcome.exit_code == 2 and "holds jpg cutouts of a simulated sky, expected" in outcome.output


def test_what_is_left_out_of_a_catalogue_is_said(cases, tmp_path, capsys):
    text = (cases / "tables" / "skyserver.csv").read_text()
    (tmp_path / "own.csv").write_text(text + text.splitlines()[-1] + "\n")
    kept = GZSDSSRecipe(tmp_path, catalog=tmp_path / "own.csv").filtered()
    assert len(kept) == 3
    said = capsys.readouterr().err
    assert "outside the cuts" not in said
    assert "own.csv: columns left out, unless `keep_columns` names them: uncertain" in said
    assert "left out: 1 row without identifier or position, or a galaxy's second" in said
    GZSDSSRecipe(tmp_path, catalog=tmp_path / "own.csv", cuts=Cuts(min_vote=0.9000000000000001)).filtered()
    assert "outside the cuts: 1 of 4 galaxies" in capsys.readouterr().err


def test_adql_from_a_file(tmp_path):
    (tmp_path / "query.adql").write_text(QUERY + " WHERE p.dec > 20")
    outcome = run("--demo", "-o", tmp_path / "out", "--adql", tmp_path / "query.adql", "--limit", 3)
    assert outcome.exit_code == 0, outcome.output
    assert (np.asarray(skyshards.open(tmp_path / "out").catalog["dec"]) > 20).all()


@pytest.mark.slow
@pytest.mark.parametrize("broken", ["two bytes short", "a page", "another size"])
def test_a_broken_image_of_an_earlier_version_is_downloaded_again(built, archive, tmp_path, broken):
    folder = tmp_path / "out"
    recipe = recipe_for(archive, folder).prepare(Fetcher(), folder)
    objids = [int(source.info["objid"]) for source in recipe.sources(Fetcher())][:3]
    contents = {objid: built.images.archive.get(objid) for objid in objids}
    broken = {"two bytes short": contents[objids[1]][:-2], "a page": b"<html>", "another size": picture(32, 32)}[broken]
    for objid, content in (contents | {objids[1]: broken}).items():
        recipe.images.archive.add(objid, content)
    recipe.close()
    asked = len(archive.requests)
    assert build_with(recipe_for(archive, folder), limit=3).failed == 0
    assert sum("hips2fits" in request.path for request in archive.requests[asked:]) == 1
    assert {int(row["objid"]): row["image"] for row in skyshards.open(folder, decode=False)} == contents
    assert {objid: ImageArchive(folder / "Images").get(objid) for objid in objids} == contents


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--format", "fits"], "--format fits needs --image_source sia"),
        (["--image_source", "sia"], "needs --sia_url, or --sia_keywords"),
        (["--sia_version", 2, "--sia-keywords", "x"], "--sia_version and --sia-keywords: only with --image_source sia"),
        (["--image_source", "sia", "--hips2fits_url", "x"], "--hips2fits_url: only with --image_source hips2fits"),
        (["--catalog", __file__, "--top", 2], "--catalog cannot be combined with --top"),
        (["--demo", "--tap_url", "http://127.0.0.1:9/"], "--demo cannot be combined with --tap_url"),
    ],
)
def test_options_that_do_not_go_together(tmp_path, options, message):
    outcome = run("-o", tmp_path, *options)
    assert outcome.exit_code == 2
    assert message in re.sub(r"\s+", " ", outcome.output)


def test_every_cut_is_an_option():
    text = run("--help").output
    for name, default in vars(Cuts()).items():
        assert f"--{name}" in text and f"{default}" in text


def light_rows(catalog, folder):
    """The light values of the rows of a catalogue's file, as they would be stored."""
    with contextlib.closing(GZSDSSRecipe(folder, catalog=catalog, rate=0.0).prepare(Fetcher(), folder)) as recipe:
        sources = list(recipe.sources(Fetcher()))
        rows = [row for source in sources for row in recipe.read(source, picture())]
    return [encode(row, recipe.schema.specs, "").light() for row in rows]


def test_rows_pass_the_cut_that_kept_them(shared_data, tmp_path):
    """Votes of exactly 0.9, one bit above it, and radii one bit beyond the bounds: in rows they are what was cut on."""
    text = (shared_data.parent / "cases/tables/skyserver.csv").read_text()
    (tmp_path / "table.csv").write_text(text.partition("\n")[2])  # without the line above the header
    rows = light_rows(tmp_path / "table.csv", tmp_path / "out")
    assert [row["p_cs_debiased"] for row in rows].count(0.9) == 1
    assert len(rows) == 3 and all(row["p_cs_debiased"] >= 0.9 for row in rows)

    table = pd.read_csv(tmp_path / "table.csv")
    table["petroR90_r"] = [np.nextafter(4.0, 9), 4.0000005, 4.0]  # the first is 4 in single precision
    table.to_csv(tmp_path / "radii.csv", index=False)
    (row,) = light_rows(tmp_path / "radii.csv", tmp_path / "radii")
    assert 2 * row["petroR90_r"] / 0.4 > 20


def test_a_flag_that_is_missing_is_minus_one(shared_data, tmp_path):
    table = pd.read_csv(shared_data.parent / "cases/tables/skyserver.csv", skiprows=1)
    table["spiral"] = [1, None, None]
    table.to_csv(tmp_path / "table.csv", index=False)
    assert sorted(row["spiral"] for row in light_rows(tmp_path / "table.csv", tmp_path / "out")) == [-1, -1, 1]
