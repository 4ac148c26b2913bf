"""Tables of the demo archive's TAP service: SDSS's ZooSpec and PhotoObj, filled with the simulated galaxies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from demo_archive.simulation.galaxies import Galaxy, sexagesimal

NAN = float("inf")
"""Placeholder for NaN in the database. SQLite would turn NaN into NULL, while the real server's database ranks it above
every number, as SQLite does infinity. Responses have NaN again."""
RESERVED = {"SIZE"}
"""Those names of columns that are reserved words of ADQL."""


@dataclass(frozen=True)
class Column:
    """A column: name, VOTable datatype ("long", "double", "float", "int" or "char"), unit, description and UCD."""

    name: str
    datatype: str
    unit: str = ""
    description: str = ""
    ucd: str = ""

    @property
    def arraysize(self) -> str | None:
        """Length in VOTable's terms: text has any; None for a number."""
        return "*" if self.datatype == "char" else None

    @property
    def identifier(self) -> str:
        """Name in a query: quoted if the language has a word of that name."""
        return f'"{self.name}"' if self.name.upper() in RESERVED else self.name


@dataclass(frozen=True)
class Table:
    """A table with its rows; queries name it `schema.name`."""

    schema: str
    name: str
    description: str
    columns: tuple[Column, ...]
    rows: Sequence[tuple]

    @property
    def full_name(self) -> str:
        return f"{self.schema}.{self.name}"


ZOOSPEC = (
    Column("specobjid", "long", "", "DR8 spectrum"),
    Column("objid", "long", "", "DR8 object"),
    Column("dr7objid", "long", "", "DR7 object"),
    Column("ra", "float", "deg", "Right ascension, J2000"),
    Column("dec", "float", "deg", "Declination, J2000"),
    Column("rastring", "char", "", "Right ascension, sexagesimal hours"),
    Column("decstring", "char", "", "Declination, sexagesimal degrees"),
    Column("nvote", "int", "", "Votes in all"),
    Column("p_el", "double", "", "Fraction of votes for elliptical"),
    Column("p_cw", "double", "", "Fraction for clockwise spiral"),
    Column("p_acw", "double", "", "Fraction for anticlockwise spiral"),
    Column("p_edge", "double", "", "Fraction for edge-on disk"),
    Column("p_dk", "double", "", "Fraction for not known"),
    Column("p_mg", "double", "", "Fraction for merger"),
    Column("p_cs", "double", "", "Fraction for spiral of any kind"),
    Column("p_el_debiased", "double", "", "Fraction for elliptical, debiased"),
    Column("p_cs_debiased", "double", "", "Fraction for spiral, debiased"),
    Column("spiral", "int", "", "1 if p_cs_debiased > 0.8"),
    Column("elliptical", "int", "", "1 if p_el_debiased > 0.8"),
    Column("uncertain", "int", "", "1 if neither of the two"),
)
PHOTOOBJ = (
    Column("objID", "long", "", "DR7 object", "meta.id;meta.main"),
    Column("run", "int", "", "Run number", "meta.id;obs"),
    Column("camcol", "int", "", "Camera column", "meta.id;instr"),
    Column("field", "int", "", "Field number", "obs.field"),
    Column("obj", "int", "", "Number within the field", "meta.id"),
    Column("mode", "int", "", "1: primary", "src.class"),
    Column("type", "int", "", "3: galaxy", "src.class"),
    Column("petroRad_r", "float", "arcsec", "Petrosian radius", "phys.angSize;src"),
    Column("petroR50_r", "float", "arcsec", "Radius with 50% of the Petrosian flux", "phys.angSize;src"),
    Column("petroR90_r", "float", "arcsec", "Radius with 90% of the Petrosian flux", "phys.angSize;src"),
    Column("petroMag_r", "float", "mag", "Petrosian magnitude", "phot.mag;em.opt.R"),
    *(Column(f"modelMag_{band}", "float", "mag", "Model magnitude") for band in "ugriz"),
    *(Column(f"modelMagErr_{band}", "float", "mag", "Its error") for band in "ugriz"),
    *(Column(f"extinction_{band}", "float", "mag", "Galactic extinction", "phys.absorption.gal") for band in "ugriz"),
    Column("ra", "double", "deg", "Right ascension, J2000", "pos.eq.ra;meta.main"),
    Column("dec", "double", "deg", "Declination, J2000", "pos.eq.dec;meta.main"),
    Column("specObjID", "long", "", "DR7 spectrum", "meta.id;meta.dataset"),
)
ZOO2 = (
    Column("dr7objid", "long", "", "DR7 object", "meta.id;meta.main"),
    Column("ra", "float", "deg", "Right ascension, J2000", "pos.eq.ra;meta.main"),
    Column("dec", "float", "deg", "Declination, J2000", "pos.eq.dec;meta.main"),
    Column("total_classifications", "int", "", "Classifications in all", "meta.number"),
    Column("total_votes", "int", "", "Votes in all, over all questions", "meta.number"),
    *(
        Column(f"{answer}_{kind}", datatype, "", f"{words} {answer!r}", ucd)
        for answer in (
            "t01_smooth_or_features_a01_smooth",
            "t01_smooth_or_features_a02_features_or_disk",
            "t01_smooth_or_features_a03_star_or_artifact",
            "t04_spiral_a08_spiral",
            "t04_spiral_a09_no_spiral",
        )
        for kind, datatype, words, ucd in (
            ("count", "int", "Votes for the answer", "meta.number"),
            ("fraction", "double", "Fraction of votes for the answer", "stat.fraction"),
        )
    ),
)
"""Columns of zoo2MainSpecz, Galaxy Zoo 2, for two of its eleven questions."""
EXTINCTION = {"u": 5.155, "g": 3.793, "r": 2.751, "i": 2.086, "z": 1.479}
"""Extinction in each band for E(B-V) = 1 (Stoughton et al. 2002, AJ 123, 485, table 22)."""
ZOO2_LIMIT = 17.0
"""Galaxy Zoo 2 has the galaxies brighter than this in r, mag (Willett et al. 2013, MNRAS 435, 2835)."""
SPOILED_EVERY = 10
"""One galaxy in this many has a bad value, as found in the real tables, that every sample should exclude."""


