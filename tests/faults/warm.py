"""Imports, when it is imported, all that a build imports, and keeps the garbage collector from touching it."""

import gc
import netrc  # noqa: F401

import pyarrow.acero  # noqa: F401

import candels_blend.build_parent_sample
import galaxy10.build_parent_sample
import gz3d.build_parent_sample  # noqa: F401
import gz3d.fits  # noqa: F401
import gz_decals.build_parent_sample  # noqa: F401
import gz_sdss.build_parent_sample  # noqa: F401
import gz_sdss.tap_jobs
import sdss_spectra.build_parent_sample  # noqa: F401
import sdss_spectra.spec_files  # noqa: F401
import skyshards.cli.main  # noqa: F401
import skyshards.format.healpix
import skyshards.pipeline.build  # noqa: F401

skyshards.format.healpix.load()
gz_sdss.tap_jobs.FIRST_WAIT = 0.02  # the demo archive's jobs are done at once
candels_blend.build_parent_sample.CandelsBlendRecipe.rows_per_block = 2  # so that there are several blocks
galaxy10.build_parent_sample.Galaxy10Recipe.rows_per_block = 2

gc.collect()
gc.freeze()  # a forked build would spend three times its own time on taking down what was imported here
