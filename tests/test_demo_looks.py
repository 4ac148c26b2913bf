"""What the demo archive simulates looks like what it is called: a label can be learnt from its pictures."""

import hashlib
import io
import tarfile
import zipfile

import numpy as np
import pandas as pd
import pytest
import requests
from PIL import Image
from scipy.ndimage import gaussian_filter

from demo_archive import DemoArchive
from demo_archive.holdings.candels import TYPES, stamp
from demo_archive.simulation.galaxies import arm_angle, disk_to_picture, iauname, picture_to_disk, simulate
from demo_archive.simulation.render import add_galaxy, add_noise, colour
from demo_archive.simulation.votes import TREE_1_AND_2, TREE_5, cast, fractions


@pytest.fixture(scope="module")
def archive():
    with DemoArchive(galaxies=40) as archive:
        yield archive
        assert archive.errors == []


def separates(features, labels):
    """Accuracy of a linear classifier, fitted to one half by least squares, on the other half."""
    features = np.column_stack([features, np.ones(len(features))])
    half = len(labels) // 2
    weights = np.linalg.lstsq(features[:half], np.where(labels[:half], 1.0, -1.0), rcond=1e-3)[0]
    return np.mean((features[half:] @ weights > 0) == labels[half:])


def bands(galaxy, size, scale):
    """What an image service renders of a galaxy: g, r, i, with noise."""
    found = np.zeros((3, size, size), np.float32)
    add_galaxy(found, galaxy, (size - 1) / 2, (size - 1) / 2, scale)
    add_noise(found, scale, galaxy.rng(3))
    return found


def test_spirals_and_ellipticals_can_be_told_apart_by_pixels_without_colour():
    galaxies = simulate(300, 5)
    labels = np.array([galaxy.spiral for galaxy in galaxies])
    grey = [colour(bands(galaxy, 64, 2.5 * galaxy.petroR90_r / 64)).mean(axis=2) for galaxy in galaxies]
    # How uneven each picture is around its middle, on the scale of arms.
    row, column = np.indices((64, 64)) - 31.5
    rings = np.hypot(row, column).astype(int) // 4
    arms = [gaussian_filter(image, 1.5) - gaussian_filter(image, 4) for image in grey]
    uneven = [
        [np.std(arm[rings == ring]) / image[rings == ring].mean() for ring in range(1, 7)]
        for arm, image in zip(arms, grey, strict=True)
    ]
    assert separates(np.array(uneven), labels) > 0.9


def test_arms_are_brighter_than_what_lies_between_them():
    contrasts = []
    for galaxy in [galaxy for galaxy in simulate(60, 2) if galaxy.spiral]:
        radius = np.linspace(0.6, 0.8, 5) * galaxy.petroR90_r
        scale = galaxy.petroR90_r / 100
        image = bands(galaxy, 301, scale)[1]
        on, off = (
            np.concatenate(
                [
                    _sample(image, galaxy, radius, arm_angle(galaxy, radius, arm + shift), scale)
                    for arm in range(galaxy.arms)
                ]
            )
            for shift in (0, 0.5)
        )
        contrasts.append(np.median(on) / np.median(off))
    # As in real spirals, a smooth disk lies under the arms.
    assert min(contrasts) > 1.3 and 2 < np.median(contrasts) < 4


def _sample(image, galaxy, radius, angle, scale):
    x, y = disk_to_picture(galaxy, radius, angle)
    return image[np.round(y / scale).astype(int) + 150, np.round(x / scale).astype(int) + 150]


def test_the_plane_of_a_disk_is_found_again():
    rng = np.random.default_rng(0)
    radius, angle = rng.uniform(0, 10, 100), rng.uniform(0, 2 * np.pi, 100)
    for galaxy in simulate(5, 0):
        along, across = picture_to_disk(galaxy, *disk_to_picture(galaxy, radius, angle))
        assert np.allclose([along, across], [radius * np.cos(angle), radius * np.sin(angle)])


