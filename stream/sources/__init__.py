"""Where pictures come from: files, folders, cameras, streams, and a synthetic source for tests."""

from stream.sources.base import EndReport, Source, SourceOptions
from stream.sources.opening import open_source
from stream.sources.probe import ProbeReport, probe

__all__ = ["EndReport", "ProbeReport", "Source", "SourceOptions", "open_source", "probe"]
