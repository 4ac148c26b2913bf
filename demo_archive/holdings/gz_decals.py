"""Release of Galaxy Zoo DECaLS with Zoobot's additions: tables of votes, zip archives of images, representations."""

from __future__ import annotations

import io
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from PIL import Image

from demo_archive.serve.files import Files
from demo_archive.simulation.deep_images import deep_image
from demo_archive.simulation.galaxies import Galaxy
from demo_archive.simulation.looks import ring_chance
from demo_archive.simulation.representations import FEATURES, represent
from demo_archive.simulation.votes import TREE_1_AND_2, TREE_5, Tree, cast, fractions

RECORD = 4573248
SIZE = 424
"""Width and height of the release's images, pixels."""
PARTS = 4
WITHOUT_FEATURES = 20
"""One galaxy in this many has no representation."""


def image_scale(galaxy: Galaxy) -> float:
    """Arcsec per pixel of a galaxy's image, which scales with its size (Walmsley et al. 2022, section 2.3)."""
    return max(min(0.04 * galaxy.petroR50_r, 0.02 * galaxy.petroR90_r), 0.1)


def image_path(galaxy: Galaxy) -> str:
    """Path of a galaxy's image, in a folder named by the first four characters of its name."""
    return f"{galaxy.iauname[:4]}/{galaxy.iauname}.png"


def image(galaxy: Galaxy) -> np.ndarray:
    """Render a galaxy's image as in the release: uint8 `[424, 424, 3]`."""
    return deep_image(galaxy, SIZE, image_scale(galaxy))


def image_png(galaxy: Galaxy) -> bytes:
    """Render a galaxy's image as in the release: PNG bytes."""
    buffer = io.BytesIO()
    Image.fromarray(image(galaxy)).save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()


