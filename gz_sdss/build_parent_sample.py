"""Build Galaxy Zoo on SDSS: votes over TAP, cutouts over Hips2Fits or SIA, to HEALPix-partitioned HDF5 shards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # a script's own folder is first on the path: its gz_sdss.py would shadow the package
    import sys

    if not sys.flags.safe_path:
        del sys.path[0]
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from skyshards_start import run

    run("gz_sdss.build_parent_sample:main", sys.argv[1:])

import numpy as np
import pandas as pd

from gz_sdss.cutout import MAX_MISSING
from gz_sdss.cuts import Cuts, shuffled
from gz_sdss.further_columns import EVERY, FurtherColumn, declared
from gz_sdss.galaxy_images import GalaxyImages, ImageService
from gz_sdss.gz_sdss import FLAGS, LABELS, VALUES, schema_of
from gz_sdss.hips2fits import (
    HIPS,
    HIPS2FITS_URLS,
    MARGIN,
    RATE,
    SIZE,
    field_of_view,
)
from gz_sdss.image_checks import open_fits
from gz_sdss.image_tars import ImageArchive
from gz_sdss.options import ServiceSearch, catalogue_options, cut_options, given, image_options, sia_service
from gz_sdss.parent_sample import passing, read_catalog
from gz_sdss.sia import Service
from gz_sdss.surveys import SURVEYS, SURVEYS_URL, find_survey, known_id, list_surveys
from gz_sdss.tables import write_csv
from gz_sdss.tap_catalog import TAP_URL, CatalogRequest, get_catalog
from skyshards.cli.build_command import build_command
from skyshards.errors import UsageError
from skyshards.fetch.client import Fetcher
from skyshards.files import file_digest, is_read_only
from skyshards.format.schema import Schema
from skyshards.pipeline.recipe import DEMO, Cost, Recipe, Served, Source
from skyshards.progress import say

FILTERED = "ZooSpecPhotoDR19_filtered.csv.gz"
FEW, FEW_ROWS = 5, 50
"""For up to `FEW` galaxies, `FEW_ROWS` rows are requested, as some may pass only the server's cuts; for more, the whole
catalogue, so that the first N are always the same."""

JPEG_BYTES, JPEG_GROWTH = 2.2e3, 1.3
"""Approximate size of a 64 x 64 cutout, and the power of the width by which it grows, measured on the demo's."""
ROW_BYTES = 7.2e3
"""Approximate disk space per galaxy: the JPEG in its shard and in its TAR archive, with columns, label and headers."""


