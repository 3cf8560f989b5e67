"""scikit-learn on the same rows and settings as the example `grid_timing`, and the ratio of the two.

    pip install numpy==1.26.4 scipy==1.11.4 scikit-learn==1.2.2
    python peer_scikit_learn.py features times.json [--sets originals,augmented] [--settings TEXT,...]

`features` is the folder that the example `features_npy` writes, `times.json` what `grid_timing features times.json`
wrote (so that both see the same rows). Each setting is fitted and scored as in the reference study: on its own, PCA included. `--settings` takes those
whose name contains one of the texts, or equals it, if it ends in `$`; a detector's ratio is printed only where all
its settings ran, and else the time of what ran. The whole grid takes about a quarter of an hour on two cores.

Scores are compared too: the largest difference of a test row's, relative to the largest score of the setting, and the
largest difference of AUROCs. Isolation forests and elliptic envelopes draw other random numbers, so that theirs differ
by chance; scikit-learn's kernel densities are wrong where its tree has several leaves (its issue 27186).
"""
import argparse
import json
import pathlib
import time
import warnings

import numpy as np
from sklearn.covariance import EllipticEnvelope
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import KernelDensity, LocalOutlierFactor
from sklearn.svm import OneClassSVM

warnings.filterwarnings("ignore")


def envelope(k):
    def run(train, test):
        pca = PCA(min(k, *train.shape), random_state=0).fit(train)
        return EllipticEnvelope(random_state=0).fit(pca.transform(train)).score_samples(pca.transform(test))

    return run


def estimator(make, method="score_samples"):
    return lambda train, test: getattr(make().fit(train), method)(test)


def grid():
    for kernel in ["linear", "rbf", "sigmoid"]:
        yield "OneClassSVM", kernel, estimator(lambda k=kernel: OneClassSVM(kernel=k, max_iter=1000), "decision_function")
    for degree in [3, 5, 8, 13, 21, 34, 55]:
        make = lambda p=degree: OneClassSVM(kernel="poly", degree=p, max_iter=1000)
        yield "OneClassSVM", f"poly {degree}", estimator(make, "decision_function")
    for n in [*range(10, 101, 10), *range(200, 1001, 100)]:
        make = lambda n=n: IsolationForest(n_estimators=n, random_state=0)
        yield "IsolationForest", str(n), estimator(make)
    for bandwidth in [0.5, 1.0, "scott", "silverman"]:
        for kernel in ["gaussian", "tophat", "epanechnikov", "exponential", "linear", "cosine"]:
            make = lambda b=bandwidth, k=kernel: KernelDensity(bandwidth=b, kernel=k)
            yield "KernelDensity", f"{kernel} {bandwidth}", estimator(make)
    for k in [2, 4, 6, 8, 12, 16, 20, 24, 28, 32, 40, 48, 56, 64]:
        make = lambda k=k: LocalOutlierFactor(n_neighbors=k, novelty=True)
        yield "LocalOutlierFactor", str(k), estimator(make)
    for k in [32, 64, 128, 256]:
        yield "EllipticEnvelope", str(k), envelope(k)


def difference(ours, theirs, defective):
    if not np.isfinite(theirs).all():
        # Kernels that do not reach, and scikit-learn's cosine in many dimensions.
        return np.nan, np.nan
    largest = np.abs(theirs).max() or 1.0
    areas = [roc_auc_score(defective, scores) for scores in (ours, theirs)]
    return np.abs(ours - theirs).max() / largest, abs(areas[0] - areas[1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("features", type=pathlib.Path)
    parser.add_argument("times", type=pathlib.Path)
    parser.add_argument("--sets", default="originals,augmented")
    parser.add_argument("--settings", default="")
    args = parser.parse_args()
    ours = json.loads(args.times.read_text())
    train, test = (np.load(args.features / f"{name}.npy") for name in ("train", "test"))
    count = int(np.load(args.features / "originals.npy"))
    defective = np.load(args.features / "defective.npy")
    texts = [text for text in args.settings.split(",") if text]
    chosen = lambda name: not texts or any(name == t[:-1] if t.endswith("$") else t in name for t in texts)

    total, complete = 0.0, True
    for which in args.sets.split(","):
        rows = train[:count] if which == "originals" else train
        sums, ran, all_of, worst = {}, {}, {}, {}
        for detector, setting, run in grid():
            all_of[detector] = all_of.get(detector, 0) + 1
            name = f"{detector} {setting}"
            if not chosen(name):
                continue
            start = time.perf_counter()
            scores = run(rows, test)
            seconds = time.perf_counter() - start
            score, area = difference(np.array(ours["scores"][f"{which} {name}"]), -scores, defective)
            worst[detector] = np.fmax(worst.get(detector, (0.0, 0.0)), (score, area))
            print(f"{which} {name}: {seconds:.3f} s, scores differ by {score:.1e}, AUROCs by {area:.4f}", flush=True)
            sums[detector] = sums.get(detector, 0.0) + seconds
            ran[detector] = ran.get(detector, 0) + 1
        for detector, settings in all_of.items():
            if ran.get(detector) == settings:
                mine = ours["sets"][which][detector]
                print(f"{which} {detector}: {sums[detector]:.2f} s, ours {mine:.4f} s without products, "
                      f"ratio {sums[detector] / mine:.0f}; scores differ by {worst[detector][0]:.1e} at most, "
                      f"AUROCs by {worst[detector][1]:.4f}", flush=True)
                total += sums[detector]
            else:
                complete = False
                if detector in ran:
                    print(f"{which} {detector}: {ran[detector]} of {settings} settings, {sums[detector]:.2f} s")
    if complete and set(args.sets.split(",")) == {"originals", "augmented"}:
        print(f"all settings x 2: {total:.1f} s, ours with products {ours['total']:.3f} s, "
              f"ratio {total / ours['total']:.0f}")


if __name__ == "__main__":
    main()
