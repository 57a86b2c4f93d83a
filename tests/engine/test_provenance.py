import hashlib

from mellm.engine.provenance import file_facts, now


def test_a_file_is_told_from_every_other(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"abc")
    facts = file_facts(path)
    assert (facts["name"], facts["bytes"]) == ("a.mp4", 3)
    assert facts["sha256"] == hashlib.sha256(b"abc").hexdigest()
    assert facts["modified"] <= now()


def test_a_folder_of_pictures_is_hashed_by_names_and_contents(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in ("1.png", "2.png"):
        (folder / name).write_bytes(name.encode())
    before = file_facts(folder)
    assert before["bytes"] == 10
    (folder / "2.png").rename(folder / "3.png")
    assert file_facts(folder)["sha256"] != before["sha256"]


def test_what_is_no_file_has_none(tmp_path):
    assert file_facts(tmp_path / "synthetic:") is None
