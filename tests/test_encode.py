"""Rows on their way to a shard: what the schema does not allow is refused by name, and the rest is kept to the bit."""

import json
import zlib
from dataclasses import replace

import numpy as np
import pytest
from astropy import units
from astropy.coordinates import Angle
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from skyshards.errors import SourceError
from skyshards.format.columns import flatten, nest
from skyshards.format.images import decode_image
from skyshards.pipeline.encode import encode
from tests.toy import SCHEMA, row

SPECS = SCHEMA.specs


def labels(classes, shape=()):
    """The columns, with "label" one of some number of classes, or of integers without names (None)."""
    return SPECS | {"label": replace(SPECS["label"], classes=classes, shape=shape)}


def encoded(specs=SPECS, **changes):
    """A good row with some columns changed (`votes__mask` for `votes.mask`), encoded."""
    flat = flatten(row(1)) | {name.replace("__", "."): value for name, value in changes.items()}
    return encode(nest(flat), specs, "a source")


def parts(encoded_row):
    payload, found = encoded_row.payload(), {}
    for name, size in encoded_row.sizes.items():
        found[name], payload = payload[:size], payload[size:]
    assert payload == b""
    return found


BAD = {
    "a count too large": ({"count": 2**15}, "column 'count': expected values that fit int16, found 32768"),
    "a count too small": ({"count": -(2**15) - 1}, "'count'.*-32769"),
    "a fraction of a count": ({"count": 1.5}, "'count'.*found 1.5"),
    "no count": ({"count": float("nan")}, "'count'.*found nan"),
    "an endless count": ({"count": float("inf")}, "'count'.*found inf"),
    "an array with one value too large": (
        {"votes__mask": np.where(np.arange(288).reshape(16, 18) == 77, 256, 0)},
        "column 'votes.mask': expected values that fit uint8, found 256",
    ),
    "an array with a negative value": ({"votes__mask": np.full((16, 18), -1)}, "'votes.mask'.*found -1"),
    "an array with NaN": ({"votes__mask": np.full((16, 18), np.nan)}, "'votes.mask'.*found nan"),
    "an integer beyond int64": ({"label": np.uint64(2**63)}, "'label'.*found 9223372036854775808"),
    "a float beyond int64": ({"label": 2.0**63}, "'label'"),
    "a number beyond float32": ({"flux": 1e300}, "'flux'.*1e\\+300"),
    "two where one is wanted": ({"flux": [1.0, 2.0]}, r"column 'flux': expected shape \(\), found \(2,\)"),
    "one where two are wanted": ({"votes__fraction": 0.5}, r"'votes.fraction': expected shape \(2,\), found \(\)"),
    "a transposed array": (
        {"votes__mask": np.zeros((18, 16), np.uint8)},
        r"expected shape \(16, 18\), found \(18, 16\)",
    ),
    "a flat array": ({"votes__mask": np.zeros(288, np.uint8)}, r"expected shape \(16, 18\), found \(288,\)"),
    "an uneven list": ({"votes__fraction": [[1.0], [1.0, 2.0]]}, "'votes.fraction'"),
    "text for a number": ({"flux": "1.5"}, "column 'flux': expected float32"),
    "nothing for a number": ({"flux": None}, "column 'flux': expected float32"),
    "a masked number": ({"flux": np.ma.masked}, "'flux'.*mask"),
    "a partly masked array": (
        {"votes__fraction": np.ma.array([0.1, 0.2], mask=[False, True])},
        "'votes.fraction'.*mask",
    ),
    "a complex number": ({"flux": 1j}, "column 'flux': expected float32"),
    "two for a truth value": ({"barred": 2}, "'barred'.*found 2"),
    "a label without a name": ({"label": 2}, r"column 'label': expected a label from 0 to 1 \(-1: none\), found 2"),
    "bytes for text": ({"object_id": b"1-2"}, "column 'object_id': expected a string, found bytes b'1-2'"),
    "a number for text": ({"object_id": 7}, "column 'object_id': expected a string, found int 7"),
    "nothing for text": ({"object_id": None}, "column 'object_id': expected string, found None; declare `missing`"),
    "text with NUL": ({"object_id": "a\0b"}, "column 'object_id'.*NUL"),
    "text that is no Unicode": ({"object_id": "gal\udcff"}, "column 'object_id'"),
    "no name": ({"object_id": ""}, "column 'object_id'"),
    "bytes in a list of text": (
        {"votes__names": ["bar", b"arm"]},
        "column 'votes.names': expected a string, found bytes",
    ),
    "too many texts": ({"votes__names": ["a", "b", "c"]}, "column 'votes.names': expected 2 strings, found 3"),
    "text for a list of text": ({"votes__names": "ab"}, "column 'votes.names'"),
    "a number for a list of text": ({"votes__names": 5}, "column 'votes.names'"),
    "text for an image file": (
        {"picture": "x.png"},
        "expected the bytes of a file, a Pillow image or a uint8 array, found str",
    ),
    "an empty image file": ({"picture": b""}, "column 'picture': expected the bytes of a file"),
    "an image file cut short": ({"picture": row(1)["picture"][:-40]}, "column 'picture': expected a whole PNG or JPEG"),
    "a page for an image": ({"picture": b"<!doctype html><p>"}, "whole PNG or JPEG file, found an HTML page"),
    "floats for an image file": (
        {"picture": np.zeros((2, 2))},
        r"column 'picture': expected uint8 pixels \[H, W\].*found float64 \[2, 2\]",
    ),
    "two channels for an image file": ({"picture": np.zeros((2, 2, 2), np.uint8)}, r"found uint8 \[2, 2, 2\]"),
    "no pixels for an image file": ({"picture": np.zeros((0, 2), np.uint8)}, r"found uint8 \[0, 2\]"),
    "a picture with a palette": ({"picture": Image.new("P", (2, 2))}, "mode L, RGB, RGBA, found P; `convert` it"),
    "an unknown class": ({"label": "barred"}, r"'label': expected a class \(elliptical, spiral\), found 'barred'"),
    "a name for a number": ({"count": "spiral"}, "column 'count': expected int16, found str 'spiral'"),
    "no right ascension": ({"ra": float("nan")}, "no position: .*ra=nan"),
    "no declination": ({"dec": float("inf")}, "no position: .*dec=inf"),
    "a masked right ascension": ({"ra": np.ma.masked}, "'ra'.*mask"),
    "a declination of -999": ({"dec": -999.0}, "no position: .*dec=-999"),
    "a negative right ascension": ({"ra": -0.1}, "no position: expected 0 <= ra <= 360"),
    "a column too many": ({"votes__more": 1}, r"unexpected \['votes.more'\]"),
    "a column of the build's own": ({"healpix": 1}, r"unexpected \['healpix'\]"),
    "a value for a group": ({"votes": 3}, "'votes'|votes.mask"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_the_schema_does_not_allow_is_refused(case):
    changes, message = BAD[case]
    flat = flatten(row(1)) | {name.replace("__", "."): value for name, value in changes.items()}
    if "votes" in flat:
        flat = {name: value for name, value in flat.items() if not name.startswith("votes.")}
    with pytest.raises(SourceError, match=message) as caught:
        encode(nest(flat), SPECS, "a source")
    assert "\n" not in str(caught.value)


def test_names_of_classes_are_labels():
    assert encoded(label="spiral").light()["label"] == encoded(label=1).light()["label"] == 1
    listed = labels(("elliptical", "spiral"), (3,))
    assert encoded(listed, label=["spiral", "elliptical", "spiral"]).light()["label"] == [1, 0, 1]


def test_quantities_are_converted_to_the_unit_of_the_column():
    row = encoded(ra=5 * units.hourangle, dec=Angle("1d30m"), flux=2 * units.mJy).light()
    assert (row["ra"], row["dec"], row["flux"]) == pytest.approx((75.0, 1.5, 2000.0))
    assert encoded(count=3 * units.one).light()["count"] == 3
    with pytest.raises(SourceError, match="column 'flux': expected a quantity in uJy, found one in deg"):
        encoded(flux=2 * units.deg)
    with pytest.raises(SourceError, match="column 'count': expected a number without a unit, found one in s"):
        encoded(count=2 * units.s)


@pytest.mark.parametrize("shape", [(5, 4), (5, 4, 3), (5, 4, 4)])
def test_pixels_and_pictures_become_png_files(shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    for picture in (pixels, Image.fromarray(pixels), pixels[::-1][::-1]):
        content = parts(encoded(picture=picture))["picture"]
        assert content.startswith(b"\x89PNG") and (decode_image(content) == pixels).all()
    with_words = Image.fromarray(pixels)
    with_words.info = {"dpi": (72, 72), "icc_profile": b"x", "transparency": 3}
    assert parts(encoded(picture=with_words))["picture"] == content, "only the pixels count"


@pytest.mark.parametrize("column", [name for name in SPECS if name not in ("healpix", "fold", "source")])
def test_a_missing_column_is_named(column):
    flat = flatten(row(1))
    del flat[column]
    with pytest.raises(SourceError, match=rf"missing \['{column}'\], unexpected \[\]"):
        encode(nest(flat), SPECS, "a source")


@pytest.mark.parametrize("value", [2, 5, -2, np.uint8(255), np.int64(2)])
def test_a_label_without_a_name_is_refused(value):
    """Stock `load_dataset` would refuse the whole dataset for it."""
    found = rf"column 'label': expected a label from 0 to 1 \(-1: none\), found {value}"
    with pytest.raises(SourceError, match=found):
        encoded(labels(("elliptical", "spiral")), label=value)
    with pytest.raises(SourceError, match=found):
        encoded(labels(("elliptical", "spiral"), shape=(3,)), label=[0, value, 1])


@pytest.mark.parametrize("value", [0, 1, -1, np.uint8(1), True])
def test_labels_with_a_name_and_none_are_kept(value):
    assert encoded(labels(("elliptical", "spiral")), label=value).light()["label"] == value


def test_the_build_fills_in_the_source_and_later_pixel_and_fold():
    one = encoded(ra=12.5, dec=45.0)
    assert one.light()["source"] == "a source" and not {"healpix", "fold"} & one.light().keys()
    assert one.order == (one.light()["object_id"], "a source")


@given(
    flux=st.floats(width=32),
    ra=st.floats(0, 360),
    dec=st.floats(-90, 90),
    count=st.integers(-(2**15), 2**15 - 1),
    label=st.integers(-1, 1),
    barred=st.booleans(),
    name=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1),
    fraction=arrays(np.float32, 2, elements=st.floats(width=32)),
)
def test_light_values_are_exact_through_json(flux, ra, dec, count, label, barred, name, fraction):
    one = encoded(
        labels(None),
        flux=np.float32(flux),
        ra=ra,
        dec=dec,
        count=count,
        label=label,
        barred=barred,
        object_id=name,
        votes__fraction=fraction,
    )
    light = json.loads(json.dumps(one.light()))
    for column, value in (("flux", flux), ("ra", ra), ("dec", dec), ("votes.fraction", fraction)):
        dtype = np.dtype(SPECS[column].dtype)
        found, wanted = np.array(light[column], dtype), np.asarray(value, dtype)
        assert np.array_equal(found, wanted, equal_nan=True)
        assert np.array_equal(np.signbit(found), np.signbit(wanted)) or np.isnan(wanted).any()
    assert (light["count"], light["label"], light["barred"], light["object_id"]) == (count, label, barred, name)
    assert type(light["barred"]) is bool and type(light["label"]) is int


@settings(max_examples=50)
@given(arrays(np.uint8, (16, 18)), arrays(np.float32, (12, 12), elements=st.floats(width=32)), st.integers(0, 99))
def test_heavy_values_are_in_the_payload(mask, noise, number):
    picture = row(number)["picture"]
    found = parts(encoded(votes__mask=mask, noise=noise, picture=picture))
    assert list(found) == ["votes.mask", "noise", "picture"]
    assert zlib.decompress(found["votes.mask"]) == mask.tobytes()
    assert found["noise"] == noise.tobytes(), "declared not to be deflated"
    assert found["picture"] == picture


@pytest.mark.parametrize(
    "same",
    [
        lambda mask: mask.astype(">i4"),
        lambda mask: np.asfortranarray(mask),
        lambda mask: mask.astype(float),
        lambda mask: np.repeat(mask, 2, axis=1)[:, ::2],
        lambda mask: mask.tolist(),
    ],
    ids=["big-endian", "Fortran order", "whole floats", "strided", "list"],
)
def test_the_layout_of_an_array_does_not_matter(same):
    mask = row(1)["votes"]["mask"]
    assert encoded(votes__mask=same(mask)).payload() == encoded(votes__mask=mask).payload()


def test_big_endian_numbers_are_themselves():
    """FITS tables hold them so."""
    one = encoded(flux=np.array(1.25, ">f4"), count=np.array(-7, ">i2"), ra=np.array(12.5, ">f8"))
    light = one.light()
    assert (light["flux"], light["count"], light["ra"]) == (1.25, -7, 12.5)


def test_a_row_is_encoded_the_same_each_time():
    first, second = encoded(), encoded()
    assert (first.light(), first.sizes, first.payload()) == (second.light(), second.sizes, second.payload())


def test_a_row_does_not_change_with_its_source_array():
    mask = row(1)["votes"]["mask"]
    one = encoded(votes__mask=mask)
    before = one.payload()
    mask[:] = 0
    assert one.payload() == before
