"""What torchvision says of the weights that it publishes, for `src/published.rs`.

    pip install torch==2.7.1 torchvision==0.22.1
    python crates/backbones/tests/golden/published_weights.py

Writes `published_weights.json` beside itself.
"""

import json
import pathlib

import torchvision

NETWORKS = ["resnet18", "resnet50", "wide_resnet50_2", "vit_b_16", "vit_b_32"]


def main():
    out = []
    for name in NETWORKS:
        for weights in torchvision.models.get_model_weights(name):
            if not weights.name.startswith("IMAGENET1K_V"):
                continue
            preset = weights.transforms()
            out.append({
                "architecture": name,
                "initialization": weights.name.lower(),
                "url": weights.url,
                "mebibytes": weights.meta["_file_size"],
                "resize": preset.resize_size[0],
                "crop": preset.crop_size[0],
                "mean": preset.mean,
                "std": preset.std,
            })
    text = json.dumps(out, indent=1) + "\n"
    pathlib.Path(__file__).with_name("published_weights.json").write_text(text)


main()
