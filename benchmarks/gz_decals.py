"""Measure packing 424 x 424 PNGs from a zip archive and reading them back, against peers.

    pip install -e '.[bench]' && python benchmarks/gz_decals.py [--images 3000]

The images are simulated, about as noisy and as large (0.33 MB) as those of the release. Every reader gets two
processes or two threads. Each measure runs in its own process, and the best of `--rounds` counts. Prints Markdown
tables.
"""

from __future__ import annotations

import argparse
import csv
import io
import shutil
import sys
import tarfile
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

if __name__ == "__main__":  # a script's own folder is first on the path: this file hides the package gz_decals there
    sys.path[:1] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parent)]

from harness import in_fresh_process, machine, print_table, versions

SIDE, BATCH, KINDS = 424, 64, 24


def picture(number: int) -> bytes:
    """Simulate a galaxy on a noisy sky, as a PNG of about the size of the release's."""
    random = np.random.default_rng(number)
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE / 2
    light = 200 * np.exp(-np.hypot(x, y / random.uniform(0.4, 1)) / random.uniform(20, 50))
    noisy = light[..., None] * [1, 0.9, 0.8] + random.normal(12, 3.4, (SIDE, SIDE, 3))
    file = io.BytesIO()
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def make(folder: Path, images: int) -> None:
    """Write the same PNGs as a zip archive (with a catalogue), as a folder of files and as a tar archive."""
    pictures = [picture(number) for number in range(KINDS)]
    # As dense on the sky as the release's galaxies: 314,000 in some 5,000 square degrees.
    places = [(number % 100 * 23, number // 100) for number in range(images)]
    names = [f"J00{ra // 60:02d}{ra % 60:02d}.00+{dec // 6:02d}{dec % 6}000.0" for ra, dec in places]
    (folder / "chunk").mkdir()
    (folder / "files").mkdir()
    with (
        zipfile.ZipFile(folder / "chunk" / "part1.zip", "w", zipfile.ZIP_STORED) as archive,
        tarfile.open(folder / "shard.tar", "w") as tar,
        open(folder / "rings.csv", "w", newline="") as table,
    ):
        rows = csv.writer(table)
        rows.writerow(["id_str", "ring", "file_loc"])
        for number, name in enumerate(names):
            content = pictures[number % KINDS]
            archive.writestr(f"{name[:4]}/{name}.png", content)
            (folder / "files" / f"{name}.png").write_bytes(content)
            entry = tarfile.TarInfo(f"{number:06d}.png")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
            rows.writerow([name, number % 2, f"{name}.jpg"])


def pack(folder: Path, output: Path, size: int | None) -> float:
    """Build from the zip archive with two workers; returns images per second."""
    from gz_decals.build_parent_sample import GZDecalsRecipe
    from skyshards.pipeline.build import build

    recipe = GZDecalsRecipe(folder / "rings.csv", output, local_data_path=folder / "chunk", size=size)
    summary = build(recipe, output, workers=2)
    assert summary.failed == 0
    return summary.rows / summary.elapsed


def ours(folder: Path) -> float:
    """Read shuffled, decoded batches of a table with its own two threads."""
    import skyshards

    table = skyshards.open(folder / "built", threads=2).select_columns(["image"])
    order = np.random.default_rng(1).permutation(len(table))
    start = time.perf_counter()
    count = sum(len(table[order[first : first + BATCH]]["image"]) for first in range(0, len(order), BATCH))
    return count / (time.perf_counter() - start)


class Files:
    """Folder of files, read by Pillow."""

    def __init__(self, folder: Path):
        self.paths = sorted(folder.glob("*.png"))

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: int):
        with Image.open(self.paths[number]) as picture:
            return np.asarray(picture)


def files(folder: Path) -> float:
    """Read shuffled, decoded batches of a folder of files with two processes of a DataLoader."""
    from torch.utils.data import DataLoader

    return _rate(DataLoader(Files(folder / "files"), BATCH, shuffle=True, num_workers=2, collate_fn=np.stack))


def webdataset(folder: Path) -> float:
    """Read batches of a webdataset through its shuffle buffer with two processes, each with half of the images."""
    import webdataset as wds
    from torch.utils.data import DataLoader

    halves = []
    with tarfile.open(folder / "shard.tar") as tar:
        members = tar.getmembers()
        for half in range(2):
            halves.append(str(folder / f"half{half}.tar"))
            with tarfile.open(halves[-1], "w") as out:
                for member in members[half::2]:
                    out.addfile(member, tar.extractfile(member))
    data = wds.WebDataset(halves, shardshuffle=2).shuffle(500).decode("rgb8").to_tuple("png").batched(BATCH)
    return _rate(DataLoader(data, batch_size=None, num_workers=2))


def _rate(loader) -> float:
    """Images per second after the first batch, so that starting processes does not count."""
    batches = iter(loader)
    next(batches)
    start = time.perf_counter()
    count = sum(len(batch[0]) if isinstance(batch, (tuple, list)) else len(batch) for batch in batches)
    return count / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(f"{machine()}; {versions(['pillow', 'h5py', 'torch', 'webdataset'])}\n")
    with tempfile.TemporaryDirectory() as scratch:
        lines = []
        for count, size in ((options.images // 4, None), (options.images, None), (options.images // 4, 224)):
            folder = Path(scratch, f"{count}-{size}")
            folder.mkdir()
            make(folder, count)
            if size is None:
                last = folder
            rates, memory = [], 0
            for _ in range(options.rounds):
                shutil.rmtree(folder / "built", ignore_errors=True)
                found = in_fresh_process(pack, folder, folder / "built", size)
                rates.append(found.value)
                memory = max(memory, found.pss)
            lines.append([f"{count:,}", str(size or "as they are"), f"{max(rates):,.0f}", f"{memory / 2**20:,.0f}"])
        print_table(["images packed", "size", "images/s", "peak memory of all processes, MiB"], lines)
        rates = {}
        for _ in range(options.rounds):
            for name, read in (("skyshards", ours), ("files, Pillow", files), ("webdataset", webdataset)):
                rates[name] = max(rates.get(name, 0.0), in_fresh_process(read, last).value)
        ours_rate = rates["skyshards"]
        lines = [[name, f"{rate:,.0f}", f"{ours_rate / rate:.2f}"] for name, rate in rates.items()]
        print_table(["shuffled, decoded batches of 64", "images/s", "skyshards / this"], lines)


if __name__ == "__main__":
    main()
