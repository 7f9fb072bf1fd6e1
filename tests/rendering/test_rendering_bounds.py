"""Chat templates that would take for ever, or all memory: each ends, soon, with an error that names its file."""

from __future__ import annotations

import os
import resource
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from weighbridge.engines.chat_template import ChatTemplate
from weighbridge.engines.interface import Decoding
from weighbridge.errors import EngineError
from weighbridge.rendering import Renderer, limits

WHERE = "model/chat_template.jinja"
GROW = "{% set n = namespace(x='ab') %}{% for i in range(60) %}"
NEST = "{% for a in range(99999) %}{% for b in range(99999) %}"
TWINS = (
    "{% set n = namespace(x=[1], y=[1]) %}{% for i in range(60) %}{% set n.x = [n.x, n.x] %}"
    "{% set n.y = [n.y, n.y] %}{% endfor %}"
)
BIG = "{% set big = 'ab' * 5000000 %}"

HOSTILE = {
    "loops in loops": NEST + "{% endfor %}{% endfor %}",
    "loops in loops that write": NEST + "x{% endfor %}{% endfor %}",
    "one long loop with a filter": "{% for a in range(99999)|map('string')|list * 9999 %}{% endfor %}",
    "a loop over text built up": GROW + "{% set n.x = n.x ~ n.x %}{% endfor %}{% for c in n.x %}{% endfor %}",
    "doubling by +": GROW + "{% set n.x = n.x + n.x %}{% endfor %}",
    "doubling by join": GROW + "{% set n.x = [n.x, n.x]|join %}{% endfor %}",
    "doubling by format": GROW + "{% set n.x = '%s%s' % (n.x, n.x) %}{% endfor %}",
    "doubling by the method format": GROW + "{% set n.x = '{0}{0}'.format(n.x) %}{% endfor %}",
    "doubling by a block": GROW + "{% set n.x %}{{ n.x }}{{ n.x }}{% endset %}{% endfor %}",
    "doubling by replace": GROW + "{% set n.x = n.x|replace('a', 'aa')|replace('b', 'bb') %}{% endfor %}",
    "a macro that calls itself twice": "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}"
    "{{ f(99) }}",
    "a macro without end": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "a recursive loop": "{% for i in [1, 2] recursive %}{{ loop([1, 2]) }}{% endfor %}",
    "a bounded recursive loop": "{% for i in range(9) recursive %}{% if loop.depth < 99 %}{{ loop(range(9)) }}"
    "{% endif %}{% endfor %}",
    "a call block that calls": "{% macro m() %}{{ caller() }}{{ caller() }}{% endmacro %}"
    + "{% call m() %}" * 40
    + "x"
    + "{% endcall %}" * 40,
    "width of a format": "{{ '%1000000000d'|format(1) }}",
    "width of a % format": "{{ '%999999999999d' % 1 }}",
    "width of a format field": "{{ '{:>9999999999}'.format('x') }}",
    "many times a text": "{{ 'x' * 10 ** 9 }}",
    "many times a text, unprinted": "{% set x = 'x' * 10 ** 12 %}",
    "many times a list": "{% set x = [1] * 10 ** 12 %}",
    "many times a list, then a slice": "{% set x = ([1] * 10 ** 8)[::-1][::2]|list|string %}{{ x }}",
    "a tower of powers": "{{ 9 ** (9 ** 9) }}",
    "a product of products": "{% set n = namespace(x=9) %}{% for i in range(99) %}{% set n.x = n.x * n.x %}"
    "{% endfor %}",
    "a list of a range": "{% set x = range(10 ** 12)|list %}",
    "the sum of a range": "{{ range(10 ** 12)|sum }}",
    "the last of a range": "{{ range(10 ** 12)|map('string')|select('equalto', 'x')|list }}",
    "center": "{{ 'x'|center(10 ** 9) }}",
    "ljust": "{{ 'x'.ljust(10 ** 9) }}",
    "zfill": "{{ 'x'.zfill(10 ** 9) }}",
    "expandtabs": "{{ '\t'.expandtabs(10 ** 9) }}",
    "indent": BIG + "{{ ('x\n' * 99999)|indent(99999) }}",
    "indent of JSON": "{{ [[[[1, 2]] * 99] * 99]|tojson(indent=999999) }}",
    "wordwrap": BIG + "{{ big|wordwrap(1) }}",
    "wordwrap with long breaks": "{{ ('x ' * 99999)|wordwrap(1, wrapstring='y' * 99999) }}",
    "batch": "{{ [1]|batch(10 ** 10, 'x')|list }}",
    "slice": "{{ [1]|slice(10 ** 10, 'x')|list }}",
    "join with long separators": "{{ ('x' * 99999)|join('y' * 99999) }}",
    "replace by long text": "{{ ('x' * 99999).replace('x', 'y' * 99999) }}",
    "replace of nothing": "{{ ('x' * 99999).replace('', 'y' * 99999) }}",
    "urlize": BIG + "{{ ('http://x.y/' ~ big)|urlize }}",
    "JSON of a shared structure": TWINS + "{{ n.x|tojson }}",
    "text of a shared structure": TWINS + "{{ n.x|string|length }}",
    "equality of shared structures": TWINS + "{{ n.x == n.y }}",
    "order of shared structures": TWINS + "{{ [n.x, n.y]|sort }}",
    "membership in shared structures": TWINS + "{{ n.x in [n.y] }}",
    "pretty print of a shared structure": TWINS + "{{ n.x|pprint }}",
    "lorem ipsum": "{{ lipsum(n=9999999) }}",
    "a cycler in a loop": "{% set c = cycler(1, 2) %}" + NEST + "{{ c.next() }}{% endfor %}{% endfor %}",
    "big text in small steps": BIG + "{% for i in range(99999) %}{% set x = big|upper|lower %}{% endfor %}",
    "big text, title": BIG + "{% for i in range(999) %}{{ big|title|wordcount }}{% endfor %}",
    "striptags": "{{ ('<' * 9999999)|striptags }}{{ ('<!--' * 999999)|striptags }}",
    "a power while compiling": "{% if false %}{{ 9 ** (9 ** 9) }}{% endif %}",
    "much to compile": "{{ 1 }}{% if messages %}{{ messages[0].content ~ 1 }}{% endif %}" * 20000,
    "nested too deeply": "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
    "blocks nested too deeply": "{% if 1 %}" * 3000 + "{% endif %}" * 3000,
    "an error without end": "{{ raise_exception('x' * 10 ** 10) }}",
    "dates without end": "{{ strftime_now('%c' * 99999999) }}",
    "more text than allowed": "{{ 'x' * 999999 }}yy",
}


