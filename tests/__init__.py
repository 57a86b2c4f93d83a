"""Tests. :data:`REPO` is the root of the repository."""

from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
PATIENCE_S = 120.0
"""How long to wait for what is sure to come: a busy machine stretches every second, and only a fault uses this up."""
PROMPT_S = 20.0
"""For what is over at once: longer than a machine is ever busy, shorter than what would be waited for otherwise."""
