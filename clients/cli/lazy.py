"""Groups of verbs that load when they are called: help and completion know their names without importing them."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import click
from click.shell_completion import CompletionItem

from mellm.stream.errors import MissingExtra, UsageError


@dataclass(frozen=True, slots=True)
class Verb:
    """Where a verb's command is, and what help says about it in one line.

    :param target: ``module:attribute``
    :param extra: what has to be installed for it; empty: nothing beside the base
    """

    target: str
    help: str
    extra: str = ""


class LazyGroup(click.Group):
    """A group that imports a verb's module when that verb is called, or when its options are asked for.

    :param verbs: name → verb
    """

    def __init__(self, *args: Any, verbs: Mapping[str, Verb], **more: Any) -> None:
        super().__init__(*args, **more)
        self.verbs = verbs

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.verbs)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The verb; where its extra is not installed, one that says so when it is called."""
        verb = self.verbs.get(cmd_name)
        if verb is None:
            return None
        module, _, attribute = verb.target.partition(":")
        try:
            command = copy.copy(getattr(import_module(module), attribute))
        except ImportError as error:
            return _Absent(cmd_name, verb.help, self._missing(ctx, cmd_name, error))
        assert isinstance(command, click.Command)
        command.name = cmd_name
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ImportError as error:  # what the verb imports only where it needs it
            raise self._missing(ctx, ctx.invoked_subcommand or "", error) from error

    def _missing(self, ctx: click.Context, name: str, error: ImportError) -> MissingExtra:
        """:raises ImportError: the same, where it is none of an extra's packages that is missing"""
        verb = self.verbs.get(name)
        if verb is None or not verb.extra or (error.name or "mellm").partition(".")[0] == "mellm":
            raise error
        return MissingExtra(
            f"{ctx.command_path} {name} needs {error.name}",
            remedy=f"pip install 'mellm-live[{verb.extra}]'",
        )

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.verbs and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], self.verbs, 1)
            remedy = f"did you mean {near[0]!r}?" if near else f"`{ctx.command_path} --help` lists the verbs"
            raise UsageError(f"unknown command {args[0]!r}", remedy=remedy)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, verb.help) for name, verb in self.verbs.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        found = [
            CompletionItem(name, help=verb.help)
            for name, verb in self.verbs.items()
            if name.startswith(incomplete)
        ]
        return found + click.Command.shell_complete(self, ctx, incomplete)


class _Absent(click.Command):
    """A verb that cannot be imported here: whatever it is called with, the error names what to install."""

    def __init__(self, name: str, told: str, missing: MissingExtra) -> None:
        super().__init__(name, help=told, short_help=told, add_help_option=False)
        self._missing = missing

    def make_context(self, *args: Any, **more: Any) -> click.Context:
        raise self._missing
