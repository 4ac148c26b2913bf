"""List the GZ3D files of a directory of the SDSS Science Archive Server, or of another server of that kind."""

from __future__ import annotations

from collections.abc import Mapping
from html.parser import HTMLParser
from urllib.parse import unquote, urljoin

from skyshards.errors import BuildError, FetchError
from skyshards.fetch.client import Fetcher

GZ3D_URL = "https://data.sdss.org/sas/dr17/env/MANGA_MORPHOLOGY/galaxyzoo3d/v4_0_0/"


class _Links(HTMLParser):
    def __init__(self):
        super().__init__()
        self.targets: list[str] = []

    def handle_starttag(self, tag, attributes) -> None:
        if tag == "a" and (target := dict(attributes).get("href")):
            self.targets.append(target)


def files_in_listing(page: str, url: str) -> dict[str, str]:
    """Files that a directory's listing links to: their URLs by name, sorted.

    The names are those in the links (the text beside them may be cut short). Links out of the directory do not count.
    """
    links = _Links()
    links.feed(page)
    links.close()
    files = {}
    for target in links.targets:
        try:
            absolute = urljoin(url, target)
        except ValueError:  # no URL at all
            continue
        name = unquote(absolute.removeprefix(url))
        if (
            absolute.startswith(url)
            and name.isprintable()
            and name[:1] not in ("", ".")
            and not set(name) & set("/\\?#")
        ):
            files[name] = absolute
    return dict(sorted(files.items()))


def parse_sha1sum(text: str) -> dict[str, str]:
    """Checksums by file name, as "sha1:…", from what the command `sha1sum` prints: hexadecimal digits, two spaces,
    name.
    """
    checksums = {}
    for line in text.splitlines():
        digest, _, name = line.strip().partition("  ")
        if len(digest) == 40:
            checksums[name.rpartition("/")[2]] = f"sha1:{digest.lower()}"
    return checksums


def list_gz3d(url: str, fetcher: Fetcher) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """URLs of the GZ3D files that a directory lists, by name, and the checksums that it has for them.

    Raises `BuildError` if the directory cannot be read, or lists no such file.
    """
    url = url.rstrip("/") + "/"
    try:
        files = files_in_listing(fetcher.get(url).text, url)
        sums = [fetcher.get(target).text for name, target in files.items() if name.endswith(".sha1sum")]
    except FetchError as error:
        raise BuildError(
            f"the archive's listing is out of reach: {error}; try again later, or give another `archive_url`"
        ) from error
    objects = {name: target for name, target in files.items() if name.endswith(".fits.gz")}
    if not objects:
        raise BuildError(
            f"{url}: its listing names no .fits.gz file; is it the directory of the GZ3D files (`archive_url`)?"
        )
    checksums = {name: digest for text in sums for name, digest in parse_sha1sum(text).items()}
    return objects, checksums
