"""ELAN files: the rules of its schema, its own reader's view, and the schema itself where it can be had."""

import subprocess
import sys
import tarfile
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mellm.engine.export.eaf import printable, to_eaf
from mellm.engine.results.run_reader import Marker, Run, read_run
from mellm.stream.errors import UsageError
from tests import PATIENCE_S, REPO
from tests.engine.export.made import hold_golden, record, run_folder, typed

ORDER = (
    *("LICENSE", "HEADER", "TIME_ORDER", "TIER", "LINGUISTIC_TYPE", "LOCALE", "LANGUAGE", "CONSTRAINT"),
    *("CONTROLLED_VOCABULARY", "LEXICON_REF", "REF_LINK_SET", "EXTERNAL_REF"),
)
PYMPI = "pympi-ling==1.71"
"""Its source archive carries ELAN's schema, for its own tests."""


def test_the_file_is_the_golden_one(made):
    hold_golden("talk.eaf", to_eaf(made))


def hold_rules(text: str) -> ET.Element:
    """What EAFv3.0.xsd asks of the parts that we write."""
    root = ET.fromstring(text)
    assert root.tag == "ANNOTATION_DOCUMENT"
    assert {"DATE", "AUTHOR", "VERSION"} <= set(root.attrib)
    names = [child.tag for child in root]
    assert names == sorted(names, key=ORDER.index)  # xsd:sequence
    assert names.count("HEADER") == names.count("TIME_ORDER") == 1
    slots = [s.get("TIME_SLOT_ID") for s in root.iter("TIME_SLOT")]
    ids = slots + [
        a.get("ANNOTATION_ID") for tag in ("ALIGNABLE_ANNOTATION", "REF_ANNOTATION") for a in root.iter(tag)
    ]
    ids += [e.get("STEREOTYPE") for e in root.iter("CONSTRAINT")] + [
        e.get("LANG_ID") for e in root.iter("LANGUAGE")
    ]
    assert max(Counter(ids).values()) == 1  # xsd:ID is unique over the document
    assert all(int(s.get("TIME_VALUE")) >= 0 for s in root.iter("TIME_SLOT"))
    types = {t.get("LINGUISTIC_TYPE_ID"): t for t in root.iter("LINGUISTIC_TYPE")}
    stereotypes = {c.get("STEREOTYPE") for c in root.iter("CONSTRAINT")}
    vocabularies = {v.get("CV_ID") for v in root.iter("CONTROLLED_VOCABULARY")}
    assert all(t.get("CONSTRAINTS", "Included_In") in stereotypes for t in types.values())
    assert all(t.get("CONTROLLED_VOCABULARY_REF", "emotions") in vocabularies for t in types.values())
    tiers = {t.get("TIER_ID"): t for t in root.iter("TIER")}
    assert len(tiers) == names.count("TIER")  # xsd:key tierNameKey
    for tier in tiers.values():
        kind = types[tier.get("LINGUISTIC_TYPE_REF")]  # xsd:keyref linTypeNameRef
        assert tier.get("PARENT_REF") is None or tier.get("PARENT_REF") in tiers
        body = "ALIGNABLE_ANNOTATION" if kind.get("TIME_ALIGNABLE") == "true" else "REF_ANNOTATION"
        for annotation in tier:
            assert [b.tag for b in annotation] == [body]
            assert [v.tag for v in annotation[0]] == ["ANNOTATION_VALUE"]
            if body == "ALIGNABLE_ANNOTATION":
                assert annotation[0].get("TIME_SLOT_REF1") in slots  # xsd:keyref timeSlotRef1, timeSlotRef2
                assert annotation[0].get("TIME_SLOT_REF2") in slots
            else:
                parents = {a[0].get("ANNOTATION_ID") for a in tiers[tier.get("PARENT_REF")]}
                assert annotation[0].get("ANNOTATION_REF") in parents
    return root


def test_the_rules_of_the_schema_hold(made):
    root = hold_rules(to_eaf(made))
    tiers = [t.get("TIER_ID") for t in root.iter("TIER")]
    assert tiers == [
        *(f"{kind}@track1" for kind in ("expression", "apex", "action units", "emotion", "description")),
        *(f"{kind}@track2" for kind in ("expression", "apex", "action units", "emotion", "description")),
        "markers",
    ]


