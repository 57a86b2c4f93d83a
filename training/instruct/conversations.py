"""Questions and right answers for one pair.

Tasks: ``json`` (what the profile ``nano`` is asked), ``describe`` (inspection → action units → emotion, as the
published models answer), and the question forms of the ME-VQA challenge: ``units``, ``coarse``, ``fine``, ``shown``,
``side`` and ``combined``. Whoever asks about a pair without an expression, or with one too faint to read, is told so.

Answers say what the annotation says, as far as the motion bears it out, and mark where the two disagree. Every number
of a description stands in the table that its question holds; where a question has no table (``mellm-v1``), the
description has no numbers either.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, cast, get_args

import numpy as np

from mellm.engine.describe import profiles
from mellm.engine.describe.base import DescribeContext, Recipe
from mellm.engine.facs import action_units as facs
from mellm.engine.types import Evidence, Side
from mellm.training.instruct import answers, describing, names, phrases
from mellm.training.instruct.pairs import Pair
from mellm.training.instruct.phrases import Language
from mellm.training.instruct.reading import Reading, read

Task: TypeAlias = Literal["json", "describe", "units", "coarse", "fine", "shown", "side", "combined"]
TASKS: Final[tuple[Task, ...]] = get_args(Task)

NO_EXPRESSION: Final[tuple[Task, ...]] = ("json", "describe", "units", "coarse", "fine", "shown", "combined")
"""Tasks that are asked about every pair; a side is only asked for where there is one."""

SHOWN = 2
"""At most so many units are asked for that are there, and as many that are not."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One question with its answer.

    :param picture: whether the question shows the map; the ``mellm-v3`` profile asks by its table alone
    :param abstain: whether the right answer is that nothing can be described
    """

    task: Task
    language: Language
    question: str
    answer: str
    abstain: bool
    picture: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class _Asked:
    """What the tasks are made from."""

    pair: Pair
    evidence: Evidence
    reading: Reading
    units: list[tuple[int, Side]]
    rng: np.random.Generator
    language: Language

    @property
    def recipe(self) -> Recipe:
        return cast("Recipe", self.evidence.recipe)  # evidence without a map is not asked about

    @property
    def one(self) -> bool:
        """A single unit: the challenge asks for it in the singular. Where there is none, either."""
        return len(self.units) == 1 if self.units else bool(self.rng.random() < 0.5)


def annotated(pair: Pair) -> list[tuple[int, Side]]:
    """Units of a pair, ascending, each once; left and right together are both."""
    sides: dict[int, set[Side]] = {}
    for u in pair.units:
        sided = u.au not in facs.UNITS or facs.UNITS[u.au].sided
        sides.setdefault(u.au, set()).add(u.side if sided else "both")
    return [(au, next(iter(s)) if len(s) == 1 else "both") for au, s in sorted(sides.items())]


def abstains(pair: Pair, evidence: Evidence, reading: Reading) -> phrases.Quiet | None:
    """Why a pair is not described; ``None`` for an expression that can be seen.

    A negative's own kind is the reason where the motion shows it; under the motion floor it is ``still``, and where
    something else moves than the kind would have it, ``other``.
    """
    if pair.kind == "expression":
        return "faint" if evidence.refused else None
    if evidence.refused:
        return "still"
    if pair.kind == "still":
        return "other"
    return pair.kind if moves(reading, pair.kind) else "other"


_WHERE: Final[dict[phrases.Quiet, tuple[str, ...]]] = {
    "blink": ("upper_lid", "lower_lid", "Eyelid"),
    "gaze": ("upper_lid", "lower_lid", "Eyelid"),
    "speech": ("lip_corner", "upper_lip", "lower_lip", "chin", "Lip", "Mouth", "Chin"),
    "head": ("",),
}


def moves(reading: Reading, kind: phrases.Quiet) -> bool:
    """Whether the strongest motion is where that kind of motion is; a head's may be anywhere."""
    return any(any(place in m.name for place in _WHERE[kind]) for m in reading.moved[:2])


def converse(
    pair: Pair,
    evidence: Evidence,
    rng: np.random.Generator,
    language: Language = "en",
    tasks: Sequence[Task] = TASKS,
) -> tuple[list[Turn], Reading]:
    """All turns of a pair in one language, and what annotation and measurement say of each other."""
    units = annotated(pair)
    asked = _Asked(pair, evidence, read(evidence, units), units, rng, language)
    why = abstains(pair, evidence, asked.reading)
    turns: list[Turn] = []
    for task in tasks:
        if why is None:
            turns += _MAKERS[task](asked)
        elif task in NO_EXPRESSION:
            turns.append(_abstain(task, why, asked))
    return turns, asked.reading


