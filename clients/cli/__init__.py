"""The command ``mellm``. Standard output is data, standard error is talk.

Exit codes: 0 done · 1 a bug · 2 wrong usage or configuration, refused purpose, missing extra · 3 a source or
picture that cannot be used · 4 models or devices · 5 the describer's endpoint · 6 run folder, journal or server ·
130 interrupted.
"""

from __future__ import annotations

import os
import sys

import click

from mellm.clients.cli.lazy import LazyGroup, Verb
from mellm.stream.errors import MellmError

# `mellm --help` must not import numpy, so verbs load when they are called
VERBS = {
    "demo": Verb(
        "mellm.clients.cli.demo:demo",
        "Analyse the sample that ships with the project and score it against its truth.",
    ),
    "analyze": Verb("mellm.clients.cli.analyze:analyze", "Analyse recordings into a run folder."),
    "watch": Verb("mellm.clients.cli.watch:watch", "Follow one source in the terminal."),
    "serve": Verb("mellm.clients.cli.serve:serve", "Follow sources and push results to WebSocket clients."),
    "submit": Verb(
        "mellm.clients.cli.batch:submit", "Have recordings analysed by the workers on a bus.", "bus"
    ),
    "worker": Verb(
        "mellm.clients.cli.batch:worker", "Analyse recordings that were submitted to a bus.", "bus"
    ),
    "listen": Verb("mellm.clients.cli.listen:listen", "Show events from a server."),
    "export": Verb(
        "mellm.clients.cli.export:export", "Write a run as CSV, JSON lines, ELAN, WebVTT, SubRip or a report."
    ),
    "correct": Verb(
        "mellm.clients.cli.correct:correct", "Apply what a person corrected in ELAN, a table or the report."
    ),
    "agree": Verb(
        "mellm.clients.cli.agree:agree",
        "Show how far coders and the engine agree (extra `study`).",
        "study",
    ),
    "cite": Verb("mellm.clients.cli.cite:cite", "Print a methods paragraph about a run, ready to paste."),
    "annotate": Verb(
        "mellm.clients.cli.annotate:annotate",
        "Burn boxes, captions and motion maps into a copy of a recording.",
    ),
    "replay": Verb("mellm.clients.cli.replay:replay", "Print the events of a run once more, at any pace."),
    "redescribe": Verb(
        "mellm.clients.cli.redescribe:redescribe",
        "Ask again about the expressions of a run, of any describer.",
    ),
    "probe": Verb("mellm.clients.cli.probe:probe", "Show what a source delivers: codec, size, rates, gaps."),
    "describe": Verb("mellm.clients.cli.pair:describe", "Describe one onset–apex pair of pictures."),
    "flowmap": Verb(
        "mellm.clients.cli.pair:flowmap", "Draw the motion map of one onset–apex pair of pictures."
    ),
    "models": Verb("mellm.clients.cli.models:models", "Pull, list and verify the models."),
    "dataset": Verb("mellm.clients.cli.groups:dataset", "Build and check instruction data (extra `train`)."),
    "train": Verb("mellm.clients.cli.groups:train", "Train the spotter on synthetic faces (extra `train`)."),
    "eval": Verb(
        "mellm.clients.cli.groups:evaluate", "Measure spotters against known truth (extras `train`, `eval`)."
    ),
    "compare": Verb(
        "mellm.clients.cli.compare:compare",
        "Put the same questions to many multimodal models, side by side (extra `eval`).",
        "eval",
    ),
    "schema": Verb(
        "mellm.clients.cli.schema:schema", "Print the JSON Schema or AsyncAPI document of the protocol."
    ),
    "purge": Verb(
        "mellm.clients.cli.purge:purge", "Erase what was found, by source, subject, age or expression."
    ),
    "audit": Verb("mellm.clients.cli.audit:audit", "Check the log of who did what."),
    "bench": Verb("mellm.clients.cli.bench:bench", "Measure speed and latency on this machine."),
    "doctor": Verb("mellm.clients.cli.doctor:doctor", "Check this installation."),
}


@click.group(
    cls=LazyGroup,
    verbs=VERBS,
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
