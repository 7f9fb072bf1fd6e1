"""What a task file may say: lm-eval's YAML fields, read and checked. Anything unknown is refused by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeAlias, cast

import yaml

from weighbridge import canonical, files
from weighbridge.errors import InputError, SuiteError

MAX_BYTES = 1024 * 1024
MAX_INCLUDES = 8
MAX_DEPTH = 32
MAX_VALUES = 100_000
MAX_SHOTS = 1000
MAX_TOKENS = 32_768
DEFAULT_MAX_TOKENS = 256

Formula: TypeAlias = str | int | list[Any] | dict[str, Any] | None
"""How a text, target or list of choices is made of a document: a column's name, a template, or a constant."""

_CODE = "the lm-eval extra runs such tasks: pip install 'weighbridge[lm-eval]', then --suite lm-eval:NAME"
_IGNORED = {"task_alias", "tag", "dataset_name", "should_decontaminate", "doc_to_decontamination_query", "repeats"}
_REFUSED = {
    "process_docs": "needs code of the task",
    "process_results": "needs code of the task",
    "custom_dataset": "needs code of the task",
    "class": "needs code of the task",
    "use_prompt": "needs a prompt library",
    "doc_to_image": "needs a model of images",
    "doc_to_audio": "needs a model of sounds",
    "group": "names a group of tasks",
    "task_list": "names a list of tasks",
}


@dataclass(frozen=True)
class FewShot:
    """Where examples come from and how they are written; fields left out follow the task's own."""

    sampler: Literal["default", "first_n"] = "default"
    split: str | None = None
    samples: tuple[dict[str, Any], ...] | None = None
    doc_to_text: Formula = None
    doc_to_choice: Formula = None
    doc_to_target: Formula = None
    gen_prefix: str | None = None
    fewshot_delimiter: str = "\n\n"
    target_delimiter: str = " "


@dataclass(frozen=True)
class TaskFields:
    """A task file after includes, defaults and checks. ``splits`` maps a split to absolute paths."""

    task: str
    output_type: Literal["multiple_choice", "generate_until"]
    splits: dict[str, tuple[Path, ...]]
    rows_field: str | None
    eval_split: str
    test_split: str | None
    fewshot_pool: str
    fewshot: FewShot
    doc_to_text: Formula
    doc_to_target: Formula
    doc_to_choice: Formula = None
    description: str = ""
    target_delimiter: str = " "
    fewshot_delimiter: str = "\n\n"
    gen_prefix: str | None = None
    num_fewshot: int = 0
    metric_list: list[dict[str, Any]] | None = None
    filter_list: list[dict[str, Any]] | None = None
    until: tuple[str, ...] = ()
    max_tokens: int = DEFAULT_MAX_TOKENS
    repeats: int = 1
    id_column: str | None = None
    cluster_column: str | None = None
    slice_column: str | None = None
    where: str = field(default="", compare=False)


class _Function(str):
    """A ``!function`` reference."""


