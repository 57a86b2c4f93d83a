from mellm.clients.cli.happenings import Happenings

REFUSED = {
    "code": "source_unreachable",
    "message": "rtsp://c/1: connection refused",
    "attempt": 1,
    "delay_s": 0.3,
}


def test_each_kind_is_a_line_without_nanoseconds():
    told = Happenings()
    online = {
        "uri": "rtsp://c/1",
        "kind": "rtsp",
        "width": 640,
        "height": 480,
        "rotation": 90,
        "codec": "h264",
    }
    gap = {"from_ns": "16875000000", "to_ns": "21483473217", "reason": "reconnect", "frames": 0}
    lines = [
        told.line("source.online", "desk", {**online, "declared_fps": 50.0, "segment": 1}),
        told.line("source.gap", "desk", {**gap, "from_ms": 16875.0, "t_ns": "16875000000"}),
        told.line("source.gap", "", {**gap, "reason": "overflow", "frames": 7}),
        told.line("source.ended", "", {"early": False, "message": "", "frames": 1200}),
        told.line("source.ended", "", {"early": True, "message": "it ends at 2 s", "frames": 60}),
        told.line("face.appeared", "", {"track": 2, "box": [1, 2, 3, 4]}, 2_580_000_000),
        told.line("stream.skipped", "", {"counts": {"score": 12, "stats": 1}}),
        told.line("events.erased", "desk", {"reason": "withdrawal", "events": 3, "from_seq": 1, "to_seq": 9}),
        told.line("source.session", "desk", {"run": "desk-1", "state": "begun", "video": True}),
        told.line(
            "source.session", "desk", {"run": "desk-1", "state": "saved", "video": True, "expressions": 1}
        ),
        told.line("source.new", "desk", {"since_ns": "5", "why": "so"}),
    ]
    assert lines == [
        "source.online  desk  640×480 h264 50 fps turned by 90°  rtsp://c/1",
        "source.gap  desk  00:16.875 to 00:21.483 (4.6 s): reconnect",
        "source.gap  00:16.875 to 00:21.483 (4.6 s): overflow, 7 frames lost",
        "source.ended  after 1200 frames",
        "source.ended  after 60 frames, early: it ends at 2 s",
        "face.appeared  track 2 at 00:02.580",
        "stream.skipped  this reader was too slow; left out: 12 score, 1 stats",
        "events.erased  desk  3 events were erased (withdrawal); delete your copies",
        "source.session  desk  desk-1 begins, the video is kept",
        "source.session  desk  saved as desk-1: 1 expression",
        "source.new  desk  why so",
    ]


def test_an_outage_is_told_once_and_again_when_its_cause_changes():
    told = Happenings()
    assert told.line("source.offline", "desk", REFUSED)
    assert told.line("source.reconnecting", "desk", REFUSED) is None
    assert told.line("source.reconnecting", "other", REFUSED), "another source, another outage"
    assert told.line("source.reconnecting", "desk", {**REFUSED, "message": "no route"})
    told.line("source.online", "desk", {"uri": "", "width": 1, "height": 1})
    assert told.line("source.offline", "desk", {**REFUSED, "message": "no route"}), "a new outage"
