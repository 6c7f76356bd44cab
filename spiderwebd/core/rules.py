"""The table of task rules: how a task may be worded, and the worker and verb it then gets.

Named groups of the patterns are the arguments: `text` is taken as it stands, `words` without the
quotes around it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from spiderwebd.core.verbs import Kind, Verb
from spiderwebd.core.wording import (
    ARTICLE,
    CALLED,
    FILE,
    FOLDERS,
    MEMORIES,
    MEMORY,
    NAME,
    OF_THE_SESSION,
    STATE,
    SUBJECT,
    SUBJECTS,
    TEXT_OF_FILE,
    compiled,
)


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of the table."""

    name: str
    kind: Kind
    verb: Verb
    form: str
    examples: tuple[str, ...]
    """Titles this rule matches; the first is the published example. Each is tested."""
    patterns: tuple[re.Pattern[str], ...]
    """Matched against the whole title, tried in order."""
    writes: bool = False

    @property
    def takes_text(self) -> bool:
        """Whether the title ends in free text, to which a last `!` or `?` belongs."""
        return self.kind is Kind.RESEARCH or any("text" in pattern.groupindex for pattern in self.patterns)


RULES: tuple[Rule, ...] = (
    Rule(
        "remember",
        Kind.EXECUTION,
        Verb.REMEMBER,
        "remember TEXT; store|note|save that TEXT; store|note|save a memory: TEXT",
        (
            "remember that the backup runs at 02:00",
            "note: the key is under the mat",
            "save that Ada prefers tea",
            "store a memory: rent is due on Friday",
            "keep in mind that the printer is slow",
            "store the door code 4711 in memory",
        ),
        (
            compiled(
                r"(?:remember|memori[sz]e|keep in mind)(?: that(?:\s*:)? |\s*:\s*| (?!that\b))"
                r"(?P<text>[^\s:].*)"
            ),
            compiled(
                r"(?:store|save|note(?: down)?|(?:(?:store|save|add|create|make|take|write) )"
                rf"{ARTICLE}(?:memory|note|fact))(?:\s*:\s*| that(?:\s*:\s*| ))(?P<text>\S.*)"
            ),
            compiled(r"(?:store|save|put|keep) (?P<words>\S.*?) (?:in|into|to) (?:(?:the|your) )?memory"),
        ),
        writes=True,
    ),
    Rule(
        "forget",
        Kind.EXECUTION,
        Verb.FORGET,
        "forget memory NUMBER",
        ("forget memory 12", "forget #12", "forget 12", "delete memory 3"),
        (
            compiled(rf"forget {MEMORY}"),
            compiled(r"forget (?P<memory_id>\d{1,18})"),
            compiled(r"(?:erase|delete|remove) (?:the )?memory(?: number)? #?(?P<memory_id>\d{1,18})"),
        ),
        writes=True,
    ),
    Rule(
        "load",
        Kind.EXECUTION,
        Verb.LOAD,
        "recall|load memory NUMBER [into RAM]",
        ("load memory 4 into RAM", "recall memory #7", "bring back #2"),
        (
            compiled(
                rf"(?:recall|load|restore|bring back) {MEMORY}"
                r"(?: (?:back )?(?:into|to|in) (?:the )?(?:ram|working memory|memory))?"
            ),
        ),
        writes=True,
    ),
    Rule(
        "summarize",
        Kind.EXECUTION,
        Verb.SUMMARIZE,
        "summarize memory NUMBER",
        ("summarize memory 5", "summarise #6"),
        (compiled(rf"summari[sz]e {MEMORY}"),),
        writes=True,
    ),
    Rule(
        "append",
        Kind.EXECUTION,
        Verb.APPEND,
        "append TEXT to NAME; append to NAME: TEXT",
        ("append to log.txt: second line", "append 'second line' to log.txt", "add milk to file shopping"),
        (
            compiled(rf"(?:append|add) to {FILE}\s*:\s*(?P<text>\S.*)"),
            compiled(rf"(?:append|add) (?P<words>\S.*?) to {FILE}"),
        ),
        writes=True,
    ),
    Rule(
        "write",
        Kind.EXECUTION,
        Verb.WRITE,
        "write|create file NAME: TEXT; write file NAME with TEXT; write TEXT to NAME",
        (
            "write file notes.txt: buy milk",
            "create file plan with three steps",
            "write report.md: all is well",
            "save 'all is well' to report.md",
        ),
        (
            compiled(rf"(?:write|create|make|save) {FILE}{TEXT_OF_FILE}"),
            compiled(rf"(?:write|save|put) (?P<words>\S.*?) (?:to|into) {FILE}"),
        ),
        writes=True,
    ),
    Rule(
        "make directory",
        Kind.EXECUTION,
        Verb.MAKE_DIRECTORY,
        "make|create directory|folder NAME",
        ("make directory archive", "create a folder called drafts/old", "mkdir archive"),
        (
            compiled(rf"(?:make|create|add) {ARTICLE}(?:directory|folder) {CALLED}(?P<path>{NAME})"),
            compiled(rf"mkdir (?P<path>{NAME})"),
        ),
        writes=True,
    ),
    Rule(
        "create",
        Kind.EXECUTION,
        Verb.CREATE,
        "create file NAME (empty, unless it is there)",
        ("create file todo.txt", "touch todo.txt"),
        (compiled(rf"(?:create|make|touch) {FILE}"),),
        writes=True,
    ),
    Rule(
        "list files",
        Kind.EXECUTION,
        Verb.LIST,
        "list files [in DIRECTORY]",
        ("list files", "list the files in archive", "show my files"),
        (
            compiled(
                r"(?:list|show)(?: me)?(?: (?:the|all|my|your|our))* files"
                rf"(?: (?:in|of|under) (?:the )?(?:(?:directory|folder) )?(?P<path>{NAME}))?"
            ),
        ),
    ),
    Rule(
        "read",
        Kind.EXECUTION,
        Verb.READ,
        "read|show file NAME",
        ("read file notes", "show me notes.txt", "print 'my notes.txt'"),
        (compiled(rf"(?:read|show|print|display|open|cat)(?: me)? {FILE}"),),
    ),
    Rule(
        "delete",
        Kind.EXECUTION,
        Verb.DELETE,
        "delete file NAME",
        ("delete file notes.txt", "remove old.txt"),
        (compiled(rf"(?:delete|remove|erase) {FILE}"),),
        writes=True,
    ),
    Rule(
        "copy",
        Kind.EXECUTION,
        Verb.COPY,
        "copy NAME to NAME",
        ("copy notes.txt to archive/notes.txt", "copy file a to b"),
        (compiled(rf"copy (?:the )?(?:file )?(?P<path>{NAME}) to (?P<target>{NAME})"),),
        writes=True,
    ),
    Rule(
        "move",
        Kind.EXECUTION,
        Verb.MOVE,
        "move|rename NAME to NAME",
        ("rename notes.txt to old.txt", "move the file a.txt to archive/a.txt"),
        (
            compiled(
                rf"(?:move|rename) (?:the )?(?:(?:file|directory|folder) )?"
                rf"(?P<path>{NAME}) to (?P<target>{NAME})"
            ),
        ),
        writes=True,
    ),
    Rule(
        "count",
        Kind.EXECUTION,
        Verb.COUNT,
        "count words|lines|characters|bytes in NAME",
        ("count words in notes.txt", "count the number of lines in the file log"),
        (
            compiled(
                r"count (?:the )?(?:number of )?(?P<unit>words|lines|characters|bytes) (?:in|of) "
                rf"{ARTICLE}(?:file )?{CALLED}(?P<path>{NAME})"
            ),
        ),
    ),
    Rule(
        "report",
        Kind.STATUS,
        Verb.REPORT,
        "[report|show|tell me|check|what is] status|state|progress|health|queue|memory|store",
        (
            "report status",
            "tell me the state",
            "status",
            "progress report",
            "show the queue and the health of the store",
            "check the state of the queue",
            "what is the current status?",
            "report on memory",
        ),
        (
            compiled(
                r"(?:report|report on|tell me|tell us|tell me about|show|show me|give me|send me|print|check|"
                rf"get|what is|what's|how is|summari[sz]e) {SUBJECT}{SUBJECTS}"
            ),
            compiled(rf"{OF_THE_SESSION}{STATE}{SUBJECTS}"),
        ),
    ),
    Rule(
        "result",
        Kind.STATUS,
        Verb.REPORT,
        "report [back|results|findings]; produce a result|summary",
        (
            "Produce an actionable result and next steps",
            "report back",
            "report what was found",
            "report the results",
            "summarize the results",
        ),
        (
            compiled(r"report(?: (?:back|when done))?"),
            compiled(r"(?:report|summari[sz]e)(?: on| back)?(?: the| all)? (?:results?|findings|outcomes?)"),
            compiled(r"report(?: on| back)? what (?:was|is|has|have|you) .+"),
            compiled(r"produce an? (?:actionable )?(?:result|summary|overview)(?: and next steps)?"),
        ),
    ),
    Rule(
        "how far",
        Kind.STATUS,
        Verb.REPORT,
        "how far|how is it going|where do we stand|what is left",
        ("how far are we", "how is it going?", "tell me where we stand", "what is left to do"),
        (
            compiled(
                r"(?:tell me )?(?:how far(?: .+)?|how (?:is it|are things|is everything) going|"
                r"how are (?:we|you|things) doing|where (?:do we|are we|we) (?:stand|are|now)|"
                r"what(?: is|'s) (?:left|running|queued|pending)(?: .+)?)"
            ),
        ),
    ),
    Rule(
        "search files",
        Kind.RESEARCH,
        Verb.SEARCH_FILES,
        "find|search TEXT in files; search files for TEXT",
        ("find timeout in files", "search the documents for backup schedule", "grep retry in docs"),
        (
            compiled(rf"(?:find|search|grep|look)(?: for)? (?P<words>\S.*?) (?:in|within) {FOLDERS}"),
            compiled(rf"(?:search|grep|scan)(?: in| through)? {FOLDERS} for (?P<words>\S.*)"),
        ),
    ),
    Rule(
        "search memories",
        Kind.RESEARCH,
        Verb.SEARCH_MEMORIES,
        "search memories for TEXT; find TEXT in memory",
        ("search memory for the door code", "find Ada in your memories"),
        (
            compiled(rf"(?:search|scan)(?: in| through)? {MEMORIES} for (?P<words>\S.*)"),
            compiled(rf"(?:find|search|look)(?: for)? (?P<words>\S.*?) (?:in|within) {MEMORIES}"),
        ),
    ),
    Rule(
        "research",
        Kind.RESEARCH,
        Verb.SEARCH,
        "search|find|look up|recall|read|check|compare|collect|gather|review|understand|list TEXT",
        (
            "search for the backup schedule",
            "Understand the goal and required outcome",
            "Collect key constraints and required inputs",
            "look up the door code",
            "read the docs",
            "recall what Ada said",
            "compare the two offers",
            "list what is known about Ada",
            "summarize everything about the backup",
        ),
        (
            compiled(
                r"(?:search|find out|find|research|look up|look for|look into|look at|look through|recall|"
                r"query|read|check|compare|collect|gather|review|understand|study|investigate|explore|examine|"
                r"inspect|analy[sz]e|identify|learn|determine|discover|consult|scan|locate|browse|"
                r"list|tell (?:me|us))(?: (?:for|about|up|into|on|out|through|over))?(?: (?P<words>\S.*))?"
            ),
            compiled(r"summari[sz]e (?P<words>(?:what|everything|all)\b.*)"),
        ),
    ),
    Rule(
        "question",
        Kind.RESEARCH,
        Verb.SEARCH,
        "what|who|when|where|which|why|how ...",
        ("what is the door code?", "Who owns the printer", "why is the build slow?", "is Ada on holiday?"),
        (
            compiled(r"(?:what|who|whom|whose|when|where|which|why|how)\b.*"),
            compiled(r"(?:is|are|was|were|do|does|did|has|have|had) .+\?"),
        ),
    ),
)
"""Tried from the top. Exact forms of execution stand before status, status before research."""
