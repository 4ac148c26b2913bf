"""Test support for datasets: the contract that every dataset must pass. Needs pytest."""

import pytest

pytest.register_assert_rewrite("skyshards.testing.contract")

from skyshards.testing.contract import Contract, as_formatted, assert_same  # noqa: E402

__all__ = ["Contract", "as_formatted", "assert_same"]
