"""Options of the quality cuts, and the options given to the current command."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields

import click
from click.core import ParameterSource

from gz_sdss.cuts import Cuts
from skyshards.cli.options import option

CUT_HELP = {
    "min_mag": "modelMag_u..z above this.",
    "max_magerr_u": "modelMagErr_u below this.",
    "max_magerr_g": "modelMagErr_g below this.",
    "max_magerr_r": "modelMagErr_r below this.",
    "max_magerr_i": "modelMagErr_i below this.",
    "max_magerr_z": "modelMagErr_z below this.",
    "min_vote": "p_cs_debiased or p_el_debiased at least this.",
    "min_pixels": "2 petroR90_r / 0.4 above this.",
    "max_pixels": "3 petroR90_r / 0.4 below this.",
}


def cut_options(command: Callable) -> Callable:
    """Add an option for each quality cut."""
    for cut in reversed(fields(Cuts)):
        add = option(f"--{cut.name}", type=float, default=cut.default, metavar="X", help=CUT_HELP[cut.name])
        command = add(command)
    return command


def given(*names: str) -> str:
    """Those of the named options given to the current command, in backticks."""
    sources = {name: click.get_current_context().get_parameter_source(name) for name in names}
    return " and ".join(f"`{name}`" for name, source in sources.items() if source is not ParameterSource.DEFAULT)