def _single(value: float) -> float:
    """Round a value to float32."""
    return float(np.float32(value))


def zoospec_row(galaxy: Galaxy) -> dict[str, object]:
    """Row of a galaxy in ZooSpec."""
    rng = galaxy.rng(20)
    p_el, p_cs = galaxy.p_el_debiased, galaxy.p_cs_debiased
    p_dk, p_mg = (1 - p_el - p_cs) * rng.dirichlet([1, 1])
    p_edge = 0.1 * p_cs
    p_cw = (p_cs - p_edge) * (0.9 if galaxy.winding > 0 else 0.1)
    spiral, elliptical = int(p_cs > 0.8), int(p_el > 0.8)
    values = (
        galaxy.specobjid,
        galaxy.objid,
        galaxy.dr7objid,
        _single(galaxy.ra),
        _single(galaxy.dec),
        "{:02d}:{:02d}:{:05.2f}".format(*sexagesimal(galaxy.ra / 15, 100)),
        ("-" if galaxy.dec < 0 else "+") + "{:02d}:{:02d}:{:04.1f}".format(*sexagesimal(abs(galaxy.dec), 10)),
        int(rng.integers(20, 80)),
        p_el,
        p_cw,
        p_cs - p_edge - p_cw,
        p_edge,
        p_dk,
        p_mg,
        p_cs,
        p_el,
        p_cs,
        spiral,
        elliptical,
        1 - spiral - elliptical,
    )
    row = dict(zip((column.name for column in ZOOSPEC), values, strict=True))
    if _spoiled(galaxy) == 0:
        row |= {"p_el_debiased": NAN, "p_cs_debiased": NAN}
    return row


