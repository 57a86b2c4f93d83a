"""Flags that several verbs share, and how results look in a terminal."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from mellm.engine.config import Settings
    from mellm.engine.describe import Describer

Command = TypeVar("Command", bound=Callable[..., Any])

json_flag = click.option("--json", "as_json", is_flag=True, help="Print JSON lines on standard output.")


_ANALYSIS = (
    click.option("--threshold", type=float, metavar="0…1", help="Spotting threshold [from the model card]."),
    click.option("--max-faces", type=int, metavar="N", help="Faces followed at once [4]."),
)
_DESCRIBING = (
    click.option("--describer", type=click.Choice(["nano", "rules", "openai"]), help="Who describes [nano]."),
    click.option("--base-url", metavar="URL", help="OpenAI-compatible endpoint, up to /v1."),
    click.option("--model", metavar="NAME", help="Model name at that endpoint."),
    click.option("--profile", metavar="NAME", help="generic, nano, mellm-v1 or mellm-v3 [generic]."),
    click.option(
        "--fallback",
        type=click.Choice(["none", "nano", "rules"]),
        help="Who describes, marked as such, when the endpoint cannot [none].",
    ),
)
_ALWAYS = (
    click.option(
        "--device", type=click.Choice(["auto", "cpu", "cuda", "tensorrt"]), help="Where networks run [auto]."
    ),
    click.option("--purpose", metavar="PURPOSE", help="research, clinical, self-use, …"),
    click.option("--medical-or-safety-basis", metavar="REF", help="Reference that a refused purpose needs."),
    click.option("--config", type=click.Path(path_type=Path), help="TOML file with settings."),
)


def settings_flags(command: Command) -> Command:
    """The flags that become :class:`mellm.engine.config.Settings`."""
    return _with(command, _DESCRIBING + _ANALYSIS + _ALWAYS)


def describing_flags(command: Command) -> Command:
    """Those of :func:`settings_flags` that matter where nothing is spotted."""
    return _with(command, _DESCRIBING + _ALWAYS)


def _with(command: Command, options: tuple[Callable[[Command], Command], ...]) -> Command:
    for option in reversed(options):
        command = option(command)
    return command


def settings_from(
    flags: dict[str, Any], extra: dict[str, Any] | None = None, purpose: str | None = None
) -> Settings:
    """Settings from a verb's flags (those of :func:`settings_flags` are taken out of ``flags``).

    :param purpose: default purpose of the verb; ``None`` where one must be stated
    :raises ConfigError: :raises PurposeRefused: see :mod:`mellm.engine.config` and
        :mod:`mellm.engine.governance.purpose`
    """
    from mellm.engine.config import load
    from mellm.engine.governance import purpose as privacy

    given = {
        "describer.kind": flags.pop("describer"),
        "describer.base_url": flags.pop("base_url"),
        "describer.model": flags.pop("model"),
        "describer.profile": flags.pop("profile"),
        "describer.fallback": flags.pop("fallback"),
        "faces.device": flags.pop("device"),
        "faces.max_faces": flags.pop("max_faces", None),
        "spotting.threshold": flags.pop("threshold", None),
        "purpose": flags.pop("purpose"),
        "medical_or_safety_basis": flags.pop("medical_or_safety_basis"),
    }
    settings = load(flags.pop("config"), {**given, **(extra or {})})
    if settings.purpose is None and purpose is not None:
        settings = settings.model_copy(update={"purpose": purpose})
    privacy.require(settings.purpose, settings.medical_or_safety_basis)
    return settings


def make_describer(settings: Settings) -> Describer:
    """The describer that the settings name."""
    from mellm.engine.describe import create

    chosen = settings.describer
    return create(
        chosen.kind,
        base_url=chosen.base_url,
        model=chosen.model,
        profile=chosen.profile,
        api_key_env=chosen.api_key_env,
        timeout_s=chosen.timeout_s,
        fallback=chosen.fallback,
    )


def clock(milliseconds: float) -> str:
    """Media time as ``mm:ss.mmm``, or ``h:mm:ss.mmm`` after an hour."""
    minutes, ms = divmod(round(milliseconds), 60_000)
    hours, minutes = divmod(minutes, 60)
    tail = f"{minutes:02d}:{ms // 1000:02d}.{ms % 1000:03d}"
    return f"{hours}:{tail}" if hours else tail


def counted(number: int, thing: str) -> str:
    """``1 expression``, ``2 expressions``."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


def units(record: dict[str, Any]) -> str:
    """``AU1+2 both, AU12 left`` from a record's description."""
    found = (record.get("description") or {}).get("action_units") or []
    by_side: dict[str, list[str]] = {}
    for unit in found:
        by_side.setdefault(unit["side"], []).append(str(unit["au"]))
    return ", ".join(f"AU{'+'.join(numbers)} {side}" for side, numbers in by_side.items()) or "no unit"


def one_line(record: dict[str, Any], *, source: bool = False) -> str:
    """An expression for people: when, what, how sure, in words."""
    parts = [clock(record["apex_ms"])]
    if source:
        parts.append(record["source"])
    parts.append(f"{record['offset_ms'] - record['onset_ms']:.0f} ms")
    if record.get("state"):
        parts.append(spoken(record))
    return "  ".join(parts)


def spoken(record: dict[str, Any]) -> str:
    """Units, emotion and sentence of a described record; of another one, why there is none."""
    from mellm.engine.results.reasons import undescribed

    description = record.get("description")
    if record["state"] != "described" or not description:
        return undescribed(record)
    parts = [units(record)]
    emotion = description["emotion"]
    if emotion:
        parts.append(f"{emotion['coarse']} {emotion['scores'][emotion['coarse']]:.2f}")
    return "  ".join([*parts, description["text"]])
