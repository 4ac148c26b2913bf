"""The demo archive's spectra: files as SDSS has them, and galaxies whose spectra fit their pictures."""

import io

import numpy as np
import pytest
import requests
from astropy.io import fits

from demo_archive.holdings.sdss_spectra import file_path, spec_file
from demo_archive.simulation.galaxies import simulate
from demo_archive.simulation.spectra import EMISSION

GALAXIES = simulate(16, 0)
COADD = ["flux", "loglam", "ivar", "and_mask", "or_mask", "wdisp", "sky", "model"]


def opened(galaxy):
    return fits.open(io.BytesIO(spec_file(galaxy)))


def pixels(galaxy):
    """Wavelength at rest, flux and noise of the usable pixels."""
    coadd = opened(galaxy)["COADD"].data
    good = coadd["ivar"] > 0
    return (
        10 ** coadd["loglam"][good].astype(float) / (1 + galaxy.redshift),
        coadd["flux"][good],
        coadd["ivar"][good] ** -0.5,
    )


def mean(galaxy, low, high):
    rest, flux, _ = pixels(galaxy)
    return flux[(rest > low) & (rest < high)].mean()


def test_files_are_where_the_archive_says(demo):
    for galaxy in demo.galaxies:
        answer = requests.get(f"{demo.dr17_url}/{file_path(galaxy)}", timeout=60)
        assert answer.status_code == 200 and answer.content == spec_file(galaxy)
    assert requests.get(f"{demo.dr17_url}/sdss/spectro/redux/26/spectra/lite/0267/", timeout=60).status_code == 404


def test_specobjids_are_made_of_plate_fibre_night_and_reduction():
    for galaxy in GALAXIES:
        run2d = 1302 if galaxy.boss else 26
        numbers = galaxy.plate << 50 | galaxy.fiberid << 38 | (galaxy.mjd - 50000) << 24 | run2d << 10
        assert galaxy.specobjid == numbers
    assert {galaxy.boss for galaxy in GALAXIES} == {True, False}


@pytest.mark.parametrize("galaxy", GALAXIES[:4], ids=str)
def test_hdus_are_those_of_the_data_model(galaxy):
    with opened(galaxy) as hdus:
        hdus.verify("exception")
        assert [hdu.name for hdu in hdus] == ["PRIMARY", "COADD", "SPALL" if galaxy.boss else "SPECOBJ", "SPZLINE"]
        assert hdus[1].columns.names == COADD
        assert "".join(hdus[1].columns.formats) == "EEEJJEEE"
        header, loglam, about = hdus[0].header, hdus[1].data["loglam"], hdus[2].data[0]
        assert np.allclose(loglam, header["COEFF0"] + header["COEFF1"] * np.arange(len(loglam)), atol=1e-6)
        assert 10 ** loglam[0] == pytest.approx(3600 if galaxy.boss else 3820, abs=40)
        assert header["PLUG_RA"] == about["PLUG_RA"] == pytest.approx(galaxy.ra, abs=1e-4)
        assert (about["CLASS"], int(about["SPECOBJID"])) == ("GALAXY", galaxy.specobjid)
        assert list(hdus[3].data["LINENAME"]) == list(EMISSION)


@pytest.mark.slow
def test_the_pipeline_s_redshifts_are_right_within_their_errors():
    rows = [(opened(galaxy)[2].data[0], galaxy.redshift) for galaxy in simulate(60, 1)]
    pulls = [(row["Z"] - true) / row["Z_ERR"] for row, true in rows]
    assert 0.7 < np.std(pulls) < 1.3 and abs(np.mean(pulls)) < 0.5


def test_noise_is_what_the_inverse_variance_says():
    for galaxy in GALAXIES:
        coadd = opened(galaxy)["COADD"].data
        good = coadd["ivar"] > 0
        pulls = (coadd["flux"] - coadd["model"])[good] * np.sqrt(coadd["ivar"][good])
        assert 0.95 < pulls.std() < 1.05 and abs(pulls.mean()) < 0.08
        assert (coadd["and_mask"][~good] != 0).all() and (
            (coadd["or_mask"] & coadd["and_mask"]) == coadd["and_mask"]
        ).all()


@pytest.mark.parametrize("galaxy", GALAXIES, ids=lambda galaxy: f"{galaxy.kind} {galaxy.index}")
def test_spectra_fit_the_pictures(galaxy):
    """Ellipticals are red and old, with absorption lines; spirals blue, with H-alpha."""
    h_alpha = mean(galaxy, 6558, 6571) / mean(galaxy, 6450, 6530)
    magnesium = mean(galaxy, 5165, 5190) / mean(galaxy, 5100, 5150)
    step = mean(galaxy, 4000, 4100) / mean(galaxy, 3850, 3950)
    colour = mean(galaxy, 6100, 6200) / mean(galaxy, 4400, 4500)
    if galaxy.spiral:
        assert h_alpha > 1.5 and step < 1.5 and colour < 1.3
    else:
        assert h_alpha < 1.1 and step > 1.5 and colour > 1.4 and magnesium < 0.95


def test_a_line_is_where_its_redshift_puts_it():
    for galaxy in (galaxy for galaxy in GALAXIES if galaxy.spiral):
        rest, flux, _ = pixels(galaxy)
        near = (rest > 6500) & (rest < 6575)
        assert rest[near][np.argmax(flux[near])] == pytest.approx(6564.61, abs=3)


def test_line_fluxes_are_those_of_the_table():
    galaxy = next(galaxy for galaxy in GALAXIES if galaxy.spiral)
    with opened(galaxy) as hdus:
        lines = {row["LINENAME"]: row for row in hdus[3].data}
        wavelength, model = 10 ** hdus[1].data["loglam"].astype(float), hdus[1].data["model"]
    at = lines["H_beta"]["LINEWAVE"] * (1 + galaxy.redshift)
    line, beside = np.abs(wavelength - at) < 12, (np.abs(wavelength - at) > 40) & (np.abs(wavelength - at) < 60)
    area = np.sum((model[line] - model[beside].mean()) * np.gradient(wavelength)[line])
    assert area == pytest.approx(lines["H_beta"]["LINEAREA"], rel=0.25), "over its absorption"
    assert lines["[O_III] 5007"]["LINEAREA"] / lines["[O_III] 4959"]["LINEAREA"] == pytest.approx(3, rel=0.02)


def test_specutils_reads_the_files(tmp_path):
    specutils = pytest.importorskip("specutils", reason="specutils is not installed")
    for galaxy in GALAXIES[:4]:
        path = tmp_path / file_path(galaxy).rpartition("/")[2]
        path.write_bytes(spec_file(galaxy))
        spectrum = getattr(specutils, "Spectrum", None) or specutils.Spectrum1D
        found = spectrum.read(path)
        np.testing.assert_array_equal(found.flux.value, opened(galaxy)[1].data["flux"])
        assert str(found.spectral_axis.unit) == "Angstrom"
