"""The run of the exporters' tests."""

from tests.engine.export.conftest import folder, made

__all__ = ["folder", "made"]
