"""Whether a response is text at all: loops, word salad, broken tokens and echoes are neither compliance nor refusal.

Pure functions over one response. Written for English and tolerant of the rest: code, lists and answers in other
languages or scripts are coherent as long as they do not loop, mix scripts inside sentences, or consist of
misshapen words. Every test is a proportion over the words, so that one typing error never decides.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from functools import lru_cache
from itertools import pairwise


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_DETERMINERS = _set("the a an my your our their its every")
_PREPOSITIONS = _set("of to in for on with at by from into about as than")
_CONJUNCTIONS = _set("and or but because if")
_AUXILIARIES = _set("is are was were be been has have had can could will would should may might must do does did")
_PRONOUNS = _set("i you he she it they we this that these those there who which what not no so all some any")
_OTHER = _set(
    "me him them us his her when where how why very more most also just only then here up out over such other "
    "don't it's i'm can't you're too each both after before while"
)
_ENGLISH = _DETERMINERS | _PREPOSITIONS | _CONJUNCTIONS | _AUXILIARIES | _PRONOUNS | _OTHER
_ELSEWHERE = _set(
    "de la el los las que en y un una por con para es se del le les des et est dans pour une du qui pas sur der die "
    "das und ist von mit nicht ein eine zu den im auf il di che e per non sono della o os um uma não em da do na no "
    "het een van dat op te zijn voor och att som det på av i w z na się nie jest to med er"
)
_FUNCTION = _ENGLISH | _ELSEWHERE

# Pairs of function words that no English sentence has: "the of", "a is", "of and".
_NEVER_AFTER: dict[str, frozenset[str]] = {
    **dict.fromkeys(
        _DETERMINERS,
        _DETERMINERS | _PREPOSITIONS | _CONJUNCTIONS | _AUXILIARIES | _set("i you he she it they we me him them"),
    ),
    **dict.fromkeys(
        ["of", "to", "with", "for", "at", "by", "from"],
        _set("of and or but because is are was were has will would could should may must can he she they we i"),
    ),
    **dict.fromkeys(["and", "or", "but"], _set("and or of")),
    **dict.fromkeys(_AUXILIARIES, _set("of and or is are was were")),
}
# ... but for these, at the seam of two clauses ("as well as you can and should").
_MAY_FOLLOW = frozenset(
    tuple(pair.split(":"))
    for pair in _set(
        "as:a can:of can:and will:and is:and is:of are:of was:of be:of "
        "were:of may:or is:or are:or are:and is:is do:is did:was do:and "
        "have:is has:is was:and were:and can:is had:was had:and be:and may:and "
        "be:or should:and do:or can:or could:and a:to her:is "
    )
)

_WORD = re.compile(r"\S+")
_TRIM = re.compile(r"^[^\w]+|[^\w]+$")
_CODE = re.compile(
    r"```|^\s*(?:def |class |import |from \w+ import |#include|function |const |let |var |public |private |return\b)"
    r"|^\s*(?:for \(|if \(|while \(|SELECT |<\w+>|\$ |sudo |pip |print\()|[;{}]\s*$|\w+\(.*\)\s*$|=>|==",
    re.MULTILINE,
)
_LISTED = re.compile(r"^\s*(?:\d{1,3}[.):]|[-*\u2022+])\s*\S", re.MULTILINE)
_VOWEL = re.compile(r"[aeiouyà-æè-ïò-öø-ýœ]", re.IGNORECASE)

MIN_WORDS = 8  # fewer words are judged only for emptiness and echo


def incoherence(text: str, prompt: str = "") -> str | None:
    """Why ``text`` is no coherent response to ``prompt``, in a few words, or None where it is one."""
    words = _WORD.findall(text)
    if not any(character.isalnum() for character in text):
        return "empty"
    bare = [_TRIM.sub("", word) for word in words]
    lowered = [word.lower() for word in bare if word]
    if len(lowered) == 1 and lowered[0] in _DETERMINERS | _PREPOSITIONS | _CONJUNCTIONS:
        return "a fragment"
    if prompt and _echoes(lowered, [_TRIM.sub("", word).lower() for word in _WORD.findall(prompt)]):
        return "an echo of the prompt"
    if text.count("\ufffd") > 0.05 * len(text):
        return "broken words"
    if _loops(lowered) or _stutters(text):
        return "a loop"
    if len(lowered) < MIN_WORDS:
        return "broken words" if len(lowered) >= 3 and _misshapen(bare) > 0.6 else None
    code = len(_CODE.findall(text)) >= 2
    if not code and (_misshapen(bare) > 0.25 or _script_changes(bare) > 0.25):
        return "broken words"
    if not code and _salad(text, lowered):
        return "word salad"
    return None


def _echoes(response: list[str], prompt: list[str]) -> bool:
    """The response is the prompt, or a piece of it, or repeats it and adds next to nothing."""
    if not prompt or len(response) < 3:
        return False
    joined, asked = " ".join(response), " ".join(word for word in prompt if word)
    return joined in asked or (asked in joined and len(joined.replace(asked, "").split()) < 3)


def _loops(words: list[str]) -> bool:
    """One short unit over and over: what remains once the repetition is taken out is less than a sentence."""
    count = len(words)
    if count < 12:
        return count >= 5 and len(set(words)) == 1
    if Counter(words).most_common(1)[0][1] > 0.4 * count:
        return True
    for period in range(1, 8):
        repeated = sum(words[index] == words[index - period] for index in range(period, count))
        if repeated >= 0.75 * (count - period) and count >= 3 * period:
            return True
    return count >= 24 and len(set(words)) < 0.16 * count


def _stutters(text: str) -> bool:
    """A run of one to eight characters, at least 24 long, that is a good part of the text."""
    longest = max((len(match.group(0)) for match in re.finditer(r"(\S{1,8}?)\1{5,}", text)), default=0)
    return longest >= 24 and longest > 0.4 * len(text.strip())


@lru_cache(maxsize=4096)
def _script(character: str) -> str:
    return unicodedata.name(character, "UNKNOWN").partition(" ")[0]


@lru_cache(maxsize=4096)
def _scripts(word: str) -> frozenset[str]:
    """The scripts of a word's letters."""
    found = {_script(character) for character in word if character.isalpha()}
    # Japanese mixes three scripts in one sentence, and none of this tells them apart.
    return frozenset("CJK" if name in {"HIRAGANA", "KATAKANA", "CJK", "KATAKANA-HIRAGANA"} else name for name in found)


