"""The comparison's TOML file: who answers what. Unknown keys are refused by name, API keys wherever they stand.

Paths are taken from the folder of the file. Keys come from the environment only: the file names the variable.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, TypeAlias

import httpx
from pydantic import AfterValidator, Field, ValidationError, model_validator

from mellm.engine.sections import Section, explain, read_toml
from mellm.engine.server.auth import is_loopback
from mellm.stream.errors import ConfigError

_SECRET: Final = re.compile(
    r"(api[_-]?key|key|token|secret|password|bearer|auth(orization)?|credentials?)", re.IGNORECASE
)
"""Names, in whole, under which people write keys."""

_OURS: Final = frozenset(
    {"model", "messages", "stream", "n", "max_tokens", "max_completion_tokens", "temperature"}
)
"""Keys of a request that have a place of their own in the file, or that would make its answer unreadable."""


def _base_url(given: str) -> str:
    try:
        url = httpx.URL(given)
    except httpx.InvalidURL as error:
        raise ValueError(f"is not a URL: {error}") from error
    if url.userinfo or url.query or url.fragment:
        raise ValueError("must not carry a password, a query or a fragment: keys come from the environment")
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError("is not an http address; write https://host/v1")
    if url.path.rstrip("/").endswith("/chat/completions"):
        raise ValueError("ends before /chat/completions")
    return str(url).rstrip("/")


Name: TypeAlias = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[^\s/|][^/|\x00-\x1f]*$")]
Variable: TypeAlias = Annotated[str, Field(pattern=r"^[A-Z_][A-Z0-9_]{0,63}$")]
"""An environment variable's name; lower-case letters are refused, because keys have them."""


# -- systems ----------------------------------------------------------------------------------------


