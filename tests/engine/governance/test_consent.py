"""No camera starts without the consent that its purpose asks for, and withdrawn consent stays withdrawn."""

from pathlib import Path

import pytest

import mellm
from mellm.clients.cli import run
from mellm.engine.config import Settings, load
from mellm.engine.governance.consent import (
    NEEDED_FOR,
    gate,
    of_analysis,
    remember_withdrawal,
    required,
    with_references,
)
from mellm.engine.governance.purpose import PROHIBITED, Purpose, require
from mellm.stream.errors import ConfigError, ConsentMissing, ConsentWithdrawn, UsageError
from mellm.stream.log.hub import Hub
from mellm.stream.log.journal import Journal
from mellm.stream.protocol.events import EVENTS_ERASED, FACE_LOST, MARKER, SCORE, SOURCE_ONLINE
from tests.stream.spoken import problems


def settings(*consents: str | None, **more: object) -> Settings:
    sources = [{"id": f"s{n}", "uri": "synthetic:", "consent": ref} for n, ref in enumerate(consents)]
    return Settings.model_validate({"sources": sources, **more})


@pytest.mark.parametrize("purpose", sorted(Purpose))
def test_the_purpose_says_whether_consent_is_needed_and_it_can_only_be_made_stricter(
    purpose: Purpose,
) -> None:
    declaration = require(purpose, "board 12")
    strict = purpose in (Purpose.RESEARCH, Purpose.CLINICAL, *PROHIBITED)
    assert required(declaration) is strict
    assert required(declaration, True)
    if strict:
        with pytest.raises(ConsentMissing, match="cannot be turned off"):
            required(declaration, False)
    else:
        assert not required(declaration, False)
    assert (purpose in NEEDED_FOR) is strict


def test_a_source_without_a_reference_is_withheld_with_the_remedy() -> None:
    with Journal() as journal:
        found = gate(settings("study-7/p-1", None), require("research"), journal)
        assert list(found) == ["s1"]
        assert "--consent s1=REF" in found["s1"].remedy
        assert not gate(settings(None, None), require("self-use"), journal)
        assert list(gate(settings("a", None, consent_required=True), require("other"), journal)) == ["s1"]
        with pytest.raises(ConsentMissing, match="'s0' has no consent reference"):
            gate(settings(None, None), require("clinical"), journal)


def test_withdrawn_consent_holds_back_the_source_until_there_is_a_new_one(tmp_path: Path) -> None:
    with Journal(tmp_path / "log.db") as journal:
        remember_withdrawal(journal, "s0", "first", "2026-11-23T15:00:00Z")
    with Journal(tmp_path / "log.db") as journal:  # also after a restart
        found = gate(settings("first"), require("research"), journal)
        assert isinstance(found["s0"], ConsentWithdrawn)
        assert found["s0"].code == "consent_withdrawn"
        assert not gate(settings("second"), require("research"), journal)
        remember_withdrawal(journal, "s0", "", "2026-11-23T15:00:00Z")
        assert gate(settings(None), require("self-use"), journal)
        assert gate(settings("first"), require("research"), journal)


def test_references_come_from_flags_too() -> None:
    chosen = with_references(settings(None, "old"), ["s0=study = 7", "s1= new "])
    assert [source.consent for source in chosen.sources] == ["study = 7", "new"]
    for wrong, said in (
        ("s2=x", "names no source"),
        ("s0", "names no source"),
        ("s0=", "1 to 200"),
        ("s0=a\nb", "1 to 200"),
    ):
        with pytest.raises(UsageError, match=said):
            with_references(settings(None), [wrong])


def test_a_reference_in_the_configuration_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "mellm.toml"
    path.write_text('[[sources]]\nid = "a"\nuri = "x"\nconsent = "  "')
    with pytest.raises(ConfigError, match=r"sources\[1\]\.consent.*1 to 200 printable"):
        load(path)


def test_the_reference_stands_in_every_journalled_event_of_its_source_and_in_no_other() -> None:
    with Journal() as journal:
        hub = Hub(journal)
        seen: list[str | None] = []
        hub.observe(lambda type, source, data: seen.append(data.get("consent")))
        hub.consent("a", "study-7/p-1")
        hub.publish_threadsafe(SOURCE_ONLINE, "a", {})
        hub.publish_threadsafe(FACE_LOST, "a", {"track": 1}, 5)
        hub.publish_threadsafe(MARKER, "b", {"label": "x", "by": "y", "ref": None})
        erased = {"reason": "withdrawal", "events": 1, "from_seq": 1, "to_seq": 2}
        hub.publish_threadsafe(EVENTS_ERASED, "a", erased)
        lossy = hub.publish_threadsafe(SCORE, "a", {"track": 1, "me": 0.1, "apex": 0.1, "macro": 0.1}, 5)
        assert seen == ["study-7/p-1", "study-7/p-1", None, None, None]
        records = [*journal.replay(), lossy]
        assert [record.event.data.get("consent") for record in records if record] == seen
        assert not [each for record in records if record for each in problems(record.payload)]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--purpose", "research"], "--consent s=REF"),
        (["--purpose", "clinical"], "--consent s=REF"),
        (["--purpose", "self-use", "--no-consent-gate"], "no way round the consent gate"),
        (["--purpose", "research", "--consent", "t=x"], "names no source"),
    ],
)
def test_serve_says_what_is_missing_before_it_listens(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["serve", "--source", "s=synthetic:", "--port", "0", "--journal", ":memory:", *arguments]) == 2
    out, err = capsys.readouterr()
    assert said in err
    assert "listening" not in err
    assert not out


@pytest.mark.parametrize("verb", ["analyze", "watch", "watch --open"])
@pytest.mark.parametrize("purpose", sorted(NEEDED_FOR - PROHIBITED))
def test_recordings_and_cameras_without_a_server_need_the_reference_too(
    verb: str, purpose: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    source = ["clip.mp4", "--out", str(tmp_path / "run")] if verb == "analyze" else ["synthetic:"]
    assert run([*verb.split(), *source, "--purpose", purpose]) == 2
    out, err = capsys.readouterr()
    assert "consent" in err
    assert "--consent" in err
    assert not out
    assert not (tmp_path / "run").exists()


def test_from_python_it_is_the_same() -> None:
    with pytest.raises(ConsentMissing, match="consent="):
        mellm.analyze("clip.mp4", settings=settings(purpose="clinical"))
    with pytest.raises(ConsentMissing, match="consent="):
        mellm.Pipeline(settings=settings(purpose="research"), describer=mellm.ScriptedDescriber())


def test_a_reference_without_need_is_kept_and_one_that_is_none_refused() -> None:
    assert of_analysis(settings(purpose="self-use"), " p-1 ") == "p-1"
    assert of_analysis(settings(), None, Purpose.SELF_USE) is None
    assert of_analysis(settings(purpose="research"), "p-1") == "p-1"
    with pytest.raises(UsageError, match="printable"):
        of_analysis(settings(), "\n", Purpose.SELF_USE)
    with pytest.raises(ConsentMissing):
        of_analysis(settings(purpose="other", consent_required=True), None)
