"""Flags that several verbs share, and how results look in a terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mellm.stream.clock import clock
from mellm.stream.errors import UsageError

if TYPE_CHECKING:
    from mellm.engine.config import Settings
    from mellm.engine.results.expressions import ExpressionRecord
    from mellm.engine.types import Description, State

Command = TypeVar("Command", bound=Callable[..., Any])

json_flag = click.option("--json", "as_json", is_flag=True, help="Print JSON lines on standard output.")


_ANALYSIS = (
    click.option(
        "--spotter",
        metavar="FILE",
        help="Spotter network: an .onnx file, or one that a package brings [the shipped one].",
    ),
    click.option("--threshold", type=float, metavar="0…1", help="Spotting threshold [from the model card]."),
    click.option("--max-faces", type=int, metavar="N", help="Faces followed at once [4]."),
)
_DESCRIBING = (
    click.option(
        "--describer",
        metavar="NAME",
        help="Who describes: ensemble, nano, nano:FOLDER, rules, openai, or one that a package brings [ensemble].",
    ),
    click.option(
        "--base-url",
        metavar="URL",
        help="OpenAI-compatible endpoint, up to /v1; several of one model with commas between.",
    ),
    click.option("--model", metavar="NAME", help="Model name at that endpoint."),
    click.option("--profile", metavar="NAME", help="generic, nano, mellm-v1 or mellm-v3 [generic]."),
    click.option(
        "--fallback",
        type=click.Choice(["none", "ensemble", "nano", "rules"]),
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


_BUS = (
    click.option("--bus", metavar="URL", help="What joins several machines: nats://HOST:4222, tls://…"),
    click.option(
        "--bus-nkey", type=click.Path(path_type=Path), help="File with the seed of this machine's key."
    ),
    click.option(
        "--bus-ca", type=click.Path(path_type=Path), help="Certificate authority of the broker, PEM."
    ),
    click.option(
        "--bus-monitor",
        metavar="URL",
        help="The broker's monitoring page, to check how it writes to its disk.",
    ),
    click.option("--bus-prefix", metavar="NAME", help="Of all names at the broker [mellm]."),
    click.option("--node", metavar="NAME", help="Name of this machine on the bus [host and role]."),
)
_ROLE = (
    click.option(
        "--role",
        type=click.Choice(["all", "camera", "describe", "gateway"]),
        help="With --bus: what this process does [all].",
    ),
    click.option(
        "--cameras",
        type=int,
        metavar="N",
        help="Cameras that this node takes at once; more only when nobody else does [all].",
    ),
)


def bus_flags(command: Command) -> Command:
    """How a bus is reached, and what this process does there."""
    return _with(command, _ROLE + _BUS)


def bus_options(command: Command) -> Command:
    """How a bus is reached."""
    return _with(command, _BUS)


def bus_settings(flags: dict[str, Any]) -> dict[str, Any]:
    """The flags of :func:`bus_flags` or :func:`bus_options`, taken out of ``flags``, by the names of settings."""
    return {
        "bus.url": flags.pop("bus"),
        "bus.nkey": flags.pop("bus_nkey"),
        "bus.tls_ca": flags.pop("bus_ca"),
        "bus.monitor": flags.pop("bus_monitor"),
        "bus.prefix": flags.pop("bus_prefix"),
        "bus.node": flags.pop("node"),
        "bus.role": flags.pop("role", None),
        "bus.cameras": flags.pop("cameras", None),
    }


_OPENING = (
    click.option(
        "--mirrored", is_flag=True, help="The picture is a mirror image; left and right are swapped."
    ),
    click.option(
        "--track", type=click.IntRange(0), metavar="N", help="Video track to read [the default one]."
    ),
    click.option(
        "--stamps",
        metavar="FILE",
        help="Table with frame and time_ms: when the pictures of a folder or raw stream were taken.",
    ),
    click.option(
        "--accept-guessed-time",
        is_flag=True,
        help="Read recordings for whose pictures the time must be guessed.",
    ),
)


consent_flag = click.option(
    "--consent", metavar="REF", help="Reference to the consent of who is seen; research and clinical need it."
)


tier_flag = click.option(
    "--tier",
    "tiers",
    multiple=True,
    metavar="KIND=NAME",
    help="Name of a tier in an .eaf file; kinds: expression, apex, units, emotion, text, markers.",
)


def opening_flags(command: Command) -> Command:
    """How a recording is opened; see :class:`mellm.stream.sources.SourceOptions`."""
    return _with(command, _OPENING)


def source_options(flags: dict[str, Any]) -> dict[str, Any]:
    """The flags of :func:`opening_flags`, taken out of ``flags``, by the names of source options."""
    given = {name: flags.pop(name) for name in ("mirrored", "track", "stamps", "accept_guessed_time")}
    return {**given, "stamps": given["stamps"] or ""}


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

    :param purpose: what is taken where none is stated; the settings stay without one then, since none was stated.
        ``None`` where one must be stated
    :raises ConfigError: as below
    :raises PurposeRefused: see :mod:`mellm.engine.config` and
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
        "spotting.model": flags.pop("spotter", None),
        "spotting.threshold": flags.pop("threshold", None),
        "purpose": flags.pop("purpose"),
        "medical_or_safety_basis": flags.pop("medical_or_safety_basis"),
    }
    settings = load(flags.pop("config"), {**given, **(extra or {})})
    _applies(given, settings.describer.kind)
    privacy.require(settings.purpose or purpose, settings.medical_or_safety_basis)
    return settings


def _applies(given: Mapping[str, Any], kind: str) -> None:
    """Refuse flags that would be ignored."""
    for flag in ("base_url", "model", "profile"):
        if kind != "openai" and given[f"describer.{flag}"] is not None:
            remedy = "leave it out, or describe with --describer openai"
            if kind == "nano" and flag == "model":
                remedy = "give the folder of another nano as --describer nano:FOLDER"
            raise UsageError(
                f"--{flag.replace('_', '-')} does not apply to the describer {kind}", remedy=remedy
            )
    if given["describer.fallback"] == kind:
        raise UsageError(
            f"--fallback {kind} does not apply to the describer {kind}",
            remedy="leave it out, or name another",
        )


def counted(number: int, thing: str) -> str:
    """``1 expression``, ``2 expressions``."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