def zoo2_row(galaxy: Galaxy) -> tuple:
    """Row of a galaxy in zoo2MainSpecz: votes to two questions, of which the second follows `features_or_disk`."""
    rng = galaxy.rng(22)
    volunteers = int(rng.integers(30, 60))
    first = rng.multinomial(volunteers, _shares(galaxy.p_el_debiased, galaxy.p_cs_debiased, 0.02))
    second = rng.multinomial(first[1], _shares(galaxy.p_cs_debiased, 0.2))
    votes = [
        value
        for counts in (first, second)
        for count in counts.tolist()
        for value in (count, count / max(1, sum(counts.tolist())))
    ]
    place = galaxy.dr7objid, _single(galaxy.ra), _single(galaxy.dec)
    return *place, volunteers, int(first.sum() + second.sum()), *votes


def _shares(*weights: float) -> np.ndarray:
    return np.array(weights) / sum(weights)


def photoobj_row(galaxy: Galaxy) -> dict[str, object]:
    """Row of a galaxy in PhotoObj."""
    rng = galaxy.rng(21)
    reddening = rng.uniform(0.01, 0.08)
    magnitudes = galaxy.magnitudes
    # Errors at the magnitude of a typical galaxy of the spectroscopic sample; u and z are shallower.
    depth = {"u": 0.06, "g": 0.006, "r": 0.004, "i": 0.005, "z": 0.015}
    errors = {band: depth[band] * 10 ** (0.3 * (magnitudes["r"] - 16.5)) for band in depth}
    row: dict[str, object] = {
        "objID": galaxy.dr7objid,
        "run": (galaxy.dr7objid >> 32) & 0xFFFF,
        "camcol": (galaxy.dr7objid >> 29) & 0x7,
        "field": (galaxy.dr7objid >> 16) & 0xFFF,
        "obj": galaxy.dr7objid & 0xFFFF,
        "mode": 1,
        "type": 3,
        "petroRad_r": _single(1.2 * galaxy.petroR90_r),
        "petroR50_r": _single(galaxy.petroR50_r),
        "petroR90_r": _single(galaxy.petroR90_r),
        "petroMag_r": _single(galaxy.modelMag_r + 0.03),
        **{f"modelMag_{band}": _single(value) for band, value in magnitudes.items()},
        **{f"modelMagErr_{band}": _single(min(value, 0.45)) for band, value in errors.items()},
        **{f"extinction_{band}": _single(factor * reddening) for band, factor in EXTINCTION.items()},
        "ra": galaxy.ra,
        "dec": galaxy.dec,
        "specObjID": galaxy.specobjid - 224002048,
    }
    spoiled = {1: ("modelMag_z", -9999.0), 2: ("modelMagErr_u", NAN), 3: ("petroR90_r", None), 4: ("modelMag_u", None)}
    way = _spoiled(galaxy)
    if way in spoiled:
        name, value = spoiled[way]
        row[name] = value
    return row


def _spoiled(galaxy: Galaxy) -> int | None:
    """Number (0 to 4) of the bad value in this galaxy's rows; None if they have none."""
    number, is_last = galaxy.index // SPOILED_EVERY % 5, galaxy.index % SPOILED_EVERY == SPOILED_EVERY - 1
    return number if is_last else None


def sdss_tables(galaxies: list[Galaxy]) -> list[Table]:
    """Make the tables for queries that join Galaxy Zoo votes with SDSS photometry."""
    zoospec = [tuple(zoospec_row(galaxy).values()) for galaxy in galaxies]
    photoobj = [tuple(photoobj_row(galaxy).values()) for galaxy in galaxies]
    zoo2 = [zoo2_row(galaxy) for galaxy in galaxies if galaxy.modelMag_r < ZOO2_LIMIT]
    return [
        Table("BestDR9", "ZooSpec", "Galaxy Zoo votes of simulated galaxies with spectra", ZOOSPEC, zoospec),
        Table("BestDR7", "PhotoObj", "Photometry of simulated galaxies", PHOTOOBJ, photoobj),
        Table("BestDR10", "zoo2MainSpecz", "Galaxy Zoo 2 votes of simulated bright galaxies", ZOO2, zoo2),
    ]
