"""Golden features of all five networks from torchvision, for `tests/features.rs`.

    pip install torch==2.7.1 torchvision==0.22.1 numpy==2.2.6 pillow==13.0.0 safetensors==0.8.0
    python crates/backbones/tests/golden/features.py FOLDER_OF_TEST_DATA

Writes `all_networks.json` beside itself: every tap of every network, with the random weights of
`torch.manual_seed(SEED); torchvision.models.NAME(weights=None)`, for images by a formula (`images`) of
several sizes, and for the photograph PHOTOGRAPH of MVTec AD as torchvision resizes float tensors; of the
photograph also the first three layers of ResNet-18 with the published weights PUBLISHED. Both files are
sought in FOLDER_OF_TEST_DATA. Nothing of the photograph is committed but sums and samples of its
features.

Of a tap, channels last as in Rust, `values` are those at 0, step, 2 step, ... with
`step = len // samples | 1`: odd, so that all channels are met. `sum`, `absolute` (the sum of absolute
values) and `largest` (the largest absolute value) are over all values.
"""

import json
import pathlib
import sys

import numpy as np
import torch
import torchvision
from PIL import Image
from safetensors.torch import load_file
from torchvision.transforms import functional

SEED = 11
PHOTOGRAPH = "mvtec_ad/bottle/test/broken_large/000.png"
PUBLISHED = "weights/resnet18-imagenet1k_v1-conv1-to-layer3.safetensors"
RESNETS = ["resnet18", "resnet50", "wide_resnet50_2"]
TRANSFORMERS = ["vit_b_16", "vit_b_32"]
SIZES = [(1, 224, 224), (3, 32, 32), (2, 97, 160), (1, 320, 320)]
"""Images, height and width. Transformers take 224 x 224 alone."""

RANDOM_RESIZE = {name: 232 if "50" in name else 256 for name in RESNETS + TRANSFORMERS}
"""Blemish prepares images for random weights as for the newest published ones."""


def images(n, height, width):
    """Multiples of 1/64 in -2 to 2, from the index alone."""
    i = np.arange(n * 3 * height * width, dtype=np.uint64)
    hashed = ((i * 2654435761) % 2**32) >> 16
    values = (hashed % 257).astype(np.float32) / 64 - 2
    return torch.from_numpy(values.reshape(n, 3, height, width))


def photograph(path, resize):
    """As published weights want it: the shorter side to `resize`, the central 224 x 224, normalised."""
    image = torch.from_numpy(np.array(Image.open(path).convert("RGB"))).permute(2, 0, 1) / 255
    image = functional.center_crop(functional.resize(image, resize, antialias=True), 224)
    return functional.normalize(image, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])[None]


def taps(model):
    """Names as in Rust, and modules."""
    if hasattr(model, "encoder"):
        return {f"layer{i}": getattr(model.encoder.layers, f"encoder_layer_{i}") for i in range(12)}
    return {f"layer{i}": getattr(model, f"layer{i}") for i in range(1, 5)}


@torch.no_grad()
def features(model, x, samples):
    """Of every tap: its shape, samples, sums and largest value."""
    found = {}

    def keep(layer):
        return lambda _module, _input, output: found.__setitem__(layer, output)

    hooks = [module.register_forward_hook(keep(layer)) for layer, module in taps(model).items()]
    model(x)
    for hook in hooks:
        hook.remove()
    described = []
    for layer, output in found.items():
        if output.ndim == 4:
            output = output.permute(0, 2, 3, 1)
        flat = output.reshape(-1).double()
        step = len(flat) // samples | 1
        described.append({
            "layer": layer,
            "shape": list(output.shape),
            "step": step,
            "values": [float(f"{v:.7g}") for v in flat[::step].tolist()],
            "sum": flat.sum().item(),
            "absolute": flat.abs().sum().item(),
            "largest": flat.abs().max().item(),
        })
    return described


def main():
    data = pathlib.Path(sys.argv[1])
    torch.use_deterministic_algorithms(True)
    cases = []
    for name in RESNETS + TRANSFORMERS:
        torch.manual_seed(SEED)
        model = getattr(torchvision.models, name)(weights=None).eval()
        sizes = SIZES if name in RESNETS else [(2, 224, 224)]
        for size in sizes:
            cases.append({
                "architecture": name,
                "seed": SEED,
                "images": size,
                "taps": features(model, images(*size), 151),
            })
        cases.append({
            "architecture": name,
            "seed": SEED,
            "photograph": PHOTOGRAPH,
            "taps": features(model, photograph(data / PHOTOGRAPH, RANDOM_RESIZE[name]), 151),
        })
    # What the file lacks, layer 4, is not compared.
    model = torchvision.models.resnet18(weights=None).eval()
    missing = model.load_state_dict(load_file(data / PUBLISHED), strict=False)
    assert not missing.unexpected_keys, missing
    assert all(k.startswith(("layer4.", "fc.")) or k.endswith("tracked") for k in missing.missing_keys), missing
    cases.append({
        "architecture": "resnet18",
        "weights": PUBLISHED,
        "photograph": PHOTOGRAPH,
        "taps": features(model, photograph(data / PHOTOGRAPH, 256), 151)[:3],
    })
    out = pathlib.Path(__file__).with_name("all_networks.json")
    out.write_text("[\n" + ",\n".join(json.dumps(c, separators=(",", ":")) for c in cases) + "\n]\n")
    print(out.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
