"""SDSS spectra: the columns, and the `datasets` builder that reads them.

`import sdss_spectra` registers `load_dataset("sdss_spectra", data_dir=...)`.
"""

from datasets import ClassLabel, Sequence, Value

from skyshards.format.schema import Column, Schema
from skyshards.read.hf_builder import ShardBuilder

FLUX, IVAR = "1e-17erg.s**-1.cm**-2.Angstrom**-1", "1e34erg**-2.s**2.cm**4.Angstrom**2"
CLASSES = ("GALAXY", "QSO", "STAR")
FLOATS, FLAGS = Sequence(Value("float32")), Sequence(Value("int32"))
FLOAT, INT = Value("float32"), Value("int32")

SPECTRUM = {
    "flux": Column(FLOATS, "coadded, calibrated flux", FLUX),
    "ivar": Column(FLOATS, "inverse variance of the flux; 0 where it must not be used", IVAR),
    "loglam": Column(FLOATS, "log10 of the vacuum wavelength in Angstrom, heliocentric; steps of 0.0001"),
    "and_mask": Column(FLAGS, "flags that all exposures have (bitmask SPPIXMASK)"),
    "or_mask": Column(FLAGS, "flags that any exposure has (bitmask SPPIXMASK)"),
    "wdisp": Column(FLOATS, "resolution: sigma of a fitted Gaussian", "pixel"),
    "sky": Column(FLOATS, "subtracted flux of the sky", FLUX),
    "model": Column(FLOATS, "best fit of the pipeline, which gave class and redshift", FLUX),
}
"""Columns of the table COADD (HDU 1), in its types."""
MEASURED = {
    "z": Column(FLOAT, "redshift, heliocentric"),
    "z_err": Column(FLOAT, "its error; negative if the fit is invalid"),
    "zwarning": Column(INT, "flags of the redshift (bitmask ZWARNING); 0: no problem"),
    "class": Column(ClassLabel(names=list(CLASSES)), "class of the best fit"),
    "subclass": Column(Value("string"), "such as STARFORMING, BROADLINE or a type of star; may be empty"),
    "vdisp": Column(FLOAT, "velocity dispersion of the stars", "km/s"),
    "vdisp_err": Column(FLOAT, "its error; negative if the fit is invalid", "km/s"),
    "sn_median_all": Column(FLOAT, "median signal-to-noise ratio of the pixels"),
}
"""Columns of the table SPECOBJ or SPALL (HDU 2), in its types."""

SCHEMA = Schema(
    columns={
        "object_id": Column(Value("string"), "specObjID (DR8 and later), as text"),
        "ra": Column(Value("float64"), "right ascension (J2000) of the fibre", "deg"),
        "dec": Column(Value("float64"), "declination (J2000) of the fibre", "deg"),
        "spectrum": SPECTRUM,
        **MEASURED,
        "specobjid": Column(Value("uint64"), "specObjID: of plate, mjd, fiberid and run2d"),
        "plate": Column(INT, "number of the plate"),
        "mjd": Column(INT, "modified Julian date of the last exposure", "d"),
        "fiberid": Column(INT, "number of the fibre on the plate, from 1"),
        "run2d": Column(Value("string"), "reduction: 26, 103 or 104 (SDSS-I and II), or v5_13_2 (BOSS and eBOSS)"),
        "source": Column(Value("string"), "name of the FITS file that the row was read from"),
    },
    configs={"spectra": ("object_id", "ra", "dec", "spectrum.flux", "spectrum.ivar", "spectrum.loglam", "z", "class")},
)


class SDSSSpectra(ShardBuilder):
    """Optical spectra of SDSS."""

    schema = SCHEMA
