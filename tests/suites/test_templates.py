"""Task templates: what they may say, and what they may not do."""

from __future__ import annotations

import contextlib
import resource

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weighbridge.errors import SuiteError
from weighbridge.rendering.limits import MAX_CHARACTERS
from weighbridge.suites.templates import Templates

DOCUMENT = {"q": " Why? ", "choices": ["a", "b"], "label": 1, "nested": {"text": ["u", "v"]}, "n": None}


TEMPLATES = Templates()  # one process for all tests here


def render(source: str) -> str:
    return TEMPLATES.render(source, DOCUMENT, where="task.yaml at doc_to_text")


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("Q:{{q.strip()}}\n", "Q:Why?\n"),
        ("{{choices[label]}}{{choices|length}}{{choices.index('b')}}", "b21"),
        ("{{nested.text|join(', ')}} {{nested['text'][0]}}", "u, v u"),
        ("{% for c in choices %}{{loop.index0}}{{c}}{% if not loop.last %};{% endif %}{% endfor %}", "0a;1b"),
        ("{{choices[0] ~ '!' ~ 1}}", "a!1"),
        ("{{q|regex_replace('[a-z]', 'x', 2)}}", " Wxx? "),
        ("{% set x = choices|map('upper')|list %}{{x}}", "['A', 'B']"),
        ("{{choices * 2}}", "['a', 'b', 'a', 'b']"),
        ("{{'yes' if n is none else 'no'}}", "yes"),
        ("{{', '.join(choices)}}{{'a-b'.replace('-', '+')}}", "a, ba+b"),
        ("{% for i in range(3) %}{{i}}{% endfor %}", "012"),
        ("{% set ns = namespace(k=0) %}{% for i in range(4) %}{% set ns.k = ns.k + i %}{% endfor %}{{ns.k}}", "6"),
    ],
)
def test_renders_what_tasks_need(source: str, text: str) -> None:
    assert render(source) == text


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ q.strip.__globals__ }}",
        "{{ q|attr('__class__') }}",
        "{{ q['__class__']['__base__'] }}",
        "{{ [q]|map(attribute='__class__')|first }}{{ missing }}",
        "{{ self._TemplateReference__context }}",
        "{{ lipsum.__globals__ }}",
        "{{ cycler.__init__ }}",
        "{{ choices.append('c') }}",
        "{{ '{0.__class__}'.format(q) }}",
        "{{ '%s'.__mod__(q) }}",
        "{{ namespace.__init__ }}",
        "{{ dict.fromkeys(choices) }}",
        "{{ (range(3)).count(1) }}",
        "{% include 'other' %}",
        "{% import 'other' as other %}",
        "{% extends 'other' %}",
        "{% macro f() %}{% endmacro %}",
        "{% set x %}y{% endset %}",
        "{% filter upper %}y{% endfilter %}",
        "{% for i in [1] recursive %}{{ loop([1]) }}{% endfor %}",
        "{% for i in [1] %}{{ loop.cycle('a') }}{% endfor %}",
    ],
)
def test_refuses_to_escape(source: str) -> None:
    with pytest.raises(SuiteError) as caught:
        render(source)
    assert caught.value.where == "task.yaml at doc_to_text"


