"""Options that determine which blends are drawn, shared by both commands."""

from __future__ import annotations

from collections.abc import Callable

import click

from candels_blend.sample import GALAXY_TYPES, MOST_GALAXIES, Sample
from skyshards.cli.options import FloatRange, option

DEFAULT = Sample()
CLEAN = (
    "Leave out galaxies whose stamp is not clean: another source (pixels of the segmentation map that are neither 0 "
    "nor the value at the centre) has a pixel in the first or last row or column, or among the eight around a pixel of "
    "the central source."
)

_OPTIONS = (
    option("--mag_low", type=float, default=DEFAULT.mag_low, help="Leave out galaxies of this magnitude and brighter."),
    option(
        "--mag_high", type=float, default=DEFAULT.mag_high, help="Leave out galaxies of this magnitude and fainter."
    ),
    option(
        "--mag_diff",
        type=float,
        default=DEFAULT.mag_diff,
        help="Bound on the difference of a galaxy's magnitude from that of the central one.",
    ),
    option(
        "--rad_diff",
        type=float,
        default=DEFAULT.rad_diff,
        help="Largest distance of a galaxy from the central one, in units of the smaller of their radii.",
    ),
    option(
        "--test_ratio",
        "-t",
        type=FloatRange(0, 1),
        default=DEFAULT.test_ratio,
        help="Fraction of the galaxies, and of the blends, in the test split.",
    ),
    option(
        "--exclude",
        "-e",
        "--excluded_type",
        "excluded_types",
        type=click.Choice(GALAXY_TYPES),
        multiple=True,
        help="Type of galaxy to leave out; may be repeated.",
    ),
    option(
        "--seed",
        "-s",
        type=click.IntRange(0, 2**32 - 1),
        default=DEFAULT.seed,
        help="Seed of galaxies, shifts and noise.",
    ),
    option("--use_clean_galaxies", "-c", is_flag=True, show_default=False, help=CLEAN),
    option(
        "--cut",
        metavar="CONDITION",
        help="Leave out galaxies for which this is false, by columns of the archive's catalogue, such as 'z < 1'.",
    ),
    option(
        "--n_galaxies",
        type=click.IntRange(2, MOST_GALAXIES),
        default=DEFAULT.n_galaxies,
        metavar="K",
        help="Number of galaxies in a blend.",
    ),
)

unmasked_option = option(
    "--unmasked",
    is_flag=True,
    show_default=False,
    help="Blend the archive's stamps as they are: replace no neighbours by noise, and add none.",
)


def sample_options(command: Callable) -> Callable:
    """Add the options of `candels_blend.draw.Sample` to a command, named after its fields."""
    for add in reversed(_OPTIONS):
        command = add(command)
    return command
