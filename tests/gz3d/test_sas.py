"""The archive's listing: which files it names, what their checksums are, and what must not be believed."""

import gzip
import html
from types import SimpleNamespace
from urllib.parse import quote

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st

from demo_archive import DemoArchive, Fault
from gz3d.sas import FILE_NAME, GZ3D_URL, files_in_listing, list_gz3d, parse_sha1sum
from skyshards.errors import BuildError
from skyshards.fetch.client import Fetcher
from tests.raw_server import answer, raw_server

URL = "https://archive.example/sas/v4_0_0/"
SHA1SUM = "manga_morphology_galaxyzoo3d_v4_0_0.sha1sum"


@pytest.fixture
def fetcher():
    return Fetcher(timeout=5, retries=2, backoff=0)


def listing(*targets):
    links = "".join(
        f'<a href="{html.escape(target)}">{target[:20]}..&gt;</a>  08-Dec-2021 21:46  700\n' for target in targets
    )
    return f'<html><head><title>Index of /</title></head><body><pre><a href="../">../</a>\n{links}</pre></body></html>'


def sha1sums(shared_data):
    return parse_sha1sum((shared_data / "sas" / SHA1SUM).read_text())


@pytest.mark.parametrize("page", ["nginx_autoindex.html", "nginx_fancyindex.html"])
def test_a_real_servers_pages(shared_data, page):
    """Recorded from nginx. The sha1sum file of the same folder names the same files."""
    files = files_in_listing((shared_data / "sas" / page).read_text(), GZ3D_URL)
    objects = {name for name in files if name.endswith(".fits.gz")}
    assert objects == {name for name in sha1sums(shared_data) if name.endswith(".fits.gz")} and len(objects) > 40
    assert all(files[name] == GZ3D_URL + name for name in files)
    assert all(FILE_NAME.fullmatch(name) for name in objects)
    assert SHA1SUM in files and not any("?" in name or ".." in name for name in files)


def test_both_pages_of_a_real_server_agree(shared_data):
    pages = [(shared_data / "sas" / f"nginx_{kind}.html").read_text() for kind in ("autoindex", "fancyindex")]
    assert files_in_listing(pages[0], GZ3D_URL) == files_in_listing(pages[1], GZ3D_URL)


@pytest.mark.slow
def test_all_real_names(shared_data):
    """29,813 of them, as they are on the server and as older code had them."""
    names = gzip.decompress((shared_data / "gz3d/file_names.txt.gz").read_bytes()).decode().split()
    assert len(set(names)) == 29_813
    served = [f"gz3d_{name}" for name in names]
    assert set(files_in_listing(listing(*served), URL)) == set(served)
    for name in (*names, *served):
        found = FILE_NAME.fullmatch(name)
        assert f"{found['mangaid']}_{found['ifu']}_{found['subject']}.fits.gz" == name.removeprefix("gz3d_")
        assert found["ifu"] in {"19", "37", "61", "91", "127"}


HARMLESS = {
    "gz3d_1-2_127_3.fits.gz": "gz3d_1-2_127_3.fits.gz",
    "1-2_127_3.fits.gz": "1-2_127_3.fits.gz",
    "./a.fits.gz": "a.fits.gz",
    "/sas/v4_0_0/a.fits.gz": "a.fits.gz",
    URL + "a.fits.gz": "a.fits.gz",
    "//archive.example/sas/v4_0_0/a.fits.gz": "a.fits.gz",
    "a%2Bb%20c.fits.gz": "a+b c.fits.gz",
    "caf%C3%A9.fits.gz": "café.fits.gz",
}


@pytest.mark.parametrize("target", HARMLESS)
def test_links_to_files(target):
    (name,) = files_in_listing(listing(target), URL)
    assert name == HARMLESS[target]


HARMFUL = [
    "../a.fits.gz",
    "../../../../etc/passwd.fits.gz",
    "..%2fa.fits.gz",
    "..%2F..%2Fa.fits.gz",
    "%2e%2e/a.fits.gz",
    "%2e%2e%2fa.fits.gz",
    "..\\a.fits.gz",
    "..%5ca.fits.gz",
    "/etc/a.fits.gz",
    "/sas/v4_0_00/a.fits.gz",
    "//evil.example/a.fits.gz",
    "https://evil.example/a.fits.gz",
    "https://archive.example.evil.example/sas/v4_0_0/a.fits.gz",
    "https://archive.example@evil.example/sas/v4_0_0/a.fits.gz",
    "http://archive.example/sas/v4_0_0/a.fits.gz",
    "file:///etc/a.fits.gz",
    "javascript:alert(1)//.fits.gz",
    "data:application/gzip;base64,AAAA.fits.gz",
    "sub/a.fits.gz",
    "sub/",
    "a.fits.gz/",
    "a.fits.gz?C=N&O=A",
    "a.fits.gz#part",
    "a%00.fits.gz",
    "%2Fetc%2Fa.fits.gz",
    "..",
    ".",
    "%2e%2e",
    "",
    "a%0Ab.fits.gz",
    "a%1B[2Jb.fits.gz",
    ".hidden.fits.gz",
    "http://[bad/a.fits.gz",
    "//[",
    "http://archive.example:port/sas/v4_0_0/a.fits.gz",
]


