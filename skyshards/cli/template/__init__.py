"""New dataset: TODO what it is, in a line."""

from skyshards.read.hf_builder import register

from .new_dataset import SCHEMA, NewDataset

register("new_dataset", NewDataset)

__all__ = ["SCHEMA", "NewDataset"]
