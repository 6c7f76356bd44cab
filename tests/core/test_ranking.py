"""Words, match expressions that no text can break, and a tail ranked as the index ranks."""

import random
import sqlite3
from collections.abc import Iterator

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from spiderwebd.core.ranking import (
    FEW_PLACES,
    MATCH_TERMS,
    SEARCHED_PLACES,
    Corpus,
    index_word,
    match_expression,
    score_tail,
    telling,
    terms,
    unscoped_expression,
    words,
)

FIELDS = "speaker, text, before, day, scope"


@pytest.fixture(scope="module")
def index() -> Iterator[sqlite3.Connection]:
    """An FTS5 table as the store has it, with three rows in two scopes."""
    connection = sqlite3.connect(":memory:")
    connection.execute(f"CREATE VIRTUAL TABLE t USING fts5({FIELDS}, tokenize='porter unicode61')")
    rows = [
        ("anna", "the parrots eat mango", "", "2024-05-03", "s1"),
        ("ben", "Straße nach Kåfjord", "parrots", "2024-05-04", "s12"),
        ("ben", "take road s1 and OR NOT NEAR", "", "2024-05-04", "s12"),
    ]
    connection.executemany("INSERT INTO t VALUES (?, ?, ?, ?, ?)", rows)
    yield connection
    connection.close()


def matches(index: sqlite3.Connection, expression: str) -> list[int]:
    """Row numbers that an expression finds."""
    rows = index.execute("SELECT rowid FROM t WHERE t MATCH ? ORDER BY rowid", (expression,))
    return [row for (row,) in rows]


def test_terms_drop_stop_words_and_repetitions() -> None:
    """What is left is in the order of the question, in lower case, each word once."""
    assert terms("What did the Parrots eat on day 7, and what did the parrots NOT eat?") == [
        "parrots",
        "eat",
        "day",
        "7",
    ]


def test_terms_keep_all_when_nothing_is_left() -> None:
    """A question of stop words alone still asks for something."""
    assert terms("who are you") == ["who", "are", "you"]
    assert terms("?! _ …") == []


def test_words_are_split_and_folded_as_the_index_does() -> None:
    """Underscores separate, digits belong, case folds letter by letter, accents stay."""
    assert words("snake_case v2 Straße CAFE\u0301 İx") == ["snake", "case", "v2", "straße", "café", "i", "x"]
    assert index_word("cafés") == "cafe"


@given(st.text())
@example('" OR scope : "s1')
@example("\0")
@example("\ud800")
@example("* ^ ( ) { } : - + NEAR(a b)")
@settings(deadline=None)
def test_no_text_breaks_a_match_expression(index: sqlite3.Connection, text: str) -> None:
    """Whatever is asked, as a whole or in terms, with any scope, SQLite takes it as words."""
    for asked in (terms(text), [text], text.split()):
        matches(index, match_expression(asked))
        assert set(matches(index, match_expression(asked, "s12"))) <= {2, 3}
        matches(index, match_expression(asked, text))


def test_a_match_expression_finds_any_term(index: sqlite3.Connection) -> None:
    """Terms are OR-ed and stemmed by the index; query words of FTS5 are ordinary words."""
    assert matches(index, match_expression(terms("Did a parrot take roads?"))) == [1, 2, 3]
    assert matches(index, match_expression(["NEAR"])) == [3]
    assert matches(index, match_expression(terms("STRASSE straße"))) == [2]


def test_a_scope_is_a_filter_and_never_a_word(index: sqlite3.Connection) -> None:
    """Only rows of the scope are found, and a word equal to a scope's name is looked for in texts."""
    assert matches(index, match_expression(["parrots"], "s12")) == [2]
    assert matches(index, match_expression(["s1"], "s12")) == [3]
    assert matches(index, match_expression(["s12"], "s12")) == []


def test_without_a_scope_its_words_are_not_found_either(index: sqlite3.Connection) -> None:
    """Rows of every scope are found, by the words of their texts alone."""
    assert matches(index, unscoped_expression(["parrots"])) == [1, 2]
    assert matches(index, unscoped_expression(["s1"])) == [3]
    assert matches(index, unscoped_expression(["s12"])) == []
    assert matches(index, unscoped_expression([])) == []


@pytest.mark.parametrize("nothing", [[], [""], ["…"]])
def test_no_term_finds_nothing(index: sqlite3.Connection, nothing: list[str]) -> None:
    """An empty question is valid and does not list the whole scope."""
    assert matches(index, match_expression(nothing)) == []
    assert matches(index, match_expression(nothing, "s12")) == []


