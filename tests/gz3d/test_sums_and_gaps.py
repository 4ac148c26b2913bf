"""GZ3D files with numbers that are missing or impossible, with sums that do not hold, and of several gzip members."""

import gzip
import io

import numpy as np
import pytest
from astropy.io import fits

from gz3d.fits import MAX_BYTES, MISSING, read_gz3d
from skyshards.errors import SourceError


@pytest.fixture(scope="module")
def good(gz3d_fits):
    path = sorted(gz3d_fits.glob("*.fits.gz"))[3]
    return path.name, gzip.decompress(path.read_bytes())


@pytest.fixture
def read(good, tmp_path):
    def read(content):
        path = tmp_path / good[0]
        path.write_bytes(content)
        return read_gz3d(path)

    return read


def with_cells(content, nulls=(), checksum=False, **cells):
    """The file with other cells in its table; columns in `nulls` get these null values (TNULL)."""
    with fits.open(io.BytesIO(content)) as hdus:
        names = {name.lower(): name for name in cells}
        table = hdus[5]
        columns = []
        for column in table.columns:
            values = table.data[column.name]
            if column.name.lower() in names:
                values = np.array([cells[names[column.name.lower()]]], values.dtype)
            columns.append(fits.Column(column.name, column.format, null=dict(nulls).get(column.name), array=values))
        first, last = ([hdu.copy() for hdu in part] for part in (hdus[:5], hdus[6:]))
        changed = fits.HDUList([*first, fits.BinTableHDU.from_columns(columns), *last])
        if "ra" in cells:
            changed[1].header["CRVAL1"] = cells["ra"]
        file = io.BytesIO()
        changed.writeto(file, checksum=checksum)
    return file.getvalue()


VOTES = ("GZ_total_classifications", "GZ_bar_votes", "GZ_spiral_votes")
GAPS = {
    "no classifications recorded": ((-9999, 3, 4), {}, (-1, 3, 4), (-0.5, -0.5)),
    "no votes recorded": ((40, -9999, 10), {}, (40, -1, 10), (0.25, -0.5)),
    "a negative number": ((40, -3, 10), {}, (40, -1, 10), (0.25, -0.5)),
    "null votes": ((40, 99, 10), {"GZ_bar_votes": 99}, (40, -1, 10), (0.25, -0.5)),
    "all null": ((-32768,) * 3, dict.fromkeys(VOTES, -32768), (-1, -1, -1), (-0.5, -0.5)),
    "one vote, of no known number": ((-1, 1, 1), {}, (-1, 1, 1), (-0.5, -0.5)),
}


@pytest.mark.parametrize("case", GAPS)
def test_missing_votes_are_missing(good, read, case):
    cells, nulls, counts, fractions = GAPS[case]
    row = read(gzip.compress(with_cells(good[1], nulls, **dict(zip(VOTES, cells, strict=True))), 0))
    assert (row["total_classifications"], row["gz_bar_votes"], row["gz_spiral_votes"]) == counts
    assert tuple(row["segmentation"]["vote_fraction"]) == (-1, -1, *fractions)


@pytest.mark.parametrize("cells", [(40, 41, 0), (40, 0, 9999), (0, 0, 1)])
def test_more_votes_than_classifications_are_refused(good, read, cells):
    content = with_cells(good[1], **dict(zip(VOTES, cells, strict=True)))
    with pytest.raises(SourceError, match=r"HDU 5: expected GZ_\w+_votes up to the \d+ classifications, found \d+"):
        read(gzip.compress(content, 0))


def test_a_null_number_of_the_atlas_is_missing(good, read):
    assert read(gzip.compress(with_cells(good[1], {"nsa_id": 7}, nsa_id=7), 0))["nsa_id"] == MISSING
    assert read(gzip.compress(with_cells(good[1], nsa_id=7), 0))["nsa_id"] == 7


@pytest.mark.parametrize(("ra", "expected"), [(-0.25, 359.75), (-180, 180), (180, 180), (359.5, 359.5), (0, 0)])
def test_right_ascensions_from_minus_180_are_wrapped(good, read, ra, expected):
    assert read(gzip.compress(with_cells(good[1], ra=ra), 0))["ra"] == expected


MEMBERS = {
    "two of one length": lambda content: [content[: len(content) // 2], content[len(content) // 2 :]],
    "blocks, and an empty one at the end, as bgzip has it": lambda content: [
        *(content[start : start + (1 << 20)] for start in range(0, len(content), 1 << 20)),
        b"",
    ],
}


@pytest.mark.parametrize("case", MEMBERS)
def test_gzip_of_several_members(good, read, case):
    several = b"".join(gzip.compress(part, 1) for part in MEMBERS[case](good[1]))
    one = read(gzip.compress(good[1], 1))
    assert (read(several)["segmentation"]["array"] == one["segmentation"]["array"]).all()
    with pytest.raises(SourceError, match="cut short|FITS|HDU"):
        read(several[: len(several) // 2])


@pytest.mark.slow
def test_a_bomb_in_several_members(read):
    with pytest.raises(SourceError, match="would inflate to more than 268,435,456 bytes"):
        read(gzip.compress(bytes(MAX_BYTES), 9) + gzip.compress(b"1"))


@pytest.fixture(scope="module")
def summed(good):
    """The good file with DATASUM and CHECKSUM in every HDU, and where each one's data begin."""
    content = with_cells(good[1], checksum=True)
    with fits.open(io.BytesIO(content)) as hdus:
        return content, [hdu.fileinfo()["datLoc"] for hdu in hdus]


@pytest.mark.parametrize("number", [*range(7), 8, 9, 10])
def test_data_are_held_against_their_sums(summed, read, number):
    content, starts = summed
    read(gzip.compress(content, 0))
    changed = bytearray(content)
    changed[starts[number] + 3] ^= 1
    with pytest.raises(SourceError, match=f"HDU {number}: its data do not match the DATASUM"):
        read(gzip.compress(bytes(changed), 0))


def test_headers_are_held_against_their_sums(summed, read):
    changed = (
        summed[0]
        .replace(b"EXTNAME", b"EXTNAMF", 1)
        .replace(b"CRPIX1  =                262.5", b"CRPIX1  =                262.4")
    )
    assert changed != summed[0]
    with pytest.raises(SourceError, match=r"HDU \d: its bytes do not match its CHECKSUM"):
        read(gzip.compress(changed, 0))


def test_sums_are_those_of_astropy(summed):
    with fits.open(io.BytesIO(summed[0]), checksum=True) as hdus:
        assert all(hdu.verify_datasum() == hdu.verify_checksum() == 1 for hdu in hdus)
