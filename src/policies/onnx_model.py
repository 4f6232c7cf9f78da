"""A portable policy as an ONNX model, for runtimes of other languages and devices."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..components.spec import BoolArray, FloatArray, IntArray
from ..portable.policy import State, of_network
from .portable_form import Actor, PortableForm

if TYPE_CHECKING:
    import onnx

_OPSET, _IR = 17, 8  # ONNX 1.12 of 2022, which runtimes of today all read
_ROWS, _AGENTS = "rows", "agents"


def to_onnx(form: PortableForm) -> bytes:
    """The content of a model file.

    Its inputs are ``obs`` ``[B, A, O]`` and ``avail`` ``[B, A, U]`` (bool), and where the policy uses them
    ``last_actions`` ``[B, A]`` (int64, -1: none) and ``hidden`` ``[B, A, *]`` (zeros at first); its outputs ``actions``
    ``[B, A]``, ``scores`` ``[B, A, U]`` and ``next_hidden``. B may be any number, A where agents are not told apart.

    Raises:
        ImportError: ``onnx`` is not installed.
    """
    import onnx
    from onnx import TensorProto, helper

    about, sizes, groups = form.about, form.about["sizes"], form.about["networks"]
    used = {name for _, inputs, _, _ in about["operations"] for name in inputs}
    lead: list[str | int] = [_ROWS, _AGENTS if about["any_number_of_agents"] else sizes["agents"]]

    def declare(name: str, elements: int, *shape: int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, elements, [*lead, *shape])

    inputs = [
        declare("obs", TensorProto.FLOAT, sizes["observation"]),
        declare("avail", TensorProto.BOOL, sizes["actions"]),
    ]
    outputs = [declare("actions", TensorProto.INT64), declare("scores", TensorProto.FLOAT, sizes["actions"])]
    if "last_actions" in used:
        inputs.append(declare("last_actions", TensorProto.INT64))
    if "hidden" in used:
        inputs.append(declare("hidden", TensorProto.FLOAT, *sizes["state"]))
        outputs.append(declare("next_hidden", TensorProto.FLOAT, *sizes["state"]))
    graph = _Graph()
    members = [[agent for agent, g in enumerate(groups) if g == group] for group in range(max(groups) + 1)]
    parts = [_of_group(graph, form, g, own if len(members) > 1 else None, used) for g, own in enumerate(members)]
    back = np.argsort([agent for own in members for agent in own])
    for name, found in zip(["scores", "next_hidden"][: len(outputs) - 1], zip(*parts, strict=True), strict=False):
        if len(found) > 1:
            graph.node("Gather", graph.node("Concat", *found, axis=1), graph.tensor(back), output=name, axis=1)
        else:
            graph.node("Identity", found[0], output=name)
    masked = graph.node("Where", "avail", "scores", graph.tensor(np.array(-np.inf, np.float32)))
    graph.node("ArgMax", masked, output="actions", axis=-1, keepdims=0)
    made = helper.make_graph(graph.nodes, "policy", inputs, outputs, graph.initializers())
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR)
    model.producer_name, model.producer_version = "hymarl", str(about.get("hymarl", ""))
    helper.set_model_props(model, {"policy": json.dumps({k: x for k, x in about.items() if k != "operations"})})
    onnx.checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString()
    return content


def onnx_actor(content: bytes) -> Actor:
    """A model file's content as an `Actor`.

    Raises:
        ImportError: ``onnxruntime`` is not installed.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    asked = [x.name for x in session.get_inputs()]

    def act(obs: FloatArray, avail: BoolArray, state: State) -> tuple[FloatArray, IntArray, FloatArray]:
        given = {"obs": obs, "avail": avail, "last_actions": state.last_actions, "hidden": state.hidden}
        actions, scores, *hidden = session.run(None, {name: given[name] for name in asked})
        return scores, actions, hidden[0] if hidden else state.hidden

    return act


class _Graph:
    """Nodes and constants of a model under construction."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self._tensors: dict[str, NDArray[Any]] = {}

    def node(self, kind: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        """Add a node of one output, and return the output's name."""
        from onnx import helper

        name = output or f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def tensor(self, array: NDArray[Any], name: str | None = None) -> str:
        """Add a constant, and return its name."""
        name = name or f"constant_{len(self._tensors)}"
        self._tensors[name] = np.array(array, order="C")
        return name

    def shape(self, *sizes: int) -> str:
        """A constant shape; -1 is whatever is left."""
        return self.tensor(np.array(sizes, np.int64))

    def initializers(self) -> list[Any]:
        """The constants as ONNX has them."""
        from onnx import numpy_helper

        return [numpy_helper.from_array(array, name) for name, array in self._tensors.items()]


