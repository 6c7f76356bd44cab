"""The JSON Schema of the wire, generated from the frames themselves."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter

from spiderwebd.core.codes import CLOSE_MEANINGS, MEANINGS
from spiderwebd.core.frames import ServerFrame
from spiderwebd.core.protocol import CLIENT_FRAMES, PROTOCOL_VERSION
from spiderwebd.core.story import JOURNALLED_TYPES


def wire_schema() -> dict[str, Any]:
    """Return one JSON Schema document (2020-12): client frames, server frames, codes."""
    client = CLIENT_FRAMES.json_schema(ref_template="#/$defs/client.{model}")
    server = TypeAdapter(ServerFrame).json_schema(ref_template="#/$defs/server.{model}", mode="serialization")
    definitions = {f"client.{name}": body for name, body in client.pop("$defs").items()}
    definitions.update({f"server.{name}": body for name, body in server.pop("$defs").items()})
    definitions["ClientFrame"] = {**client, "description": "What a client may send."}
    definitions["ServerFrame"] = {**server, "description": "What the daemon sends."}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "spiderwebd websocket protocol",
        "description": "One JSON object in one text message, told apart by its type.",
        # Not oneOf: session.reset and others go both ways under one type.
        "anyOf": [{"$ref": "#/$defs/ClientFrame"}, {"$ref": "#/$defs/ServerFrame"}],
        "$defs": definitions,
        "x-protocol-version": PROTOCOL_VERSION,
        "x-journalled-types": list(JOURNALLED_TYPES),
        "x-error-codes": {
            code.value: {"meaning": meaning.text, "retry": meaning.retry}
            for code, meaning in MEANINGS.items()
        },
        "x-close-codes": {str(int(code)): text for code, text in CLOSE_MEANINGS.items()},
    }
