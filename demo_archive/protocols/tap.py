"""TAP service (IVOA TAP 1.1): synchronous and asynchronous queries, and its VOSI metadata."""

from __future__ import annotations

from collections.abc import Mapping
from xml.sax.saxutils import escape

from demo_archive.holdings.sdss_tables import Column
from demo_archive.protocols import votable
from demo_archive.protocols.adql import Database, QueryError
from demo_archive.protocols.tap_schema import FOREIGN_KEYS
from demo_archive.protocols.uws import Jobs
from demo_archive.serve.server import Request, Response, error_page

_VOSI = (
    'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xmlns:vs="http://www.ivoa.net/xml/VODataService/v1.1"'
    ' xmlns:tr="http://www.ivoa.net/xml/TAPRegExt/v1.0" xmlns:vr="http://www.ivoa.net/xml/VOResource/v1.0"'
)


class Tap:
    """TAP service of a database.

    Parameters
    ----------
    prefix : str
        Path of the service.
    database : Database
    maxrec : int
        Maximum number of rows in a response. A truncated result is marked only by its QUERY_STATUS.
    """

    def __init__(self, prefix: str, database: Database, maxrec: int) -> None:
        self._prefix, self._database, self._maxrec = prefix, database, maxrec
        self.jobs = Jobs(self._run)

    def __call__(self, request: Request) -> Response:
        base = request.server_url + self._prefix
        what, _, rest = request.path.removeprefix(self._prefix).strip("/").partition("/")
        if what == "sync":
            given = {name: values[-1] for name, values in (*request.query.items(), *request.form.items())}
            outcome = self._run(given)
            # Errors have status 200, and their message in the VOTable: DALI leaves this open, and DaCHS does so.
            return Response(votable.error(outcome), "text/xml") if isinstance(outcome, str) else outcome
        if what == "async":
            return self.jobs(request, f"{base}/async", rest)
        pages = {"availability": _availability, "capabilities": self._capabilities, "tables": self._tables}
        return Response(pages[what](base).encode(), "text/xml") if what in pages else error_page(404)

    def _run(self, parameters: Mapping[str, str]) -> Response | str:
        if parameters.get("REQUEST", "doQuery") != "doQuery":
            return f"Field request: {parameters['REQUEST']!r} is not doQuery"
        if parameters.get("LANG", "ADQL").upper().partition("-")[0] != "ADQL":
            return f"Field lang: This service does not support the query language {parameters['LANG']}"
        if not parameters.get("QUERY"):
            return "Field query: Required parameter query missing"
        asked = parameters.get("MAXREC", str(self._maxrec))
        if not asked.isdecimal():
            return f"Field maxrec: {asked!r} is not a valid literal for an integer"
        form = parameters.get("RESPONSEFORMAT") or parameters.get("FORMAT") or "votable"
        try:
            result = self._database.query(parameters["QUERY"], min(int(asked), self._maxrec))
        except QueryError as error:
            return str(error)
        if form.partition(";")[0] in ("csv", "text/csv"):
            return Response(votable.as_csv(result.columns, result.rows), "text/csv;header=present")
        if form.partition(";")[0] in ("votable", "text/xml", votable.CONTENT_TYPE):
            body = votable.results(result.columns, result.rows, result.overflow, parameters["QUERY"])
            return Response(body, votable.CONTENT_TYPE)
        return f"Field responseformat: {form!r} is not among csv, votable"

    def _capabilities(self, base: str) -> str:
        # Declares set operations, because clients use UNION only if it is declared. ADQL has them since version 2.1.
        sets = "".join(f"<feature><form>{form}</form></feature>" for form in ("UNION", "EXCEPT", "INTERSECT"))
        features = f'<languageFeatures type="ivo://ivoa.net/std/TAPRegExt#features-adql-sets">{sets}</languageFeatures>'
        language = "".join(
            f'<language><name>ADQL</name><version ivo-id="ivo://ivoa.net/std/ADQL#v{version}">{version}</version>'
            f"{more}</language>"
            for version, more in (("2.1", features), ("2.0", ""))
        )
        forms = "".join(
            f"<outputFormat><mime>{mime}</mime><alias>{alias}</alias></outputFormat>"
            for mime, alias in ((votable.CONTENT_TYPE, "votable"), ("text/csv;header=present", "csv"))
        )
        limits = "".join(f'<{limit} unit="row">{self._maxrec}</{limit}>' for limit in ("default", "hard"))
        return vosi_capabilities(
            {
                "ivo://ivoa.net/std/TAP": base,
                "ivo://ivoa.net/std/VOSI#capabilities": f"{base}/capabilities",
                "ivo://ivoa.net/std/VOSI#availability": f"{base}/availability",
                "ivo://ivoa.net/std/VOSI#tables": f"{base}/tables",
            },
            tap=f"{language}{forms}<outputLimit>{limits}</outputLimit>",
        )

    def _tables(self, base: str) -> str:
        schemas: dict[str, str] = {}
        for table in self._database.tables:
            columns = "".join(
                f"<column><name>{column.identifier}</name>{_element('description', column.description)}"
                f"{_element('unit', column.unit)}{_element('ucd', column.ucd)}{_data_type(column)}</column>"
                for column in table.columns
            )
            description = _element("description", table.description)
            schemas.setdefault(table.schema, "")
            keys = "".join(_foreign_key(*key) for table_name, *key in FOREIGN_KEYS if table_name == table.full_name)
            schemas[table.schema] += f"<table><name>{table.full_name}</name>{description}{columns}{keys}</table>"
        body = "".join(f"<schema><name>{name}</name>{tables}</schema>" for name, tables in schemas.items())
        return _document("vtm:tableset", "vtm", "VOSITables", body)


def vosi_capabilities(urls: Mapping[str, str], tap: str = "") -> str:
    """Make a VOSI capabilities document: the URL of each standard; `tap` is further content for a TAP service."""
    body = ""
    for standard, url in urls.items():
        is_tap = standard == "ivo://ivoa.net/std/TAP"
        kind = ' xsi:type="tr:TableAccess"' if is_tap else ""
        access = f'<accessURL use="{"full" if is_tap else "base"}">{escape(url)}</accessURL>'
        interface = f'<interface xsi:type="vs:ParamHTTP" role="std" version="1.1">{access}</interface>'
        body += f'<capability standardID="{standard}"{kind}>{interface}{tap if is_tap else ""}</capability>'
    return _document("cap:capabilities", "cap", "VOSICapabilities", body)


def _foreign_key(column: str, target: str, target_column: str) -> str:
    columns = f"<fromColumn>{column}</fromColumn><targetColumn>{target_column}</targetColumn>"
    return f"<foreignKey><targetTable>{target}</targetTable><fkColumn>{columns}</fkColumn></foreignKey>"


def _element(name: str, text: str) -> str:
    """An element, or nothing if there is nothing to say."""
    return f"<{name}>{escape(text)}</{name}>" if text else ""


def _data_type(column: Column) -> str:
    length = f' arraysize="{column.arraysize}"' if column.arraysize else ""
    return f'<dataType xsi:type="vs:VOTableType"{length}>{column.datatype}</dataType>'


def _document(root: str, space: str, name: str, body: str) -> str:
    spaces = f'xmlns:{space}="http://www.ivoa.net/xml/{name}/v1.0" {_VOSI}'
    return f"<?xml version='1.0' encoding='utf-8'?>\n<{root} {spaces}>{body}</{root}>"


def _availability(base: str) -> str:
    return _document("avl:availability", "avl", "VOSIAvailability", "<avl:available>true</avl:available>")
