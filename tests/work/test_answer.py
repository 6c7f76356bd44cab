"""Chat is answered by what memory holds."""

from spiderwebd.work.answer import NOTHING, QUOTE_CHARACTERS, answer
from tests.work.workbench import StoredHit


def test_quotes_the_best_three_with_ids() -> None:
    """The best entries come first, at most three, each with id and role."""
    hits = [
        StoredHit(12, "tea is hot"),
        StoredHit(3, "Tea\nis  green", "assistant"),
        StoredHit(4, "c"),
        StoredHit(5, "d"),
    ]
    assert answer("tea?", hits) == (
        'From memory:\n#12 (user): "tea is hot"\n#3 (assistant): "Tea is green"\n#4 (user): "c"'
    )


def test_nothing_is_said_plainly() -> None:
    """Without hits, or with none but the question itself, the answer is that nothing is stored."""
    assert answer("tea?", []) == NOTHING == "Nothing stored about this yet."
    assert answer(" tea? ", [StoredHit(1, "tea?"), StoredHit(2, "")]) == NOTHING


def test_one_text_is_quoted_once() -> None:
    """Copies of a text do not fill the answer."""
    assert answer("q", [StoredHit(1, "a"), StoredHit(2, "a"), StoredHit(3, "b")]).count("(user)") == 2


def test_long_texts_are_cut() -> None:
    """A quote has a sane length and shows that it was cut."""
    line = answer("q", [StoredHit(1, "ä" * 5000)]).splitlines()[1]
    assert line == '#1 (user): "' + "ä" * (QUOTE_CHARACTERS - 1) + '…"'


def test_no_model_is_claimed() -> None:
    """Neither answer mentions a model."""
    assert "model" not in (answer("q", [StoredHit(1, "a")]) + NOTHING).lower()
