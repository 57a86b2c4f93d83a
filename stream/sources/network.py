"""Cameras and recordings behind RTSP and HTTP."""

from __future__ import annotations

from typing import Final

from mellm.stream.clock import Clock
from mellm.stream.frames import SourceKind
from mellm.stream.sources.addresses import redact, resolve
from mellm.stream.sources.base import SourceOptions
from mellm.stream.sources.decoder import AvSource, Target
from mellm.stream.sources.failures import network_failure

_HTTP_FORMATS: Final = "mpjpeg,mjpeg,mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,flv,mpegts,avi"


def open_network(
    uri: str,
    *,
    id: str,
    live: bool | None,
    options: SourceOptions,
    clock: Clock,
    first_segment: int,
) -> AvSource:
    """Open a stream. RTSP is live unless said otherwise; HTTP is live if it declares no duration.

    Redirects are not followed: what was checked is what is connected to.

    :raises SourceError: see :class:`AvSource`
    """
    shown = redact(uri)
    host = resolve(uri, policy=options.hosts, timeout_s=options.open_timeout_s)
    secure = uri.lower().startswith(("rtsps:", "https:"))
    kind: SourceKind = "rtsp" if uri.lower().startswith("rtsp") else "http"
    chosen = {"tls_verify": "1"} if secure and options.hosts == "public" else {}
    if kind == "rtsp":
        chosen |= {
            "protocol_whitelist": "rtsp,rtsps,rtp,srtp,udp,tcp,tls",
            "format_whitelist": "rtsp,sdp,rtp",
            "rtsp_transport": options.rtsp_transport,
            "allowed_media_types": "video",
        }
    else:
        chosen |= {
            "protocol_whitelist": "http,https,tcp,tls",
            "format_whitelist": _HTTP_FORMATS,
            "max_redirects": "0",
            "user_agent": "mellm-live",
        }
        if host.uri != uri:
            chosen["headers"] = f"Host: {host.name}\r\n"
    target = Target(
        url=host.uri,
        shown=shown,
        kind=kind,
        live=live if live is not None or kind == "http" else True,
        options=chosen,
        failure=lambda error, opening: network_failure(error, shown, opening=opening),
    )
    return AvSource(target, id=id, options=options, clock=clock, first_segment=first_segment)
