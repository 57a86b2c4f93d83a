"""``mellm watch``: one source, in the terminal."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from mellm.clients.cli.common import (
    consent_flag,
    counted,
    event_line,
    json_flag,
    opening_flags,
    settings_flags,
    settings_from,
    source_options,
)
from mellm.clients.cli.happenings import Happenings
from mellm.clients.cli.terminal import Screen


@click.command()
@click.argument("uri", metavar="SOURCE")
@click.option("--fps", type=float, metavar="RATE", help="Frame rate of image folders.")
@click.option(
    "--open", "in_browser", is_flag=True, help="Show picture, scores and expressions in the browser instead."
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Keep the session in this run folder, as `mellm analyze` does.",
)
@click.option("--record", is_flag=True, help="With --out, keep the video too; needs --consent.")
@consent_flag
@json_flag
@opening_flags
@settings_flags
def watch(
    uri: str,
    fps: float | None,
    in_browser: bool,
    out: Path | None,
    record: bool,
    consent: str | None,
    as_json: bool,
    **flags: Any,
) -> int:
    """Follow SOURCE: a webcam (0, /dev/video0), rtsp://, http(s):// MJPEG, a file, an image folder, synthetic:.

    Prints each expression when it is described, and what happens to the source. Files are played at their own rate.
    With --open, a page on this machine shows it, with the picture, until Ctrl-C. Ctrl-C stops. With --out, the session
    can be reported and exported like a recording: `mellm export OUT --to html`.
    """
    source = {"id": "watch", "uri": uri, "fps": fps, "consent": consent, **source_options(flags)}
    _session_flags(out, record, consent, in_browser)
    if in_browser:
        return _open(source, as_json, flags)
    from mellm.clients.cli.live import quietly
    from mellm.engine.analysis.pipeline_factory import live_engine
    from mellm.engine.analysis.sessions import SessionOptions, Sessions, SessionSink
    from mellm.engine.governance.consent import of_analysis
    from mellm.engine.governance.purpose import Purpose
    from mellm.engine.server.process import heap
    from mellm.engine.server.process.allocator import tune_malloc
    from mellm.stream.capture.runner import RunnerOptions
    from mellm.stream.signals import until_signal

    tune_malloc()
    settings = settings_from(flags, {"sources": [source]}, purpose="self-use")
    of_analysis(settings, consent, Purpose.SELF_USE)
    screen = Screen(enabled=False if as_json else None)
    printer = Printer(as_json, screen)
    sessions = None if out is None else Sessions(settings, SessionOptions(video=record, faces=record))
    sink = printer if sessions is None else SessionSink(printer, sessions)
    # somebody is sitting there: an address that does not work is told at once, not tried for ever
    engine = live_engine(
        settings,
        settings.sources,
        sink,
        RunnerOptions(must_open=True),
        on_loaded=heap.set_aside,
        tap=sessions,
    )
    if sessions is not None and out is not None:
        sessions.attach(engine)
        sessions.begin("watch", out, consent=consent, fresh=True)
    with until_signal() as stop, quietly("mellm.stream.capture.runner", "mellm.engine.analysis.live"), screen:
        engine.start()
        try:
            while not stop.wait(0.1) and not engine.finished and not printer.gone:
                pass
        finally:
            engine.stop(drain_s=0.0 if printer.gone else settings.describer.deadline_s)
            saved = None if sessions is None else sessions.save("watch", patience_s=0.5)
    if saved is not None:
        click.echo(f"{counted(saved.expressions, 'expression')}; {saved.path}/expressions.jsonl", err=True)
    if printer.gone:
        raise BrokenPipeError
    if engine.failure is not None:
        raise engine.failure
    return 0


def _session_flags(out: Path | None, record: bool, consent: str | None, in_browser: bool) -> None:
    """Refuse what would keep less, or more, than somebody agreed to."""
    from mellm.stream.errors import ConsentMissing

    if in_browser and out is not None:
        raise click.UsageError(
            "--out and --open cannot both be met: `mellm serve --source me=SOURCE --runs FOLDER` keeps sessions"
        )
    if record and out is None:
        raise click.UsageError("--record is about a session that is kept: name its folder with --out")
    if record and consent is None:
        raise ConsentMissing(
            "--record keeps the video, and there is no consent to that",
            remedy="give its reference with --consent REF",
        )


def _open(source: dict[str, Any], as_json: bool, flags: dict[str, Any]) -> int:
    """A server for one viewer: a free port of this machine, nothing kept."""
    import webbrowser

    from mellm.clients.cli.serve import follow
    from mellm.engine.governance.consent import of_analysis
    from mellm.engine.governance.purpose import Purpose

    if as_json:
        raise click.UsageError("--json and --open cannot both be met: choose one")
    given = {"sources": [{**source, "preview": True}], "server.journal": ":memory:", "server.port": 0}
    given |= {"server.host": "127.0.0.1"}
    settings = settings_from(flags, given, purpose="self-use")
    of_analysis(settings, source["consent"], Purpose.SELF_USE)
    return follow(settings.model_copy(update={"purpose": settings.purpose or "self-use"}), webbrowser.open)


class Printer:
    """A sink that prints.

    :param screen: where lines go, and the live view
    :ivar gone: whether nobody reads standard output any more
    """

    def __init__(self, as_json: bool, screen: Screen) -> None:
        self.gone = False
        self._json = as_json
        self._screen = screen
        self._happenings = Happenings()
        self._lock = threading.Lock()

    def publish(self, kind: str, source: str, data: Mapping[str, Any], t_ns: int | None = None) -> None:
        """See :class:`mellm.engine.analysis.live.Sink`."""
        if self._screen.enabled:
            self._screen.board.observe(kind, source, data)
        if self._json:
            if kind != "score":
                self._write(json.dumps({"type": kind, "source": source, "data": data}, ensure_ascii=False))
        elif kind.startswith("expression.") and kind != "expression.spotted":
            self._write(event_line(data))
        elif kind == "source.ended" and "code" in data:
            pass  # the verb ends with this very error
        elif kind.startswith(("source.", "face.")):
            self._talk(self._happenings.line(kind, "", data, t_ns))

    keeps_faces = False

    def evidence(self, expression: str, png: bytes, shown: str = "motion") -> None:
        """Motion maps are not shown in a terminal."""

    def _write(self, text: str) -> None:
        with self._lock:
            if self.gone:
                return
            try:
                self._screen.data(text)
            except BrokenPipeError:
                self.gone = True

    def _talk(self, text: str | None) -> None:
        with self._lock:
            if text:
                self._screen.talk(text)
