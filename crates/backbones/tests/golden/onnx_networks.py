"""Writes the small ONNX networks of tests/onnx.rs and what onnx's reference evaluator makes of them.

Made with onnx 1.23.2 and numpy 2.2.6 (Python 3.11):

    pip install onnx==1.23.2 numpy==2.2.6 && python crates/backbones/tests/golden/onnx_networks.py

onnx_dynamic.onnx  (n, 3, h, w), any n, h, w: convolution, relu, convolution with stride, relu; and their flattening.
onnx_fixed.onnx    the same for (1, 3, 12, 16), with a matrix product behind it, unnamed nodes and an i64 output.
onnx_batch4.onnx   the same as the first for a batch of 4, which cannot be computed one image at a time.
onnx_operator.onnx an operator that no runtime has.
"""

import json
import pathlib

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

HERE = pathlib.Path(__file__).parent
HEIGHT, WIDTH, IMAGES = 12, 16, 3
random = np.random.default_rng(0)


def tensor(name, *shape):
    return numpy_helper.from_array((random.standard_normal(shape) / 3).astype(np.float32), name)


WEIGHTS = [tensor("w1", 4, 3, 3, 3), tensor("b1", 4), tensor("w2", 5, 4, 3, 3), tensor("b2", 5)]
HEAD = tensor("w3", 5 * (HEIGHT // 2) * (WIDTH // 2), 7)


def conv(stride):
    """All of a convolution's attributes, as exporters write them and the runtime wants them."""
    return {"pads": [1] * 4, "strides": [stride] * 2, "dilations": [1, 1]}


def body(named=True):
    def node(operator, inputs, output, name, **attributes):
        return helper.make_node(operator, inputs, [output], name=name if named else None, **attributes)

    return [
        node("Conv", ["image", "w1", "b1"], "conv1_out", "/conv1/Conv", **conv(1)),
        node("Relu", ["conv1_out"], "relu1_out", "/relu1/Relu"),
        node("Conv", ["relu1_out", "w2", "b2"], "conv2_out", "/conv2/Conv", **conv(2)),
        node("Relu", ["conv2_out"], "relu2_out", "/relu2/Relu"),
        node("Flatten", ["relu2_out"], "features", "/Flatten"),
    ]


def save(name, nodes, shape, outputs, weights):
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(output, kind, None) for output, kind in outputs],
        weights,
    )
    model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 18)])
    (HERE / f"{name}.onnx").write_bytes(model.SerializeToString())
    return model


def images():
    """The same numbers as `images` of tests/onnx.rs: exact in f32."""
    i = np.arange(IMAGES * 3 * HEIGHT * WIDTH, dtype=np.int64)
    return (((i * 7919) % 1021 - 510) / 256).astype(np.float32).reshape(IMAGES, 3, HEIGHT, WIDTH)


def main():
    float_output = [("features", TensorProto.FLOAT)]
    dynamic = save("onnx_dynamic", body(), ["n", 3, "h", "w"], float_output, WEIGHTS)
    head = [
        helper.make_node("MatMul", ["features", "w3"], ["logits"]),
        helper.make_node("ArgMax", ["logits"], ["class"], axis=1, keepdims=0),
    ]
    outputs = [("logits", TensorProto.FLOAT), ("class", TensorProto.INT64)]
    fixed = save("onnx_fixed", body(False) + head, [1, 3, HEIGHT, WIDTH], outputs, [*WEIGHTS, HEAD])
    save("onnx_batch4", body(), [4, 3, "h", "w"], float_output, WEIGHTS)
    odd = [helper.make_node("Frobnicate", ["features"], ["odd"], name="/odd")]
    save("onnx_operator", body() + odd, ["n", 3, "h", "w"], [("odd", TensorProto.FLOAT)], WEIGHTS)

    x = images()
    golden = {}
    model = onnx.ModelProto()
    model.CopyFrom(dynamic)
    model.graph.output.append(helper.make_tensor_value_info("relu1_out", TensorProto.FLOAT, None))
    features, relu1 = ReferenceEvaluator(model).run(None, {"image": x})
    logits = np.concatenate([ReferenceEvaluator(fixed).run(["logits"], {"image": x[i : i + 1]})[0] for i in range(IMAGES)])
    for name, values in [("features", features), ("relu1_out", relu1), ("logits", logits)]:
        rows = values.reshape(IMAGES, -1).astype(np.float64)
        step = 1 if rows.shape[1] < 100 else 17
        golden[name] = {
            "shape": list(values.shape[1:]),
            "step": step,
            "values": [[round(v, 6) for v in row[::step]] for row in rows.tolist()],
            "sums": [round(v, 4) for v in rows.sum(axis=1).tolist()],
        }
    (HERE / "onnx_networks.json").write_text(json.dumps(golden) + "\n")


main()
