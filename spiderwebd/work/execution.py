"""The execution worker: carries out the verbs of memory and files, and says so when there is none."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial

from spiderwebd.core.change import Entry
from spiderwebd.core.codes import Code
from spiderwebd.core.kinds import Choice
from spiderwebd.core.outcome import NEW_ID, NewMemory, Outcome, blocked, complete, failed
from spiderwebd.core.quotes import cut, quote
from spiderwebd.core.rules import RULES
from spiderwebd.core.verbs import Kind, Verb
from spiderwebd.work.blocking import RunBlocking
from spiderwebd.work.confined import FileRefused
from spiderwebd.work.files import Counts, Listed, SessionFiles
from spiderwebd.work.task import PassGate, PlannedTask

QUOTE_CHARACTERS = 200
SHOWN_CHARACTERS = 800
"""Of a file that was read; a detail has room for 1000."""

VERBS = ", ".join(rule.name for rule in RULES if rule.kind is Kind.EXECUTION)

Lookup = Callable[[int], Awaitable[Entry | None]]
"""MemoryID to the memory as the LTM has it; None when the session has none that holds a text."""


class ExecutionWorker:
    """Works in the session's own directory, and proposes changes of the session's memories."""

    def __init__(self, files: SessionFiles, lookup: Lookup, run_blocking: RunBlocking) -> None:
        self._files = files
        self._lookup = lookup
        self._run_blocking = run_blocking

    async def __call__(self, task: PlannedTask, pass_gate: PassGate) -> Outcome:
        """Carry out the task's verb. A title without one ends blocked, never complete."""
        await pass_gate()
        choice = task.choice
        if choice.verb is None:
            return blocked(
                f"execution: no built-in worker can carry out {quote(task.title, QUOTE_CHARACTERS)}; "
                f"it can: {VERBS}",
                Code.NO_WORKER,
            )
        if choice.verb is Verb.REMEMBER:
            told = complete(f"execution: remembered {NEW_ID}: {quote(choice.text, QUOTE_CHARACTERS)}")
            return replace(told, remember=(NewMemory("user", choice.text),))
        try:
            return await self._carry_out(choice)
        except FileRefused as refusal:
            return failed(f"execution: {choice.verb}: {refusal.message}", refusal.code)

    async def _carry_out(self, choice: Choice) -> Outcome:
        match choice.verb:
            case Verb.FORGET | Verb.LOAD | Verb.SUMMARIZE if choice.memory_id is not None:
                return await self._memory(choice.verb, choice.memory_id)
            case Verb.READ:
                text = await self._run_blocking(partial(self._files.read, choice.path))
                return complete(f"execution: {choice.path}, {_size(text)}: {cut(text, SHOWN_CHARACTERS)}")
            case Verb.LIST:
                listed = await self._run_blocking(partial(self._files.listing, choice.path or "."))
                return complete(f"execution: {_names(listed)}")
            case Verb.COUNT:
                counts = await self._run_blocking(partial(self._files.count, choice.path))
                return complete(f"execution: {choice.path} has {_counted(counts, choice.unit)}")
            case _:
                return complete(f"execution: {await self._run_blocking(partial(self._change, choice))}")

    async def _memory(self, verb: Verb, memory_id: int) -> Outcome:
        entry = await self._lookup(memory_id)
        if entry is None:
            return failed(f"execution: this session has no memory #{memory_id}", Code.MEMORY_UNKNOWN)
        quoted = quote(entry.content, QUOTE_CHARACTERS)
        match verb:
            case Verb.LOAD:
                return replace(complete(f"execution: memory #{memory_id} is in RAM: {quoted}"), load=(entry,))
            case Verb.SUMMARIZE:
                return replace(
                    complete(f"execution: memory #{memory_id} is summarized in RAM: {quoted}"),
                    summarize=(entry,),
                )
            case _:
                return replace(
                    complete(f"execution: memory #{memory_id} has left RAM; recall brings it back: {quoted}"),
                    evict=(memory_id,),
                )

    def _change(self, choice: Choice) -> str:
        """Change files, where blocking is allowed; return what was done."""
        files, path, target = self._files, choice.path, choice.target
        match choice.verb:
            case Verb.WRITE:
                return f"wrote {files.write(path, choice.text)} bytes to {path}"
            case Verb.APPEND:
                return f"appended to {path}, which now has {files.append(path, choice.text)} bytes"
            case Verb.CREATE:
                return f"created {path}" if files.create(path) else f"{path} is there already"
            case Verb.COPY:
                return f"copied {path} to {target}, {files.copy(path, target)} bytes"
            case Verb.MOVE:
                files.move(path, target)
                return f"moved {path} to {target}"
            case Verb.DELETE:
                files.delete(path)
                return f"deleted {path}"
            case Verb.MAKE_DIRECTORY:
                return f"made directory {path}" if files.make_directory(path) else f"{path} is there already"
            case _:
                raise ValueError(f"execution cannot {choice.verb}")


def _size(text: str) -> str:
    count = len(text.encode())
    return f"{count} {'byte' if count == 1 else 'bytes'}"


def _names(listed: list[Listed]) -> str:
    if not listed:
        return "no files"
    names = ", ".join(entry.name + ("/" if entry.type == "directory" else "") for entry in listed)
    return f"{len(listed)} {'name' if len(listed) == 1 else 'names'}: {names}"


def _counted(counts: Counts, unit: str) -> str:
    count = {
        "lines": counts.lines,
        "words": counts.words,
        "characters": counts.characters,
        "bytes": counts.bytes,
    }[unit]
    return f"{count} {unit.removesuffix('s') if count == 1 else unit}"
