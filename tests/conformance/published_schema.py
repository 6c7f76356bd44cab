"""The published schema, asked about single frames; and strict JSON, as the README promises it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import jsonschema

Frame = dict[str, Any]

SCHEMA_FILE = Path(__file__).parents[2] / "spiderwebd" / "core" / "protocol.schema.json"


class ProtocolBroken(AssertionError):
    """The daemon sent what the published schema does not allow; the text shows the frame."""


class PublishedSchema:
    """The published schema, asked frame by frame. Built from a parsed schema document."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.codes = frozenset(document["x-error-codes"])
        self.close_codes = frozenset(int(code) for code in document["x-close-codes"])
        self.journalled = frozenset(document["x-journalled-types"])
        self.protocol = document["x-protocol-version"]
        self._definitions = document["$defs"]
        self._server = self._by_type(document, "ServerFrame")
        self._client = self._by_type(document, "ClientFrame")

    @property
    def client_types(self) -> frozenset[str]:
        """Every type a client may send."""
        return frozenset(self._client)

    def check_received(self, frame: Frame) -> None:
        """Raise ProtocolBroken unless the schema publishes this server frame, field by field."""
        name, validator = self._server.get(frame.get("type", ""), ("", None))
        if validator is None:
            raise ProtocolBroken(f"no server frame has this type: {frame}")
        for error in validator.iter_errors(frame):
            raise ProtocolBroken(f"{error.json_path}: {error.message} in {frame}")
        unpublished = set(frame) - set(self._definitions[name]["properties"])
        if unpublished:
            raise ProtocolBroken(f"{name} does not publish {sorted(unpublished)}: {frame}")
        if frame["type"] in {"error", "agent.status"} and not {frame.get("code")} <= self.codes | {None}:
            raise ProtocolBroken(f"this code is not in the published table: {frame}")
        if "seq" in frame and frame["type"] not in self.journalled | {"session.ack", "session.gap"}:
            raise ProtocolBroken(f"only journalled frames carry seq: {frame}")

    def check_sent(self, frame: Frame) -> None:
        """Raise jsonschema.ValidationError unless the schema allows this client frame."""
        self._client[frame["type"]][1].validate(frame)

    def _by_type(
        self, document: Mapping[str, Any], union: str
    ) -> dict[str, tuple[str, jsonschema.Draft202012Validator]]:
        found = {}
        members = document["$defs"][union]
        for member in members.get("oneOf", members.get("anyOf")):
            name = member["$ref"].rpartition("/")[2]
            declared = self._definitions[name]["properties"]["type"]
            validator = jsonschema.Draft202012Validator({"$ref": member["$ref"], "$defs": self._definitions})
            for kind in declared.get("enum", [declared.get("const")]):
                found[kind] = (name, validator)
        return found


PUBLISHED = PublishedSchema(json.loads(SCHEMA_FILE.read_text("utf-8")))


def strict_json(text: str) -> Frame:
    """`text` as one JSON object. Raises ProtocolBroken on NaN, doubled keys or lone surrogates."""

    def once(pairs: list[tuple[str, Any]]) -> Frame:
        fields = dict(pairs)
        if len(fields) != len(pairs):
            raise ProtocolBroken(f"a key stands twice: {text}")
        return fields

    def constant(name: str) -> NoReturn:
        raise ProtocolBroken(f"{name} is not JSON: {text}")

    try:
        frame = json.loads(text, object_pairs_hook=once, parse_constant=constant)
        json.dumps(frame, ensure_ascii=False).encode("utf-8")
    except ValueError as error:
        raise ProtocolBroken(f"{error}: {text!r}") from None
    if not isinstance(frame, dict):
        raise ProtocolBroken(f"not an object: {text}")
    return frame
