"""Files of a Zenodo record: address, size and checksum."""

from __future__ import annotations

import re
from dataclasses import dataclass

from skyshards.errors import FetchError
from skyshards.fetch.answers import page_title
from skyshards.fetch.client import Fetcher

ALGORITHMS = {32: "md5", 40: "sha1", 64: "sha256"}
"""Checksum algorithm by number of hexadecimal digits."""


@dataclass(frozen=True)
class RecordFile:
    """A file of a record. `checksum` is like "md5:…", `size` is in bytes; None if the record does not state it."""

    url: str
    checksum: str | None = None
    size: int | None = None


def record_files(record_url: str, fetcher: Fetcher) -> dict[str, RecordFile]:
    """Fetch the list of a record's files, by name.

    Parameters
    ----------
    record_url : str
        Such as "https://zenodo.org/api/records/NUMBER".
    fetcher : Fetcher

    Returns
    -------
    dict of str to RecordFile

    Raises
    ------
    FetchError
        The record is unavailable or invalid.
    """
    answer = fetcher.get(record_url)
    try:
        return {
            file["key"]: RecordFile(
                str(file["links"]["self"]),
                _checksum(file.get("checksum")),
                file["size"] if isinstance(file.get("size"), int) and file["size"] >= 0 else None,
            )
            for file in answer.json()["files"]
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        title = page_title(answer.content)
        found = f"an HTML page ({title})" if title else f"none ({error!r})"
        raise FetchError(f"{record_url}: expected the JSON of a Zenodo record with its files, found {found}") from error


def doi_of(record_url: str) -> str | None:
    """DOI of a record of Zenodo, which is that of one version: "10.5281/zenodo.NUMBER"; None of another server's."""
    found = re.fullmatch(r"https://zenodo\.org/(?:api/)?records/(\d+)/?", record_url)
    return f"10.5281/zenodo.{found[1]}" if found else None


def _checksum(text: str | None) -> str | None:
    """Normalize a checksum to "algorithm:digits", also from digits alone; None for an unknown algorithm."""
    algorithm, _, digits = (text or "").strip().lower().rpartition(":")
    algorithm = algorithm.replace("-", "") or ALGORITHMS.get(len(digits), "")
    known = algorithm in ALGORITHMS.values() and re.fullmatch("[0-9a-f]+", digits)
    return f"{algorithm}:{digits}" if known and ALGORITHMS.get(len(digits)) == algorithm else None
