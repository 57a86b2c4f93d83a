from __future__ import annotations

import os
from pathlib import Path

import pytest

from mellm.engine.evidence.store import EvidenceStore
from mellm.stream.protocol.wire import MAX_PICTURE_BYTES


def test_the_store_is_bounded_in_bytes_and_the_unread_go_first() -> None:
    store = EvidenceStore(max_bytes=30)
    for id in "abc":
        store.put(id, b"x" * 10)
    assert store.get("a")
    store.put("d", b"x" * 10)
    assert [id for id in "abcd" if store.get(id)] == ["a", "c", "d"]
    store.put("d", b"y" * 5)
    assert (store.get("d"), store.bytes, len(store)) == (b"yyyyy", 25, 3)
    store.put("huge", b"x" * 31)
    assert (len(store), store.bytes) == (0, 0)


def test_the_store_is_bounded_in_age() -> None:
    now = 0.0
    store = EvidenceStore(max_age_s=10, clock=lambda: now)
    store.put("a", b"x")
    now = 9.0
    assert store.get("a")
    now = 11.0
    assert store.get("a") is None
    assert store.bytes == 0


def test_faces_are_kept_only_where_a_folder_was_named(tmp_path: Path) -> None:
    store = EvidenceStore()
    store.put("a1", b"face", "faces")
    assert not store.keeps_faces
    assert (store.get("a1", "faces"), store.bytes, list(tmp_path.iterdir())) == (None, 0, [])
    store = EvidenceStore(tmp_path / "maps")
    assert store.keeps_faces
    store.put("a1", b"face", "faces")
    store.put("a1", b"map")
    assert (store.get("a1", "faces"), store.get("a1")) == (b"face", b"map")
    assert sorted(os.listdir(tmp_path / "maps")) == ["a1.faces.png", "a1.png"]


def test_what_is_on_disk_is_found_after_a_restart_until_it_is_erased(tmp_path: Path) -> None:
    EvidenceStore(tmp_path).put("a1", b"map")
    store = EvidenceStore(tmp_path)
    assert store.get("a1") == b"map"
    (tmp_path / "a1.png").unlink()
    assert store.get("a1") is None


@pytest.mark.parametrize("id", ["..", "../a1", "a1.faces", "", "a/b"])
def test_no_id_names_another_file(tmp_path: Path, id: str) -> None:
    (tmp_path / "maps").mkdir()
    for name in ("a1.png", "maps/a1.faces.png", "maps/.png", "maps/..png"):
        (tmp_path / name).write_bytes(b"secret")
    assert EvidenceStore(tmp_path / "maps").get(id) is None


def test_a_file_nobody_here_wrote_and_a_disk_that_refuses_are_no_picture(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = EvidenceStore(tmp_path)
    (tmp_path / "a1.png").write_bytes(bytes(MAX_PICTURE_BYTES + 1))
    (tmp_path / "a2.png").mkdir()
    assert (store.get("a1"), store.get("a2")) == (None, None)
    assert "a2.png" in caplog.text
    (tmp_path / "file").touch()
    EvidenceStore(tmp_path / "file").put("a3", b"map")
    assert "a3" in caplog.text
