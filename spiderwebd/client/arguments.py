"""The command line of `spiderweb`: every command, option and help text."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable
from pathlib import Path

from spiderwebd.client import commands
from spiderwebd.client.desk import ANSWER_SECONDS, Desk
from spiderwebd.client.errors import EXIT_MEANINGS, Exit

Command = Callable[[Desk], Exit]

AGENT_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")

DESCRIPTION = "Talk to spiderwebd: chat, hand over goals, look into memory, follow what happens."

EPILOG = f"""\
The daemon is found by itself on this machine: --url or --socket, else SPIDERWEB_URL, else
SPIDERWEB_STATE_DIR, else the system's unix socket, else ./.spiderwebd, else /var/lib/spiderwebd.
The token is read from a file: --token-file, else SPIDERWEB_TOKEN_FILE, else DIR/token there.
The session used last is used again, until --session or --new says otherwise.

exit codes:
{chr(10).join(f"  {code.value:>3}  {text}" for code, text in EXIT_MEANINGS.items())}
"""


def parser() -> argparse.ArgumentParser:
    """Return the parser; its result has `command`, a function of the desk, and each option's value."""
    root = argparse.ArgumentParser(
        prog="spiderweb",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        parents=[_common(suppress=False)],
    )
    # Every option is taken before the command and after it; given after, it must not reset the other.
    common = _common(suppress=True)
    found = root.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, command: Command, text: str, **defaults: object) -> argparse.ArgumentParser:
        sub = found.add_parser(
            name, help=text, description=_sentence(text), parents=[common], allow_abbrev=False
        )
        sub.set_defaults(command=command, **defaults)
        return sub

    sub = add(
        "chat", commands.talk, "send a message and print its answer; without TEXT: lines from standard input"
    )
    sub.add_argument("text", nargs="*", metavar="TEXT")
    sub = add("goal", commands.goal, "hand over a goal and follow it to its end")
    sub.add_argument("text", nargs="+", metavar="TEXT")
    sub.add_argument("--pause-before", type=_positive, metavar="N", help="pause before task N")
    sub.add_argument("--detach", action="store_true", help="return when the goal is accepted")
    sub = add("attach", commands.attach, "print what was missed, then every frame as it comes")
    sub.add_argument("--after", type=_count, metavar="SEQ", help="begin after this seq (0: all that is kept)")
    sub = add("sessions", commands.sessions, "list your sessions (of all agents, unless --agent is given)")
    sub.add_argument("--limit", type=_count, metavar="N")
    sub = add("history", commands.history, "list the agent's recent sessions")
    sub.add_argument("--limit", type=_positive, metavar="N")
    add("restore", commands.restore, "find the agent's newest session and go on with it from now on")
    add("state", commands.control, "show mode, goals and tasks of the session", action="state")
    add(
        "pause",
        commands.control,
        "stop dispatching tasks; running ones wait at their next step",
        action="pause",
    )
    add("resume", commands.control, "go on after pause or cancel", action="resume")
    sub = add("cancel", commands.control, "end one goal, or every goal of the session", action="cancel")
    sub.add_argument("--goal", type=_positive, metavar="N", help="only this goal")
    _memory(found, common)
    add("heartbeat", commands.heartbeat, "ask the agent to speak up now")
    add("agents", commands.agents, "list the agents")
    sub = add("agent", commands.agent, "show one agent")
    sub.add_argument("id", metavar="ID")
    add("status", commands.status, "health of the daemon, and where the session stands")
    sub = add("reset", commands.reset, "empty the working memory; the long-term memory keeps everything")
    sub.add_argument("--reason", metavar="TEXT")
    sub.add_argument("--no-archive", action="store_true", help="without a dated archive marker")
    sub = add("raw", commands.raw, "send any frame and print the answers for its id")
    sub.add_argument("json_text", metavar="JSON")
    return root


