"""A YAML document with the place of everything in it, so that a mistake can be named by line and column."""

import re
from itertools import pairwise
from typing import Any, NamedTuple

import msgspec
import yaml

_PATH = re.compile(r" - at `(?P<path>\$[^`]*)`$")
_KEY_PATH = re.compile(r" - at `key` in `(?P<path>\$[^`]*)`$")
_EXPECTED = re.compile(r"Expected `(?P<wanted>[a-z |]+)`, got `(?P<got>[a-z]+)`")
_NUMBER = re.compile(r"[^0-9-]*(?P<number>-?[0-9][0-9.,]*)\s*(?P<unit>[^0-9]*)")
_KEY = re.compile(r"unknown field `(?P<key>[^`]*)`")
_STEPS = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]")


class Mark(NamedTuple):
    """A place in a document, both from 1."""

    line: int
    column: int


# Deeper than any document that means something here. What is nested thousands deep would end the process that reads it.
DEEPEST = 32


class NotYaml(Exception):
    """The text is no YAML that is read here; `mark` says where, None: nowhere in particular."""

    def __init__(self, why: str, mark: Mark | None) -> None:
        super().__init__(why)
        self.mark = mark


class Marked:
    """A parsed document.

    Attributes:
        tree: what it says, as dicts, lists, strings and numbers.

    Raises:
        NotYaml: no YAML; a key twice in one mapping, of which YAML would silently take the last; an alias, which can
            make a short text endless; more than `DEEPEST` levels.
    """

    def __init__(self, text: str) -> None:
        try:
            _refuse_endless(text)
            self._root = yaml.compose(text, Loader=yaml.SafeLoader)
            self.tree: Any = yaml.safe_load(text)
        except yaml.MarkedYAMLError as exc:
            where = exc.problem_mark or exc.context_mark
            why = ", ".join(part for part in (exc.context, exc.problem) if part)
            raise NotYaml(why, None if where is None else _mark(where)) from exc
        except (
            yaml.YAMLError,
            ValueError,
            OverflowError,
        ) as exc:  # characters that aren't allowed; a date that is none
            raise NotYaml(" ".join(str(exc).split()), None) from exc
        if self._root is not None:
            _refuse_twins(self._root)

    def mark(self, path: str, key: str | None = None) -> Mark:
        r"""Where `path` begins (as `$.dimensions[0].name`), or in it the key `key`; as far as the path leads.

        >>> Marked("a:\n  - {b: 1}\n").mark("$.a[0].b")
        Mark(line=2, column=9)
        """
        node = self._root
        for name, index in _STEPS.findall(path):
            found = _value(node, name) if name else _item(node, int(index))
            if found is None:
                break
            node = found
        if node is None:
            return Mark(1, 1)
        if key is not None and isinstance(node, yaml.MappingNode):
            for name_node, _ in node.value:
                if name_node.value == key:
                    return _mark(name_node.start_mark)
        return _mark(node.start_mark)

    def explain(self, error: msgspec.ValidationError) -> tuple[str, Mark]:
        """What is wrong with the document, path first, and where, of an error of `msgspec.convert` on `tree`.

        >>> marked = Marked("version: 1")
        >>> try:
        ...     msgspec.convert(marked.tree, dict[str, str])
        ... except msgspec.ValidationError as exc:
        ...     marked.explain(exc)
        ('$[...]: Expected `str`, got `int`', Mark(line=1, column=1))
        """
        why = str(error)
        at, key = _PATH.search(why), _KEY.search(why)
        if (in_key := _KEY_PATH.search(why)) is not None:
            place = in_key["path"]
            return f"{place}: {why[: in_key.start()]} as a name{self._comma_hint(place)}", self.mark(place)
        place = self.mark("$" if at is None else at["path"], None if key is None else key["key"])
        if at is None:
            return why, place
        wrong = why[: at.start()]
        colon = "; a space must follow the colon" if key is not None and ":" in key["key"] else ""
        return f"{at['path']}: {wrong}{colon}{self._scalar_hint(at['path'], wrong)}", place

    def _node(self, path: str) -> yaml.Node | None:
        node = self._root
        for name, index in _STEPS.findall(path):
            node = _value(node, name) if name else _item(node, int(index))
        return node

    def _comma_hint(self, path: str) -> str:
        """The hint for a number with a comma in braces, which YAML takes for two fields."""
        node = self._node(path)
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        for (_, before), (key, value) in pairwise(pairs):
            parts = (before.value, key.value)
            if value.value == "" and all(isinstance(part, str) and re.fullmatch("[0-9.]+", part) for part in parts):
                number = f"{before.value.replace('.', '')}.{key.value}"
                return f"; in braces a comma ends a field: write {number} instead of {before.value},{key.value}"
        return "; a name that is a number, a date, yes or no needs quotes"

    def _scalar_hint(self, path: str, wrong: str) -> str:
        """The hint for a scalar that YAML reads as another type than is meant; empty: none is known."""
        node, expected = self._node(path), _EXPECTED.search(wrong)
        if not isinstance(node, yaml.ScalarNode):
            return ""
        if "matching regex '^[A-Z]{3}$'" in wrong:
            return "; write the three capital letters of ISO 4217, as GBP"
        if expected is None:
            return ""
        if expected["wanted"].startswith("str"):
            return f'; put it in quotes: "{node.value}"' if node.value else ""
        return _number_hint(node.value)

    def is_flow(self, path: str) -> bool:
        """Whether what stands at `path` is written in braces or brackets."""
        node = self._root
        for name, index in _STEPS.findall(path):
            node = _value(node, name) if name else _item(node, int(index))
        return bool(isinstance(node, yaml.CollectionNode) and node.flow_style)


