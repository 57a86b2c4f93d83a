"""Purposes that are served, refused, and what people are told."""

import logging

import pytest

from mellm.engine.governance.purpose import NOTICE, PROHIBITED, Purpose, log_audit, require
from mellm.stream.errors import PurposeRefused


@pytest.mark.parametrize("purpose", sorted(set(Purpose) - PROHIBITED))
def test_other_purposes_are_accepted_and_travel_with_a_notice(purpose: Purpose) -> None:
    declared = require(f" {purpose.upper()} ".replace("-", "_"))
    assert declared.purpose is purpose
    assert declared.as_dict()["purpose"] == purpose.value
    assert NOTICE in declared.notice
    assert "whether somebody lies" in declared.notice


@pytest.mark.parametrize("purpose", ["workplace", "education", "recruitment"])
def test_work_education_and_recruitment_are_refused_without_a_basis(purpose: str) -> None:
    for basis in (None, "", "  "):
        with pytest.raises(PurposeRefused, match="--medical-or-safety-basis REF") as caught:
            require(purpose, basis)
        assert caught.value.exit_code == 2
    declared = require(purpose, "ethics board 12/2026")
    assert declared.basis == "ethics board 12/2026"
    assert "ethics board 12/2026" in declared.notice


@pytest.mark.parametrize("purpose", [None, "", " ", "fun", "job-interview", "research;workplace"])
def test_no_or_an_unknown_purpose_is_refused_with_the_list(purpose: str | None) -> None:
    with pytest.raises(PurposeRefused, match="research, clinical, self-use, other"):
        require(purpose)


@pytest.mark.parametrize("basis", ["a\nb", "x" * 201])
def test_a_basis_is_a_short_reference(basis: str) -> None:
    with pytest.raises(PurposeRefused, match="not a valid reference"):
        require("research", basis)


def test_the_default_audit_is_one_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "mellm.engine.governance.purpose"):
        log_audit("session.opened", {"session": "s1", "address": "127.0.0.1"})
    assert caplog.messages == ["audit session.opened session=s1 address=127.0.0.1"]
