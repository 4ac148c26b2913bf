"""Votes of simulated Galaxy Zoo DECaLS volunteers, who follow a decision tree."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from demo_archive.simulation.galaxies import Galaxy
from demo_archive.simulation.looks import look

# Each question, with the answer that leads to it, and its answers (Walmsley et al. 2022, MNRAS 509, 3966, figure 4).
FEATURED = "smooth-or-featured_featured-or-disk"
FACE_ON = "disk-edge-on_no"
TREE_5 = {
    "smooth-or-featured": (None, ("smooth", "featured-or-disk", "artifact")),
    "disk-edge-on": (FEATURED, ("yes", "no")),
    "has-spiral-arms": (FACE_ON, ("yes", "no")),
    "bar": (FACE_ON, ("strong", "weak", "no")),
    "bulge-size": (FACE_ON, ("dominant", "large", "moderate", "small", "none")),
    "how-rounded": ("smooth-or-featured_smooth", ("round", "in-between", "cigar-shaped")),
    "edge-on-bulge": ("disk-edge-on_yes", ("boxy", "none", "rounded")),
    "spiral-winding": ("has-spiral-arms_yes", ("tight", "medium", "loose")),
    "spiral-arm-count": ("has-spiral-arms_yes", ("1", "2", "3", "4", "more-than-4", "cant-tell")),
    "merging": (None, ("none", "minor-disturbance", "major-disturbance", "merger")),
}
"""Decision tree of the DR5 campaign."""
TREE_1_AND_2 = TREE_5 | {
    "bar": (FACE_ON, ("yes", "no")),
    "bulge-size": (FACE_ON, ("none", "obvious", "dominant")),
    "how-rounded": ("smooth-or-featured_smooth", ("completely", "in-between", "cigar-shaped")),
    "spiral-arm-count": ("has-spiral-arms_yes", ("1", "2", "3", "4", "more-than-4")),
    "merging": (None, ("neither", "tidal-debris", "both", "merger")),
}
"""Decision tree of the DR1 and DR2 campaigns."""
Tree = Mapping[str, tuple[str | None, tuple[str, ...]]]


def chances(galaxy: Galaxy) -> dict[str, dict[str, float]]:
    """Relative probability of each answer to each question of both trees, not normalized."""
    shown = look(galaxy)
    pitch, round_ = np.degrees(shown.pitch), shown.axis_ratio
    featured, arms = galaxy.p_cs_debiased, min(0.1 + 1.6 * shown.arms, 0.95)
    count = {str(number): 0.85 if number == shown.arm_count else 0.04 for number in (1, 2, 3, 4)}
    disk = shown.bulge if galaxy.spiral else 0.6
    merging = {"none": 0.9, "neither": 0.9} | dict.fromkeys(("minor-disturbance", "tidal-debris"), 0.06)
    if shown.kind == "merger":
        merging = {"none": 0.15, "neither": 0.15} | dict.fromkeys(("minor-disturbance", "tidal-debris"), 0.3)
    merged = 0.4 if shown.kind == "merger" else 0.02
    clear, weak, none = (0.5, 0.3, 0.8, 0.2), (0.1, 0.5, 0.5, 0.5), (0.02, 0.1, 0.1, 0.9)
    likely = clear if shown.bar > 0.5 else weak if shown.bar else none
    bar = dict(zip(("strong", "weak", "yes", "no"), likely, strict=True))
    winding = {"tight": 17 - pitch, "medium": 5 - abs(pitch - 19.5), "loose": pitch - 22}
    return {
        "smooth-or-featured": {"smooth": galaxy.p_el_debiased, "featured-or-disk": featured, "artifact": 0.02},
        "disk-edge-on": {"yes": 0.9, "no": 0.1} if shown.edge_on else {"yes": 0.04, "no": 0.96},
        "has-spiral-arms": {"yes": arms, "no": 1 - arms},
        "bar": bar,
        "bulge-size": {
            "dominant": max(disk - 0.3, 0.02),
            "large": max(disk - 0.15, 0.02),
            "moderate": 0.3,
            "obvious": 0.3,
            "small": max(0.4 - disk, 0.02),
            "none": 0.05,
        },
        "how-rounded": {
            "round": max(round_ - 0.6, 0.02),
            "completely": max(round_ - 0.6, 0.02),
            "in-between": 0.3,
            "cigar-shaped": 0.6 if shown.edge_on or shown.kind == "cigar" else 0.02,
        },
        "edge-on-bulge": {"boxy": 0.1, "none": 0.2, "rounded": 0.7},
        "spiral-winding": {name: max(value, 0.3) for name, value in winding.items()},
        "spiral-arm-count": count | {"more-than-4": 0.02, "cant-tell": 0.1},
        "merging": merging | dict.fromkeys(("major-disturbance", "merger", "both"), merged),
    }


def fractions(galaxy: Galaxy, tree: Tree) -> dict[str, float]:
    """Probability of each `{question}_{answer}` of a tree; those of a question add up to 1."""
    result: dict[str, float] = {}
    likely = chances(galaxy)
    for question, (_, answers) in tree.items():
        weights = np.array([likely[question][answer] for answer in answers])
        result |= {
            f"{question}_{answer}": value for answer, value in zip(answers, weights / weights.sum(), strict=True)
        }
    return result


def cast(galaxy: Galaxy, tree: Tree, voters: int, rng: np.random.Generator) -> dict[str, float]:
    """Draw votes, as the columns of a released table: counts, totals and fractions.

    A question has as many votes as the answer that leads to it. The tables spell `{question}_total-votes`, though the
    release's own description has `_total`. A fraction without votes is NaN.
    """
    expected = fractions(galaxy, tree)
    row: dict[str, float] = {}
    votes: dict[str, int] = {}
    for question, (parent, answers) in tree.items():
        total = voters if parent is None else votes[parent]
        counts = rng.multinomial(total, [expected[f"{question}_{answer}"] for answer in answers])
        row[f"{question}_total-votes"] = total
        for answer, count in zip(answers, counts.tolist(), strict=True):
            row[f"{question}_{answer}"] = votes[f"{question}_{answer}"] = count
            row[f"{question}_{answer}_fraction"] = count / total if total else np.nan
            row[f"{question}_{answer}_debiased"] = count / total if total else np.nan
    return row
