"""Units mean the same in all datasets, and programs understand them."""

import pytest
from astropy import units

from candels_blend import candels_blend
from candels_blend.targets import METHODS
from galaxy10 import galaxy10
from gz3d import gz3d
from gz_decals import gz_decals
from gz_sdss import gz_sdss
from sdss_spectra import sdss_spectra

SCHEMAS = {
    "gz3d": gz3d.SCHEMA,
    "gz3d with polygons": gz3d.schema_of(polygons=True),
    "gz_sdss": gz_sdss.SCHEMA,
    "gz_sdss of FITS": gz_sdss.schema_of("fits"),
    "gz_decals": gz_decals.schema(tuple((name, "float64") for name in gz_decals._KNOWN)),
    "sdss_spectra": sdss_spectra.SCHEMA,
    "galaxy10": galaxy10.SCHEMA,
    **{f"candels_blend with {method}": candels_blend.schema_of(method) for method in METHODS},
}


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_unit_is_a_vounit(name):
    for spec in SCHEMAS[name].specs.values():
        if spec.unit:
            assert units.Unit(spec.unit, format="vounit") == units.Unit(spec.unit), spec


def test_a_name_has_one_unit_in_all_datasets():
    found = {}
    for schema in SCHEMAS.values():
        for path, spec in schema.specs.items():
            found.setdefault(path, set()).add(spec.unit)
    assert {name: unit for name, unit in found.items() if len(unit) > 1} == {}
    assert found["scale"] == found["ra"] == found["dec"] == {"deg"}


def test_nanomaggies_are_what_they_should_be():
    """AB magnitude 22.5 is 1 nanomaggy."""
    unit = units.Unit(SCHEMAS["gz_decals"].specs["sersic_nmgy_r"].unit, format="vounit")
    assert units.Quantity(1, unit).to_value(units.ABmag) == pytest.approx(22.5, abs=1e-3)
