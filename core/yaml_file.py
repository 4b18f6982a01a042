"""YAML files of any origin, read without filling the memory; and YAML text for people.

YAML lets a value be repeated by an alias, and aliases of aliases: a few lines that stand for
billions of values. So values are counted as often as they are repeated, before any is made.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from core.errors import BadInput

LARGEST_FILE = 2**20  # bytes
MOST_VALUES = 10_000


def read_yaml(path: Path) -> dict[Any, Any]:
    """Return the keys and values of a YAML file.

    Raises BadInput for a file that cannot be read, is no YAML, has no keys, or too many values.
    """
    try:
        with path.open("rb") as stream:
            text = stream.read(LARGEST_FILE + 1)
        if len(text) > LARGEST_FILE:
            raise ValueError(f"larger than {LARGEST_FILE} bytes")
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        _count_nodes(node)
        tree = loader.construct_document(node) if node else None
    except OSError as error:
        raise BadInput(f"{path}: cannot read the config ({error.strerror})") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise BadInput(f"{path}: not a YAML file ({' '.join(str(error).split(chr(10)))})") from None
    if not isinstance(tree, dict):
        raise BadInput(f"{path}: expected keys and values, as in baseline.yaml")
    return tree


class _Plain(yaml.SafeDumper):
    """Writes a list that several keys share in full for each of them, not as an alias."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def yaml_text(tree: dict[str, Any]) -> str:
    """Return keys and values as YAML, in their order."""
    return yaml.dump(tree, Dumper=_Plain, sort_keys=False, allow_unicode=True, width=100)


def _count_nodes(node: yaml.Node | None, within: tuple[yaml.Node, ...] = ()) -> int:
    """Count the values, each as often as an alias repeats it; raise ValueError for too many."""
    if node in within:
        raise ValueError("an alias within what it stands for")
    count = 1
    for inner in getattr(node, "value", ()) if isinstance(node, yaml.CollectionNode) else ():
        for child in inner if isinstance(inner, tuple) else (inner,):
            count += _count_nodes(child, (*within, node))
            if count > MOST_VALUES:
                raise ValueError(f"more than {MOST_VALUES} values, counting what aliases repeat")
    return count
