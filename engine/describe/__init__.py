"""Describers: evidence in, words out. :func:`create` makes one by the name used on the command line.

Another package adds its own with an entry point in the group :data:`GROUP`: a callable without arguments that returns a
:class:`~mellm.engine.describe.base.Describer`.
"""

from __future__ import annotations

import os
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Final

from mellm.engine.describe.base import DescribeContext, Describer
from mellm.stream.errors import UsageError

KINDS: Final = ("ensemble", "nano", "rules", "openai", "scripted")
GROUP: Final = "mellm.describers"

__all__ = ["GROUP", "KINDS", "DescribeContext", "Describer", "create", "installed"]


def installed() -> dict[str, EntryPoint]:
    """Describers that other packages bring, by name; nothing of them is loaded."""
    return {point.name: point for point in entry_points(group=GROUP) if point.name not in KINDS}


def create(
    kind: str = "ensemble",
    *,
    base_url: str | None = None,
    model: str | None = None,
    profile: str = "generic",
    api_key_env: str = "MELLM_API_KEY",
    timeout_s: float = 10.0,
    folder: Path | None = None,
    fallback: str = "none",
    several: bool = True,
) -> Describer:
    """Make a describer.

    :param kind: ``ensemble``, ``nano`` and ``rules`` (embedded), ``openai`` (vLLM or any OpenAI-compatible server),
        ``scripted`` (fake), or the name of one that another package brings
    :param base_url: of ``openai``; several endpoints of one model may stand there, with commas between
    :param folder: of the embedded model, if not the shipped one
    :param fallback: ``none``, or the embedded describer that answers when this one cannot
    :param several: embedded describers read each moment under small changes too, and tell what the readings agree on
    :param api_key_env: name of the environment variable that holds the key; keys come from nowhere else
    :raises UsageError: unknown kind or profile, or an ``openai`` describer without base URL or model
    :raises ModelError: the folder of ``nano`` is not there, incomplete or damaged
    """
    if fallback not in ("none", kind):
        from mellm.engine.describe.fallback import FallbackDescriber

        first = create(
            kind,
            base_url=base_url,
            model=model,
            profile=profile,
            api_key_env=api_key_env,
            timeout_s=timeout_s,
            folder=folder,
            several=several,
        )
        return FallbackDescriber(first, create(fallback, several=several))
    if kind == "ensemble":
        from mellm.engine.describe.ensemble import EnsembleDescriber

        return EnsembleDescriber(folder, several=several)
    if kind == "rules":
        from mellm.engine.describe.rules import RulesDescriber

        return _steady(RulesDescriber(), several)
    if kind == "nano":
        from mellm.engine.describe.local import NanoDescriber

        return _steady(NanoDescriber(folder), several)
    if kind == "scripted":
        from mellm.engine.describe.scripted import ScriptedDescriber

        return ScriptedDescriber()
    if kind == "openai":
        from mellm.engine.describe.openai import OpenAIDescriber

        if not base_url or not model:
            raise UsageError(
                "the openai describer needs an endpoint and a model",
                remedy="give --base-url http://host:port/v1 and --model NAME",
            )
        key = os.environ.get(api_key_env) or None
        urls = [url for url in base_url.split(",") if url]
        endpoints = [
            OpenAIDescriber(url, model, profile=profile, api_key=key, timeout_s=timeout_s) for url in urls
        ]
        if len(endpoints) == 1:
            return endpoints[0]
        from mellm.engine.describe.pool import PoolDescriber

        return PoolDescriber(endpoints)
    brought = installed()
    if kind in brought:
        made: Describer = brought[kind].load()()
        return made
    raise UsageError(
        f"unknown describer {kind!r}", remedy=f"choose one of {', '.join((*KINDS, *sorted(brought)))}"
    )


def _steady(one: Describer, several: bool) -> Describer:
    from mellm.engine.describe.agreement import AgreeingDescriber

    return AgreeingDescriber(one) if several else one