@pytest.mark.parametrize(
    "source",
    [
        "{{ 'a' * 1000000000000 }}",
        "{{ [1] * 1000000000000 }}",
        "{{ 9 ** 999999999 }}",
        "{{ '%999999999d' % 1 }}",
        "{{ '%*d' % (999999999, 1) }}",
        "{% set n = namespace(x='ab') %}{% for i in range(99) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
        "{% set n = namespace(x='ab') %}{% for i in range(99) %}{% set n.x = n.x + n.x %}{% endfor %}",
        "{% set n = namespace(x=['a']) %}{% for i in range(40) %}{% set n.x = [n.x, n.x] %}{% endfor %}{{ n.x }}",
        "{% set n = namespace(x=[1]) %}{% for i in range(40) %}{% set n.x = [n.x, n.x] %}{% endfor %}{{ n.x|string }}",
        "{% for i in range(9999) %}{% for j in range(9999) %}{% endfor %}{% endfor %}",
        "{% for i in range(99999999) %}{% endfor %}",
        "{{ ('a' * 999999)|replace('a', 'b' * 99) }}",
        "{{ ('a' * 999999).replace('a', 'b' * 99) }}",
        "{{ ('a' * 9999).join('b' * 9999) }}",
        "{{ ('b' * 9999)|join('a' * 9999) }}",
        "{{ ('b' * 99999)|regex_replace('b', 'c' * 9999) }}",
        "{% for i in range(9999) %}{{ 'a' * 9999 }}{% endfor %}",
        "{{ 'a'|center(999999999) }}",
        "{{ 'a'.ljust(999999999) }}",
        "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
        "a" * 200_000,
    ],
)
def test_refuses_to_grow_without_bound(source: str) -> None:
    with pytest.raises(SuiteError):
        render(source)


_TWINS = (
    "{% set n = namespace(x=[1], y=[1]) %}{% for i in range(40) %}{% set n.x = [n.x, n.x] %}"
    "{% set n.y = [n.y, n.y] %}{% endfor %}"
)


@pytest.mark.parametrize(
    "source",
    [
        "{{ ('a' * 40)|regex_replace('(a|a)*b', '') }}",
        "{{ ('a' * 40)|regex_replace('(a+)+$', '') }}b{{ ('a' * 40 ~ 'b')|regex_replace('(a+)+$', '') }}",
        "{{ ('x' * 99999)|regex_replace('(x+x+)+y', '') }}",
        _TWINS + "{{ n.x == n.y }}",
        _TWINS + "{{ n.x in [n.y] }}",
        "{% for i in range(9999) %}{% set x = ('a' * 900000)|upper %}{% endfor %}",
        "{% set b = 'ab' * 450000 %}{% for i in range(9999) %}{{ b.count('ba') }}{% endfor %}",
        "{% for i in range(9999) %}{% set x = range(9999)|sort(reverse=true) %}{% endfor %}",
        "{{ " + "'a' * 999999 ~ " * 9000 + "'' }}",
        "{{ [" + "('ab' * 400000)|length," * 20000 + "] }}",
    ],
)
def test_what_the_sandbox_does_not_bound_its_process_does(source: str) -> None:
    """Little work in each step that is allowed, or one step that never ends."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    templates = Templates()
    with pytest.raises(SuiteError) as caught:
        templates.render(source, DOCUMENT, where="task.yaml at doc_to_text")
    assert caught.value.where == "task.yaml at doc_to_text"
    assert templates.render("{{q}}", {"q": "and goes on"}, where="x") == "and goes on"
    templates.close()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 4  # two starts and one second


@pytest.mark.parametrize(
    "source", ["{{", "{% if %}", "{{ q|nofilter }}", "{{ missing }}", "{{ choices[7] }}", "{{ n.x }}", "{{ 1 / 0 }}"]
)
def test_reports_mistakes(source: str) -> None:
    with pytest.raises(SuiteError):
        render(source)


@settings(deadline=None)
@given(st.text(alphabet="{}%|.()[]'\"_ qnc~*+-0123abcdefor in", max_size=60))
def test_any_source_renders_or_is_refused(source: str) -> None:
    with contextlib.suppress(SuiteError):
        assert len(render(source)) <= MAX_CHARACTERS


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(["q", "self", "range", "loop", "context"]), st.text(max_size=20)))
def test_columns_may_be_called_anything(document: dict[str, str]) -> None:
    for name, value in document.items():
        if name != "self":  # Jinja's own name for the template
            assert TEMPLATES.render("{{" + name + "}}", document, where="x") == value
