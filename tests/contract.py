"""The contract for the datasets of this tree: that of all datasets, and the reader that `docs/format.md` gives."""

import pytest

from skyshards.testing import Contract as Promises
from skyshards.testing import as_formatted, assert_same
from skyshards.testing.contract import stock_reads_hdf5
from tests.format_reader import assert_reads

__all__ = ["Contract", "as_formatted", "assert_same"]


class Contract(Promises):
    @stock_reads_hdf5
    @pytest.mark.slow  # with many configs
    def test_configs_read_fewer_columns(self, folder, recipe):
        super().test_configs_read_fewer_columns(folder, recipe)

    @stock_reads_hdf5
    @pytest.mark.slow  # a process of its own
    def test_stock_load_needs_nothing_of_ours(self, folder, recipe):
        super().test_stock_load_needs_nothing_of_ours(folder, recipe)

    def test_the_reader_of_the_format_gives_the_same(self, folder, tmp_path):
        assert_reads(folder, tmp_path)
