"""New dataset: TODO what it is, in a line."""

from skyshards.read.hf_names import register

from .new_dataset import SCHEMA, NewDataset

register("new_dataset", "new_dataset.new_dataset")

__all__ = ["SCHEMA", "NewDataset"]
