"""The Jinja of task files: a sandbox with bounds on loops and sizes. Pure: values in, text out.

Its templates see one document and nothing else: no attribute that starts with an underscore, no macros, imports
or blocks, only the filters and methods listed here, at most ``MAX_LOOPS`` loop steps and ``MAX_CHARACTERS``
characters in any value. The dialect is lm-eval's otherwise: undefined names are errors, a trailing newline stays,
``regex_replace`` is a filter. The bounds say early and clearly what is too much; that any template ends at all, a
regular expression's search included, is seen to by the process that this runs in (``weighbridge.rendering``).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from jinja2 import StrictUndefined, Template, nodes, pass_context
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

from weighbridge.rendering.limits import MAX_CHARACTERS

MAX_SOURCE = 100_000
MAX_LOOPS = 100_000
MAX_RANGE = 10_000
MAX_BITS = 1024


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_FILTERS = _words(
    "abs capitalize count d default dictsort first float int items join last length list lower map max min "
    "reject rejectattr replace reverse round select selectattr sort string title tojson trim unique upper "
    "wordcount"
)
_METHODS: dict[type, frozenset[str]] = {
    str: _words(
        "capitalize casefold count endswith find index isalnum isalpha isdecimal isdigit islower isnumeric isspace "
        "isupper join lower lstrip partition removeprefix removesuffix replace rfind rindex rpartition rsplit rstrip "
        "split splitlines startswith strip swapcase title upper"
    ),
    list: frozenset({"count", "index"}),
    tuple: frozenset({"count", "index"}),
    dict: frozenset({"get", "items", "keys", "values"}),
    int: frozenset(),
    float: frozenset({"is_integer"}),
}
_STATEMENTS = (nodes.Output, nodes.For, nodes.If, nodes.Assign, nodes.With, nodes.Template, nodes.TemplateData)
_HELPERS = (nodes.Pair, nodes.Keyword, nodes.Operand)


def generate(source: str, variables: Mapping[str, Any]) -> Iterator[str]:
    """The pieces of the text that ``source`` gives. Raises for templates that are malformed or not allowed."""
    template = _compiled(source)
    _SANDBOX.steps_left = MAX_LOOPS
    return template.generate(dict(variables))


@functools.lru_cache(maxsize=256)
def _compiled(source: str) -> Template:
    if len(source) > MAX_SOURCE:
        raise SecurityError(f"the template is longer than {MAX_SOURCE} characters")
    code = _SANDBOX.compile(_Guard().visit(_SANDBOX.parse(source)))
    return Template.from_code(_SANDBOX, code, _SANDBOX.make_globals(None))


def weigh(value: Any, limit: int = MAX_CHARACTERS) -> int:
    """Roughly the characters that ``value`` would print as. Raises ``SecurityError`` once past ``limit``."""
    if isinstance(value, str):
        total = len(value)
    elif isinstance(value, Mapping):
        total = 0
        for key, child in value.items():
            total += weigh(key, limit - total) + weigh(child, limit - total)
    elif isinstance(value, list | tuple | set | frozenset):
        total = 0
        for child in value:
            total += 1 + weigh(child, limit - total)
    else:
        return 1
    if total > limit:
        raise SecurityError(f"a value grows past {MAX_CHARACTERS} characters")
    return total


class _Sandbox(ImmutableSandboxedEnvironment):
    """Jinja's sandbox with fewer filters, methods and globals, and with sizes checked before they are made."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self) -> None:
        super().__init__(undefined=StrictUndefined, keep_trailing_newline=True, finalize=_bounded)
        self.steps_left = MAX_LOOPS
        kept = {name: _checked(function) for name, function in self.filters.items() if name in _FILTERS}
        kept |= {"join": _checked(_join), "replace": _checked(_replace), "regex_replace": _checked(_regex_replace)}
        kept |= {_LOOP: _loop, _CONCAT: _concat}
        self.filters = kept
        self.globals = {"range": _range, "dict": dict, "namespace": Namespace}

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator == "+":
            weigh([left, right])
        elif operator == "*":
            _check_product(left, right)
        elif operator == "**":
            _check_power(left, right)
        elif isinstance(left, str) and ("*" in left or re.search(r"\d{4}", left)):
            raise SecurityError("a width of four digits or more in a % format")
        return super().call_binop(context, operator, left, right)

    def call(self, context: Context, function: Any, *args: Any, **kwargs: Any) -> Any:
        if function in (_range, dict, Namespace):
            return super().call(context, function, *args, **kwargs)
        owner = getattr(function, "__self__", None)
        name = getattr(function, "__name__", "")
        if type(owner) not in _METHODS or name not in _METHODS[type(owner)]:
            raise SecurityError(f"the call of {name or function!r} is not allowed")
        weigh([owner, args, kwargs])
        if isinstance(owner, str) and name == "replace":
            return _replace(owner, *args, **kwargs)
        if isinstance(owner, str) and name == "join":
            return _join(args[0] if args else (), owner)
        return super().call(context, function, *args, **kwargs)


