"""Image files as they are stored: RGB of eight bits, whole, or refused by name; the same whether resampled or not."""

import io

import numpy as np
import pytest
from PIL import Image

import skyshards
from gz_decals.build_parent_sample import GZDecalsRecipe
from gz_decals.resample import stored
from skyshards.errors import SourceError
from skyshards.format.images import to_rgb
from skyshards.pipeline.build import build

KEPT = ("whole.jpg", "palette.png", "alpha.png", "grey16.png", "cmyk.jpg")
REFUSED = ("two_bytes_short.jpg", "half.png", "page.png")


@pytest.mark.parametrize("size", [None, 64, 16])
def test_images_of_any_mode_are_stored_as_rgb_or_refused_by_name(cases, tmp_path, size):
    """A build of all the cases: broken ones fail alone, with the reason, and what is stored is what `to_rgb` gives."""
    path = tmp_path / "t.csv"
    lines = [f"galaxy-{number},{number},1,{name}" for number, name in enumerate((*KEPT, *REFUSED))]
    path.write_text("\n".join(["iauname,ra,dec,file_loc", *lines]))
    folder = tmp_path / "built"
    recipe = GZDecalsRecipe(path, folder, local_data_path=cases / "images", size=size)
    assert build(recipe, folder, workers=1).failed == len(REFUSED)
    rows = {str(row["image_file"]): row["image"] for row in skyshards.open(folder)}
    assert set(rows) == set(KEPT)
    for name, pixels in rows.items():
        with Image.open(cases / "images" / name) as picture:
            wanted = to_rgb(picture)
            if size == 16:
                wanted = wanted.resize((16, 16), Image.Resampling.LANCZOS)
        assert pixels.dtype == np.uint8 and pixels.shape == (size or 64, size or 64, 3)
        assert np.abs(pixels.astype(int) - np.asarray(wanted)).max() <= 2
    failures = (folder / "failures.csv").read_text()
    assert "an HTML page" in failures and all(name in failures for name in REFUSED)


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_cut_short_is_not_resampled(cases, name):
    with pytest.raises(SourceError, match="not a whole PNG or JPEG file"):
        stored((cases / "images" / name).read_bytes(), 16)


def test_files_stay_as_they_are_only_if_they_are_rgb(cases):
    whole = (cases / "images" / "whole.jpg").read_bytes()
    assert stored(whole)[0] is whole and stored(whole, 64)[0] is whole
    for name in set(KEPT) - {"whole.jpg"}:
        content = (cases / "images" / name).read_bytes()
        assert stored(content) == stored(content, 64)
        assert Image.open(io.BytesIO(stored(content)[0])).mode == "RGB"
