"""What a session does with each client frame: every rule of a turn in one place.

`receive` is the only entrance for client frames, `chat_answered` the one for finished answers; goals
have their own in `goals`, memory operations in `remembering`, heartbeats in `suggestions`.
"""

from __future__ import annotations

from collections.abc import Callable

from spiderwebd.core import goals, remembering, suggestions
from spiderwebd.core.codes import Code
from spiderwebd.core.protocol import (
    AgentControl,
    AgentGet,
    AgentHeartbeat,
    AgentList,
    AnyFrame,
    ChatSend,
    Connect,
    Disconnect,
    MemoryCreate,
    MemoryEvict,
    MemoryLoad,
    MemoryQuery,
    MemoryRecall,
    MemorySummarize,
    MemoryUpdate,
    Ping,
    Pong,
    SessionHistory,
    SessionList,
    SessionReset,
    SessionRestore,
)
from spiderwebd.core.records import ArchiveRecord, RequestRecord, RequestState
from spiderwebd.core.state import (
    Ask,
    Chat,
    HangUp,
    LinkKey,
    Replay,
    Retell,
    StartChat,
    Step,
    digest,
    full_state_frame,
)
from spiderwebd.core.upkeep import keep_within_budget, remember

BLANK = " \t\r\n"
GOAL_PREFIX = "/goal "
RETRY_MS = 1000
"""What a client is told to wait when a queue of its session is full."""


def receive(step: Step, link: LinkKey, frame: AnyFrame, fresh_id: Callable[[], str]) -> None:
    """Handle one frame from one link; `fresh_id` makes a request id when the client gave none."""
    match frame:
        case Ping():
            pong = {"type": "pong", "timestamp": step.now_ms}
            if frame.id is not None:
                pong["request"] = frame.id
            step.reply(link, pong)  # type: ignore[arg-type]  # mypy cannot follow the optional key
        case ChatSend() | SessionReset() | MemoryCreate() | MemoryUpdate() | MemoryEvict() | MemorySummarize():
            _once(step, link, frame, frame.id or fresh_id())
        case MemoryLoad():
            remembering.load(step, link, frame.id or fresh_id(), frame)
        case AgentControl():
            _control(step, link, frame, frame.id or fresh_id())
        case AgentHeartbeat():
            suggestions.beat(step, frame.id or fresh_id(), forced=True)
        case MemoryRecall() | MemoryQuery() | SessionList() | SessionHistory() | SessionRestore():
            step.starts.append(Ask(link, frame.id or fresh_id(), frame))
        case AgentList() | AgentGet():
            step.starts.append(Ask(link, frame.id or fresh_id(), frame))
        case Disconnect():
            step.starts.append(HangUp(link))
        case Connect():
            _connect_again(step, link, frame)
        case Pong():
            pass


def changes(frame: AnyFrame) -> bool:
    """Whether a frame asks for something that must be kept on disk."""
    match frame:
        case ChatSend() | SessionReset() | MemoryCreate() | MemoryUpdate() | MemoryEvict() | MemorySummarize():
            return True
        case AgentControl():
            return frame.action in ("goal", "plan", None)
        case _:
            return False


def _connect_again(step: Step, link: LinkKey, frame: Connect) -> None:
    """After an ack only a resume of the same session has a meaning; the rest is ignored (compatible)."""
    if frame.resume is None:
        return
    if frame.resume.sessionKey != step.state.key:
        step.refuse(
            link,
            frame.id or "connect",
            "This link is attached to another session; open a new link to resume that one.",
            Code.SESSION_UNKNOWN,
        )
    elif frame.resume.after is not None:
        step.starts.append(Replay(link, frame.resume.after))


