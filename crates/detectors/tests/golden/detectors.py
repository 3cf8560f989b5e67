"""Makes detectors.json: one-class SVM, local outlier factor, kernel density and AUROC of scikit-learn.

    pip install numpy==1.26.4 scipy==1.11.4 scikit-learn==1.2.2 mpmath==1.3.0
    python detectors.py

Rows come from a formula that tests/detectors/main.rs repeats bit by bit: whole-number hashing, no generator of
numpy's. Log densities are exact log-sum-exps, independent of scikit-learn (whose tree sums are off: its issue
27186), normalised by integrating the kernel numerically with 40 digits; where scikit-learn has one leaf only
(n <= 40) its own are given as well.
"""
import functools
import json
import pathlib
import warnings

import mpmath
import numpy as np
from scipy.special import logsumexp
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import KernelDensity, LocalOutlierFactor
from sklearn.svm import OneClassSVM

from inputs import hash_indices, shortened

mpmath.mp.dps = 40
MASK = 2**64 - 1
QUERIES = 10
NEIGHBORS = [1, 2, 4, 6, 8, 12, 16, 20, 24, 28, 32, 40, 48, 56, 64]
DEGREES = [3, 5, 8, 13, 21, 34, 55]
KERNELS = ["gaussian", "tophat", "epanechnikov", "exponential", "linear", "cosine"]


def uniform(seed, i, j):
    z = ((seed << 48) ^ (i << 24) ^ j) & MASK
    for _ in range(2):
        z = ((z ^ (z >> 30)) + 0x9E3779B97F4A7C15) & MASK
        z = z * 0xBF58476D1CE4E5B9 & MASK
    return (z ^ (z >> 31)) >> 11


def entry(seed, i, j):
    """Bell-shaped around 0, exactly representable: the sum of four uniforms."""
    return sum(uniform(seed + k, i, j) for k in range(4)) * 2.0**-53 - 2.0


def rows(kind, seed, n, d):
    x = np.array([[entry(seed, i, j) for j in range(d)] for i in range(n)])
    if kind == "rectified":
        x = np.maximum(x + 0.25, 0.0)
    elif kind == "duplicates":
        x = np.array([x[i % 20 if i % 3 == 0 else i] for i in range(n)])
    elif kind == "constant":
        x[:, ::3] = 3.0
    elif kind == "offset":
        x = x * 0.5 + 100.0
    return x


def queries(kind, seed, d):
    """Later ones lie farther out; the last one is the first training row."""
    x = rows(kind, seed, QUERIES - 1, d)
    x = x * (1.0 + 0.25 * np.arange(QUERIES - 1))[:, None]
    return np.vstack([x, rows(kind, seed - 8, 1, d)])


def perturbed(x, q, gamma):
    """The same problem with other last bits: columns in another order, gamma a few units in the last place off."""
    for seed in (1, 2, 3):
        order = sorted(range(x.shape[1]), key=lambda j: uniform(seed, j, 7))
        yield x[:, order], q[:, order], gamma
    for units in (1, -1, 2):
        yield x, q, gamma * (1 + units * 2.0**-52)


def svm(x, q, kernel, degree, max_iter, nu=0.5):
    """`determined` is whether scikit-learn agrees with itself when last bits change; `spread` how far it does not,
    in decisions, relative to the largest."""
    result = {"kernel": kernel, "degree": degree, "max_iter": max_iter, "nu": nu}
    fit = lambda x, gamma: OneClassSVM(kernel=kernel, degree=degree, max_iter=max_iter, nu=nu, gamma=gamma).fit(x)
    try:
        model = fit(x, "scale")
    except ValueError as error:
        assert "not finite" in str(error)
        return result | {"error": True}
    decision = model.decision_function(q)
    determined, spread = True, 0.0
    for other_x, other_q, gamma in perturbed(x, q, 1 / (x.shape[1] * x.var())):
        other = fit(other_x, gamma)
        determined &= int(other.n_iter_) == int(model.n_iter_) and (other.support_.tolist() == model.support_.tolist())
        difference = np.abs(other.decision_function(other_q) - decision).max()
        spread = max(spread, difference / (np.abs(decision).max() or 1.0))
    return result | {
        "decision": decision.tolist(),
        "support": hash_indices(model.support_),
        "iterations": int(model.n_iter_),
        "offset": float(model.offset_[0]),
        "determined": bool(determined and spread < 1e-7),
        "spread": float(spread),
    }


@functools.lru_cache(None)
def log_kernel_integral(kernel, d):
    """Log of the integral of the kernel over d dimensions: surface of the sphere x radial integral."""
    surface = mpmath.log(2) + d / mpmath.mpf(2) * mpmath.log(mpmath.pi) - mpmath.loggamma(mpmath.mpf(d) / 2)
    if kernel == "gaussian":
        return d * mpmath.log(2 * mpmath.pi) / 2
    if kernel == "exponential":
        return surface + mpmath.loggamma(d)
    radial = {
        "tophat": lambda r: mpmath.mpf(1),
        "epanechnikov": lambda r: 1 - r * r,
        "linear": lambda r: 1 - r,
        "cosine": lambda r: mpmath.cos(mpmath.pi * r / 2),
    }[kernel]
    # r = 1 - s, scaled so that the mass near the surface of the ball is resolved for any d.
    cuts = [c / mpmath.mpf(d) for c in [0, 0.5, 1, 2, 4, 8, 16, 32, 64, 128, 256] if c < d] + [mpmath.mpf(1)]
    integral = mpmath.quad(lambda s: (1 - s) ** (d - 1) * radial(1 - s), cuts)
    return surface + mpmath.log(integral)


