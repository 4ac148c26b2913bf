"""The contract for the datasets of this tree: that of all datasets, and the reader that `docs/format.md` gives."""

from skyshards.testing import Contract as Promises
from skyshards.testing import as_formatted, assert_same
from tests.format_reader import assert_reads

__all__ = ["Contract", "as_formatted", "assert_same"]


class Contract(Promises):
    def test_the_reader_of_the_format_gives_the_same(self, folder, tmp_path):
        assert_reads(folder, tmp_path)
