"""Builds chains from settings: which networks, on which device, with which options."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from mellm.detectors.analyzer import AnalyzerOptions, FaceAnalyzer
from mellm.detectors.signals import FacePair
from mellm.detectors.spotting import OnnxStepModel, Spotter, SpottingOptions
from mellm.detectors.weights import store as weights
from mellm.engine.analysis.pipeline import SourcePipeline
from mellm.engine.config import Settings
from mellm.engine.describe.base import Recipe
from mellm.engine.evidence import motion_map, readings
from mellm.engine.types import Evidence


@dataclass(frozen=True, slots=True)
class PipelineFactory:
    """Makes one chain for each source; networks are loaded anew for each, since sources run on their own threads."""

    settings: Settings
    recipe: Recipe = "live"

    def make(self, source: str, *, mirrored: bool = False) -> SourcePipeline:
        """A fresh chain.

        :raises ModelMissing: the face models were not pulled
        :raises ProviderUnavailable: the device asked for is not there
        """
        device = self.settings.faces.device
        analyzer = FaceAnalyzer(AnalyzerOptions(max_faces=self.settings.faces.max_faces, device=device))
        model = OnnxStepModel(device=device)
        options = self.spotting()
        return SourcePipeline(
            source,
            analyzer,
            lambda: Spotter(model, options),
            evidence_builder(self.recipe),
            mirrored=mirrored,
            providers={**analyzer.providers, "spotter": model.provider},
        )

    def spotting(self) -> SpottingOptions:
        """The spotter's defaults with what the settings override."""
        given = {k: v for k, v in self.settings.spotting.model_dump().items() if v is not None}
        return SpottingOptions(**given)

    def facts(self) -> dict[str, Any]:
        """The device asked for and the models with their hashes, for ``run.json``."""
        return {
            "device": self.settings.faces.device,
            "models": [{"name": m.name, "sha256": m.sha256, "file": m.file} for m in weights.listing()],
        }


def evidence_builder(recipe: Recipe) -> Callable[[FacePair], Evidence]:
    """Onset–apex pair → evidence by one recipe."""

    def build(pair: FacePair) -> Evidence:
        made = motion_map.build(pair.onset_gray, pair.apex_gray, pair.landmarks, recipe)
        return replace(made, again=partial(readings.changed, pair, recipe))

    return build