def children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.parametrize("name", HOSTILE)
def test_whatever_the_template_it_ends(name: str) -> None:
    """In processor time of the child: on a busy machine the clock on the wall says little."""
    template = ChatTemplate(HOSTILE[name], {}, where=WHERE)
    before = children()
    with pytest.raises(EngineError) as caught:
        template.turn("Hello", Decoding(4))
    template.close()
    assert children() - before < 2
    assert caught.value.where == WHERE
    assert caught.value.remedy is not None
    assert len(caught.value.message) < 700


@pytest.fixture
def renderer() -> Iterator[Renderer]:
    made = Renderer("weighbridge.engines.chat_dialect", error=EngineError, remedy="mend it")
    yield made
    made.close()


def test_after_one_that_was_stopped_the_next_is_rendered(renderer: Renderer) -> None:
    for name in ("loops in loops", "a macro that calls itself twice"):
        with pytest.raises(EngineError, match="takes more than 1 s of processor time"):
            renderer.render(HOSTILE[name], {}, where=WHERE)
        assert renderer.render("{{ x }}", {"x": "é\ud800🙂"}, where=WHERE) == "é\ud800🙂"


def test_many_prompts_do_not_take_as_many_seconds() -> None:
    template = ChatTemplate(HOSTILE["loops in loops"], {}, where=WHERE)
    before = children()
    for _ in range(100):
        with pytest.raises(EngineError, match="takes more than 1 s of processor time"):
            template.turn("Hello", Decoding(4))
    assert children() - before < 2


def test_as_much_text_as_allowed_comes_through(renderer: Renderer) -> None:
    text = "🙂" * limits.MAX_CHARACTERS
    assert renderer.render("{{ x }}", {"x": text}, where=WHERE) == text
    with pytest.raises(EngineError, match="longer than 1000000 characters"):
        renderer.render("{{ x }}y", {"x": text}, where=WHERE)


@pytest.mark.skipif(os.uname().sysname != "Linux", reason="only Linux bounds the address space")
def test_memory_is_bounded(renderer: Renderer) -> None:
    with pytest.raises(EngineError, match="memory"):
        renderer.render("{% set x = 'x' * 2 * 10 ** 9 %}", {}, where=WHERE)


def test_the_child_sees_nothing_of_the_environment(renderer: Renderer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_SECRET_TOKEN", "s3cret")
    renderer.render("x", {}, where=WHERE)
    child = renderer._child
    assert child is not None
    status = Path(f"/proc/{child._process.pid}/environ")
    if not status.is_file():
        pytest.skip("no /proc here")
    assert b"s3cret" not in status.read_bytes()


def test_a_child_that_is_killed_or_stopped_is_an_error_and_is_replaced(
    renderer: Renderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "WALL_SECONDS", 30.0)
    for kind, message in ((signal.SIGKILL, "ended with status -9"), (signal.SIGSTOP, "gives no answer")):
        assert renderer.render("x", {}, where=WHERE) == "x"
        child = renderer._child
        assert child is not None
        child._socket.settimeout(0.5)
        os.kill(child._process.pid, kind)
        with pytest.raises(EngineError, match=message):
            renderer.render("x", {}, where=WHERE)
    assert renderer.render("x", {}, where=WHERE) == "x"


def test_what_cannot_start_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EngineError, match=r"no template can be rendered.*status 1"):
        Renderer("weighbridge.no_such_dialect", error=EngineError, remedy="").render("x", {}, where=WHERE)
    monkeypatch.setattr("sys.executable", str(tmp_path / "nothing"))
    with pytest.raises(EngineError, match="does not start"):
        Renderer("weighbridge.engines.chat_dialect", error=EngineError, remedy="").render("x", {}, where=WHERE)


def test_threads_share_it_and_get_their_own_answers(renderer: Renderer) -> None:
    wrong: list[str] = []

    def ask(name: str) -> None:
        for number in range(20):
            text = renderer.render("{{ a }}{{ b }}", {"a": name, "b": number}, where=WHERE)
            if text != f"{name}{number}":
                wrong.append(text)

    threads = [threading.Thread(target=ask, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_the_process_ends_with_its_owner() -> None:
    renderer = Renderer("weighbridge.engines.chat_dialect", error=EngineError, remedy="")
    renderer.render("x", {}, where=WHERE)
    assert renderer._child is not None
    process = renderer._child._process
    assert process.poll() is None
    del renderer
    assert process.poll() is not None