@given(
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 40), st.integers(0, 40)), max_size=12),
    st.lists(st.tuples(st.floats(0, 1e6), st.text(max_size=20)), max_size=5),
    st.text(max_size=30),
)
def test_the_rules_hold_for_any_run(moments, markers, words):
    records = typed(
        *(
            record(f"{n:016x}", (a, a + b, a + b + c), track=1 + n % 3, description={"text": words})
            for n, (a, b, c) in enumerate(moments)
        )
    )
    run = Run(Path(), {"sources": {"x": {}}}, records).with_markers(
        [Marker(t, label) for t, label in markers]
    )
    root = hold_rules(to_eaf(run))
    times = {s.get("TIME_SLOT_ID"): int(s.get("TIME_VALUE")) for s in root.iter("TIME_SLOT")}
    for body in root.iter("ALIGNABLE_ANNOTATION"):
        assert times[body.get("TIME_SLOT_REF1")] < times[body.get("TIME_SLOT_REF2")]


def test_pympi_sees_intervals_and_what_hangs_on_them(made, tmp_path):
    elan = pytest.importorskip("pympi.Elan")
    path = tmp_path / "talk.eaf"
    path.write_text(to_eaf(made), encoding="utf-8")
    document = elan.Eaf(str(path))
    assert document.get_annotation_data_for_tier("expression@track2") == [(3337, 3670, "0.66")]
    units = document.get_ref_annotation_data_for_tier("action units@track1")
    assert [entry[2] for entry in units] == ["1+2", "R12", "4+L7"]
    assert document.get_annotation_data_for_tier("markers") == [(3000, 4000, "question 1 <b>")]


@pytest.mark.slow
def test_elans_own_schema_accepts_it(made, tmp_path):
    etree = pytest.importorskip("lxml.etree")
    got = subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "download",
            "-q",
            "--no-deps",
            "--no-build-isolation",
            "--no-binary",
            ":all:",
            PYMPI,
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    archives = list(tmp_path.glob("pympi*.tar.gz"))
    if not archives:
        pytest.skip(f"the archive with ELAN's schema cannot be had: {got.stderr.strip()[-200:]}")
    with tarfile.open(archives[0]) as archive:
        member = next(m for m in archive.getmembers() if m.name.endswith("EAFv3.0.xsd"))
        content = archive.extractfile(member)
        assert content is not None
        schema = etree.XMLSchema(etree.parse(content))
    empty = Run(Path(), {"sources": {"x": {}}}, ())
    for text in (to_eaf(made), to_eaf(empty)):
        schema.assertValid(etree.fromstring(text.encode()))
    broken = to_eaf(made).replace('LINGUISTIC_TYPE_REF="notes"', 'LINGUISTIC_TYPE_REF="nothing"')
    assert not schema.validate(etree.fromstring(broken.encode()))


def test_the_recording_is_named_relative_to_the_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = read_run(run_folder(tmp_path / "runs" / "one"))
    (tmp_path / "recordings").mkdir()
    (tmp_path / "recordings" / "talk.mp4").touch()
    media = hold_rules(to_eaf(run, tmp_path / "runs")).find("HEADER/MEDIA_DESCRIPTOR")
    assert media.get("RELATIVE_MEDIA_URL") == "./../recordings/talk.mp4"
    assert str(tmp_path) not in to_eaf(run, tmp_path / "runs")


def test_two_recordings_are_two_files(tmp_path):
    run = read_run(run_folder(tmp_path / "run", sources=("left", "right")))
    with pytest.raises(UsageError, match="--source"):
        to_eaf(run)


@given(st.text())
def test_what_xml_cannot_hold_is_left_out(value):
    assert ET.fromstring(f"<a><![CDATA[{printable(value).replace(']]>', '')}]]></a>") is not None


def test_the_full_path_of_the_recording_is_named_only_where_asked(made, tmp_path):
    pympi = pytest.importorskip("pympi")
    for absolute in (False, True):
        path = tmp_path / f"{absolute}.eaf"
        path.write_text(to_eaf(made, tmp_path, absolute=absolute))
        (link,) = pympi.Elan.Eaf(str(path)).get_linked_files()
        assert link["RELATIVE_MEDIA_URL"] == "./talk.mp4"
        assert (str(REPO) in link["MEDIA_URL"]) is absolute
        assert link["MEDIA_URL"].startswith("file:///")
        assert link["MEDIA_URL"].endswith("talk.mp4")
