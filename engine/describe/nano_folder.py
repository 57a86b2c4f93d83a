"""A model folder of the embedded describer: its manifest, its hashes and its tokens.

``nano.json`` names every file that is read at run time with its SHA-256, and holds the few prompts as token ids: the
questions never change, so nothing has to be tokenised here, and no tokenizer library is needed. To read an answer,
ids become bytes by the vocabulary in ``tokenizer.json``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, get_args

from mellm.detectors import recipe
from mellm.engine.map_recipe import of_live_map
from mellm.stream.errors import ModelCorrupt, ModelMissing

Language: TypeAlias = Literal["en", "zh"]
LANGUAGES: Final[tuple[Language, ...]] = get_args(Language)

MANIFEST = "nano.json"
GRAPHS = ("vision.onnx", "embed.onnx", "decoder.onnx")
RUNTIME = (*GRAPHS, "tokenizer.json")
"""What is read at run time, and hashed before."""

REMEDY = "install mellm-live again, or export the model again: python -m mellm.training.mellm.export_onnx"


@dataclass(frozen=True, slots=True)
class NanoFolder:
    """What a model folder says about itself.

    :param side: of the picture, pixels
    :param context: most tokens of prompt and answer together
    :param prompts: language → ids of the user's turn up to where the answer begins, picture tokens included
    :param image: the id that stands for one picture token
    :param ends: ids that end an answer
    :param tokens: id → bytes; special tokens are empty
    :param abstain_at: probability from which on it abstains, if that was tuned
    """

    path: Path
    version: str
    side: int
    context: int
    prompts: Mapping[str, tuple[int, ...]]
    image: int
    ends: frozenset[int]
    tokens: tuple[bytes, ...]
    abstain_at: float | None = None

    def text(self, ids: Sequence[int]) -> str:
        """Ids as text; bytes that are no UTF-8 become replacement characters."""
        return b"".join(self.tokens[i] for i in ids).decode("utf-8", "replace")


def read(path: Path) -> NanoFolder:
    """Read and verify a model folder.

    :raises ModelMismatch: it was trained on motion maps that are drawn in another way than this version does
    :raises ModelMissing: the folder or one of its files is not there
    :raises ModelCorrupt: a file has another hash than the manifest says, or cannot be read
    """
    facts = _json(path, MANIFEST)
    try:
        hashes = {name: str(facts["files"][name]) for name in RUNTIME}
        for name, wanted in hashes.items():
            _verify(path, name, wanted)
        tokens = _tokens(_json(path, "tokenizer.json"))
        folder = NanoFolder(
            path=path,
            version=str(facts["version"]),
            side=int(facts["picture"]),
            context=int(facts["context"]),
            prompts={language: tuple(map(int, facts["prompts"][language])) for language in LANGUAGES},
            image=int(facts["image_token"]),
            ends=frozenset(map(int, facts["end_tokens"])),
            tokens=tokens,
            abstain_at=None if facts.get("abstain_at") is None else float(facts["abstain_at"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelCorrupt(
            f"{MANIFEST} or tokenizer.json in {path} is incomplete ({error})", remedy=REMEDY
        ) from error
    ids = {folder.image, *folder.ends, *(i for prompt in folder.prompts.values() for i in prompt)}
    if not folder.ends or not all(0 <= i < len(tokens) for i in ids):
        raise ModelCorrupt(f"{MANIFEST} in {path} names tokens that tokenizer.json lacks", remedy=REMEDY)
    recipe.require(facts, of_live_map(), f"{MANIFEST} in {path}", "mellm train nano")
    return folder


def sha256(path: Path) -> str:
    """Of a file's bytes, hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _verify(folder: Path, name: str, wanted: str) -> None:
    try:
        found = sha256(folder / name)
    except FileNotFoundError as error:
        raise ModelMissing(f"{name} is missing in {folder}", remedy=REMEDY) from error
    except OSError as error:
        raise ModelCorrupt(f"{name} in {folder} cannot be read ({error.strerror})", remedy=REMEDY) from error
    if found != wanted:
        raise ModelCorrupt(
            f"{name} in {folder} is damaged or of another model: SHA-256 {found[:12]}…, {MANIFEST} says {wanted[:12]}…",
            remedy=REMEDY,
        )


def _json(folder: Path, name: str) -> dict[str, Any]:
    try:
        value = json.loads((folder / name).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ModelMissing(f"{name} is missing in {folder}", remedy=REMEDY) from error
    except (OSError, ValueError) as error:
        raise ModelCorrupt(f"{name} in {folder} cannot be read as JSON", remedy=REMEDY) from error
    if not isinstance(value, dict):
        raise ModelCorrupt(f"{name} in {folder} holds no JSON object", remedy=REMEDY)
    return value


def _tokens(tokenizer: Mapping[str, Any]) -> tuple[bytes, ...]:
    """The vocabulary of a byte-level BPE as bytes.

    :raises ValueError: it is no byte-level vocabulary without gaps
    """
    table = _bytes_of_letters()
    words = tokenizer["model"]["vocab"].items()
    found = {
        int(i): bytes(map(table.__getitem__, word)) for word, i in words if all(c in table for c in word)
    }
    added = {int(token["id"]): b"" for token in tokenizer["added_tokens"]}
    known = {**found, **added}
    if sorted(known) != list(range(len(known))):
        raise ValueError("the vocabulary is not byte-level, or has gaps")
    return tuple(known[i] for i in range(len(known)))


@cache
def _bytes_of_letters() -> dict[str, int]:
    """Letter → byte as in GPT-2's byte-level BPE: printable bytes stand for themselves, the others for the letters
    from U+0100 on (Radford et al. 2019, ``bytes_to_unicode``)."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [byte for byte in range(256) if byte not in plain]
    return {chr(b): b for b in plain} | {chr(0x100 + i): b for i, b in enumerate(rest)}