def _abstain(task: Task, why: phrases.Quiet, asked: _Asked) -> Turn:
    if task == "json":
        question = answers.QUESTION[asked.language]
        return Turn(task, asked.language, question, answers.abstention(why, asked.rng, asked.language), True)
    said = phrases.ABSTENTIONS[asked.language][why]
    answer = said[int(asked.rng.integers(len(said)))]
    if task == "describe":
        answer = describing.nothing(asked.reading, why, answer, asked.recipe, asked.language)
    question, picture = _question(task, asked)
    return Turn(task, asked.language, question, answer, True, picture)


def _question(task: Task, asked: _Asked) -> tuple[str, bool]:
    if task == "describe":
        return describe_question(asked.evidence, asked.pair.duration_ms, asked.language)
    if task == "shown":
        au = int(asked.rng.choice(list(facs.UNITS)))
        return _ask("shown", asked.language, names.unit(au, asked.language)), True
    number = task if task in ("coarse", "fine") else f"{task}_{'one' if asked.one else 'many'}"
    return _ask(number, asked.language), True


_QUESTIONS: Final[dict[str, tuple[str, str]]] = {
    "units_one": ("What is the action unit?", "动作单元是什么?"),
    "units_many": ("What are the action units?", "动作单元有哪些?"),
    "coarse": ("What is the coarse expression class?", "表情的粗分类是什么?"),
    "fine": ("What is the fine-grained expression class?", "表情的细分类是什么?"),
    "shown": ("Is the action unit {} shown on the face?", "面部是否出现了动作单元“{}”?"),
    "side": (
        "Is the action unit {} located on the left or right face?",
        "动作单元“{}”位于左侧面部还是右侧面部?",
    ),
    "combined_one": (
        "What is the action unit present, and based on it, what is the fine-grained expression and the coarse "
        "expression class?",
        "出现的动作单元是什么? 据此, 表情的细分类和粗分类是什么?",
    ),
    "combined_many": (
        "What are the action units present, and based on them, what is the fine-grained expression and the coarse "
        "expression class?",
        "出现的动作单元有哪些? 据此, 表情的细分类和粗分类是什么?",
    ),
    "describe": (
        "Please analyse the micro-expression shown in this motion map in detail. Brightness is the size of the motion, "
        "hue its direction as on the wheel in the corner. The table gives the mean and largest motion of each region "
        "in pixels and its direction, counter-clockwise from the picture's right. Left and right in your answer are "
        "the subject's own.\n{}",
        "请详细分析这张运动图中的微表情。亮度表示运动幅度, 色相表示方向(见角落的色轮)。"
        "下表给出每个区域的平均和最大运动(像素)以及方向(从图片右方起逆时针)。回答中的左右均指被摄者自己的左右。\n{}",
    ),
    "describe_v1": (
        "This picture is the motion-enhanced map of a micro-expression from onset to apex: colours of the optical flow "
        "on the grey face. Colour is direction in the picture: up purple, upper right magenta, right red, lower right "
        "orange, down yellow-green, lower left green, left cyan, upper left blue; brightness is magnitude. Answer in "
        "three steps: inspect the colours region by region, leaving out the motion of the whole head and very dark "
        "areas, and infer action units; reason from the units and their combination; conclude with the list of action "
        "units and the class of the micro-expression.",
        "",
    ),
    "describe_v3": (
        "",
        "下表列出微表情从起始帧到顶点帧各面部区域的运动, 已去除头部运动。幅度以像素为单位, "
        "方向为从图片右方起逆时针的角度, 向上为90°。\n{}\n请先找出明显运动的区域并推断动作单元, 再逐步推理表情类别, "
        "最后用一行列出动作单元, 再用一行给出微表情类别: 消极、积极或惊讶。",
    ),
}


def _ask(which: str, language: Language, *told: str) -> str:
    words = _QUESTIONS[which][language == "zh"]
    return (phrases.wide(words) if language == "zh" else words).format(*told)


def describe_question(evidence: Evidence, duration_ms: float, language: Language) -> tuple[str, bool]:
    """How a description is asked for, and whether the picture goes with it.

    The published models are asked in the words of their own profile, where it has that language.
    """
    own = {"mellm-v1": "zh", "mellm-v3": "en"}
    table = profiles.region_table(evidence)
    if own.get(evidence.recipe) == language:
        context = DescribeContext(duration_ms=duration_ms)
        content = profiles.get(evidence.recipe).messages(evidence, context)[-1]["content"]
        text = (
            content if isinstance(content, str) else next(p["text"] for p in content if p["type"] == "text")
        )
        return str(text), not isinstance(content, str)
    if evidence.recipe == "mellm-v1":
        return _ask("describe_v1", language), True
    if evidence.recipe == "mellm-v3":
        return _ask("describe_v3", language, table), False
    return _ask("describe", language, table), True