@pytest.mark.parametrize(
    ("ra", "dec", "name"),
    [
        (119.63381, 52.597965, "J075832.11+523552.6"),
        (0.0, -0.5, "J000000.00-003000.0"),
        (359.999999, 1e-9, "J235959.99+000000.0"),
        (12.34 / 240, 12.3 / 3600, "J000012.34+000012.3"),
    ],
)
def test_a_name_follows_from_the_position(ra, dec, name):
    assert iauname(ra, dec) == name


@pytest.fixture(scope="module")
def candels(archive):
    url = archive.zenodo_url + "/records/2604740/files/candels-blender-data.tar.gz"
    with tarfile.open(fileobj=io.BytesIO(requests.get(url).content)) as tar:
        bodies = {member.name: tar.extractfile(member).read() for member in tar}
    images, segmentation = (np.load(io.BytesIO(bodies[f"candels_{name}.npy"])) for name in ("img", "seg"))
    return images, segmentation, pd.read_csv(io.BytesIO(bodies["candels_cat.csv"]))


def test_stamps_have_the_form_of_the_real_archive(candels, shared_data):
    with tarfile.open(shared_data / "candels" / "candels-blender-data.tar.gz") as tar:
        names = tar.getnames()
        theirs = [np.load(io.BytesIO(tar.extractfile(name).read())) for name in names[:2]]
        catalogue = pd.read_csv(tar.extractfile(names[2]))
    assert names == ["candels_img.npy", "candels_seg.npy", "candels_cat.csv"]
    for mine, real in zip(candels[:2], theirs, strict=True):
        assert (mine.dtype, mine.shape[1:]) == (real.dtype, real.shape[1:])
    assert candels[2].columns.tolist() == catalogue.columns.tolist()
    assert candels[2].dtypes.tolist() == catalogue.dtypes.tolist()
    assert set(candels[2]["FIELD"]) <= set(catalogue["FIELD"])
    assert set(candels[2]["galtype"]) == set(catalogue["galtype"])


def test_stamps_show_their_galaxy_in_the_middle_with_its_flux(candels):
    images, segmentation, catalogue = candels
    assert len(images) == len(segmentation) == len(catalogue) == 60
    assert np.array_equal(segmentation[:, 64, 64], catalogue["segval"])
    masks = segmentation == segmentation[:, 64:65, 64:65]
    magnitudes = 25.96 - 2.5 * np.log10((images * masks).sum(axis=(1, 2)))
    assert np.median(magnitudes - catalogue["mag"]) == pytest.approx(0.1, abs=0.2)
    sky = images[segmentation == 0]
    assert np.std(sky) == pytest.approx(0.0025, rel=0.2)
    assert np.isfinite(images).all()


def test_some_segmentation_numbers_would_merge_in_a_byte(candels):
    maps = [np.unique(each[each > 0]) for each in candels[1]]
    assert max(each.max() for each in maps) > 255
    assert any(len(np.unique(each % 256)) < len(each) for each in maps)


def test_a_stamp_is_always_the_same():
    galaxies = simulate(12, 0)
    for index in range(len(TYPES)):
        assert np.array_equal(stamp(galaxies, index).image, stamp(galaxies, index).image)


def files(archive):
    """Address below which the record's files lie."""
    return f"{archive.zenodo_url}/records/4573248/files/"


@pytest.fixture(scope="module")
def decals(archive):
    """The tables of the DECaLS release by name."""
    names = (
        "gz_decals_volunteers_5.parquet",
        "gz_decals_volunteers_1_and_2.parquet",
        "gz_decals_auto_posteriors.parquet",
        "example_ring_catalog_advanced.parquet",
        "cnn_features_decals.parquet",
        "cnn_features_gz2.parquet",
    )
    return {name: pd.read_parquet(io.BytesIO(requests.get(files(archive) + name).content)) for name in names}


