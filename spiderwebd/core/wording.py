"""Pieces of patterns that the rules for task titles are put together from."""

from __future__ import annotations

import re


def compiled(pattern: str) -> re.Pattern[str]:
    """Compile a pattern in which a plain space stands for any run of white space; case is ignored."""
    return re.compile(pattern.replace(" ", r"\s+"), re.IGNORECASE | re.DOTALL)


LEAD = compiled(
    r"(?:(?:\d{1,4}[:.)]|(?:please|then|and|next|now|first|second|third|also|finally|lastly|afterwards|"
    r"(?:can|could|would|will) you)[,:]?) )+"
)
"""Numbering and courtesies before the word that decides."""

NAME = r"(?:\"[^\"]+\"|'[^']+'|`[^`]+`|[^\s:\"'`]+)"
FILE_LIKE = (
    r"(?:\"[^\"]*[./][^\"]*\"|'[^']*[./][^']*'|`[^`]*[./][^`]*`|"
    r"[^\s:\"'`./]*(?:\.[^\s:\"'`./]|\.{0,2}/)[^\s:\"'`]*)"
)
ARTICLE = r"(?:(?:the|an|a|this|my|your|new|empty) )*"
CALLED = r"(?:(?:named|called) )?"
FILE = rf"(?:{ARTICLE}file {CALLED}(?P<path>{NAME})|{ARTICLE}(?P<path_only>{FILE_LIKE}))"
MEMORY = r"(?:(?:the )?(?:memory|entry)(?: number)? #?|#)(?P<memory_id>\d{1,18})"
TEXT_OF_FILE = (
    r"(?:\s*:\s*(?P<text>\S.*)|"
    r" (?:with|containing|saying)(?: the)?(?: (?:texts?|contents?))?(?:\s*:\s*| )(?P<words>\S.*))"
)
FOLDERS = r"(?:(?:the|my|your|all|these) )*(?:files|documents|documentation|docs|folders?)"
MEMORIES = r"(?:(?:the|my|your|all|our) )*(?:memory|memories|notes|history|conversation)"
OF_THE_SESSION = (
    r"(?:(?:a|the|your|our|my|its|this|current|overall|session|goal|tasks?|workers?|daemon|system) )*"
)
STATE = r"(?:status|states?|progress|health|queues?|backlog)"
SUBJECT = rf"{OF_THE_SESSION}(?:{STATE}|memory|store|storage|session|goal|plan)"
SUBJECTS = (
    rf"(?:(?:,? and|,| of| for) {SUBJECT})*(?: (?:report|update|check|overview))?(?: (?:please|now|so far))?"
)
