"""Scores of scikit-learn's detectors on torchvision's features of some photographs of bottle.

    pip install numpy==1.26.4 torch==2.7.1 torchvision==0.22.1 scikit-learn==1.2.2 safetensors pillow
    BLEMISH_TEST_DATA=... OMP_NUM_THREADS=1 python bottle_detectors.py > bottle_detectors.json

ResNet-18 with ImageNet weights, layer3, resizing as the study did it; 96 good photographs to fit on, six good and six
defective ones to score. All settings whose results are no matter of chance; the one-class SVM both with the study's
limit of iterations and without one. Kernel densities with all training rows in one leaf, as scikit-learn's sums over
several are wrong in many dimensions (its issue 27186), and without the cosine kernel, which it does not normalise. Higher
is more anomalous.
"""
import json
import sys
import warnings

import bottle_features as features
import numpy as np
import torch
import torchvision
from bottle_lof import rows
from safetensors.torch import load_file
from sklearn.decomposition import PCA
from sklearn.neighbors import KernelDensity, LocalOutlierFactor
from sklearn.svm import OneClassSVM

warnings.filterwarnings("ignore")


def settings():
    for limit in [1000, -1]:
        for kernel in ["linear", "rbf", "sigmoid"]:
            yield f"OneClassSVM {kernel} {limit}", OneClassSVM(kernel=kernel, max_iter=limit)
        for degree in [3, 5, 8, 13, 21, 34, 55]:
            yield f"OneClassSVM poly {degree} {limit}", OneClassSVM(kernel="poly", degree=degree, max_iter=limit)
    for k in [2, 4, 6, 8, 12, 16, 20, 24, 28, 32, 40, 48, 56, 64]:
        yield f"LocalOutlierFactor {k}", LocalOutlierFactor(n_neighbors=k, novelty=True)
    for kernel in ["gaussian", "tophat", "epanechnikov", "exponential", "linear"]:
        for bandwidth in [0.5, 1.0, "scott", "silverman"]:
            yield f"KernelDensity {kernel} {bandwidth}", KernelDensity(
                bandwidth=bandwidth, kernel=kernel, leaf_size=1000)


def main():
    torch.set_num_threads(1)
    model = torchvision.models.resnet18(weights=None).eval()
    weights = features.DATA / "weights/resnet18-imagenet1k_v1-conv1-to-layer3.safetensors"
    model.load_state_dict(load_file(weights), strict=False)
    root = features.DATA / "mvtec_ad/bottle"
    files = lambda folder, n: [root / folder / f"{i:03}.png" for i in range(n)]
    train = rows(model, files("train/good", 96))["layer3"]
    test = rows(model, files("test/good", 6) + files("test/contamination", 6))["layer3"]
    out = {}
    for name, detector in settings():
        detector.fit(train)
        score = detector.decision_function if name.startswith("OneClassSVM") else detector.score_samples
        # Without bound where a kernel of bounded support does not reach: JSON has no infinity.
        out[name] = [-s if np.isfinite(s) else None for s in score(test).astype(float)]
    out["PCA variances"] = PCA(32, svd_solver="full").fit(train.astype(float)).explained_variance_.tolist()
    json.dump(out, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
