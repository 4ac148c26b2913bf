"""GZ3D files that are not as the data model has them: each is refused with its reason, and nothing is guessed."""

import gzip
import io
import struct

import numpy as np
import pytest
from astropy.io import fits

from gz3d.fits import MAX_BYTES, read_gz3d, vote_fraction
from skyshards.errors import SourceError

pytestmark = pytest.mark.filterwarnings("ignore::astropy.utils.exceptions.AstropyUserWarning")


@pytest.fixture(scope="module")
def good(gz3d_fits):
    """A good file: its path, and what it inflates to."""
    path = sorted(gz3d_fits.glob("*.fits.gz"))[3]
    return path, gzip.decompress(path.read_bytes())


@pytest.fixture
def read(good, tmp_path):
    """Read a file of some content under the good one's name."""

    def read(content, name=good[0].name):
        path = tmp_path / name
        path.write_bytes(content)
        return read_gz3d(path)

    return read


@pytest.fixture
def read_changed(good, read):
    """Change the good file's HDUs with astropy, and read what comes out."""

    def read_changed(change):
        with fits.open(io.BytesIO(good[1])) as hdus:
            hdus = fits.HDUList([hdu.copy() for hdu in hdus])
            hdus = change(hdus) or hdus
            file = io.BytesIO()
            hdus.writeto(file)
        return read(gzip.compress(file.getvalue(), 0))

    return read_changed


