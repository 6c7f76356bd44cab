"""The commands: each turns its arguments into a frame, and says when it is done."""

from __future__ import annotations

import json
import math
import sys
from typing import Any

from spiderwebd.client import chat
from spiderwebd.client.desk import Desk, check
from spiderwebd.client.errors import Exit, UsageError
from spiderwebd.client.health import accounts, probe
from spiderwebd.client.request import UNANSWERED, Request
from spiderwebd.client.transport import Frame


def talk(desk: Desk) -> Exit:
    """chat: one message and its answer, or a conversation by lines of standard input."""
    words: list[str] = desk.arguments.text
    return chat.say(desk, " ".join(words)) if words else chat.converse(desk, sys.stdin.fileno())


def goal(desk: Desk) -> Exit:
    """goal: hand a goal over and follow it until it ends."""
    arguments = desk.arguments
    frame: Frame = {"type": "chat.send", "content": f"/goal {' '.join(arguments.text)}"}
    if arguments.pause_before is not None:
        frame["pauseBefore"] = arguments.pause_before

    def shows(request: Request, received: Frame) -> bool:
        return not arguments.detach or received.get("request") == request.id

    try:
        return desk.ask(frame, shows=shows, detached=arguments.detach, patient=True)
    except KeyboardInterrupt:
        desk.output.note("the goal goes on without you; `spiderweb attach` follows it")
        raise


def attach(desk: Desk) -> Exit:
    """attach: print what was missed and then every frame as it comes, until Ctrl-C."""
    with desk.open(resume=True) as stream:
        while True:
            frame = stream.receive(desk.arguments.timeout or math.inf)
            if frame is not None:
                check(frame)
                desk.show(frame)


def sessions(desk: Desk) -> Exit:
    """sessions: list the sessions of this principal."""
    return desk.ask(
        _given({"type": "session.list"}, agent_id=desk.arguments.agent, limit=desk.arguments.limit)
    )


def history(desk: Desk) -> Exit:
    """history: list the agent's recent sessions."""
    return desk.ask(_given({"type": "session.history", "agent_id": desk.agent}, limit=desk.arguments.limit))


def restore(desk: Desk) -> Exit:
    """restore: find the agent's newest session, and go on with it from now on."""
    found: list[Frame] = []
    how = desk.ask({"type": "session.restore", "agent_id": desk.agent}, on_answer=found.append)
    if how is Exit.DONE:
        if not found or not found[-1].get("found"):
            return Exit.REFUSED
        desk.keep(found[-1]["session"]["session_key"])
    return how


def control(desk: Desk) -> Exit:
    """state, pause, resume, cancel: agent.control with this action."""
    frame: Frame = {"type": "agent.control", "action": desk.arguments.action}
    return desk.ask(_given(frame, goalId=getattr(desk.arguments, "goal", None)))


def heartbeat(desk: Desk) -> Exit:
    """heartbeat: ask the agent to speak up now."""
    return desk.ask({"type": "agent.heartbeat"})


def memory_query(desk: Desk) -> Exit:
    """memory query: memories by text, kind, topic or id."""
    arguments = desk.arguments
    frame: Frame = {"type": "memory.query", "include_archived": not arguments.no_archived}
    return desk.ask(
        _given(
            frame,
            search=" ".join(arguments.text) or None,
            kind=arguments.kind,
            topic=arguments.topic,
            memoryIds=arguments.id,
            scope=arguments.scope,
            limit=arguments.limit,
        )
    )


def memory_recall(desk: Desk) -> Exit:
    """memory recall: what is remembered, newest first."""
    arguments = desk.arguments
    frame: Frame = {
        "type": "memory.recall",
        "include_archived": not arguments.no_archived,
        "include_full": arguments.full,
    }
    return desk.ask(_given(frame, limit=arguments.limit))


def memory_create(desk: Desk) -> Exit:
    """memory create: store a memory on purpose."""
    frame: Frame = {"type": "memory.create", "content": " ".join(desk.arguments.text)}
    return desk.ask(_given(frame, name=desk.arguments.name), patient=True)


def memory_update(desk: Desk) -> Exit:
    """memory update: revise a memory; the old text is kept as a version."""
    text = " ".join(desk.arguments.text)
    frame: Frame = {"type": "memory.update", "memoryId": desk.arguments.memory_id, "content": text}
    return desk.ask(frame, patient=True)


def memory_by_id(desk: Desk) -> Exit:
    """memory load, evict, summarize."""
    frame: Frame = {"type": f"memory.{desk.arguments.operation}"}
    return desk.ask(_given(frame, memoryId=desk.arguments.memory_id))


def agents(desk: Desk) -> Exit:
    """agents: list the agents of this daemon."""
    return desk.ask({"type": "agent.list"})


def agent(desk: Desk) -> Exit:
    """agent ID: one agent."""
    return desk.ask({"type": "agent.get", "agent_id": desk.arguments.id})


def reset(desk: Desk) -> Exit:
    """reset: empty the working memory; the session and the long-term memory stay."""
    frame: Frame = {"type": "session.reset", "archive": not desk.arguments.no_archive}
    return desk.ask(_given(frame, reason=desk.arguments.reason), patient=True)


def status(desk: Desk) -> Exit:
    """status: is the daemon alive and ready, do its requests add up, and where does the session stand."""
    alive, ready = (probe(desk.place, path, desk.answer_seconds) for path in ("/livez", "/readyz"))
    if desk.output.as_json:
        health = {
            "type": "health",
            "address": desk.place.address.url,
            "live": alive[0] == 200,
            "ready": ready[0] == 200,
            "message": ready[1],
        }
        desk.output.frame(health)
    else:
        desk.output.line(f"daemon {desk.place.address.url}: {alive[1]}, {ready[1]}")
    sums = accounts(desk.place, desk.answer_seconds)
    if sums is not None and desk.output.as_json:
        desk.output.frame(sums.frame())
    elif sums is not None:
        for line in sums.lines():
            desk.output.line(line)
    how = desk.ask({"type": "agent.control", "action": "state"})
    return how if ready[0] == 200 or how is not Exit.DONE else Exit.TEMPORARY


def raw(desk: Desk) -> Exit:
    """raw: send any frame and print the answers for its id."""
    try:
        frame: Any = json.loads(desk.arguments.json_text)
    except ValueError as error:
        raise UsageError(f"this is no JSON: {error}") from None
    if not isinstance(frame, dict):
        raise UsageError("a frame is a JSON object")
    if frame.get("type") not in UNANSWERED:
        return desk.ask(frame)
    with desk.open(patient=False) as stream:
        sent = Request(frame, stream.send(frame))
        if frame["type"] == "disconnect":
            return Exit.DONE
        # Frames of one link are handled in order: when this pong is here, the frame was taken.
        ping = Request({"type": "ping"}, stream.send({"type": "ping"}))
        while not ping.ended:
            answer = stream.receive(desk.answer_seconds)
            if answer is not None and sent.take(answer):
                desk.show(answer)
            elif answer is not None and not ping.take(answer):
                check(answer)
    return sent.exit


def _given(frame: Frame, **fields: object) -> Frame:
    """Add the fields that were given; a missing one leaves the choice to the daemon."""
    return {**frame, **{name: value for name, value in fields.items() if value is not None}}
