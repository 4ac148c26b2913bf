"""Draw `strip.png` (the top of README.md: a galaxy of each dataset) and `gz3d.png`, of galaxies of the demo archive.

for name in gz3d gz_sdss gz_decals galaxy10 candels_blend sdss_spectra; do
    python build_parent_sample.py $name --limit 12 --demo -o build/strip/$name
done
python docs/make_pictures.py build/strip docs
"""

import itertools
import sys
from pathlib import Path

import matplotlib.pyplot as plt

import candels_blend.plots
import gz3d.plot
import skyshards


def main(folder: Path, pictures: Path) -> None:
    """Draw the pictures from the six datasets in a folder."""
    draw_strip(folder, pictures / "strip.png")
    arms = skyshards.open(folder / "gz3d").where("gz_spiral_votes > 0.5 * total_classifications")
    title = "Simulated galaxies of the demo archive: what the volunteers saw, and what they marked"
    figure = gz3d.plot.plot_gallery(itertools.islice(arms, 4), title=title)
    figure.savefig(pictures / "gz3d.png", dpi=125, metadata={"Software": None})


def draw_strip(folder: Path, picture: Path) -> None:
    """Draw a galaxy of each dataset."""
    barred = skyshards.open(folder / "gz3d").where("gz_bar_votes > 0.5 * total_classifications")[0]
    spiral = skyshards.open(folder / "gz_sdss").where("label == 1")[0]
    ring = skyshards.open(folder / "gz_decals").where("ring == 1")[0]
    blend = skyshards.open(folder / "candels_blend", split="train")[0]
    edge_on = skyshards.open(folder / "galaxy10").where("label == 9")[0]
    spectra = skyshards.open(folder / "sdss_spectra")
    figure, panels = plt.subplots(1, 8, figsize=(16, 2.4), layout="constrained", gridspec_kw={"wspace": 0.02})
    gz3d.plot.show_image(barred, panels[0])
    gz3d.plot.show_masks(barred, panels[1])
    for panel in panels[:2]:
        panel.set(xlim=(13, -13), ylim=(-13, 13))
    panels[2].imshow(spiral["image"])
    panels[3].imshow(ring["image"][100:324, 100:324])
    panels[4].imshow(edge_on["image"][50:206, 50:206])
    candels_blend.plots.show_image(panels[5], blend["image"], "")
    candels_blend.plots.show_regions(panels[6], blend["masks"], "")
    spectrum = spectra[0]["spectrum"]
    panels[7].plot(10 ** spectrum["loglam"], spectrum["flux"], linewidth=0.5, color="black")
    panels[7].set_box_aspect(1)
    labels = ("gz3d", "its masks", "gz_sdss", "gz_decals", "galaxy10", "candels_blend", "its masks", "sdss_spectra")
    for panel, label in zip(panels, labels, strict=True):
        panel.set(title="", xticks=[], yticks=[], ylabel="")
        panel.set_xlabel(label, fontsize=14)
        panel.spines[:].set_visible(False)
    figure.savefig(picture, dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
