"""New dataset against the contract that all datasets are held to."""

import pytest

from skyshards.testing import Contract

from .build_parent_sample import NewDatasetRecipe


class TestNewDataset(Contract):
    @pytest.fixture
    def recipe(self):
        return NewDatasetRecipe()

    # TODO: a fixture `expected`, by `object_id` and source what each row holds, as another program
    # reads it. Without one, rows are held against what the recipe itself reads.
