"""An answer of a VO service takes no more memory than a page of the catalogue, and brings no file of this machine."""

import base64
import gzip
import io

import pytest
from astropy.io import votable

from demo_archive.serve.server import Response
from gz_sdss import vo
from gz_sdss.tap_catalog import PAGE_ROWS
from gz_sdss.votable_bounds import MAX_ELEMENTS, MAX_TAG, check_votable
from skyshards.errors import BuildError, FetchError

ROWS = PAGE_ROWS
FIELDS = '<FIELD name="x" datatype="double"/>' * 24


def document(data, fields=FIELDS, begin="", name=""):
    open_, close = f"<{name}", f"</{name}"
    text = f"{begin}<VOTABLE><RESOURCE><TABLE>{fields}{open_}DATA>{data}{close}DATA></TABLE></RESOURCE></VOTABLE>"
    return text.encode()


HOSTILE = {
    "rows of nothing": (document("<TABLEDATA>" + "<TR/>" * 1_000_000 + "</TABLEDATA>"), "1,000,000 rows of 216 bytes"),
    "wide rows": (
        document("<TABLEDATA><TR><TD/></TR></TABLEDATA>", '<FIELD name="x" datatype="char" arraysize="999999999"/>'),
        "1 rows of 4,999,999,995 bytes",
    ),
    "prefixed rows": (
        document("<v:TABLEDATA>" + "<v:TR/>" * 1_000_000 + "</v:TABLEDATA>", name="v:"),
        "1,000,000 rows",
    ),
    "a second table": (
        document("<TABLEDATA><TR/></TABLEDATA>").replace(
            b"</TABLE>",
            b'</TABLE><TABLE><FIELD name="y" arraysize="999999999" datatype="int"/><DATA><TABLEDATA><TR/></TABLEDATA>'
            b"</DATA></TABLE>",
        ),
        "rows of",
    ),
    "a stream of bits": (
        document(
            f'<BINARY><STREAM encoding="base64">{base64.b64encode(bytes(6_000_000)).decode()}</STREAM></BINARY>',
            '<FIELD name="x" datatype="char" arraysize="*"/>',
        ),
        "rows of 128 bytes",
    ),
    "a file of this machine": (
        document('<BINARY><STREAM href="file:///etc/passwd"/></BINARY>'),
        "a reference to another file",
    ),
    "elements": (document("", begin="<INFO/>" * MAX_ELEMENTS), "elements beside rows and cells"),
    "hidden elements": (
        document("<TABLEDATA/>" + "<![CDATA[<TD>]]><INFO/>" * MAX_ELEMENTS),
        "elements beside rows and cells",
    ),
    "attributes": (document("", begin="<INFO" + ' x=">"' * (MAX_TAG // 5 + 5) + "/>"), "bytes between two tags"),
    "entities": (document("", begin='<!DOCTYPE v [<!ENTITY a "<TR/>">]>'), "entities"),
    "UTF-16": (document("").decode().encode("utf-16"), "UTF-16"),
    "UTF-16 without a mark": (document("").decode().encode("utf-16-le"), "UTF-16"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_would_take_much_more_memory_than_it_is_long_is_refused(kind):
    content, words = HOSTILE[kind]
    with pytest.raises(FetchError, match=words):
        check_votable(memoryview(content))


@pytest.mark.parametrize("name", ["", "v:"])
def test_a_page_of_the_catalogue_is_read(name):
    row = f"<{name}TR>" + f"<{name}TD>0.12345678901234567</{name}TD>" * 24 + f"</{name}TR>"
    check_votable(document(f"<{name}TABLEDATA>{row * ROWS}</{name}TABLEDATA>", name=name))


@pytest.mark.parametrize("format", ["tabledata", "binary", "binary2"])
def test_every_form_of_a_table_is_read(format):
    text = document("<TABLEDATA>" + ("<TR>" + "<TD>1.5</TD>" * 24 + "</TR>") * 100 + "</TABLEDATA>")
    table = votable.parse(io.BytesIO(text))
    written = io.BytesIO()
    table.to_xml(written, tabledata_format=format)
    check_votable(written.getvalue())


def test_bounds_hold_for_every_service(serve):
    """The message names the address, and what to do."""
    answers = {
        "/rows": HOSTILE["rows of nothing"][0],
        "/bomb": gzip.compress(bytes(vo.MAX_ANSWER + 1)),
        "/long": bytes(vo.MAX_ANSWER + 1),
    }
    server = serve(lambda request: Response(answers[request.path], "text/xml"))
    for path in answers:
        with (
            pytest.raises(BuildError, match=f"{server.url}{path}: .*(expected|more than).*; ask for fewer rows"),
            vo.server_errors(f"{server.url}{path}", BuildError),
        ):
            vo.vo_session(retries=0).get(f"{server.url}{path}")
