"""A build that is killed, or whose disk fails, at any step goes on with the same command to the same bytes.

`pytest -m campaign` tries every fault at every step, in hours; by default a sample is tried, drawn with `SEED`.
"""

import os
import random
import sys

import pytest

from tests.faults.campaign import DATASETS, Campaign
from tests.faults.inject import FAULTS, compiler

SEED = int(os.environ.get("CAMPAIGN_SEED", "12"))
SAMPLE = 3

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs LD_PRELOAD and /proc"),
    pytest.mark.skipif(compiler() is None, reason="needs a C compiler"),
]


@pytest.fixture(scope="module")
def campaign(tmp_path_factory):
    with Campaign(tmp_path_factory.mktemp("campaign")) as campaign:
        yield campaign


def _try(campaign, cases) -> None:
    found = {str(case): problems for case in cases if (problems := campaign.problems(case))}
    assert not found, "\n\n".join(f"{case}\n" + "\n".join(problems) for case, problems in found.items())


@pytest.mark.parametrize("dataset", DATASETS, ids=lambda dataset: dataset.name)
def test_a_build_survives_a_sample_of_faults(campaign, dataset):
    cases = [case for adding in (False, True) for case in campaign.cases(dataset, adding)]
    _try(campaign, random.Random(f"{SEED} {dataset.name}").sample(cases, SAMPLE))


@pytest.mark.campaign
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
@pytest.mark.parametrize("adding", [False, True], ids=["new", "adding"])
@pytest.mark.parametrize("dataset", DATASETS, ids=lambda dataset: dataset.name)
def test_a_build_survives_every_fault_at_every_step(campaign, dataset, adding, fault):
    _try(campaign, campaign.cases(dataset, adding, (fault,)))
