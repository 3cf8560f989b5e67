"""Features of real photographs by torchvision, sampled: the truth for the whole path from file to feature.

    pip install numpy==1.26.4 torch==2.7.1 torchvision==0.22.1 safetensors pillow
    BLEMISH_TEST_DATA=... python bottle_features.py > bottle_features.json

Uses MVTec AD's bottle (CC BY-NC-SA 4.0; only a few numbers derived from it are stored) and the ImageNet weights of
ResNet-18 up to layer3.
"""
import json
import os
import sys
from pathlib import Path

import numpy as np
import torch
import torchvision
from PIL import Image
from safetensors.torch import load_file
from torchvision.transforms import functional as F

DATA = Path(os.environ["BLEMISH_TEST_DATA"])
IMAGES = ["train/good/000.png", "test/broken_large/000.png"]
SAMPLES = 64


def load(path):
    return torch.from_numpy(np.asarray(Image.open(path).convert("RGB")).transpose(2, 0, 1).copy())


def preprocess(image, mode):
    if mode == "antialias":
        x = F.resize(image.float() / 255, 256, F.InterpolationMode.BILINEAR, antialias=True)
    else:
        # torchvision 0.14.1 on uint8: bilinear in f32 without antialiasing, rounded half to even.
        h, w = image.shape[1:]
        short, long = min(h, w), max(h, w)
        new_long = int(256 * long / short)
        size = (256, new_long) if h <= w else (new_long, 256)
        x = torch.nn.functional.interpolate(image[None].float(), size, mode="bilinear", align_corners=False)[0]
        x = x.round().clamp(0, 255) / 255
    x = F.center_crop(x, 224)
    return F.normalize(x, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


def main():
    model = torchvision.models.resnet18(weights=None).eval()
    state = load_file(DATA / "weights/resnet18-imagenet1k_v1-conv1-to-layer3.safetensors")
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected and all(k.startswith(("layer4", "fc")) or "num_batches" in k for k in missing)
    out = {"torch": torch.__version__, "torchvision": torchvision.__version__, "cases": []}
    for name in IMAGES:
        image = load(DATA / "mvtec_ad/bottle" / name)
        for mode in ["antialias", "paper"]:
            x = preprocess(image, mode)[None]
            with torch.no_grad():
                x = model.maxpool(model.relu(model.bn1(model.conv1(x))))
                for layer in ["layer1", "layer2", "layer3"]:
                    x = getattr(model, layer)(x)
                    # Channels last, as the rows of this project are laid out.
                    flat = x[0].permute(1, 2, 0).reshape(-1).double().numpy()
                    at = [int(i) for i in np.linspace(0, len(flat) - 1, SAMPLES)]
                    out["cases"].append({
                        "image": name,
                        "mode": mode,
                        "layer": layer,
                        "dimensions": len(flat),
                        "largest": float(np.abs(flat).max()),
                        "norm": float(np.linalg.norm(flat)),
                        "at": at,
                        "values": [float(flat[i]) for i in at],
                    })
    json.dump(out, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
