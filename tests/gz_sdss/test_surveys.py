"""Surveys of hips2fits by name, and cutouts of them in any size."""

import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from click.testing import CliRunner
from PIL import Image

import gz_sdss
import skyshards
from demo_archive import DemoArchive
from demo_archive.serve.server import Response
from gz_sdss import Hips2Fits_access
from gz_sdss.build_parent_sample import GZSDSSRecipe, main
from gz_sdss.hips2fits import HIPS, field_of_view
from gz_sdss.sia import Service
from gz_sdss.surveys import SURVEYS, find_survey, list_surveys
from skyshards.errors import BuildError, UsageError
from skyshards.fetch.client import Fetcher
from tests.gz_sdss.test_gz_sdss import build_with, recipe_for

FOLDER = Path(gz_sdss.__file__).parent
RECORDS = [
    {"ID": "CDS/P/SDSS9/color", "obs_title": "SDSS 9 color", "hips_tile_format": "jpeg"},
    {"ID": "CDS/P/SDSS9/g", "obs_title": "SDSS 9 g", "hips_tile_format": "fits jpeg", "dataproduct_subtype": "live"},
    {"ID": "CDS/P/Fits/color", "obs_title": "Cubes", "dataproduct_subtype": "color", "hips_tile_format": "fits"},
    {"ID": "X/P/deep/red", "obs_title": ["Deep field", "red"], "hips_tile_format": ["png", "webp"]}
    | {"dataproduct_subtype": ["color", "live"]},
    *({"ID": f"Y/P/wide/color{n}", "obs_title": "Wide field", "hips_tile_format": "jpeg"} for n in range(9)),
]


@pytest.fixture(scope="module")
def archive():
    with DemoArchive(galaxies=40) as archive:
        yield archive
        assert archive.errors == []


@pytest.fixture
def surveys(serve):
    body = json.dumps(RECORDS).encode()
    return list_surveys(Fetcher(), serve(lambda request: Response(body, "application/json")).url)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("SDSS", HIPS),
        ("cds/p/sdss9/COLOR", HIPS),
        ("ivo://CDS/P/SDSS9/color", HIPS),
        ("deep", "X/P/deep/red"),
        ("field deep", "X/P/deep/red"),
        ("Y/P/wide/color3", "Y/P/wide/color3"),
    ],
)
def test_a_survey_is_found_by_identifier_name_and_words(surveys, name, found):
    assert find_survey(name, surveys).id == found


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing", "none of the 13 surveys .* Known by name: SDSS, Legacy Survey"),
        ("unWISE", "none of the 13 surveys"),
        ("", "none of the 13 surveys"),
        ("wide field", r"fits 9 surveys; give the identifier of one: Y/P/wide/color0 \(Wide field\), .* and 1 more"),
        ("CDS/P/SDSS9/g", r"expected a colour survey, found 'SDSS 9 g': CDS/P/SDSS9/color \(SDSS 9 color\)"),
        ("CDS/P/Fits/color", "expected a colour survey, found 'Cubes'"),
        ("Cubes", "none of the 13 surveys"),
        ("Legacy Surey", "did you mean Legacy Survey"),
        ("panstars", "did you mean PanSTARRS"),
        ("unWIES", "did you mean unWISE"),
        ("CDS/P/SDSS9/colr", "did you mean CDS/P/SDSS9/color"),
        ("xyzzy", "none of the 13 surveys .* pictures; Known"),
        ("feild", r"did you mean (X/P/deep/red|Y/P/wide/color8)\?"),
    ],
)
def test_an_unknown_survey_is_refused_with_those_that_fit(surveys, name, message):
    with pytest.raises(UsageError, match=message):
        find_survey(name, surveys)


def test_the_card_and_the_help_tell_each_survey_by_name():
    card, words = (FOLDER / "README.md").read_text(), " ".join(CliRunner().invoke(main, ["--help"]).output.split())
    for name, survey in SURVEYS.items():
        quoted = f'"{name}"' if " " in name else name
        assert f"| {quoted} | {survey.title} | {survey.bands} | {survey.scale:g} |" in card
        assert f"{name} ({survey.bands.replace(', ', ' ')}; {survey.scale:g})" in words


@pytest.mark.parametrize(
    ("body", "message"),
    [(b"<html><title>Log in</title></html>", "Log in"), (b"[1]", "list of surveys"), (b'{"ID": 1}', "list of surveys")],
)
def test_another_answer_than_a_list_is_refused(serve, body, message):
    with pytest.raises(BuildError, match=message):
        list_surveys(Fetcher(), serve(lambda request: Response(body, "text/html")).url)


