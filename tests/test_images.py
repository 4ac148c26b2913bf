"""Image files: the fast decoders agree with the usual ones, bad bytes are refused, and RGB is made by one rule."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from skyshards.format import images
from skyshards.format.images import decode_image


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


@settings(max_examples=25)
@given(seed=st.integers(0, 999), quality=st.integers(40, 95), progressive=st.booleans(), sampling=st.integers(0, 2))
def test_jpegs_are_those_of_pillow(seed, quality, progressive, sampling):
    content = encoded(smooth(seed), "jpeg", quality=quality, progressive=progressive, subsampling=sampling)
    wanted = np.asarray(Image.open(io.BytesIO(content))).astype(int)
    assert np.abs(decode_image(content) - wanted).max() <= 2


def test_pngs_are_exact():
    pixels = smooth(1)
    assert (decode_image(encoded(pixels, "png")) == pixels).all()


@pytest.mark.parametrize("kind", ["jpeg", "png"])
@pytest.mark.parametrize("size", [32, 64, 80])
@pytest.mark.parametrize("grey", [False, True])
def test_images_go_into_the_array_given_if_they_fit(kind, size, grey):
    pixels = smooth(4, size)
    content = encoded(pixels[..., 0] if grey else pixels, kind)
    wanted = decode_image(content)
    for shape, dtype in (((size, size, 3), "u1"), ((size, size), "u1"), ((64, 64, 3), "u1"), ((size, size, 3), "f8")):
        out = np.full(shape, 7, dtype)
        found = decode_image(content, out)
        assert (found == wanted).all() and found.dtype == wanted.dtype
        assert (found is out) == (out.shape == wanted.shape and out.dtype == wanted.dtype)
        assert found is out or not np.shares_memory(found, out)


@pytest.mark.parametrize("kind", ["jpeg", "png"])
@pytest.mark.parametrize("keep", [0, 1, 20, 600])
def test_images_cut_short_are_refused_with_an_array_for_them(kind, keep):
    with pytest.raises(ValueError):
        decode_image(encoded(smooth(2), kind)[:keep], np.zeros((64, 64, 3), np.uint8))


@pytest.mark.parametrize("kind", ["jpeg", "png"])
@pytest.mark.parametrize("keep", [0, 1, 20, 600])
def test_images_cut_short_are_refused(kind, keep):
    with pytest.raises(ValueError):
        decode_image(encoded(smooth(2), kind)[:keep])


@pytest.mark.parametrize("kind", ["jpeg", "png"])
def test_bombs_are_refused(kind, monkeypatch):
    content = encoded(smooth(3), kind)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(ValueError, match="pixels"):
        decode_image(content)


def test_no_bound_on_the_pixels(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert decode_image(encoded(smooth(3), "jpeg")).shape == (64, 64, 3)


def with_a_short_chunk(content):
    """A PNG whose pixels are said to end halfway: Pillow takes what follows for a chunk, and raises `SyntaxError`."""
    place = content.index(b"IDAT") - 4
    half = int.from_bytes(content[place : place + 4], "big") // 2
    return content[:place] + half.to_bytes(4, "big") + content[place + 4 :]


@pytest.mark.parametrize("out", [None, np.zeros((64, 64, 3), np.uint8)], ids=["alone", "in place"])
def test_what_the_decoders_raise_is_a_value_error(out, monkeypatch):
    with pytest.raises(ValueError, match="SyntaxError: broken PNG"):
        decode_image(with_a_short_chunk(encoded(smooth(5), "png")), out)

    def header(content):
        raise KeyError(6)  # for a damaged colour space

    monkeypatch.setattr(images.simplejpeg, "decode_jpeg_header", header)
    with pytest.raises(ValueError, match="KeyError: 6"):
        decode_image(encoded(smooth(5), "jpeg")[:600], out)


def opened(content):
    return Image.open(io.BytesIO(content), formats=images.FORMATS)


@pytest.mark.parametrize("name", ["whole.jpg", "palette.png", "alpha.png", "grey16.png", "cmyk.jpg"])
def test_only_rgb_of_eight_bits_may_stay_as_it_is(cases, name):
    content = (cases / "images" / name).read_bytes()
    assert images.is_rgb(opened(content), content) == (name == "whole.jpg")
    assert np.asarray(images.to_rgb(opened(content))).shape == (64, 64, 3)


def test_what_is_transparent_lies_over_black(cases):
    picture = opened((cases / "images" / "alpha.png").read_bytes())
    *colours, alpha = np.moveaxis(np.asarray(picture).astype(float), -1, 0)
    wanted = np.stack(colours, -1) * alpha[..., None] / 255
    assert np.abs(np.asarray(images.to_rgb(picture)) - wanted).max() <= 1
    clear = Image.fromarray(np.full((4, 4), 200, np.uint8)).convert("P")
    assert (np.asarray(images.to_rgb(opened(png(clear, transparency=200)))) == 0).all()


def png(picture, **options):
    file = io.BytesIO()
    picture.save(file, "png", **options)
    return file.getvalue()


def test_of_sixteen_bits_the_upper_eight_are_taken(cases):
    picture = opened((cases / "images" / "grey16.png").read_bytes())
    found = np.asarray(images.to_rgb(picture))
    assert (found == np.asarray(picture)[..., None] >> 8).all() and found.max() == 5592 >> 8


def test_colour_of_sixteen_bits_is_not_taken_for_rgb_of_eight():
    content = bytearray(png(Image.fromarray(smooth(6))))
    picture = opened(bytes(content))
    assert images.is_rgb(picture, bytes(content))
    content[24] = 16
    assert not images.is_rgb(picture, bytes(content))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_every_mode_of_png_becomes_rgb(mode):
    picture = Image.fromarray(smooth(7))
    if mode == "I;16":
        picture = Image.fromarray(smooth(7)[..., 0].astype(np.uint16) << 8)
    found = np.asarray(images.to_rgb(opened(png(picture if mode == "I;16" else picture.convert(mode)))))
    assert found.shape == (64, 64, 3) and found.dtype == np.uint8
    if mode in ("RGB", "RGBA"):
        assert (found == smooth(7)).all()
    if mode == "I;16":
        assert (found == smooth(7)[..., :1]).all()


def test_a_page_under_a_pictures_name_is_called_that(cases):
    assert images.described((cases / "images" / "page.png").read_bytes()) == "an HTML page"
    assert images.described(b"\n <HTML><head>") == "an HTML page"
    assert images.described(b"GIF89a...") == "9 bytes that begin with b'GIF89a...'"
