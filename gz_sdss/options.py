"""Options of the command: catalogue, quality cuts, images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import click
from click.core import ParameterSource

from gz_sdss.cutout import MAX_MISSING
from gz_sdss.cuts import Cuts
from gz_sdss.hips2fits import HIPS, HIPS2FITS_URL, MARGIN, RATE, SIZE
from gz_sdss.sia import WAVEBANDS, Service, find_services, wavebands
from gz_sdss.surveys import SURVEYS, SURVEYS_URL
from gz_sdss.tap_catalog import TAP_URL
from skyshards.cli.options import FloatRange, option
from skyshards.errors import UsageError
from skyshards.input_tables.table_file import FORMATS
from skyshards.progress import say

MAX_SIZE = 2048
"""Maximum width of an image, pixels; 100 times the SDSS pixels of most galaxies."""

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

NAMED = ", ".join(f"{name} ({each.bands.replace(', ', ' ')}; {each.scale:g})" for name, each in SURVEYS.items())
FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
CATALOGUE = (
    option("--tap_url", default=TAP_URL, metavar="URL", help="TAP service with the catalogue."),
    option("--adql", type=FILE, help="File with an ADQL query of your own."),
    option("--top", type=click.IntRange(1), metavar="N", help="Ask the TAP service for only N rows."),
    option("--refresh_catalog", is_flag=True, help="Download the catalogue again."),
    option("--catalog", type=FILE, help=f"Read the catalogue from a file: {FORMATS}."),
    option(
        "--keep_columns",
        metavar="NAMES",
        help="Further columns in each row, by comma: nvote,p_mg,petroMag_r of the default query (ZooSpec, PhotoObj),"
        " or names and patterns (t01_*) of --adql or --catalog. [default: all of --adql, none of --catalog]",
    ),
)
IMAGES = (
    option(
        "--size",
        type=click.IntRange(8, MAX_SIZE),
        default=SIZE,
        metavar="N",
        help="Width and height of images, pixels.",
    ),
    option(
        "--margin",
        type=FloatRange(-0.9, 20),
        default=MARGIN,
        metavar="F",
        help="Sky around a galaxy: images are 2 petroR90_r (1 + F) wide.",
    ),
    option(
        "--images",
        type=click.Path(path_type=Path, exists=True, file_okay=False),
        metavar="FOLDER",
        help="Another build's folder: its images are used again where they show the same galaxy, as after other cuts.",
    ),
    option(
        "--image_source",
        type=click.Choice(["hips2fits", "sia"]),
        default="hips2fits",
        help="Where the images come from.",
    ),
    option(
        "--hips",
        default=HIPS,
        metavar="SURVEY",
        help=f"Survey that the images show, in colour: {NAMED} (bands; arcsec per pixel), or any HiPS by identifier or"
        " words of its title, looked up in the list of the CDS.",
    ),
    option("--hips2fits_url", metavar="URL", help=f"hips2fits service. [default: {HIPS2FITS_URL} and its mirror]"),
    option("--surveys_url", default=SURVEYS_URL, metavar="URL", help="List of the surveys that hips2fits has."),
    option("--sia_url", metavar="URL", help="With --image_source sia: URL of the service."),
    option("--sia_version", type=click.IntRange(1, 2), default=1, help="With --image_source sia: version of SIA."),
    option("--sia_keywords", metavar="WORDS", help="Find a service in the VO Registry by words in its description."),
    option(
        "--sia_waveband", metavar="BAND", help=f"Find a service in the VO Registry by waveband: {', '.join(WAVEBANDS)}."
    ),
    option(
        "--format",
        type=click.Choice(["jpg", "fits"]),
        default="jpg",
        help="Format of the images; fits only with --image_source sia.",
    ),
    option(
        "--max_missing",
        type=FloatRange(0, 1),
        default=MAX_MISSING,
        metavar="F",
        help="With --image_source sia: maximum fraction of missing pixels in a FITS cutout.",
    ),
    option(
        "--rate",
        type=FloatRange(0),
        default=RATE,
        metavar="R",
        help="Maximum number of image requests per second; 0 for no limit.",
    ),
)


def catalogue_options(command: Callable) -> Callable:
    """Add the options that say where the catalogue comes from."""
    return _with(CATALOGUE, command)


def image_options(command: Callable) -> Callable:
    """Add the options that say what the images show and where they come from."""
    return _with(IMAGES, command)


def _with(options: Sequence[Callable], command: Callable) -> Callable:
    for add in reversed(options):
        command = add(command)
    return command


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


@dataclass(frozen=True)
class ServiceSearch:
    """Search of the VO Registry by words and waveband; `registry_url` names a registry other than the default."""

    keywords: str
    waveband: str
    registry_url: str | None = None

    def first(self) -> Service:
        """Return the first image service found; the others are printed."""
        first, *others = find_services(self.keywords, self.waveband, self.registry_url)
        say(f"Images from: {first.title} ({first.url})")
        for other in others:
            say(f"  or: --sia_url {other.url} --sia_version {other.version}: {other.title}")
        return first


def sia_service(
    url: str | None, version: int, keywords: str | None, waveband: str | None, registry_url: str | None
) -> Service | ServiceSearch:
    """Image service named by the options, or the search for one."""
    if url:
        return Service("", url, version)
    if not (keywords or waveband):
        raise UsageError("`image_source` sia needs `sia_url`, or `sia_keywords` or `sia_waveband` to find a service")
    wavebands(waveband or "")  # refuses an unknown one before the catalogue is fetched
    return ServiceSearch(keywords or "", waveband or "", registry_url)