def _of_group(
    graph: _Graph, form: PortableForm, group: int, members: list[int] | None, used: set[str]
) -> tuple[str, str]:
    """Add what one network computes for its agents (``None``: all); returns the names of scores and hidden.

    Operations have one row per agent and environment, so ``[B, A, *]`` becomes ``[B * A, *]`` and is split again.
    """
    sizes, outputs, rows = form.about["sizes"], form.about["outputs"], dict[str, str]()
    shapes = {"obs": [-1, sizes["observation"]], "last_actions": [-1], "hidden": [-1, *sizes["state"]]}
    for name in (name for name in shapes if name in used):
        own = name if members is None else graph.node("Gather", name, graph.shape(*members), axis=1)
        rows[name] = graph.node("Reshape", own, graph.shape(*shapes[name]))
    lead = graph.node("Shape", "obs", start=0, end=2)  # B A
    if members is not None:
        lead = graph.node("Concat", graph.node("Shape", "obs", start=0, end=1), graph.shape(len(members)), axis=0)
    if "agents" in used:
        numbers = graph.shape(*(range(sizes["agents"]) if members is None else members))
        rows["agents"] = graph.node("Reshape", graph.node("Expand", numbers, lead), graph.shape(-1))
    for operation in form.about["operations"]:
        kind, inputs, names, output = operation
        arrays = {name: form.arrays[name] for name in (of_network(name, group) for name in names)}
        rows[output] = _NODES[kind](graph, [rows[name] for name in inputs], arrays)

    def split(name: str, *shape: int) -> str:
        return graph.node("Reshape", rows[name], graph.node("Concat", lead, graph.shape(*shape), axis=0))

    hidden = split(outputs["hidden"], *sizes["state"]) if "hidden" in used else ""
    return split(outputs["scores"], sizes["actions"]), hidden


Arrays = Mapping[str, NDArray[Any]]


def _scale(graph: _Graph, inputs: Sequence[str], arrays: Arrays) -> str:
    shift, factor, limit = arrays.values()
    moved = graph.node("Sub", inputs[0], graph.tensor(shift))
    scaled = graph.node("Mul", moved, graph.tensor(factor))
    return graph.node("Clip", scaled, graph.tensor(-limit), graph.tensor(limit))


def _lookup(graph: _Graph, inputs: Sequence[str], arrays: Arrays) -> str:
    ((name, table),) = arrays.items()
    return graph.node("Gather", graph.tensor(table, name), inputs[0], axis=0)


def _choose(graph: _Graph, inputs: Sequence[str], arrays: Arrays) -> str:
    ((name, places),) = arrays.items()
    flat = graph.node("Flatten", inputs[0], axis=1)
    return graph.node("Gather", flat, graph.tensor(places, name), axis=1)


def _linear(graph: _Graph, inputs: Sequence[str], arrays: Arrays) -> str:
    (name, weight), *bias = arrays.items()
    out = graph.node("MatMul", inputs[0], graph.tensor(weight.T, name))
    return graph.node("Add", out, graph.tensor(bias[0][1], bias[0][0])) if bias else out


def _normalize(graph: _Graph, inputs: Sequence[str], arrays: Arrays) -> str:
    *weights, (_, epsilon) = arrays.items()
    given = [graph.tensor(array, name) for name, array in weights]
    return graph.node("LayerNormalization", inputs[0], *given, axis=-1, epsilon=float(epsilon))


def _gru(graph: _Graph, inputs: Sequence[str], arrays: Arrays) -> str:
    """ONNX has the gates in the order z, r, n, and a time axis."""
    names, (w_ih, w_hh, b_ih, b_hh) = list(arrays), arrays.values()
    i, h = w_ih.shape[1], w_hh.shape[1]

    def ordered(array: NDArray[Any]) -> NDArray[Any]:
        return np.concatenate([array[h : 2 * h], array[:h], array[2 * h :]])

    weights = [graph.tensor(ordered(w)[None], name) for w, name in zip((w_ih, w_hh), names, strict=False)]
    bias = graph.tensor(np.concatenate([ordered(b_ih), ordered(b_hh)])[None])
    x = graph.node("Reshape", inputs[0], graph.shape(1, -1, i))
    state = graph.node("Reshape", inputs[1], graph.shape(1, -1, h))
    out = graph.node("GRU", x, *weights, bias, "", state, hidden_size=h, linear_before_reset=1)
    return graph.node("Reshape", out, graph.node("Shape", inputs[1]))


def _plain(kind: str, **attributes: Any) -> Callable[[_Graph, Sequence[str], Arrays], str]:
    return lambda graph, inputs, arrays: graph.node(kind, *inputs, **attributes)


def _center(graph: _Graph, inputs: Sequence[str], arrays: Arrays) -> str:
    mean = graph.node("ReduceMean", inputs[0], axes=[-1], keepdims=1)
    return graph.node("Sub", inputs[0], mean)


_NODES: Mapping[str, Callable[[_Graph, Sequence[str], Arrays], str]] = {
    "scale": _scale,
    "lookup": _lookup,
    "choose": _choose,
    "join": _plain("Concat", axis=-1),
    "append": _plain("Concat", axis=1),
    "linear": _linear,
    "relu": _plain("Relu"),
    "normalize": _normalize,
    "gru": _gru,
    "mean": _plain("ReduceMean", axes=[1], keepdims=1),
    "center": _center,
    "add": _plain("Add"),
    "flatten": _plain("Flatten", axis=1),
}
"""For each operation what makes nodes of it: from names of its inputs and its arrays to the name of what comes out."""
