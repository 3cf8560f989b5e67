"""AUROCs of scikit-learn's LocalOutlierFactor on torchvision's features of bottle: what the whole chain should give.

    pip install numpy==1.26.4 torch==2.7.1 torchvision==0.22.1 scikit-learn==1.2.2 safetensors pillow
    BLEMISH_TEST_DATA=... OMP_NUM_THREADS=1 python bottle_lof.py > bottle_lof.json

Resizing as the study did it, no augmentation, ImageNet weights of ResNet-18 up to layer3. Takes about two minutes.
"""
import json
import sys

import bottle_features as features
import numpy as np
import torch
import torchvision
from safetensors.torch import load_file
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import LocalOutlierFactor

NEIGHBORS = [2, 4, 6, 8, 12, 16, 20, 24, 28, 32, 40, 48, 56, 64]
LAYERS = ["layer1", "layer2", "layer3"]


def rows(model, paths):
    out = {layer: [] for layer in LAYERS}
    for path in paths:
        x = features.preprocess(features.load(path), "paper")[None]
        with torch.no_grad():
            x = model.maxpool(model.relu(model.bn1(model.conv1(x))))
            for layer in LAYERS:
                x = getattr(model, layer)(x)
                out[layer].append(x.reshape(-1).numpy())
    return {layer: np.stack(v) for layer, v in out.items()}


def main():
    torch.set_num_threads(1)
    model = torchvision.models.resnet18(weights=None).eval()
    weights = features.DATA / "weights/resnet18-imagenet1k_v1-conv1-to-layer3.safetensors"
    model.load_state_dict(load_file(weights), strict=False)
    root = features.DATA / "mvtec_ad/bottle"
    train = rows(model, sorted((root / "train/good").iterdir()))
    test_paths = sorted(root.glob("test/*/*.png"))
    test = rows(model, test_paths)
    good = np.array([p.parent.name == "good" for p in test_paths])
    out = {}
    for layer in LAYERS:
        for k in NEIGHBORS:
            model_k = LocalOutlierFactor(n_neighbors=k, novelty=True).fit(train[layer])
            out[f"{layer} {k}"] = roc_auc_score(good, model_k.decision_function(test[layer]))
    json.dump(out, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
