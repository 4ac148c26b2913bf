"""The command line: one line and an exit status for whatever goes wrong, and every option in both spellings."""

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import skyshards
from candels_blend.cli import main as candels_blender
from demo_archive.__main__ import main as demo_archive
from skyshards.cli import build_command, main, options
from skyshards.errors import BuildError, FolderError, ShardCorrupted, SkyshardsError, SourceError, UsageError
from tests.data_sets import DATA_SETS
from tests.toy import Toy

REPOSITORY = Path(__file__).parents[1]


@build_command.build_command("toy")
@options.option("--broken_source", type=int, multiple=True, help="Sources that fail.")
@options.option("--raises", hidden=True)
def toy(broken_source, raises, *, demo, output_dir):
    """A toy."""
    if raises:
        raise {"usage": UsageError, "build": BuildError, "interrupt": KeyboardInterrupt}[raises]("a line of words")
    return Toy(8, broken=broken_source)


MAIN = main._Group("main", {"toy": toy})


def run(*arguments, command=None):
    """The toy's command, or another one; whatever happens, no exception reaches the user."""
    arguments = [*map(str, arguments)] if command else ["toy", *map(str, arguments)]
    outcome = CliRunner().invoke(command or MAIN, arguments)
    assert outcome.exception is None or isinstance(outcome.exception, SystemExit), outcome.exception
    return outcome


def test_a_build_is_summed_up(tmp_path):
    folder = tmp_path / "out"
    outcome = run("-o", folder, "--workers", 1)
    (line,) = outcome.stderr.splitlines()
    assert outcome.exit_code == 0 and " to do: " in line
    assert outcome.stdout.startswith(f"{folder}: 8 rows in ")
    assert f'skyshards.open("{folder}")' in outcome.stdout and f'load_dataset("{folder}"' in outcome.stdout
    assert len(skyshards.open(folder)) == 8


def test_failed_sources_make_the_status_1(tmp_path):
    folder = tmp_path / "out"
    outcome = run("-o", folder, "--workers", 1, "--broken_source", 2, "--broken-source", 5)
    assert outcome.exit_code == 1
    assert "6 rows" in outcome.stdout and "2 sources failed" in outcome.stdout
    *_, line = outcome.stderr.splitlines()
    assert str(folder / "failures.csv") in line
    assert run("-o", folder, "--workers", 1).exit_code == 0


def test_where_all_sources_fail_there_is_nothing_to_load(tmp_path):
    outcome = run("-o", tmp_path / "out", "--workers", 1, *(f"--broken_source={number}" for number in range(8)))
    assert outcome.exit_code == 1 and "0 rows" in outcome.stdout and "load_dataset" not in outcome.stdout


@pytest.mark.parametrize(("options", "rows"), [(["--tiny"], 5), (["--limit", 3], 3), (["--limit", 100], 8)])
def test_samples(tmp_path, options, rows):
    assert run("-o", tmp_path / "out", "--workers", 1, *options).exit_code == 0
    assert len(skyshards.open(tmp_path / "out")) == rows


