"""Constrained decoding: only tokens that keep the answer canonical may be written.

The canonical answer (profile ``nano``) is a short fixed frame with few choices, so a small automaton over bytes does,
without a grammar library. It allows: ascending units of :data:`mellm.engine.facs.action_units.UNITS`, each once,
with a side that unit can have; three probabilities that sum to 1; a text of printable characters that names no unit
but those listed. It knows how many bytes are needed to finish, so an answer always ends within its budget of tokens.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mellm.engine.facs import action_units as facs

Phase: TypeAlias = Literal["begin", "unit", "side", "next", "negative", "positive", "surprise", "text", "end"]

Needs: TypeAlias = NDArray[np.int32]

MAX_UNITS: Final = 8
NEVER: Final = 1 << 20
"""Bytes that are needed after a token that is not allowed."""
REMEMBERED: Final = 4096
"""States whose tokens are kept, 4 bytes a token: 16 MiB with 1024 tokens."""

NUMBERS: Final = tuple(facs.UNITS)
_TEXT: Final = ',"text":"'
_SHARES: Final = [f"{percent / 100:.2f}".encode() for percent in range(100)]
_EMOTION: Final = '}],"emotion":{"negative":'


_HERE: Final = -1
"""Under this key a node of the tree of tokens has those that end there; the other keys are bytes."""
_NAMED: Final = re.compile(rb"AU\d")


@dataclass(frozen=True, slots=True)
class State:
    """Where in an answer a writer is.

    :param said: what of the phase's literal is already written; in ``text``, of an unfinished character as many bytes
        (which character is all the same)
    :param units: units listed so far
    :param left: percent not yet given to a class
    :param number: in ``text``, what is written of ``AU12``
    :param began: the text has its first character
    """

    phase: Phase = "begin"
    said: bytes = b""
    units: tuple[int, ...] = ()
    left: int = 100
    number: str = ""
    began: bool = False


def literals(state: State) -> Iterator[tuple[bytes, State]]:
    """What may be written as a whole in a phase, and where it leads. No literal begins with another."""
    empty = State(units=state.units, left=state.left)
    match state.phase:
        case "begin":
            yield (
                b'{"abstain":true,"action_units":[],"emotion":null' + _TEXT.encode(),
                replace(empty, phase="text"),
            )
            yield b'{"abstain":false,"action_units":[{"au":', replace(empty, phase="unit")
        case "unit":
            for au in NUMBERS:
                if not state.units or au > state.units[-1]:
                    yield f'{au},"side":"'.encode(), replace(empty, phase="side", units=(*state.units, au))
        case "side":
            for side in ("both", "left", "right") if facs.UNITS[state.units[-1]].sided else ("both",):
                yield f'{side}"'.encode(), replace(empty, phase="next")
        case "next":
            if state.units[-1] != NUMBERS[-1] and len(state.units) < MAX_UNITS:
                yield b'},{"au":', replace(empty, phase="unit")
            yield _EMOTION.encode(), replace(empty, phase="negative")
        case "negative":
            for percent in range(min(state.left, 99) + 1):
                after = replace(empty, phase="positive", left=state.left - percent)
                yield _SHARES[percent] + b',"positive":', after
        case "positive":
            for percent in range(max(0, state.left - 99), min(state.left, 99) + 1):
                after = replace(empty, phase="surprise", left=state.left - percent)
                yield _SHARES[percent] + b',"surprise":', after
        case "surprise":
            yield _SHARES[state.left] + b"}" + _TEXT.encode(), replace(empty, phase="text", left=0)


def step(state: State, byte: int) -> State | None:
    """The state after one more byte, or ``None`` where it is not allowed."""
    if state.phase == "text":
        return _step_text(state, byte)
    if state.phase == "end":
        return replace(state, said=b"") if state.said and byte == ord("}") else None
    said = state.said + bytes((byte,))
    for whole, after in literals(state):
        if whole.startswith(said):
            return after if whole == said else replace(state, said=said)
    return None


def _step_text(state: State, byte: int) -> State | None:
    if state.said:  # inside a character of several bytes
        if not 0x80 <= byte <= 0xBF:
            return None
        lead, have = state.said[0], len(state.said) + 1
        done = have == (2 if lead < 0xE0 else 3)
        return replace(state, said=b"" if done else state.said + b"\x80", began=True)
    number = state.number
    if number.startswith("AU") and chr(byte).isdecimal() and byte < 0x80:
        number += chr(byte)
        fits = any(f"AU{au}".startswith(number) for au in state.units)
        return replace(state, number=number) if fits else None
    if len(number) > 2 and int(number[2:]) not in state.units:
        return None  # AU1 where only 12 is listed
    if byte == ord('"'):
        return State("end", b'"', state.units) if state.began else None
    number = "A" if byte == ord("A") else "AU" if (number, byte) == ("A", ord("U")) else ""
    if 0xC2 <= byte <= 0xDF or (0xE1 <= byte <= 0xEF and byte != 0xED):
        # a first character that is sure to be seen: no mark, no invisible one
        if not state.began and not 0xE4 <= byte <= 0xE9:
            return None
        return replace(state, said=b"\xc2" if byte < 0xE0 else b"\xe1", number="")
    if 0x20 <= byte <= 0x7E and byte != ord("\\") and (state.began or byte != 0x20):
        return replace(state, number=number, began=True)
    return None


_REST: Final[Mapping[Phase, int]] = {
    "text": 4,
    "surprise": 4 + len("0.00}") + len(_TEXT),
    "positive": 4 + len("0.00}") + len(_TEXT) + len('0.00,"surprise":'),
    "negative": 4 + len("0.00}") + len(_TEXT) + len('0.00,"surprise":0.00,"positive":'),
}
"""Bytes from the beginning of a phase to the end of the shortest answer, and one token to stop."""
_NEXT: Final = _REST["negative"] + len(_EMOTION)
_ALL: Final[Mapping[Phase, int]] = {
    **_REST,
    "next": _NEXT,
    "side": _NEXT + 5,
    "unit": _NEXT + 5 + len('26,"side":"'),
}


def need(state: State) -> int:
    """How many tokens are enough to finish: one for each byte of the shortest way, and one to stop."""
    if state.phase == "end":
        return len(state.said) + 1
    if state.phase != "text":
        return min(
            len(whole) - len(state.said) + _ALL[after.phase]
            for whole, after in literals(state)
            if whole.startswith(state.said)
        )
    number = state.number[2:] if state.number.startswith("AU") else ""
    rest = 0
    if number and int(number) not in state.units:
        rest = min(len(str(au)) for au in state.units if str(au).startswith(number)) - len(number)
    character = (2 if state.said[0] < 0xE0 else 3) - len(state.said) if state.said else 0
    first = 0 if state.began or state.said else 1
    return rest + character + first + 3


BUDGET: Final = _ALL["unit"] + len('{"abstain":false,"action_units":[{"au":')
"""Tokens that are enough for some answer whatever the first choice."""


@dataclass(slots=True)
class Grammar:
    """The automaton over the tokens of one vocabulary. Thread-safe: its memory only ever gains equal entries.

    :param tokens: id → bytes; those without bytes are never allowed, but for ``ends``
    """

    tokens: Sequence[bytes]
    ends: frozenset[int]
    _trie: dict[int, Any] = field(init=False, repr=False)
    _needs: dict[Hashable, Needs] = field(init=False, repr=False)
    _texts: dict[State, tuple[Needs, list[int]]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._trie, self._needs, self._texts = {}, {}, {}
        for i, token in enumerate(self.tokens):
            node = self._trie
            for byte in token:
                node = node.setdefault(byte, {})
            if token:
                node.setdefault(_HERE, []).append(i)

    def allowed(self, state: State, budget: int) -> NDArray[np.bool_]:
        """Which tokens may come next, so that the answer can end within ``budget`` tokens."""
        return self._after(state) < budget

    def advance(self, state: State, token: int) -> State:
        """The state after an allowed token; an end leaves it where it is.

        :raises ValueError: that token is not allowed
        """
        after = _over(state, self.tokens[token])
        if after is None:
            raise ValueError(f"token {token} is not allowed in {state}")
        return after

    def _after(self, state: State) -> Needs:
        """Token → what is needed after it."""
        key = _key(state)
        known = self._needs.get(key)
        if known is None:
            if state.phase == "text":
                known = self._in_text(state)
            else:
                known = np.full(len(self.tokens), NEVER, np.int32)
                if state.phase == "end" and not state.said:
                    known[list(self.ends)] = 0
                else:
                    self._walk(self._trie, state, known)
            if len(self._needs) >= REMEMBERED:
                self._needs.clear()
            self._needs[key] = known
        return known

    def _walk(self, node: dict[int, Any], state: State, found: Needs) -> None:
        """Every token below ``node``. In the frame it is the few literals that lead, in the text the tokens."""
        if state.phase in ("text", "end"):
            for byte, child in node.items():
                if byte != _HERE and (after := step(state, byte)) is not None:
                    found[child.get(_HERE, [])] = need(after)
                    self._walk(child, after, found)
            return
        for whole, after in literals(state):
            if not whole.startswith(state.said):
                continue
            below: dict[int, Any] | None = node
            for at in range(len(state.said), len(whole)):
                below = below.get(whole[at]) if below is not None else None
                if below is None:
                    break
                for token in below.get(_HERE, ()):
                    found[token] = min(found[token], len(whole) - at - 1 + _ALL[after.phase])
            else:
                if below is not None:
                    self._walk(below, after, found)

    def _in_text(self, state: State) -> Needs:
        """What units are listed matters to few tokens of a text; all others are looked at once for all texts."""
        digits = state.number[2:]
        plain = replace(state, units=(), left=0, number="" if digits else state.number)
        if plain not in self._texts:
            found = np.full(len(self.tokens), NEVER, np.int32)
            self._walk(self._trie, plain, found)
            written = plain.number.encode()
            self._texts[plain] = found, [i for i, t in enumerate(self.tokens) if _NAMED.search(written + t)]
        found, naming = self._texts[plain]
        found = found.copy()
        if digits:
            naming = [*naming, *(i for i, t in enumerate(self.tokens) if t[:1].isdigit())]
            if int(digits) not in state.units:
                found[:] = NEVER
        for i in naming:
            after = _over(state, self.tokens[i])
            found[i] = NEVER if after is None else need(after)
        return found


def _over(state: State | None, token: bytes) -> State | None:
    for byte in token:
        state = step(state, byte) if state is not None else None
    return state


def _key(state: State) -> Hashable:
    """States that are alike for the next token."""
    if state.phase == "text":
        return replace(state, left=0)
    last = state.units[-1:] if state.phase in ("unit", "side", "next") else ()
    return state.phase, state.said, last, len(state.units) < MAX_UNITS, state.left
