"""Zenodo records: JSON as in its REST API, and files with MD5 checksums."""

from __future__ import annotations

import json
import mimetypes
import re
from collections.abc import Mapping

from demo_archive.serve.files import Files
from demo_archive.serve.server import Request, Response

PREFIX = "/zenodo"
FILE = re.compile(r"/(?:api/)?records?/(\d+)/files/([^/]+)(?:/content)?/?")
RECORD = re.compile(r"/(?:api/)?records?/(\d+)/?")


class Zenodo:
    """Service of records at `PREFIX`, like zenodo.org at its root.

    Parameters
    ----------
    records : dict of record number -> (title, Files)
    """

    def __init__(self, records: Mapping[int, tuple[str, Files]]) -> None:
        self.records = records

    def __call__(self, request: Request) -> Response:
        path = request.path.removeprefix(PREFIX)
        if (found := FILE.fullmatch(path)) and int(found[1]) in self.records:
            files = self.records[int(found[1])][1]
            if found[2] in files:
                name = found[2]
                headers = {"Content-Disposition": f'attachment; filename="{name}"'}
                kind = mimetypes.guess_type(name, strict=False)[0] or "application/octet-stream"
                return Response(files.path(name), kind, headers=headers)
        if (found := RECORD.fullmatch(path)) and int(found[1]) in self.records:
            host = request.server_url + PREFIX
            return Response(json.dumps(self._record(int(found[1]), host)).encode(), "application/json")
        error = {"status": 404, "message": "The persistent identifier does not exist."}
        return Response(json.dumps(error).encode(), "application/json", 404)

    def _record(self, number: int, host: str) -> dict:
        title, files = self.records[number]
        entries = []
        for name in files:
            url = f"{host}/api/records/{number}/files/{name}/content"
            size, checksum = files.path(name).stat().st_size, f"md5:{files.digest(name, 'md5')}"
            links = {"self": url}
            entries.append({"id": f"{number}-{name}", "key": name, "size": size, "checksum": checksum, "links": links})
        return {
            "id": number,
            "recid": str(number),
            "doi": f"10.5281/zenodo.{number}",
            "title": title,
            "metadata": {"title": title, "doi": f"10.5281/zenodo.{number}", "access_right": "open"},
            "links": {"self": f"{host}/api/records/{number}", "self_html": f"{host}/records/{number}"},
            "files": entries,
            "status": "published",
        }