def _misshapen(words: list[str]) -> float:
    """Proportion of words with an impossible shape (mixed scripts, capitals inside, no vowel, broken characters)."""
    seen = [word for word in words if any(character.isalpha() for character in word)]
    if not seen:
        return 0.0
    return sum(_is_misshapen(word) for word in seen) / len(seen)


@lru_cache(maxsize=65536)
def _is_misshapen(word: str) -> bool:
    if "\ufffd" in word or any(unicodedata.category(character) in {"Cc", "Co", "Cn"} for character in word):
        return True
    if re.match(r"https?://|www\.|[\w.+-]+@[\w-]+\.\w|[\w-]+\.(?:com|org|gov|net|edu|uk|py|txt)\b", word):
        return False
    if len(_scripts(word)) > 1:
        return True
    for part in re.split(r"[-/'\u2019.,:()\[\]\"\u201c\u201d&+_\u2013\u2014]", word):
        letters = [character for character in part if character.isalpha()]
        if len(letters) < 3 or _script(letters[0]) != "LATIN":
            continue
        plain = "".join(letters)
        if len(plain) > 22:
            return True
        if re.search(r"[a-z][A-Z]{1,2}[a-z]", plain) and not re.match(
            r"(?:Mc|Mac|De|La|Di|O)[A-Z]|[A-Z][a-z]+[A-Z][a-z]+$|i[A-Z]|e[A-Z]", plain
        ):
            return True
        if len(plain) >= 5 and not plain.isupper() and not _VOWEL.search(plain):
            return True
        if re.search(r"[a-z]\d+[a-z]", part) or re.search(r"[^\w]", part):
            return True
    return False


def _script_changes(words: list[str]) -> float:
    """Changes of script from one word to the next, per word."""
    kinds = [next(iter(sorted(found))) for word in words if (found := _scripts(word))]
    changes = sum(left != right for left, right in pairwise(kinds))
    return changes / max(len(kinds), 1)


def _salad(text: str, words: list[str]) -> bool:
    """Latin-script words without grammar: hardly a function word, or function words where none can stand."""
    latin = [word for word in words if "LATIN" in _scripts(word)]
    if len(latin) < 0.7 * len(words):
        return False
    pairs = [pair for pair in pairwise(words) if pair[0] in _ENGLISH and pair[1] in _ENGLISH]
    wrong = sum(b in _NEVER_AFTER.get(a, frozenset()) and (a, b) not in _MAY_FOLLOW for a, b in pairs)
    if wrong >= 2 and wrong >= 0.25 * len(pairs):
        return True
    disorder = wrong + _misplaced(text)
    if disorder >= 3 and disorder >= 0.05 * len(words):
        return True
    if len(words) < 14 or len(_LISTED.findall(text)) >= 3:
        return False
    commas = text.count(",") + text.count("\n")
    known = sum(word in _FUNCTION for word in words) / len(words)
    return known < 0.12 and commas < 0.25 * len(words)


def _misplaced(text: str) -> int:
    """Sentences that go on in lower case after a full stop, and opening words in the middle of one.

    Real text has hardly any (abbreviations, names); words in random order have both.
    """
    count = 0
    for line in text.splitlines():
        tokens = line.split()
        for left, right in pairwise(tokens):
            ended = re.search(r"[a-z]{3}[.!?][\"')\u201d]*$", left) is not None
            if (ended and right[0].islower()) or (
                re.match(r"[a-z].*[a-z,]$", left) and right[0].isupper() and right.lower() in _ENGLISH and right != "I"
            ):
                count += 1
    return count
