"""The pictures of GZ3D rows: what is drawn where, in which colour and how opaque."""

import itertools
import subprocess
import sys

import numpy as np
import pytest
from datasets import load_dataset

import skyshards
from gz3d import CLASSES
from tests.versions import stock_reads_hdf5

matplotlib = pytest.importorskip("matplotlib", reason="the extra `notebooks` is not installed")
matplotlib.use("Agg")
plt = pytest.importorskip("matplotlib.pyplot")
plot = pytest.importorskip("gz3d.plot")

SCALE = np.float32(0.099 / 3600)

# From linear RGB to what is seen without one kind of cones (Machado, Oliveira & Fernandes 2009, IEEE TVCG 15, 1291).
COLOUR_BLIND = {
    "nobody": np.eye(3),
    "protanopes": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopes": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopes": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def made_row(**masks):
    """A black image with masks given as functions that paint into zeros."""
    array = np.zeros((4, 525, 525), np.uint8)
    for name, paint in masks.items():
        paint(array[CLASSES.index(name)])
    return {
        "image": np.zeros((525, 525, 3), np.uint8),
        "scale": SCALE,
        "segmentation": {"class": np.array(CLASSES), "vote_fraction": np.float32([-1, -1, 0.25, -0.5]), "array": array},
    }


def block(count, rows=slice(100, 150), columns=slice(50, 100)):
    def paint(mask):
        mask[rows, columns] = count

    return paint


def drawn(ax):
    """The figure as it is drawn: float RGB from 0 to 1 `[height, width, 3]`, row 0 at the top."""
    ax.figure.canvas.draw()
    return np.asarray(ax.figure.canvas.buffer_rgba())[..., :3] / 255


def colour_at(ax, east, north):
    """What is drawn at an offset from the centre, arcsec."""
    picture = drawn(ax)
    x, y = ax.transData.transform((east, north))
    return picture[picture.shape[0] - 1 - int(y), int(x)]


def offset(row, column):
    """Offset of a pixel from the image's centre, arcsec east and north, where row 0 is north and column 0 is east."""
    return (262 - column) * 0.099, (262 - row) * 0.099


def test_axes_are_in_arcsec_with_north_up_and_east_left():
    for ax in plot.plot_segmentation(made_row()):
        half = 525 * 0.099 / 2
        assert ax.get_xlim() == pytest.approx((half, -half))
        assert ax.get_ylim() == pytest.approx((-half, half))
        assert "east (arcsec)" in ax.get_xlabel()


@pytest.mark.parametrize("name", CLASSES)
def test_mask_is_drawn_at_its_place_in_the_colour_of_its_class(name):
    _, ax = plot.plot_segmentation(made_row(**{name: block(7)}))
    assert colour_at(ax, *offset(125, 75)) == pytest.approx(matplotlib.colors.to_rgb(plot.COLOURS[name]), abs=0.02)
    for row, column in [(125, 449), (399, 75), (262, 262)]:  # mirrored, and in the middle
        assert colour_at(ax, *offset(row, column)) == pytest.approx((0, 0, 0), abs=0.02)


def test_picture_is_drawn_in_the_frame_of_the_masks():
    row = made_row()
    row["image"][100:150, 50:100] = (200, 100, 50)
    ax, _ = plot.plot_segmentation(row)
    assert colour_at(ax, *offset(125, 75)) == pytest.approx(np.array((200, 100, 50)) / 255, abs=0.02)
    assert colour_at(ax, *offset(125, 449)) == pytest.approx((0, 0, 0), abs=0.02)


@pytest.mark.slow
def test_opacity_goes_with_the_count():
    def steps(mask):
        for count in range(5):
            mask[100:150, 100 * count : 100 * count + 100] = count

    _, ax = plot.plot_segmentation(made_row(bar=steps))
    red = [colour_at(ax, *offset(125, 100 * count + 50))[0] for count in range(5)]
    full = matplotlib.colors.to_rgb(plot.COLOURS["bar"])[0]
    assert red == pytest.approx([full * count / 4 for count in range(5)], abs=0.02)


def test_common_maximum_makes_galaxies_comparable():
    few = plot.plot_segmentation(made_row(bar=block(4)), vmax=16)[1]
    many = plot.plot_segmentation(made_row(bar=block(16)), vmax=16)[1]
    here = offset(125, 75)
    assert colour_at(few, *here) == pytest.approx(colour_at(many, *here) / 4, abs=0.02)


def test_smallest_things_lie_on_top():
    _, ax = plot.plot_segmentation(made_row(spiral=block(3), bar=block(3), center=block(3)))
    assert colour_at(ax, *offset(125, 75)) == pytest.approx(matplotlib.colors.to_rgb(plot.COLOURS["center"]), abs=0.02)


def test_legend_and_colour_bars_name_every_class():
    _, ax = plot.plot_segmentation(made_row(star=block(108)))
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["center", "star", "spiral (votes: 25%)", "bar (votes: –)"]
    assert [bar.get_title() for bar in ax.child_axes] == list(plot.COLOURS) == list(CLASSES)
    assert [text.get_text() for text in ax.child_axes[1].get_yticklabels()] == ["0", "108"]


def test_no_text_overlaps_another_or_is_cut_off():
    row = made_row(spiral=block(15), bar=block(108)) | {"object_id": "12-193481", "ra": 359.99999, "dec": -11.17}
    row["segmentation"]["vote_fraction"] = np.float32([-1, -1, 1, 1])
    figure = plot.plot_segmentation(row)[0].figure
    figure.canvas.draw()
    texts = [text for text in figure.findobj(matplotlib.text.Text) if text.get_visible() and text.get_text().strip()]
    extent = matplotlib.text.Text.get_window_extent  # of annotations without their arrows
    boxes = {text: extent(text) for text in texts}
    for (one, a), (other, b) in itertools.combinations(boxes.items(), 2):
        assert not a.overlaps(b), f"{one.get_text()!r} and {other.get_text()!r}"
    used, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert min(used.x0, used.y0) >= 0 and used.x1 <= width and used.y1 <= height


def test_colours_are_told_apart_by_the_colour_blind():
    rgb = np.array([matplotlib.colors.to_rgb(colour) for colour in plot.COLOURS.values()])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    for who, matrix in COLOUR_BLIND.items():
        seen = np.clip(linear @ np.transpose(matrix), 0, 1)
        assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) > 0.2, who