def _json(asked: _Asked) -> Iterator[Turn]:
    if any(au in facs.UNITS for au, _ in asked.units):
        answer = answers.json_answer(asked.pair, asked.rng, asked.language)
        yield Turn("json", asked.language, answers.QUESTION[asked.language], answer, False)


def _describe(asked: _Asked) -> Iterator[Turn]:
    question, picture = describe_question(asked.evidence, asked.pair.duration_ms, asked.language)
    answer = describing.describe(
        asked.reading,
        asked.pair.emotion,
        asked.pair.coarse,
        asked.recipe,
        asked.language,
        talks=asked.pair.talks and moves(asked.reading, "speech"),
    )
    if answer is not None:
        yield Turn("describe", asked.language, question, answer, False, picture)


def _units(asked: _Asked) -> Iterator[Turn]:
    if asked.units:
        question = _ask("units_one" if asked.one else "units_many", asked.language)
        yield Turn("units", asked.language, question, _list(asked), False)


def _list(asked: _Asked) -> str:
    return (", " if asked.language == "en" else "、").join(
        names.unit(au, asked.language) for au, _ in asked.units
    )


def _coarse(asked: _Asked) -> Iterator[Turn]:
    if asked.pair.coarse is not None:
        answer = names.coarse(asked.pair.coarse, asked.language)
        yield Turn("coarse", asked.language, _ask("coarse", asked.language), answer, False)


def _fine(asked: _Asked) -> Iterator[Turn]:
    if asked.pair.emotion is not None:
        answer = names.emotion(asked.pair.emotion, asked.language)
        yield Turn("fine", asked.language, _ask("fine", asked.language), answer, False)


def _combined(asked: _Asked) -> Iterator[Turn]:
    if not asked.units or asked.pair.emotion is None or asked.pair.coarse is None:
        return
    fine, coarse = (
        names.emotion(asked.pair.emotion, asked.language),
        names.coarse(asked.pair.coarse, asked.language),
    )
    if asked.language == "zh":
        answer = phrases.wide(
            f"出现的动作单元: {_list(asked)}。因此, 表情的细分类是{fine}, 粗分类是{coarse}。"
        )
    else:
        start = "The action unit present is" if asked.one else "The action units present are"
        answer = (
            f"{start}: {_list(asked)}. Therefore, the fine-grained expression class is {fine}, and the coarse "
            f"expression class is {coarse}."
        )
    question = _ask(f"combined_{'one' if asked.one else 'many'}", asked.language)
    yield Turn("combined", asked.language, question, answer, False)


def _shown(asked: _Asked) -> Iterator[Turn]:
    """Yes only for units that the motion shows; no for units that are easily taken for them."""
    there = {au for au, _ in asked.units}
    seen = [u.au for u in asked.reading.units if u.state == "seen"]
    yes = sorted(int(au) for au in asked.rng.permutation(seen)[:SHOWN])
    near = dict.fromkeys(other for au in yes for other in names.CONFUSED[au] if other not in there)
    no = sorted(int(au) for au in asked.rng.permutation(list(near))[: len(yes)])
    for au in sorted([*yes, *no]):
        word = {"en": ("no", "yes"), "zh": ("否", "是")}[asked.language][au in there]
        question = _ask("shown", asked.language, names.unit(au, asked.language))
        yield Turn("shown", asked.language, question, word, False)


def _side(asked: _Asked) -> Iterator[Turn]:
    for au, side in asked.units:
        if side != "both":
            word = side if asked.language == "en" else {"left": "左侧", "right": "右侧"}[side]
            question = _ask("side", asked.language, names.unit(au, asked.language))
            yield Turn("side", asked.language, question, word, False)


_MAKERS: Final[dict[Task, Callable[[_Asked], Iterator[Turn]]]] = {
    "json": _json,
    "describe": _describe,
    "units": _units,
    "coarse": _coarse,
    "fine": _fine,
    "shown": _shown,
    "side": _side,
    "combined": _combined,
}


def table_numbers(text: str) -> set[str]:
    """Numbers of a question's region table, as descriptions quote them: the linter holds answers against these."""
    start, end = text.find("["), text.rfind("]")
    if start < 0 or end < start:
        return set()
    try:
        rows = json.loads(text[start : end + 1])
    except ValueError:
        return set()
    return {
        f"{row['mean_magnitude']:.2f}" for row in rows if isinstance(row, dict) and "mean_magnitude" in row
    }
