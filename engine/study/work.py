"""Runs the recordings of a study, each into a run folder of its own: one after the other, or several at a time.

What is finished is not analysed again. A recording that cannot be analysed is reported and the others go on.
"""

from __future__ import annotations

import json
import multiprocessing
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from mellm.engine import api
from mellm.engine.analysis.offline import Progress
from mellm.engine.config import Settings
from mellm.engine.results.about import KEY, About
from mellm.engine.results.run_folder import RUN, RUNS, STUDY
from mellm.engine.study.plan import Entry
from mellm.stream import private
from mellm.stream.errors import MellmError, ModelError, RunError, UsageError
from mellm.stream.files import replacing
from mellm.stream.sources import SourceOptions

FORMAT: Final = "mellm-study/1"


@dataclass(frozen=True, slots=True)
class How:
    """What is the same for all recordings; a study is gone on with as it was begun.

    :param opening: source options that are not the default
    """

    settings: Settings
    fps: float | None = None
    opening: Mapping[str, Any] | None = None
    keep_evidence: bool = True

    def to_json(self) -> dict[str, Any]:
        """As ``study.json`` keeps it."""
        return {
            "settings": self.settings.model_dump(mode="json", exclude={"sources", "tokens", "server"}),
            "fps": self.fps,
            "opening": dict(self.opening or {}),
            "keep_evidence": self.keep_evidence,
        }


@dataclass(frozen=True, slots=True)
class Finished:
    """How one recording ended.

    :param state: ``done``, ``failed``, or ``skipped``: it was done before
    :param expressions: counted ones
    :param media_s: length that was analysed
    :param wall_s: how long that took
    :param error: why it failed, with the exit code
    :param warnings: sentences for the terminal
    """

    entry: Entry
    state: str
    expressions: int = 0
    larger: int = 0
    media_s: float = 0.0
    wall_s: float = 0.0
    error: tuple[str, int] | None = None
    warnings: tuple[str, ...] = ()


After = Callable[[Path], None]
"""Called in the process that analysed, with the run folder: makes the report. It has to be importable by name."""


def begin(out: Path, how: How) -> None:
    """Make the folder of a study, or see that it is one made alike.

    :raises RunError: it holds something else, or a study with other settings; or it cannot be written
    """
    told = {"format": FORMAT, **how.to_json()}
    path = out / STUDY
    try:
        if path.is_file():
            before = json.loads(path.read_text(encoding="utf-8"))
            changed = sorted(
                k for k in {*told, *before} if json.loads(json.dumps(told)).get(k) != before.get(k)
            )
            if changed == ["settings"]:
                settings = told["settings"]
                changed = sorted(k for k, v in settings.items() if before["settings"].get(k) != v)
            if changed:
                raise RunError(
                    f"{out} holds a study with other settings ({', '.join(changed)})",
                    remedy="name another folder with --out",
                )
            return
        if out.exists() and any(out.iterdir()):
            raise RunError(f"{out} is not empty and holds no study", remedy="name another folder with --out")
        private.folder(out)  # who is in which condition is nobody else's to read
        with replacing(path) as part:
            part.write_text(json.dumps(told, indent=1, ensure_ascii=False), encoding="utf-8")
    except (OSError, ValueError, AttributeError) as error:
        raise RunError(f"the study {out} cannot be read or written ({error})") from error


def run_of(out: Path, entry: Entry) -> Path:
    """The run folder of a recording."""
    return out / RUNS / entry.id


def done_before(out: Path, entry: Entry) -> Mapping[str, Any] | None:
    """The summary of a recording that is finished, with ``run.json`` telling who it is of as the table does now.

    :raises RunError: the recording, or its consent reference, is not the one that was analysed
    """
    folder = run_of(out, entry)
    path = folder / RUN
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
        (summary,) = state["sources"].values()
    except (OSError, ValueError, KeyError, AttributeError):
        return None  # nothing there yet, or not finished: the analysis says what is wrong
    if summary.get("state") == "erased":
        raise RunError(f"{entry.where}: the results of {entry.name} were erased", remedy="remove the line")
    if summary.get("state") != "done":
        return None
    if state["settings"].get("consent") != entry.consent:
        raise RunError(
            f"{entry.where}, column consent: {entry.name} was analysed under {state['settings'].get('consent')!r}",
            remedy=f"restore the reference, or remove {folder} to analyse it again",
        )
    file = summary.get("file") or {}
    if file and file.get("bytes") != _size(entry.path):
        raise RunError(
            f"{entry.name} has changed since it was analysed", remedy=f"remove {folder} to analyse it again"
        )
    about = replace(entry.about, purpose=About.of(state).purpose)
    if About.of(state) != about:
        state[KEY] = about.to_json()
        with replacing(path, durable=True) as part, open(part, "wb", opener=private.opener) as file:
            file.write(json.dumps(state, indent=1, ensure_ascii=False).encode())
    found: Mapping[str, Any] = summary
    return found


