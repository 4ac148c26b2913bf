"""Spectral lines that pictures and plots mark: wavelengths in vacuum, Angstrom."""

EMISSION = {
    "[O II]": 3728.5,
    "Hd": 4102.9,
    "Hg": 4341.7,
    "Hb": 4862.7,
    "[O III]": 5008.2,
    "Ha": 6564.6,
    "[S II]": 6725.5,
}
ABSORPTION = {"K": 3934.8, "H": 3969.6, "G": 4305.6, "Mg": 5176.6, "Na": 5895.6, "Ca II": 8544.4}
"""SDSS's tables of lines: https://classic.sdss.org/dr7/products/spectra/vacwavelength.php; doublets at their means."""
QUASAR = {"Lya": 1215.7, "C IV": 1549.5, "C III]": 1908.7, "Mg II": 2799.5}
LINES = QUASAR | EMISSION | ABSORPTION
