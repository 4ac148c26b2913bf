"""Identifiers of spectra: as SDSS packs them, and as catalogues have them, rightly or wrongly."""

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from astropy.table import Table
from hypothesis import given
from hypothesis import strategies as st

from sdss_spectra.spectrum_ids import BOSS, COLUMNS, SpectrumID, of_plate, of_specobjid
from skyshards.catalogue_rows import read_rows
from skyshards.errors import BuildError

PUBLISHED = {
    4565636362342690816: SpectrumID(4055, 55359, 408, "v5_7_0"),  # docstring of pydl's sdss_specobjid
    2634622337315530752: SpectrumID(2340, 53733, 60, "26"),  # docstring of astroquery's query_specobj
    2634744932862027776: SpectrumID(2340, 53733, 506, "26"),
    299489677444933632: SpectrumID(266, 51630, 1, "26"),  # SkyServer's first spectrum
}
FIRST = (299489677444933632, 2634622337315530752, 7841030947256686592)
SPECTRA = [
    SpectrumID(266, 51630, 1, "26"),
    SpectrumID(2340, 53733, 60, "26"),
    SpectrumID(6964, 56748, 960, "v5_13_2"),
]


@pytest.mark.parametrize("number", PUBLISHED)
def test_specobjids_are_packed_as_sdss_packs_them(number):
    spectrum = PUBLISHED[number]
    assert spectrum.specobjid == number
    assert of_specobjid(number)[:3] == spectrum[:3]


RUNS = ("26", "103", "104", BOSS)


@given(st.integers(266, 16383), st.integers(51000, 60000), st.integers(1, 1000), st.sampled_from(RUNS))
def test_a_specobjid_gives_back_what_it_was_made_of(plate, mjd, fiberid, run2d):
    spectrum = SpectrumID(plate, mjd, fiberid, run2d)
    assert of_specobjid(spectrum.specobjid) == spectrum
    assert spectrum.specobjid < 2**64
    if spectrum.specobjid >= 2**63:
        assert of_specobjid(spectrum.specobjid - 2**64) == spectrum, "as signed 64-bit integers have it"


@pytest.mark.parametrize(
    ("spectrum", "path"),
    [
        (SPECTRA[0], "sdss/spectro/redux/26/spectra/lite/0266/spec-0266-51630-0001.fits"),
        (SpectrumID(1960, 53289, 7, "103"), "sdss/spectro/redux/103/spectra/lite/1960/spec-1960-53289-0007.fits"),
        (SPECTRA[2], "eboss/spectro/redux/v5_13_2/spectra/lite/6964/spec-6964-56748-0960.fits"),
        (
            SpectrumID(10445, 58158, 427, BOSS),
            "eboss/spectro/redux/v5_13_2/spectra/lite/10445/spec-10445-58158-0427.fits",
        ),
    ],
)
def test_every_spectrum_has_its_place_in_the_archive(spectrum, path):
    assert spectrum.path == path


@pytest.mark.parametrize("run2d", ["v5_7_0", "v5_4_45", "v5_10_0", " v5_13_2 "])
def test_boss_has_one_reduction_in_dr17(run2d):
    assert of_plate(4055, 55359, 408, run2d).run2d == BOSS


def test_without_a_reduction_the_plate_tells_it():
    assert [of_plate(plate, 55000, 1, None).run2d for plate in (266, 3509, 3510, 12547)] == ["26", "26", BOSS, BOSS]


@pytest.mark.parametrize(
    "number",
    [75094092974915584, 75094093037830144, 3722360000000000000, 299489677444933633, 2**64 + 299489677444933632, 26],
)
def test_other_numbers_are_no_specobjids(number):
    """The first two are of DR7, the third was rounded by a CSV writer."""
    with pytest.raises(ValueError, match="no specObjID of DR8 or later"):
        of_specobjid(number)


NAMES = {"plate": [266, 2340, 6964], "MJD": [51630, 53733, 56748], "fiber_ID": [1, 60, 960]}
ROUNDED = {"spec_obj_ID": [3.0e17, 2.6e18, 7.8e18]}


def astropy(table, path):
    table.write(path)


def votable(table, path):
    table.write(path, format="votable")


TABLES = {
    "a.csv": (pa.csv.write_csv, pa.table({"specObjID": pa.array(FIRST, pa.uint64()), "ra": [1.0] * 3})),
    "a.parquet": (pq.write_table, pa.table({"SPECOBJID": pa.array(FIRST, pa.int64())})),
    "float.parquet": (pq.write_table, pa.table({"specobjid": np.array(FIRST, float)})),
    "text.fits": (astropy, Table({"SPECOBJID": [str(each).rjust(22) for each in FIRST]})),
    "a.vot": (votable, Table({"specobjid": np.array(FIRST)})),
    "kaggle.csv": (pa.csv.write_csv, pa.table(ROUNDED | NAMES)),
    "run2d.ecsv": (astropy, Table(NAMES | {"run2d": ["26", "26", "v5_7_0"]})),
    "float.fits": (astropy, Table({name: np.array(cells, float) for name, cells in NAMES.items()})),
}


@pytest.mark.parametrize("name", TABLES)
def test_catalogues_of_all_kinds_name_the_same_spectra(name, tmp_path, capsys):
    write, table = TABLES[name]
    write(table, tmp_path / name)
    assert read_rows(tmp_path / name, COLUMNS, simulated=False) == SPECTRA
    assert ("plate, MJD, fiber_ID are used instead" in capsys.readouterr().err) == (name == "kaggle.csv")


def test_gaps_and_repeated_spectra_are_left_out(tmp_path, capsys):
    numbers = pa.array([FIRST[0], None, 0, FIRST[1], FIRST[0]], pa.int64())
    pq.write_table(pa.table({"specobjid": numbers}), tmp_path / "a.parquet")
    assert read_rows(tmp_path / "a.parquet", COLUMNS, simulated=False) == SPECTRA[:2]
    assert "left out 2 of 5 rows, without specobjid" in capsys.readouterr().err


WRONG = {
    "columns of something else": (
        "ra,dec\n1,2\n",
        "expected columns specobjid or plate, mjd, fiberid; found ra, dec",
    ),
    "rounded digits": (
        "specobjid\n299489677444933632\n3.72236E+18\n",
        "row 2: 3722360000000000000 is no specObjID .*floats may round",
    ),
    "words": ("specobjid\n299489677444933632\nNGC 1\n", "row 2: expected a whole number, found 'NGC 1'"),
    "of DR7": ("specobjid\n75094092974915584\n", "row 1"),
    "no spectrum at all": ("specobjid\n0\n0\n", "expected galaxies, found none in 2 rows"),
    "SDSS-V": ("plate,mjd,fiberid,run2d\n15000,59232,1,v6_0_4\n", "run2d: expected 26, 103, 104 or v5_"),
    "nothing": ("specobjid\n", "expected galaxies, found none in 0 rows"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_catalogues_without_spectra_are_refused_with_the_row(kind, tmp_path):
    text, message = WRONG[kind]
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(BuildError, match=message):
        read_rows(tmp_path / "a.csv", COLUMNS, simulated=False)
