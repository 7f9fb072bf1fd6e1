"""Chat templates, parsed as the Jinja syntax trees that they are. Pure: source in, complaints out; nothing is run.

Allowed is what transformers' immutable sandbox offers a template (transformers.utils.chat_template_utils): Jinja's
own filters and tests, loop controls, ``{% generation %}``, ``raise_exception``, ``strftime_now``, and methods that
read strings and mappings. Refused is what reaches behind values: underscored attributes, the ``attr`` filter,
imports, computed attribute names, calls to anything else. Other readers of the same template (llama.cpp, servers)
may have a weaker sandbox, or none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from jinja2 import TemplateError, nodes
from jinja2.defaults import DEFAULT_FILTERS, DEFAULT_TESTS  # type: ignore[attr-defined]
from jinja2.ext import Extension, LoopControlExtension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from weighbridge.measures.integrity.notes import words

MAX_TEMPLATE_CHARACTERS = 1_000_000
_MOST_REPEATS = 1000
_MAX_COMPLAINTS = 50
_LONGEST_JOINED = 256  # characters at the end of joined literals: no name that leads anywhere is longer

Texts: TypeAlias = Mapping[int, str]

FUNCTIONS = frozenset({"range", "namespace", "dict", "joiner", "cycler", "raise_exception", "strftime_now"})
METHODS = words(
    "capitalize center count endswith expandtabs find get index isalnum isalpha isascii isdecimal isdigit islower "
    "isnumeric isspace istitle isupper items join keys ljust lower lstrip partition removeprefix removesuffix replace "
    "rfind rindex rjust rpartition rsplit rstrip split splitlines startswith strip swapcase title upper values zfill "
    "cycle changed copy"
)
FILTERS = frozenset(DEFAULT_FILTERS) - {"attr"} | {"tojson"}
TESTS = frozenset(DEFAULT_TESTS)
# Names that are no part of a chat's variables but of the machinery.
_MACHINERY = frozenset({"self", "lipsum", "config", "request", "g", "session", "url_for", "get_flashed_messages"})
# Attributes without underscore at their start that lead to frames, code and classes (jinja2.sandbox's own lists).
_INTERNALS = words(
    "mro func_globals func_code func_closure func_defaults im_class im_func im_self gi_frame gi_code gi_yieldfrom "
    "cr_frame cr_code cr_await ag_frame ag_code f_back f_builtins f_code f_globals f_locals tb_frame tb_next "
    "co_code co_consts"
)
# Filters whose argument names an attribute, and where that argument stands.
_ATTRIBUTE_FILTERS = {"map", "selectattr", "rejectattr", "groupby", "sort", "sum", "unique", "min", "max", "join"}
_FIRST_ARGUMENT = {"selectattr", "rejectattr", "groupby"}
_DUNDER = re.compile(r"__[A-Za-z]\w*__|^_+[A-Za-z]\w*_*$")
_FIELD = re.compile(r"\{[^{}]*[.\[][^{}]*\}")
_SAFE_KEY_FILTERS = frozenset({"length", "count", "int", "abs", "first", "last", "min", "max"})


@dataclass(frozen=True, slots=True)
class Complaint:
    """What is wrong with a template, at which line. ``code`` is stable."""

    code: str
    line: int
    message: str


class GenerationTag(Extension):
    """Parses ``{% generation %}...{% endgeneration %}``, with which templates mark what the assistant wrote."""

    tags = {"generation"}  # noqa: RUF012  (the attribute is Jinja's)

    def parse(self, parser: Parser) -> nodes.Node:
        """The body, in a scope of its own."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


_ENVIRONMENT = ImmutableSandboxedEnvironment(
    trim_blocks=True, lstrip_blocks=True, extensions=[GenerationTag, LoopControlExtension]
)


def inspect_template(source: str) -> list[Complaint]:
    """Everything in ``source`` that a chat template must not do, in order of lines; at most fifty."""
    if len(source) > MAX_TEMPLATE_CHARACTERS:
        return [Complaint("template-unparsable", 1, f"longer than {MAX_TEMPLATE_CHARACTERS} characters")]
    try:
        tree = _ENVIRONMENT.parse(source)
    except TemplateError as error:
        line = getattr(error, "lineno", None)
        return [Complaint("template-unparsable", line or 1, f"not a Jinja template: {str(error.message)[:200]}")]
    except (RecursionError, ValueError, OverflowError, MemoryError) as error:
        return [Complaint("template-unparsable", 1, f"cannot be parsed: {type(error).__name__}")]
    try:
        found = sorted(set(_complaints(tree)), key=lambda item: (item.line, item.code, item.message))
    except RecursionError:
        return [Complaint("template-unparsable", 1, "nested too deeply")]
    return found[:_MAX_COMPLAINTS]


def _complaints(tree: nodes.Template) -> Iterator[Complaint]:
    macros = {macro.name for macro in tree.find_all(nodes.Macro)}
    texts = _texts(tree)
    callable_names = FUNCTIONS | macros | {"loop", "caller"}
    for node in _walk(tree):
        line = node.lineno
        if isinstance(node, nodes.Import | nodes.FromImport | nodes.Include | nodes.Extends):
            yield Complaint("template-import", line, "imports or includes another template")
        elif isinstance(node, nodes.Name):
            if node.ctx == "load" and ("__" in node.name or node.name in _MACHINERY - macros):
                yield Complaint("template-name", line, f"reads {node.name!r}, which is no part of a chat")
        elif isinstance(node, nodes.Getattr):
            if node.attr.startswith("_") or node.attr in _INTERNALS:
                yield Complaint("template-attribute", line, f"reaches for the attribute {node.attr!r}")
        elif isinstance(node, nodes.Getitem):
            yield from _subscript(node, texts)
        elif isinstance(node, nodes.Filter):
            yield from _filter(node, texts)
        elif isinstance(node, nodes.Test):
            if node.name not in TESTS:
                yield Complaint("template-filter", line, f"uses the unknown test {node.name!r}")
        elif isinstance(node, nodes.Call):
            yield from _call(node, callable_names, texts)
        elif isinstance(node, nodes.Pow) or (isinstance(node, nodes.Mul) and _is_repetition(node, texts)):
            yield Complaint(
                "template-growth", line, "repeats text or raises to a power: a few words grow without bound"
            )
        text = texts.get(id(node))
        if text is not None and _DUNDER.search(text) and "__" in text:
            yield Complaint("template-attribute", line, f"holds the name {text[-60:]!r}")


