"""sdss_spectra against the contract, and its values against astropy's reading of the files."""

import numpy as np
import pytest
import requests
from astropy.io import fits

import skyshards
from sdss_spectra.build_parent_sample import SDSSSpectraRecipe
from skyshards.pipeline.build import build
from tests.contract import Contract

CLASSES = ["GALAXY", "QSO", "STAR"]


def astropy_row(path):
    """A row as astropy reads it from the file, by SDSS's data model and without a line of ours."""
    with fits.open(path) as hdus:
        coadd, about, run2d = hdus["COADD"].data, hdus[2].data[0], str(hdus[2].data["RUN2D"][0]).strip()
        return {
            "object_id": str(about["SPECOBJID"]).strip(),
            "ra": np.float64(about["PLUG_RA"]),
            "dec": np.float64(about["PLUG_DEC"]),
            "spectrum": {name.lower(): coadd[name].copy() for name in coadd.names},
            **{name.lower(): np.float32(about[name]) for name in ("Z", "Z_ERR", "VDISP", "VDISP_ERR", "SN_MEDIAN_ALL")},
            "zwarning": np.int32(about["ZWARNING"]),
            "class": np.int64(CLASSES.index(about["CLASS"].strip())),
            "subclass": about["SUBCLASS"].strip(),
            "specobjid": np.uint64(int(about["SPECOBJID"])),
            **{name.lower(): np.int32(about[name]) for name in ("PLATE", "MJD", "FIBERID")},
            "run2d": run2d,
            "source": path.name,
        }


@pytest.fixture(scope="module")
def files(demo, tmp_path_factory):
    """The files of all spectra, fetched from where SDSS's documentation says that they are."""
    folder = tmp_path_factory.mktemp("spectra")
    for line in demo.spectra.read_text().splitlines()[2:]:
        _, plate, mjd, fiber, run2d, *_ = line.split(",")
        survey = "eboss" if run2d.startswith("v5") else "sdss"
        name = f"spec-{int(plate):04d}-{mjd}-{int(fiber):04d}.fits"
        where = f"{demo.dr17_url}/{survey}/spectro/redux/{run2d}/spectra/lite/{int(plate):04d}/{name}"
        answer = requests.get(where, timeout=60)
        assert answer.status_code == 200, where
        (folder / name).write_bytes(answer.content)
    return folder


class TestDemoSpectra(Contract):
    @pytest.fixture
    def recipe(self, demo):
        return SDSSSpectraRecipe(demo.spectra, demo.dr17_url)

    @pytest.fixture
    def expected(self, files):
        rows = [astropy_row(path) for path in files.glob("*.fits")]
        assert {row["run2d"] for row in rows} == {"26", "v5_13_2"}, "both surveys"
        return {(row["object_id"], row["source"]): row for row in rows}

    def test_a_batch_is_padded(self, table):
        flux, mask = skyshards.pad(table[:]["spectrum"]["flux"])
        assert flux.shape == mask.shape == (10, max(len(row["spectrum"]["flux"]) for row in table))
        assert len(set(mask.sum(axis=1))) > 2

    def test_files_on_disk_give_the_same_rows(self, files, folder, tmp_path):
        (tmp_path / "files" / "0266").mkdir(parents=True)
        for path in files.iterdir():
            (tmp_path / "files" / "0266" / path.name).write_bytes(path.read_bytes())
        local = SDSSSpectraRecipe(local_data_path=tmp_path / "files")
        assert build(local, tmp_path / "local", workers=0).rows == 10
        mine, theirs = (path.rglob("*.hdf5") for path in (tmp_path / "local", folder))
        assert [path.read_bytes() for path in sorted(mine)] == [path.read_bytes() for path in sorted(theirs)]
