"""The three graphs of the small model under ONNX Runtime: a picture in, tokens out, keys and values cached.

Greedy decoding, one thread. Pictures of one call are decoded together: they share the prompt, so nothing needs padding,
and a row whose answer has ended leaves the batch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Final, cast

import numpy as np
from numpy.typing import NDArray

from mellm.detectors.onnx import Session, session
from mellm.detectors.types import F32, U8
from mellm.engine.describe import nano_folder
from mellm.engine.describe.grammar import Grammar, State
from mellm.engine.describe.nano_folder import GRAPHS, REMEDY, Language, NanoFolder
from mellm.stream.errors import DescriberTimeout, ModelCorrupt

HIDDEN: Final = np.float32(-1e30)
"""Added to the score of a token that comes later."""

ABSTAINS, SPEAKS = b'{"abstain":true', b'{"abstain":false'
COMMON: Final = len(SPEAKS) - len(b"false")


@dataclass(slots=True)
class Written:
    """What was written for one picture.

    :param ids: without the end token
    :param shares: the model's own probability of each, before any constraint
    :param whole: it ended by itself, not at the limit
    :param abstains: probability of ``true`` against ``false`` where the model chose; ``None`` where it wrote
        something else
    """

    ids: list[int] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)
    whole: bool = False
    abstains: float | None = None


class NanoGraph:
    """A loaded model. Thread-safe; holds nothing of a call."""

    def __init__(self, folder: NanoFolder, vision: Session, embed: Session, decoder: Session) -> None:
        self.folder = folder
        self.grammar = Grammar(folder.tokens, folder.ends)
        self._vision, self._embed, self._decoder = vision, embed, decoder
        past = decoder.shapes()["past_k"]
        self._layers, self._groups, self._each = int(past[0]), int(past[2]), int(past[4])
        self._decisions: dict[bytes, tuple[NDArray[np.intp], NDArray[np.intp]]] = {}

    def pixels(self, pictures: Sequence[U8]) -> F32:
        """side×side×3 uint8 BGR each → B×3×side×side, RGB in −1…1."""
        rgb = np.stack(pictures)[..., ::-1].transpose(0, 3, 1, 2)
        return np.ascontiguousarray(rgb, np.float32) / np.float32(127.5) - np.float32(1)

    def write(
        self,
        pictures: Sequence[U8],
        *,
        language: Language = "en",
        limit: int,
        constrained: bool = True,
        abstain_at: float | None = None,
        deadline: float = float("inf"),
        clock: Callable[[], float] = time.monotonic,
    ) -> list[Written]:
        """Answers for pictures of one call, in their order.

        :param limit: most tokens of an answer, at least :data:`mellm.engine.describe.grammar.BUDGET` if constrained
        :param abstain_at: abstain from this probability on; ``None`` leaves it to the likelier token
        :param deadline: on ``clock``, looked at before every token
        :raises DescriberTimeout: the deadline passed
        :raises ModelOutputInvalid: the network answered with NaN or infinity
        """
        if not pictures:
            return []
        prompt = np.array(self.folder.prompts[language], np.int64)
        limit = min(limit, self.folder.context - len(prompt))
        written = [Written() for _ in pictures]
        rows = list(range(len(pictures)))
        states = [State() for _ in pictures]
        started = clock()
        _within(deadline, clock(), started)
        logits, k, v = self._prefill(pictures, prompt)
        for done in range(limit):
            shares = _softmax(logits)
            choice = logits
            if constrained:
                allowed = [self.grammar.allowed(states[row], limit - done) for row in rows]
                choice = np.where(np.stack(allowed), logits, -np.inf)
            chosen = choice.argmax(1)
            going = []
            for i, (row, token) in enumerate(zip(rows, chosen.tolist(), strict=True)):
                answer = written[row]
                if answer.abstains is None and (ways := self._ways(answer.ids, token)) is not None:
                    answer.abstains = _share(shares[i], *ways)
                    if abstain_at is not None:
                        way = ways[0] if answer.abstains >= abstain_at else ways[1]
                        chosen[i] = token = int(way[logits[i, way].argmax()])
                if token in self.folder.ends:
                    answer.whole = True
                    continue
                answer.ids.append(token)
                answer.shares.append(float(shares[i, token]))
                if constrained:
                    states[row] = self.grammar.advance(states[row], token)
                going.append(i)
            if not going or done + 1 == limit:
                break
            _within(deadline, clock(), started)
            if len(going) < len(rows):
                k, v, rows = k[:, going], v[:, going], [rows[i] for i in going]
            at = k.shape[3]
            logits, k, v = self._step(
                chosen[going, None], np.array([at], np.int64), np.zeros((1, at + 1), np.float32), k, v
            )
        return written

    def logits(self, pictures: Sequence[U8], ids: NDArray[np.int64]) -> F32:
        """What the model says at every position of a text that begins with a prompt, B×T×vocabulary."""
        return self._whole_pass(pictures, ids)[0]

    def _prefill(self, pictures: Sequence[U8], prompt: NDArray[np.int64]) -> tuple[F32, F32, F32]:
        logits, k, v = self._whole_pass(pictures, prompt)
        return logits[:, -1], k, v

    def _whole_pass(self, pictures: Sequence[U8], ids: NDArray[np.int64]) -> tuple[F32, F32, F32]:
        count, length = len(pictures), len(ids)
        (seen,) = self._vision.run({"pixels": self.pixels(pictures)})
        (embedded,) = self._embed.run({"ids": _whole(ids[None])})
        embedded = np.repeat(embedded, count, 0)
        embedded[:, ids == self.folder.image] = seen
        mask = np.triu(np.full((length, length), HIDDEN), 1)
        nothing = np.zeros((self._layers, count, self._groups, 0, self._each), np.float32)
        return self._decode(embedded, np.arange(length), mask, nothing, nothing)

    def _step(
        self, ids: NDArray[np.int64], positions: NDArray[np.int64], mask: F32, k: F32, v: F32
    ) -> tuple[F32, F32, F32]:
        (embedded,) = self._embed.run({"ids": _whole(ids)})
        logits, k, v = self._decode(embedded, positions, mask, k, v)
        return logits[:, -1], k, v

    def _decode(
        self, embedded: F32, positions: NDArray[np.int64], mask: F32, k: F32, v: F32
    ) -> tuple[F32, F32, F32]:
        """Logits B×T×vocabulary, and the longer cache."""
        logits, k, v = self._decoder.run(
            {"embedded": embedded, "positions": _whole(positions), "mask": mask, "past_k": k, "past_v": v}
        )
        return logits, k, v

    def _ways(self, ids: Sequence[int], token: int) -> tuple[NDArray[np.intp], NDArray[np.intp]] | None:
        """Tokens that abstain and tokens that speak, if ``token`` is one of them."""
        said = b"".join(self.folder.tokens[i] for i in ids)
        if len(said) > COMMON or not SPEAKS.startswith(said):
            return None
        if said not in self._decisions:
            self._decisions[said] = (self._leading(said, ABSTAINS), self._leading(said, SPEAKS))
        ways = self._decisions[said]
        return ways if token in ways[0] or token in ways[1] else None

    def _leading(self, said: bytes, way: bytes) -> NDArray[np.intp]:
        """Tokens that go on with ``said`` past the common beginning and in this way."""
        after = [said + token for token in self.folder.tokens]
        leads = [len(a) > COMMON and (way.startswith(a) or a.startswith(way)) for a in after]
        return np.flatnonzero(leads)


def _share(shares: F32, these: NDArray[np.intp], others: NDArray[np.intp]) -> float:
    part, rest = float(shares[these].sum()), float(shares[others].sum())
    return part / (part + rest) if part + rest > 0 else 0.5


def _within(deadline: float, now: float, started: float) -> None:
    if now >= deadline:
        raise DescriberTimeout(
            f"mellm-nano had not finished after {now - started:.1f} s",
            remedy="allow more time, or a faster machine",
        )


def _whole(ids: NDArray[np.int64]) -> F32:
    """Whole numbers as an input; the type of :meth:`Session.run` knows pictures only."""
    return cast(F32, ids)


def _softmax(logits: F32) -> F32:
    shares = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(shares / shares.sum(1, keepdims=True), np.float32)


def open_graph(path: Path) -> NanoGraph:
    """Load a model folder.

    :raises ModelMissing: as below
    :raises ModelCorrupt: see :func:`mellm.engine.describe.nano_folder.read`; also graphs that
        do not fit together
    :raises MissingExtra: ONNX Runtime is not installed
    """
    folder = nano_folder.read(path)
    vision, embed, decoder = (session(folder.path / name, "cpu") for name in GRAPHS)
    shapes = vision.shapes() | embed.shapes() | decoder.shapes()
    width, each = shapes.get("embedded", [0])[-1], shapes.get("past_k", [0])[-1]
    wanted: dict[str, list[object]] = {
        "pixels": ["B", 3, folder.side, folder.side],
        "image": ["B", folder.prompts["en"].count(folder.image), width],
        "embedded": ["B", "T", width],
        "logits": ["B", "T", len(folder.tokens)],
        "past_k": [*shapes.get("past_v", [])[:4], each],
    }
    for name, shape in wanted.items():
        if shapes.get(name) != shape:
            raise ModelCorrupt(
                f"the graphs in {path} do not fit together: {name} is {shapes.get(name)}, expected {shape}",
                remedy=REMEDY,
            )
    return NanoGraph(folder, vision, embed, decoder)


_lock = Lock()


@cache
def _opened(path: Path) -> NanoGraph:
    return open_graph(path)


def shared(path: Path) -> NanoGraph:
    """The graph of a folder, loaded and verified once per process.

    :raises ModelMissing: as :func:`open_graph`
    :raises ModelCorrupt: as :func:`open_graph`
    :raises MissingExtra: as :func:`open_graph`
    """
    with _lock:
        return _opened(path.resolve())