@dataclass(frozen=True)
class GZSDSSRecipe(Recipe):
    """Recipe of gz_sdss: each source is the cutout of a catalogue galaxy and gives one row.

    Parameters
    ----------
    output_dir : Path
        The built folder, where the tables and the folder `Images` are kept.
    request : CatalogRequest
        Request to the TAP service.
    cuts : Cuts
        Quality cuts on its rows.
    tap_url : str
        URL of the TAP service.
    refresh_catalog : bool
        Download the catalogue even if it is there.
    catalog : Path, optional
        Table to use instead of the TAP service.
    keep_columns : tuple of str
        Names or patterns of further columns of `catalog` (those of the TAP service's are in `request`).
    hips2fits_urls : tuple of str
        URLs of the service and its mirrors.
    hips : str
        Survey that the images show, as `gz_sdss.surveys.find_survey` takes it; `prepare` finds its identifier.
    surveys_url : str
        URL of the list of surveys.
    sia : Service or ServiceSearch, optional
        Take the images from this service instead, or from the first one that `prepare` finds.
    format : str
        "jpg", or with `sia` also "fits".
    size : int
        Width and height of the images, pixels.
    margin : float
        Margin around a galaxy, as a fraction of 2 petroR90_r.
    images_from : Path, optional
        Another dataset's folder, or its folder `Images`: images there that show the same are used again.
    max_missing : float
        With `sia`: maximum fraction (0 to 1) of missing pixels in a FITS cutout.
    rate : float
        Maximum number of image requests per second, over all threads and workers; 0 for no limit.
    survey_title : str
        Title of the survey `hips`; set by `prepare`.
    galaxies : pandas.DataFrame, optional
        The galaxies that pass the cuts; set by `prepare`.
    further : tuple of FurtherColumn
        Further columns of the catalogue in rows; set by `prepare`.
    """

    output_dir: Path
    request: CatalogRequest = CatalogRequest()
    cuts: Cuts = field(default_factory=Cuts)
    tap_url: str = TAP_URL
    refresh_catalog: bool = False
    catalog: Path | None = None
    keep_columns: tuple[str, ...] = ()
    hips2fits_urls: tuple[str, ...] = HIPS2FITS_URLS
    hips: str = HIPS
    surveys_url: str = SURVEYS_URL
    sia: Service | ServiceSearch | None = None
    format: str = "jpg"
    size: int = SIZE
    margin: float = MARGIN
    images_from: Path | None = None
    max_missing: float = MAX_MISSING
    rate: float = RATE
    survey_title: str = ""
    galaxies: pd.DataFrame | None = field(default=None, repr=False, compare=False)
    further: tuple[FurtherColumn, ...] = ()

    name = "gz_sdss"
    downloads = "Images"
    reuse = "where `images` with this folder uses its images again"

    def __getstate__(self) -> dict[str, Any]:
        """Pickle all but the images and the catalogue, which stay in the process that downloads."""
        kept = ("galaxies", "schema", "images")
        return {name: value for name, value in vars(self).items() if name not in kept}

    @cached_property
    def schema(self) -> Schema:
        hips = HIPS if self.sia else self.hips
        further = [(column.name, column.column) for column in self.further]
        return schema_of(self.format, self.size, self.margin, hips, further)

    def prepare(self, fetcher: Fetcher, folder: Path) -> GZSDSSRecipe:
        """Find the survey or the image service, fetch the catalogue and cut it."""
        sia = self.sia.first() if isinstance(self.sia, ServiceSearch) else self.sia
        hips, title = self.hips, SURVEYS["SDSS"].title
        if sia is None and hips != HIPS:  # the default needs no list
            survey = find_survey(hips, list_surveys(fetcher, self.surveys_url), self.surveys_url)
            hips, title = survey.id, survey.title
            say(f"Images from: {title} ({hips})")
        galaxies = self.filtered()
        asked = replace(self, sia=sia, hips=hips, survey_title=title)
        return replace(asked, galaxies=shuffled(galaxies), further=declared(galaxies))

    @property
    def _service(self) -> Service | None:
        """Image service, if one is used; known after `prepare`."""
        assert not isinstance(self.sia, ServiceSearch), "`prepare` comes first"
        return self.sia

    def options(self) -> dict[str, Any]:
        origin: dict[str, Any] = {"image_source": "hips2fits"}
        if hips := known_id(self.hips) if self.galaxies is None else self.hips:  # others are found by `prepare`
            origin["hips"] = hips
        if self.hips2fits_urls != HIPS2FITS_URLS and not self.simulated:
            origin["hips2fits_url"] = self.hips2fits_urls[0]
        if self.sia is not None:
            origin = {"image_source": "sia", "max_missing": self.max_missing}
            if self.simulated:
                origin["sia_service"] = DEMO
            elif isinstance(self.sia, Service):
                origin["sia_service"] = self.sia.title or self.sia.url
        if self.catalog is not None:
            origin |= {"catalog": self.catalog.name, "catalog_sha256": file_digest(self.catalog)}
        else:
            adql = self.request.adql and " ".join(self.request.adql.split())
            origin |= {"tap_url": DEMO if self.simulated else self.tap_url.rstrip("/"), "adql": adql}
        keep = self.keep_columns if self.catalog is not None else self.request.columns
        if keep and keep != EVERY:
            origin["keep_columns"] = list(keep)
        size = None if self.size == SIZE else self.size  # folders of earlier versions do not tell it
        margin = None if self.margin == MARGIN else self.margin
        return asdict(self.cuts) | origin | {"format": self.format, "size": size, "margin": margin}

    @property
    def _origin(self) -> str:
        """Where the images are from, in words; folders with others are refused."""
        sia = self._service
        service = f"{self.hips} by hips2fits" if sia is None else sia.title or sia.url
        sky = "a simulated sky" if self.simulated and self.hips == HIPS else f"a simulated {self.hips}"
        origin = f"{self.format} cutouts of {sky if self.simulated else service}"
        if (self.size, self.margin) != (SIZE, MARGIN):  # folders of earlier versions do not tell it
            origin += f", {self.size} pixels wide with a margin of {self.margin:g}"
        return origin

    @property
    def _release(self) -> str:
        """The release that the images are of, where the service does not tell it with each."""
        if self.simulated:
            return DEMO
        sia = self._service
        return f"{self.survey_title} ({self.hips})" if sia is None else sia.title or sia.url

    @cached_property
    def images(self) -> GalaxyImages:
        """Images on disk, and the service of the others."""
        images = self.format, self.max_missing, self.size, self.margin
        service = ImageService(tuple(self.hips2fits_urls), self.hips, self._service, *images)
        folder, suffix, origin = self.output_dir / self.downloads, f".{self.format}", self._origin
        archive, other = ImageArchive(folder, suffix, origin=origin), None
        if (there := self.images_from) is not None:
            there = there / self.downloads if (there / self.downloads).is_dir() else there
            if there.resolve() != folder.resolve():
                other = ImageArchive(there, suffix, origin=origin, read_only=True)
        return GalaxyImages(archive, other, service, self._release)

    def filtered(self) -> pd.DataFrame:
        """Select the galaxies that pass the cuts, by dr7objid, and write `ZooSpecPhotoDR19_filtered.csv.gz`.

        Raises
        ------
        BuildError
            The catalogue cannot be fetched, or no galaxy passes.
        """
        if self.catalog is not None:
            whole, origin = read_catalog(self.catalog, self.keep_columns), str(self.catalog)
        else:
            request = self.request
            if self.limit is not None and self.limit <= FEW and replace(request, columns=()) == CatalogRequest():
                request = replace(request, where=self.cuts.adql("z", "p"), top=FEW_ROWS)
            if self.simulated:  # the demo archive's address changes with every run
                request = replace(request, source=DEMO)
            whole, origin = get_catalog(request, self.output_dir, self.tap_url, self.refresh_catalog), self.tap_url
        kept = passing(whole, self.cuts, origin)
        if not is_read_only(self.output_dir):
            write_csv(kept, self.output_dir / FILTERED)
        return kept

    def sources(self, fetcher: Fetcher) -> Iterator[Source]:
        """List the galaxies in a fixed order, so that the first N are always the same sample."""
        assert self.galaxies is not None, "`prepare` comes first"
        galaxies = self.galaxies.copy()
        galaxies["specobjid"] = galaxies["specobjid"].fillna(0).astype("int64")
        labels = (galaxies["p_cs_debiased"] >= galaxies["p_el_debiased"]).map(_label)
        ids = galaxies["objid"].tolist()
        self.images.archive.arrange(ids, dict(zip(ids, labels, strict=True)))
        for galaxy in galaxies.to_records(index=False):
            url = self.images.address(galaxy, fetcher)
            yield Source(f"{galaxy['objid']}.{self.format}", url, info=galaxy, release=self._release)

    def cost(self, sources: Sequence[Source]) -> Cost:
        fetched = sum(self.images.held_by(source.info) is None for source in sources)
        seconds, pace = (fetched / self.rate, f"{self.rate:g} requests/s") if self.rate else (None, "")
        if self.sia is not None:  # response sizes differ between services
            return Cost(None if fetched else 0, None, seconds, pace)
        image = JPEG_BYTES * (self.size / SIZE) ** JPEG_GROWTH
        return Cost(image * fetched, (ROW_BYTES + 2 * (image - JPEG_BYTES)) * len(sources), seconds, pace)

    def fetch(self, source: Source, fetcher: Fetcher, folder: Path) -> Served:
        return self.images.fetch(source.info, fetcher)

    def read(self, source: Source, fetched: bytes) -> Iterator[dict[str, Any]]:
        galaxy = source.info
        yield {
            "object_id": str(galaxy["dr7objid"]),
            "objid": galaxy["objid"],
            "specobjid": galaxy["specobjid"],
            "ra": galaxy["ra"],
            "dec": galaxy["dec"],
            "image": fetched if self.format == "jpg" else open_fits(fetched)[0],
            "scale": field_of_view(galaxy["petroR90_r"], self.margin) / self.size,
            "label": _label(galaxy["p_cs_debiased"] >= galaxy["p_el_debiased"]),
            **{name: galaxy[name] for name in VALUES},
            **{name: -1 for name in FLAGS if np.isnan(galaxy[name])},
            **{column.name: galaxy[column.name] for column in self.further},
        }

    def close(self) -> None:
        """Seal the last TAR archive."""
        if "images" in vars(self):
            self.images.close()


