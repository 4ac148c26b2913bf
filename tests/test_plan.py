"""What a build says before it starts, and `--dry_run`, which stops there."""

import re

import pytest
from click.testing import CliRunner

from skyshards.cli import main
from skyshards.pipeline.build import build
from skyshards.pipeline.plan import plan
from skyshards.pipeline.recipe import Cost, Source
from tests.data_sets import DATA_SETS
from tests.toy import Toy


class Priced(Toy):
    price = Cost()

    def cost(self, sources) -> Cost:
        return self.price


def words(monkeypatch, price: Cost, pending: int = 29_813, listed: int = 29_813) -> str:
    monkeypatch.setattr(Priced, "price", price)
    return plan(Priced(1), [Source(str(number)) for number in range(pending)], listed)


def test_a_plan_says_how_many_how_much_and_how_long(monkeypatch):
    assert words(monkeypatch, Cost(10.4e9, 10.2e9)) == (
        "29,813 sources to do: about 10.4 GB to fetch, about 10.2 GB to keep, about 17 min at 10 MB/s"
    )
    assert words(monkeypatch, Cost(0, 1.3e9, 10, "2,000 blends/s"), pending=5).startswith(
        "5 sources to do (29,808 done already): nothing to fetch, about 1.3 GB to keep, about 10 s at 2,000 blends/s"
    )


def test_what_is_not_known_is_called_so(monkeypatch):
    assert words(monkeypatch, Cost()) == (
        "29,813 sources to do: an unknown amount to fetch, an unknown amount to keep, an unknown time"
    )


def test_nothing_to_do(monkeypatch):
    assert words(monkeypatch, Cost(), pending=0, listed=5) == "nothing to do (5 done already)"


def test_a_dry_run_builds_nothing(tmp_path):
    summary = build(Toy(7), tmp_path / "toy", dry_run=True)
    assert summary.plan.startswith("7 sources to do: ") and summary.rows == 0
    assert list((tmp_path / "toy").iterdir()) == []


def test_a_dry_run_leaves_a_built_folder_as_it_is(tmp_path):
    build(Toy(3), tmp_path, workers=0)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert build(Toy(5), tmp_path, dry_run=True).plan.startswith("2 sources to do (3 done already): ")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_build_says_its_plan_first(tmp_path, capsys):
    build(Toy(2), tmp_path, workers=0)
    assert capsys.readouterr().err.startswith("2 sources to do: ")
    build(Toy(2), tmp_path, workers=0)
    assert capsys.readouterr().err == ""


@pytest.mark.slow
@pytest.mark.parametrize("name", DATA_SETS)
def test_every_dataset_has_a_plan(name, tmp_path):
    demo = [] if name == "galaxy10" else ["--demo"]  # its plan needs no network, and the demo's file is another
    outcome = CliRunner().invoke(main.main, ["build", name, *demo, "--dry_run", "--tiny", "-o", str(tmp_path / name)])
    assert outcome.exit_code == 0
    amounts = r"(about \S+ [kMG]B|nothing) to fetch, about \S+ [kM]B to keep, about \d+ (s|min) at .*/s"
    assert re.fullmatch(rf"{tmp_path}/{name}: (up to 5 rows|\d .*) to do: {amounts}\n", outcome.stdout)
    assert not list((tmp_path / name).rglob("*.hdf5"))
