"""The command ``mellm``. Standard output is data, standard error is talk.

Exit codes: 0 done · 1 a bug · 2 wrong usage or configuration, refused purpose, missing extra · 3 a source or
picture that cannot be used · 4 models or devices · 5 the describer's endpoint · 6 run folder, journal or server ·
130 interrupted.
"""

from __future__ import annotations

import difflib
import importlib
import os
import sys

import click

from mellm.stream.errors import MellmError, UsageError

# name → (module, one line of help): `mellm --help` must not import numpy, so verbs load when they are called
VERBS: dict[str, tuple[str, str]] = {
    "demo": (
        "mellm.clients.cli.demo",
        "Analyse the sample that ships with the project and score it against its truth.",
    ),
    "analyze": ("mellm.clients.cli.analyze", "Analyse recordings into a run folder."),
    "watch": ("mellm.clients.cli.watch", "Follow one source in the terminal."),
    "serve": ("mellm.clients.cli.serve", "Follow sources and push results to WebSocket clients."),
    "listen": ("mellm.clients.cli.listen", "Show events from a server."),
    "export": (
        "mellm.clients.cli.export",
        "Write a run as CSV, JSON lines, ELAN, WebVTT, SubRip or a report.",
    ),
    "annotate": (
        "mellm.clients.cli.annotate",
        "Burn boxes, captions and motion maps into a copy of a recording.",
    ),
    "replay": ("mellm.clients.cli.replay", "Print the events of a run once more, at any pace."),
    "probe": ("mellm.clients.cli.probe", "Show what a source delivers: codec, size, rates, gaps."),
    "describe": ("mellm.clients.cli.pair", "Describe one onset–apex pair of pictures."),
    "flowmap": ("mellm.clients.cli.pair", "Draw the motion map of one onset–apex pair of pictures."),
    "models": ("mellm.clients.cli.models", "Pull, list and verify the models."),
    "dataset": ("mellm.clients.cli.dataset", "Build and check instruction data (extra `train`)."),
    "train": ("mellm.clients.cli.train", "Train the spotter on synthetic faces (extra `train`)."),
    "eval": ("mellm.clients.cli.evaluate", "Measure spotters against known truth (extras `train`, `eval`)."),
    "compare": (
        "mellm.clients.cli.compare",
        "Put the same questions to many multimodal models, side by side (extra `eval`).",
    ),
    "schema": ("mellm.clients.cli.schema", "Print the JSON Schema or AsyncAPI document of the protocol."),
    "purge": ("mellm.clients.cli.purge", "Erase what was found, by source, subject, age or expression."),
    "audit": ("mellm.clients.cli.audit", "Check the log of who did what."),
    "bench": ("mellm.clients.cli.bench", "Measure speed and latency on this machine."),
    "doctor": ("mellm.clients.cli.doctor", "Check this installation."),
}

_NAMES = {"eval": "evaluate"}  # verbs that are a builtin's name in Python


class _Verbs(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        command = getattr(importlib.import_module(VERBS[cmd_name][0]), _NAMES.get(cmd_name, cmd_name))
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], VERBS, 1)
            remedy = f"did you mean {near[0]!r}?" if near else "`mellm --help` lists the verbs"
            raise UsageError(f"unknown command {args[0]!r}", remedy=remedy)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in VERBS.items()])


@click.group(
    cls=_Verbs,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 1 bug, 2 usage, 3 source, 4 models, 5 describer, 6 server or run folder, "
    "130 interrupted.",
)
@click.version_option(package_name="mellm-live", prog_name="mellm")
@click.option("-v", "--verbose", is_flag=True, help="Log what happens, to standard error.")
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    help="Log lines for people, or one JSON object each [text].",
)
def mellm(verbose: bool, log_format: str) -> None:
    """Spot and describe facial micro-expressions, live and in recordings.

    A measurement of facial motion, with errors. Not a lie detector. Do not use it to decide about people.
    """
    from mellm.clients.cli.logs import start

    start(verbose=verbose, structured=log_format == "json")


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its documented code."""
    sys.exit(run(arguments))


def run(arguments: list[str] | None = None) -> int:
    """Run the command line; errors become one line on standard error and an exit code."""
    # FFmpeg's own messages repeat what the typed errors say, without naming the remedy
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    spoken_to = sys.stdout
    try:
        code = mellm.main(arguments, prog_name="mellm", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except MellmError as error:
        return _fail(" ".join(str(error).split()), error.exit_code)
    except click.exceptions.NoArgsIsHelpError as asked:
        click.echo(asked.format_message(), err=True)
        return 2
    except click.ClickException as error:
        return _fail(error.format_message(), 2)
    except (click.Abort, KeyboardInterrupt):
        click.echo("mellm: interrupted", err=True)
        return 130
    except SystemExit:
        # whoever read our output has gone: click then muffles the streams and leaves; it is no failure of ours
        if sys.stdout is spoken_to:
            raise
        return _unheard()
    except BrokenPipeError:
        return _unheard()


def _unheard() -> int:
    """The interpreter must not complain again when it flushes at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _fail(message: str, code: int) -> int:
    from mellm.stream.sources.addresses import redact_text

    # the arguments that a message quotes may be addresses with a password
    click.echo(f"mellm: error: {redact_text(message)}", err=True)
    return code
