"""Small files as PyTorch writes them, for `tests/pytorch.rs`.

    pip install torch==2.7.1
    python crates/backbones/tests/golden/pytorch_files.py

Writes the files to `pytorch/` beside itself and what is in them, as PyTorch reads it, to `pytorch/expected.json`;
also files that must be refused (names beginning with `refused_`). The files contain only numbers made by formulas
here.
"""

import collections
import json
import os
import pathlib

import torch

OUT = pathlib.Path(__file__).with_name("pytorch")


class Calls:
    """Unpickled by Python, this would print; it stands for anything worse."""

    def __reduce__(self):
        return (os.system, ("echo executed",))


def ramp(n):
    return (torch.arange(n) * 37 % 101).float() / 8 - 5


def tensors():
    shared = ramp(20)
    return collections.OrderedDict(
        f32=ramp(6).reshape(2, 3),
        f16=ramp(5).half(),
        bf16=(ramp(5) * 1.0078125).bfloat16(),
        f64=ramp(4).double() / 3,
        transposed=ramp(12).reshape(3, 4).t(),
        permuted=ramp(24).reshape(2, 3, 4).permute(2, 0, 1),
        sliced=ramp(30).reshape(5, 6)[1:4, ::2],
        shared_front=shared[:8].reshape(2, 4),
        shared_back=shared[12:],
        shared_overlapping=shared[4:16:3],
        expanded=torch.tensor([2.5]).expand(3, 2),
        scalar=torch.tensor(-0.75),
        empty=torch.empty(0, 3),
        channels_last=ramp(24).reshape(1, 2, 3, 4).to(memory_format=torch.channels_last),
        counter=torch.tensor(7),
        mask=torch.tensor([True, False]),
    )


def module():
    torch.manual_seed(0)
    made = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 2), torch.nn.BatchNorm2d(2), torch.nn.Linear(3, 2))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(ramp(parameter.numel()).reshape(parameter.shape))
    return made


def main():
    OUT.mkdir(exist_ok=True)
    state = module().state_dict()
    wrapped = torch.nn.DataParallel(module()).state_dict()
    optimizer = {"state": {0: {"step": torch.tensor(3.0), "exp_avg": ramp(4)}}, "param_groups": [{"lr": 0.1}]}
    files = {
        "zip.pth": (tensors(), {}),
        "zip_protocol_4.pt": (tensors(), {"pickle_protocol": 4}),
        "legacy.pth": (tensors(), {"_use_new_zipfile_serialization": False}),
        "legacy_protocol_4.pth": (tensors(), {"_use_new_zipfile_serialization": False, "pickle_protocol": 4}),
        "state_dict.pth": (state, {}),
        "state_dict_legacy.pth": (state, {"_use_new_zipfile_serialization": False}),
        "parameters.pth": (dict(module().named_parameters()), {}),
        "checkpoint.pth": (
            {"epoch": 3, "rate": 1e-3, "best": None, "name": "net", "optimizer": optimizer, "sizes": [2**40, -1],
             "state_dict": wrapped},
            {},
        ),
        "model_key_legacy.pth": ({"model": dict(state)}, {"_use_new_zipfile_serialization": False}),
    }
    refused = {
        "refused_call.pth": ({"weight": ramp(2), "call": Calls()}, {}),
        "refused_call_legacy.pth": ({"call": Calls()}, {"_use_new_zipfile_serialization": False}),
        "refused_module.pth": (torch.nn.Linear(2, 1), {}),
        "refused_sparse.pth": ({"weight": torch.eye(2).to_sparse()}, {}),
        "refused_quantized.pth": ({"weight": torch.quantize_per_tensor(ramp(2), 0.1, 0, torch.qint8)}, {}),
        "refused_number.pth": (3, {}),
    }
    for name, (value, options) in (files | refused).items():
        torch.save(value, OUT / name, **options)
    torch.jit.script(torch.nn.Linear(2, 1)).save(OUT / "refused_script.pt")

    expected = {}
    for name in files:
        read = torch.load(OUT / name, weights_only=False)  # True knows no protocol 4
        read = read.get("state_dict", read.get("model", read))
        expected[name] = {
            key.removeprefix("module."): {
                "shape": list(tensor.shape),
                # Exact: every f32 has at most nine significant digits.
                "values": [float(f"{v:.9g}") for v in tensor.float().flatten().tolist()]
                if tensor.is_floating_point() else None,
            }
            for key, tensor in read.items()
        }
    (OUT / "expected.json").write_text(json.dumps(expected, separators=(",", ":")) + "\n")
    print(sum(path.stat().st_size for path in OUT.iterdir()), "bytes")


main()
