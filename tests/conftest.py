"""Fixtures that every room uses."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with real faces and the face model; tests that want it are skipped where it is missing."""
    root = Path(os.environ.get("MELLM_SHARED", REPO.parent / "shared" / "data"))
    if not root.is_dir():
        pytest.skip(f"no shared data at {root} (set MELLM_SHARED)")
    return root