def test_the_default_folder_is_named_after_the_data_set(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run("--tiny", "--workers", 1)
    assert len(skyshards.open("data/toy")) == 5


@pytest.mark.parametrize(("raises", "status"), [("usage", 2), ("build", 1), ("interrupt", 130)])
def test_errors_are_a_line(tmp_path, monkeypatch, raises, status):
    monkeypatch.chdir(tmp_path)
    outcome = run("--raises", raises)
    assert (outcome.exit_code, outcome.stdout) == (status, "")
    (line,) = outcome.stderr.splitlines()
    assert "a line of words" in line or raises == "interrupt"


@pytest.mark.parametrize("error", [BuildError, FolderError, ShardCorrupted, SourceError])
def test_every_error_of_ours_is_a_message(error):
    assert issubclass(error, SkyshardsError)
    with pytest.raises(click.ClickException, match="words"), options.messages():
        raise error("words")


def test_other_options_than_before(tmp_path):
    run("-o", tmp_path / "out", "--workers", 1)
    outcome = run("-o", tmp_path / "out", "--workers", 1, "--nside", 32)
    assert outcome.exit_code == 2 and len(outcome.stderr.splitlines()) == 1 and "--nside 16, now 32" in outcome.stderr


def test_a_failed_listing_leaves_nothing_that_binds_the_next_run(tmp_path, monkeypatch):
    """The first command was mistaken altogether; nothing was built with its options."""

    def unreachable(self, fetcher):
        raise BuildError("out of reach")

    with monkeypatch.context() as patch:
        patch.setattr(Toy, "sources", unreachable)
        assert run("-o", tmp_path / "out", "--nside", 32).exit_code == 1
    assert run("-o", tmp_path / "out", "--workers", 1).exit_code == 0


def test_options_have_a_hyphenated_alias():
    names = {name for parameter in toy.params for name in parameter.opts}
    for name in names:
        assert name.replace("_", "-") in names
    assert {"--output_dir", "--max_rows_per_shard", "--broken_source", "-o"} <= names


@pytest.mark.parametrize("name", DATA_SETS)
def test_every_data_set_has_its_command(name):
    outcome = run("build", name, "--help", command=main.main)
    assert outcome.exit_code == 0
    for option in ("--output_dir", "--output-dir", "--tiny", "--limit", "--demo", "--workers", "--nside"):
        assert option in outcome.stdout
    command = main.build.get_command(None, name)
    assert command.help and all(
        parameter.help for parameter in command.params if isinstance(parameter, click.Option) and not parameter.hidden
    )


@pytest.mark.parametrize("name", DATA_SETS)
def test_a_number_in_a_range_is_a_number(name):
    parameters = main.build.get_command(None, name).params
    ranges = [parameter for parameter in parameters if isinstance(parameter.type, click.FloatRange)]
    for parameter in ranges:
        outcome = run("build", name, parameter.opts[0], "nan", command=main.main)
        assert outcome.exit_code == 2
        assert f"Invalid value for {parameter.opts[0]}: expected a number, found nan" in outcome.stderr


def test_what_there_is_to_build_is_listed():
    outcome = run("build", "--help", command=main.main)
    assert all(name in outcome.stdout for name in DATA_SETS)
    assert all(name in run("--help", command=main.main).stdout for name in ("build", "info", "verify"))


@pytest.mark.parametrize(
    "arguments",
    [
        ["build", "gz4d"],
        ["build", "os"],
        ["build", "../gz3d"],
        ["explode"],
        ["verify"],
        ["info", "a", "b"],
        ["--nothing"],
    ],
    ids=" ".join,
)
def test_unknown_commands_are_a_line(arguments):
    outcome = run(*arguments, command=main.main)
    assert (outcome.exit_code, outcome.stdout) == (2, "")
    assert len(outcome.stderr.splitlines()) == 1


@pytest.mark.parametrize("typed", [["--tiny"], ["--limit", "3", "gz_sdss"], ["-o", "out", "--demo"]], ids=" ".join)
def test_options_without_a_dataset_say_what_to_type(typed):
    outcome = CliRunner().invoke(main.build, typed, prog_name="build_parent_sample.py")
    (line,) = outcome.stderr.splitlines()
    name = "gz_sdss" if "gz_sdss" in typed else "gz3d"
    options = " ".join(word for word in typed if word != name)
    assert outcome.exit_code == 2 and all(there in line for there in DATA_SETS)
    assert line.endswith(f": python build_parent_sample.py {name} {options}")


@pytest.mark.parametrize(
    ("typed", "nearest"),
    [("gz-sdss", "gz_sdss"), ("GZ3D", "gz3d"), ("candels", "candels_blend"), ("decals", "gz_decals")],
)
def test_an_unknown_dataset_suggests_the_nearest(typed, nearest):
    outcome = run("build", typed, "--tiny", command=main.main)
    (line,) = outcome.stderr.splitlines()
    assert outcome.exit_code == 2 and f"did you mean {nearest}?" in line and all(there in line for there in DATA_SETS)


def commands(command, path):
    """A command and all below it, each with what is typed for it."""
    yield command, path
    if isinstance(command, click.Group):
        for name in command.list_commands(None):
            yield from commands(command.get_command(None, name), [*path, name])


@pytest.mark.parametrize(
    "program", [main.main, main.build, candels_blender, demo_archive], ids=lambda group: group.name
)
def test_h_is_help_everywhere(program):
    for _, path in commands(program, []):
        short, long = (CliRunner().invoke(program, [*path, option]) for option in ("-h", "--help"))
        assert short.exit_code == 0 and short.stdout == long.stdout and "Usage:" in short.stdout


def fails(recipe, source, fetched):
    return 1 / (source.info - 3)


def test_no_workers_read_in_this_process(tmp_path, monkeypatch):
    pids = set()
    read = Toy.read
    monkeypatch.setattr(Toy, "read", lambda *arguments: pids.add(os.getpid()) or read(*arguments))
    assert run("-o", tmp_path / "out", "--workers", 0).exit_code == 0
    assert pids == {os.getpid()} and len(skyshards.open(tmp_path / "out")) == 8


def test_a_recipe_s_error_names_file_and_line(tmp_path, monkeypatch):
    monkeypatch.setattr(Toy, "read", fails)
    run("-o", tmp_path / "out", "--workers", 0)
    line = fails.__code__.co_firstlineno + 1
    text = (tmp_path / "out" / "failures.csv").read_text()
    assert f"ZeroDivisionError: division by zero (tests/test_cli.py, line {line})" in text


@pytest.mark.parametrize("workers", [0, 1])
def test_debug_shows_tracebacks(tmp_path, caplog, workers):
    run("-o", tmp_path / "out", "--workers", workers, "--broken_source", 2, "--debug")
    (message,) = [record.getMessage() for record in caplog.records if record.levelname == "DEBUG"]
    assert message.startswith("s00002 failed:\nTraceback") and "tests/toy.py" in message


def test_debug_shows_the_traceback_of_what_ends_a_build(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outcome = run("--raises", "build", "--debug")
    assert outcome.exit_code == 1 and "Traceback" in outcome.stderr and outcome.stderr.endswith("a line of words\n")


@pytest.mark.slow
@pytest.mark.parametrize("command", [["--help"], ["build", "--help"]])
def test_help_is_quick_to_come(command):
    """It needs neither astropy nor h5py nor datasets."""
    program = f"""
import sys
for name in ("astropy", "datasets", "h5py", "healpy", "pandas", "pyvo"):
    sys.modules[name] = None
from skyshards.cli.main import main
main({command!r}, prog_name="skyshards")
"""
    outcome = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True)
    assert (outcome.returncode, outcome.stderr) == (0, "")
    assert "skyshards" in outcome.stdout
