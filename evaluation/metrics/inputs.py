"""What each kind of metric reads: shapes of files, brought to the arguments of the pure functions.

Every reader takes either one file with both sides (``cases``) or one file for each side, and returns notes on whatever
was odd and still counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

from mellm.evaluation.metrics.errors import MetricsError
from mellm.evaluation.metrics.files import Record, as_text, frame, interval, load, records
from mellm.evaluation.metrics.joining import KEYS, SUBJECT, VIDEO, join, listed, repeated
from mellm.evaluation.metrics.moments import NAMES, Moments
from mellm.evaluation.metrics.strs import Row

if TYPE_CHECKING:
    from mellm.evaluation.metrics import vqa

T = TypeVar("T")
Side = Literal["pred", "gt"]
NAMES_OF: Final[Mapping[Side, tuple[str, ...]]] = {
    "pred": ("pred", "predicted", "prediction", "predictions", "response"),
    "gt": ("gt", "true", "truth", "target"),
}
LABEL: Final = ("label", "emotion", "class", "coarse", "coarse_emotion")
UNITS: Final = ("action_units", "units", "aus", "au")


@dataclass(frozen=True, slots=True)
class Files:
    """One file with both sides, or one for each."""

    predicted: Path | None = None
    true: Path | None = None
    cases: Path | None = None

    def both(self) -> Path | None:
        """The one file, if there is one: ``cases``, or a prediction that was given alone.

        :raises MetricsError: there is neither a file with both sides nor one for each
        """
        if self.cases is not None:
            if self.predicted is not None or self.true is not None:
                raise MetricsError("one file with both sides and one for a side", remedy="give either")
            return self.cases
        if self.predicted is None:
            raise MetricsError("no predictions", remedy="give --pred and --truth, or --cases")
        return self.predicted if self.true is None else None


@dataclass(frozen=True, slots=True)
class Given:
    """Rows of one kind, with a subject (or ``None``) for each, and notes."""

    rows: Sequence[Any]
    subjects: Sequence[str | None]
    notes: tuple[str, ...] = ()
    folds: Sequence[str] | None = None


def labels(files: Files) -> Given:
    """(Label, answer or ``None``) of each row; folds where the file has them."""
    path = files.both()
    document = load(path) if path is not None else None
    if path is not None and isinstance(document, Mapping):
        return _parallel(document, path, _label)
    if path is not None:
        rows = records(document, path)
        pairs = [(_true(r, r.first(*NAMES_OF["gt"])), as_text(r.first(*NAMES_OF["pred"]))) for r in rows]
        if rows and not rows[0].has(*NAMES_OF["pred"]):
            raise rows[0].wrong(
                "no column 'pred'", remedy="give columns gt and pred, or a file for each side"
            )
        return _of_rows(pairs, rows, [])
    assert files.predicted is not None
    assert files.true is not None
    predicted, true = _side(files.predicted, "pred"), _side(files.true, "gt")
    if isinstance(predicted, list) and isinstance(true, list):
        return _parallel({"pred": predicted, "gt": true}, files.true, _label)
    if isinstance(predicted, list) or isinstance(true, list):
        raise MetricsError(
            "one side is a plain list and the other has rows with names", remedy="give both in one shape"
        )
    if not any(record.has(*KEYS) for record in (*predicted.rows, *true.rows)):
        sides = {
            "pred": [r.first(*LABEL, *NAMES_OF["pred"]) for r in predicted.rows],
            "gt": [r.first(*LABEL, *NAMES_OF["gt"]) for r in true.rows],
        }
        given = _parallel(sides, files.true, _label)
        return replace(given, notes=("rows have no names: paired by their order",))
    joined, notes = join(predicted.rows, true.rows)
    pairs = [
        (
            _true(t, t.first(*LABEL, *NAMES_OF["gt"])),
            as_text(p.first(*LABEL, *NAMES_OF["pred"])) if p else None,
        )
        for t, p in joined
    ]
    return _of_rows(pairs, [t for t, _ in joined], notes)


@dataclass(frozen=True, slots=True)
class _Rows:
    rows: list[Record]


def _side(path: Path, side: Side) -> list[Any] | _Rows:
    document = load(path)
    if isinstance(document, Mapping):
        document = next((document[n] for n in (*NAMES_OF[side], "labels", "rows") if n in document), None)
    if isinstance(document, list) and not any(isinstance(item, Mapping | Record) for item in document):
        return document
    return _Rows(records(document, path))


def _parallel(document: Mapping[str, Any], path: Path, cell: Callable[[Any, Record], T | None]) -> Given:
    """Lists of equal length under the names of the sides, with lists ``subjects`` and ``folds`` if there are any."""

    def found(*names: str) -> list[Any] | None:
        rows = next((document[name] for name in names if name in document), None)
        if rows is not None and not isinstance(rows, list):
            raise MetricsError(
                f"{path}: {names[0]!r} is not a list", remedy="see docs/metrics.md for its shape"
            )
        return rows

    true, predicted = found(*NAMES_OF["gt"]), found(*NAMES_OF["pred"])
    if true is None or predicted is None:
        raise MetricsError(f"{path} has no lists 'gt' and 'pred'", remedy='write {"gt": […], "pred": […]}')
    subjects, folds = found("subjects", "subject"), found("folds", "fold")
    for name, rows in (("pred", predicted), ("subjects", subjects), ("folds", folds)):
        if rows is not None and len(rows) != len(true):
            raise MetricsError(
                f"{path}: {len(true)} in 'gt' and {len(rows)} in {name!r}", remedy="give one for each"
            )
    places = [Record(str(path), number, {}, "item") for number in range(1, len(true) + 1)]
    pairs = [
        (_known(cell(t, place), place), cell(p, place))
        for t, p, place in zip(true, predicted, places, strict=True)
    ]
    return Given(
        pairs,
        [as_text(s) for s in subjects] if subjects else [None] * len(pairs),
        (),
        [str(f) for f in folds] if folds else None,
    )


def _of_rows(pairs: Sequence[Any], rows: Sequence[Record], notes: Iterable[str]) -> Given:
    folds = [as_text(r.first("fold")) for r in rows]
    return Given(
        pairs,
        [as_text(r.first(*SUBJECT)) for r in rows],
        tuple(notes),
        [f or "" for f in folds] if any(folds) else None,
    )


def _label(value: Any, place: Record) -> str | None:
    if isinstance(value, list | Mapping):
        raise place.wrong(f"{value!r:.40} is not a label")
    return as_text(value)


def _known(value: T | None, place: Record) -> T:
    if value is None:
        raise place.wrong("there is no truth", remedy="a label may be missing in the prediction only")
    return value


def _true(record: Record, value: Any) -> str:
    return _known(_label(value, record), record)


def two_lists(files: Files) -> tuple[list[Record], list[Record]]:
    """Rows of the prediction and of the truth, from one file with two lists or from two files."""
    if (path := files.both()) is not None:
        document = load(path)
        if not isinstance(document, Mapping):
            raise MetricsError(f"{path} has no lists 'gt' and 'pred'", remedy="give --pred and --truth")
        return records(document, path, *NAMES_OF["pred"]), records(document, path, *NAMES_OF["gt"])
    assert files.predicted is not None
    assert files.true is not None
    return (
        records(load(files.predicted), files.predicted, *NAMES_OF["pred"], "rows"),
        records(load(files.true), files.true, *NAMES_OF["gt"], "rows"),
    )


def strs(files: Files) -> tuple[list[Row], list[Row], tuple[str, ...]]:
    """Rows of the truth and of the prediction, and notes."""
    predicted, true = two_lists(files)
    if not true:
        raise MetricsError("the truth has no rows", remedy="give at least one")
    rows = {"gt": [_row(r, True) for r in true], "pred": [_row(r, False) for r in predicted]}
    notes = [] if rows["pred"] else ["there are no predictions at all: every true interval is missed"]
    notes += repeated([(r.subject, r.video, r.onset, r.offset) for r in rows["pred"]], "predicted intervals")
    notes += repeated([(r.subject, r.video, r.onset, r.offset) for r in rows["gt"]], "true intervals")
    places = {side: {(r.subject, r.video) for r in found} for side, found in rows.items()}
    if only := sorted(places["gt"] - places["pred"]):
        notes.append(f"{len(only)} videos only in the truth, all missed: {listed(only)}")
    if only := sorted(places["pred"] - places["gt"]):
        notes.append(f"{len(only)} videos only predicted, all false: {listed(only)}")
    if empty := sum(not r.emotion for r in rows["pred"]):
        notes.append(f"{empty} predictions without an emotion, counted wrong where they are spotted")
    known = {r.emotion for r in rows["gt"]}
    if foreign := sorted({r.emotion for r in rows["pred"] if r.emotion} - known):
        notes.append(f"emotions that no truth has, counted wrong: {listed(foreign)}")
    return rows["gt"], rows["pred"], tuple(notes)


def _row(record: Record, true: bool) -> Row:
    onset, offset = interval(record.first("onset"), record.first("offset"), record)
    emotion = record.text("emotion", "label") if true else as_text(record.first("emotion", "label")) or ""
    return Row(record.text(*SUBJECT), record.text(*VIDEO), onset, offset, emotion)


def moments(files: Files) -> Given:
    """(True, predicted) moments of rows with a common name."""
    predicted, true = two_lists(files)
    joined, notes = join(predicted, true)
    pairs = [(_moments(t), _moments(p) if p else Moments()) for t, p in joined]
    return _of_rows(pairs, [t for t, _ in joined], notes)


def _moments(record: Record) -> Moments:
    found = [record.first(name) for name in NAMES]
    known = [None if as_text(v) is None else frame(v, record, n) for n, v in zip(NAMES, found, strict=True)]
    onset, _, offset = known
    if onset is not None and offset is not None:
        interval(onset, offset, record)
    return Moments(*known)


def units(files: Files) -> Given:
    """(True, predicted) sets of action units; a prediction that is null could not be read."""
    path = files.both()
    document = load(path) if path is not None else None
    doubts: list[str] = []

    def cell(value: Any, place: Record) -> frozenset[int] | None:
        return _units(value, place, doubts)

    if isinstance(document, Mapping) and path is not None and not _has_rows(document):
        given = _parallel(document, path, cell)
        return Given(given.rows, given.subjects, _doubted(doubts))
    predicted, true = two_lists(files)
    joined, notes = join(predicted, true)
    pairs = [
        (_known(cell(t.first(*UNITS) or "", t), t), cell(_unit_cell(p), p) if p else None) for t, p in joined
    ]
    return _of_rows(pairs, [t for t, _ in joined], [*notes, *_doubted(doubts)])


def _has_rows(document: Mapping[str, Any]) -> bool:
    rows = document.get("gt", ())
    return isinstance(rows, list) and bool(rows) and isinstance(rows[0], Mapping)


def _unit_cell(record: Record) -> Any:
    """The cell of units: an empty one shows no unit, one that is null or not there could not be read."""
    return next((record.values[name] for name in UNITS if name in record.values), None)


def _units(value: Any, place: Record, doubts: list[str]) -> frozenset[int] | None:
    from mellm.evaluation.datasets.units import FACS, parse_units

    if value is None:
        return None
    if isinstance(value, list):
        found = frozenset(frame(v, place, "a unit") for v in value)
    else:
        read = parse_units(value)
        found = read.numbers
        if read.possible_numbers or read.unread:
            doubts.append(read.text)
    if strangers := sorted(found - FACS):
        raise place.wrong(f"{strangers[0]} is not an action unit of FACS")
    return found


def _doubted(doubts: Sequence[str]) -> tuple[str, ...]:
    if not doubts:
        return ()
    return (f"{len(doubts)} cells with more than sure units, of which the sure ones count: {listed(doubts)}",)


def questions(files: Files) -> Given:
    """Rows of questions with truth and answer: official JSON lines on each side, or one file with both."""
    path = files.both()
    document = load(path) if path is not None else None
    if path is not None and not (isinstance(document, Mapping) and _has_rows(document)):
        rows = records(document, path, "rows", "questions")
        if rows and not rows[0].has(*NAMES_OF["pred"]):
            raise rows[0].wrong("no column 'prediction'", remedy="give it, or the truth in a file of its own")
        joined: list[tuple[Record, Record | None]] = [(row, row) for row in rows]
        notes: list[str] = []
    else:
        joined, notes = join(*two_lists(files))
    pairs = [_question(true, predicted, alone=path is not None) for true, predicted in joined]
    return _of_rows(pairs, [t for t, _ in joined], notes)


def _question(true: Record, predicted: Record | None, *, alone: bool) -> vqa.Row:
    from mellm.evaluation.metrics import vqa

    task = as_text(true.first("task"))
    if task is not None and task not in vqa.TASKS:
        raise true.wrong(f"{task!r} is not a kind of question", remedy=f"choose of {', '.join(vqa.TASKS)}")
    names = NAMES_OF["pred"] if alone and predicted is true else (*NAMES_OF["pred"], "answer")
    answer = as_text(predicted.first(*names)) if predicted else None
    return vqa.Row(true.text("question"), true.text(*NAMES_OF["gt"], "answer"), answer, task)
