"""Golden values of ResNet-18 from PyTorch, for `tests/resnet18.rs`.

    pip install torch==2.7.1 torchvision==0.22.1 safetensors numpy==1.26.4
    python crates/backbones/tests/golden/resnet18.py [FOLDER WITH PUBLISHED WEIGHTS]

Writes `features.json` (features from seeded random weights) beside itself; and, where the folder is
given, `published.json` (features from `resnet18-imagenet1k_v1-conv1-to-layer3.safetensors` in it).
"""

import json
import pathlib
import sys

import numpy as np
import torch
import torchvision

HERE = pathlib.Path(__file__).parent
LAYERS = ["layer1", "layer2", "layer3", "layer4"]
PREFIX = "resnet18-imagenet1k_v1-conv1-to-layer3.safetensors"


def new(seed):
    torch.manual_seed(seed)
    return torchvision.models.resnet18(weights=None).eval()


def vary(model):
    """Sets the batch normalisations by a formula, so that folding them is tested."""
    state = model.state_dict()
    norms = sorted(k.removesuffix(".running_var") for k in state if k.endswith(".running_var"))
    for i, norm in enumerate(norms):
        n = len(state[norm + ".running_var"])
        # Multiples of 1/64: exact in f32, so that Rust computes the same.
        steps = lambda a, b: torch.tensor([(a * j + b * i) % 33 for j in range(n)]) / 64
        state[norm + ".weight"].copy_(0.75 + steps(5, 3))
        state[norm + ".bias"].copy_(steps(7, 1) - 0.25)
        state[norm + ".running_mean"].copy_(steps(11, 2) - 0.25)
        state[norm + ".running_var"].copy_(0.5 + steps(13, 5))
    return model


def images(n, height, width):
    """Multiples of 1/64 in -2 to 2, from the index alone."""
    i = np.arange(n * 3 * height * width, dtype=np.uint64)
    hashed = ((i * 2654435761) % 2**32) >> 16
    values = (hashed % 257).astype(np.float32) / 64 - 2
    return torch.from_numpy(values.reshape(n, 3, height, width))


@torch.no_grad()
def features(model, layers, n, height, width):
    """About 200 samples of each layer, channels last as in Rust, the sum and the largest value."""
    x = images(n, height, width)
    x = model.maxpool(model.relu(model.bn1(model.conv1(x))))
    taps = {}
    for layer in layers:
        x = getattr(model, layer)(x)
        rows = x.permute(0, 2, 3, 1).reshape(n, -1)
        flat = rows.flatten().double()
        step = len(flat) // 199 | 1  # odd, so that every channel is met
        taps[layer] = {
            "shape": list(x.permute(0, 2, 3, 1).shape),
            "step": step,
            "values": [round(v, 9) for v in flat[::step].tolist()],
            "sum": flat.sum().item(),
            "largest": flat.abs().max().item(),
        }
    return {"images": n, "height": height, "width": width, "layers": taps}


def write(name, value):
    (HERE / name).write_text(json.dumps(value) + "\n")


def main():
    torch.use_deterministic_algorithms(True)
    sizes = [(1, 224, 224), (2, 65, 97), (1, 32, 33)]
    write("features.json", [
        {"seed": 1, "varied": varied, **features(model, LAYERS, *size)}
        for varied, model in [(False, new(1)), (True, vary(new(1)))]
        for size in sizes
    ])

    if len(sys.argv) > 1:
        from safetensors.torch import load_file

        model = new(0)
        missing = model.load_state_dict(load_file(pathlib.Path(sys.argv[1]) / PREFIX), strict=False)
        assert not missing.unexpected_keys, missing
        assert all(k.startswith(("layer4.", "fc.")) or k.endswith("tracked") for k in missing.missing_keys), missing
        write("published.json", [features(model, LAYERS[:3], *size) for size in sizes])


if __name__ == "__main__":
    main()
