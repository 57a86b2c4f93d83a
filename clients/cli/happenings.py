"""What happens to sources and faces, as lines for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mellm.stream.clock import clock


class Happenings:
    """Events other than expressions, one line each; of the many tries of one outage, those that say something new."""

    def __init__(self) -> None:
        self._told: dict[str, str] = {}

    def line(self, kind: str, source: str, data: Mapping[str, Any], t_ns: int | None = None) -> str | None:
        """The event in words, ``None`` where it only repeats what was told.

        :param source: empty where there is only one
        """
        if kind == "source.online":
            self._told.pop(source, None)
        elif kind in ("source.offline", "source.reconnecting"):
            message = str(data.get("message", ""))
            if self._told.get(source) == message:
                return None
            self._told[source] = message
        return "  ".join(part for part in (kind, source, _message(kind, data, t_ns)) if part)


def _message(kind: str, data: Mapping[str, Any], t_ns: int | None) -> str:
    match kind:
        case "source.online":
            facts = [f"{data['width']}×{data['height']}"]
            facts += [str(data["codec"])] if data.get("codec") else []
            facts += [f"{data['declared_fps']:g} fps"] if data.get("declared_fps") else []
            facts += [f"turned by {data['rotation']}°"] if data.get("rotation") else []
            notes = "".join(f"\n  note: {' '.join(str(each).split())}" for each in data.get("remarks") or ())
            return f"{' '.join(facts)}  {data['uri']}{notes}"
        case "source.gap":
            start, end = int(data["from_ns"]) / 1e6, int(data["to_ns"]) / 1e6
            lost = f", {data['frames']} frames lost" if data.get("frames") else ""
            return f"{clock(start)} to {clock(end)} ({(end - start) / 1000:.1f} s): {data['reason']}{lost}"
        case "source.ended" if "frames" in data:
            early = f", early: {data['message']}" if data["early"] else ""
            return f"after {data['frames']} frames{early}"
        case "source.picture":
            at = "" if t_ns is None else f" since {clock(t_ns / 1e6)}"
            return f"the picture is {data['state']}{at}"
        case "source.session" if data["state"] == "begun":
            return f"{data['run']} begins" + (", the video is kept" if data["video"] else "")
        case "source.session":
            count = data.get("expressions", 0)
            return f"saved as {data['run']}: {count} expression{'' if count == 1 else 's'}"
        case "face.appeared" | "face.lost":
            at = "" if t_ns is None else f" at {clock(t_ns / 1e6)}"
            return f"track {data['track']}{at}"
        case "events.erased":
            return f"{data['events']} events were erased ({data['reason']}); delete your copies"
        case "stream.skipped":
            counts = ", ".join(f"{count} {name}" for name, count in data["counts"].items())
            return f"this reader was too slow; left out: {counts}"
    if "message" in data:
        return str(data["message"])
    return ", ".join(f"{k} {v}" for k, v in data.items() if not k.endswith("_ns"))
