"""Find a colour survey of hips2fits by name, in the list of HiPS that the CDS publishes (MocServer)."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import urlencode

from gz_sdss.hips2fits import HIPS
from skyshards.errors import BuildError, FetchError, UsageError
from skyshards.fetch.answers import page_title
from skyshards.fetch.client import Fetcher
from skyshards.text import counted

SURVEYS_URL = "https://alasky.cds.unistra.fr/MocServer/query"
"""The CDS's list of HiPS, as JSON (Fernique et al. 2017, HiPS 1.0, section 5)."""
ASKED = {
    "dataproduct_type": "image",
    "hips_service_url": "*",
    "get": "record",
    "fmt": "json",
    "fields": "ID,obs_title,dataproduct_subtype,hips_tile_format",
}
MOST_SHOWN = 8
"""Maximum number of surveys that a message lists."""


class KnownSurvey(NamedTuple):
    """A survey with a short name: identifier, title with the release, bands of its picture, arcsec per pixel."""

    id: str
    title: str
    bands: str
    scale: float


SURVEYS = {
    "SDSS": KnownSurvey(HIPS, "SDSS DR9", "g, r, i", 0.4),
    "Legacy Survey": KnownSurvey(
        "CDS/P/DESI-Legacy-Surveys/DR10/color", "DESI Legacy Imaging Surveys DR10", "g, r, i, z", 0.26
    ),
    "PanSTARRS": KnownSurvey("CDS/P/PanSTARRS/DR1/color-z-zg-g", "Pan-STARRS DR1", "g, z", 0.25),
    "unWISE": KnownSurvey("CDS/P/unWISE/color-W2-W1W2-W1", "unWISE", "W1, W2", 2.75),
    "2MASS": KnownSurvey("CDS/P/2MASS/color", "2MASS", "J, H, Ks", 1.0),
    "GALEX": KnownSurvey("CDS/P/GALEXGR6_7/color", "GALEX GR6/7", "FUV, NUV", 1.5),
    "DSS": KnownSurvey("CDS/P/DSS2/color", "DSS2", "blue, red", 1.0),
}
"""Surveys by the names in use, where a search for the words finds several. Pixels are those of the surveys' own images
(York et al. 2000; Dey et al. 2019; Waters et al. 2020; Lang 2014; Skrutskie et al. 2006; Morrissey et al. 2007; Lasker
et al. 1996)."""


@dataclass(frozen=True)
class Survey:
    """A HiPS of the list: identifier, title, and whether hips2fits makes colour pictures of it."""

    id: str
    title: str
    is_colour: bool


def known_id(name: str) -> str | None:
    """Identifier of a survey by one of `SURVEYS`, ignoring case, blanks and a plural; None for another name."""
    return {_plain(known): survey.id for known, survey in SURVEYS.items()}.get(_plain(name))


def list_surveys(fetcher: Fetcher, url: str = SURVEYS_URL) -> list[Survey]:
    """Fetch the list of surveys, sorted by identifier.

    Raises
    ------
    BuildError
        It cannot be fetched, or is not such a list.
    """
    asked = f"{url}?{urlencode(ASKED)}"
    try:
        answer = fetcher.get(asked)
    except FetchError as error:
        raise BuildError(f"{error}; leave out `hips` for SDSS, which needs no list") from error
    try:
        found = {survey.id: survey for survey in map(_survey, answer.json())}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        title = page_title(answer.content)
        what = f"an HTML page ({title})" if title else f"none ({error!r})"
        raise BuildError(f"{asked}: expected a list of surveys in JSON, found {what}") from error
    return [found[id] for id in sorted(found)]


def find_survey(name: str, surveys: Sequence[Survey], url: str = SURVEYS_URL) -> Survey:
    """Find a colour survey by its identifier, one of `SURVEYS`, or words of its identifier and title.

    Parameters
    ----------
    name : str
        Such as "CDS/P/unWISE/color-W2-W1W2-W1" or "unWISE". Identifiers may lack `ivo://`; case does not matter.
    surveys : sequence of Survey
        From `list_surveys`.
    url : str
        Address of the list, for messages.

    Raises
    ------
    UsageError
        There is none, there are several, or it has no colour pictures.
    """
    wanted = (known_id(name) or name).removeprefix("ivo://").lower()
    exact = [survey for survey in surveys if survey.id.lower() == wanted]
    if exact and not exact[0].is_colour:
        beside = [survey for survey in surveys if survey.is_colour and _family(survey) == _family(exact[0])]
        raise UsageError(f"`hips` {exact[0].id}: expected a colour survey, found {exact[0].title!r}{_listed(beside)}")
    words = re.findall(r"[a-z0-9]+", name.lower())
    found = exact or [survey for survey in surveys if survey.is_colour and words and _has(survey, words)]
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"`hips` {name!r} fits {len(found)} surveys; give the identifier of one{_listed(found)}")
    near = _near(name, surveys)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    raise UsageError(
        f"`hips` {name!r}: none of the {counted(len(surveys), 'surveys')} at {url} has that identifier, or these words"
        f" in its title and colour pictures; {hint}Known by name: {', '.join(SURVEYS)}"
    )


def _survey(record: Any) -> Survey:
    subtypes, formats = (_words(record.get(key)) for key in ("dataproduct_subtype", "hips_tile_format"))
    id = str(record["ID"])
    is_colour = "color" in subtypes or (not subtypes and "color" in id.lower())
    title = record.get("obs_title") or ""
    return Survey(id, " ".join(_words(title, str)), is_colour and bool({"jpeg", "jpg", "png"} & set(formats)))


def _words(value: Any, case: Any = str.lower) -> list[str]:
    """Words of a value of the list, which is text, or a list of texts where a keyword occurs several times."""
    texts: Iterable[Any] = value if isinstance(value, list) else [value or ""]
    return [word for text in texts for word in case(str(text)).split()]


def _has(survey: Survey, words: Iterable[str]) -> bool:
    there = f"{survey.id} {survey.title}".lower()
    return all(word in there for word in words)


def _near(name: str, surveys: Iterable[Survey]) -> list[str]:
    """Names and identifiers of surveys that are like a name with a typing error, at most three, the nearest first."""
    colour = [survey for survey in surveys if survey.is_colour]
    given = {_plain(known): known for known in SURVEYS} | {_plain(survey.id): survey.id for survey in colour}
    given |= {_plain(word): survey.id for survey in colour for word in survey.title.split() if len(word) > 3} | given
    return list(dict.fromkeys(given[found] for found in difflib.get_close_matches(_plain(name), given, 3, 0.75)))


def _family(survey: Survey) -> str:
    """All of an identifier but its last part, which names the band."""
    return survey.id.rpartition("/")[0]


def _listed(surveys: Sequence[Survey]) -> str:
    if not surveys:
        return ""
    shown = ", ".join(f"{survey.id} ({survey.title})" for survey in surveys[:MOST_SHOWN])
    return f": {shown}" + (f", and {len(surveys) - MOST_SHOWN} more" if len(surveys) > MOST_SHOWN else "")


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower()).removesuffix("s")
