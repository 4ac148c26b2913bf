"""Leave out galaxies by the options of a sample, and split the others: exactly the shuffles of candels-blender."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pyarrow as pa

from candels_blend.sample import Sample
from candels_blend.stamp_archive import Archive, measured
from candels_blend.stamps import clean_rows
from skyshards.errors import BuildError, UsageError
from skyshards.read import query
from skyshards.text import counted

LeftOut = Callable[[str, int, int], None]
"""Called with each cut that leaves out galaxies: its name, the number left out, and the number before."""


def split_galaxies(
    archive: Archive, sample: Sample, state: np.random.RandomState, left_out: LeftOut
) -> dict[str, np.ndarray]:
    """Rows of the archive's train and test galaxies, shuffled at the start and again after each cut."""
    catalogue, rows = archive.catalogue, archive.rows
    cuts = [("`use_clean_galaxies`", clean_rows(archive))] if sample.use_clean_galaxies else []
    cuts += [
        (f"`mag_low` {sample.mag_low}", (catalogue["mag"] > sample.mag_low).to_numpy()),
        (f"`mag_high` {sample.mag_high}", (catalogue["mag"] < sample.mag_high).to_numpy()),
    ]
    cuts += [(f"`excluded_types` {name}", (catalogue["galtype"] != name).to_numpy()) for name in sample.excluded_types]
    if sample.cut is not None:
        cuts.append((f"`cut` {sample.cut}", passing(sample.cut, catalogue)))
    order = state.permutation(len(rows))
    for what, cut in cuts:
        before, rows = len(rows), rows[cut[rows]]
        if len(rows) < before:
            left_out(what.replace("`", ""), before - len(rows), before)
        if len(rows) < 2:
            raise BuildError(
                f"{what} leaves {len(rows)} of {counted(before, 'galaxies')}, expected at least two; loosen this cut"
            )
        order = state.permutation(len(rows))
    n_test = int(len(rows) * sample.test_ratio)
    return {"train": rows[order[n_test:]], "test": rows[order[:n_test]]}


def passing(condition: str, catalogue: pd.DataFrame) -> np.ndarray:
    """Evaluate a condition for each galaxy of the archive's catalogue: bool [n].

    Parameters
    ----------
    condition : str
        As for `skyshards.Table.where`, with the columns of the file: `z < 1 and radius > 5`, `galtype in ("disk",
        "irr")`. It is false for galaxies without a value in a column that it uses; a redshift of -99 is none.

    Raises
    ------
    UsageError
        It cannot be evaluated, or uses another column.
    """
    columns = catalogue.assign(z=measured(catalogue["z"]))
    try:
        return query.matching(
            condition, list(columns), lambda name: pa.chunked_array([pa.array(columns[name], from_pandas=True)])
        )
    except (KeyError, UsageError) as error:
        raise UsageError(f"cut: {error.args[0]}") from error
