"""Messages call options what the user typed."""

import click
import pytest
from click.testing import CliRunner

from skyshards.cli.options import messages, option
from skyshards.cli.typed import Command
from skyshards.errors import UsageError


@click.command(cls=Command)
@option("-o", "--output_dir")
@option("--vote_fraction_cut", type=float)
@option("--demo", is_flag=True)
@option("--message", default="")
def command(message, **_):
    with messages():
        raise UsageError(message)


@pytest.mark.parametrize(
    ("arguments", "message", "expected"),
    [
        ([], "`vote_fraction_cut`: expected a number", "--vote_fraction_cut: expected a number"),
        (
            ["--vote-fraction-cut", "2"],
            "vote_fraction_cut: expected a number",
            "--vote-fraction-cut: expected a number",
        ),
        (["--vote-fraction-cut=2"], "give a lower `vote_fraction_cut`", "give a lower --vote-fraction-cut"),
        ([], "elsewhere with `output_dir`", "elsewhere with -o"),
        (["--output-dir", "x"], "elsewhere with `output_dir`", "elsewhere with --output-dir"),
        (["-ox"], "elsewhere with `output_dir`", "elsewhere with -o"),
        ([], "holds simulated galaxies (`simulated`)", "holds simulated galaxies (--demo)"),
        ([], "x/output_dir: leave out `device`, demo", "x/output_dir: leave out `device`, demo"),
    ],
)
def test_parameters_are_options_as_they_were_typed(arguments, message, expected):
    outcome = CliRunner().invoke(command, [*arguments, "--message", message])
    assert outcome.exit_code == 2
    assert outcome.output.endswith(f"Error: {expected}\n")


@pytest.mark.parametrize("name", ["--vote_fraction_cut", "--vote-fraction-cut"])
def test_the_parser_names_an_option_as_it_was_typed(name):
    outcome = CliRunner().invoke(command, [name, "many"])
    assert f"Invalid value for {name}:" in outcome.output


@pytest.mark.parametrize(("bounded", "expected"), [(click.IntRange(1), "integer"), (click.FloatRange(0), "float")])
def test_a_word_in_place_of_a_number_is_no_range(bounded, expected):
    number = click.command(cls=Command)(option("--limit", type=bounded)(lambda limit: None))
    outcome = CliRunner().invoke(number, ["--limit", "five"])
    assert outcome.output == f"Error: Invalid value for --limit: 'five' is not a valid {expected}.\n"
