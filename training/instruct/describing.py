"""Descriptions with their reasoning: inspection of the motion → action units → emotion."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from mellm.engine.describe.base import Recipe
from mellm.engine.types import Coarse, Side
from mellm.training.instruct import answers, names, phrases
from mellm.training.instruct.phrases import Language
from mellm.training.instruct.reading import Moved, Reading, UnitReading

INSPECTED = 6
"""At most so many regions are named."""

UNEXPLAINED = 3
"""At most so many regions are named that no unit explains."""

BRIGHT, DIM = 0.6, 0.3
"""Shares of the picture's largest motion from which a region is called bright, and under which it is called dim."""

_WORDS: Final[dict[str, tuple[str, str]]] = {
    "inspection": ("Inspection: {found}.", "观察: {found}。"),
    "live": ("{region} {way} by {size} px", "{region}{way}{size}像素"),
    "mellm-v3": ("{region} {way} by {size} px", "{region} {way}{size}像素"),
    "mellm-v1": ("{region} {shade}{colour} ({way})", "{region}呈{shade}{colour}({way})"),
    "rest": ("No other region moves more than {size} px.", "其他区域的运动不超过{size}像素。"),
    "dark": ("The rest of the face is dark.", "面部其余部分很暗。"),
    "units": ("Action units: {found}.", "动作单元: {found}。"),
    "seen": ("{unit}: {action}, seen at the {region}", "{unit}: {action}, 见于{region}"),
    "unmoved": (
        "{unit}, with little certainty: the {region} hardly moves",
        "{unit}, 把握很小: {region}几乎没有运动",
    ),
    "contrary": (
        "{unit}, with little certainty: the {region} moves {way}, which this unit alone does not do",
        "{unit}, 把握很小: {region}{way}运动, 与该单元单独出现时不符",
    ),
    "untold": ("{unit}", "{unit}"),
    "unexplained": ("These units do not explain the motion of {found}.", "这些单元不能解释{found}的运动。"),
    "talks": ("The mouth also moves as in speech.", "嘴部同时像说话一样在动。"),
    "emotion": (
        "Emotion: the units suggest {name} (probability {p}).",
        "情绪: 这些单元提示{name}(概率{p})。",
    ),
    "open": (
        "Emotion: the units leave it open; {name} is likeliest (probability {p}).",
        "情绪: 仅凭这些单元难以确定, {name}的可能性最大(概率{p})。",
    ),
    "fine": ("Fine class: {fine}.", "细分类: {fine}。"),
    "against": (
        "Fine class: {fine}, which the units alone do not suggest.",
        "细分类: {fine}, 而仅凭这些单元看不出来。",
    ),
    "end": ("Action units: {units}. Micro-expression: {name}.", "动作单元: {units}。微表情: {name}。"),
}

_SHADES: Final[dict[Language, tuple[str, str, str]]] = {
    "en": ("bright ", "", "faint "),
    "zh": ("明亮的", "", "暗淡的"),
}


def _say(which: str, language: Language, **told: str) -> str:
    words = _WORDS[which][language == "zh"]
    return (phrases.wide(words) if language == "zh" else words).format(**told)


def _and(found: Iterable[str], language: Language) -> str:
    *others, last = found
    if not others:
        return last
    return f"{'、'.join(others)}和{last}" if language == "zh" else f"{', '.join(others)} and {last}"


def _join(found: Sequence[str], language: Language) -> str:
    return ("；" if language == "zh" else "; ").join(found)


def describe(
    reading: Reading, emotion: str | None, coarse: Coarse | None, recipe: Recipe, language: Language,
    *, talks: bool = False,
) -> str | None:  # fmt: skip
    """The description of an expression that can be seen; ``None`` without units or without any class.

    :param emotion: fine label
    :param coarse: its class; either may be missing
    :param talks: whether the mouth speaks and is seen to move
    """
    units = [(u.au, u.side) for u in reading.units]
    shares = answers.emotion(units)
    likeliest = max(shares.items(), key=lambda share: share[1])[0] if shares else None
    told = coarse or likeliest
    if not units or told is None:
        return None
    lines = [
        " ".join(_inspection(reading, recipe, language)),
        " ".join([*_units(reading, recipe, language), *([_say("talks", language)] if talks else [])]),
        " ".join(_emotion(shares, likeliest, emotion, coarse, language)),
        _say(
            "end",
            language,
            units=(", " if language == "en" else "、").join(
                _number(au, side, language) for au, side in units
            ),
            name=names.coarse(told, language),
        ),
    ]
    if language == "zh":
        lines = [line.replace("。 ", "。") for line in lines]
    return "\n".join(line for line in lines if line)


