"""Files of spectra that are damaged, or something else: what is wrong with each is said."""

import io
import re

import numpy as np
import pytest
from astropy.io import fits

from demo_archive.holdings.sdss_spectra import file_path, spec_file
from demo_archive.simulation.galaxies import simulate
from sdss_spectra.build_parent_sample import SDSSSpectraRecipe
from sdss_spectra.spec_files import read_spec
from skyshards.errors import SourceError
from skyshards.pipeline.build import build

GALAXY = simulate(2, 0)[1]
NAME = file_path(GALAXY).rpartition("/")[2]


def hdus():
    return fits.open(io.BytesIO(spec_file(GALAXY)))


def written(hdus, **options):
    buffer = io.BytesIO()
    hdus.writeto(buffer, **options)
    return buffer.getvalue()


def with_value(column, value, row=5, hdu=1):
    found = hdus()
    found[hdu].data[column][row] = value
    return written(found)


def with_columns(change):
    found = hdus()
    found[1] = fits.BinTableHDU.from_columns(change(found[1].columns), name="COADD")
    return written(found)


def with_sums_of_something_else():
    content = bytearray(written(hdus(), checksum=True))
    with fits.open(io.BytesIO(content)) as found:
        content[found[1].fileinfo()["datLoc"] + 1000] ^= 1
    return bytes(content)


def of_hdus(*chosen):
    """A file of these HDUs."""
    found = [*hdus(), fits.ImageHDU(np.zeros((2, 2)))]
    return lambda: written(fits.HDUList([found[number] for number in chosen]))


def without_sky(columns):
    return [each for each in columns if each.name != "sky"]


DAMAGED = {
    "nothing": (lambda: b"", "not a FITS file"),
    "a web page": (lambda: b"<html>log in</html>", "not a FITS file: it begins with b'<html>"),
    "half of it": (lambda: spec_file(GALAXY)[:60_000], "HDU 1: cut short: expected .* bytes, found 60,000"),
    "only its headers": (lambda: spec_file(GALAXY)[:5760], "expected at least 3 HDUs, found 1|HDU 1: cut short"),
    "only the first table": (of_hdus(0, 1), "expected at least 3 HDUs, found 2"),
    "checksums of other bytes": (with_sums_of_something_else, "HDU 1: .*DATASUM.*download the file again"),
    "tables in another order": (of_hdus(0, 2, 1), "HDU 1: no column flux"),
    "an image": (of_hdus(0, 4, 2), "HDU 1: no column .*; found no table"),
    "no sky": (lambda: with_columns(without_sky), "HDU 1: no column sky"),
    "NaN": (lambda: with_value("flux", np.nan), "HDU 1: flux: expected finite numbers, found nan in row 6"),
    "endless noise": (lambda: with_value("ivar", np.inf), "ivar: expected numbers from 0, found inf in row 6"),
    "negative variance": (lambda: with_value("ivar", -1), "ivar: expected numbers from 0, found -1.0"),
    "steps back": (lambda: with_value("loglam", 3.0), "loglam: expected increasing numbers, found 3.0 in row 6"),
    "another fibre": (
        lambda: with_value("FIBERID", 7, 0, 2),
        "0080.fits, found spec-0266-51602-0007",
    ),
    "a strange reduction": (lambda: with_value("RUN2D", "new", 0, 2), "expected a number or v5_13_2, found 'new'"),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_what_is_wrong_with_a_file_is_said(kind, tmp_path):
    make, message = DAMAGED[kind]
    (tmp_path / NAME).write_bytes(make())
    with pytest.raises(SourceError, match=message):
        read_spec(tmp_path / NAME)


def as_one_row(columns):
    pixels = hdus()[1].data
    return [fits.Column(name, f"{len(pixels)}E", array=[pixels[name]]) for name in columns.names]


REFUSED_BY_THE_SCHEMA = {
    "all pixels in one row": (lambda: with_columns(as_one_row), r"spectrum.flux.*expected a list of float32"),
    "another class": (lambda: with_value("CLASS", "NEBULA", 0, 2), "class.*GALAXY.*found 'NEBULA'"),
}


@pytest.mark.parametrize("kind", REFUSED_BY_THE_SCHEMA)
def test_what_no_row_can_be_fails_its_source(kind, tmp_path):
    make, message = REFUSED_BY_THE_SCHEMA[kind]
    (tmp_path / NAME).write_bytes(make())
    assert build(SDSSSpectraRecipe(local_data_path=tmp_path), tmp_path / "out", workers=0).failed == 1
    assert re.search(message, (tmp_path / "out" / "failures.csv").read_text())


def test_a_file_with_right_checksums_is_read(tmp_path):
    (tmp_path / NAME).write_bytes(written(hdus(), checksum=True))
    assert read_spec(tmp_path / NAME)["z"] == pytest.approx(GALAXY.redshift, abs=2e-4)


def test_a_reduction_that_only_the_header_has_is_found_there(tmp_path):
    found = hdus()
    found[2].columns["RUN2D"].name = "ANOTHER"
    (tmp_path / NAME).write_bytes(written(found))
    assert read_spec(tmp_path / NAME)["run2d"] == "26"


def test_a_file_of_another_name_is_refused(tmp_path):
    (tmp_path / "galaxy.fits").write_bytes(spec_file(GALAXY))
    with pytest.raises(SourceError, match="expected the spectrum galaxy.fits, found spec-"):
        read_spec(tmp_path / "galaxy.fits")
