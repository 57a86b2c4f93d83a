"""Conversations as tensors; only what the assistant says is learnt.

A conversation is cut where its chat template lets the assistant begin and end, and every piece is turned into tokens by
itself. So the prompt has the very tokens it has when the model is asked, and the mask cannot be off by a merge across
the border.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from mellm.stream.errors import ModelCorrupt, SourceCorrupt, UsageError
from mellm.training.mellm.finetune.data import Record

if TYPE_CHECKING:
    from pathlib import Path

    from PIL.Image import Image
    from transformers import ProcessorMixin

IGNORE = -100
"""Label of a token that is not learnt."""

PER_TOKEN = ("input_ids", "attention_mask", "mm_token_type_ids")
"""What a processor gives for each token; everything else belongs to pictures."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of a rendered conversation. ``learnt``: said by the assistant, end token included."""

    text: str
    learnt: bool


def pieces(record: Record, processor: ProcessorMixin) -> list[Piece]:
    """The rendered conversation, cut at the borders of what the assistant says.

    :raises ModelCorrupt: the chat template renders the start of a conversation differently once it goes on
    """
    found: list[Piece] = []
    done = ""
    for i, message in enumerate(record.messages):
        if message["role"] != "assistant":
            continue
        before = _render(processor, record.messages[:i], ask=True)
        after = _render(processor, record.messages[: i + 1], ask=False)
        if not (before.startswith(done) and after.startswith(before)):
            raise ModelCorrupt(
                "the chat template renders a conversation's start differently once it goes on",
                remedy="split conversations into one question and answer each",
            )
        answer = after[len(before) :]
        # what stands after the end token (a line break, say) is the template's, not the assistant's
        kept = answer.rstrip()
        found += [Piece(before[len(done) :], False), Piece(kept, True)]
        if len(kept) < len(answer):
            found.append(Piece(answer[len(kept) :], False))
        done = after
    return found


def _render(processor: ProcessorMixin, messages: Sequence[Mapping[str, Any]], *, ask: bool) -> str:
    said: Any = list(messages)  # contents may be lists too, which the library's types leave out
    text = processor.apply_chat_template(said, add_generation_prompt=ask, tokenize=False)
    return str(text)


def open_picture(path: Path, where: str) -> Image:
    """A picture as RGB.

    :raises SourceCorrupt: it cannot be read
    """
    from PIL import Image

    try:
        with Image.open(path) as picture:
            return picture.convert("RGB")
    except Exception as error:  # Pillow raises many kinds; the file may also have gone since it was checked
        raise SourceCorrupt(f"{where}: its image {path} cannot be read ({error})") from error


