"""Measure building galaxy10 from its one HDF5 file, beside what h5py's reading and deflate alone allow.

    pip install -e '.[bench]' && python benchmarks/one_file.py [--rows 1774] [--rounds 3]

The file is made up, with a tenth of the real one's rows, gzip and the chunks that h5py chooses. The limit reads it in
blocks and deflates each image at the level of the shards, in two processes, and writes nothing. Both are measured in
turn, in processes of their own, and the fastest of each counts. Memory is the peak of the process tree, sampled ten
times a second. Another table compares two ways to store the images, by the time of the processor. Prints Markdown.
"""

from __future__ import annotations

import argparse
import io
import shutil
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import deflate
import h5py
import numpy as np
from harness import in_fresh_process, machine, print_table, versions
from PIL import Image

from demo_archive.holdings.galaxy10 import FILE, SIZE, image, image_scale, label
from demo_archive.simulation.galaxies import simulate
from galaxy10.build_parent_sample import Galaxy10Recipe
from skyshards.format.images import decode_image
from skyshards.format.kinds.number import DEFLATE_LEVEL
from skyshards.pipeline.build import build

PROCESSES = 2
BLOCK = 85
"""Rows of a block of the limit: 16 MiB, as in a build."""
DISTINCT = 60
"""Images that are rendered; the others are these, turned and with noise of their own in the lowest bit."""


def make_file(path: Path, rows: int) -> None:
    """Make a file of `rows` galaxies, in the format of the real one."""
    galaxies = simulate(rows, 0)
    rendered = [image(galaxy) for galaxy in galaxies[:DISTINCT]]
    rng = np.random.default_rng(1)
    with h5py.File(path, "w") as file:
        images = file.create_dataset("images", (rows, SIZE, SIZE, 3), "uint8", chunks=True, compression="gzip")
        step = images.chunks[0]
        for start in range(0, rows, step):  # a chunk is deflated once
            block = [
                np.rot90(rendered[row % DISTINCT], row // DISTINCT) for row in range(start, min(start + step, rows))
            ]
            images[start : start + step] = np.stack(block) ^ rng.integers(0, 2, (len(block), SIZE, SIZE, 3), "uint8")
        file["ans"] = np.array([label(galaxy) for galaxy in galaxies], "uint8")
        file["ra"], file["dec"] = ([getattr(galaxy, name) for galaxy in galaxies] for name in ("ra", "dec"))
        file["redshift"] = [galaxy.redshift for galaxy in galaxies]
        file["pxscale"] = [image_scale(galaxy) for galaxy in galaxies]


def ours(path: Path, output: Path) -> float:
    """Seconds of a build."""
    start = time.perf_counter()
    summary = build(Galaxy10Recipe(local_data_path=path), output, workers=PROCESSES)
    if summary.failed:
        raise RuntimeError(f"the build failed; see {output}")
    return time.perf_counter() - start


def alone(path: Path, rows: int) -> float:
    """Seconds of reading and deflating alone, in processes that are warm."""
    blocks = [(path, start, min(start + BLOCK, rows)) for start in range(0, rows, BLOCK)]
    with ProcessPoolExecutor(PROCESSES) as processes:
        list(processes.map(_deflated, [(path, 0, 1)] * PROCESSES))
        start = time.perf_counter()
        sum(processes.map(_deflated, blocks))
        return time.perf_counter() - start


def _deflated(block: tuple[Path, int, int]) -> int:
    path, start, stop = block
    with h5py.File(path) as file:
        columns = {name: dataset[start:stop] for name, dataset in file.items()}
    return sum(len(deflate.zlib_compress(pixels, DEFLATE_LEVEL)) for pixels in columns["images"])


def png(pixels: np.ndarray) -> bytes:
    """Encode as a column of `Image()` does."""
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


def of_formats() -> list[tuple[str, str, str, str]]:
    """Size and speed of deflated arrays and of PNG files, in one process: lines of a table."""
    images = [image(galaxy) for galaxy in simulate(DISTINCT, 0)]
    formats: dict[str, tuple[Callable, Callable]] = {
        "array, deflated": (
            lambda pixels: deflate.zlib_compress(pixels.tobytes(), DEFLATE_LEVEL),
            lambda content: deflate.zlib_decompress(content, images[0].nbytes),
        ),
        "PNG": (png, decode_image),
    }
    lines = []
    for name, (encode, decode) in formats.items():
        start = time.process_time()
        contents = [encode(pixels) for pixels in images]
        between = time.process_time()
        for content in contents:
            decode(content)
        writing, reading = between - start, time.process_time() - between
        size = sum(map(len, contents)) / len(contents) / 1e3
        lines.append((name, f"{size:.0f}", f"{len(images) / writing:.0f}", f"{len(images) / reading:.0f}"))
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1774, help="rows of the file")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured")
    options = parser.parse_args()
    few = options.rows // 5 + 1
    print(f"{machine()}\n\n{versions(['skyshards', 'h5py', 'deflate', 'numpy'])}\n", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        files = {rows: Path(temporary) / str(rows) / FILE for rows in (few, options.rows)}
        for rows, path in files.items():
            path.parent.mkdir()
            make_file(path, rows)
        seconds, peaks = {name: float("inf") for name in ("ours", "alone")}, dict.fromkeys(files, 0)
        for _ in range(options.rounds):
            for rows, path in files.items():
                output = Path(temporary) / "out"
                shutil.rmtree(output, ignore_errors=True)
                found = in_fresh_process(ours, path, output)
                peaks[rows] = max(peaks[rows], found.pss)
                if rows == options.rows:
                    seconds["ours"] = min(seconds["ours"], found.value)
            found = in_fresh_process(alone, files[options.rows], options.rows)
            seconds["alone"] = min(seconds["alone"], found.value)
        nbytes = files[options.rows].stat().st_size / options.rows
    rates = {name: options.rows / taken for name, taken in seconds.items()}
    print_table(
        (f"{options.rows:,} rows, {nbytes / 1e3:.0f} kB each in the file", "rows/s", "of the limit"),
        [
            ("`skyshards build galaxy10`", f"{rates['ours']:.0f}", f"{rates['ours'] / rates['alone']:.2f}"),
            ("h5py's reading and deflate alone", f"{rates['alone']:.0f}", "1.00"),
        ],
    )
    share, growth = rates["ours"] / rates["alone"], peaks[options.rows] / peaks[few]
    bars = [
        ("rate of a build, of what reading and deflate alone allow", f"{share:.2f}", "at least 0.5", share >= 0.5),
        (f"peak memory, {options.rows:,} rows", f"{peaks[options.rows] / 2**20:,.0f} MiB", "", True),
        (f"the same over that with {few:,} rows", f"{growth:.2f}", "at most 1.1", growth <= 1.1),
    ]
    print_table(("images stored as", "kB", "written a second", "read a second"), of_formats())
    print_table(("measure", "found", "bar", ""), [(*line, "met" if met else "**missed**") for *line, met in bars])


if __name__ == "__main__":
    main()
