"""Builds what settings name: pipelines with their networks, describers, and the engine that follows live sources."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

from mellm.detectors.analyzer import AnalyzerOptions, FaceAnalyzer
from mellm.detectors.quality import MAX_YAW, MIN_FPS, MIN_WIDTH
from mellm.detectors.signals import FacePair
from mellm.detectors.spotters import open_spotter
from mellm.detectors.spotting import OnnxStepModel, Spotter, SpottingOptions, StepModel
from mellm.detectors.weights import store as weights
from mellm.engine.analysis.live import LiveEngine, Sink, Tap
from mellm.engine.analysis.pipeline import SourcePipeline
from mellm.engine.analysis.spool import Spool
from mellm.engine.analysis.watchdog import Watchdog
from mellm.engine.config import Settings, SourceSettings
from mellm.engine.describe import create
from mellm.engine.describe.base import Describer, Recipe
from mellm.engine.describe.nano_folder import GRAPHS
from mellm.engine.evidence import motion_map, readings
from mellm.engine.provenance import sha256
from mellm.engine.types import Evidence
from mellm.stream.capture.runner import RunnerOptions, SourceRunner
from mellm.stream.frames import Frame
from mellm.stream.sources import SourceOptions
from mellm.stream.sources.push import PushInlet


@dataclass(frozen=True, slots=True)
class PipelineFactory:
    """Makes one chain for each source; networks are loaded anew for each, since sources run on their own threads.

    :param recipe: of the evidence, as the describer wants it
    :param spotter: an own network, shared by all sources; by default the one that the settings name
    """

    settings: Settings
    recipe: Recipe = "live"
    spotter: StepModel | None = None

    def make(self, source: str, *, mirrored: bool = False) -> SourcePipeline:
        """A fresh chain.

        :raises ModelMissing: the face models were not pulled, or there is no such spotter
        :raises ModelMismatch: the spotter was trained on other signals than this version measures
        :raises ProviderUnavailable: the device asked for is not there
        """
        device = self.settings.faces.device
        analyzer = FaceAnalyzer(AnalyzerOptions(max_faces=self.settings.faces.max_faces, device=device))
        model = self.spotter or open_spotter(self.settings.spotting.model, device)
        options = self.spotting()
        return SourcePipeline(
            source,
            analyzer,
            lambda: Spotter(model, options),
            evidence_builder(self.recipe),
            mirrored=mirrored,
            providers={**analyzer.providers, "spotter": _provider(model)},
        )

    def spotting(self) -> SpottingOptions:
        """The spotter's defaults with what the settings override."""
        given = self.settings.spotting.model_dump(exclude_none=True, exclude={"model"})
        return SpottingOptions(**given)

    def facts(self) -> dict[str, Any]:
        """For ``run.json``: the device asked for, models with their hashes, thresholds as numbers, and the error rates
        that were measured with these.

        :raises ModelError: the spotter that the settings name cannot be used
        """
        models = [{"name": m.name, "sha256": m.sha256, "file": m.file} for m in weights.listing()]
        card = json.loads((files("mellm.detectors") / "models" / "spotter.json").read_text(encoding="utf-8"))
        threshold = card["threshold"]
        if self.spotter is not None or self.settings.spotting.model is not None:
            model = self.spotter or open_spotter(self.settings.spotting.model, self.settings.faces.device)
            models = [each for each in models if each["name"] != "spotter"] + [_facts(model)]
            threshold = model.threshold
        used = next(each["sha256"] for each in models if each["name"] == "spotter")
        shipped = used == card["sha256"] and self.settings.spotting.threshold is None
        told = ("version", "trained_on", "false_alarms", "validation")
        options = self.spotting()
        level, release = options.levels(threshold)
        return {
            "device": self.settings.faces.device,
            "models": models,
            "spotting": asdict(replace(options, threshold=level, release=release)),
            "floors": {"fps": MIN_FPS, "face_width_px": MIN_WIDTH, "yaw_deg": MAX_YAW},
            "motion_ceiling": motion_map.CEILING,
            # measured with this network at this threshold only
            "measured": {name: card.get(name) for name in told} if shipped else None,
        }


def _provider(model: StepModel) -> str:
    return model.provider if isinstance(model, OnnxStepModel) else type(model).__name__


def _facts(model: StepModel) -> dict[str, str]:
    if isinstance(model, OnnxStepModel):
        return {"name": "spotter", "sha256": model.sha256, "file": model.path.name}
    return {"name": "spotter", "sha256": "", "file": type(model).__name__}


