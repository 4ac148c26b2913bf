"""Galaxy-morphology datasets that a training loop can read at the speed of the disk.

`skyshards.open(folder)` opens a built dataset for random access, and once this package is imported,
`datasets.load_dataset("skyshards", data_dir=folder)` loads one. The datasets themselves, with what builds them, are
the packages beside this one: `gz3d`, `gz_sdss`, `candels_blend`, `gz_decals`.
"""

from skyshards.crossmatch import crossmatch
from skyshards.join import join, open_join
from skyshards.read.arrow import as_numpy
from skyshards.read.joined import JoinedTable
from skyshards.read.registration import register_when_needed
from skyshards.read.table import Table
from skyshards.read.table import open_table as open
from skyshards.version import __version__

__all__ = ["JoinedTable", "Table", "__version__", "as_numpy", "crossmatch", "join", "open", "open_join"]

register_when_needed()