def _once(step: Step, link: LinkKey, frame: AnyFrame, request: str) -> None:
    """Do a request that changes something, unless this id was done before."""
    kind, payload = _payload(frame)
    known = step.state.requests.get(request)
    if known is not None:
        if known.digest == digest(kind, payload):
            step.starts.append(Retell(link, known))
        else:
            step.refuse(
                link,
                request,
                f"The id '{request}' was used in this session for another request; use a new one.",
                Code.REQUEST_CONFLICT,
            )
        return
    match frame:
        case ChatSend():
            _chat(step, link, request, frame, payload)
        case SessionReset():
            reset(step, request, frame.type, archive=frame.archive, reason=frame.reason, payload=payload)
        case MemoryCreate():
            if not _too_large(step, link, request, frame.content):
                remembering.create(step, request, frame, payload)
        case MemoryUpdate():
            if not _too_large(step, link, request, frame.content):
                remembering.update(step, link, request, frame, payload)
        case MemoryEvict():
            remembering.evict(step, link, request, frame, payload)
        case MemorySummarize():
            remembering.summarize(step, link, request, frame, payload)
        case _:
            raise AssertionError(frame)


def _payload(frame: AnyFrame) -> tuple[str, str]:
    """Return a request's kind and the part of it that must be the same when it comes again."""
    match frame:
        case ChatSend():
            return "chat.send", frame.said or ""
        case MemoryCreate():
            return frame.type, f"{frame.name}\0{frame.content}"
        case _:
            return frame.type, frame.model_dump_json(exclude={"id"})


def _too_large(step: Step, link: LinkKey, request: str, text: str) -> bool:
    limit = step.state.rules.message_bytes
    if len(text) <= limit // 4 or len(text.encode()) <= limit:
        return False
    step.refuse(link, request, "Message too large for active context", Code.MESSAGE_TOO_LARGE)
    return True


def _chat(step: Step, link: LinkKey, request: str, frame: ChatSend, payload: str) -> None:
    text = frame.said
    if text is None:
        step.refuse(link, request, f"{frame.type} needs content or text.", Code.BAD_FRAME)
    elif text == "/new":
        reset(step, request, "session.new", archive=True, reason="slash-new", payload=payload, kind="chat.send")
    elif text.startswith(GOAL_PREFIX):
        goal = text.removeprefix(GOAL_PREFIX).strip(BLANK)
        if goal:
            ask_goal(step, link, request, goal, "chat.send", payload, frame.pauseBefore)
        else:
            step.refuse(link, request, "Goal command requires text after /goal", Code.GOAL_EMPTY)
    elif not _too_large(step, link, request, text):
        _accept_chat(step, link, request, text, payload)


def _accept_chat(step: Step, link: LinkKey, request: str, text: str, payload: str) -> None:
    state = step.state
    if len(state.chats) >= state.rules.chats_queued:
        step.refuse(
            link,
            request,
            f"{len(state.chats)} messages of this session wait for an answer; try again later.",
            Code.QUEUE_FULL,
            RETRY_MS,
        )
        return
    memory_id = remember(step, "user", text)
    seq = step.journal(
        {"type": "session.accepted", "request": request, "sessionKey": state.key, "memoryId": memory_id}
    )
    step.remember_request(
        RequestRecord(
            state.sid,
            request,
            "chat.send",
            digest("chat.send", payload),
            RequestState.OPEN,
            seq,
            memory_id,
            None,
            step.now_ms,
        )
    )
    keep_within_budget(step, request)
    suggestions.beat(step, request, forced=False)
    chat = Chat(request, memory_id, text, step.now_ms)
    state.chats.append(chat)
    if len(state.chats) == 1:
        begin_chat(step)


def chat_answered(step: Step, request: str, answer: str) -> None:
    """Take in the answer to the oldest unanswered message and begin the next."""
    state = step.state
    if not state.chats or state.chats[0].request != request:
        return  # a reset took the message away meanwhile
    state.chats.popleft()
    memory_id = remember(step, "assistant", answer)
    step.journal(
        {
            "type": "session.receive",
            "content": answer,
            "memoryId": memory_id,
            "request": request,
            "sessionKey": state.key,
        }
    )
    step.close_request(request, RequestState.ANSWERED)
    keep_within_budget(step, request)
    begin_chat(step)


def chat_failed(step: Step, request: str, message: str) -> None:
    """Say that a message could not be answered; every accepted request has an outcome."""
    state = step.state
    if not state.chats or state.chats[0].request != request:
        return
    state.chats.popleft()
    goals.progress(step, request, "execution", "failed", message)
    step.close_request(request, RequestState.FAILED)
    begin_chat(step)


