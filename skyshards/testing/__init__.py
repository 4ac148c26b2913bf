"""What the tests of a dataset need: the contract that every dataset is held to. Needs pytest."""

import pytest

pytest.register_assert_rewrite("skyshards.testing.contract")

from skyshards.testing.contract import Contract, as_formatted, assert_same  # noqa: E402

__all__ = ["Contract", "as_formatted", "assert_same"]