def image_chunk(galaxies: list[Galaxy], part: int) -> bytes:
    """Make a zip archive of a quarter of the images, sorted by name."""
    ordered = sorted(galaxies, key=lambda galaxy: galaxy.iauname)
    chunk = ordered[len(ordered) * part // PARTS : len(ordered) * (part + 1) // PARTS]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for galaxy in chunk:
            archive.writestr(zipfile.ZipInfo(image_path(galaxy), (2020, 12, 21, 0, 0, 0)), image_png(galaxy))
    return buffer.getvalue()


def _metadata(galaxy: Galaxy) -> dict[str, object]:
    flux = 10 ** (0.4 * (22.5 - galaxy.modelMag_r))
    return {
        "iauname": galaxy.iauname,
        "ra": galaxy.ra,
        "dec": galaxy.dec,
        "redshift": galaxy.redshift,
        "elpetro_absmag_r": galaxy.modelMag_r - 5 * np.log10(galaxy.redshift * 3e5 / 70) - 25,
        "sersic_nmgy_r": flux,
        "petro_th50": galaxy.petroR50_r,
        "petro_th90": galaxy.petroR90_r,
        "petro_theta": 1.2 * galaxy.petroR90_r,
        "wrong_size_statistic": 100.0,
        "wrong_size_warning": False,
    }


def volunteers(galaxies: list[Galaxy], tree: Tree) -> bytes:
    """Make a table of volunteers' votes, as Parquet."""
    rows = []
    for galaxy in galaxies:
        rng = galaxy.rng(30)
        rows.append(_metadata(galaxy) | cast(galaxy, tree, int(rng.integers(20, 45)), rng))
    return _parquet(rows)


def auto_posteriors(galaxies: list[Galaxy]) -> bytes:
    """Make the table of a CNN's predictions, as Parquet: 25 Dirichlet concentrations and a fraction for each answer."""
    rows = []
    for galaxy in galaxies:
        rng, row = galaxy.rng(31), _metadata(galaxy)
        for name, fraction in fractions(galaxy, TREE_5).items():
            row[f"{name}_concentration"] = (1 + 40 * fraction * rng.uniform(0.9, 1.1, 25)).tolist()
            row[f"{name}_fraction"] = fraction
        rows.append(row)
    return _parquet(rows)


def ring_fraction(galaxy: Galaxy) -> float:
    """Fraction of volunteers who saw a ring; NaN if none was asked, as for one smooth galaxy in four."""
    if not galaxy.spiral and galaxy.index % 4 == 0:
        return np.nan
    voters = 20
    return galaxy.rng(32).binomial(voters, ring_chance(galaxy)) / voters


def tagged(galaxy: Galaxy) -> bool:
    """Whether a volunteer tagged it as a ring: faint rings are missed, and some galaxies are mistaken for one."""
    return bool(galaxy.rng(39).random() < ring_chance(galaxy))


def rings_basic(galaxies: list[Galaxy]) -> bytes:
    """Make the basic ring catalogue, as CSV; `file_loc` has the extension .jpg, although the images are .png."""
    rows = []
    for galaxy in galaxies:
        share = fractions(galaxy, TREE_5)
        columns = (
            "smooth-or-featured_featured-or-disk_fraction",
            "disk-edge-on_no_fraction",
            "has-spiral-arms_no_fraction",
        )
        row = {"id_str": galaxy.iauname, "ring": int(tagged(galaxy))}
        row |= {name: share[name.removesuffix("_fraction")] for name in columns}
        rows.append(row | {"file_loc": f"data/example_images/basic/{galaxy.iauname}.jpg"})
    lines = [",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]
    return ("\n".join(lines) + "\n").encode()


def rings_advanced(galaxies: list[Galaxy]) -> bytes:
    """Make the advanced ring catalogue, as Parquet; some of its galaxies are too smooth to be useful."""
    rows = []
    for galaxy in galaxies:
        share = fractions(galaxy, TREE_5)
        names = (
            "smooth-or-featured_smooth",
            "smooth-or-featured_featured-or-disk",
            "disk-edge-on_yes",
            "disk-edge-on_no",
        )
        row = {"iauname": galaxy.iauname} | {f"{name}_fraction": share[name] for name in names}
        rows.append(row | {"rare-features_ring_fraction": ring_fraction(galaxy), "local_png_loc": image_path(galaxy)})
    return _parquet(rows)


def representations(galaxies: list[Galaxy], identifier: str) -> bytes:
    """Make a table of representations, as Parquet: ids and 1,280 features of the image.

    `identifier` is "iauname", or "id_str" for the SDSS numbers of the Galaxy Zoo 2 sample.
    """
    kept = [galaxy for galaxy in galaxies if galaxy.index % WITHOUT_FEATURES != WITHOUT_FEATURES - 1]
    features = np.empty((len(kept), FEATURES), np.float32)
    for number, galaxy in enumerate(kept):
        features[number] = represent(image(galaxy))
    names = [galaxy.iauname if identifier == "iauname" else str(galaxy.dr7objid) for galaxy in kept]
    columns = {identifier: pa.array(names)} | {
        f"feat_{place}_pred": pa.array(features[:, place]) for place in range(FEATURES)
    }
    return _parquet(pa.table(columns))


def _parquet(rows: list[dict] | pa.Table) -> bytes:
    buffer = io.BytesIO()
    pa.parquet.write_table(rows if isinstance(rows, pa.Table) else pa.Table.from_pylist(rows), buffer)
    return buffer.getvalue()


def release(galaxies: list[Galaxy], folder: Path) -> Files:
    """Files of the Zenodo record, and those that Zoobot's authors publish elsewhere.

    The campaigns on DR1 and DR2 have every third galaxy.
    """
    tables = {
        "gz_decals_volunteers_5.parquet": partial(volunteers, galaxies, TREE_5),
        "gz_decals_volunteers_1_and_2.parquet": partial(volunteers, galaxies[::3], TREE_1_AND_2),
        "gz_decals_auto_posteriors.parquet": partial(auto_posteriors, galaxies),
        "example_ring_catalog_basic.csv": partial(rings_basic, galaxies),
        "example_ring_catalog_advanced.parquet": partial(rings_advanced, galaxies),
        "cnn_features_decals.parquet": partial(representations, galaxies, "iauname"),
        "cnn_features_gz2.parquet": partial(representations, galaxies, "id_str"),
    }
    chunks = {f"gz_decals_dr5_png_part{part + 1}.zip": partial(image_chunk, galaxies, part) for part in range(PARTS)}
    return Files(folder, tables | chunks)
