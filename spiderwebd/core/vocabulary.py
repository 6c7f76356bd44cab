"""English word lists, in lower case as `ranking.words` gives them: what to look past and what to keep.

Used by search (stop words) and by extractive summaries (the others).
"""

from __future__ import annotations


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Function words, and what is left of contractions when they are split at the apostrophe.
STOP_WORDS = _words(
    """
    a about above after again against all am an and any are aren as at be because been before being
    below between both but by can cannot could couldn d did didn do does doesn doing don down during
    each few for from further had hadn has hasn have haven having he her here hers herself him himself
    his how i if in into is isn it its itself just ll m me more most mustn my myself no nor not now of
    off on once only or other our ours ourselves out over own re s same shan she should shouldn so some
    such t than that the their theirs them themselves then there these they this those through to too
    under until up ve very was wasn we were weren what when where which while who whom why will with
    won would wouldn you your yours yourself yourselves
    """
)

# Stop words whose loss would change what a sentence says: negation, order, amount, modality.
_TELLING = _words(
    """
    above after again against all any because before below between both but can cannot could down during
    each few if more most no nor not off once only or out over same should than under until up without
    would
    """
)

_FILLER = _words(
    """
    absolutely actually also anyway basically definitely haha hmm honestly literally lol oh please quite
    really totally uh um well yeah
    """
)

SQUEEZED_OUT = (STOP_WORDS - _TELLING) | _FILLER
"""What a squeezed sentence does without."""

SMALL_TALK = _words(
    """
    absolutely amazing aw awesome bye congrats congratulations cool definitely glad good goodbye great
    haha hello hey hi hiya lol nice oh ok okay sounds sure thank thanks welcome wow yeah yep yes
    """
)
"""A sentence that opens with one of these rarely states a fact."""

FIRST_PERSON = _words("i me my mine we us our ours")

CALENDAR = _words(
    """
    january february march april june july august september october november december monday tuesday
    wednesday thursday friday saturday sunday yesterday today tomorrow tonight last next ago week weeks
    weekend month months year years birthday anniversary
    """
)
"""Without "may", which is a verb more often; as a month it has a capital letter, which counts too."""

NUMBERS = _words(
    """
    one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
    seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand
    million billion dozen half twice
    """
)
