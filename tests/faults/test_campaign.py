"""A build that is killed, or whose disk fails, at any step goes on with the same command to the same bytes.

`pytest -m campaign` tries every fault at every step, in an hour; `pytest -m "slow and not campaign" tests/faults` tries
a sample, drawn with `SEED`. A file that CAMPAIGN_PASSED names keeps the cases that have passed, to skip them next time.
"""

import hashlib
import os
import sys
import warnings
from pathlib import Path

import pytest

from tests.faults.campaign import DATASETS, Campaign
from tests.faults.inject import FAULTS, compiler

SEED = int(os.environ.get("CAMPAIGN_SEED", "12"))
PASSED = os.environ.get("CAMPAIGN_PASSED")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs LD_PRELOAD and /proc"),
    pytest.mark.skipif(compiler() is None, reason="needs a C compiler"),
]


@pytest.fixture(scope="module")
def campaign(tmp_path_factory):
    with Campaign(tmp_path_factory.mktemp("campaign")) as campaign:
        yield campaign


def _try(campaign, cases) -> None:
    passed = Path(PASSED or os.devnull)
    before = set(passed.read_text().splitlines()) if passed.exists() else set()
    found, missed = {}, []
    for case in cases:
        if str(case) in before:
            continue
        try:
            problems = campaign.problems(case)
        except LookupError as error:
            missed.append(str(error))
            continue
        if problems:
            found[str(case)] = problems
        else:
            with passed.open("a") as file:
                file.write(f"{case}\n")
    if missed:
        warnings.warn("\n".join(missed), stacklevel=2)
    assert not found, "\n\n".join(f"{case}\n" + "\n".join(problems) for case, problems in found.items())


@pytest.mark.parametrize("dataset", DATASETS, ids=lambda dataset: dataset.name)
def test_a_build_survives_a_sample_of_faults(campaign, dataset):
    """One step for each kind of fault."""
    cases = [case for adding in (False, True) for case in campaign.cases(dataset, adding)]
    _try(campaign, [min((case for case in cases if case.fault is fault), key=_draw) for fault in FAULTS])


def _draw(case) -> bytes:
    """A random number, which is the same whatever other cases there are."""
    return hashlib.sha256(f"{SEED} {case}".encode()).digest()


@pytest.mark.campaign
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
@pytest.mark.parametrize("adding", [False, True], ids=["new", "adding"])
@pytest.mark.parametrize("dataset", DATASETS, ids=lambda dataset: dataset.name)
def test_a_build_survives_every_fault_at_every_step(campaign, dataset, adding, fault):
    _try(campaign, campaign.cases(dataset, adding, (fault,)))
