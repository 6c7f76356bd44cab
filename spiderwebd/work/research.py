"""The research worker: looks into memories and document folders, and cites what it found."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from spiderwebd.core.outcome import Outcome, complete
from spiderwebd.core.quotes import quote
from spiderwebd.core.verbs import Verb
from spiderwebd.work.blocking import RunBlocking
from spiderwebd.work.documents import DocumentFolders, Findings
from spiderwebd.work.hits import Hit, cited
from spiderwebd.work.task import PassGate, PlannedTask

MEMORIES = 5
FILES = 3
QUOTE_CHARACTERS = 200

Search = Callable[[str, int], Awaitable[Sequence[Hit]]]
"""(text, limit) to the best memories of the session and its principal, best first. The goal itself
and its plan, which hold every word of the task, must be left out by whoever provides this."""


class ResearchWorker:
    """Finding nothing is a result too, and is said so."""

    def __init__(self, search: Search, documents: DocumentFolders, run_blocking: RunBlocking) -> None:
        self._search = search
        self._documents = documents
        self._run_blocking = run_blocking

    async def __call__(self, task: PlannedTask, pass_gate: PassGate) -> Outcome:
        """Search what the task's verb names and return the citations."""
        verb, text = task.choice.verb, task.choice.text
        await pass_gate()
        hits: Sequence[Hit] = ()
        findings = Findings((), exhaustive=True)
        if verb is not Verb.SEARCH_FILES:
            hits = await self._search(text, MEMORIES)
            await pass_gate()
        if verb is not Verb.SEARCH_MEMORIES:

            def on_file(opened: int) -> None:
                task.progress.say(f"research: {opened} {'file' if opened == 1 else 'files'} searched")

            findings = await self._run_blocking(partial(self._documents.search, text, FILES, on_file))
        return complete(f"research: {_told(text, hits, findings)}")


def _told(text: str, hits: Sequence[Hit], findings: Findings) -> str:
    parts = []
    if hits:
        memories = ", ".join(cited(hit) for hit in hits)
        parts.append(f"{len(hits)} {'memory' if len(hits) == 1 else 'memories'} [{memories}]")
    if findings.matches:
        files = ", ".join(f"{match.file}:{match.line_number}" for match in findings.matches)
        count = len(findings.matches)
        parts.append(f"{count} {'file' if count == 1 else 'files'} [{files}]")
    told = ", ".join(parts) or f"nothing found for {quote(text, QUOTE_CHARACTERS)}"
    if hits:
        told += f": {quote(hits[0].content, QUOTE_CHARACTERS)}"
    elif findings.matches:
        told += f": {quote(findings.matches[0].line, QUOTE_CHARACTERS)}"
    if not findings.exhaustive:
        told += " (not every file was searched: a limit was reached)"
    return told