class _Loader(yaml.SafeLoader):
    """YAML's safe subset, with ``!function`` kept as a mark and keys that stand twice refused."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
            if key is not None and key != "<<" and key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} stands twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


def _function(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> _Function:
    return _Function(loader.construct_scalar(node))


_Loader.add_constructor("!function", _function)


def read_fields(path: Path) -> TaskFields:
    """The task at ``path``. Raises ``SuiteError`` naming the file and the field."""
    merged = _read(path, [])
    _find_code(merged, str(path), "")
    return _Checker(merged, path).fields()


def _read(path: Path, chain: list[Path]) -> dict[str, Any]:
    """The mapping in ``path``, its includes merged underneath (local keys win, later includes win)."""
    path = path.absolute()
    if path.resolve() in chain or len(chain) >= MAX_INCLUDES:
        raise SuiteError(
            "includes form a cycle" if path.resolve() in chain else f"more than {MAX_INCLUDES} levels of include",
            where=str(path),
        )
    data = files.read(path, error=SuiteError, limit=MAX_BYTES)
    try:
        value = yaml.load(data, Loader=_Loader)  # a SafeLoader
    except yaml.MarkedYAMLError as cause:
        line = f" in line {cause.problem_mark.line + 1}" if cause.problem_mark else ""
        raise SuiteError(f"not a task file: {cause.problem or cause.context}{line}", where=str(path)) from cause
    except (yaml.YAMLError, ValueError, TypeError, AttributeError, LookupError, RecursionError) as cause:
        raise SuiteError(f"not a task file: {cause or type(cause).__name__}", where=str(path)) from cause
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise SuiteError("a task file is a mapping from field names to values", where=str(path))
    includes = value.pop("include", None)
    merged: dict[str, Any] = {}
    for include in includes if isinstance(includes, list) else [] if includes is None else [includes]:
        if not isinstance(include, str) or isinstance(include, _Function):
            raise SuiteError("include names files by their paths", where=f"{path} at include")
        merged |= _read(path.parent / include, [*chain, path.resolve()])
    return merged | value


def _find_code(value: Any, where: str, path: str, depth: int = 0) -> int:
    """The number of values in ``value``, aliases written out; raises where there is code, or no end."""
    if isinstance(value, _Function):
        raise SuiteError(
            f"!function {value} is code, which a task file may not run", where=f"{where} at {path}", remedy=_CODE
        )
    count = 1
    if isinstance(value, dict | list):
        for key, child in value.items() if isinstance(value, dict) else enumerate(value):
            step = f"[{key}]" if isinstance(value, list) else f".{key}" if path else str(key)
            if depth == MAX_DEPTH:
                raise SuiteError(f"nested more than {MAX_DEPTH} levels deep", where=where)
            count += _find_code(child, where, path + step, depth + 1)
            if count > MAX_VALUES:
                raise SuiteError(f"more than {MAX_VALUES} values, aliases written out", where=where)
    return count


class _Checker:
    """Reads fields one by one; what is left over at the end is unknown."""

    def __init__(self, raw: dict[str, Any], path: Path) -> None:
        self.raw = {key: value for key, value in raw.items() if value is not None}
        self.path = path
        self.folder = path.absolute().parent

    def fail(self, name: str, message: str, remedy: str | None = None) -> NoReturn:
        raise SuiteError(message, where=f"{self.path} at {name}", remedy=remedy)

    def text(self, name: str, default: str | None = None) -> str | None:
        value = self.raw.pop(name, default)
        if value is not None and not isinstance(value, str):
            self.fail(name, f"expected text, found {value!r:.80}")
        return value

    def whole(self, name: str, default: int, low: int, high: int, raw: dict[str, Any] | None = None) -> int:
        value = (self.raw if raw is None else raw).pop(name, default)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            self.fail(name, f"expected a whole number from {low} to {high}, found {value!r:.80}")
        return value

    def formula(self, name: str, kinds: tuple[type, ...], raw: dict[str, Any] | None = None) -> Formula:
        value = (self.raw if raw is None else raw).pop(name, None)
        if value is not None and (not isinstance(value, kinds) or isinstance(value, bool)):
            self.fail(name, f"expected a template, a column or a constant, found {value!r:.80}")
        return cast(Formula, value)

    def records(self, name: str) -> list[dict[str, Any]] | None:
        value = self.raw.pop(name, None)
        if value is None:
            return None
        if not isinstance(value, list) or not all(
            isinstance(entry, dict) and all(isinstance(key, str) for key in entry) for entry in value
        ):
            self.fail(name, "expected a list of mappings")
        return value

    def fields(self) -> TaskFields:
        for name, reason in _REFUSED.items():
            if name in self.raw:
                self.fail(name, f"{name} {reason}", _CODE)
        if self.raw.pop("unsafe_code", False) is not False:
            self.fail("unsafe_code", "a task that runs generated code is refused")
        task = self.text("task")
        if not task:
            self.fail("task", "the task has no name", "add the field task")
        output_type = self.text("output_type", "generate_until")
        if output_type not in ("multiple_choice", "generate_until"):
            self.fail("output_type", f"{output_type!r} is neither multiple_choice nor generate_until", _CODE)
        splits, rows_field = self.data()
        names = {
            name: self.text(name) for name in ("test_split", "validation_split", "training_split", "fewshot_split")
        }
        for name, split in names.items():
            if split is not None and split not in splits:
                self.fail(name, f"no data for the split {split!r}; there is {', '.join(map(repr, splits))}")
        eval_split = names["test_split"] or names["validation_split"]
        if eval_split is None:
            self.fail("test_split", "neither test_split nor validation_split says what is asked")
        own: dict[str, Any] = {
            "doc_to_text": self.formula("doc_to_text", (str, int)),
            "doc_to_target": self.formula("doc_to_target", (str, int, list)),
            "doc_to_choice": self.formula("doc_to_choice", (str, list, dict)),
            "gen_prefix": self.text("gen_prefix"),
            "target_delimiter": self.text("target_delimiter", " "),
            "fewshot_delimiter": self.text("fewshot_delimiter", "\n\n"),
        }
        for name in ("doc_to_text", "doc_to_target", *(["doc_to_choice"] if output_type == "multiple_choice" else [])):
            if own[name] is None:
                self.fail(name, f"{name} is missing")
        until, max_tokens = self.generation(output_type, own["fewshot_delimiter"])
        columns: dict[str, Any] = self.metadata()
        fewshot = self.fewshot(names["fewshot_split"], splits, own)
        result = TaskFields(
            task=task,
            output_type=output_type,  # type: ignore[arg-type]
            splits=splits,
            rows_field=rows_field,
            eval_split=eval_split,
            test_split=names["test_split"],
            fewshot_pool=fewshot.split or names["training_split"] or names["validation_split"] or eval_split,
            fewshot=fewshot,
            description=self.text("description", "") or "",
            num_fewshot=self.whole("num_fewshot", 0, 0, MAX_SHOTS),
            metric_list=self.records("metric_list"),
            filter_list=self.records("filter_list"),
            until=until,
            max_tokens=max_tokens,
            repeats=self.whole("repeats", 1, 1, 1000),
            where=str(self.path),
            **own,
            **columns,
        )
        if unknown := sorted(set(self.raw) - _IGNORED):
            self.fail(unknown[0], f"unknown field {unknown[0]!r}", "see docs/suites.md for the fields of a task")
        return result

    def data(self) -> tuple[dict[str, tuple[Path, ...]], str | None]:
        source = self.text("dataset_path")
        if source != "json":
            self.fail("dataset_path", f"{source!r} is not json: only local JSON and JSONL files are read", _CODE)
        options = self.raw.pop("dataset_kwargs", None)
        if not isinstance(options, dict) or "data_files" not in options:
            self.fail("dataset_kwargs", "data_files is missing", "name the JSON or JSONL files")
        if unknown := sorted(map(str, set(options) - {"data_files", "field"})):
            self.fail(f"dataset_kwargs.{unknown[0]}", f"unknown field {unknown[0]!r}")
        rows_field = options.get("field")
        if rows_field is not None and not isinstance(rows_field, str):
            self.fail("dataset_kwargs.field", f"expected text, found {rows_field!r:.80}")
        named = options["data_files"]
        splits: dict[str, tuple[Path, ...]] = {}
        for split, entry in (named if isinstance(named, dict) else {"train": named}).items():
            entries = entry if isinstance(entry, list) else [entry]
            if not isinstance(split, str) or not entries or not all(isinstance(one, str) and one for one in entries):
                self.fail(
                    "dataset_kwargs.data_files", "expected a path, a list of paths, or a mapping from split to those"
                )
            splits[split] = tuple(self.file(one) for one in entries)
        return splits, rows_field

    def file(self, name: str) -> Path:
        if "://" in name:
            self.fail("dataset_kwargs.data_files", f"{name} is not a local file", "download it, and name its path")
        path = self.folder / name
        try:
            found = path.is_file()
        except (OSError, ValueError):  # a name that no file can have
            found = False
        if not found:
            remedy = "paths are taken from the folder of the task file"
            self.fail("dataset_kwargs.data_files", f"no such file: {path}", remedy)
        return path

    def generation(self, output_type: str, delimiter: str) -> tuple[tuple[str, ...], int]:
        options = self.raw.pop("generation_kwargs", {})
        if not isinstance(options, dict):
            self.fail("generation_kwargs", "expected a mapping")
        if options and output_type != "generate_until":
            self.fail("generation_kwargs", "a multiple-choice task generates nothing")
        options = dict(options)
        until = options.pop("until", delimiter if output_type == "generate_until" else [])
        until = [until] if isinstance(until, str) else until
        if not isinstance(until, list) or not all(isinstance(one, str) and one for one in until):
            self.fail("generation_kwargs.until", "expected text or a list of texts, none of them empty")
        names = [
            name
            for name in ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
            if name in options
        ]
        if len(names) > 1:
            self.fail(f"generation_kwargs.{names[1]}", f"{names[0]} says it already")
        most = self.whole(names[0] if names else "max_gen_toks", DEFAULT_MAX_TOKENS, 1, MAX_TOKENS, options)
        temperature = options.pop("temperature", 0)
        if options.pop("do_sample", False) is not False or not _is_number(temperature) or float(temperature) != 0:
            self.fail("generation_kwargs", "answers are generated greedily", "set do_sample: false and temperature: 0")
        if options:
            self.fail(f"generation_kwargs.{min(map(str, options))}", f"unknown field {min(map(str, options))!r}")
        return tuple(until), most

    def fewshot(self, split: str | None, splits: Mapping[str, Any], own: dict[str, Any]) -> FewShot:
        options = self.raw.pop("fewshot_config", {})
        if not isinstance(options, dict):
            self.fail("fewshot_config", "expected a mapping")
        options = {str(key): value for key, value in options.items() if value is not None}
        sampler = options.pop("sampler", "default")
        if sampler not in ("default", "first_n"):
            self.fail("fewshot_config.sampler", f"{sampler!r:.80} is neither default nor first_n")
        split = options.pop("split", split)
        if split is not None and (not isinstance(split, str) or split not in splits):
            self.fail("fewshot_config.split", f"no data for the split {split!r:.80}")
        samples = options.pop("samples", None)
        if samples is not None:
            samples = self.samples(samples)
        chosen = dict(own)
        for name, kinds in (
            ("doc_to_text", (str, int)),
            ("doc_to_target", (str, int, list)),
            ("doc_to_choice", (str, list, dict)),
        ):
            chosen[name] = self.formula(name, kinds, options) if name in options else own[name]
        for name in ("gen_prefix", "target_delimiter", "fewshot_delimiter"):
            chosen[name] = options.pop(name, own[name])
            if chosen[name] is not None and not isinstance(chosen[name], str):
                self.fail(f"fewshot_config.{name}", f"expected text, found {chosen[name]!r:.80}")
        if options:
            self.fail(f"fewshot_config.{min(options)}", f"unknown field {min(options)!r}")
        return FewShot(sampler=sampler, split=split, samples=samples, **chosen)

    def samples(self, value: Any) -> tuple[dict[str, Any], ...]:
        where = f"{self.path} at fewshot_config.samples"
        try:
            plain = canonical.loads(canonical.dumps(value), where=where, error=SuiteError)
        except InputError as cause:
            raise SuiteError(f"not plain data: {cause.message}", where=where) from cause
        if not isinstance(plain, list) or not plain or not all(isinstance(one, dict) for one in plain):
            self.fail("fewshot_config.samples", "expected a list of documents")
        return tuple(plain)

    def metadata(self) -> dict[str, str | None]:
        value = self.raw.pop("metadata", {})
        if not isinstance(value, dict):
            self.fail("metadata", "expected a mapping")
        result: dict[str, str | None] = {}
        for name in ("id", "cluster", "slice"):
            column = value.get(name)
            if column is not None and not isinstance(column, str):
                self.fail(f"metadata.{name}", f"expected the name of a column, found {column!r:.80}")
            result[f"{name}_column"] = column
        return result


def _is_number(value: Any) -> bool:
    if isinstance(value, str):
        try:
            float(value)
        except ValueError:
            return False
        return True
    return isinstance(value, int | float) and not isinstance(value, bool)
