"""The Porter stemmer: English words cut to the stem that their forms share.

M. F. Porter, An algorithm for suffix stripping, Program 14 (3), 1980, pages 130 to 137, with the two
departures its author published later (`bli` for `abli`, and `logi`): the form that the tokenizer
`porter` of SQLite FTS5 has, whose limits of 3 and 64 bytes are kept too. The names of the steps are
the paper's.
"""

from __future__ import annotations

_SHORTEST, _LONGEST = 3, 64

# (suffix, what stands in its place), the longer of two that overlap first: the first that fits decides.
_STEP_2 = (
    ("ational", "ate"),
    ("tional", "tion"),
    ("enci", "ence"),
    ("anci", "ance"),
    ("izer", "ize"),
    ("logi", "log"),
    ("bli", "ble"),
    ("alli", "al"),
    ("entli", "ent"),
    ("eli", "e"),
    ("ousli", "ous"),
    ("ization", "ize"),
    ("ation", "ate"),
    ("ator", "ate"),
    ("alism", "al"),
    ("iveness", "ive"),
    ("fulness", "ful"),
    ("ousness", "ous"),
    ("aliti", "al"),
    ("iviti", "ive"),
    ("biliti", "ble"),
)
_STEP_3 = (
    ("icate", "ic"),
    ("ative", ""),
    ("alize", "al"),
    ("iciti", "ic"),
    ("ical", "ic"),
    ("ful", ""),
    ("ness", ""),
)
_ENDINGS = "al ance ence er ic able ible ant ement ment ent sion tion ou ism ate iti ous ive ize"
_STEP_4 = tuple((suffix, "") for suffix in _ENDINGS.split())


def stem(word: str) -> str:
    """The stem of a word in lower case; very short and very long ones come back as they are."""
    if not _SHORTEST <= len(word.encode(errors="surrogatepass")) <= _LONGEST:
        return word
    word = _step_1(word)
    word = _replace(word, _STEP_2, 1)
    word = _replace(word, _STEP_3, 1)
    word = _replace(word, _STEP_4, 2)
    return _step_5(word)


def _shape(stem: str) -> str:
    """Its letters as c (consonant) and v (vowel); y after a consonant is a vowel."""
    shape = ""
    for letter in stem:
        vowel = letter in "aeiou" or (letter == "y" and shape.endswith("c"))
        shape += "v" if vowel else "c"
    return shape


def _measure(stem: str) -> int:
    """The paper's m: how often vowels are followed by consonants."""
    return _shape(stem).count("vc")


def _short_end(stem: str) -> bool:
    """The paper's *o: consonant, vowel, consonant at the end, the last not w, x or y."""
    return _shape(stem).endswith("cvc") and stem[-1] not in "wxy"


def _replace(word: str, rules: tuple[tuple[str, str], ...], least: int) -> str:
    """Apply the first rule whose suffix the word has, if what stands before has measure `least`."""
    for suffix, replacement in rules:
        if word.endswith(suffix) and len(word) > len(suffix):
            # "ion" goes only after s or t, and these letters stay.
            kept = word[: len(word) - (3 if suffix in ("sion", "tion") else len(suffix))]
            return kept + replacement if _measure(kept) >= least else word
    return word


def _step_1(word: str) -> str:
    """Plurals, -ed and -ing, and y for i."""
    if any(word.endswith(plural) and word != plural for plural in ("sses", "ies")):
        word = word[:-2]
    elif word.endswith("s") and not word.endswith("ss"):
        word = word[:-1]
    if word.endswith("eed") and len(word) > 3:
        if _measure(word[:-3]) > 0:
            word = word[:-1]
    else:
        for suffix in ("ed", "ing"):
            if word.endswith(suffix) and "v" in _shape(word.removesuffix(suffix)):
                word = _restored(word.removesuffix(suffix))
                break
    if word.endswith("y") and "v" in _shape(word[:-1]):
        word = word[:-1] + "i"
    return word


def _restored(stem: str) -> str:
    """What step 1b does after -ed or -ing went: conflat to conflate, hopp to hop, fil to file."""
    if stem.endswith(("at", "bl", "iz")) and len(stem) > 2:
        return stem + "e"
    if len(stem) > 1 and stem[-1] == stem[-2] and stem[-1] not in "aeioulsz":
        return stem[:-1]
    if _measure(stem) == 1 and _short_end(stem):
        return stem + "e"
    return stem


def _step_5(word: str) -> str:
    """A last e, and one of two l."""
    if word.endswith("e"):
        kept = word[:-1]
        measure = _measure(kept)
        if measure > 1 or (measure == 1 and not _short_end(kept)):
            word = kept
    if word.endswith("ll") and _measure(word[:-1]) > 1:
        word = word[:-1]
    return word