class Encoder:
    """Records → tensors.

    :param end_tokens: one of them must close what the assistant says
    :param rows: of the model's embedding
    """

    def __init__(
        self, processor: ProcessorMixin, end_tokens: frozenset[int], max_length: int, rows: int
    ) -> None:
        self.processor = processor
        self.end_tokens = end_tokens
        self.max_length = max_length
        self.rows = rows
        self.image_token = str(getattr(processor, "image_token", "<image>"))
        # the Qwen families tell the model which tokens are of pictures
        self.types_tokens = "mm_token_type_ids" in getattr(processor, "model_input_names", ())
        self._expanded: dict[tuple[int, int], int] = {}

    def __call__(self, record: Record) -> dict[str, torch.Tensor]:
        """Tensors of one record, among them ``labels`` (1×T).

        :raises SourceCorrupt: a picture cannot be read
        :raises ModelCorrupt: see :func:`pieces`
        """
        return self._join(pieces(record, self.processor), record)

    def prompt(self, record: Record) -> dict[str, torch.Tensor]:
        """Tensors of the question, up to where the assistant begins."""
        text = _render(self.processor, record.question, ask=True)
        out = self._join([Piece(text, False)], record)
        del out["labels"]
        return out

    def length(self, record: Record) -> int:
        """Tokens of a record without preparing its pictures: those of a picture depend on its size alone."""
        ids = self._tokens("".join(p.text for p in pieces(record, self.processor)))
        if max(ids) >= self.rows:
            told = self.processor.tokenizer.decode([max(ids)])
            raise SourceCorrupt(
                f"{record.where}: the model has no embedding for {told!r}", remedy="leave it out of the text"
            )
        return len(ids) + sum(self.picture_tokens(path, record.where) for path in record.images)

    def picture_tokens(self, path: Path, where: str) -> int:
        """How many tokens a picture adds to the one that stands for it in the text."""
        picture = open_picture(path, where)
        if picture.size not in self._expanded:
            one = self.processor(
                text=self.image_token, images=[picture], return_tensors="pt", add_special_tokens=False
            )
            self._expanded[picture.size] = one["input_ids"].shape[1] - 1
        return self._expanded[picture.size]

    def _tokens(self, text: str) -> list[int]:
        return list(self.processor.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _join(self, cut: Sequence[Piece], record: Record) -> dict[str, torch.Tensor]:
        pictures = [open_picture(path, record.where) for path in record.images]
        columns: dict[str, list[torch.Tensor]] = {}
        of_pictures: dict[str, list[torch.Tensor]] = {}
        labels: list[torch.Tensor] = []
        for piece in cut:
            shown = piece.text.count(self.image_token)
            if shown:
                if shown > len(pictures) or piece.learnt:
                    raise SourceCorrupt(f"{record.where}: its text holds {self.image_token}")
                now, pictures = pictures[:shown], pictures[shown:]
                got = self.processor(
                    text=piece.text, images=now, return_tensors="pt", add_special_tokens=False
                )
            else:
                ids = torch.tensor([self._tokens(piece.text)], dtype=torch.long)
                got = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
            ids = got["input_ids"]
            if piece.learnt and int(ids[0, -1]) not in self.end_tokens:
                raise ModelCorrupt(
                    "the chat template does not close an answer with a token that ends generation",
                    remedy="let it write the tokenizer's eos_token after what the assistant says",
                )
            labels.append(ids if piece.learnt else torch.full_like(ids, IGNORE))
            for name in PER_TOKEN:
                default = torch.zeros_like(ids)
                columns.setdefault(name, []).append(torch.as_tensor(got.get(name, default)))
            for name in got:
                if name not in PER_TOKEN:
                    of_pictures.setdefault(name, []).append(got[name])
        if pictures:
            raise ModelCorrupt(
                "the chat template leaves out pictures", remedy="use the template of the base model"
            )
        out = {name: torch.cat(parts, 1) for name, parts in columns.items()}
        out |= {name: _pictures(parts) for name, parts in of_pictures.items()}
        if not self.types_tokens:
            del out["mm_token_type_ids"]
        return out | {"labels": torch.cat(labels, 1)}

    def fitting(self, records: Sequence[Record], too_long: str) -> tuple[list[Record], int]:
        """Records of at most ``max_length`` tokens, and how many tokens they have together.

        :param too_long: ``leave-out`` or ``refuse``
        :raises UsageError: a longer one is there and is not to be left out, or none fits
        """
        kept, total = [], 0
        for record in records:
            tokens = self.length(record)
            if tokens <= self.max_length:
                kept.append(record)
                total += tokens
            elif too_long == "refuse":
                raise UsageError(
                    f"{record.where} has {tokens} tokens, more than data.max_length = {self.max_length}",
                    remedy='raise it, or set data.too_long = "leave-out"',
                )
        if not kept:
            raise UsageError(f"no record has at most data.max_length = {self.max_length} tokens")
        return kept, total


def _pictures(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    """Pictures of one conversation together. Idefics3 gives 1×N×…, Qwen one row for each patch or picture."""
    return torch.cat(list(parts), 1 if parts[0].ndim >= 4 and parts[0].shape[0] == 1 else 0)


def collate(
    samples: Sequence[Mapping[str, torch.Tensor]], pad: int, *, left: bool = False
) -> dict[str, torch.Tensor]:
    """One batch. Tokens are padded at the right for learning, at the left for answering."""
    longest = max(s["input_ids"].shape[1] for s in samples)
    fill = {"input_ids": pad, "labels": IGNORE}
    out: dict[str, torch.Tensor] = {}
    for name in sorted({name for s in samples for name in s}):
        if name in (*PER_TOKEN, "labels"):
            rows = []
            for s in samples:
                gap = longest - s[name].shape[1]
                rows.append(
                    torch.nn.functional.pad(s[name], (gap, 0) if left else (0, gap), value=fill.get(name, 0))
                )
            out[name] = torch.cat(rows)
        else:
            have = [s[name] for s in samples if name in s]
            if name in ("pixel_values", "pixel_attention_mask") and have[0].ndim >= 4:
                have = _same_count(have, samples, name)
            out[name] = torch.cat(have)
    return out


def _same_count(
    have: Sequence[torch.Tensor], samples: Sequence[Mapping[str, torch.Tensor]], name: str
) -> list[torch.Tensor]:
    """Rows with as many pictures each: empty ones are appended, which Idefics3 leaves out again."""
    most = max(t.shape[1] for t in have)
    height, width = max(t.shape[-2] for t in have), max(t.shape[-1] for t in have)
    rows = []
    for s in samples:
        t = s.get(name, have[0].new_zeros((1, 0, *have[0].shape[2:])))
        shape = (1, most, *t.shape[2:-2], height, width)
        row = t.new_zeros(shape)
        row[:, : t.shape[1], ..., : t.shape[-2], : t.shape[-1]] = t
        rows.append(row)
    return rows
