"""Spectra in exports, on pages and in pictures; identifiers of 64 bits in each."""

import numpy as np
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.table import Table

import skyshards
from demo_archive.holdings.sdss_spectra import file_path, spec_file
from demo_archive.simulation.galaxies import simulate
from sdss_spectra.build_parent_sample import SDSSSpectraRecipe
from skyshards.export.catalogue import write_catalogue
from skyshards.page.write import write_page
from skyshards.pictures.spectrum import draw_spectrum
from skyshards.pipeline.build import build


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Five spectra, the last from a plate whose specObjIDs exceed a signed integer."""
    files = tmp_path_factory.mktemp("files")
    for galaxy in simulate(4, 0):
        (files / file_path(galaxy).rpartition("/")[2]).write_bytes(spec_file(galaxy))
    with fits.open(files / "spec-3586-55181-0238.fits") as hdus:
        hdus[2].data["PLATE"] = 12547
        hdus.writeto(files / "spec-12547-55181-0238.fits")
    folder = tmp_path_factory.mktemp("built") / "sdss_spectra"
    assert build(SDSSSpectraRecipe(local_data_path=files), folder, workers=0, simulated=True).rows == 5
    return folder


@pytest.fixture
def table(folder):
    return skyshards.open(folder)


@pytest.mark.parametrize("form", ["fits", "votable", "csv", "parquet"])
def test_catalogues_keep_every_digit(form, table, folder, tmp_path):
    write_catalogue(folder, tmp_path / f"catalogue.{form}", form)
    formats = {"csv": "ascii.csv"}
    found = Table.read(tmp_path / f"catalogue.{form}", format=formats.get(form, form))
    assert [int(number) for number in found["specobjid"]] == [
        int(text) for text in table.catalog["object_id"].to_pylist()
    ]
    assert max(int(number) for number in found["specobjid"]) > 2**63


def test_a_row_is_found_by_its_number_in_any_form(table):
    (largest,) = table.where("plate == 12547")
    assert table.where(f"specobjid == {int(largest['specobjid'])}")[0]["object_id"] == largest["object_id"]
    assert table.find(largest["object_id"])[0]["plate"] == 12547


def test_hats_has_spectra_as_lists(folder, table, tmp_path):
    pytest.importorskip("hats", reason="the extra `hats` is not installed")
    from skyshards.export.run import export

    assert export(folder, tmp_path / "hats", workers=0).rows == 5
    tiles = [pq.read_table(path, partitioning=None) for path in (tmp_path / "hats").rglob("Npix=*.parquet")]
    rows = [row for tile in tiles if "spectrum" in tile.column_names for row in tile.to_pylist()]
    for row in rows:
        wanted = table.find(row["object_id"])[0]
        np.testing.assert_array_equal(np.array(row["spectrum"]["flux"], np.float32), wanted["spectrum"]["flux"])
        assert row["specobjid"] == int(row["object_id"])
    assert {row["object_id"] for row in rows} == set(table.catalog["object_id"].to_pylist())


def test_a_page_shows_the_spectra(folder, tmp_path):
    page = write_page(str(folder), tmp_path / "page")
    assert len(list((tmp_path / "page" / "pictures").iterdir())) == 4, "two spectra look the same"
    assert "STARFORMING" in page.index.read_text(encoding="utf-8")


def test_captions_tell_class_and_redshift(table):
    row = table.select_columns(table.drawing.columns)[0]
    assert table.drawing.caption(row).startswith("GALAXY") and f"z = {row['z']:.4f}" in table.drawing.caption(row)
    assert "spectrum.sky" not in table.drawing.columns


def test_lines_are_marked_where_the_redshift_puts_them(table):
    """H-alpha is marked from top to bottom."""
    row = next(row for row in table if row["subclass"] == "STARFORMING")
    picture = table.drawing.picture(row).astype(int)
    wavelength = 10 ** row["spectrum"]["loglam"][[0, -1]].astype(float)
    at = (6564.6 * (1 + float(row["z"])) - wavelength[0]) / np.ptp(wavelength)
    place = round(8 + at * (picture.shape[1] - 17))
    marked = (picture[40:220, place - 1 : place + 2, 2] > 60).any(axis=1)
    assert marked.mean() > 0.95


def test_pixels_without_ivar_are_not_drawn(table):
    row = {name: value for name, value in table[0].items()}
    spoiled = {name: values.copy() for name, values in row["spectrum"].items()}
    spoiled["flux"][100:140], spoiled["ivar"][100:140] = 1e6, 0
    good = row["spectrum"] | {"ivar": spoiled["ivar"]}
    pictures = [table.drawing.picture(row | {"spectrum": each}) for each in (spoiled, good)]
    np.testing.assert_array_equal(*pictures)


def test_marks_outside_the_spectrum_are_left_out():
    wavelength = np.linspace(4000, 9000, 3000)
    flux = np.sin(wavelength / 300)
    plain = draw_spectrum(flux, wavelength)
    np.testing.assert_array_equal(draw_spectrum(flux, wavelength, marks={"Lya": 1215.7}), plain)
    assert (draw_spectrum(flux, wavelength, marks={"Ha": 6564.6}) != plain).any()
    assert draw_spectrum(flux, wavelength, 100, marks={"Ha": 6564.6}).shape == (67, 100, 3)


def test_plots_show_flux_model_and_lines(table):
    pytest.importorskip("matplotlib", reason="the extra `notebooks` is not installed").use("Agg")
    from sdss_spectra.plot import plot_spectrum, smoothed

    row = next(row for row in table if row["subclass"] == "STARFORMING")
    axes = plot_spectrum(row)
    assert {"Ha", "Mg"} <= {text.get_text() for text in axes.texts} and f"z = {row['z']:.4f}" in axes.get_title()
    flux, *_ = (line.get_ydata() for line in axes.lines)
    assert np.nanmax(flux) < axes.get_ylim()[1] * 1.6
    ivar = np.array([1.0, 0.0, 4.0, 0.0, 0.0, 0.0])
    np.testing.assert_allclose(smoothed(np.array([2.0, 9.0, 7.0, 9, 9, 9]), ivar, 3), [2, 6, 7, 7, np.nan, np.nan])
    axes.figure.clear()