@pytest.mark.parametrize("target", HARMFUL)
def test_links_that_lead_elsewhere_do_not_count(target):
    assert list(files_in_listing(listing(target, "good.fits.gz"), URL)) == ["good.fits.gz"]


@pytest.mark.slow
@settings(max_examples=40)
@given(st.text(min_size=1, max_size=30))
def test_no_link_makes_a_path_out_of_the_folder(target):
    for name, url in files_in_listing(listing(target, quote(target, safe="")), URL).items():
        assert url.startswith(URL)
        assert name not in (".", "..") and not set(name) & set("/\\\0\n")


@pytest.mark.slow
@settings(max_examples=40)
@given(st.text())
def test_any_page_is_a_listing_of_some_files(page):
    assert isinstance(files_in_listing(page, URL), dict)


def test_what_only_looks_like_a_link_is_none():
    page = '<!-- <a href="a.fits.gz"> --> &lt;a href="b.fits.gz"&gt; <img src="c.fits.gz"> <p>d.fits.gz</p> <a>e</a>'
    assert files_in_listing(page, URL) == {}


def test_a_file_that_is_listed_twice_counts_once():
    assert len(files_in_listing(listing("b.fits.gz", "a.fits.gz", "b.fits.gz"), URL)) == 2


def test_the_order_is_that_of_the_names():
    assert list(files_in_listing(listing("b", "c", "a"), URL)) == ["a", "b", "c"]


def test_sha1sums_of_a_real_server(shared_data):
    sums = sha1sums(shared_data)
    assert sums["gz3d_1-100010_37_14715414.fits.gz"] == "sha1:c363d5345ca7faa1c13ffbaea4acd9c881184028"
    text = (shared_data / "sas" / SHA1SUM).read_text()
    assert len(sums) == len(text.splitlines())


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("A" * 40 + "  a.fits.gz", {"a.fits.gz": "sha1:" + "a" * 40}),
        ("a" * 40 + "  ./folder/a.fits.gz\r", {"a.fits.gz": "sha1:" + "a" * 40}),
        ("a" * 39 + "  a.fits.gz", {}),
        ("a" * 40 + " *a.fits.gz", {"a.fits.gz": "sha1:" + "a" * 40}),
        ("SHA1 (./a.fits.gz) = " + "A" * 40, {"a.fits.gz": "sha1:" + "a" * 40}),
        ("SHA256 (a.fits.gz) = " + "a" * 64, {}),
        ("<html>503 Service Unavailable</html>", {}),
        ("", {}),
    ],
)
def test_lines_of_a_sha1sum_file(line, found):
    assert parse_sha1sum(line) == found


@pytest.mark.slow
def test_the_demo_archive_is_listed(demo, fetcher):
    listing = list_gz3d(demo.sas_url, fetcher)
    files = listing.files
    assert len(files) == 10 and set(files) <= set(listing.checksums) and listing.complaints == ()
    assert all(FILE_NAME.fullmatch(name) for name in files), "the tables and the sha1sum file are no objects"


def test_a_slash_at_the_end_of_the_url_does_not_matter(demo, fetcher):
    assert list_gz3d(demo.sas_url.rstrip("/"), fetcher) == list_gz3d(demo.sas_url + "/", fetcher)


@pytest.mark.parametrize("path", ["/nothing/", "/zenodo/nothing"])
def test_a_directory_that_is_not_there(demo, fetcher, path):
    with pytest.raises(BuildError, match="out of reach: .*404.*`archive_url`"):
        list_gz3d(demo.url + path, fetcher)


@pytest.mark.parametrize("url", ["", "nonsense", "ftp://archive.example/", "http://[::1", "http://127.0.0.1:0/"])
def test_a_url_that_is_none(fetcher, url):
    with pytest.raises(BuildError, match="`archive_url`") as caught:
        list_gz3d(url, fetcher)
    assert "\n" not in str(caught.value)


def test_a_page_that_lists_no_such_file(demo, fetcher):
    url = demo.sas_url + SHA1SUM + "?"  # a page, if not of a directory
    assert requests.get(url).ok
    with pytest.raises(BuildError, match="names no .fits.gz file"):
        list_gz3d(url, fetcher)


@pytest.mark.slow
@pytest.mark.parametrize("what", ["v4_0_0/$", "sha1sum"])
@pytest.mark.parametrize("kind", ["503", "reset", "truncate"])
def test_a_listing_is_asked_for_again(fetcher, what, kind):
    """Half a listing would be half a dataset, half the checksums half the safety."""
    with DemoArchive(galaxies=3) as archive:
        whole = list_gz3d(archive.sas_url, fetcher)
        archive.add_fault(Fault(what, kind, times=2))
        assert list_gz3d(archive.sas_url, fetcher) == whole


