"""Measure the time and memory of a crossmatch of two large tables; checked against astropy on a sample.

    python benchmarks/crossmatch.py [--rows 1000000]

Positions cover the whole sky; those of the second table are those of the first, offset by up to 2 arcsec.
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np
import pyarrow as pa

from skyshards.crossmatch import crossmatch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    rows = parser.parse_args().rows
    random = np.random.default_rng(0)
    ra, dec = random.uniform(0, 360, rows), np.degrees(np.arcsin(random.uniform(-1, 1, rows)))
    order = random.permutation(rows)
    near = random.normal(0, 0.6 / 3600, (2, rows))
    other_dec = np.clip(dec + near[1], -90, 90)
    other_ra = (ra + near[0] / np.cos(np.radians(other_dec))) % 360
    a, b = pa.table({"ra": ra, "dec": dec}), pa.table({"ra": other_ra[order], "dec": other_dec[order]})
    start = time.perf_counter()
    found = crossmatch(a, b, 1.0)
    elapsed = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print("| rows | pairs | seconds | peak MiB |\n|---|---|---|---|")
    print(f"| {rows:,} x {rows:,} | {len(found):,} | {elapsed:.1f} | {peak:,.0f} |")

    from astropy.coordinates import SkyCoord

    sample = random.choice(rows, min(rows, 10_000), replace=False)
    catalog = SkyCoord(b["ra"].to_numpy(), b["dec"].to_numpy(), unit="deg")
    nearest, apart, _ = SkyCoord(ra[sample], dec[sample], unit="deg").match_to_catalog_sky(catalog)
    ours = dict(zip(found["row_a"].to_numpy(), found["row_b"].to_numpy(), strict=True))
    equal = sum(ours.get(row) == (match if distance <= 1.0 else None)
                for row, match, distance in zip(sample, nearest, apart.arcsec, strict=True))  # fmt: skip
    print(f"\n{equal:,} of a sample of {len(sample):,} are as astropy's match_to_catalog_sky has them.")


if __name__ == "__main__":
    main()
