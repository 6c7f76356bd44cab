"""What a session does with each client frame: every rule of a turn in one place.

`receive` is the only entrance for client frames, `chat_answered` and `chat_failed` the ones for
answers. The rules of goals stand in `control` and `goals`, of memory operations in `remembering`, of
heartbeats in `suggestions`, of refusals in `admission`.
"""

from __future__ import annotations

from collections.abc import Callable

from pydantic_core import to_json

from spiderwebd.core import goals, remembering, suggestions
from spiderwebd.core.admission import chats_full, too_large
from spiderwebd.core.codes import Code
from spiderwebd.core.control import BLANK, ask_goal, control, set_mode
from spiderwebd.core.deadlines import answer_by_ms
from spiderwebd.core.effects import Ask, HangUp, LinkKey, Replay, StartChat
from spiderwebd.core.frames import pong_frame, well_formed
from spiderwebd.core.memory_events import remember
from spiderwebd.core.pending import Chat
from spiderwebd.core.protocol import (
    AgentControl,
    AgentHeartbeat,
    AnyFrame,
    ChatSend,
    Connect,
    Disconnect,
    MemoryCreate,
    MemoryEvict,
    MemoryLoad,
    MemorySummarize,
    MemoryUpdate,
    Ping,
    Pong,
    SessionReset,
)
from spiderwebd.core.records import ArchiveRecord, RequestState
from spiderwebd.core.requests import done_before, request_record
from spiderwebd.core.state import Step
from spiderwebd.core.telling import tell_answer, tell_progress
from spiderwebd.core.upkeep import keep_within_budget

GOAL_PREFIX = "/goal "

DoneOnce = ChatSend | SessionReset | MemoryCreate | MemoryUpdate | MemoryEvict | MemorySummarize
"""Frames whose request id is remembered: the same again is not done again."""

_ASKED = {
    kind: [name for name in kind.model_fields if name not in ("id", "type")]
    for kind in (SessionReset, MemoryCreate, MemoryUpdate, MemoryEvict, MemorySummarize)
}
"""The fields of each that must be the same when its id comes again."""


def receive(step: Step, link: LinkKey, frame: AnyFrame, fresh_id: Callable[[], str]) -> None:
    """Handle one frame from one link; `fresh_id` makes a request id when the client gave none."""
    match frame:
        case Ping():
            step.reply(link, pong_frame(frame.id, step.now_ms))
        case Pong():
            pass  # an answer nobody waits for (compatible)
        case Disconnect():
            step.starts.append(HangUp(link))
        case _:
            _request(step, link, frame, frame.id or fresh_id())


def _request(step: Step, link: LinkKey, frame: AnyFrame, request: str) -> None:
    match frame:
        case (
            ChatSend() | SessionReset() | MemoryCreate() | MemoryUpdate() | MemoryEvict() | MemorySummarize()
        ):
            _once(step, link, frame, request)
        case MemoryLoad():
            remembering.load(step, link, request, frame)
        case AgentControl():
            control(step, link, request, frame)
        case AgentHeartbeat():
            suggestions.beat(step, request, forced=True)
        case Connect():
            _connect_again(step, link, request, frame)
        case _:
            step.starts.append(Ask(link, request, frame))


def changes(frame: AnyFrame) -> bool:
    """Whether a frame asks for something that must be kept on disk."""
    if isinstance(frame, AgentControl):
        return frame.action in ("goal", "plan", None)
    return isinstance(frame, DoneOnce)


def _connect_again(step: Step, link: LinkKey, request: str, frame: Connect) -> None:
    """After an ack only a resume of the same session has a meaning; the rest is ignored (compatible)."""
    if frame.resume is None:
        return
    if frame.resume.sessionKey != step.state.key:
        message = "This link is attached to another session; open a new link to resume that one."
        step.refuse(link, request, message, Code.SESSION_UNKNOWN)
    elif frame.resume.after is not None:
        step.starts.append(Replay(link, frame.resume.after))


def _once(step: Step, link: LinkKey, frame: DoneOnce, request: str) -> None:
    """Do a request that changes something, unless this id was done before."""
    kind, payload = _payload(frame)
    if done_before(step, link, request, kind, payload):
        return
    match frame:
        case ChatSend():
            _chat(step, link, request, frame, payload)
        case SessionReset():
            reset(step, request, frame.type, kind, payload, archive=frame.archive, reason=frame.reason)
        case MemoryCreate():
            if not too_large(step, link, request, frame.content):
                remembering.create(step, request, frame, payload)
        case MemoryUpdate():
            if not too_large(step, link, request, frame.content):
                remembering.update(step, link, request, frame, payload)
        case MemoryEvict():
            remembering.evict_asked(step, link, request, frame, payload)
        case MemorySummarize():
            remembering.summarize_asked(step, link, request, frame, payload)


def _payload(frame: DoneOnce) -> tuple[str, str]:
    """Return a request's kind and the part of it that must be the same when it comes again."""
    if isinstance(frame, ChatSend):
        return "chat.send", to_json([frame.said, frame.pauseBefore]).decode()
    return frame.type, to_json({name: getattr(frame, name) for name in _ASKED[type(frame)]}).decode()


