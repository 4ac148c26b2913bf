"""New dataset: the schema of its rows, and its `datasets` builder."""

from datasets import Array3D, Value

from skyshards import Column, Schema
from skyshards.read.hf_builder import ShardBuilder

SCHEMA = Schema(
    columns={
        # Every dataset has `object_id`, `ra`, `dec`, `healpix`, `fold` and `source`; declare them to say more of them.
        "object_id": Column(Value("string"), "number of the made-up galaxy"),  # TODO
        # TODO: your own columns: feature, description and, where there is one, unit.
        "image": Column(Array3D((64, 64, 3), "uint8"), "RGB, north up, east left"),
        "mag_r": Column(Value("float32"), "apparent magnitude in r", "mag"),
    },
)


class NewDataset(ShardBuilder):
    """Rows for `load_dataset("new_dataset", data_dir=...)`."""

    schema = SCHEMA
