"""Any River estimator as bytes and back, without pickle: a table of plain values and allowed classes.

    bytes   zlib of JSON {"format": 1, "nodes": [...]}; node 0 is the estimator
    value   null, true, false, a number, a string; [i] is the node i; {"f": "inf" | "-inf" | "nan"} is a float;
            {"n": "random"} is a random generator that nobody seeded
    node    {"k": kind, ...}: a container, an array, a random state; {"k": "object", "c": class, "v": attributes}

Each object is one node however often it is referred to, so what was shared is shared again. As with skops, which persists
scikit-learn, reading never calls what the bytes name. A class is taken only from an allowed package (River, this one, the
shop's own); an object is made without its `__init__`, and its attributes are set. Functions are taken by their name, from
the same packages. River's parts in Rust give and take a state of their own (bytes).
"""

import base64
import functools
import importlib
import random
import types
import zlib
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np

_FORMAT = 1
# Decompressed: a forest of a hundred trees is some 30 MB of JSON.
_LARGEST = 256 * 1024 * 1024
_PACKAGES = ("river", "models.river", "models.learning.shipped")
_NATIVE = "river._river_rust"
_PLAIN = (bool, int, float, str, type(None))


class StateError(ValueError):
    """An estimator holds what can't be stored, or bytes are no estimator that may be made here."""


def encode_estimator(model: Any, own: tuple[str, ...] = ()) -> bytes:
    """The bytes of `model`.

    Args:
        model: a River estimator or pipeline.
        own: packages beside River's whose classes and functions it may hold: the shop's.

    Raises:
        StateError: it holds something else; the message says where.
    """
    return zlib.compress(msgspec.json.encode({"format": _FORMAT, "nodes": _Writer(own).nodes_of(model)}), 6)


def decode_estimator(data: bytes, own: tuple[str, ...] = ()) -> Any:
    """The estimator in the bytes that `encode_estimator` gave.

    Raises:
        StateError: they are no such bytes, or name a class or function that isn't allowed.
    """
    try:
        unpacking = zlib.decompressobj()
        text = unpacking.decompress(data, _LARGEST)
        if unpacking.unconsumed_tail:
            raise StateError(f"an estimator of more than {_LARGEST} bytes")
        whole = msgspec.json.decode(text)
        if not isinstance(whole, dict) or whole.get("format") != _FORMAT:
            raise StateError(f"an estimator of another format than {_FORMAT}; run the same release")
        return _Reader(whole["nodes"], own).value([0])
    except StateError:
        raise
    except Exception as exc:  # whatever damaged bytes lead to
        raise StateError(f"not an estimator: {type(exc).__name__}: {exc}") from exc


def _is_allowed(module: str, own: tuple[str, ...]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in (*_PACKAGES, *own))


