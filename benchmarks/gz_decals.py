"""How fast 424 x 424 PNGs are packed out of a zip archive, and read back shuffled and decoded, against others.

    python benchmarks/gz_decals.py [--images 3000]

The images are made up, about as noisy and as large (0.33 MB) as those of the release. Readers get two processes or two
threads each. webdataset is optional. Prints Markdown tables.
"""

from __future__ import annotations

import argparse
import csv
import io
import multiprocessing
import resource
import sys
import tarfile
import tempfile
import time
import zipfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

if __name__ == "__main__":  # a script's own folder is first on the path: this file hides the package gz_decals there
    sys.path[0] = str(Path(__file__).resolve().parents[1])

SIDE, BATCH, KINDS = 424, 64, 24


def picture(number: int) -> bytes:
    """A made-up galaxy on a noisy sky, as a PNG of about the size of the release's."""
    random = np.random.default_rng(number)
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE / 2
    light = 200 * np.exp(-np.hypot(x, y / random.uniform(0.4, 1)) / random.uniform(20, 50))
    noisy = light[..., None] * [1, 0.9, 0.8] + random.normal(12, 3.4, (SIDE, SIDE, 3))
    file = io.BytesIO()
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def make(folder: Path, images: int) -> None:
    """The same PNGs as a zip archive (with a catalogue), as a folder of files and as a tar archive."""
    pictures = [picture(number) for number in range(KINDS)]
    # As close together as the release's galaxies are: 314,000 in some 5,000 square degrees.
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


def pack(folder: Path, output: Path) -> dict[str, float]:
    """Build from the zip archive in a fresh process: images a second, peak memory of it and of its largest child."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(_pack, folder, output).result()


def _pack(folder: Path, output: Path) -> dict[str, float]:
    from gz_decals.build_parent_sample import GZDecalsRecipe
    from gz_decals.catalogs import layout
    from skyshards.build import build

    recipe = GZDecalsRecipe(layout(folder / "rings.csv"), output, local_data_path=folder / "chunk")
    summary = build(recipe, output, workers=2)
    assert summary.failed == 0
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    child = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return {"images": summary.rows, "images/s": summary.rows / summary.elapsed, "MiB": own, "MiB of a worker": child}


def ours(output: Path) -> float:
    """Shuffled, decoded batches of a table, by its own two threads."""
    import skyshards

    table = skyshards.open(output, threads=2).columns(["image"])
    order = np.random.default_rng(1).permutation(len(table))
    start = time.perf_counter()
    count = sum(len(table[order[first : first + BATCH]]["image"]) for first in range(0, len(order), BATCH))
    return count / (time.perf_counter() - start)


class Files:
    """A folder of files, read by Pillow."""

    def __init__(self, folder: Path):
        self.paths = sorted(folder.glob("*.png"))

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: int):
        with Image.open(self.paths[number]) as picture:
            return np.asarray(picture)


def files(folder: Path) -> float:
    """Shuffled, decoded batches of a folder of files, by two processes of a DataLoader."""
    from torch.utils.data import DataLoader

    return _rate(DataLoader(Files(folder / "files"), BATCH, shuffle=True, num_workers=2, collate_fn=np.stack))


def webdataset(folder: Path) -> float:
    """Batches of a webdataset through its shuffle buffer, by two processes, each with half of the images."""
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
    """Images a second after the first batch, so that starting processes does not count."""
    batches = iter(loader)
    next(batches)
    start = time.perf_counter()
    count = sum(len(batch[0]) if isinstance(batch, (tuple, list)) else len(batch) for batch in batches)
    return count / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=3000)
    images = parser.parse_args().images
    with tempfile.TemporaryDirectory() as scratch:
        print("| images packed | images/s | peak MiB, main process | peak MiB, a worker |\n|---|---|---|---|")
        for count in (images // 4, images):
            folder = Path(scratch, str(count))
            folder.mkdir()
            make(folder, count)
            found = pack(folder, folder / "built")
            print("| {images:,} | {images/s:,.0f} | {MiB:,.0f} | {MiB of a worker:,.0f} |".format(**found))
        print("\n| shuffled, decoded batches of 64 | images/s | skyshards is ahead by |\n|---|---|---|")
        base = ours(folder / "built")
        print(f"| skyshards | {base:,.0f} | |")
        for name, read in (("files, Pillow", files), ("webdataset", webdataset)):
            try:
                rate = read(folder)
            except ImportError:
                print(f"| {name} | not installed | |")
                continue
            print(f"| {name} | {rate:,.0f} | {base / rate:.2f} |")


if __name__ == "__main__":
    main()