def test_a_list_that_cannot_be_had_says_how_to_do_without(serve):
    server = serve(lambda request: Response(b"", status=404))
    with pytest.raises(BuildError, match="404.*leave out `hips` for SDSS"):
        list_surveys(Fetcher(), server.url)


def test_the_demo_lists_the_surveys_that_it_shows(archive):
    surveys = list_surveys(Fetcher(), archive.surveys_url)
    for name in ("SDSS", "Legacy Survey", "legacy surveys", "PanSTARRS", "Pan-STARRS", "unWISE"):
        survey = find_survey(name, surveys)
        place = (archive.galaxies[0].ra, archive.galaxies[0].dec, 6.0)
        url = Hips2Fits_access(*place, 16, 16, survey.id, hips2fits_url=archive.hips2fits_url)
        assert Image.open(io.BytesIO(Fetcher().get(url).content)).size == (16, 16)
    assert {survey.id for survey in surveys if survey.is_colour} >= {known.id for known in list(SURVEYS.values())[:4]}


def test_images_of_another_survey_size_and_margin(archive, tmp_path):
    shown = {"hips": "unwise", "surveys_url": archive.surveys_url, "size": 128, "margin": 1.0}
    recipe = recipe_for(archive, tmp_path, **shown)
    assert build_with(recipe, limit=3).failed == 0
    table = skyshards.open(tmp_path)
    assert table[:]["image"].shape == (3, 128, 128, 3)
    for number, row in enumerate(table):
        extent = field_of_view(float(row["petroR90_r"]), 1.0)
        assert extent == pytest.approx(4 * row["petroR90_r"] / 3600) and row["scale"] == extent / 128
        assert "hips=CDS/P/unWISE/color-W2-W1W2-W1&width=128&height=128" in table.source(number).url
    words = table.schema["image"].description
    assert "128 x 128" in words and "CDS/P/unWISE" in words
    assert table.schema["scale"].description.endswith("4 petroR90_r / 128")
    with pytest.raises(UsageError, match="with `size` 128, now without it"):
        build_with(recipe_for(archive, tmp_path, **shown | {"size": 64}), limit=3)
    with pytest.raises(UsageError, match="with `hips` CDS/P/unWISE/color-W2-W1W2-W1, now CDS/P/SDSS9/color"):
        build_with(recipe_for(archive, tmp_path, **shown | {"hips": "SDSS"}), limit=3)


def test_images_of_another_size_are_not_taken_for_these(archive, tmp_path):
    build_with(recipe_for(archive, tmp_path, size=32), limit=1)
    images = recipe_for(archive, tmp_path / "other").images.archive
    assert re.search("jpg cutouts of CDS/P/SDSS9/color by hips2fits$", images._origin)
    for path in [*tmp_path.glob("*.*"), *tmp_path.glob("healpix=*/*")]:
        path.unlink()
    for path in tmp_path.glob("healpix=*"):
        path.rmdir()
    with pytest.raises(UsageError, match="32 pixels wide with a margin of 0.25, expected jpg cutouts"):
        build_with(recipe_for(archive, tmp_path), limit=1)


@pytest.mark.parametrize("version", [1, 2])
def test_sia_cuts_to_any_size(archive, tmp_path, version):
    url = archive.sia_url if version == 1 else archive.sia2_url
    sia = Service("demo", url, version)
    recipe = recipe_for(archive, tmp_path, sia=sia, size=96, margin=0.5, format="fits" if version == 2 else "jpg")
    assert build_with(recipe, limit=2).failed == 0
    for row in skyshards.open(tmp_path):
        assert row["image"].shape[:2] == (96, 96)
        assert row["scale"] == pytest.approx(3 * row["petroR90_r"] / 3600 / 96)
        if version == 2:
            header = fits.getheader(io.BytesIO(recipe.images.archive.get(int(row["objid"]))))
            assert header["CDELT2"] == pytest.approx(row["scale"]) and np.isfinite(row["image"]).all()


def test_the_default_asks_for_no_list(archive, tmp_path):
    recipe = GZSDSSRecipe(tmp_path, surveys_url="http://127.0.0.1:9/", tap_url=archive.tap_url)
    assert recipe.prepare(Fetcher(), tmp_path).hips == HIPS