@pytest.mark.parametrize("what", ["v4_0_0/$", "sha1sum"])
@pytest.mark.parametrize("kind", ["503", "truncate"])
def test_a_listing_that_cannot_be_had_whole_ends_the_build(fetcher, what, kind):
    with DemoArchive(galaxies=3, faults=[Fault(what, kind, times=None)]) as archive:
        with pytest.raises(BuildError, match="out of reach") as caught:
            list_gz3d(archive.sas_url, fetcher)
        assert "\n" not in str(caught.value)


class Pages:
    """In place of a `Fetcher`: pages by the last part of their URL, each list one after the other."""

    def __init__(self, **pages):
        self.pages = {name: list(page) if isinstance(page, list) else [page] * 9 for name, page in pages.items()}

    def get(self, url):
        name = "sums" if url.endswith(".sha1sum") else "listing"
        return SimpleNamespace(text=self.pages[name].pop(0))


def sums(*names, form="{digest}  {name}"):
    return "\n".join(form.format(digest="a" * 40, name=name) for name in names)


WHOLE = listing("a.fits.gz", "b.fits.gz", "all.sha1sum")


def test_a_listing_that_is_cut_short_is_an_error(cases):
    page = (cases / "listings/cut_short.html").read_text()
    with pytest.raises(BuildError, match=r"its listing is cut short.*expected </html> at its end, found .*127_1"):
        list_gz3d(URL, Pages(listing=page))


@pytest.mark.parametrize("end", [5, 40, 80, 150, len(WHOLE) - 1, len(WHOLE) - 8])
def test_it_is_asked_for_again_wherever_it_was_cut(end):
    whole = list_gz3d(URL, Pages(listing=WHOLE, sums=sums("a.fits.gz", "b.fits.gz")))
    cut = Pages(listing=[WHOLE[:end], WHOLE], sums=sums("a.fits.gz", "b.fits.gz"))
    if "<html" in WHOLE[:end]:
        assert list_gz3d(URL, cut) == whole
    else:
        with pytest.raises(BuildError, match="names no .fits.gz file"):
            list_gz3d(URL, cut)


def test_the_ends_of_real_pages(shared_data):
    for kind in ("autoindex", "fancyindex"):
        page = (shared_data / f"sas/nginx_{kind}.html").read_text()
        text = (shared_data / "sas" / SHA1SUM).read_text()
        found = list_gz3d(GZ3D_URL, Pages(listing=page, sums=text))
        assert found.complaints == () and len(found.files) > 40


def test_a_listing_without_files_that_the_sha1sum_file_names_is_an_error():
    pages = Pages(listing=WHOLE, sums=sums("a.fits.gz", "b.fits.gz", "c.fits.gz"))
    with pytest.raises(BuildError, match="it lacks 1 of the files named in its sha1sum file, such as c.fits.gz"):
        list_gz3d(URL, pages)


@pytest.mark.parametrize("form", ["{digest}  {name}", "{digest} *{name}", "SHA1 ({name}) = {digest}"])
def test_every_form_of_sha1sum_is_read(form):
    found = list_gz3d(URL, Pages(listing=WHOLE, sums=sums("a.fits.gz", "b.fits.gz", form=form)))
    assert found.checksums == dict.fromkeys(["a.fits.gz", "b.fits.gz"], "sha1:" + "a" * 40)
    assert found.complaints == ()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("<!DOCTYPE html><html><body>Please log in</body></html>", "expected checksums, found a web page"),
        (sums("a.fits.gz"), "no checksum for 1 of 2 files, such as b.fits.gz"),
        (sums("a.fits.gz", "b.fits.gz") + "\n1234  c", "no checksums in 1 line, such as '1234  c'"),
    ],
)
def test_what_is_not_verified_is_said(text, complaint):
    found = list_gz3d(URL, Pages(listing=WHOLE, sums=text))
    assert complaint in " ".join(found.complaints) and len(found.files) == 2


def test_a_missing_sha1sum_file_is_said():
    (complaint,) = list_gz3d(URL, Pages(listing=listing("a.fits.gz"))).complaints
    assert "lists no .sha1sum file" in complaint


@pytest.mark.parametrize("length", [True, False])
def test_a_connection_that_closes_early_is_no_end_of_a_listing(length):
    """Without a length, HTTP cannot tell; with chunks or a length, it can."""
    part = WHOLE.encode()[:-40]
    cut = answer(part, *([f"Content-Length: {len(WHOLE)}"] if length else []), length=False)
    whole = answer(WHOLE.encode()), answer(sums("a.fits.gz", "b.fits.gz").encode())
    with raw_server(cut, *whole) as server:
        assert list(list_gz3d(server.url, Fetcher(retries=1, backoff=0)).files) == ["a.fits.gz", "b.fits.gz"]
    with raw_server(cut) as server, pytest.raises(BuildError, match="cut short" if not length else "out of reach"):
        list_gz3d(server.url, Fetcher(retries=0))
