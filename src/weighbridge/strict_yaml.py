"""Reading YAML (or JSON, its subset) that cannot be understood in two ways: unique text keys, no aliases. Pure."""

from __future__ import annotations

from typing import Any

import yaml

from weighbridge.errors import InputError


def load(data: bytes, *, where: str, error: type[InputError] = InputError) -> Any:
    """The value in ``data``, made of safe YAML types (dates included). Raises ``error`` for everything else."""
    try:
        return yaml.load(data.decode("utf-8"), _StrictLoader)
    except UnicodeDecodeError as cause:
        raise error(f"not UTF-8: {cause.reason} at byte {cause.start}", where=where) from cause
    except RecursionError as cause:
        raise error("nested too deeply", where=where) from cause
    except yaml.YAMLError as cause:
        raise error(f"not readable YAML: {' '.join(str(cause).split())}", where=where) from cause
    except (ValueError, LookupError, AttributeError, TypeError) as cause:  # PyYAML on a value that belies its tag
        raise error(f"not readable YAML: a value does not fit its type ({cause})", where=where) from cause


class _StrictLoader(yaml.SafeLoader):
    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.constructor.ConstructorError(None, None, "aliases are refused", mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str) or key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} stands twice or is no text", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)
