"""What we are made of: a bill of materials, and known vulnerabilities in it. Slow tier."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests import REPO

BILL = REPO / "runs" / "sbom.json"

pytestmark = pytest.mark.slow


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *words], capture_output=True, text=True, check=False, timeout=600, cwd=REPO
    )


@pytest.fixture(scope="module")
def bill() -> dict[str, Any]:
    BILL.parent.mkdir(exist_ok=True)
    done = run(
        "cyclonedx_py", "environment", sys.executable, "--pyproject", "pyproject.toml", "-o", str(BILL)
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(BILL.read_text(encoding="utf-8"))
    return found


def test_the_bill_names_every_dependency_with_version_and_licence(bill: dict[str, Any]) -> None:
    project = tomllib.loads((REPO / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = {canonicalize_name(Requirement(each).name) for each in project["dependencies"]}
    listed = {canonicalize_name(each["name"]): each for each in bill["components"]}
    assert wanted <= set(listed)
    assert [
        name for name in wanted if not (listed[name].get("version") and listed[name].get("licenses"))
    ] == []


def test_one_cv2_wheel_is_in_it(bill: dict[str, Any]) -> None:
    names = {each["name"] for each in bill["components"]}
    assert {name for name in names if name.startswith("opencv")} == {"opencv-contrib-python-headless"}


def test_no_known_vulnerability() -> None:
    done = run("pip_audit", "--progress-spinner", "off", "-f", "json", "--skip-editable")
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except ValueError:
        pytest.skip(f"no advisories could be had: {done.stderr.strip()[-200:]}")
    audited = [each for each in packages if "vulns" in each]
    if len(audited) < len(packages) / 2:
        pytest.skip(f"advisories could be had for {len(audited)} of {len(packages)} packages only")
    assert {each["name"]: [v["id"] for v in each["vulns"]] for each in audited if each["vulns"]} == {}
