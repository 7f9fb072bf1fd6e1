"""How an item's result becomes values: lm-eval's acc, acc_norm and exact_match, and its answer filters. Pure.

A suite's ``rule`` names the metrics; everything needed to score stands in the rule and the item, so that two
readers of one suite score alike. Sources: lm-eval 0.4.13, ``api/task.py`` (process_results), ``api/metrics.py``
(exact_match) and ``filters/``.
"""

from __future__ import annotations

import math
import re
import string
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from weighbridge.canonical import Json
from weighbridge.errors import SuiteError
from weighbridge.suites.interface import Generation, Item, MultipleChoice, Suite

Result: TypeAlias = Sequence[tuple[float, bool]] | str
"""What a model answered to an item: (log-likelihood, greedy) of each choice, or the text it generated."""

FIELDS = {"acc": "accuracy", "acc_norm": "acc_norm", "exact_match": "exact_match"}
"""lm-eval's name of a metric -> our field of it."""

MATCH_OPTIONS = ("ignore_case", "ignore_punctuation", "ignore_numbers", "regexes_to_ignore")
_FALLBACK = "[invalid]"


@dataclass(frozen=True)
class ScoredSuite(Suite):
    """A suite that brings its own scorer (tasks that lm-eval scores); ``fields`` are what the scorer gives."""

    fields: tuple[str, ...] = ()
    scorer: Callable[[Item, Result], Mapping[str, float]] = field(default=lambda _item, _result: {}, compare=False)

    def subset(self, items: Sequence[Item]) -> ScoredSuite:
        """The same suite with only these items."""
        return replace(self, items=tuple(items))


def fields_of(suite: Suite) -> tuple[str, ...]:
    """The fields that every scored item of ``suite`` has. Raises ``SuiteError`` where the rule names none."""
    if isinstance(suite, ScoredSuite):
        return suite.fields
    metrics = _records(suite.rule.get("metrics"))
    names = [FIELDS[str(metric["metric"])] for metric in metrics if metric.get("metric") in FIELDS]
    if not names or len(names) != len(metrics):
        raise SuiteError("the suite is no capability suite: its rule names no metric of ours", where=suite.name)
    filters = _records(suite.rule.get("filters"))
    return (*names, *(f"exact_match,{pipeline['name']}" for pipeline in filters[1:]))


def score_item(suite: Suite, item: Item, result: Result) -> Mapping[str, float]:
    """Field -> value in [0, 1] of one item. Raises ``SuiteError`` where the result has no value (a NaN)."""
    content = item.content
    if not isinstance(result, str) and any(math.isnan(loglikelihood) for loglikelihood, _ in result):
        raise SuiteError("a log-likelihood is NaN", where=f"item {item.id}")
    if isinstance(suite, ScoredSuite):
        return suite.scorer(item, result)
    if isinstance(content, MultipleChoice) and not isinstance(result, str):
        values = choice_values(content, result)
        return {name: values[name] for name in fields_of(suite)}
    if isinstance(content, Generation) and isinstance(result, str):
        return _text_values(suite, content, result)
    raise SuiteError(f"the item {item.id!r} cannot be scored as a capability", where=suite.name)


def choice_values(content: MultipleChoice, scores: Sequence[tuple[float, bool]]) -> dict[str, float]:
    """accuracy: the first likeliest choice is right; acc_norm: likewise per character; exact_match: greedily so."""
    plain = [loglikelihood for loglikelihood, _ in scores]
    normed = [value / length for value, length in zip(plain, content.lengths, strict=True)]
    return {
        "accuracy": float(plain.index(max(plain)) in content.gold),
        "acc_norm": float(normed.index(max(normed)) in content.gold),
        "exact_match": float(any(scores[index][1] for index in content.gold)),
    }


def _text_values(suite: Suite, content: Generation, text: str) -> dict[str, float]:
    repeats = suite.rule.get("repeats", 1)
    options: Mapping[str, Any] = _records(suite.rule.get("metrics"))[0]
    values: dict[str, float] = {}
    for index, pipeline in enumerate(_records(suite.rule.get("filters")) or [{"name": "none", "steps": []}]):
        answer = filtered([text] * (repeats if isinstance(repeats, int) else 1), pipeline["steps"])
        name = "exact_match" if index == 0 else f"exact_match,{pipeline['name']}"
        values[name] = exact_match(answer, content.targets, options)
    return values


def filtered(responses: Sequence[str], steps: Any) -> str:
    """The answer that a pipeline of filters leaves of the (equal, since greedy) repetitions of one response."""
    answers = list(responses)
    for step in _records(steps):
        answers = _FILTERS[str(step["function"])](answers, step)
    return answers[0]


def exact_match(answer: str, targets: Sequence[str], options: Mapping[str, Any]) -> float:
    """1.0 where ``answer`` equals one of ``targets`` after both are stripped of what ``options`` ignore."""
    plain = _plain(answer, options)
    return float(any(_plain(target, options) == plain for target in targets))


