"""Settings in TOML files: read within bounds, unknown keys refused by name, each problem told in one sentence."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from mellm.stream.errors import ConfigError

MAX_BYTES: Final = 1 << 20


class Section(BaseModel):
    """A table of settings: frozen, and nothing in it that is not known."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def read_toml(path: Path, what: str = "configuration") -> dict[str, Any]:
    """The tables of a file.

    :param what: what messages call it
    :raises ConfigError: it cannot be read, is larger than 1 MiB, or is not TOML
    """
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{what} {path} cannot be read ({error.strerror or error})") from error
    if len(raw) > MAX_BYTES:
        raise ConfigError(f"{what} {path} is larger than 1 MiB")
    try:
        return tomllib.loads(raw.decode("utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{what} {path} is not TOML: {error}") from error


def explain(
    error: ValidationError,
    root: type[BaseModel],
    origin: object = None,
    data: Mapping[str, Any] | None = None,
) -> ConfigError:
    """One problem as one sentence that names the key: an unknown one first, since it often is what is missing.

    Entries of a list are counted from 1, as ``sources[1].uri``, or ``systems[2] (gemini).model`` where they have
    a name.

    :param root: the model that was validated
    :param origin: file, or whatever the settings come from
    :param data: what was validated, for the names of entries
    """
    problems = error.errors(include_url=False)
    first = next((p for p in problems if p["type"] == "extra_forbidden"), problems[0])
    key, known, kinds = _place(first["loc"], root, data or {})
    key = key or "settings"
    where = f" in {origin}" if origin else ""
    if first["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(first["loc"][-1]), known, n=1)
        guess = f"did you mean {near[0]!r}? " if near else ""
        return ConfigError(f"unknown key {key!r}{where}", remedy=f"{guess}expected: {', '.join(known)}")
    if first["type"].startswith("union_tag"):
        return ConfigError(f"{key}{where} needs a kind", remedy=f"kind = one of {', '.join(kinds)}")
    if first["type"] == "missing":
        return ConfigError(f"{key}{where} is missing")
    said = first["msg"].removeprefix("Value error, ")
    given = first.get("input")
    shown = isinstance(given, str | int | float)
    return ConfigError(
        f"{key}{where}: {said[0].lower()}{said[1:]}" + (f" (got {given!r:.80})" if shown else "")
    )


def _place(loc: tuple[int | str, ...], root: type[BaseModel], data: Any) -> tuple[str, list[str], list[str]]:
    """A key as people find it, the keys that are known beside it, and the kinds of table that may stand there."""
    key, around, models = "", [root], [root]
    for part in loc:
        if isinstance(part, int):
            data = data[part] if isinstance(data, Sequence) else None
            name = data.get("name") if isinstance(data, Mapping) else None
            key += f"[{part + 1}]" + (f" ({name})" if isinstance(name, str) else "")
        elif len(models) > 1 and part in _kinds(models):
            models = [model for model in models if part in _kinds([model])]  # no key: the kind of the table
        else:
            data = data.get(part) if isinstance(data, Mapping) else None
            key += f".{part}" if key else part
            around = models
            models = [m for model in around for m in _models(_annotation(model, part))]
    return key, sorted({name for model in around for name in model.model_fields}), _kinds(models)


def _annotation(model: type[BaseModel], key: str) -> Any:
    return model.model_fields[key].annotation if key in model.model_fields else None


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """Tables that a value may be, or hold in a list."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    else:
        for inner in get_args(annotation):
            yield from _models(inner)


def _kinds(models: Sequence[type[BaseModel]]) -> list[str]:
    return [kind for model in models for kind in get_args(_annotation(model, "kind"))]
