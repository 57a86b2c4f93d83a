"""Named recipes: the TOML files in ``training/mellm/recipes``, each with its source and its reasons."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from mellm.stream.errors import ConfigError

FOLDER = Path(__file__).resolve().parents[1] / "recipes"


@dataclass(frozen=True, slots=True)
class Recipe:
    """A recipe.

    :param origin: who published it, or that it is ours
    :param reasons: why the values are what they are, and which of
        them the publication does not give
    :param base: the published model it was made for
    :param settings: keys of :class:`mellm.training.mellm.finetune.config.Config`
    """

    name: str
    origin: str
    reasons: str
    base: str
    settings: dict[str, Any]


@cache
def all_recipes() -> dict[str, Recipe]:
    """Every recipe that ships, by name."""
    out = {}
    for path in sorted(FOLDER.glob("*.toml")):
        data = tomllib.loads(path.read_text(encoding="utf-8-sig"))
        about = data.pop("about")
        reasons = " ".join(about["reasons"].split())
        out[path.stem] = Recipe(path.stem, about["origin"], reasons, about["base"], data)
    return out


def get(name: str) -> Recipe:
    """The recipe of that name.

    :raises ConfigError: there is none
    """
    known = all_recipes()
    if name not in known:
        raise ConfigError(f"unknown recipe {name!r}", remedy=f"choose one of {', '.join(known)}")
    return known[name]
