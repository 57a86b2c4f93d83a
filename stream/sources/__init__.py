"""Where pictures come from: files, folders, cameras, streams, and a synthetic source for tests."""

from mellm.stream.sources.base import EndReport, Source, SourceOptions
from mellm.stream.sources.opening import open_source
from mellm.stream.sources.probe import ProbeReport, probe

__all__ = ["EndReport", "ProbeReport", "Source", "SourceOptions", "open_source", "probe"]
