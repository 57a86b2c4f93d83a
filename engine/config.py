"""Typed settings from TOML, environment and flags. Unknown keys are refused by name.

Order of precedence: flags over environment (``MELLM_<SECTION>_<KEY>``) over file over defaults.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import (
    AwareDatetime,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from mellm.engine.describe import KINDS, installed
from mellm.engine.governance.purpose import reference
from mellm.engine.sections import Section, explain, read_toml
from mellm.stream.errors import ConfigError
from mellm.stream.protocol.access import Scope


class DescriberSettings(Section):
    """Who puts evidence into words, and how long that may take.

    ``kind`` may be ``nano:FOLDER``, which sets ``folder`` too, or the name of a describer that another package brings.
    """

    kind: str = Field(default="ensemble", min_length=1, max_length=4096)
    folder: Path | None = None
    base_url: str | None = None
    model: str | None = None
    profile: str = "generic"
    api_key_env: str = "MELLM_API_KEY"
    timeout_s: float = Field(default=10.0, gt=0, le=600)
    deadline_s: float = Field(default=10.0, gt=0, le=600)
    capacity: int = Field(default=64, ge=1, le=10_000)
    workers: int = Field(default=1, ge=1, le=64)
    fallback: Literal["none", "ensemble", "nano", "rules"] = "none"

    @model_validator(mode="before")
    @classmethod
    def _split(cls, data: Any) -> Any:
        kind, colon, folder = (
            str(data.get("kind", "")).partition(":") if isinstance(data, dict) else ("", "", "")
        )
        return {**data, "kind": kind, "folder": folder} if colon and folder else data

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.kind not in KINDS and self.kind not in (brought := sorted(installed())):
            raise ValueError(
                f"there is no describer {self.kind!r}; there are {', '.join((*KINDS, *brought))}"
            )
        if self.folder is not None and self.kind not in ("nano", "ensemble"):
            raise ValueError(f"a model folder is for nano, not for {self.kind}")
        return self


class SpottingSettings(Section):
    """Overrides of the spotter's own defaults; ``None`` keeps what the shipped model card says."""

    model: str | None = Field(default=None, min_length=1, max_length=4096)
    threshold: float | None = Field(default=None, gt=0, lt=1)
    max_ms: float | None = Field(default=None, ge=100, le=1000)
    merge_gap_ms: float | None = Field(default=None, ge=0, le=1000)


class FaceSettings(Section):
    """How many faces are followed, and on which device networks run."""

    max_faces: int = Field(default=4, ge=1, le=16)
    device: Literal["auto", "cpu", "cuda", "tensorrt"] = "auto"


class ServerSettings(Section):
    """Where clients connect."""

    host: str = "127.0.0.1"
    port: int = Field(default=8765, ge=0, le=65535)
    token_env: str = "MELLM_TOKEN"
    insecure: bool = False
    tls_cert: Path | None = None
    tls_key: Path | None = None
    origins: tuple[str, ...] = ()
    journal: Path | None = None
    audit: Path | None = None
    retention_days: float = Field(default=30.0, gt=0, le=36_500)
    keep_evidence: Path | None = None
    evidence_days: float = Field(default=30.0, gt=0, le=36_500)
    runs: Path | None = None
    record: bool = False
    consent_text: Path | None = None

    @model_validator(mode="after")
    def _sessions(self) -> Self:
        if self.runs is None and (self.record or self.consent_text is not None):
            what = "record" if self.record else "consent_text"
            raise ValueError(f"{what} is about sessions, which need runs = FOLDER")
        return self


class SourceSettings(Section):
    """One camera, stream or recording."""

    id: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    uri: str = Field(min_length=1, max_length=2048)
    fps: float | None = Field(default=None, gt=0, le=1000)
    mirrored: bool = False
    track: int | None = Field(default=None, ge=0, le=1000)
    stamps: str | None = None
    accept_guessed_time: bool = False
    consent: str | None = None
    preview: bool = False
    priority: int = Field(default=0, ge=-1000, le=1000)

    @field_validator("consent")
    @classmethod
    def _reference(cls, consent: str | None) -> str | None:
        return None if consent is None else reference(consent)


