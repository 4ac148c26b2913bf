"""Pictures can be drawn of any galaxy and any blend."""

import numpy as np
import pytest

from candels_blend import Blends

pytest.importorskip("matplotlib", reason="the extra `notebooks` is not installed")

from candels_blend.plots import plot_blend, plot_galaxy  # noqa: E402


def drawn(figure):
    """The figure's pixels; it has as many panels as titles."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    assert all(axes.get_title() for axes in figure.axes)
    return np.asarray(canvas.buffer_rgba())


def test_galaxy(archive):
    figure = plot_galaxy(archive, 3)
    assert len(figure.axes) == 4 and str(archive.catalogue["ID"][3]) in figure.axes[0].get_title()
    assert drawn(figure).std() > 10


@pytest.mark.parametrize(
    ("method", "galaxies", "panels"), [("ogg_masks", 2, 2), ("single_images", 2, 4), ("single_images", 4, 6)]
)
def test_blend(datapath, method, galaxies, panels):
    blend = Blends(datapath, method=method, n_galaxies=galaxies)[2]
    figure = plot_blend(blend)
    assert len(figure.axes) == panels and str(blend["object_id"]) in figure.axes[0].get_title()
    assert drawn(figure).std() > 10


def test_regions_are_told_apart(datapath):
    blends = Blends(datapath, length=200)
    blend = next(blend for blend in blends if (blend["masks"].sum(axis=0) == 2).any())
    regions = plot_blend(blend).axes[-1].images[0].get_array()
    first, second = blend["masks"] == 1
    for value, where in enumerate((~first & ~second, first & second, first & ~second, second & ~first)):
        assert (regions[where] == value).all()
