"""Test new_dataset against the contract of all datasets."""

import pytest

from skyshards.testing import Contract

from .build_parent_sample import NewDatasetRecipe


class TestNewDataset(Contract):
    @pytest.fixture
    def recipe(self):
        return NewDatasetRecipe()

    # TODO: a fixture `expected`: the values of each row by `object_id` and source, as read by another program. Without
    # it, rows are compared with what the recipe itself reads.
