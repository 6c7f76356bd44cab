"""One table of codes, in code, schema and README, proven the same (issue 3, Wire)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from spiderwebd.core.codes import (
    CLOSE_MEANINGS,
    MEANINGS,
    Close,
    Code,
    Refused,
    SpiderwebError,
    StorageUnavailable,
)
from spiderwebd.core.schema import wire_schema

README = Path(__file__).parents[2] / "README.md"


def table(header: str) -> list[list[str]]:
    """The rows of the README's table with this header, each a list of its cells."""
    lines = README.read_text(encoding="utf-8").splitlines()
    start = lines.index(header) + 2
    rows = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip().strip("`") for cell in line.strip("|").split("|")])
    return rows


def test_the_readme_lists_every_code_with_its_meaning() -> None:
    """Code, sentence and retry of each error code stand in the README as in the code, in its order."""
    listed = table("| code | meaning | retry |")
    assert listed == [
        [code.value, MEANINGS[code].text, "yes" if MEANINGS[code].retry else "no"] for code in Code
    ]


def test_the_readme_lists_every_close_code() -> None:
    """Each close code stands in the README, smallest first, with the sentence the daemon sends."""
    listed = table("| close code | meaning |")
    assert listed == [[str(int(close)), CLOSE_MEANINGS[close]] for close in sorted(Close)]


def test_the_schema_lists_every_code_and_close_code() -> None:
    """A client written from the schema alone knows every code."""
    schema = wire_schema()
    assert schema["x-error-codes"] == {
        code.value: {"meaning": meaning.text, "retry": meaning.retry} for code, meaning in MEANINGS.items()
    }
    assert schema["x-close-codes"] == {str(int(close)): text for close, text in CLOSE_MEANINGS.items()}


def test_every_code_has_a_meaning() -> None:
    """No code without a sentence, and each is one sentence that ends."""
    assert set(MEANINGS) == set(Code)
    assert set(CLOSE_MEANINGS) == set(Close)
    for text in (*(meaning.text for meaning in MEANINGS.values()), *CLOSE_MEANINGS.values()):
        assert re.fullmatch(r"[A-Za-z].*\.", text)


def test_close_reasons_fit_a_close_frame() -> None:
    """RFC 6455 5.5: a control frame has at most 125 bytes, two of them for the code."""
    for text in CLOSE_MEANINGS.values():
        assert len(text.encode()) <= 123


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SpiderwebError("it broke"), Code.INTERNAL),
        (Refused("no"), Code.BAD_FRAME),
        (Refused("no", Code.QUEUE_FULL, 10), Code.QUEUE_FULL),
        (StorageUnavailable("disk full"), Code.STORAGE_UNAVAILABLE),
    ],
)
def test_every_error_carries_a_code(error: SpiderwebError, code: Code) -> None:
    """Whatever is raised says what a client is told, and its class has a default."""
    assert error.code is code
    assert str(error) == error.message
    assert error.retry_after_ms == (10 if code is Code.QUEUE_FULL else None)
