"""Makes density.json: kernel densities by exact log-sum-exp, normalised with 40 digits, and by scikit-learn.

    ./regenerate.sh density        (scikit-learn 1.2.2, compared with 1.9.1; needs BLEMISH_TEST_DATA)

Log densities are sums of numpy's in f64 over distances that are summed entry by entry, shifted by a normalisation
that mpmath integrates numerically. `sklearn` is the largest difference of `KernelDensity.score_samples` from them,
relative to the largest. Where all training rows are in one leaf (at most 40), or columns are few, it is rounding, as
is asserted; else its tree sums may be off (scikit-learn issue 27186). Its cosine kernel is not normalised: for even d
`_log_kernel_norm` leaves out the last term of the integration by parts, and for large d (odd or even) it overflows.
"""
import functools

import mpmath
import numpy as np
from scipy.special import logsumexp
from sklearn.neighbors import KernelDensity

from inputs import OBJECTS, adbench, bell, finish, short, sketch

mpmath.mp.dps = 40
KERNELS = ["gaussian", "tophat", "epanechnikov", "exponential", "linear", "cosine"]


@functools.lru_cache(None)
def log_integral(kernel, d):
    """Log of the kernel's integral over d dimensions: surface of the sphere times a radial integral.

    With r = exp(-t / d) the radial integral over [0, 1] is that of exp(-t) f(exp(-t / d)) / d over t >= 0, which is
    smooth for any d. (The integrals without support are gamma functions.)
    """
    d = mpmath.mpf(d)
    surface = mpmath.log(2) + d / 2 * mpmath.log(mpmath.pi) - mpmath.loggamma(d / 2)
    if kernel == "gaussian":
        return surface + (d / 2 - 1) * mpmath.log(2) + mpmath.loggamma(d / 2)
    if kernel == "exponential":
        return surface + mpmath.loggamma(d)
    value = {
        "tophat": lambda r: mpmath.mpf(1),
        "epanechnikov": lambda r: 1 - r * r,
        "linear": lambda r: 1 - r,
        "cosine": lambda r: mpmath.cos(mpmath.pi * r / 2),
    }[kernel]
    integral = mpmath.quad(lambda t: mpmath.exp(-t) * value(mpmath.exp(-t / d)), [0, 1, 2, 4, 8, 16, 32, 64, 100])
    return surface + mpmath.log(integral / d)


def distances(x, q):
    return np.array([[np.sqrt(((a - b) ** 2).sum()) for b in x] for a in q])


def width(bandwidth, n, d):
    return {"scott": n ** (-1 / (d + 4)), "silverman": (n * (d + 2) / 4) ** (-1 / (d + 4))}.get(bandwidth, bandwidth)


def density(x, q, r, kernel, bandwidth):
    n, d = x.shape
    h = width(bandwidth, n, d)
    u = r / h
    with np.errstate(all="ignore"):
        logs = {
            "gaussian": -0.5 * u**2,
            "tophat": np.zeros_like(u),
            "epanechnikov": np.log1p(-(u**2)),
            "exponential": -u,
            "linear": np.log1p(-u),
            # cos(pi u / 2) = sin(pi (1 - u) / 2), which is exact where u is nearly 1.
            "cosine": np.log(np.sin(np.pi / 2 * (1 - u))),
        }[kernel]
        if kernel not in ("gaussian", "exponential"):
            logs = np.where(u < 1, logs, -np.inf)
        norm = float(log_integral(kernel, d) + d * mpmath.log(mpmath.mpf(h)))
        exact = logsumexp(logs, axis=1) - norm - np.log(n)
        theirs = KernelDensity(kernel=kernel, bandwidth=bandwidth).fit(x).score_samples(q)
        # Their densities of 0 are not quite: sums that a tree began and took back.
        reached = np.isfinite(exact)
        off = np.abs(theirs - exact)[reached].max() / np.abs(exact[reached]).max() if reached.any() else 0.0
    if (n <= 40 or d <= 6) and (kernel != "cosine" or d in (1, 3)):
        assert off < 1e-12, (n, d, kernel, bandwidth, off)
    return {
        "kernel": kernel,
        "bandwidth": bandwidth,
        "h": short(h, 16),
        "score": sketch(-exact, 13),
        "sklearn": float(f"{off:.1e}") if np.isfinite(off) else None,
    }


def case(name, x, q, numbers, real=False):
    r = distances(x, q)
    runs = [density(x, q, r, kernel, h) for h in [*numbers, "scott", "silverman"] for kernel in KERNELS]
    off = {k: max(np.inf if run["sklearn"] is None else run["sklearn"] for run in runs if run["kernel"] == k)
           for k in KERNELS}
    print(name, "scikit-learn off by", *(f"{k} {v:.1e}" for k, v in off.items()), flush=True)
    return {"name": name, "real": real, "rows": list(x.shape), "runs": runs}


def main():
    cases = []
    for name in OBJECTS[::3]:
        train, test, _ = adbench(name)
        # A bandwidth that the kernels of finite support need to reach anything.
        reach = float(np.round(np.median(distances(train, test)), 2))
        cases.append(case(name, train, test, [1.0, reach], real=True))
    for name, seed, n, d, scale in [
        ("one leaf", 20, 40, 3, 0.5),
        ("few columns", 40, 300, 2, 0.5),
        ("one row", 60, 1, 4, 0.5),
        ("one column", 80, 60, 1, 1.0),
        ("one leaf, many columns", 100, 30, 2000, 0.015),
    ]:
        x, q = bell(seed, n, d) * scale, bell(seed + 8, 15, d) * scale
        cases.append(case(name, x, q, [0.25, 1.0]))
    x, q = bell(120, 50, 3), bell(128, 15, 3)
    cases.append(case("duplicates", x[np.arange(50) % 7], np.vstack([x[:5], q]), [0.5, 1.0]))
    constant = x.copy()
    constant[:, 1] = 4.0
    cases.append(case("constant column", constant, np.vstack([constant[:5], q]), [0.5, 1.0]))
    cases.append(case("far off", x * 2.0**-10 + 2.0**17, q * 2.0**-10 + 2.0**17, [2.0**-10, 2.0**-9]))

    # At the place of its only training row, the score of a density is the log of the kernel's integral.
    dimensions = [1, 2, 3, 10, 100, 512, 1000, 25088, 50176, 151296, 200704]
    integrals = [
        {"kernel": kernel, "dimensions": d, "log_integral": short(float(log_integral(kernel, d)), 16)}
        for kernel in KERNELS
        for d in dimensions
    ]
    finish(__file__, {"cases": cases, "integrals": integrals}, 1e-10, ignore=["sklearn"])


if __name__ == "__main__":
    main()