class _Guard(NodeTransformer):
    """Refuses statements that tasks do not need; counts the steps of loops and the size of ``~``."""

    def generic_visit(self, node: nodes.Node, *args: Any, **kwargs: Any) -> nodes.Node:
        if not isinstance(node, (*_STATEMENTS, *_HELPERS, nodes.Expr)):
            raise SecurityError(f"{type(node).__name__} is not allowed in a task")
        node = super().generic_visit(node, *args, **kwargs)
        if isinstance(node, nodes.For):
            if node.recursive:
                raise SecurityError("a recursive loop is not allowed in a task")
            node.iter = nodes.Filter(node.iter, _LOOP, [], [], None, None, lineno=node.lineno)
        elif isinstance(node, nodes.Concat):
            parts = nodes.List(node.nodes, lineno=node.lineno)
            return nodes.Filter(parts, _CONCAT, [], [], None, None, lineno=node.lineno)
        return node


_LOOP = "weighbridge bounded loop"  # names that no source can spell
_CONCAT = "weighbridge bounded concatenation"


@pass_context
def _loop(context: Context, iterable: Iterable[Any]) -> list[Any]:
    sandbox = context.environment
    assert isinstance(sandbox, _Sandbox)
    steps = list(islice(iterable, sandbox.steps_left + 1))
    sandbox.steps_left -= len(steps)
    if sandbox.steps_left < 0:
        raise SecurityError(f"more than {MAX_LOOPS} loop steps")
    return steps


@pass_context
def _concat(_context: Context, parts: list[Any]) -> str:
    weigh(parts)
    return "".join([str(part) for part in parts])


def _bounded(value: Any) -> Any:
    weigh(value)
    return value


def _checked(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        weigh([args, kwargs])
        return function(*args, **kwargs)

    return wrapped


def _range(*args: int) -> range:
    result = range(*args)
    if len(result) > MAX_RANGE:
        raise SecurityError(f"a range of more than {MAX_RANGE} steps")
    return result


def _join(values: Iterable[Any], separator: Any = "", attribute: Any = None) -> str:
    if attribute is not None:
        raise SecurityError("join by attribute is not allowed")
    parts = [str(value) for value in islice(values, MAX_CHARACTERS + 1)]
    weigh(parts)
    if len(parts) * len(str(separator)) > MAX_CHARACTERS:
        raise SecurityError(f"a value grows past {MAX_CHARACTERS} characters")
    return str(separator).join(parts)


def _replace(text: Any, old: Any, new: Any, count: int | None = None) -> str:
    where, what, by = str(text), str(old), str(new)
    if (where.count(what) if what else len(where) + 1) * len(by) > MAX_CHARACTERS:
        raise SecurityError(f"a value grows past {MAX_CHARACTERS} characters")
    return where.replace(what, by, -1 if count is None else count)


def _regex_replace(text: str, pattern: str, replacement: str, count: int = 0) -> str:
    if (len(text) + 1) * len(replacement) > 100 * MAX_CHARACTERS:
        raise SecurityError(f"a value grows past {MAX_CHARACTERS} characters")
    return str(re.sub(pattern, replacement, text, count=count))


def _check_product(left: Any, right: Any) -> None:
    if isinstance(left, int) and isinstance(right, int):
        if left.bit_length() + right.bit_length() > MAX_BITS:
            raise SecurityError("a number grows too large")
        return
    for value, times in ((left, right), (right, left)):
        if isinstance(value, str | list | tuple) and isinstance(times, int) and times > 0:
            weigh(value, MAX_CHARACTERS // times)


def _check_power(base: Any, exponent: Any) -> None:
    if isinstance(base, int) and isinstance(exponent, int) and base.bit_length() * max(exponent, 0) > MAX_BITS:
        raise SecurityError("a number grows too large")


_SANDBOX = _Sandbox()
