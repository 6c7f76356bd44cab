"""Client frames: what may come in over a websocket, and how a text becomes one of them.

Every frame is one JSON object in one text message, told apart by `type`. Fields that are unknown
are ignored, so that old daemons and new clients get along. Where the original took a wrong type for
an absent field, so does this (compatibility 1.3: id, limit, archive, content and text, the fields of
agent.control); any other mistake is said in the error that answers the frame.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import PydanticUseDefault, from_json

from spiderwebd.core.codes import Code, Refused

PROTOCOL_VERSION = 1

REQUEST_ID_CHARACTERS = 128
"""Longest client request id; ids are kept for as long as retries are recognised."""

DEFAULT_LIMIT = 25
MAX_LIMIT = 128
DEFAULT_HISTORY = 5
MAX_HISTORY = 20


def _string_or_absent(value: object) -> object:
    return value if isinstance(value, str) else None


def _id_or_absent(value: object) -> object:
    return value if isinstance(value, str) and value else None


def _limit(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        return DEFAULT_LIMIT
    return MAX_LIMIT if value == 0 or value > MAX_LIMIT else value


def _history_limit(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        return DEFAULT_HISTORY
    return min(value, MAX_HISTORY)


def _flag_or_default(value: object) -> object:
    if not isinstance(value, bool):
        raise PydanticUseDefault
    return value


def _null_is_absent(value: object) -> object:
    if value is None:
        raise PydanticUseDefault
    return value


RequestId = Annotated[
    Annotated[str, Field(max_length=REQUEST_ID_CHARACTERS)] | None, BeforeValidator(_id_or_absent)
]
"""The client's own id of a request; anything but a string, and an empty one, counts as absent."""
Text = Annotated[str | None, BeforeValidator(_string_or_absent)]
"""A text of which anything but a string counts as absent."""
Limit = Annotated[int, BeforeValidator(_limit)]
"""Missing, negative or not an integer: 25; 0 or more than 128: 128."""
HistoryLimit = Annotated[int, BeforeValidator(_history_limit)]
"""Anything but a positive integer: 5; more than 20: 20 (compatibility 1.6)."""
Flag = Annotated[bool, BeforeValidator(_flag_or_default)]
"""Anything but true and false counts as absent."""
OrDefault = BeforeValidator(_null_is_absent)
"""null counts as absent."""
MemoryId = Annotated[int, Field(ge=1, lt=2**63)]


class ClientFrame(BaseModel):
    """What every client frame shares."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    id: RequestId = None


class Resume(BaseModel):
    """Where a client left off: everything after this seq is sent again, once, in order."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    sessionKey: str = Field(max_length=256)
    after: int | None = Field(default=None, ge=0, lt=2**63)


class Connect(ClientFrame):
    """First frame of a link without an Authorization header; later, a request to replay."""

    type: Literal["connect"]
    token: str | None = Field(default=None, max_length=1024)
    resume: Resume | None = None
    client: str | None = Field(default=None, max_length=256)
    protocol: int | None = None


class Disconnect(ClientFrame):
    """Asks for a normal close."""

    type: Literal["disconnect"]


class Ping(ClientFrame):
    """Answered by pong."""

    type: Literal["ping"]


class Pong(ClientFrame):
    """An answer nobody asked for; accepted and ignored."""

    type: Literal["pong"]


class ChatSend(ClientFrame):
    """A message, `/goal TEXT`, or `/new`; `content` wins over `text`."""

    type: Literal["chat.send", "session.send"]
    content: Text = None
    text: Text = None
    pauseBefore: int | None = Field(default=None, ge=1)

    @property
    def said(self) -> str | None:
        """The text of the message, or None when neither field is there."""
        return self.content if self.content is not None else self.text


class SessionReset(ClientFrame):
    """Empties the working memory; the key stays and the long-term memory keeps everything."""

    type: Literal["session.new", "session.reset"]
    archive: Flag = True
    reason: Annotated[str, Field(max_length=256), OrDefault] = "manual-reset"


class SessionList(ClientFrame):
    """The sessions of this principal, newest first."""

    type: Literal["session.list"]
    agent_id: str | None = None
    limit: Limit = DEFAULT_LIMIT


class SessionHistory(ClientFrame):
    """Recent sessions of one agent (default 5, at most 20)."""

    type: Literal["session.history"]
    agent_id: Annotated[str, OrDefault] = "default"
    limit: HistoryLimit = DEFAULT_HISTORY


class SessionRestore(ClientFrame):
    """The newest session of one agent that a client could attach to."""

    type: Literal["session.restore"]
    agent_id: Annotated[str, OrDefault] = "default"


class MemoryCreate(ClientFrame):
    """Stores a memory on purpose; answered by session.accepted alone."""

    type: Literal["memory.create"]
    content: str
    name: str | None = Field(default=None, max_length=256)


class MemoryLoad(ClientFrame):
    """One memory by id, brought back into RAM when it had left."""

    type: Literal["memory.load"]
    memoryId: MemoryId


class MemoryUpdate(ClientFrame):
    """Revises the text of a memory; the old version is kept."""

    type: Literal["memory.update"]
    memoryId: MemoryId
    content: str


