"""Messages that name options as the user typed them: `--output-dir`, `--output_dir` or `-o`."""

from __future__ import annotations

import contextlib
import re

import click

TYPED = "skyshards.typed"
"""Key of the typed arguments in a context's `meta`."""
ALIASES = {"simulated": "demo"}
"""Options whose names differ from those of the Python API's parameters."""
_RANGE = re.compile(r"(.* (?:integer|float)) range\.", re.DOTALL)
"""What click says of a word where a number from a range is expected."""


@contextlib.contextmanager
def one_line():
    """Suppress the two usage lines that click prints before an error message."""
    try:
        yield
    except click.exceptions.NoArgsIsHelpError:
        raise
    except click.UsageError as error:
        if isinstance(error, click.BadParameter) and error.param is not None and error.ctx is not None:
            error.param_hint = error.param.get_error_hint(error.ctx)
            if plain := _RANGE.fullmatch(error.message):
                raise click.BadParameter(f"{plain[1]}.", param_hint=error.param_hint) from error
        error.ctx = None
        raise


class Command(click.Command):
    """Command with one-line error messages that name options as typed."""

    def make_context(self, *args, **kwargs) -> click.Context:
        with one_line():
            try:
                return super().make_context(*args, **kwargs)
            except click.NoSuchOption as error:
                if command := _instead(error.option_name):
                    words = f"{error.message} Build without it, then: {command}"
                    raise click.UsageError(words) from error
                raise

    def invoke(self, ctx: click.Context):
        with one_line():
            return super().invoke(ctx)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[TYPED] = list(args)
        return super().parse_args(ctx, args)


class Group(click.Group):
    """Group of such commands."""

    command_class = Command


class Option(click.Option):
    """Option that click's own messages name as typed."""

    def get_error_hint(self, ctx: click.Context | None) -> str:
        return super().get_error_hint(ctx) if ctx is None else _spelling(self, ctx)


def as_typed(message: str) -> str:
    """Replace the parameters in a message of the Python API by the current command's options, as typed.

    Parameters are recognized in backticks, or before a colon at the beginning of the message.
    """
    ctx = click.get_current_context(silent=True)
    if ctx is None:
        return message
    options = {param.name: param for param in ctx.command.params if isinstance(param, click.Option)}

    def option(match: re.Match) -> str:
        name = match[0].strip("`")
        param = options.get(ALIASES.get(name, name))
        return match[0] if param is None else _spelling(param, ctx)

    return re.sub(r"^\w+(?=: )|`\w+`", option, message)


def _instead(option: str) -> str | None:
    """Return the command that does what an option of an earlier version did, if it is one."""
    from skyshards.pipeline.differences import REPLACED

    return REPLACED.get(option.lstrip("-").replace("-", "_"))


def _spelling(param: click.Parameter, ctx: click.Context | None) -> str:
    for word in ctx.meta.get(TYPED, ()) if ctx is not None else ():
        flag = word.partition("=")[0] if word.startswith("--") else word[:2]
        if flag in param.opts:
            return flag
    return param.opts[0]
