"""The word lists agree with how words are split, and squeezing keeps what tells."""

import pytest

from spiderwebd.core import vocabulary
from spiderwebd.core.ranking import words


@pytest.mark.parametrize("name", [name for name in vars(vocabulary) if name.isupper() and name[0] != "_"])
def test_every_listed_word_is_one_that_text_gives(name: str) -> None:
    """A word in capitals or with an apostrophe would never be met."""
    for word in getattr(vocabulary, name):
        assert words(word) == [word]


@pytest.mark.parametrize("word", ["not", "no", "never", "without", "before", "after", "all", "should"])
def test_telling_words_are_never_squeezed_out(word: str) -> None:
    """Without them a sentence would say something else."""
    assert word not in vocabulary.SQUEEZED_OUT