class MemoryEvict(ClientFrame):
    """Takes a memory (default: the oldest) out of RAM; its text stays in the LTM."""

    type: Literal["memory.evict"]
    memoryId: MemoryId | None = None


class MemorySummarize(ClientFrame):
    """Replaces a memory (default: the oldest) in RAM by a summary that names it."""

    type: Literal["memory.summarize"]
    memoryId: MemoryId | None = None


class MemoryRecall(ClientFrame):
    """What is remembered, newest first."""

    type: Literal["memory.recall"]
    limit: Limit = DEFAULT_LIMIT
    include_archived: Flag = True
    include_full: Flag = False


class MemoryQuery(ClientFrame):
    """Memories by kind, id or topic (a substring), or ranked by free text in `search`."""

    type: Literal["memory.query"]
    limit: Limit = DEFAULT_LIMIT
    include_archived: Flag = True
    kind: str | None = None
    topic: str | None = None
    memoryId: MemoryId | None = None
    memoryIds: Annotated[list[MemoryId], Field(max_length=1024), OrDefault] = []
    search: str | None = Field(default=None, max_length=4096)
    scope: Annotated[Literal["session", "agent", "all"], OrDefault] = "session"


class AgentControl(ClientFrame):
    """state, watch, unwatch, heartbeat, pause, resume, cancel, or a goal, whose `goal` wins over its text."""

    type: Literal["agent.control"]
    action: Text = None
    goal: Text = None
    content: Text = None
    text: Text = None
    goalId: int | None = None
    pauseBefore: int | None = Field(default=None, ge=1)


class AgentHeartbeat(ClientFrame):
    """Asks for a heartbeat now; always answered."""

    type: Literal["agent.heartbeat"]


class AgentList(ClientFrame):
    """The agents of this daemon."""

    type: Literal["agent.list"]


class AgentGet(ClientFrame):
    """One agent; an unknown id is an error."""

    type: Literal["agent.get"]
    agent_id: str | None = None


AnyFrame = Annotated[
    Connect
    | Disconnect
    | Ping
    | Pong
    | ChatSend
    | SessionReset
    | SessionList
    | SessionHistory
    | SessionRestore
    | MemoryCreate
    | MemoryLoad
    | MemoryUpdate
    | MemoryEvict
    | MemorySummarize
    | MemoryRecall
    | MemoryQuery
    | AgentControl
    | AgentHeartbeat
    | AgentList
    | AgentGet,
    Field(discriminator="type"),
]

SIGNALS = (Ping, Pong, Disconnect)
"""Frames that are no requests: nothing of them can be accepted or refused."""

CLIENT_FRAMES: TypeAdapter[AnyFrame] = TypeAdapter(AnyFrame)
_VALIDATE_JSON = CLIENT_FRAMES.validator.validate_json
"""What the adapter's own method calls, without its options: that is a sixth of a parse."""


class BadFrame(Refused):
    """A text that is no client frame; `request` is its id where one could be read."""

    def __init__(self, message: str, code: Code, request: str | None) -> None:
        super().__init__(message, code)
        self.request = request


def parse(text: str | bytes) -> AnyFrame:
    """Turn one text message into its frame (one of the classes above).

    Raises:
        BadFrame: with BAD_JSON, UNKNOWN_TYPE or BAD_FRAME, and a message that names the field.
    """
    try:
        frame: AnyFrame = _VALIDATE_JSON(text)
    except ValidationError as error:
        raise _explain(error, text) from None
    if _NO_NUMBER.search(text if isinstance(text, str) else text.decode()):
        _refuse_no_number(text)
    return frame


_NO_NUMBER = re.compile("NaN|Infinity")


def _refuse_no_number(text: str | bytes) -> None:
    """Refuse NaN and Infinity outside of strings: JSON has neither (RFC 8259 section 6)."""
    try:
        from_json(text, allow_inf_nan=False)
    except ValueError:
        raise BadFrame("The frame is not valid JSON.", Code.BAD_JSON, None) from None


def _explain(error: ValidationError, text: str | bytes) -> BadFrame:
    first = error.errors(include_url=False, include_input=False)[0]
    if first["type"] == "json_invalid":
        return BadFrame(f"The frame is not valid JSON: {first['ctx']['error']}.", Code.BAD_JSON, None)
    try:
        value = from_json(text)
    except (TypeError, ValueError):  # a Python string that UTF-8 cannot carry
        return BadFrame("The frame is not valid UTF-8.", Code.BAD_JSON, None)
    if not isinstance(value, dict):
        return BadFrame("The frame is not a JSON object.", Code.BAD_JSON, None)
    request, tag = value.get("id"), value.get("type")
    if not isinstance(request, str) or len(request) > REQUEST_ID_CHARACTERS:
        request = None
    if not isinstance(tag, str):
        return BadFrame("The frame has no 'type' that is a string.", Code.BAD_FRAME, request)
    if first["type"] == "union_tag_invalid":
        return BadFrame(f"No client frame has the type '{tag[:64]}'.", Code.UNKNOWN_TYPE, request)
    field = ".".join(str(part) for part in first["loc"][1:])
    return BadFrame(f"{field}: {first['msg']}.", Code.BAD_FRAME, request)
