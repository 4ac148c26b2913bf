"""The one table by which the front door finds the datasets."""

DATA_SETS = {
    "gz3d": "Galaxy Zoo 3D masks of MaNGA galaxies",
    "gz_sdss": "Galaxy Zoo labels, SDSS colour cutouts",
    "candels_blend": "blended HST CANDELS galaxies, their masks and fluxes",
    "gz_decals": "Galaxy Zoo DECaLS rings, votes and representations",
}
"""Datasets by the name of their folder, with a line about each. Its `build_parent_sample.py` has the command."""