def test_the_basic_ring_catalogue_has_the_form_of_the_real_one(archive, shared_data):
    theirs = pd.read_csv(shared_data / "zoobot" / "example_ring_catalog_basic.csv")
    ours = pd.read_csv(io.BytesIO(requests.get(files(archive) + "example_ring_catalog_basic.csv").content))
    assert ours.columns.tolist() == theirs.columns.tolist()
    assert ours.dtypes.tolist() == theirs.dtypes.tolist()
    form = r"data/example_images/basic/J\d{6}\.\d\d[+-]\d{6}\.\d\.jpg"
    assert theirs["file_loc"].str.fullmatch(form).all()
    assert ours["file_loc"].str.fullmatch(form).all()


def test_images_are_pngs_in_four_zip_archives_each_once(archive, decals):
    found = []
    for part in (1, 2, 3, 4):
        body = requests.get(f"{files(archive)}gz_decals_dr5_png_part{part}.zip").content
        with zipfile.ZipFile(io.BytesIO(body)) as chunk:
            assert chunk.testzip() is None
            found += chunk.namelist()
            image = Image.open(io.BytesIO(chunk.read(chunk.namelist()[0])))
            assert (image.format, image.mode, image.size) == ("PNG", "RGB", (424, 424))
    names = decals["gz_decals_volunteers_5.parquet"]["iauname"]
    assert sorted(found) == sorted(f"{name[:4]}/{name}.png" for name in names)
    assert set(decals["example_ring_catalog_advanced.parquet"]["local_png_loc"]) == set(found)


def test_the_release_is_a_zenodo_record(archive):
    record = requests.get(archive.decals_url).json()
    assert len(record["files"]) == 11
    for file in record["files"]:
        body = requests.get(file["links"]["self"]).content
        assert file["checksum"] == f"md5:{hashlib.md5(body).hexdigest()}"


@pytest.mark.parametrize("tree", [TREE_5, TREE_1_AND_2])
def test_votes_add_up_along_the_tree(tree):
    for galaxy in simulate(30, 0):
        row = cast(galaxy, tree, 40, np.random.default_rng(galaxy.index))
        for question, (parent, answers) in tree.items():
            total = row[f"{question}_total-votes"]
            assert total == (40 if parent is None else row[parent])
            assert total == sum(row[f"{question}_{answer}"] for answer in answers)
            shares = [row[f"{question}_{answer}_fraction"] for answer in answers]
            assert np.isnan(shares).all() if total == 0 else np.isclose(sum(shares), 1)
            chances = sum(fractions(galaxy, tree)[f"{question}_{answer}"] for answer in answers)
            assert chances == pytest.approx(1)


def test_votes_say_what_the_galaxies_are(archive, decals):
    votes = decals["gz_decals_volunteers_5.parquet"].set_index("iauname")
    for galaxy in archive.galaxies:
        row = votes.loc[galaxy.iauname]
        assert (row["ra"], row["dec"]) == (galaxy.ra, galaxy.dec)
        assert (row["smooth-or-featured_smooth_fraction"] < 0.5) == galaxy.spiral
    assert len(decals["gz_decals_volunteers_1_and_2.parquet"]) < len(votes)
    posteriors = decals["gz_decals_auto_posteriors.parquet"]
    assert {len(each) for each in posteriors["bar_no_concentration"]} == {25}


def test_representations_have_a_name_and_some_are_missing(archive, decals):
    names = [galaxy.iauname for galaxy in archive.galaxies]
    table = decals["cnn_features_decals.parquet"]
    assert table.shape == (38, 1281)
    features = table.filter(regex="feat_.*_pred").to_numpy()
    assert features.dtype == np.float32
    assert set(table["iauname"]) < set(names) and np.isfinite(features).all()
    assert set(decals["cnn_features_gz2.parquet"]["id_str"]) <= {str(galaxy.dr7objid) for galaxy in archive.galaxies}