def _common(*, suppress: bool) -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(
        add_help=False, argument_default=argparse.SUPPRESS if suppress else None, allow_abbrev=False
    )

    def flag(name: str, text: str) -> None:
        default = argparse.SUPPRESS if suppress else False
        common.add_argument(name, action="store_true", default=default, help=text)

    common.add_argument("--agent", type=_agent, metavar="ID", help="agent to talk to (default: default)")
    common.add_argument("--session", metavar="KEY", help="use this session")
    flag("--new", "begin a new session")
    flag("--json", "print each frame as one line of JSON")
    common.add_argument(
        "--timeout",
        type=_seconds,
        metavar="SECONDS",
        help=f"wait so long for an answer (default: {ANSWER_SECONDS:g})",
    )
    common.add_argument("--url", metavar="URL", help="ws://HOST:PORT, wss://HOST:PORT or unix:/PATH")
    common.add_argument("--socket", type=Path, metavar="PATH", help="unix socket of the daemon")
    common.add_argument("--token-file", type=Path, metavar="FILE", help="file with the token")
    common.add_argument(
        "--ca-file", type=Path, metavar="FILE", help="PEM file of authorities to trust for wss"
    )
    flag("--insecure", "send the token in clear to another machine")
    return common


def _memory(
    found: argparse._SubParsersAction[argparse.ArgumentParser],
    common: argparse.ArgumentParser,
) -> None:
    text = "query, recall, create, load, update, evict or summarize memories"
    memory = found.add_parser("memory", help=text, description=_sentence(text), allow_abbrev=False)
    operations = memory.add_subparsers(required=True, metavar="OPERATION")

    def add(name: str, command: Command, text: str, **defaults: object) -> argparse.ArgumentParser:
        sub = operations.add_parser(
            name, help=text, description=_sentence(text), parents=[common], allow_abbrev=False
        )
        sub.set_defaults(command=command, **defaults)
        return sub

    sub = add("query", commands.memory_query, "memories ranked by TEXT, or by kind, topic or id")
    sub.add_argument("text", nargs="*", metavar="TEXT")
    sub.add_argument("--kind", choices=("entry", "summary"))
    sub.add_argument("--topic", metavar="TEXT", help="memories with this text in them, as it stands")
    sub.add_argument(
        "--id", type=_positive, action="append", metavar="N", help="this memory; may be given again"
    )
    sub.add_argument("--scope", choices=("session", "agent", "all"), help="where TEXT is looked for")
    _limits(sub)
    sub = add("recall", commands.memory_recall, "what is remembered, newest first")
    sub.add_argument("--full", action="store_true", help="archived entries in full, not only summaries")
    _limits(sub)
    sub = add("create", commands.memory_create, "store a memory on purpose")
    sub.add_argument("text", nargs="+", metavar="TEXT")
    sub.add_argument("--name", metavar="TEXT")
    sub = add("load", commands.memory_by_id, "show a memory and bring it back into RAM", operation="load")
    sub.add_argument("memory_id", type=_positive, metavar="N")
    sub = add("update", commands.memory_update, "revise a memory; the old text is kept as a version")
    sub.add_argument("memory_id", type=_positive, metavar="N")
    sub.add_argument("text", nargs="+", metavar="TEXT")
    for name, text in (
        ("evict", "take a memory out of RAM"),
        ("summarize", "put a summary in its place in RAM"),
    ):
        sub = add(name, commands.memory_by_id, f"{text} (default: the oldest)", operation=name)
        sub.add_argument("memory_id", type=_positive, nargs="?", metavar="N")


def _limits(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--limit", type=_count, metavar="N", help="at most so many (default: 25, at most 128)")
    sub.add_argument("--no-archived", action="store_true", help="only what is in RAM")


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _agent(text: str) -> str:
    if not AGENT_ID.fullmatch(text):
        raise argparse.ArgumentTypeError("an agent id is 1 to 64 of A-Z a-z 0-9 _ and -")
    return text


def _count(text: str) -> int:
    if not re.fullmatch("[0-9]{1,18}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number, 0 or more")
    return int(text)


def _positive(text: str) -> int:
    if _count(text) == 0:
        raise argparse.ArgumentTypeError("numbers begin at 1 here")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no time in seconds")
    return seconds
