"""Golden values of PyTorch's seeded random weights, for `tests/random.rs` and `src/random.rs`.

    pip install torch==2.7.1 torchvision==0.22.1 numpy==2.2.6
    python crates/backbones/tests/golden/random_weights.py

Writes `random_weights.json` beside itself: for each network and seed, every tensor of the state dict of
`torch.manual_seed(seed); torchvision.models.NAME(weights=None)` that features depend on: sum and sum of
squares in f64 and nine samples, spread evenly from the first value to the last. Tensors of one value are listed
once with that value. (With other versions of numpy, or without AVX2, the values are the same up to the last bits.)
"""

import json
import pathlib

import torch
import torchvision

SEEDS = {
    "resnet18": [0, 1, 2**33 + 5],
    "resnet50": [0, 2**33 + 5],
    "wide_resnet50_2": [0, 7],
    "vit_b_16": [0, 2**33 + 5],
    "vit_b_32": [0, 7],
}
SAMPLES = 9


def number(value):
    return float(f"{value:.9g}")


def describe(tensor):
    flat = tensor.flatten()
    at = [i * (len(flat) - 1) // (SAMPLES - 1) for i in range(SAMPLES)]
    return {
        "shape": list(tensor.shape),
        "samples": [number(v) for v in flat[at].tolist()],
        "sum": flat.double().sum().item(),
        "sum_of_squares": flat.double().square().sum().item(),
        "largest": number(flat.abs().max().item()),
    }


def main():
    networks = []
    for name, seeds in SEEDS.items():
        constants, draws = {}, []
        for seed in seeds:
            torch.manual_seed(seed)
            drawn = {}
            for key, tensor in getattr(torchvision.models, name)(weights=None).state_dict().items():
                if key.startswith(("fc.", "heads.", "encoder.ln.")) or key.endswith("num_batches_tracked"):
                    continue
                first = tensor.flatten()[0].item()
                if (tensor == first).all():
                    assert constants.setdefault(key, first) == first
                else:
                    assert key not in constants
                    drawn[key] = describe(tensor)
            draws.append({"seed": seed, "tensors": drawn})
        networks.append({"architecture": name, "constants": constants, "draws": draws})
    torch.manual_seed(12)
    normal = [number(v) for v in torch.empty(37).normal_(0, 0.5).tolist()]
    torch.manual_seed(12)
    truncated = [number(v) for v in torch.nn.init.trunc_normal_(torch.empty(64), std=0.25).tolist()]
    out = pathlib.Path(__file__).with_name("random_weights.json")
    lines = ",\n".join(json.dumps(network, separators=(",", ":")) for network in networks)
    out.write_text(
        f'{{"normal_37":{json.dumps(normal)},\n"truncated_64":{json.dumps(truncated)},\n"networks":[\n{lines}\n]}}\n'
    )
    print(out.stat().st_size, "bytes")


main()
