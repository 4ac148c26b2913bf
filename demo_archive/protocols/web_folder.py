"""Folder of files on a web server, without a listing."""

from __future__ import annotations

from demo_archive.serve.files import Files
from demo_archive.serve.server import Request, Response, error_page


class WebFolder:
    """Service of files below `prefix`."""

    def __init__(self, prefix: str, files: Files) -> None:
        self.prefix, self.files = prefix, files

    def __call__(self, request: Request) -> Response:
        name = request.path.removeprefix(self.prefix)
        if name not in self.files:
            return error_page(404)
        return Response(self.files.path(name), "application/octet-stream")