def _number_hint(text: str) -> str:
    """How a number that has a unit or a comma is written.

    >>> _number_hint("10%"), _number_hint("600,00"), _number_hint("1.250,50"), _number_hint("30 days")
    ('; write 0.1', '; write 600.00', '; write 1250.50', '; write the number alone: 30')
    """
    match = _NUMBER.fullmatch(text)
    if match is None:
        return ""
    number, unit = match["number"], match["unit"].strip()
    whole, comma, rest = number.rpartition(",")
    if comma:
        # One comma with three digits behind it may end the thousands; in any other place it is a decimal comma.
        decimal = len(rest) != 3 or "." in whole
        number = f"{whole.replace('.', '').replace(',', '')}.{rest}" if decimal else number.replace(",", "")
    elif number.count(".") > 1:
        number = number.replace(".", "")
    if unit == "%":
        return f"; write {float(number) / 100:g}"
    return (
        f"; write the number alone: {number}"
        if unit or not text.lstrip().startswith(match["number"])
        else f"; write {number}"
    )


def _value(node: yaml.Node | None, name: str) -> yaml.Node | None:
    if not isinstance(node, yaml.MappingNode):
        return None
    return next((value for key, value in node.value if key.value == name), None)


def _item(node: yaml.Node | None, index: int) -> yaml.Node | None:
    if not isinstance(node, yaml.SequenceNode) or index >= len(node.value):
        return None
    item: yaml.Node = node.value[index]
    return item


def _refuse_endless(text: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise NotYaml(f"an alias (*{event.anchor}) isn't read here; write it out", _mark(event.start_mark))
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > DEEPEST:
                raise NotYaml(f"nested deeper than {DEEPEST} levels", _mark(event.start_mark))
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _refuse_twins(node: yaml.Node) -> None:
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise NotYaml(f"'{key.value}' stands twice", _mark(key.start_mark))
                seen.add(key.value)
            _refuse_twins(value)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _refuse_twins(item)


def _mark(mark: Any) -> Mark:
    return Mark(mark.line + 1, mark.column + 1)