class OpenAISystem(Section):
    """A model behind an OpenAI-compatible endpoint.

    :ivar base_url: up to and including ``/v1`` or what stands for it
    :ivar price_in, price_out: of a million tokens, in the file's currency
    :ivar requests_per_minute, tokens_per_minute: never exceeded in any 60 s; tokens are estimated before they are known
    :ivar concurrency: requests under way at once
    :ivar timeout_s: of one try; :ivar deadline_s: of all tries at a question, from the first one on
    :ivar max_tokens_key: what the endpoint calls the limit
    :ivar temperature: ``default`` sends none
    :ivar image_tokens: what a picture costs, for estimates; default: one token for 28×28 pixels
    :ivar extra_body: sent with every request as it is
    :ivar insecure: send the key over plain HTTP to another machine
    """

    kind: Literal["openai"]
    name: Name
    base_url: Annotated[str, AfterValidator(_base_url)]
    model: str = Field(min_length=1, max_length=256)
    api_key_env: Variable | None = None
    price_in: float | None = Field(default=None, ge=0)
    price_out: float | None = Field(default=None, ge=0)
    requests_per_minute: int | None = Field(default=None, ge=1)
    tokens_per_minute: int | None = Field(default=None, ge=1)
    concurrency: int = Field(default=4, ge=1, le=256)
    timeout_s: float = Field(default=60.0, gt=0, le=3600)
    deadline_s: float = Field(default=300.0, gt=0, le=86_400)
    tries: int = Field(default=6, ge=1, le=20)
    max_tokens: int = Field(default=512, ge=1, le=1 << 20)
    max_tokens_key: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    temperature: Annotated[float, Field(ge=0, le=2)] | Literal["default"] = 0.0
    image_detail: Literal["low", "high", "auto"] | None = None
    image_tokens: int | None = Field(default=None, ge=0)
    extra_body: dict[str, Any] = Field(default_factory=dict)
    insecure: bool = False

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if taken := sorted(_OURS & self.extra_body.keys()):
            raise ValueError(
                f"extra_body may not hold {', '.join(taken)}: these have keys of their own or cannot be"
            )
        try:
            json.dumps(self.extra_body, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError(f"extra_body cannot be sent as JSON: {error}") from error
        if (self.price_in is None) != (self.price_out is None):
            raise ValueError("price_in and price_out go together")
        url = httpx.URL(self.base_url)
        if self.api_key_env and url.scheme == "http" and not is_loopback(url.host) and not self.insecure:
            raise ValueError(
                f"the key in {self.api_key_env} would cross the network in the clear; use https, or say insecure = true"
            )
        return self


class EmbeddedSystem(Section):
    """mellm-nano in this process. It answers questions about micro-expressions only."""

    kind: Literal["embedded"]
    name: Name = "mellm-nano"
    folder: Path | None = None
    deadline_s: float = Field(default=60.0, gt=0, le=3600)


class RulesSystem(Section):
    """The rule-based describer in this process. It answers questions about micro-expressions only."""

    kind: Literal["rules"]
    name: Name = "rules"


class RecordedSystem(Section):
    """Answers that are there already: models whose endpoints are gone, or that were run elsewhere.

    :ivar path: a folder of official MME result files, or a JSONL file of answers
    :ivar task: the task that they answer; default: the ``mme`` tasks for a folder, every task that a line names
    """

    kind: Literal["recorded"]
    name: Name
    path: Path
    model: str = ""
    task: str = ""


class PublishedSystem(Section):
    """Scores that somebody published; printed as such, never run.

    :ivar model: a row of the task's own list (``Gemini Pro``, ``GPT-4V``, ``Sphinx``); default: the name
    :ivar scores: other numbers than the list's: sub-task → score
    :ivar source: where they were published; needed with :attr:`scores`
    """

    kind: Literal["published"]
    name: Name
    model: str = ""
    task: str = ""
    scores: dict[str, float] = Field(default_factory=dict)
    source: str = ""

    @model_validator(mode="after")
    def _sourced(self) -> Self:
        if self.scores and not self.source:
            raise ValueError("published scores need their source")
        return self


SystemSettings: TypeAlias = Annotated[
    OpenAISystem | EmbeddedSystem | RulesSystem | RecordedSystem | PublishedSystem,
    Field(discriminator="kind"),
]


# -- tasks ----------------------------------------------------------------------------------------------


class _TaskSettings(Section):
    limit: int | None = Field(default=None, ge=1)


class MmeTask(_TaskSettings):
    """MME in the official folder layout.

    :ivar folder: sub-task folders with their pictures and question files
    :ivar subtasks: only these; default: all that are there
    :ivar limit: pictures of each sub-task (two questions each)
    """

    kind: Literal["mme"]
    name: Name = "mme"
    folder: Path
    subtasks: tuple[str, ...] = ()
    parser: Literal["official", "lmms-eval", "vlmevalkit"] = "official"


class VqaTask(_TaskSettings):
    """Questions about micro-expressions in the challenge's JSONL.

    :ivar file: one JSON object a line; :ivar media: folder that the frames lie below
    :ivar frames: pictures that are shown of a clip
    :ivar limit: lines
    """

    kind: Literal["vqa"]
    name: Name = "vqa"
    file: Path
    media: Path | None = None
    frames: int = Field(default=3, ge=1, le=64)


class UnderstandingTask(_TaskSettings):
    """Action units and coarse class of the clips of a data set.

    :ivar dataset: as `mellm dataset inspect` knows it; :ivar root: its folder
    :ivar profile: how the question is put and the answer read
    :ivar limit: clips
    """

    kind: Literal["understanding"]
    name: Name = "understanding"
    dataset: str
    root: Path
    apex_policy: str = "unknown"
    offset_policy: str = "unknown"
    profile: str = "generic"


class QualitativeTask(_TaskSettings):
    """Samples by domain and sub-task, shown side by side.

    :ivar folder: a suite; default: the one that ships
    :ivar domains: only these; :ivar limit: samples
    """

    kind: Literal["qualitative"]
    name: Name = "qualitative"
    folder: Path | None = None
    domains: tuple[str, ...] = ()


TaskSettings: TypeAlias = Annotated[
    MmeTask | VqaTask | UnderstandingTask | QualitativeTask, Field(discriminator="kind")
]


class Comparison(Section):
    """The whole file."""

    currency: str = Field(default="USD", min_length=1, max_length=8)
    systems: tuple[SystemSettings, ...] = Field(min_length=1, max_length=64)
    tasks: tuple[TaskSettings, ...] = Field(min_length=1, max_length=32)

    @model_validator(mode="after")
    def _unique(self) -> Self:
        for kind, names in (
            ("systems", [c.name for c in self.systems]),
            ("tasks", [t.name for t in self.tasks]),
        ):
            for name in names:
                if names.count(name) > 1:
                    raise ValueError(f"two {kind} are called {name!r}; give them a name each")
        known = {task.name for task in self.tasks}
        for system in self.systems:
            task = getattr(system, "task", "")
            if task and task not in known:
                raise ValueError(f"{system.name} is for the task {task!r}, which is not in the file")
        return self


# -- reading --------------------------------------------------------------------------------------------


def load(path: Path) -> Comparison:
    """Read a file.

    :raises ConfigError: unreadable file, unknown key (named, with those expected), value out of range, an API key
    """
    return parse(read_toml(path, "comparison"), path)


def parse(data: dict[str, Any], path: Path) -> Comparison:
    """Check what a file holds.

    :param path: its name, for messages and relative paths

    :raises ConfigError: as :func:`load`
    """
    for where in _secrets(data):
        raise ConfigError(
            f"{where} in {path}: keys are not read from files",
            remedy="take it out, put the key into an environment variable and name that with api_key_env",
        )
    try:
        read = Comparison.model_validate(data)
    except ValidationError as error:
        if error.errors()[0]["loc"][-1:] == ("api_key_env",):  # what stands there may be the key itself
            raise ConfigError(
                f"an api_key_env in {path} is not a name of an environment variable",
                remedy="write its name in capital letters, such as MY_API_KEY; keys are never written into the file",
            ) from None
        raise explain(error, Comparison, path, data) from error
    return read.model_copy(
        update={
            "systems": tuple(_placed(c, path.parent) for c in read.systems),
            "tasks": tuple(_placed(t, path.parent) for t in read.tasks),
        }
    )


def _placed(section: Any, folder: Path) -> Any:
    """Paths taken from the folder of the file."""
    found = {name: value for name, value in section if isinstance(value, Path)}
    return section.model_copy(update={name: folder / p.expanduser() for name, p in found.items()})


def _secrets(data: object, where: str = "") -> Iterator[str]:
    """Places of keys by name or by look."""
    if isinstance(data, dict):
        for key, value in data.items():
            at = f"{where}.{key}" if where else str(key)
            if isinstance(value, str) and (_SECRET.fullmatch(str(key)) or _looks_secret(value)):
                yield at
            else:
                yield from _secrets(value, at)
    elif isinstance(data, list):
        for number, value in enumerate(data):
            yield from _secrets(value, f"{where}[{number + 1}]")


def _looks_secret(value: str) -> bool:
    return re.fullmatch(r"(sk-|AIza|xai-|gsk_|hf_|Bearer )\S{16,}", value.strip()) is not None