def _label(is_spiral: bool) -> int:
    return LABELS.index("spiral" if is_spiral else "elliptical")


@build_command("gz_sdss", not_with_demo=("tap_url", "hips2fits_url", "surveys_url", "sia_url"))
@catalogue_options
@cut_options
@image_options
def main(
    tap_url, adql, top, refresh_catalog, catalog, keep_columns, size, margin, images, image_source, hips, hips2fits_url,
    surveys_url, sia_url, sia_version, sia_keywords, sia_waveband, format, max_missing, rate,
    *, demo, output_dir, **cuts,
) -> GZSDSSRecipe:  # fmt: skip
    """Galaxy Zoo on SDSS: galaxies with a clear vote, spiral or elliptical, each with a colour cutout."""
    if format == "fits" and image_source != "sia":
        raise UsageError("`format` fits needs `image_source` sia: hips2fits has the colour survey as JPEG only")
    of_sia = ("sia_url", "sia_version", "sia_keywords", "sia_waveband", "max_missing")
    if image_source != "sia" and (names := given(*of_sia)):
        raise UsageError(f"{names}: only with `image_source` sia")
    if image_source == "sia" and (names := given("hips2fits_url", "hips", "surveys_url")):
        raise UsageError(f"{names}: only with `image_source` hips2fits")
    if catalog is not None and (names := given("tap_url", "adql", "top", "refresh_catalog")):
        raise UsageError(f"`catalog` cannot be combined with {names}")
    keep = tuple(name.strip() for name in (keep_columns or "").split(",") if name.strip())
    request = CatalogRequest(adql.read_text() if adql else None, top=top, columns=keep or (EVERY if adql else ()))
    _ = request.query  # refuses what it cannot ask for
    registry_url = None
    if demo is not None:
        tap_url, hips2fits_url, registry_url = demo.tap_url, demo.hips2fits_url, demo.registry_url
        surveys_url = demo.surveys_url
        if not given("rate"):
            rate = 0.0  # the demo server has no other users
        if not (sia_keywords or sia_waveband):
            sia_url = demo.sia_url if sia_version == 1 else demo.sia2_url
    sia = None
    if image_source == "sia":
        sia = sia_service(sia_url, sia_version, sia_keywords, sia_waveband, registry_url)
    return GZSDSSRecipe(
        output_dir=output_dir,
        request=request,
        cuts=Cuts(**cuts),
        tap_url=tap_url,
        refresh_catalog=refresh_catalog,
        catalog=catalog,
        keep_columns=keep,
        hips2fits_urls=(hips2fits_url,) if hips2fits_url else HIPS2FITS_URLS,
        hips=hips,
        surveys_url=surveys_url,
        sia=sia,
        format=format,
        size=size,
        margin=margin,
        images_from=images,
        max_missing=max_missing,
        rate=rate,
    )
