"""Columns that are put beside a built dataset later."""