def density(x, q, kernel, bandwidth):
    n, d = x.shape
    h = {"scott": n ** (-1 / (d + 4)), "silverman": (n * (d + 2) / 4) ** (-1 / (d + 4))}.get(bandwidth, bandwidth)
    u = np.sqrt(((q[:, None] - x[None]) ** 2).sum(-1)) / h
    with np.errstate(all="ignore"):
        logs = {
            "gaussian": -0.5 * u**2,
            "tophat": np.zeros_like(u),
            "epanechnikov": np.log(1 - u**2),
            "exponential": -u,
            "linear": np.log(1 - u),
            "cosine": np.log(np.cos(np.pi / 2 * u)),
        }[kernel]
        if kernel not in ("gaussian", "exponential"):
            logs = np.where(u < 1, logs, -np.inf)
        norm = float(log_kernel_integral(kernel, d) + d * mpmath.log(mpmath.mpf(h)))
        exact = logsumexp(logs, axis=1) - norm - np.log(n)
        model = KernelDensity(kernel=kernel, bandwidth=bandwidth).fit(x)
        theirs = model.score_samples(q)
    usable = n <= 40 and np.isfinite(theirs).any()
    text = lambda values: [v if np.isfinite(v) else None for v in values.tolist()]
    return {
        "kernel": kernel,
        "bandwidth": bandwidth,
        "h": h,
        "log_density": text(exact),
        "sklearn": text(theirs) if usable else None,
    }


def main():
    warnings.simplefilter("ignore")
    cases = []
    for name, kind, seed, n, d, scale in [
        ("wide", "rectified", 10, 40, 300, 1.0),
        ("tall", "plain", 30, 200, 5, 1.0),
        ("duplicates", "duplicates", 50, 60, 4, 1.0),
        ("constant columns", "constant", 70, 50, 10, 1.0),
        ("offset", "offset", 90, 120, 30, 1.0),
        ("long", "rectified", 110, 300, 24, 1.0),
        # Within reach of kernels of finite support.
        ("close", "plain", 130, 40, 3, 0.5),
        ("close and wide", "plain", 150, 40, 60, 0.05),
    ]:
        x, q = rows(kind, seed, n, d) * scale, queries(kind, seed + 8, d) * scale
        settings = [("linear", 3), ("rbf", 3), ("sigmoid", 3)] + [("poly", degree) for degree in DEGREES]
        case = {"name": name, "kind": kind, "seed": seed, "n": n, "d": d, "scale": scale}
        case["first"], case["last_query"] = x[0, 0], q[-2].tolist()[-1]
        # High degrees hardly converge: they are run into a larger limit instead.
        case["svm"] = [svm(x, q, k, g, limit) for k, g in settings for limit in (1000, -1 if g == 3 else 5000)]
        case["svm"] += [svm(x, q, k, 3, -1, nu) for k in ("linear", "rbf") for nu in (0.1, 0.33, 0.9)]
        case["lof"] = []
        for k in NEIGHBORS:
            model = LocalOutlierFactor(n_neighbors=k, novelty=True).fit(x)
            case["lof"].append({
                "k": k,
                "query": (-model.score_samples(q)).tolist(),
                "train": (-model.negative_outlier_factor_[:12]).tolist(),
            })
        case["density"] = [density(x, q, k, h) for h in (0.5, 1.0, "scott", "silverman") for k in KERNELS]
        cases.append(case)
        undetermined = [(s["kernel"], s["degree"], s["max_iter"], f"{s['spread']:.1e}")
                        for s in case["svm"] if not s.get("determined", True)]
        print(name, "undetermined:", undetermined, flush=True)

    aurocs = []
    for seed, n, levels in [(1, 30, 4), (2, 83, 7), (3, 200, 10**6), (4, 57, 2), (5, 12, 1)]:
        scores = [uniform(seed, i, 0) % levels for i in range(n)]
        labels = [uniform(seed, i, 1) % 3 == 0 for i in range(n)]
        aurocs.append({"seed": seed, "n": n, "levels": levels, "auroc": float(roc_auc_score(labels, scores))})

    cosine = [[d, float(log_kernel_integral("cosine", d))] for d in (1, 2, 3, 10, 100, 1000, 50176, 802816, 10**6)]
    path = pathlib.Path(__file__).with_suffix(".json")
    result = shortened({"cases": cases, "aurocs": aurocs, "cosine": cosine}, 13, {"first", "last_query", "h", "auroc"})
    path.write_text(json.dumps(result, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
