"""List the GZ3D files in a directory of the SDSS Science Archive Server, or of a similar server."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from html.parser import HTMLParser
from urllib.parse import unquote, urljoin

from skyshards.errors import BuildError, FetchError
from skyshards.fetch.client import Fetcher
from skyshards.text import counted

GZ3D_URL = "https://data.sdss.org/sas/dr17/env/MANGA_MORPHOLOGY/galaxyzoo3d/v4_0_0/"
_RELEASE = re.compile(r"/(?P<survey>dr\d+)/env/MANGA_MORPHOLOGY/galaxyzoo3d/(?P<version>v\w+)/?")
SUFFIX = ".fits.gz"
FILE_NAME = re.compile(r"(?:gz3d_)?(?P<mangaid>[^/]+)_(?P<ifu>\d+)_(?P<subject>\d+)\.fits\.gz")
"""`[gz3d_]<MaNGA ID>_<fibres of the IFU>_<Zooniverse subject>.fits.gz`; the archive's names have the prefix."""

TRIES = 3
"""Number of requests for a listing that arrives without its end."""


class _Links(HTMLParser):
    def __init__(self):
        super().__init__()
        self.targets: list[str] = []

    def handle_starttag(self, tag, attributes) -> None:
        if tag == "a" and (target := dict(attributes).get("href")):
            self.targets.append(target)


def release_of(url: str) -> str | None:
    """Release of the directory of GZ3D files at an address, "SDSS DR17, GZ3D v4_0_0"; None if it does not tell."""
    found = _RELEASE.search(url)
    return f"SDSS {found['survey'].upper()}, GZ3D {found['version']}" if found else None


def files_in_listing(page: str, url: str) -> dict[str, str]:
    """URLs of the files in a directory listing by name, sorted.

    Names come from the links, because the text beside them may be truncated. Links out of the directory are ignored.
    """
    links = _Links()
    links.feed(page)
    links.close()
    files = {}
    for target in links.targets:
        try:
            absolute = urljoin(url, target)
        except ValueError:  # not a URL
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


_SHA1_LINES = (
    re.compile(r"\\?(?P<digest>[0-9a-fA-F]{40}) [ *](?P<name>.+)"),
    re.compile(r"\\?SHA1 \((?P<name>.+)\) = (?P<digest>[0-9a-fA-F]{40})"),
)
"""Output line of `sha1sum`, with or without `-b` or `--tag`."""


def parse_sha1sum(text: str) -> dict[str, str]:
    """Parse the output of `sha1sum`, with or without `-b` or `--tag`, into checksums "sha1:…" by file name."""
    checksums = {}
    for line in text.splitlines():
        for form in _SHA1_LINES:
            if found := form.fullmatch(line.strip()):
                checksums[found["name"].rpartition("/")[2]] = f"sha1:{found['digest'].lower()}"
    return checksums


@dataclass(frozen=True)
class Listing:
    """GZ3D files of a directory: URLs and checksums by name, and complaints about the checksums."""

    files: Mapping[str, str]
    checksums: Mapping[str, str]
    complaints: tuple[str, ...] = ()


def list_gz3d(url: str, fetcher: Fetcher) -> Listing:
    """List the GZ3D files of a directory.

    Raises
    ------
    BuildError
        The directory cannot be read, its listing is cut short or lacks files that its sha1sum file names, or it lists
        no GZ3D file.
    """
    url = url.rstrip("/") + "/"
    try:
        files = _whole_listing(url, fetcher)
        sums = {name: fetcher.get(target).text for name, target in files.items() if name.endswith(".sha1sum")}
    except FetchError as error:
        raise BuildError(
            f"the archive's listing is out of reach: {error}; try again later, or give another `archive_url`"
        ) from error
    objects = {name: target for name, target in files.items() if name.endswith(SUFFIX)}
    if not objects:
        raise BuildError(
            f"{url}: its listing names no {SUFFIX} file; is it the directory of the GZ3D files (`archive_url`)?"
        )
    checksums = {name: digest for text in sums.values() for name, digest in parse_sha1sum(text).items()}
    if unlisted := sorted(name for name in checksums.keys() - objects.keys() if name.endswith(SUFFIX)):
        raise BuildError(
            f"{url}: its listing is incomplete: it lacks {len(unlisted):,} of the files named in its sha1sum file,"
            f" such as {unlisted[0]}; try again later"
        )
    return Listing(objects, checksums, tuple(_complaints(url, objects, sums, checksums)))


def _whole_listing(url: str, fetcher: Fetcher) -> dict[str, str]:
    """Files of a complete listing, with its `</html>`: a connection closed early looks like the end of a page."""
    for _ in range(TRIES):
        page = fetcher.get(url).text
        if not re.search(r"<html\b", page, re.IGNORECASE) or re.search(r"</html\s*>\s*$", page, re.IGNORECASE):
            return files_in_listing(page, url)
    raise BuildError(
        f"{url}: its listing is cut short, in each of {TRIES} tries: expected </html> at its end, found {page[-40:]!r};"
        " try again later"
    )


def _complaints(
    url: str, files: Collection[str], sums: Mapping[str, str], checksums: Mapping[str, str]
) -> Iterator[str]:
    """Problems of the sha1sum file, and thus what is not verified."""
    if not sums:
        yield f"{url}: lists no .sha1sum file; downloads are checked by their length alone"
    for name, text in sums.items():
        if re.match(r"\s*<(!doctype|html)\b", text, re.IGNORECASE):
            yield f"{url}{name}: expected checksums, found a web page (a login?); downloads are checked by their length"
        elif wrong := [line for line in text.splitlines() if line.strip() and not parse_sha1sum(line)]:
            yield f"{url}{name}: no checksums in {counted(len(wrong), 'lines')}, such as {wrong[0][:60]!r}"
    if checksums and (without := sorted(name for name in files if name not in checksums)):
        yield f"{url}: no checksum for {len(without):,} of {counted(len(files), 'files')}, such as {without[0]}"
