"""VO Registry tables (RegTAP 1.1), as far as a search for services needs them, with the demo archive's services."""

from __future__ import annotations

from demo_archive.holdings.sdss_tables import Column, Table
from demo_archive.protocols import skyserver, skyview

PREFIX = "/registry"
SILENT = "/silent"
"""Path of a service that accepts requests but never responds, like some in the real Registry."""


_IMAGES, _SLOAN = "Images of simulated galaxies", "Simulated frames of the Sloan Digital Sky Survey, DR7"
_SERVICES = (
    # Identifier, short name, title, description, subject, wavebands, standard, path.
    ("0", "demo SIA", "Simulated SDSS images (SIA1)", _IMAGES, "galaxies", "optical", "sia", "/sia?"),
    ("1", "demo SIA2", "Simulated SDSS images (SIA2)", _IMAGES, "galaxies", "optical", "sia2", "/sia2"),
    (
        "2",
        "demo TAP",
        "Simulated SDSS catalogue",
        "Galaxy Zoo votes and photometry",
        "catalogs",
        "optical",
        "tap",
        "/ssa",
    ),
    (
        "3",
        "silent",
        "A silent archive of galaxies",
        "It does not answer",
        "galaxies",
        "optical#radio",
        "sia",
        f"{SILENT}?",
    ),
    (
        "heasarc/swiftuvot",
        "SWIFTUVOT",
        "Swift UVOT images, simulated",
        "Made by SkyView",
        "galaxies",
        "uv#optical",
        "sia",
        f"{skyview.LIST}?survey=swiftuvot&",
    ),
    (
        "heasarc/sdssdr7",
        "SDSSDR7",
        _SLOAN,
        "Made by SkyView",
        "galaxies",
        "optical",
        "sia",
        f"{skyview.LIST}?survey=sdssdr7&",
    ),
    (
        "jhu/siapdr7-images",
        "SDSSDR7",
        _SLOAN,
        "From SkyServer",
        "galaxies",
        "optical",
        "sia",
        f"{skyserver.QUERY}?format=image/fits&",
    ),
)
_STANDARDS = {
    "sia": "ivo://ivoa.net/std/sia",
    "sia2": "ivo://ivoa.net/std/sia#query-2.0",
    "tap": "ivo://ivoa.net/std/tap",
}


def _text(*names: str) -> tuple[Column, ...]:
    return tuple(Column(name, "char") for name in names)


def registry_tables(url: str) -> list[Table]:
    """Make the Registry's tables for an archive at `url`."""
    resource, capability, interface, subject = [], [], [], []
    for name, short, title, description, about, wavebands, standard, path in _SERVICES:
        ivoid = f"ivo://skyshards.demo/{name}"
        created = "2020-01-01T00:00:00", "2024-01-01T00:00:00"
        home = f"{url}{path.partition('?')[0]}/info"
        described = "vs:catalogservice", short, title, "research", description, home, "The demo archive"
        resource.append((ivoid, *described, *created, "", "survey", "", "", None, wavebands))
        capability.append((ivoid, 1, "vs:catalogservice", title, _STANDARDS[standard]))
        interface.append((ivoid, 1, 1, "vs:paramhttp", "std", "1.1", "full", url + path, None))
        subject.append((ivoid, about))
    return [
        Table("rr", "resource", "Resources", _RESOURCE, resource),
        Table("rr", "capability", "Their capabilities", _CAPABILITY, capability),
        Table("rr", "interface", "Their interfaces", _INTERFACE, interface),
        Table("rr", "res_subject", "Their subjects", _text("ivoid", "res_subject"), subject),
        Table("rr", "alt_identifier", "Further names", _text("ivoid", "alt_identifier"), []),
        Table("rr", "res_role", "People", _text("ivoid", "role_name", "base_role"), []),
        Table("rr", "res_detail", "Details", _text("ivoid", "detail_xpath", "detail_value"), []),
        Table("rr", "table_column", "Columns", _text("ivoid", "name", "ucd"), []),
        Table("rr", "res_table", "Tables", _text("ivoid", "table_name", "table_utype"), []),
    ]


_RESOURCE = (
    *_text("ivoid", "res_type", "short_name", "res_title", "content_level", "res_description", "reference_url"),
    *_text("creator_seq", "created", "updated", "rights", "content_type", "source_format", "source_value"),
    Column("region_of_regard", "float", "deg"),
    *_text("waveband"),
)
_CAPABILITY = (
    *_text("ivoid"),
    Column("cap_index", "int"),
    *_text("cap_type", "cap_description", "standard_id"),
)
_INTERFACE = (
    *_text("ivoid"),
    Column("cap_index", "int"),
    Column("intf_index", "int"),
    *_text("intf_type", "intf_role", "std_version", "url_use", "access_url", "authenticated_only"),
)
