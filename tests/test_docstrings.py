"""Docstrings as Sphinx reads them: one field a line, and a blank line before the first."""

import re

from tests import REPO

ROOMS = ("stream", "detectors", "engine", "clients", "training", "evaluation")
FIELD = r":(?:param|raises|returns?)\b[^:\n`]*:"


def test_one_field_a_line():
    files = [path for room in ROOMS for path in (REPO / room).rglob("*.py")]
    assert len(files) > 300
    wrong = [
        f"{path.relative_to(REPO)}:{number}: {line.strip()}"
        for path in files
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if len(re.findall(FIELD, line)) > 1 or re.match(r"\s*:param [\w*]+, ", line)
    ]
    assert not wrong, "\n".join(wrong)
