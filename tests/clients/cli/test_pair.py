"""``mellm flowmap`` and ``mellm describe``."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from mellm.clients.cli import run
from mellm.detectors.analyzer import FakeFaceAnalyzer
from mellm.engine.evidence.picture_pair import pair_evidence
from mellm.stream.errors import FaceError


@pytest.fixture
def shifted(tmp_path):
    """A texture that moved by (1.5, 0) pixels everywhere, as two pictures."""
    rng = np.random.default_rng(3)
    texture = cv2.GaussianBlur(rng.uniform(0, 255, (96, 128, 3)).astype(np.float32), (0, 0), 3)
    texture = cv2.normalize(texture, None, 0, 255, cv2.NORM_MINMAX)
    moved = cv2.warpAffine(
        texture, np.float32([[1, 0, 1.5], [0, 1, 0]]), (128, 96), borderMode=cv2.BORDER_REFLECT
    )
    names = tmp_path / "onset.png", tmp_path / "apex.png"
    for name, image in zip(names, (texture, moved), strict=True):
        cv2.imwrite(str(name), image)
    return [str(name) for name in names]


@pytest.mark.parametrize("recipe", ["mellm-v1", "live"])
def test_a_nose_tip_needs_no_face_and_no_models(recipe, shifted, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("MELLM_CACHE", str(tmp_path / "empty"))
    out = tmp_path / "map.png"
    assert run(["flowmap", *shifted, "-o", str(out), "--recipe", recipe, "--nose", "64,48", "--json"]) == 0
    said, err = capsys.readouterr()
    report = json.loads(said)
    assert (report["recipe"], report["size"], report["face"], report["regions"]) == (
        recipe,
        [128, 96],
        None,
        [],
    )
    assert report["flow"]["median_px"] == pytest.approx(1.5, abs=0.2)
    assert cv2.imread(str(out)).shape == (96, 128, 3)
    assert not err


@pytest.mark.parametrize(("recipe", "regions"), [("live", 31), ("mellm-v3", 29)])
def test_the_face_is_found(recipe, regions, pair, models, tmp_path, capsys):
    arguments = ["flowmap", *map(str, pair), "-o", str(tmp_path / "map.png"), "--recipe", recipe, "--json"]
    assert run(arguments) == 0
    report = json.loads(capsys.readouterr().out)
    assert len(report["regions"]) == regions
    assert report["refused"] is None
    # the truth: 3.8 hundredths of the eye distance, which is 90 px
    assert 2.0 < report["flow"]["peak_iod"] < 6.0
    assert report["face"][2] > 96


def test_the_table_is_talk_without_json(shifted, tmp_path, capsys):
    out = tmp_path / "map.png"
    assert run(["flowmap", *shifted, "-o", str(out), "--nose", "64,48"]) == 0
    said, err = capsys.readouterr()
    assert not said
    assert err.startswith(f"{out}: live, flow up to ")


def test_describe_says_what_moved(pair, models, capsys):
    assert run(["describe", *map(str, pair), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["state"] == "described"
    assert {u["au"] for u in record["description"]["action_units"]} & {6, 12}
    assert set(record["description"]) == {"text", "action_units", "emotion", "model", "profile", "latency_ms"}
    assert run(["describe", *map(str, pair)]) == 0
    assert capsys.readouterr().out.startswith("AU")


def test_a_still_pair_is_not_described(pair, models, capsys):
    assert run(["describe", str(pair[0]), str(pair[0])]) == 0
    assert capsys.readouterr().out == "no description: the motion is too small to tell from noise\n"


@pytest.mark.parametrize(
    ("nose", "said"),
    [("64", "X,Y"), ("64,", "X,Y"), ("a,b", "X,Y"), ("nan,3", "X,Y"), ("1,2,3", "X,Y"), ("128,5", "outside")],
)
def test_a_nose_that_is_none(nose, said, shifted, tmp_path, capsys):
    assert run(["flowmap", *shifted, "-o", str(tmp_path / "map.png"), "--nose", nose]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1


def test_regions_need_a_face(shifted, tmp_path, capsys):
    arguments = [
        "flowmap",
        *shifted,
        "-o",
        str(tmp_path / "m.png"),
        "--recipe",
        "mellm-v3",
        "--nose",
        "64,48",
    ]
    assert run(arguments) == 2
    assert "leave --nose out" in capsys.readouterr().err


def test_no_face(shifted, models, tmp_path, capsys):
    for verb in (["flowmap", *shifted, "-o", str(tmp_path / "map.png")], ["describe", *shifted]):
        assert run(verb) == 3
        err = capsys.readouterr().err
        assert f"{shifted[0]}: no face found" in err
        assert err.count("\n") == 1
    assert not (tmp_path / "map.png").exists()


def test_no_face_without_networks(shifted):
    with pytest.raises(FaceError, match="--nose"):
        pair_evidence(*shifted, analyzer=FakeFaceAnalyzer(lambda frame: None))


def bad_pictures(folder, good):
    """Name → what is wrong with it, exit code, what is said."""
    data = Path(good).read_bytes()
    (folder / "empty.png").touch()
    (folder / "text.png").write_text("hello")
    (folder / "cut.png").write_bytes(data[: len(data) // 2])
    jpeg = cv2.imencode(".jpg", cv2.imread(good))[1].tobytes()
    (folder / "cut.jpg").write_bytes(jpeg[: len(jpeg) // 2])
    small = np.zeros((48, 64, 3), np.uint8)
    cv2.imwrite(str(folder / "small.png"), small)
    # 8192 × 8192 by its header, a few bytes long
    (folder / "huge.png").write_bytes(data[:16] + (8192).to_bytes(4, "big") * 2 + data[24:])
    return {
        "none.png": (3, "no such file"),
        "empty.png": (3, "empty"),
        "text.png": (3, "not a picture"),
        "cut.png": (3, "cut off"),
        "cut.jpg": (3, "cut off"),
        "huge.png": (3, "8192×8192"),
        "small.png": (2, "64×48"),
        "": (3, "not a file"),
    }


def test_pictures_that_cannot_be_used(shifted, tmp_path, capfd):
    for name, (code, said) in bad_pictures(tmp_path, shifted[0]).items():
        path = str(tmp_path / name)
        for both in ([path, shifted[1]], [shifted[0], path]):
            assert run(["flowmap", *both, "-o", str(tmp_path / "map.png"), "--nose", "5,5"]) == code, name
            out, err = capfd.readouterr()
            assert said in err
            assert path in err
            assert " — " in err
            assert err.count("\n") == 1
            assert not out


def test_maps_that_cannot_be_written(shifted, tmp_path, capsys):
    for out in (tmp_path / "none" / "map.png", tmp_path / "map.bmp"):
        assert run(["flowmap", *shifted, "-o", str(out), "--nose", "5,5"]) == 2
        assert str(out) in capsys.readouterr().err