def _plain(text: str, options: Mapping[str, Any]) -> str:
    for pattern in options.get("regexes_to_ignore") or ():
        text = re.sub(pattern, "", text)
    if options.get("ignore_case"):
        text = text.lower()
    if options.get("ignore_punctuation"):
        text = text.translate(str.maketrans("", "", string.punctuation))
    if options.get("ignore_numbers"):
        text = text.translate(str.maketrans("", "", string.digits))
    return text


def check_filters(filter_list: Sequence[Mapping[str, Any]], *, repeats: int, where: str) -> list[Json]:
    """A task's ``filter_list`` as the rule keeps it. Raises ``SuiteError`` for filters or options not known."""
    result: list[Json] = []
    for index, pipeline in enumerate(filter_list):
        place = f"{where} at filter_list[{index}]"
        name, steps = pipeline.get("name"), pipeline.get("filter")
        if not isinstance(name, str) or not isinstance(steps, list) or set(pipeline) != {"name", "filter"}:
            raise SuiteError("expected the fields name and filter", where=place)
        if any(isinstance(other, dict) and other["name"] == name for other in result):
            raise SuiteError(f"the name {name!r} stands twice", where=place)
        result.append({"name": name, "steps": [_check_step(step, repeats, f"{place}.filter") for step in steps]})
    return result


def _check_step(step: Any, repeats: int, where: str) -> dict[str, Json]:
    function = step.get("function") if isinstance(step, dict) else None
    if function not in _FILTERS:
        remedy = f"the filters are {', '.join(sorted(_FILTERS))}; others need the lm-eval extra (lm-eval:NAME)"
        raise SuiteError(f"unknown filter {function!r:.80}", where=where, remedy=remedy)
    if unknown := sorted(map(str, set(step) - {"function"} - set(_OPTIONS.get(function, {})))):
        raise SuiteError(f"unknown option {unknown[0]!r} of the filter {function}", where=where)
    for name, kind in _OPTIONS.get(function, {}).items():
        value = step.get(name)
        if value is not None and (not isinstance(value, kind) or isinstance(value, bool)):
            raise SuiteError(f"{name} of the filter {function} is {value!r:.80}", where=where)
    if function == "regex" and "regex_pattern" in step:
        check_pattern(step["regex_pattern"], where)
    if function == "map":
        mapping = step.get("mapping_dict") or {}
        if not all(isinstance(text, str) for pair in mapping.items() for text in pair):
            raise SuiteError("mapping_dict maps texts to texts", where=where)
        if not isinstance(step.get("default_value"), str):
            raise SuiteError("the filter map needs a default_value that is text", where=where)
    if function == "take_first_k" and not 1 <= (step.get("k") or 0) <= repeats:
        raise SuiteError(f"k is not between 1 and repeats ({repeats})", where=where)
    return {key: value for key, value in step.items() if value is not None}


def check_pattern(pattern: Any, where: str) -> None:
    """Raises ``SuiteError`` unless ``pattern`` is a regular expression."""
    try:
        re.compile(pattern)
    except (re.error, TypeError, OverflowError, RecursionError) as cause:
        raise SuiteError(f"no regular expression: {pattern!r:.80} ({cause})", where=where) from cause


def _regex(answers: list[str], step: Mapping[str, Any]) -> list[str]:
    pattern = re.compile(step.get("regex_pattern", r"#### (\-?[0-9\.\,]+)"))
    wanted, fallback = step.get("group_select", 0), step.get("fallback", _FALLBACK)
    result = []
    for answer in answers:
        found = pattern.findall(answer)
        if not -len(found) <= wanted < len(found):
            result.append(fallback)
            continue
        match = found[wanted]
        if isinstance(match, tuple):
            match = next((group for group in match if group), fallback)
        result.append(match.strip())
    return result


_FILTERS: dict[str, Callable[[list[str], Mapping[str, Any]], list[str]]] = {
    "regex": _regex,
    "remove_whitespace": lambda answers, _: [answer.strip() for answer in answers],
    "lowercase": lambda answers, _: [answer.lower() for answer in answers],
    "uppercase": lambda answers, _: [answer.upper() for answer in answers],
    "map": lambda answers, step: [step.get("mapping_dict", {}).get(one, step["default_value"]) for one in answers],
    "take_first": lambda answers, _: answers[:1],
    "take_first_k": lambda answers, step: answers[: step["k"]],
    "majority_vote": lambda answers, _: [Counter(answers).most_common(1)[0][0]],
}
_OPTIONS: dict[str, dict[str, type]] = {
    "regex": {"regex_pattern": str, "group_select": int, "fallback": str},
    "map": {"mapping_dict": dict, "default_value": str},
    "take_first_k": {"k": int},
}


def _records(value: Any) -> list[dict[str, Any]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, Sequence) else []