@pytest.mark.slow
@stock_reads_hdf5
def test_rows_from_anywhere_give_the_same_picture(built_gz3d):
    table = skyshards.open(built_gz3d)
    stock = load_dataset(str(built_gz3d), split="train", streaming=True)
    pictures = [
        drawn(plot.plot_segmentation(row)[0])
        for row in (table[0], next(iter(stock)), next(iter(stock.with_format("numpy"))))
    ]
    assert pictures[0].std() > 0.05
    for picture in pictures[1:]:
        np.testing.assert_array_equal(picture, pictures[0])


def test_axes_of_a_larger_figure_can_be_used():
    _, axes = plt.subplots(2, 2)
    below = axes[1]
    assert plot.plot_segmentation(made_row(), below) is below
    assert not axes[0, 0].images and len(axes[1, 0].images) == 1 and len(axes[1, 1].images) == 5


def test_gallery_shows_every_row(built_gz3d):
    rows = skyshards.open(built_gz3d)[:3]
    rows = [{name: rows[name][i] for name in ("object_id", "image", "scale")} | {
        "segmentation": {name: values[i] for name, values in rows["segmentation"].items()}
    } for i in range(3)]  # fmt: skip
    figure = plot.plot_gallery(iter(rows), columns=2, title="Simulated")
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    assert [title for title in titles if title in {row["object_id"] for row in rows}] == [
        row["object_id"] for row in rows
    ]


def test_gallery_uses_one_scale_for_all():
    figure = plot.plot_gallery([made_row(bar=block(4)), made_row(spiral=block(9))])
    shown = [image for ax in figure.axes for image in ax.images if image.get_cmap().name in CLASSES]
    assert len(shown) == 8 and {image.norm.vmax for image in shown} == {9}


@pytest.mark.parametrize("missing", ["image", "scale", "segmentation", "class", "vote_fraction", "array"])
def test_missing_column_is_named(missing):
    row = made_row()
    row.pop(missing, None)
    row.get("segmentation", {}).pop(missing, None)
    with pytest.raises(ValueError, match=f"column '{missing}'"):
        plot.plot_segmentation(row)


def test_batch_is_refused(built_gz3d):
    with pytest.raises(ValueError, match=r"\(2, 525, 525, 3\): plot row by row"):
        plot.plot_segmentation(skyshards.open(built_gz3d)[:2])


def test_nothing_to_plot_is_said():
    with pytest.raises(ValueError, match="found none"):
        plot.plot_gallery([])


def test_without_matplotlib_only_the_plots_are_missing():
    program = """
import sys
sys.modules["matplotlib"] = None  # any import of it fails
import gz3d
try:
    import gz3d.plot
except ImportError as error:
    print(error)
"""
    outcome = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stdout == "gz3d.plot needs matplotlib: pip install 'skyshards[notebooks]'\n"