def nothing(reading: Reading, why: phrases.Quiet, said: str, recipe: Recipe, language: Language) -> str:
    """The description of a pair without an expression: what moves, if anything does, and that it is none."""
    shown = [] if why in ("still", "faint") else _inspection(reading, recipe, language)
    joined = ("" if language == "zh" else " ").join(shown)
    return f"{joined}\n{said}" if joined else said


def _inspection(reading: Reading, recipe: Recipe, language: Language) -> list[str]:
    shown = sorted(reading.moved[:INSPECTED], key=lambda m: -m.size)
    if not shown:
        return []
    top = max(m.length for m in shown)
    said = [_regions(group, top, recipe, language) for group in _sides_together(shown)]
    out = [_say("inspection", language, found=_join(said, language))]
    if recipe == "mellm-v1":
        return [*out, _say("dark", language)] if len(reading.moved) <= INSPECTED else out
    rest = [*reading.moved[INSPECTED:], *([reading.largest_rest] if reading.largest_rest else [])]
    most = max((m.size for m in rest), default=0.0)
    if rest and most <= shown[-1].size:
        out.append(_say("rest", language, size=f"{most:.2f}"))
    return out


def _sides_together(shown: Sequence[Moved]) -> list[list[Moved]]:
    """Regions one by one, but those that move alike on both sides, or mirrored, as one; left first."""
    groups: list[list[Moved]] = []
    for m in shown:
        word, side = names.parts(m.name)
        for group in groups:
            other, other_side = names.parts(group[0].name)
            like = m.octant in (group[0].octant, (4 - group[0].octant) % 8)
            if side and other_side and word == other and side != other_side and like:
                group.append(m)
                group.sort(key=lambda one: one.name)
                break
        else:
            groups.append([m])
    return groups


def _regions(group: Sequence[Moved], top: float, recipe: Recipe, language: Language) -> str:
    m = group[0]
    name = names.region(m.name, language)
    if len(group) > 1:
        word = names.REGIONS[names.parts(m.name)[0]]
        name = f"左右两侧{word[1]}" if language == "zh" else f"left and right {word[0]}"
    mirrored = group[-1].octant != m.octant
    strong = max(m.length for m in group) / top
    colours = dict.fromkeys(names.colour(m.octant, language) for m in group)
    return _say(
        recipe,
        language,
        region=name,
        way=names.outwards(m.octant, language) if mirrored else _way(m, recipe, language),
        size=_and((f"{m.size:.2f}" for m in group), language),
        shade=_SHADES[language][0 if strong >= BRIGHT else 2 if strong < DIM else 1],
        colour=_and(colours, language),
    )


def _way(m: Moved, recipe: Recipe, language: Language) -> str:
    """Where to: by the subject's sides, or by the picture's, which the published table uses."""
    octant = (4 - m.octant) % 8 if recipe == "mellm-v3" else m.octant
    return names.direction(octant, language)


def _units(reading: Reading, recipe: Recipe, language: Language) -> list[str]:
    said = [_unit(u, recipe, language) for u in reading.units]
    out = [_say("units", language, found=_join(said, language))]
    if reading.unexplained:
        extra = [_place(m, recipe, language) for m in reading.unexplained[:UNEXPLAINED]]
        if language == "en":
            extra = [f"the {place}" for place in extra]
        out.append(_say("unexplained", language, found=_and(extra, language)))
    return out


def _unit(u: UnitReading, recipe: Recipe, language: Language) -> str:
    name = names.unit(u.au, language)
    number = _number(u.au, u.side, language)
    unit = f"{number}（{name}）" if language == "zh" else f"{number} ({name})"
    if u.region is None:
        return _say("untold", language, unit=unit)
    return _say(
        u.state,
        language,
        unit=unit,
        region=_place(u.region, recipe, language),
        way=_way(u.region, recipe, language),
        action=phrases.CLAUSES[language][u.au][0],
    )


def _place(m: Moved, recipe: Recipe, language: Language) -> str:
    return m.name if recipe == "mellm-v3" else names.region(m.name, language)


def _number(au: int, side: Side, language: Language) -> str:
    """``left AU12``: the side stands before the number, where readers of prose look for it."""
    if side == "both":
        return f"AU{au}"
    return f"{phrases.SIDE_BEFORE[side]}AU{au}" if language == "zh" else f"{side} AU{au}"


def _emotion(
    shares: dict[Coarse, int] | None,
    likeliest: Coarse | None,
    emotion: str | None,
    coarse: Coarse | None,
    language: Language,
) -> list[str]:
    out = []
    if shares is not None and likeliest is not None:
        p = shares[likeliest] / 100
        which = "emotion" if p >= phrases.LEANING else "open"
        out.append(_say(which, language, name=phrases.CLASSES[language][likeliest], p=f"{p:.2f}"))
    if emotion is not None:
        against = coarse is not None and likeliest is not None and coarse != likeliest
        out.append(_say("against" if against else "fine", language, fine=names.emotion(emotion, language)))
    return out
