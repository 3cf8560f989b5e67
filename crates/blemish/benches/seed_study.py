"""The reference study's own pipeline on some layers of one object: Pillow, torchvision, scikit-learn.

    pip install numpy==1.26.4 torch==2.7.1 torchvision==0.22.1 scikit-learn==1.2.2 scipy==1.11.4 safetensors pillow
    python seed_study.py mvtec_ad/bottle WEIGHTS_FOLDER SCRATCH_FOLDER [--layers layer3] [--augmented both|true|false]

The stages are the study's, each from the files of the one before: the five other views of each training image as PNG
files; features of ResNet-18 with its ImageNet weights, a batch of one, one file a feature set; 71 settings of five
detectors on each, fitted and scored on their own, PCA included. Writes `results.csv` with the columns of
`blemish export`, and `seconds.json`. `seed_study.sh` runs it beside `blemish grid` and compares both.
"""
import argparse
import csv
import json
import pathlib
import sys
import time
import warnings

import numpy as np
import torch
import torchvision
from PIL import Image
from safetensors.torch import load_file
from sklearn.covariance import EllipticEnvelope
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import KernelDensity, LocalOutlierFactor
from sklearn.svm import OneClassSVM
from torchvision.models.feature_extraction import create_feature_extractor
from torchvision.transforms import functional as F

warnings.filterwarnings("ignore")
VIEWS = [Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.FLIP_TOP_BOTTOM, Image.Transpose.ROTATE_90,
         Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270]


def augment(files, folder):
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for file in files:
        with Image.open(file) as image:
            for view in VIEWS:
                path = folder / f"{file.stem}_{view.name.lower()}.png"
                image.transpose(view).save(path)
                written.append(path)
    return written


def preprocess(path):
    """As torchvision 0.14.1 did it to uint8: no antialiasing, rounded half to even."""
    with Image.open(path) as image:
        x = torch.from_numpy(np.asarray(image.convert("RGB")).transpose(2, 0, 1).copy())
    h, w = x.shape[1:]
    long = int(256 * max(h, w) / min(h, w))
    size = (256, long) if h <= w else (long, 256)
    x = torch.nn.functional.interpolate(x[None].float(), size, mode="bilinear", align_corners=False)[0]
    x = F.center_crop(x.round().clamp(0, 255) / 255, 224)
    return F.normalize(x, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])[None]


def features(extractor, layers, files, folder, name):
    rows = {layer: [] for layer in layers}
    with torch.no_grad():
        for file in files:
            for layer, value in extractor(preprocess(file)).items():
                rows[layer].append(value.flatten().numpy())
    for layer, value in rows.items():
        np.save(folder / f"{name}_{layer}.npy", np.stack(value))


def settings():
    for kernel in ["linear", "rbf", "sigmoid"]:
        yield OneClassSVM(kernel=kernel, max_iter=1000), {"kernel": kernel}
    for degree in [3, 5, 8, 13, 21, 34, 55]:
        yield OneClassSVM(kernel="poly", degree=degree, max_iter=1000), {"degree": degree, "kernel": "poly"}
    for n in [*range(10, 101, 10), *range(200, 1001, 100)]:
        yield IsolationForest(n_estimators=n, random_state=0), {"n_estimators": n}
    for bandwidth in [0.5, 1.0, "scott", "silverman"]:
        for kernel in ["gaussian", "tophat", "epanechnikov", "exponential", "linear", "cosine"]:
            yield KernelDensity(bandwidth=bandwidth, kernel=kernel), {"bandwidth": bandwidth, "kernel": kernel}
    for k in [2, 4, 6, 8, 12, 16, 20, 24, 28, 32, 40, 48, 56, 64]:
        yield LocalOutlierFactor(n_neighbors=k, novelty=True), {"n_neighbors": k}
    for k in [32, 64, 128, 256]:
        yield EllipticEnvelope(random_state=0), {"dim_reduction": "pca", "dim_reduction_components": k}


def evaluate(train, test, good):
    for model, parameters in settings():
        start = time.perf_counter()
        x, q = train, test
        if "dim_reduction_components" in parameters:
            pca = PCA(min(parameters["dim_reduction_components"], *train.shape), random_state=0)
            x, q = pca.fit_transform(train), pca.transform(test)
        model.fit(x)
        fitted = time.perf_counter()
        score = model.score_samples if isinstance(model, KernelDensity) else model.decision_function
        auroc = roc_auc_score(good, np.nan_to_num(score(q)))
        yield type(model).__name__, parameters, x, auroc, fitted - start, time.perf_counter() - fitted


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("object", type=pathlib.Path)
    parser.add_argument("weights", type=pathlib.Path)
    parser.add_argument("scratch", type=pathlib.Path)
    parser.add_argument("--layers", default="layer3")
    parser.add_argument("--augmented", default="both", choices=["both", "true", "false"])
    args = parser.parse_args()
    layers = args.layers.split(",")
    wanted = {"both": [False, True], "true": [True], "false": [False]}[args.augmented]
    args.scratch.mkdir(parents=True, exist_ok=True)
    seconds, clock = {}, time.perf_counter()

    def stage(name):
        nonlocal clock
        now = time.perf_counter()
        seconds[name] = now - clock
        print(f"{name}: {seconds[name]:.1f} s", flush=True)
        clock = now

    originals = sorted((args.object / "train/good").glob("*.png"))
    test = sorted(args.object.glob("test/*/*.png"))
    good = np.array([path.parent.name == "good" for path in test])
    augmented = augment(originals, args.scratch / "augmented") if True in wanted else []
    stage("augmentation")
    model = torchvision.models.resnet18(weights=None).eval()
    [file] = args.weights.glob("resnet18-imagenet1k_v1*.safetensors")
    model.load_state_dict(load_file(file), strict=False)
    extractor = create_feature_extractor(model, {layer: layer for layer in layers})
    # The study computed each feature set on its own, and the test images' once.
    features(extractor, layers, test, args.scratch, "test")
    for which in wanted:
        features(extractor, layers, originals + augmented if which else originals, args.scratch, f"train_{which}")
    stage("features")
    with open(args.scratch / "results.csv", "w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["object", "augmented", "architecture", "initialization", "layer", "train_samples", "dimensions",
                      "model", "hyperparameter", "auroc", "train_time_s", "test_time_s"])
        for which in wanted:
            for layer in layers:
                rows = [np.load(args.scratch / f"{name}_{layer}.npy") for name in (f"train_{which}", "test")]
                for name, parameters, x, auroc, train_time, test_time in evaluate(*rows, good):
                    out.writerow([args.object.name, which, "resnet18", "imagenet1k_v1", layer, *x.shape, name,
                                  json.dumps(parameters, sort_keys=True), auroc, train_time, test_time])
                    file.flush()
    stage("detectors")
    seconds["all"] = sum(seconds.values())
    print(f"all: {seconds['all']:.1f} s", flush=True)
    (args.scratch / "seconds.json").write_text(json.dumps(seconds, indent=1))


if __name__ == "__main__":
    sys.exit(main())