def test_a_long_question_is_bounded(index: sqlite3.Connection) -> None:
    """Only the first MATCH_TERMS terms are searched for."""
    many = [f"w{number}" for number in range(MATCH_TERMS)]
    assert matches(index, match_expression([*many[1:], "parrots"])) == [1, 2]
    assert matches(index, match_expression([*many, "parrots"])) == []


def test_a_tail_of_one_is_found() -> None:
    """A memory written just now is found by the very next question, in another form of the word."""
    tail = [("anna", "The parrots eat mangoes", "", "2024-05-03")]
    ((found, score),) = score_tail(terms("what does a parrot eat"), tail)
    assert found == 0
    assert score > 0
    assert score_tail(terms("who fixes bicycles"), tail) == []
    assert score_tail(terms("parrot"), []) == []


def test_own_text_counts_more_than_what_came_before() -> None:
    """The context columns have half the weight; of equals the newer comes first."""
    tail = [("a", "x y", "mango", ""), ("a", "mango y", "x", ""), ("a", "mango y", "x", "")]
    assert [found for found, _ in score_tail(["mango"], tail)] == [2, 1, 0]


def documents(count: int) -> list[tuple[str, str, str, str]]:
    """Turns of made-up words, some common and many rare, always the same."""
    chance = random.Random(7)
    vocabulary = [f"word{number}" for number in range(200)]
    weights = [1 / (number + 1) for number in range(200)]

    def text(length: int) -> str:
        return " ".join(chance.choices(vocabulary, weights, k=length))

    return [
        (chance.choice(["ann", "ben"]), text(chance.randint(3, 30)), text(8), "monday") for _ in range(count)
    ]


def test_scores_are_those_of_the_index() -> None:
    """BM25 as FTS5 computes it: same order, and the same scores where a word is rare."""
    rows = documents(400)
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE VIRTUAL TABLE t USING fts5(speaker, text, before, day, tokenize='porter')")
    connection.executemany("INSERT INTO t VALUES (?, ?, ?, ?)", rows)
    for query in (["word150"], ["word120", "word77"], ["word60", "word90", "word199"]):
        ours = score_tail(query, rows)
        theirs = connection.execute(
            "SELECT rowid - 1, -bm25(t, 1.0, 1.0, 0.5, 0.5) FROM t WHERE t MATCH ? ORDER BY 2 DESC, 1 DESC",
            (match_expression(query),),
        ).fetchall()
        assert len(ours) == len(theirs) > 3
        expected = dict(theirs)
        for found, score in ours:
            assert score == pytest.approx(expected[found], rel=0.03)
    connection.close()


def test_a_tail_is_weighed_with_the_index() -> None:
    """Given what the index counts, a tail scores as if its documents were ranked with all others."""
    rows = documents(300)
    indexed, tail = rows[:290], rows[290:]
    stems = [{index_word(word) for text in row for word in words(text)} for row in indexed]
    corpus = Corpus(
        documents=len(indexed),
        words=sum(len(words(text)) for row in indexed for text in row) / len(indexed),
        containing={word: sum(word in row for row in stems) for word in ("word1", "word5", "word30")},
    )
    query = ["word1", "word5", "word30"]
    together = {found: score for found, score in score_tail(query, rows) if found >= len(indexed)}
    apart = {found + len(indexed): score for found, score in score_tail(query, tail, corpus)}
    assert apart
    assert apart == pytest.approx(together)


@given(
    st.dictionaries(st.text("abc", min_size=1, max_size=3), st.integers(0, 60_000)), st.integers(0, 40_000)
)
@example({"backup": 20_000, "moon": 3}, 30_000)
@example({"backup": 2_000, "moon": 3}, 2_000)
def test_words_that_tell_something(containing: dict[str, int], documents: int) -> None:
    """All words tell while they stand in few documents; then none of more than half of all, and of the
    others the rarest, as many as stand in a bounded number of documents."""
    told = telling(Corpus(documents=documents, containing=containing))
    if sum(containing.values()) <= FEW_PLACES:
        assert told == set(containing)
        return
    candidates = {word: holding for word, holding in containing.items() if holding <= documents // 2}
    assert told <= set(candidates)
    assert bool(told) == bool(candidates)
    assert len(told) <= 1 or sum(containing[word] for word in told) <= SEARCHED_PLACES
    for word in told:
        assert told.issuperset(other for other in candidates if candidates[other] < containing[word])