def _size(path: Path) -> int:
    if path.is_dir():
        return sum(p.stat().st_size for p in path.iterdir() if p.is_file())
    return path.stat().st_size


def work(
    entries: Iterable[Entry],
    out: Path,
    how: How,
    *,
    jobs: int = 1,
    after: After | None = None,
    progress: Callable[[Entry], Progress] | None = None,
) -> Iterator[Finished]:
    """Analyse recordings; each is yielded when it ends. Whoever stops early closes the iterator.

    :param jobs: how many at a time, each in a process of its own
    :param progress: with one job: makes what follows a recording
    :raises RunError: a folder cannot be written, or a process was killed
    :raises ModelError: no recording can be analysed without the models
    :raises UsageError: nor with such settings
    """
    left = []
    for entry in entries:
        try:
            before = done_before(out, entry)
        except RunError as error:
            yield Finished(entry, "failed", error=(str(error), error.exit_code))
            continue
        if before is None:
            left.append(entry)
        else:
            larger = int(before["counts"].get("larger_motions", 0))
            found = int(before["counts"]["spotted"]) - larger
            yield Finished(entry, "skipped", found, larger, float(before.get("media_s") or 0))
    if jobs == 1 or len(left) == 1:
        for entry in left:
            yield _analyse(entry, out, how, after, None if progress is None else progress(entry))
        return
    yield from _parallel(left, out, how, jobs, after)


def _parallel(left: list[Entry], out: Path, how: How, jobs: int, after: After | None) -> Iterator[Finished]:
    # a fresh interpreter each: inference sessions and threads do not survive a fork
    pool = ProcessPoolExecutor(
        min(jobs, max(1, len(left))), multiprocessing.get_context("spawn"), initializer=_quiet
    )
    try:
        waiting: set[Future[Finished]] = {pool.submit(_analyse, e, out, how, after, None) for e in left}
        while waiting:
            ended, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for future in ended:
                yield future.result()
    except BrokenProcessPool as error:
        raise RunError(
            "a process of the study was killed", remedy="perhaps memory ran out: give a smaller --jobs"
        ) from error
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _quiet() -> None:
    """Ctrl-C ends a worker without a trace; its run folder goes on from there."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _analyse(entry: Entry, out: Path, how: How, after: After | None, progress: Progress | None) -> Finished:
    started = time.monotonic()
    folder = run_of(out, entry)
    try:
        with api.analysis(
            [str(entry.path)],
            folder,
            how.settings,
            fps=how.fps,
            options=SourceOptions(**(how.opening or {})),
            consent=entry.consent,
            about=entry.about,
            keep_evidence=how.keep_evidence,
            progress=progress,
        ) as (steps, result):
            for _ in steps:
                pass
        summary = json.loads((folder / RUN).read_text(encoding="utf-8"))["sources"]
        media_s = sum(float(s.get("media_s") or 0) for s in summary.values())
        told = tuple(dict.fromkeys([*result.notes, *result.warnings]))
        ended = Finished(
            entry,
            "failed" if result.failures else "done",
            result.expressions - result.larger,
            result.larger,
            media_s,
            time.monotonic() - started,
            next(((str(e), e.exit_code) for _, e in result.failures), None),
            told,
        )
        if after is not None and not result.failures:
            after(folder)
    except (ModelError, UsageError):
        raise  # the next recording would fare no better
    except MellmError as error:
        return Finished(
            entry, "failed", wall_s=time.monotonic() - started, error=(str(error), error.exit_code)
        )
    return replace(ended, wall_s=time.monotonic() - started)  # the report is part of what the next one takes


@dataclass(slots=True)
class Estimate:
    """How long the rest of a study takes, from how long the recordings so far took.

    :param lengths: seconds of media of each recording that is still to be analysed, by name
    """

    lengths: dict[str, float]
    jobs: int = 1
    media_s: float = 0.0
    wall_s: float = 0.0

    def ended(self, finished: Finished) -> None:
        """Count a recording."""
        self.lengths.pop(finished.entry.name, None)
        if finished.state == "done":
            self.media_s += finished.media_s
            self.wall_s += finished.wall_s

    @property
    def left_s(self) -> float | None:
        """Seconds to the end; ``None`` before a recording has been analysed, or where no length is known."""
        rest = sum(self.lengths.values())
        if not self.media_s or (self.lengths and not rest):
            return None
        longest = max(self.lengths.values(), default=0.0)
        pace = self.wall_s / self.media_s
        return pace * max(rest / self.jobs, longest)
