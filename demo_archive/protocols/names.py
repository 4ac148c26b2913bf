"""What clients ask before they search: Sesame, which knows where named objects are, and the IVOA's vocabularies."""

from __future__ import annotations

import json
from urllib.parse import unquote_plus, urlsplit

from demo_archive.serve.server import Request, Response, error_page

SESAME = "/sesame/"
VOCABULARIES = "/rdf/"
M51 = 202.469575, 47.1952583
"""Right ascension and declination, ICRS, degrees (Sesame)."""
_NAMES = {name: M51 for name in ("m51", "ngc5194", "whirlpoolgalaxy")}
_MESSENGERS = ("Radio", "Millimeter", "Infrared", "Optical", "UV", "EUV", "X-ray", "Gamma-ray", "Photon", "Neutrino")


def sesame(request: Request) -> Response:
    """Answer `/SNV?name` as Sesame does in plain text."""
    name = unquote_plus(urlsplit(request.target).query)
    place = _NAMES.get("".join(name.lower().split()))
    found = f"%J {place[0]:.8f} {place[1]:+.8f}" if place else "#! Nothing found"
    return Response(f"# {name}\n{found}\n".encode())


def vocabulary(request: Request) -> Response:
    """Answer with the names of wavebands, `/messenger`, in the IVOA's JSON (desise)."""
    if request.path != f"{VOCABULARIES}messenger":
        return error_page(404)
    terms = {name: {"label": name, "description": ""} for name in _MESSENGERS}
    body = {"uri": f"{request.server_url}{request.path}", "flavour": "RDF Class", "terms": terms}
    return Response(json.dumps(body).encode(), "application/x-desise+json")