def units(description: Description) -> str:
    """``AU1+2 both, AU12 left`` of a description."""
    by_side: dict[str, list[str]] = {}
    for unit in description.action_units:
        by_side.setdefault(unit.side, []).append(str(unit.au))
    return ", ".join(f"AU{'+'.join(numbers)} {side}" for side, numbers in by_side.items()) or "no unit"


def one_line(record: ExpressionRecord, *, source: bool = False) -> str:
    """An expression for people: when, what, how sure, in words."""
    parts = [clock(record.apex_ms)]
    if source:
        parts.append(record.source)
    parts.append(f"{record.duration_ms:.0f} ms")
    if record.state is not None:
        parts.append(spoken(record.state, record.reason, record.description))
    return "  ".join(parts)


def event_line(data: Mapping[str, Any], *, source: bool = False) -> str:
    """:func:`one_line` of the data of an ``expression.*`` event, which may come from another version."""
    from mellm.engine.results.expressions import ExpressionRecord, FieldInvalid

    try:
        return one_line(ExpressionRecord.from_json(data), source=source)
    except FieldInvalid as error:
        return f"{data.get('id')}: an expression that this version cannot read ({error})"


def spoken(state: State, reason: str | None, description: Description | None) -> str:
    """Units, emotion and sentence of what was described; of the rest, why there is none."""
    from mellm.engine.results.reasons import undescribed

    if state != "described" or description is None:
        return undescribed(state, reason)
    parts = [units(description)]
    emotion = description.emotion
    if emotion is not None:
        parts.append(f"{emotion.coarse} {emotion.scores[emotion.coarse]:.2f}")
    return "  ".join([*parts, description.text])