def assert_refused(call, message):
    with pytest.raises(SourceError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


def with_length(content, length):
    """The same gzip file with another length noted at its end."""
    return content[:-4] + struct.pack("<I", length)


def test_the_good_file_is_good(good, read):
    row = read(good[0].read_bytes())
    assert row["image"].shape == (525, 525, 3) and row["image"].dtype == np.uint8
    assert row["segmentation"]["array"].shape == (4, 525, 525)
    assert abs(row["scale"] / (0.099 / 3600) - 1) < 1e-6


@pytest.mark.parametrize("kept", [0, 1, 2, 9, 17, 18, 19, 100, 5000, 0.5, 0.9, -9, -8, -4, -1])
def test_cut_short_anywhere(good, read, kept):
    content = good[0].read_bytes()
    kept = int(kept * len(content)) if isinstance(kept, float) else kept
    assert_refused(lambda: read(content[:kept]), "not a gzip file|cut short|not a FITS file: it begins with b''")


@pytest.mark.parametrize("place", [0.1, 0.5, 0.99])
def test_one_wrong_byte(good, read, place):
    content = bytearray(good[0].read_bytes())
    content[int(place * len(content))] ^= 0x10
    assert_refused(lambda: read(bytes(content)), "damaged or cut short")


@pytest.mark.parametrize(
    "content",
    [b"", b"<html><title>503 Service Unavailable</title></html>", b"SIMPLE  =" * 400],
    ids=["empty", "page", "FITS"],
)
def test_not_gzip(read, content):
    assert_refused(lambda: read(content), "not a gzip file: it begins with")


@pytest.mark.parametrize("content", [b"", b"<html></html>", bytes(5000), b"SIMPLE"])
def test_gzip_of_something_else(read, content):
    assert_refused(lambda: read(gzip.compress(content)), "not a FITS file: it begins with")


@pytest.mark.parametrize("kept", [9, 80, 2000, 2879, 2880, 400_000, 832_320, 835_200, 3_000_000, 9_000_000])
def test_fits_cut_short_before_it_was_compressed(good, read, kept):
    assert_refused(lambda: read(gzip.compress(good[1][:kept], 0)), "FITS|HDU")


@pytest.fixture(scope="module")
def bomb():
    """Zeros deflate a thousandfold."""
    return gzip.compress(bytes(MAX_BYTES + 1), 9)


@pytest.mark.slow
def test_a_bomb(read, bomb):
    assert len(bomb) < 300_000
    assert_refused(lambda: read(bomb), "would inflate to 268,435,457 bytes, expected at most 268,435,456")


@pytest.mark.slow
@pytest.mark.parametrize("claimed", [0, 1000, MAX_BYTES])
def test_a_bomb_that_lies_about_its_size(read, bomb, claimed):
    assert_refused(lambda: read(with_length(bomb, claimed)), "inflate|FITS")


def test_a_small_file_that_claims_to_be_large(good, read):
    assert_refused(lambda: read(with_length(good[0].read_bytes(), MAX_BYTES)), "damaged or cut short")
    assert_refused(lambda: read(with_length(good[0].read_bytes(), 2**32 - 1)), "would inflate to 4,294,967,295 bytes")


@pytest.mark.parametrize("count", [1, 2, 5, 6, 10])
def test_an_hdu_is_missing_at_the_end(read_changed, count):
    assert_refused(lambda: read_changed(lambda hdus: hdus[:count]), f"expected at least 11 HDUs, found {count}")


@pytest.mark.parametrize("number", range(1, 11))
def test_an_hdu_is_missing_in_between(read_changed, number):
    def without(hdus):
        del hdus[number]

    assert_refused(lambda: read_changed(without), r"HDU \d: |expected at least 11 HDUs")


def test_hdus_in_another_order(read_changed):
    def exchanged(hdus):
        hdus[1], hdus[5] = hdus[5].copy(), hdus[1].copy()

    assert_refused(lambda: read_changed(exchanged), "HDU 5: expected a table of one row")


IMAGES = {
    "grey": lambda image: image[:, :, 0],
    "four colours": lambda image: np.dstack([image, image[:, :, :1]]),
    "other order of axes": lambda image: np.moveaxis(image, -1, 0).copy(),
    "512 pixels": lambda image: image[:512, :512].copy(),
    "float": lambda image: image.astype("f4"),
    "int16": lambda image: image.astype("i2"),
    "none": lambda image: None,
}


@pytest.mark.parametrize("form", IMAGES)
def test_an_image_of_another_form(read_changed, form):
    def change(hdus):
        hdus[0] = fits.PrimaryHDU(IMAGES[form](hdus[0].data))

    assert_refused(lambda: read_changed(change), r"HDU 0: expected a uint8 image of shape \(525, 525, 3\), found")


@pytest.mark.parametrize("number", [1, 4])
@pytest.mark.parametrize("form", [lambda mask: mask[:, :524].copy(), lambda mask: mask[None], lambda mask: None])
def test_a_mask_of_another_shape(read_changed, number, form):
    def change(hdus):
        hdus[number] = fits.ImageHDU(form(hdus[number].data), hdus[1].header)

    assert_refused(lambda: read_changed(change), rf"HDU {number}: expected a mask of shape \(525, 525\), found")


@pytest.mark.parametrize(
    ("number", "value"),
    [(1, 256.0), (2, 300.0), (3, 1e9), (4, 0.5), (1, 254.999), (2, -1.0), (3, np.nan), (4, np.inf), (1, -np.inf)],
)
def test_a_mask_value_that_uint8_cannot_hold(read_changed, number, value):
    def change(hdus):
        hdus[number].data[123, 45] = value

    assert_refused(
        lambda: read_changed(change), f"HDU {number}: expected whole numbers from 0 to 255 in the mask, found {value}"
    )


def test_every_mask_value_that_uint8_can_hold(read_changed):
    """108 was seen in a real file, and 15 is not the maximum."""

    def change(hdus):
        hdus[1].data[0, :256] = np.arange(256)

    assert read_changed(change)["segmentation"]["array"][0, 0, :256].tolist() == list(range(256))


def test_empty_masks_are_fine(read_changed):
    def change(hdus):
        for hdu in hdus[1:5]:
            hdu.data[:] = 0

    assert not read_changed(change)["segmentation"]["array"].any()


def without_cards(*names):
    def change(hdus):
        for name in names:
            del hdus[1].header[name]

    return change


def with_card(name, value):
    def change(hdus):
        hdus[1].header[name] = value

    return change


NO_SCALE = {
    "no WCS": without_cards("CTYPE1", "CTYPE2", "PC1_1", "PC2_2", "CDELT1", "CDELT2"),
    "no PC": without_cards("PC1_1", "PC2_2"),
    "singular": with_card("PC1_1", 0.0),
    "unknown projection": with_card("CTYPE1", "RA---XYZ"),
}


@pytest.mark.parametrize("case", NO_SCALE)
def test_a_scale_that_is_not_known_is_not_made_up(read_changed, case):
    """Without PC, say, FITS's default makes it a degree per pixel."""
    assert_refused(lambda: read_changed(NO_SCALE[case]), "HDU 1.*(WCS|scale)")


def test_scale_is_pc_times_cdelt(read_changed):
    def change(hdus):
        hdus[1].header.update({"PC1_1": -1.0, "PC2_2": -1.0, "CDELT1": 3e-5, "CDELT2": 3e-5})

    assert read_changed(change)["scale"] == 3e-5


def with_columns(change):
    """Change HDU 5's columns, given as a dict of name -> (format, values)."""

    def apply(hdus):
        columns = {column.name: (column.format, hdus[5].data[column.name]) for column in hdus[5].columns}
        columns = change(columns) or columns
        hdus[5] = fits.BinTableHDU.from_columns(
            [fits.Column(name, form, array=np.asarray(values)) for name, (form, values) in columns.items()]
        )

    return apply


NEEDED = ("ra", "dec", "MANGAID", "IAUNAME", "IFUDESIGNSIZE", "MANGA_TILEID", "nsa_id", "GZ_total_classifications",
          "GZ_bar_votes", "GZ_spiral_votes", "sample", "explorer_link")  # fmt: skip


@pytest.mark.parametrize("name", NEEDED)
def test_a_column_is_missing(read_changed, name):
    assert_refused(
        lambda: read_changed(with_columns(lambda columns: columns.pop(name) and None)),
        f"HDU 5: no column {name.lower()}",
    )


WRONG_CELLS = {
    "ra": ("2D", [[1.0, 2.0]]),
    "dec": ("5A", ["north"]),
    "GZ_total_classifications": ("D", [np.nan]),
    "GZ_bar_votes": ("D", [1.5]),
    "nsa_id": ("5A", ["none"]),
}


@pytest.mark.parametrize("name", WRONG_CELLS)
def test_a_cell_of_another_kind(read_changed, name):
    assert_refused(lambda: read_changed(with_columns(lambda columns: columns | {name: WRONG_CELLS[name]})), "HDU 5")


@pytest.mark.parametrize("name", ["ra", "dec"])
def test_a_position_that_is_none_is_left_to_the_build_to_refuse(read_changed, name):
    for value in (np.nan, np.inf, 1e9):
        cells = with_columns(lambda columns, value=value: columns | {name: ("E", [value])})
        if name == "ra" and value == 1e9:  # finite, so it is compared
            assert_refused(lambda cells=cells: read_changed(cells), "HDU 1: expected a WCS")
        else:
            assert not abs(read_changed(cells)[name]) <= 360


def test_drawings_of_another_type(read_changed):
    """Numbers where JSON is expected are no blank cells."""

    def change(hdus):
        columns = [fits.Column("classification_id", "K", array=[1, 2]), fits.Column("bar_paths", "D", array=[0.5, 1.5])]
        hdus[10] = fits.BinTableHDU.from_columns(columns)

    row = read_changed(change)
    assert (row["volunteers"]["bar"], row["drew"]["bar"]) == (2, 2)


@pytest.mark.parametrize("rows", [0, 2])
def test_a_table_of_none_or_two_rows(read_changed, rows):
    def change(hdus):
        hdus[5] = fits.BinTableHDU(np.repeat(hdus[5].data, rows))

    assert_refused(lambda: read_changed(change), "HDU 5: expected a table of one row")


def test_the_older_form_with_15_columns(read_changed, good, read):
    """As in the v1_0_0 files: three more columns, in between."""

    def older(columns):
        first = dict(list(columns.items())[:5])
        return first | {"NSAID_old": ("K", [5]), "extra": ("7A", ["text"]), "more": ("E", [0.5])} | columns

    now, before = read_changed(with_columns(older)), read(good[0].read_bytes())
    assert {name: now[name] for name in ("object_id", "ra", "sample", "total_classifications")} == {
        name: before[name] for name in ("object_id", "ra", "sample", "total_classifications")
    }


def test_empty_tables_of_clusters_and_drawings(read_changed):
    """Tables without rows have all their columns as D, in some files."""

    def change(hdus):
        for number in range(6, 11):
            columns = [fits.Column(column.name, "D") for column in hdus[number].columns]
            hdus[number] = fits.BinTableHDU.from_columns(columns, nrows=0)

    row = read_changed(change)
    assert row["segmentation"]["array"].shape == (4, 525, 525)
    assert set(row["volunteers"].values()) == set(row["drew"].values()) == {0}
    for clusters in (row["center_clusters"], row["star_clusters"]):
        assert {len(values) for values in clusters.values()} == {0}


CLUSTERS = ("x", "y", "var_x", "var_y", "var_x_y", "ra", "dec", "var_ra", "var_dec", "var_ra_dec", "count")


@pytest.mark.parametrize(
    ("number", "name"),
    [*((6, name) for name in CLUSTERS), (7, "count"), (8, "star_points"), (9, "classification_id"), (10, "bar_paths")],
)
def test_a_column_of_clusters_or_drawings_is_missing(read_changed, number, name):
    def change(hdus):
        columns = [column for column in hdus[number].columns if column.name != name]
        hdus[number] = fits.BinTableHDU.from_columns(columns)

    assert_refused(lambda: read_changed(change), f"HDU {number}: no column {name}")


def test_a_table_of_clusters_that_is_an_image(read_changed):
    def change(hdus):
        hdus[6] = fits.ImageHDU(np.zeros((3, 3)))

    assert_refused(lambda: read_changed(change), "HDU 6: no column x, y, .*; found no table")


@pytest.mark.parametrize(
    "cards",
    [
        {"CRPIX1": 263.0},
        {"CRPIX2": 250.0},
        {"CRVAL1": 10.0},
        {"CRVAL2": -80.0},
        {"PC1_1": 2.75e-5},
        {"PC1_1": -2.7e-5},
        {"PC1_2": 1e-6},
        {"CTYPE1": "RA---SIN", "CTYPE2": "DEC--SIN"},
    ],
    ids=str,
)
def test_a_wcs_other_than_the_rows(good, read_changed, cards):
    """Rows have position and scale alone; `gz3d.wcs` must give what the file has."""

    def change(hdus):
        hdus[1].header.update(cards)

    if "CTYPE1" in cards:  # differs by less than a tenth of a pixel in so small a field
        read_changed(change)
    else:
        assert_refused(
            lambda: read_changed(change), "HDU 1: expected a WCS with ra .*, found one ([0-9.e+]+ pixels off|of)"
        )


LINKS = {
    "http://skyserver.sdss.org/dr13/en/tools/chart/navi.aspx?ra=119.6338&dec=-2.5980": (119.6338, -2.598),
    "http://skyserver.sdss.org/x": (np.nan, np.nan),
    "http://skyserver.sdss.org/x?ra=north&dec=": (np.nan, np.nan),
    "": (np.nan, np.nan),
}


@pytest.mark.parametrize("link", LINKS)
def test_parts_of_the_link(read_changed, link):
    parts = read_changed(with_columns(lambda columns: columns | {"explorer_link": ("90A", [link])}))["explorer_link"]
    assert parts["url"] == link.partition("?")[0]
    np.testing.assert_array_equal([parts["ra"], parts["dec"]], LINKS[link])


def test_nobody_classified_it(read_changed):
    votes = {"GZ_total_classifications": ("I", [0]), "GZ_bar_votes": ("I", [0]), "GZ_spiral_votes": ("I", [0])}
    row = read_changed(with_columns(lambda columns: columns | votes))
    assert row["segmentation"]["vote_fraction"].tolist() == [-1.0, -1.0, -0.5, -0.5]


def test_many_votes_do_not_wrap(read_changed):
    """360 is a count in a real file, and 104 modulo 256."""
    votes = {"GZ_total_classifications": ("I", [360]), "GZ_bar_votes": ("I", [270]), "GZ_spiral_votes": ("I", [90])}
    row = read_changed(with_columns(lambda columns: columns | votes))
    assert (row["total_classifications"], row["gz_bar_votes"], row["gz_spiral_votes"]) == (360, 270, 90)
    assert row["segmentation"]["vote_fraction"].tolist() == [-1.0, -1.0, 0.25, 0.75]


def test_ids_are_stripped_of_blanks(read_changed):
    row = read_changed(with_columns(lambda columns: columns | {"MANGAID": ("11A", ["  1-22 "])}))
    assert row["object_id"] == "1-22"


@pytest.mark.parametrize(
    ("card", "value"),
    [
        (b"NAXIS1  =                    3", b"NAXIS1  =         300000000000"),
        (b"NAXIS1  =                    3", b"NAXIS1  =                   -3"),
        (b"BITPIX  =                    8", b"BITPIX  =                    7"),
        (b"NAXIS   =                    3", b"NAXIS   =                  999"),
        (b"NAXIS   =                    3", b"NAXIS   =                  'x'"),
    ],
    ids=["huge", "negative", "no such type", "too many axes", "no number"],
)
def test_headers_that_make_no_sense(good, read, card, value):
    assert good[1].count(card) >= 1
    assert_refused(lambda: read(gzip.compress(good[1].replace(card, value, 1), 0)), "FITS|HDU")


@pytest.mark.parametrize("name", ["1-2_127_55.fits.gz", "gz3d_1-2_127_55.fits.gz"])
def test_names_with_and_without_the_prefix(good, read, name):
    assert read(good[0].read_bytes(), name)["subject_id"] == 55


@pytest.mark.parametrize("name", ["galaxy.fits.gz", "gz3d_1-2_127.fits.gz", "gz3d_1-2_127_x.fits.gz", "1-2_1_2.fits"])
def test_names_that_say_no_subject(good, read, name):
    assert_refused(lambda: read(good[0].read_bytes(), name), f"file name '{name}': expected")


@pytest.mark.parametrize(
    ("votes", "total", "fraction"), [(None, 9, -1.0), (3, 0, -0.5), (0, 7, 0.0), (7, 7, 1.0), (1, 4, 0.25)]
)
def test_vote_fractions(votes, total, fraction):
    assert vote_fraction(votes, total) == fraction


def test_files_of_the_teams_own_code(shared_data):
    """Eleven files by the GZ3D production code, and one rebuilt from a real file's tables."""
    rows = {path.name: read_gz3d(path) for path in (shared_data / "gz3d").glob("*.fits.gz")}
    assert len(rows) == 12
    real = rows["gz3d_1-379196_127_14728482.fits.gz"]
    # As printed by astropy from the real file.
    assert (real["ra"], real["dec"]) == (np.float32(119.63381), np.float32(52.597965))
    assert (real["object_id"], real["iauname"], real["sample"]) == ("1-379196", "J075832.13+523552.8", "")
    assert (real["nsa_id"], real["manga_tileid"], real["ifudesignsize"]) == (401171, 6052.0, 127.0)
    assert (real["total_classifications"], real["gz_bar_votes"], real["gz_spiral_votes"]) == (0, 0, 0)
    assert real["subject_id"] == 14728482