def begin_chat(step: Step) -> None:
    """Begin to answer the oldest unanswered message, unless the daemon stops."""
    if step.state.chats and not step.state.draining:
        step.starts.append(StartChat(step.state.chats[0]))


def ask_goal(
    step: Step, link: LinkKey, request: str, text: str, kind: str, payload: str, pause_before: int | None
) -> None:
    """Accept a goal unless it is too long or too many wait; `text` is trimmed and not empty."""
    state = step.state
    if _too_large(step, link, request, text):
        return
    if len(state.goals) >= state.rules.goals_queued:
        step.refuse(
            link,
            request,
            f"{len(state.goals)} goals of this session have not ended; try again later.",
            Code.QUEUE_FULL,
            RETRY_MS,
        )
        return
    goals.accept_goal(step, request, text, kind, payload, pause_before)
    suggestions.beat(step, request, forced=False)


def reset(
    step: Step,
    request: str,
    frame_type: str,
    *,
    archive: bool,
    reason: str,
    payload: str,
    kind: str | None = None,
) -> None:
    """Empty the working memory and end what runs; ids go on and the LTM keeps every text."""
    state, ram = step.state, step.state.ram
    for goal in list(state.goals.values()):
        goals.cancel_goal(step, goal, "the session was reset")
    while state.chats:
        chat = state.chats.popleft()
        goals.progress(step, chat.request, "execution", "cancelled", "The session was reset")
        step.close_request(chat.request, RequestState.CANCELLED)
    entries, summaries = ram.active_count, sum(1 for _ in ram.summaries())
    archived = archive and bool(entries or summaries)
    change = ram.clear(step.now_ms, reason)
    step.records.extend(change.records(state.sid))
    if archived:
        step.records.append(
            ArchiveRecord(state.sid, step.now_ms, reason, ram.next_id, entries, summaries, cleared=True)
        )
    state.mode, state.last_goal = "running", ""
    state.beat.clear()
    state.revision += 1
    seq = step.journal(
        {
            "type": "session.new" if frame_type == "session.new" else "session.reset",
            "request": request,
            "sessionKey": state.key,
            "archived": archived,
            "reason": reason,
        }
    )
    kind = kind or frame_type
    step.remember_request(
        RequestRecord(
            state.sid,
            request,
            kind,
            digest(kind, payload),
            RequestState.ANSWERED,
            seq,
            None,
            None,
            step.now_ms,
        )
    )
    goals.open_gate(step)


def _control(step: Step, link: LinkKey, frame: AgentControl, request: str) -> None:
    """Resolve agent.control in the order of the original; what it passed over in silence is refused."""
    match frame.action if isinstance(frame.action, str) else None:
        case "state" | "status":
            step.reply(link, full_state_frame(step.state, request, step.state.mode, step.now_ms))
        case "heartbeat":
            suggestions.beat(step, request, forced=True)
        case "pause":
            goals.pause(step, link, request)
        case "resume":
            goals.resume(step, link, request)
        case "cancel":
            goals.cancel(step, link, request, frame.goalId)
        case "goal" | "plan" | None:
            _control_goal(step, link, frame, request)
        case _:
            step.refuse(link, request, "agent.control unsupported action", Code.CONTROL_UNSUPPORTED)


def _control_goal(step: Step, link: LinkKey, frame: AgentControl, request: str) -> None:
    candidates = (frame.goal,) if "goal" in frame.model_fields_set else (frame.content, frame.text)
    text = next((value.strip(BLANK) for value in candidates if isinstance(value, str)), "")
    if not text:
        step.refuse(
            link, request, "agent.control requires goal field or text", Code.CONTROL_GOAL_MISSING
        )
        return
    known = step.state.requests.get(request)
    if known is None:
        ask_goal(step, link, request, text, "agent.control", text, frame.pauseBefore)
    elif known.digest == digest("agent.control", text):
        step.starts.append(Retell(link, known))
    else:
        step.refuse(
            link,
            request,
            f"The id '{request}' was used in this session for another request; use a new one.",
            Code.REQUEST_CONFLICT,
        )