class BusSettings(Section):
    """Past one machine: what this process does, and how it reaches the others.

    Without ``url`` everything is done here and there is no bus.
    """

    role: Literal["all", "camera", "describe", "gateway"] = "all"
    url: str | None = Field(default=None, pattern=r"^(memory|nats|tls|redis|rediss)://", max_length=2048)
    node: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    prefix: str = Field(default="mellm", pattern=r"^[A-Za-z0-9_-]{1,32}$")
    nkey: Path | None = None
    tls_ca: Path | None = None
    monitor: str | None = None
    cameras: int | None = Field(default=None, ge=0, le=64)
    replicas: int = Field(default=1, ge=1, le=5)

    @property
    def url_is_memory(self) -> bool:
        """Whether it is in this process, and on no disk."""
        return (self.url or "").startswith("memory:")

    @model_validator(mode="after")
    def _role_has_a_bus(self) -> Self:
        if self.role != "all" and self.url is None:
            raise ValueError(f"the role {self.role} needs a bus: give its url")
        return self


class TokenSettings(Section):
    """Who may connect, and what for. The secret itself stands elsewhere."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    env: str | None = Field(default=None, min_length=1)
    file: Path | None = None
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    scopes: tuple[Scope, ...] = Field(default=(Scope.EVENTS_READ,), min_length=1)
    sources: tuple[str, ...] = Field(min_length=1)
    expires: AwareDatetime | None = None

    @model_validator(mode="after")
    def _one_secret(self) -> Self:
        if sum(each is not None for each in (self.env, self.file, self.sha256)) != 1:
            raise ValueError(f"the token {self.name!r} needs exactly one of env, file, sha256")
        return self


class Settings(Section):
    """Everything that can be set."""

    purpose: str | None = None
    medical_or_safety_basis: str | None = None
    consent_required: bool | None = None
    describer: DescriberSettings = DescriberSettings()
    spotting: SpottingSettings = SpottingSettings()
    faces: FaceSettings = FaceSettings()
    server: ServerSettings = ServerSettings()
    bus: BusSettings = BusSettings()
    sources: tuple[SourceSettings, ...] = Field(default=(), max_length=64)
    tokens: tuple[TokenSettings, ...] = Field(default=(), max_length=64)

    @field_validator("sources")
    @classmethod
    def _unique(cls, sources: tuple[SourceSettings, ...]) -> tuple[SourceSettings, ...]:
        seen: set[str] = set()
        for source in sources:
            if source.id in seen:
                raise ValueError(f"two sources are called {source.id!r}")
            seen.add(source.id)
        return sources

    @model_validator(mode="after")
    def _tokens_name_sources(self) -> Self:
        known = {source.id for source in self.sources} | {"*"}
        for token in self.tokens:
            unknown = sorted(set(token.sources) - known)
            if unknown:
                raise ValueError(
                    f"the token {token.name!r} names no source of this configuration: {unknown[0]!r}"
                )
        return self


def load(path: str | Path | None = None, flags: Mapping[str, Any] | None = None) -> Settings:
    """Read settings: a TOML file, the environment (``MELLM_<SECTION>_<KEY>``), and what overrides both.

    :param path: the file; without it, defaults and environment
    :param flags: dotted keys (``describer.kind``) to values; ``None`` values are "not given"
    :raises ConfigError: unreadable file, unknown key (named, with the nearest known one), value out of range
    """
    data: dict[str, Any] = {}
    if path is not None:
        data = read_toml(Path(path))
    given = {key: value for key, value in (flags or {}).items() if value is not None}
    for key, value in {**_environment(), **given}.items():
        at = data
        *parents, last = key.split(".")
        for parent in parents:
            at = at.setdefault(parent, {})
            if not isinstance(at, dict):
                raise ConfigError(f"{parent} in {path} is a value, not a table")
        at[last] = value
    return validated(data, path)


def validated(data: Mapping[str, Any], origin: object = None) -> Settings:
    """Settings from tables.

    :param origin: what messages name
    :raises ConfigError: see :func:`load`
    """
    try:
        return Settings.model_validate(dict(data))
    except ValidationError as error:
        raise explain(error, Settings, origin) from error


def _environment() -> dict[str, str]:
    sections = {n: f.annotation for n, f in Settings.model_fields.items() if _is_section(f.annotation)}
    found: dict[str, str] = {}
    for name, model in sections.items():
        assert isinstance(model, type)
        for key in model.model_fields:
            value = os.environ.get(f"MELLM_{name}_{key}".upper())
            if value is not None:
                found[f"{name}.{key}"] = value
    return found


def _is_section(annotation: object) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Section)