def _chat(step: Step, link: LinkKey, request: str, frame: ChatSend, payload: str) -> None:
    text = frame.said
    if text is None:
        step.refuse(link, request, f"{frame.type} needs content or text, a string.", Code.BAD_FRAME)
    elif text == "/new":
        reset(step, request, "session.new", "chat.send", payload, archive=True, reason="slash-new")
    elif text.startswith(GOAL_PREFIX):
        goal = text.removeprefix(GOAL_PREFIX).strip(BLANK)
        if goal:
            ask_goal(step, link, request, goal, "chat.send", payload, frame.pauseBefore)
        else:
            step.refuse(link, request, "Goal command requires text after /goal", Code.GOAL_EMPTY)
    elif not too_large(step, link, request, text) and not chats_full(step, link, request):
        _accept_chat(step, request, text, payload)


def _accept_chat(step: Step, request: str, text: str, payload: str) -> None:
    state = step.state
    memory_id = remember(step, "user", text)
    seq = step.journal(
        {"type": "session.accepted", "request": request, "sessionKey": state.key, "memoryId": memory_id}
    )
    step.remember_request(
        request_record(step, request, "chat.send", payload, RequestState.OPEN, seq, memory_id)
    )
    keep_within_budget(step, request)
    suggestions.beat(step, request, forced=False)
    state.chats.append(Chat(request, memory_id, text, step.now_ms))
    begin_chat(step)


def begin_chat(step: Step) -> None:
    """Begin to answer the oldest unanswered message, unless one is being answered or the daemon stops."""
    state = step.state
    if not state.answering:
        _expire_chats(step)
    if state.chats and not state.answering and not state.draining:
        state.answering = True
        step.starts.append(StartChat(state.chats[0]))


def chat_answered(step: Step, request: str, answer: str) -> None:
    """Take in the answer to the oldest unanswered message and begin the next."""
    if not _end_turn(step, request):
        return
    answer = well_formed(answer)
    tell_answer(step, request, answer, remember(step, "assistant", answer))
    step.close_request(request, RequestState.ANSWERED)
    keep_within_budget(step, request)
    begin_chat(step)


def chat_failed(step: Step, request: str, message: str) -> None:
    """Say that a message could not be answered, and begin the next."""
    if not _end_turn(step, request):
        return
    tell_progress(step, request, "execution", "failed", well_formed(message))
    step.close_request(request, RequestState.FAILED)
    begin_chat(step)


def expire_overdue(step: Step) -> None:
    """Expire what has waited too long: messages without an answer, goals, tasks without a worker."""
    _expire_chats(step)
    begin_chat(step)
    goals.advance(step)


def _expire_chats(step: Step) -> None:
    """Give each message that is past its time its outcome; one whose answer is being made is given up."""
    state = step.state
    late = [chat for chat in state.chats if answer_by_ms(state, chat) <= step.now_ms]
    for chat in late:
        if state.answering and chat is state.chats[0]:
            state.answering = False
        state.chats.remove(chat)
        waited = (step.now_ms - chat.created_ms) // 1000
        message = f"The message waited {waited} seconds, so it is not answered any more"
        tell_progress(step, chat.request, "execution", "expired", message)
        step.close_request(chat.request, RequestState.EXPIRED)


def _end_turn(step: Step, request: str) -> bool:
    """Take the message that was being answered away; False when a reset did so meanwhile."""
    state = step.state
    if not state.answering or state.chats[0].request != request:
        return False
    state.chats.popleft()
    state.answering = False
    return True


def reset(
    step: Step, request: str, frame_type: str, kind: str, payload: str, *, archive: bool, reason: str
) -> None:
    """Empty the working memory and end what runs; ids go on and the LTM keeps every text.

    `kind` and `payload` are what must be the same when the request comes again.
    """
    state, ram = step.state, step.state.ram
    _end_everything(step)
    entries, summaries = ram.active_count, ram.summary_count
    change = ram.clear(step.now_ms, reason)
    step.records.extend(change.records(state.sid))
    archived = archive and bool(change)
    if archived:
        step.records.append(
            ArchiveRecord(state.sid, step.now_ms, reason, ram.next_id, entries, summaries, cleared=True)
        )
    state.last_goal = ""
    beats = state.beat.get("sequence", 0)
    state.beat.clear()
    state.beat["sequence"] = beats
    state.revision += 1
    set_mode(step, "running")
    seq = step.journal(
        {
            "type": "session.new" if frame_type == "session.new" else "session.reset",
            "request": request,
            "sessionKey": state.key,
            "archived": archived,
            "reason": reason,
        }
    )
    step.remember_request(request_record(step, request, kind, payload, RequestState.ANSWERED, seq))


def _end_everything(step: Step) -> None:
    """Give every open request of the session its outcome: cancelled."""
    state = step.state
    for goal in list(state.goals.values()):
        goals.cancel_goal(step, goal, "the session was reset")
    state.answering = False
    while state.chats:
        chat = state.chats.popleft()
        tell_progress(step, chat.request, "execution", "cancelled", "The session was reset")
        step.close_request(chat.request, RequestState.CANCELLED)
