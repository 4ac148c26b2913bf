"""Find a colour survey of hips2fits by name, in the list of HiPS that the CDS publishes (MocServer)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from gz_sdss.hips2fits import HIPS
from skyshards.errors import BuildError, FetchError, UsageError
from skyshards.fetch.answers import page_title
from skyshards.fetch.client import Fetcher

SURVEYS_URL = "https://alasky.cds.unistra.fr/MocServer/query"
"""The CDS's list of HiPS, as JSON (Fernique et al. 2017, HiPS 1.0, section 5)."""
ASKED = {
    "dataproduct_type": "image",
    "hips_service_url": "*",
    "get": "record",
    "fmt": "json",
    "fields": "ID,obs_title,dataproduct_subtype,hips_tile_format",
}
NAMES = {
    "SDSS": HIPS,
    "Legacy Survey": "CDS/P/DESI-Legacy-Surveys/DR10/color",
    "PanSTARRS": "CDS/P/PanSTARRS/DR1/color-z-zg-g",
    "unWISE": "CDS/P/unWISE/color-W2-W1W2-W1",
    "2MASS": "CDS/P/2MASS/color",
    "GALEX": "CDS/P/GALEXGR6_7/color",
    "DSS": "CDS/P/DSS2/color",
}
"""Identifiers of surveys by the names in use, where a search for the words finds several."""
MOST_SHOWN = 8
"""Maximum number of surveys that a message lists."""


@dataclass(frozen=True)
class Survey:
    """A HiPS of the list: identifier, title, and whether hips2fits makes colour pictures of it."""

    id: str
    title: str
    is_colour: bool


def known_id(name: str) -> str | None:
    """Identifier of a survey by one of `NAMES`, ignoring case, blanks and a plural; None for another name."""
    return {_plain(known): hips for known, hips in NAMES.items()}.get(_plain(name))


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
    """Find a colour survey by its identifier, one of `NAMES`, or words of its identifier and title.

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
    raise UsageError(
        f"`hips` {name!r}: none of the {len(surveys):,} surveys at {url} has that identifier, or these words in its"
        f" title and colour pictures; known by name: {', '.join(NAMES)}"
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
