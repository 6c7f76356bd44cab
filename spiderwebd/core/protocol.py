"""Client frames: what may come in over a websocket, and how a text becomes one of them.

Every frame is one JSON object in one text message, told apart by `type`. Fields that are unknown
are ignored, so that old daemons and new clients get along. What is wrong with a frame is said in
the error that answers it, never passed over in silence.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import from_json

from spiderwebd.core.codes import Code, Refused

PROTOCOL_VERSION = 1

REQUEST_ID_CHARACTERS = 128
"""Longest client request id; ids are kept for as long as retries are recognised."""

DEFAULT_LIMIT = 25
MAX_LIMIT = 128


def _lenient_id(value: object) -> object:
    return value if isinstance(value, str) else None


def _lenient_limit(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        return DEFAULT_LIMIT
    return MAX_LIMIT if value == 0 or value > MAX_LIMIT else value


def _lenient_true(value: object) -> object:
    return value if isinstance(value, bool) else True


RequestId = Annotated[str | None, BeforeValidator(_lenient_id), Field(max_length=REQUEST_ID_CHARACTERS)]
"""The client's own id of a request; anything but a string counts as absent (compatible)."""
Limit = Annotated[int, BeforeValidator(_lenient_limit)]
"""Missing, negative or not an integer: 25; 0 or more than 128: 128 (compatible)."""
MemoryId = Annotated[int, Field(ge=1, lt=2**63, strict=True)]


class ClientFrame(BaseModel):
    """What every client frame shares."""

    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True)

    id: RequestId = None


class Resume(BaseModel):
    """Where a client left off: everything after this seq is sent again, once, in order."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    sessionKey: str = Field(max_length=256)  # noqa: N815 - wire name
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
    content: str | None = None
    text: str | None = None
    pauseBefore: int | None = Field(default=None, ge=1)  # noqa: N815 - wire name

    @property
    def said(self) -> str | None:
        """The text of the message, or None when neither field is there."""
        return self.content if self.content is not None else self.text


class SessionReset(ClientFrame):
    """Empties the working memory; the key stays and the long-term memory keeps everything."""

    type: Literal["session.new", "session.reset"]
    archive: Annotated[bool, BeforeValidator(_lenient_true)] = True
    reason: str = Field(default="manual-reset", max_length=256)


class SessionList(ClientFrame):
    """The sessions of this principal, newest first."""

    type: Literal["session.list"]
    agent_id: str | None = None
    limit: Limit = DEFAULT_LIMIT


class SessionHistory(ClientFrame):
    """Recent sessions of one agent (default 5, at most 20)."""

    type: Literal["session.history"]
    agent_id: str = "default"
    limit: Any = 5

    @property
    def bounded_limit(self) -> int:
        """The limit as the original reads it: 5 unless a positive integer, at most 20."""
        good = isinstance(self.limit, int) and not isinstance(self.limit, bool) and self.limit > 0
        return min(self.limit, 20) if good else 5


class SessionRestore(ClientFrame):
    """The newest session of one agent that a client could attach to."""

    type: Literal["session.restore"]
    agent_id: str = "default"


class MemoryCreate(ClientFrame):
    """Stores a memory on purpose; answered by session.accepted alone."""

    type: Literal["memory.create"]
    content: str
    name: str | None = Field(default=None, max_length=256)


class MemoryLoad(ClientFrame):
    """One memory by id, brought back into RAM when it had left."""

    type: Literal["memory.load"]
    memoryId: MemoryId  # noqa: N815 - wire name


class MemoryUpdate(ClientFrame):
    """Revises the text of a memory; the old version is kept."""

    type: Literal["memory.update"]
    memoryId: MemoryId  # noqa: N815 - wire name
    content: str


class MemoryEvict(ClientFrame):
    """Takes a memory (default: the oldest) out of RAM; its text stays in the LTM."""

    type: Literal["memory.evict"]
    memoryId: MemoryId | None = None  # noqa: N815 - wire name


class MemorySummarize(ClientFrame):
    """Replaces a memory (default: the oldest) in RAM by a summary that names it."""

    type: Literal["memory.summarize"]
    memoryId: MemoryId | None = None  # noqa: N815 - wire name


class MemoryRecall(ClientFrame):
    """What is remembered, newest first."""

    type: Literal["memory.recall"]
    limit: Limit = DEFAULT_LIMIT
    include_archived: Annotated[bool, BeforeValidator(_lenient_true)] = True
    include_full: bool = False


class MemoryQuery(ClientFrame):
    """Memories by kind, id or topic (a substring), or ranked by free text in `search`."""

    type: Literal["memory.query"]
    limit: Limit = DEFAULT_LIMIT
    include_archived: Annotated[bool, BeforeValidator(_lenient_true)] = True
    kind: str | None = None
    topic: str | None = None
    memoryId: MemoryId | None = None  # noqa: N815 - wire name
    memoryIds: list[MemoryId] = Field(default_factory=list, max_length=1024)  # noqa: N815 - wire name
    search: str | None = Field(default=None, max_length=4096)
    scope: Literal["session", "agent", "all"] = "session"


class AgentControl(ClientFrame):
    """state, heartbeat, pause, resume, cancel, or a goal."""

    type: Literal["agent.control"]
    action: Any = None
    goal: Any = None
    content: Any = None
    text: Any = None
    goalId: int | None = None  # noqa: N815 - wire name
    pauseBefore: int | None = Field(default=None, ge=1)  # noqa: N815 - wire name


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

CLIENT_FRAMES: TypeAdapter[AnyFrame] = TypeAdapter(AnyFrame)
_validate = CLIENT_FRAMES.validator.validate_json


class BadFrame(Refused):
    """A text that is no client frame; `request` is its id where one could be read."""

    def __init__(self, message: str, code: Code, request: str | None) -> None:
        super().__init__(message, code)
        self.request = request


def parse(text: str | bytes) -> Any:
    """Turn one text message into its frame (one of the classes above).

    Raises:
        BadFrame: with BAD_JSON, UNKNOWN_TYPE or BAD_FRAME, and a message that names the field.
    """
    try:
        return _validate(text)
    except ValidationError as error:
        raise _explain(error, text) from None


def _explain(error: ValidationError, text: str | bytes) -> BadFrame:
    first = error.errors(include_url=False, include_input=False)[0]
    if first["type"] == "json_invalid":
        return BadFrame("The frame is not valid JSON.", Code.BAD_JSON, None)
    request = _request_id(text)
    match first["type"]:
        case "union_tag_invalid":
            tag = str(first["ctx"]["tag"])[:64]
            return BadFrame(f"No client frame has the type '{tag}'.", Code.UNKNOWN_TYPE, request)
        case "union_tag_not_found":
            return BadFrame("The frame has no 'type' that is a string.", Code.BAD_FRAME, request)
        case "model_attributes_type" | "dict_type" | "model_type":
            return BadFrame("The frame is not a JSON object.", Code.BAD_JSON, None)
    field = ".".join(str(part) for part in first["loc"][1:]) or "frame"
    return BadFrame(f"{field}: {first['msg']}.", Code.BAD_FRAME, request)


def _request_id(text: str | bytes) -> str | None:
    try:
        value = from_json(text)
    except ValueError:
        return None
    request = value.get("id") if isinstance(value, dict) else None
    return request if isinstance(request, str) and len(request) <= REQUEST_ID_CHARACTERS else None
