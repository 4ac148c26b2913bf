"""Measure the rate and memory of exporting GZ3D as a HATS collection, beside the rate of encoding its PNGs alone.

    pip install -e '.[bench,hats]' && python benchmarks/exporting.py [--rows 3000] [--data FOLDER]

Each runs in its own process, with two workers; the fastest of `--rounds` counts. Encoding alone means encoding the same
arrays, already read, as the export does. Memory is the peak of the whole process tree. Sizes are not reported: most
galaxies are copies, which zstd detects. Prints Markdown.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from harness import in_fresh_process, machine, print_table, versions
from simulated import build_gz3d, make_fits

import skyshards
from skyshards.export.columns import PNG_LEVEL, png
from skyshards.export.run import export

PROCESSES = 2
SAMPLE = 100
"""Number of rows encoded alone; their rate stands for all."""


def exported(folder: Path, out: Path) -> tuple[int, float]:
    start = time.perf_counter()
    done = export(folder, out, workers=PROCESSES)
    return done.rows, time.perf_counter() - start


def encode_alone(folder: Path, first: int) -> tuple[int, float]:
    """Encode the images of some rows; returns the number of rows, and the seconds without reading."""
    rows = skyshards.open(folder, threads=1).columns(["image", "segmentation.array"])
    rows = rows[first : first + SAMPLE // PROCESSES]
    start = time.perf_counter()
    for image, masks in zip(rows["image"], rows["segmentation"]["array"], strict=True):
        for picture in (image, *masks):
            png(picture)
    return len(rows["image"]), time.perf_counter() - start


def encoded(folder: Path) -> float:
    """Rows per second of all processes together."""
    with ProcessPoolExecutor(PROCESSES) as pool:
        parts = list(pool.map(encode_alone, [folder] * PROCESSES, range(0, SAMPLE, SAMPLE // PROCESSES)))
    return sum(rows / seconds for rows, seconds in parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=3000)
    parser.add_argument("--distinct", type=int, default=100, help="galaxies that are rendered; the others are copies")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--data", type=Path, help="a built GZ3D dataset to export, instead of a simulated one")
    options = parser.parse_args()
    print(f"{machine()}; {versions(['hats', 'pyarrow', 'pillow'])}\n")
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        folder = options.data or place / "gz3d"
        if options.data is None:
            make_fits(place / "fits", options.rows, min(options.rows, options.distinct))
            build_gz3d(place / "fits", folder)
            shutil.rmtree(place / "fits")
        alone, best = 0.0, None
        for _ in range(options.rounds):
            alone = max(alone, in_fresh_process(encoded, folder).value)
            shutil.rmtree(place / "out", ignore_errors=True)
            found = in_fresh_process(exported, folder, place / "out")
            if best is None or found.value[1] < best.value[1]:
                best = found
        rows, seconds = best.value
        print_table(
            ["", "rows/s", "of encoding alone", "MiB"],
            [
                [f"PNG by Pillow, level {PNG_LEVEL}, alone", f"{alone:.1f}", "1.00", ""],
                [
                    f"`skyshards export`, {rows:,} rows",
                    f"{rows / seconds:.1f}",
                    f"{rows / seconds / alone:.2f}",
                    f"{best.pss / 2**20:,.0f}",
                ],
            ],
        )


if __name__ == "__main__":
    main()
