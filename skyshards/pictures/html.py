"""A table as HTML for notebooks: thumbnails and columns. All text is escaped, since folders may be foreign."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple

import numpy as np
from PIL import Image

from skyshards.format.column_info import ColumnInfo
from skyshards.format.columns import in_words
from skyshards.pictures.legend import Legend
from skyshards.pictures.pixels import shrink
from skyshards.text import counted

QUALITY = 85
"""JPEG quality of thumbnails, which take 3 to 10 kB each."""

HEIGHT, WIDTH = 128, 384
"""Limits of a thumbnail as it is shown, in CSS pixels; smaller pictures are enlarged to one of them."""

STYLE = """\
<style>
.skyshards {font-family: system-ui, sans-serif; font-size: 13px; line-height: 1.4; max-width: 70em}
.skyshards .sky-rows {display: flex; flex-wrap: wrap; gap: 8px; margin: 6px 0}
.skyshards figure {margin: 0; min-width: 128px}
.skyshards img {display: block; max-width: none}
.skyshards figcaption {overflow-wrap: anywhere}
.skyshards .sky-legend {display: flex; flex-wrap: wrap; gap: 2px 14px; margin: 6px 0; padding: 0; list-style: none}
.skyshards .sky-legend li {display: flex; align-items: center; gap: 6px; margin: 0}
.skyshards .sky-legend span {flex: none; width: 11px; height: 11px; border: 1px solid; border-radius: 2px}
.skyshards .sky-columns {max-height: 24em; overflow: auto}
.skyshards table {border-collapse: collapse; margin: 0; font-size: inherit; color: inherit; background: none}
.skyshards .sky-columns tr {background: none}
.skyshards .sky-columns :is(th, td) {text-align: left; vertical-align: top; padding: 2px 12px 2px 0; max-width: none;
  border: 0; border-bottom: 1px solid rgba(128, 128, 128, 0.3); background: none; white-space: normal}
.skyshards th {font-weight: 600}
.skyshards tbody th {font-family: ui-monospace, monospace; font-weight: normal}
</style>
"""


class Thumbnail(NamedTuple):
    """A row on the page: its title, its labels, and its picture, or why there is none."""

    title: str
    caption: str
    picture: np.ndarray | None
    problem: str = ""


def page(
    title: str, place: str, thumbnails: Sequence[Thumbnail], columns: Mapping[str, ColumnInfo], legend: Legend = ()
) -> str:
    """Return the HTML of a table: title and place, thumbnails, the legend of masks, columns with their descriptions.

    Its colours are those of the page around it, light or dark. It needs no script and no network.
    """
    where = f" {escape(place)}" if place else ""
    figures = "".join(map(_figure, thumbnails))
    rows = "".join(map(_row, columns.values()))
    return (
        f'{STYLE}<div class="skyshards"><div><strong>{escape(title)}</strong>{where}</div>'
        f'<div class="sky-rows">{figures}</div>{_legend(legend)}'
        f"<details open><summary>{counted(len(columns), 'columns')}</summary>"
        '<div class="sky-columns"><table><thead><tr><th scope="col">column</th><th scope="col">type</th>'
        f'<th scope="col">unit</th><th scope="col">description</th></tr></thead><tbody>{rows}</tbody></table>'
        "</div></details></div>"
    )


def data_uri(picture: np.ndarray) -> str:
    """Return a picture as the address of an image in HTML."""
    content = io.BytesIO()
    Image.fromarray(picture).save(content, "JPEG", quality=QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}"


def _legend(legend: Legend) -> str:
    entries = (f'<li><span style="background: {escape(colour)}"></span>{escape(name)}</li>' for name, colour in legend)
    return f'<ul class="sky-legend" aria-label="Colours of the masks">{"".join(entries)}</ul>' if legend else ""


def _figure(row: Thumbnail) -> str:
    words = ": ".join(filter(None, (row.title, row.caption)))
    image, width = "", HEIGHT
    if row.picture is not None:
        scale = min(HEIGHT / row.picture.shape[0], WIDTH / row.picture.shape[1])
        height, width = (max(1, round(length * scale)) for length in row.picture.shape[:2])
        source = data_uri(shrink(row.picture, max(height, width)))
        image = f'<img src="{source}" width="{width}" height="{height}" alt="{escape(words)}">'
    lines = "<br>".join(escape(line) for line in (row.title, row.caption, row.problem) if line)
    return f'<figure style="width: {width}px">{image}<figcaption>{lines}</figcaption></figure>'


def _row(column: ColumnInfo) -> str:
    names = in_words(column.classes)
    texts = (": ".join(filter(None, (column.type_in_words, names))), column.unit, column.description)
    cells = "".join(f"<td>{escape(text)}</td>" for text in texts)
    return f'<tr><th scope="row">{escape(column.name)}</th>{cells}</tr>'