def describer_of(settings: Settings) -> Describer:
    """The describer that the settings name.

    :raises UsageError: there is none of that name, or it lacks an endpoint
    :raises ModelError: its model folder cannot be used
    """
    chosen = settings.describer
    return create(
        chosen.kind,
        base_url=chosen.base_url,
        model=chosen.model,
        profile=chosen.profile,
        api_key_env=chosen.api_key_env,
        timeout_s=chosen.timeout_s,
        folder=chosen.folder,
        fallback=chosen.fallback,
    )


def describer_facts(settings: Settings, own: Describer | None = None) -> dict[str, Any]:
    """Hashes of what an embedded describer reads, for ``run.json``; of others only they know.

    :param own: one that its caller made
    """
    if own is not None or settings.describer.kind not in ("ensemble", "nano", "rules"):
        return {}
    shipped = Path(str(files("mellm.engine.describe")))
    found: dict[str, str] = {}
    if settings.describer.kind in ("ensemble", "nano"):
        folder = settings.describer.folder or shipped / "models" / "nano"
        listed = json.loads((folder / "nano.json").read_text(encoding="utf-8"))["files"]
        found |= {f"nano/{name}": listed[name] for name in GRAPHS if name in listed}
    if settings.describer.kind != "nano":
        found |= {name: sha256(shipped / name) for name in ("au_templates.json", "ensemble.json")}
    return {"describer_files": found}


def evidence_builder(recipe: Recipe) -> Callable[[FacePair], Evidence]:
    """Onset–apex pair → evidence by one recipe."""

    def build(pair: FacePair) -> Evidence:
        made = motion_map.build(pair.onset_gray, pair.apex_gray, pair.landmarks, recipe)
        return replace(made, again=partial(readings.changed, pair, recipe))

    return build


def runner(
    source: SourceSettings,
    options: RunnerOptions | None = None,
    inlets: Mapping[str, PushInlet] | None = None,
    first_segment: int = 0,
) -> SourceRunner:
    """What keeps this source alive, not started; see :func:`live_engine`.

    :param first_segment: see :class:`mellm.stream.capture.runner.SourceRunner`
    """
    chosen = SourceOptions(
        mirrored=source.mirrored,
        track=source.track,
        stamps=source.stamps or "",
        accept_guessed_time=source.accept_guessed_time,
    )
    if inlets is not None and source.id in inlets:
        inlet = inlets[source.id]
        # nobody has to send: waiting for it is no failure to open
        patient = replace(options or RunnerOptions(), open_s=math.inf)
        return SourceRunner(
            source.uri, id=source.id, options=patient, opener=lambda first: inlet.open(first, chosen)
        )
    return SourceRunner(
        source.uri,
        id=source.id,
        fps=source.fps,
        source_options=chosen,
        options=options,
        first_segment=first_segment,
    )


def live_engine(
    settings: Settings,
    sources: Sequence[SourceSettings],
    sink: Sink,
    options: RunnerOptions | None = None,
    spool: Spool | None = None,
    watchdog: Watchdog | None = None,
    on_frame: Callable[[Frame], None] | None = None,
    inlets: Mapping[str, PushInlet] | None = None,
    on_loaded: Callable[[], None] = lambda: None,
    describer: Describer | None = None,
    tap: Tap | None = None,
) -> LiveEngine:
    """A live engine for these sources, not started.

    :param options: how sources are kept alive; by default they may be down at the start
    :param spool: keeps describe jobs over a crash
    :param watchdog: is told that sources go on
    :param on_frame: sees each frame, see :class:`mellm.engine.analysis.live.LiveEngine`
    :param inlets: where clients' pictures arrive, for sources whose address is ``push:``
    :param on_loaded: called on a source's thread when its networks have been loaded
    :param describer: instead of the one that the settings name
    :param tap: sees frames and outputs, see :class:`mellm.engine.analysis.live.LiveEngine`
    """
    describer = describer or describer_of(settings)
    factory = PipelineFactory(settings, describer.recipe)
    runners = [runner(source, options, inlets) for source in sources]
    mirrored = {source.id for source in settings.sources if source.mirrored}
    chosen = settings.describer
    return LiveEngine(
        runners,
        lambda source: factory.make(source, mirrored=source in mirrored),
        describer,
        sink,
        capacity=chosen.capacity,
        workers=chosen.workers,
        deadline_s=chosen.deadline_s,
        spool=spool,
        watchdog=watchdog,
        on_frame=on_frame,
        on_loaded=on_loaded,
        priorities={source.id: source.priority for source in sources},
        tap=tap,
        remake=lambda name: runner(next(source for source in sources if source.id == name)),
    )