def _walk(tree: nodes.Node) -> Iterator[nodes.Node]:
    """Every node, without recursion."""
    stack: list[nodes.Node] = [tree]
    while stack:
        node = stack.pop()
        yield node
        stack.extend(node.iter_child_nodes())


def _subscript(node: nodes.Getitem, texts: Texts) -> Iterator[Complaint]:
    key = node.arg
    text = texts.get(id(key))
    if text is not None:
        if text.startswith("_") or text in _INTERNALS:
            yield Complaint("template-attribute", node.lineno, f"reaches for the attribute {text[:60]!r}")
    elif _is_computed(key):
        yield Complaint("template-computed-key", node.lineno, "puts a key together at run time")


def _is_computed(key: nodes.Expr) -> bool:
    """Whether a subscript builds a string; looking one up and counting are fine."""
    for part in _walk(key):
        if isinstance(part, nodes.Concat | nodes.Call):
            return True
        if isinstance(part, nodes.Filter) and part.name not in _SAFE_KEY_FILTERS:
            return True
        if isinstance(part, nodes.Add | nodes.Mul | nodes.Mod) and any(
            isinstance(side, nodes.Const) and isinstance(side.value, str) for side in (part.left, part.right)
        ):
            return True
    return False


def _is_repetition(node: nodes.Mul, texts: Texts) -> bool:
    """Whether text or a list is repeated by anything but a small number."""
    for side, times in ((node.left, node.right), (node.right, node.left)):
        if isinstance(side, nodes.Concat | nodes.List | nodes.Tuple) or texts.get(id(side)) is not None:
            return not (
                isinstance(times, nodes.Const) and isinstance(times.value, int) and times.value <= _MOST_REPEATS
            )
    return False


def _filter(node: nodes.Filter, texts: Texts) -> Iterator[Complaint]:
    if node.name == "attr":
        yield Complaint("template-attribute", node.lineno, "uses the filter attr")
    elif node.name not in FILTERS:
        yield Complaint("template-filter", node.lineno, f"uses the unknown filter {node.name!r}")
    elif node.name in _ATTRIBUTE_FILTERS:
        yield from _attribute_filter(node, texts)


def _attribute_filter(node: nodes.Filter, texts: Texts) -> Iterator[Complaint]:
    named = [argument.value for argument in node.kwargs if argument.key == "attribute"]
    if node.name in _FIRST_ARGUMENT:
        named.extend(node.args[:1])
    for value in named:
        text = texts.get(id(value))
        if text is None and not (isinstance(value, nodes.Const) and isinstance(value.value, int)):
            yield Complaint("template-computed-key", node.lineno, f"{node.name} by an attribute named at run time")
        elif text is not None and any(part.startswith("_") or part in _INTERNALS for part in text.split(".")):
            yield Complaint("template-attribute", node.lineno, f"reaches for the attribute {text[:60]!r}")
    if node.name == "map" and node.args:
        text = texts.get(id(node.args[0]))
        if text is None or text not in FILTERS:
            yield Complaint("template-filter", node.lineno, f"maps the unknown filter {str(text)[:60]!r}")
    for argument in (node.dyn_args, node.dyn_kwargs):
        if argument is not None:
            yield Complaint("template-computed-key", node.lineno, f"{node.name} with arguments made at run time")


def _call(node: nodes.Call, callable_names: frozenset[str] | set[str], texts: Texts) -> Iterator[Complaint]:
    target = node.node
    if isinstance(target, nodes.Name):
        if target.name not in callable_names:
            yield Complaint("template-call", node.lineno, f"calls {target.name!r}, which chat templates are not given")
    elif isinstance(target, nodes.Getattr):
        if target.attr in ("format", "format_map"):
            text = texts.get(id(target.node))
            if target.attr == "format_map" or text is None or _FIELD.search(text):
                yield Complaint("template-call", node.lineno, "formats a string that may reach into its arguments")
        elif target.attr not in METHODS:
            yield Complaint("template-call", node.lineno, f"calls the method {target.attr!r}")
    else:
        yield Complaint("template-call", node.lineno, "calls the result of an expression")


def _texts(tree: nodes.Template) -> Texts:
    """The string that each node is, by its identity, with literals joined.

    Children come first, so that each node is looked at once however long a chain it stands in.
    """
    texts: dict[int, str] = {}
    for node in reversed(list(_walk(tree))):
        parts: list[nodes.Expr] = []
        if isinstance(node, nodes.Const) and isinstance(node.value, str):
            texts[id(node)] = node.value
        elif isinstance(node, nodes.Concat):
            parts = node.nodes
        elif isinstance(node, nodes.Add):
            parts = [node.left, node.right]
        if parts and all(id(part) in texts for part in parts):
            texts[id(node)] = "".join(texts[id(part)] for part in parts)[-_LONGEST_JOINED:]
    return texts
