"""The datasets of this tree, by which tests are repeated."""

from skyshards.cli.data_sets import own_data_sets

DATA_SETS = tuple(own_data_sets())