class _Writer:
    """From objects to nodes, breadth first, so that deep trees need no deep recursion."""

    def __init__(self, own: tuple[str, ...]) -> None:
        self._own = own
        self._place: dict[int, int] = {}
        self._kept: list[tuple[Any, str]] = []  # holds the objects: their ids stay theirs

    def nodes_of(self, model: Any) -> list[Any]:
        self._ref(model, type(model).__name__)
        nodes: list[dict[str, Any]] = []
        while len(nodes) < len(self._kept):
            value, path = self._kept[len(nodes)]
            nodes.append(self._node(value, path))
        return nodes

    def _ref(self, value: Any, path: str) -> Any:
        if type(value) in _PLAIN:
            if isinstance(value, float) and not np.isfinite(value):
                return {"f": repr(value)}
            if type(value) is int and not -(2**63) <= value < 2**63:
                return {"i": str(value)}
            return value
        place = self._place.get(id(value))
        if place is None:
            place = self._place[id(value)] = len(self._kept)
            self._kept.append((value, path))
        return [place]

    def _pairs(self, items: Any, path: str) -> list[Any]:
        return [[self._ref(key, path), self._ref(value, f"{path}[{key!r}]")] for key, value in items]

    def _node(self, value: Any, path: str) -> dict[str, Any]:
        kind = type(value)
        if kind in _SEQUENCES:
            more = {"n": value.maxlen} if kind is deque else {}
            return {"k": kind.__name__, "v": [self._ref(each, f"{path}[]") for each in value]} | more
        if kind in (dict, OrderedDict, Counter):
            return {"k": kind.__name__, "v": self._pairs(value.items(), path)}
        if kind is defaultdict:
            factory = self._ref(value.default_factory, f"{path}.default_factory")
            return {"k": "defaultdict", "d": factory, "v": self._pairs(value.items(), path)}
        if kind is np.ndarray:
            if value.dtype.kind not in "biufU":
                raise StateError(f"{path} is an array of {value.dtype}; only numbers and text can be stored")
            data = base64.b64encode(np.ascontiguousarray(value).tobytes()).decode()
            order = "F" if value.flags.f_contiguous and not value.flags.c_contiguous else "C"
            return {"k": "array", "t": value.dtype.str, "s": list(value.shape), "o": order, "v": data}
        if isinstance(value, np.generic):
            return {"k": "scalar", "t": value.dtype.str, "v": base64.b64encode(value.tobytes()).decode()}
        if kind is random.Random:
            return {"k": "random", "v": self._ref(value.getstate(), path)}
        if kind is np.random.Generator:
            return {"k": "generator", "v": self._ref(value.bit_generator.state, path)}
        if kind is bytes:
            return {"k": "bytes", "v": base64.b64encode(value).decode()}
        if isinstance(value, (types.FunctionType, type)):
            return {"k": "named", "v": self._name(value, path)}
        if kind is functools.partial:
            given = [self._ref(part, path) for part in (value.func, value.args, value.keywords)]
            return {"k": "partial", "v": given}
        if kind is types.MethodType:
            return {"k": "method", "o": self._ref(value.__self__, path), "v": value.__name__}
        return self._object(value, path)

    def _object(self, value: Any, path: str) -> dict[str, Any]:
        name = self._name(type(value), path)
        if isinstance(value, tuple):  # a named one
            return {"k": "named_tuple", "c": name, "v": [self._ref(each, path) for each in value]}
        if type(value).__module__.startswith(_NATIVE):
            _, arguments, *state = value.__reduce_ex__(2)
            arguments = arguments[1:] if arguments and arguments[0] is type(value) else arguments
            given = self._ref(state[0] if state else None, path)
            return {"k": "native", "c": name, "a": self._ref(arguments, path), "v": given}
        content = None
        if isinstance(value, (list, dict)):  # ensembles and the like
            content = (
                self._pairs(value.items(), path) if isinstance(value, dict) else [self._ref(e, path) for e in value]
            )
        attributes = dict(getattr(value, "__dict__", {}))
        for of in type(value).__mro__:
            slots = of.__dict__.get("__slots__", ())
            for slot in (slots,) if isinstance(slots, str) else slots:
                if slot not in ("__dict__", "__weakref__") and hasattr(value, slot):
                    attributes[slot] = getattr(value, slot)
        # A generator that was never seeded promises no sequence; a tree has hundreds, of 2.5 KB each.
        unseeded = "seed" in attributes and attributes["seed"] is None
        pairs = [
            [key, {"n": "random"} if unseeded and type(each) is random.Random else self._ref(each, f"{path}.{key}")]
            for key, each in attributes.items()
        ]
        return {"k": "object", "c": name, "v": pairs} | ({} if content is None else {"n": content})

    def _name(self, value: Any, path: str) -> str:
        module, qualified = value.__module__, value.__qualname__
        if value in _BUILTIN.values():
            return f"builtins:{qualified}"
        if not _is_allowed(module, self._own) or "<" in qualified:
            raise StateError(
                f"{path} is {module}.{qualified}, which can't be stored; use River's classes, or a class or function that"
                " stands at the top of the shop's own module"
            )
        return f"{module}:{qualified}"


