"""An ONNX graph under construction: unique names, initializers, constants that are shared."""

import inspect
from typing import Any

import numpy as np
from onnx import (
    AttributeProto,
    FunctionProto,
    GraphProto,
    NodeProto,
    TensorProto,
    ValueInfoProto,
    helper,
    numpy_helper,
)

from ...errors import OutputError

Infos = list[ValueInfoProto]

OPSET = 21
"""The first in which DequantizeLinear takes int16 and uint16; onnxruntime 1.18 and newer run it."""
IR_VERSION = 10
"""Of the same release as the opset."""
DOMAIN = "rootshift"
"""Of the functions."""
BYTES_MAX = (1 << 31) - 1
"""Largest model that protobuf writes in one piece."""


class Graph:
    """Nodes and initializers in order of construction.

    A name that is taken gets a number behind it, so tensors of an artifact may have any name.
    """

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.initializers: dict[str, TensorProto] = {}
        self._names: set[str] = set()
        self._real: dict[str, str] = {}
        self._scalars: dict[tuple[str, bytes], str] = {}

    def name(self, wish: str) -> str:
        """`wish`, or where it is taken `wish_2`, `wish_3`, ..., taken from now on."""
        name, number = wish, 1
        while name in self._names:
            number += 1
            name = f"{wish}_{number}"
        self._names.add(name)
        return name

    def constant(self, name: str, array: np.ndarray) -> str:
        """Name of a new initializer of the array's own type."""
        name = self.name(name)
        self.initializers[name] = numpy_helper.from_array(np.ascontiguousarray(array), name)
        return name

    def scalar(self, value: float, dtype: Any = np.float32) -> str:
        """Name of the initializer of one number; equal numbers share it."""
        array = np.asarray(value, dtype)
        key = array.dtype.str, array.tobytes()
        if key not in self._scalars:
            self._scalars[key] = self.constant(f"{array.dtype.name}:{array.item()!r}", array)
        return self._scalars[key]

    def node(self, kind: str, *inputs: str, name: str, domain: str = "", **attributes: Any) -> str:
        """Add a node with one output; returns the output's name, which is the node's too."""
        name = self.name(name)
        node = helper.make_node(kind, inputs, [name], name=name, domain=domain, **attributes)
        self.nodes.append(node)
        return name

    def integers(self, name: str, array: np.ndarray, step: float = 1.0) -> str:
        """Float tensor of integers that stay integers in the file, times `step`."""
        return self.node(
            "DequantizeLinear", self.constant(name, array), self.scalar(step), name=f"{name}/real"
        )

    def codes(self, value: str, top: int, name: str) -> str:
        """uint8 tensor of a float one, rounded half to even and limited to 0..top."""
        # QuantizeLinear saturates at 255, whatever the width of the codes.
        low, high = self.scalar(0), self.scalar(top)
        value = self.node("Clip", value, low, high, name=f"{name}/limited")
        return self.node(
            "QuantizeLinear", value, self.scalar(1), self.scalar(0, np.uint8), name=name
        )

    def real(self, codes: str) -> str:
        """Float tensor of a uint8 one; made once."""
        if codes not in self._real:
            one, zero = self.scalar(1), self.scalar(0, np.uint8)
            self._real[codes] = self.node(
                "DequantizeLinear", codes, one, zero, name=f"{codes}/real"
            )
        return self._real[codes]

    def reshape(self, value: str, shape: tuple[int, ...], name: str) -> str:
        """The same numbers in images of another shape."""
        sizes = self.constant(f"{name}.shape", np.array((0, *shape), np.int64))
        return self.node("Reshape", value, sizes, name=name)

    def unsqueeze(self, value: str, axes: tuple[int, ...], name: str) -> str:
        """The same numbers with new axes of size 1 at `axes` of the result."""
        places = self.constant(f"{name}.axes", np.array(axes, np.int64))
        return self.node("Unsqueeze", value, places, name=name)

    def proto(self, name: str, inputs: Infos, outputs: Infos, values: Infos) -> GraphProto:
        """The finished graph.

        Raises: OutputError where its initializers are more than one file can hold.
        """
        size = sum(tensor.ByteSize() for tensor in self.initializers.values())
        if size > BYTES_MAX:
            raise OutputError(f"an ONNX model must be at most {BYTES_MAX} bytes, not {size}")
        tensors = list(self.initializers.values())
        return helper.make_graph(self.nodes, name, inputs, outputs, tensors, value_info=values)


def log_softmax_codes() -> FunctionProto:
    """The function `rootshift.LogSoftmaxCodes`, from standard operators.

    Input: `score`, float [..., keys], in octaves. Output: `code`, uint8 of the same shape:
    `clamp(round((offset - log2(softmax(score * ln 2))) * steps), 0, zero_code)`, halves to even.
    Attributes, floats: `offset`, log2 of the probability of code 0; `steps`, codes per octave, 2
    for base sqrt2; `zero_code`, the code of probability zero.
    """
    attributes = ("offset", "steps", "zero_code")

    def constant(name: str, **value: Any) -> NodeProto:
        return helper.make_node("Constant", [], [name], **value)

    def attribute(name: str) -> NodeProto:
        node = constant(name)
        node.attribute.add(name="value_float", ref_attr_name=name, type=AttributeProto.FLOAT)
        return node

    nodes = [
        *(attribute(name) for name in attributes),
        constant("ln2", value_float=float(np.log(2))),
        constant("low", value_float=0.0),
        constant("one", value_float=1.0),
        constant("zero_point", value=helper.make_tensor("", TensorProto.UINT8, [], [0])),
        helper.make_node("Mul", ["score", "ln2"], ["nats"]),
        helper.make_node("LogSoftmax", ["nats"], ["log"], axis=-1),
        helper.make_node("Div", ["log", "ln2"], ["octaves"]),
        helper.make_node("Sub", ["offset", "octaves"], ["below"]),
        helper.make_node("Mul", ["below", "steps"], ["exact"]),
        helper.make_node("Clip", ["exact", "low", "zero_code"], ["limited"]),
        helper.make_node("QuantizeLinear", ["limited", "one", "zero_point"], ["code"]),
    ]
    return helper.make_function(
        DOMAIN,
        "LogSoftmaxCodes",
        ["score"],
        ["code"],
        nodes,
        [helper.make_opsetid("", OPSET)],
        attributes=list(attributes),
        doc_string=inspect.getdoc(log_softmax_codes),
    )
