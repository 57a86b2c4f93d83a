"""The AsyncAPI 3 document of ``mellm.v1``: the schema's messages, with channel, operations and bindings."""

from __future__ import annotations

from typing import Any, Final

from mellm.stream.protocol.client_messages import MESSAGES
from mellm.stream.protocol.events import LOSSY
from mellm.stream.protocol.schema import SAID, document
from mellm.stream.protocol.wire import CONTROL, PROTOCOL

VERSION: Final = "3.0.0"
CHANNEL: Final = "stream"
PATH: Final = "/v1/stream"


def asyncapi() -> dict[str, Any]:
    """The document. Operations are the server's: it receives what clients send."""
    schema = document()
    definitions = _moved(schema["$defs"])
    del definitions["client"], definitions["server"]
    messages = {name: _message(name) for name in (*MESSAGES, *SAID)}
    return {
        "asyncapi": VERSION,
        "info": {
            "title": "mellm-live",
            "version": PROTOCOL.rpartition(".")[2],
            "description": "Facial micro-expressions as they happen. docs/protocol.md tells how to talk to the server.",
            "license": {"name": "MIT"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "local": {
                "host": "127.0.0.1:8765",
                "protocol": "ws",
                "description": "`mellm serve`; other addresses need TLS (wss) and a token",
                "security": [{"$ref": "#/components/securitySchemes/token"}],
            }
        },
        "channels": {
            CHANNEL: {
                "address": PATH,
                "description": f"WebSocket, subprotocol {PROTOCOL}",
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
                "bindings": {"ws": {"method": "GET", "bindingVersion": "0.1.0"}},
            }
        },
        "operations": {
            "receive": _operation("receive", "What clients may send.", MESSAGES),
            "send": _operation("send", "What the server sends.", SAID),
        },
        "components": {
            "messages": messages,
            "schemas": definitions,
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "with the handshake; browsers send session.auth as first message",
                }
            },
        },
    }


def _message(name: str) -> dict[str, Any]:
    payload = {"$ref": f"#/components/schemas/{name}"}
    if name in MESSAGES:
        found: dict[str, Any] = {"name": name, "payload": payload}
        if name == "push.start":
            found["description"] = (
                "After push.accepted, pictures follow as binary messages: four bytes, big-endian, that hold the length "
                'of a head; the head, {"time_ns": "…"}; a JPEG.'
            )
        return found
    said = SAID[name]
    kind = "control" if name in CONTROL else "lossy" if name in LOSSY else "reliable"
    found = {"name": name, "summary": said.summary, "tags": [{"name": kind}], "payload": payload}
    if said.picture:
        found["description"] = (
            "A binary message: four bytes, big-endian, that hold the length of the envelope; the envelope, the "
            "payload here; the picture."
        )
    return found


def _operation(action: str, summary: str, names: Any) -> dict[str, Any]:
    return {
        "action": action,
        "summary": summary,
        "channel": {"$ref": f"#/channels/{CHANNEL}"},
        "messages": [{"$ref": f"#/channels/{CHANNEL}/messages/{name}"} for name in names],
    }


def _moved(value: Any) -> Any:
    """References point into the components."""
    if isinstance(value, dict):
        return {
            key: each.replace("#/$defs/", "#/components/schemas/") if key == "$ref" else _moved(each)
            for key, each in value.items()
        }
    return [_moved(each) for each in value] if isinstance(value, list) else value
