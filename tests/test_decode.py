"""Stored values to arrays: the fast decoders agree with the usual ones, and bad bytes are refused."""

import io
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from skyshards.format.columns import ColumnSpec
from skyshards.read import decode

SPEC = ColumnSpec("mask", "number", "uint8", (9, 7), "", "")


def encoded(pixels, kind, **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def smooth(seed, size=64):
    """A picture like a galaxy's: smooth, with noise."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] - size / 2
    light = np.exp(-(x**2 + 2 * y**2) / size)[..., None] * random.uniform(50, 250, 3)
    return np.clip(light + random.normal(10, 5, (size, size, 3)), 0, 255).astype(np.uint8)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 999), quality=st.integers(40, 95), progressive=st.booleans(), sampling=st.integers(0, 2))
def test_jpegs_are_those_of_pillow(seed, quality, progressive, sampling):
    content = encoded(smooth(seed), "jpeg", quality=quality, progressive=progressive, subsampling=sampling)
    wanted = np.asarray(Image.open(io.BytesIO(content))).astype(int)
    assert np.abs(decode.image(content) - wanted).max() <= 2


def test_pngs_are_exact():
    pixels = smooth(1)
    assert (decode.image(encoded(pixels, "png")) == pixels).all()


@pytest.mark.parametrize("kind", ["jpeg", "png"])
@pytest.mark.parametrize("size", [32, 64, 80])
@pytest.mark.parametrize("grey", [False, True])
def test_images_go_into_the_array_given_if_they_fit(kind, size, grey):
    pixels = smooth(4, size)
    content = encoded(pixels[..., 0] if grey else pixels, kind)
    wanted = decode.image(content)
    for shape, dtype in (((size, size, 3), "u1"), ((size, size), "u1"), ((64, 64, 3), "u1"), ((size, size, 3), "f8")):
        out = np.full(shape, 7, dtype)
        found = decode.image(content, out)
        assert (found == wanted).all() and found.dtype == wanted.dtype
        assert (found is out) == (out.shape == wanted.shape and out.dtype == wanted.dtype)
        assert found is out or not np.shares_memory(found, out)


@pytest.mark.parametrize("kind", ["jpeg", "png"])
@pytest.mark.parametrize("keep", [0, 1, 20, 600])
def test_images_cut_short_are_refused_with_an_array_for_them(kind, keep):
    with pytest.raises(ValueError):
        decode.image(encoded(smooth(2), kind)[:keep], np.zeros((64, 64, 3), np.uint8))


@pytest.mark.parametrize("kind", ["jpeg", "png"])
@pytest.mark.parametrize("keep", [0, 1, 20, 600])
def test_images_cut_short_are_refused(kind, keep):
    with pytest.raises(ValueError):
        decode.image(encoded(smooth(2), kind)[:keep])


@pytest.mark.parametrize("kind", ["jpeg", "png"])
def test_bombs_are_refused(kind, monkeypatch):
    content = encoded(smooth(3), kind)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(ValueError, match="pixels"):
        decode.image(content)


def test_no_bound_on_the_pixels(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert decode.image(encoded(smooth(3), "jpeg")).shape == (64, 64, 3)


def with_a_short_chunk(content):
    """A PNG whose pixels are said to end halfway: Pillow takes what follows for a chunk, and raises `SyntaxError`."""
    place = content.index(b"IDAT") - 4
    half = int.from_bytes(content[place : place + 4], "big") // 2
    return content[:place] + half.to_bytes(4, "big") + content[place + 4 :]


@pytest.mark.parametrize("out", [None, np.zeros((64, 64, 3), np.uint8)], ids=["alone", "in place"])
def test_what_the_decoders_raise_is_a_value_error(out, monkeypatch):
    with pytest.raises(ValueError, match="SyntaxError: broken PNG"):
        decode.image(with_a_short_chunk(encoded(smooth(5), "png")), out)

    def header(content):
        raise KeyError(6)  # for a damaged colour space

    monkeypatch.setattr(decode.simplejpeg, "decode_jpeg_header", header)
    with pytest.raises(ValueError, match="KeyError: 6"):
        decode.image(encoded(smooth(5), "jpeg")[:600], out)


@pytest.mark.parametrize("deflated", [True, False])
def test_numbers_fill_the_array_exactly(deflated):
    values = np.arange(63, dtype=np.uint8).reshape(9, 7)
    spec = ColumnSpec("mask", "number", "uint8", (9, 7), "", "", deflated)
    out = np.zeros_like(values)
    content = zlib.compress(values) if deflated else values.tobytes()
    decode.into(out, content, spec)
    assert (out == values).all()
    for wrong in (values[:8], np.arange(70, dtype=np.uint8)):
        with pytest.raises(ValueError):
            decode.into(out, zlib.compress(wrong) if deflated else wrong.tobytes(), spec)