class _Reader:
    """From nodes to objects: made empty first, so that they may refer to each other, then filled."""

    def __init__(self, nodes: list[dict[str, Any]], own: tuple[str, ...]) -> None:
        self._nodes, self._own = nodes, own
        self._made: dict[int, Any] = {}
        self._unfilled: list[tuple[Any, dict[str, Any]]] = []

    def value(self, ref: Any) -> Any:
        found = self._value(ref)
        while self._unfilled:
            self._fill(*self._unfilled.pop())
        return found

    def _value(self, ref: Any) -> Any:
        if isinstance(ref, dict):
            return random.Random() if "n" in ref else int(ref["i"]) if "i" in ref else float(ref["f"])
        if not isinstance(ref, list):
            return ref
        (place,) = ref
        if place not in self._made:
            self._made[place] = self._make(self._nodes[place])
        return self._made[place]

    def _make(self, node: dict[str, Any]) -> Any:
        maker: Callable[[dict[str, Any]], Any] = getattr(self, f"_make_{node['k']}", self._make_filled)
        return maker(node)

    def _make_filled(self, node: dict[str, Any]) -> Any:
        kind = node["k"]
        if kind == "object":
            of: Any = self._named(node["c"])
            if not isinstance(of, type):
                raise StateError(f"{node['c']} is no class")
            made = of.__new__(of)  # type: ignore[call-overload]
        elif kind == "defaultdict":
            made = defaultdict(self._value(node["d"]))
        elif kind == "deque":
            made = deque(maxlen=node["n"])
        else:
            made = _FILLED[kind]()
        self._unfilled.append((made, node))
        return made

    def _make_tuple(self, node: dict[str, Any]) -> Any:
        return tuple(self._value(each) for each in node["v"])

    def _make_named_tuple(self, node: dict[str, Any]) -> Any:
        of = self._named(node["c"])
        if not issubclass(of, tuple):
            raise StateError(f"{node['c']} is no named tuple")
        return tuple.__new__(of, [self._value(each) for each in node["v"]])

    def _make_frozenset(self, node: dict[str, Any]) -> Any:
        return frozenset(self._value(each) for each in node["v"])

    def _make_array(self, node: dict[str, Any]) -> Any:
        flat = np.frombuffer(base64.b64decode(node["v"]), dtype=np.dtype(node["t"])).copy()
        return np.asarray(flat.reshape(node["s"]), order=node["o"])

    def _make_scalar(self, node: dict[str, Any]) -> Any:
        return np.frombuffer(base64.b64decode(node["v"]), dtype=np.dtype(node["t"]))[0]

    def _make_random(self, node: dict[str, Any]) -> Any:
        made = random.Random()
        made.setstate(self._value(node["v"]))
        return made

    def _make_generator(self, node: dict[str, Any]) -> Any:
        state = self.value(node["v"])
        if state.get("bit_generator") != "PCG64":
            raise StateError(f"a random generator {state.get('bit_generator')!r}; only PCG64 is known")
        made = np.random.Generator(np.random.PCG64())
        made.bit_generator.state = state
        return made

    def _make_bytes(self, node: dict[str, Any]) -> Any:
        return base64.b64decode(node["v"])

    def _make_named(self, node: dict[str, Any]) -> Any:
        return self._named(node["v"])

    def _make_partial(self, node: dict[str, Any]) -> Any:
        function, arguments, keywords = (self.value(each) for each in node["v"])
        if function not in _BUILTIN.values() and not _is_allowed(getattr(function, "__module__", ""), self._own):
            raise StateError("a partial of a function that isn't allowed")
        return functools.partial(function, *arguments, **keywords)

    def _make_method(self, node: dict[str, Any]) -> Any:
        owner = self._value(node["o"])
        if not _is_allowed(type(owner).__module__, self._own):
            raise StateError(f"a method of {type(owner).__module__}, which isn't allowed")
        return types.MethodType(getattr(type(owner), node["v"]), owner)

    def _make_native(self, node: dict[str, Any]) -> Any:
        of = self._named(node["c"])
        if not of.__module__.startswith(_NATIVE):
            raise StateError(f"{node['c']} is none of River's native classes")
        arguments = self.value(node["a"])
        made = of(*arguments) if "__reduce__" in of.__dict__ else of.__new__(of, *arguments)
        state = self._value(node["v"])
        if state is not None:
            made.__setstate__(state)
        return made

    def _fill(self, made: Any, node: dict[str, Any]) -> None:
        kind = node["k"]
        if kind == "object":
            content = node.get("n", ())
            if isinstance(made, dict):
                made.update((self._value(key), self._value(each)) for key, each in content)
            elif isinstance(made, list):
                made.extend(self._value(each) for each in content)
            for name, each in node["v"]:
                object.__setattr__(made, name, self._value(each))
        elif isinstance(made, dict):
            for key, each in node["v"]:
                made[self._value(key)] = self._value(each)
        elif isinstance(made, set):
            made.update(self._value(each) for each in node["v"])
        else:
            made.extend(self._value(each) for each in node["v"])

    def _named(self, name: str) -> Any:
        module, _, qualified = name.partition(":")
        if module == "builtins":
            return _BUILTIN[qualified]
        if not _is_allowed(module, self._own):
            raise StateError(f"{name} isn't allowed; what is: classes of {', '.join((*_PACKAGES, *self._own))}")
        found: Any = importlib.import_module(module)
        for part in qualified.split("."):
            found = getattr(found, part)
        # A module's imports are within its reach too: what is taken has to be of an allowed package itself.
        if not isinstance(found, (type, types.FunctionType)) or not _is_allowed(found.__module__, self._own):
            raise StateError(f"{name} is no class or function of an allowed package")
        return found


_SEQUENCES = (list, tuple, set, frozenset, deque)
_FILLED: dict[str, Callable[[], Any]] = {
    "list": list, "set": set, "dict": dict, "OrderedDict": OrderedDict, "Counter": Counter,
}  # fmt: skip
_BUILTIN: dict[str, Any] = {
    each.__name__: each for each in (bool, int, float, str, list, dict, set, tuple, Counter, defaultdict, OrderedDict)
}
