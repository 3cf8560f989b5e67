"""Makes envelope.json: principal components of real features by numpy, and scikit-learn's elliptic envelope on them.

    ./regenerate.sh envelope        (scikit-learn 1.2.2, compared with 1.9.1; needs BLEMISH_TEST_DATA)

Components come from numpy's singular value decomposition of the centred rows in f64; the largest entry, in magnitude,
of each left vector is made positive. `projection` are sums with pseudo-random signs over the projection onto the
first k left vectors, which says what subspace it is whatever the signs.

Each envelope is fitted with random_state 0..59 (0..19 above 500 rows). Where all agree, `all` is their result. Where they do not,
`spread` lists the different results, each with how often it was found (or, where there are more than twenty, those of
the first twenty seeds): the log-determinant of the covariance, the location and the variance of the first and
the last component, and the scores of five test rows.

Newer versions correct otherwise (by the factor of Croux and Haesbroeck, also after reweighting). For the comparison
their search is kept, with the corrections of 1.2.2, which are ours; how far results are without is printed.
"""
import warnings

import numpy as np
from scipy.stats import chi2
from sklearn.covariance import EllipticEnvelope

from inputs import IS_REFERENCE, OBJECTS, adbench, finish, mix, short, sketch

SEEDS = 60
LISTED = 20


def components(train, test):
    mean = train.mean(0)
    u, s, vt = np.linalg.svd(train - mean, full_matrices=False)
    signs = np.array([1.0 if u[np.abs(u[:, c]).argmax(), c] > 0 else -1.0 for c in range(u.shape[1])])
    return u * signs, s, ((test - mean) @ vt.T) * signs


def pca(name, train, test):
    n = len(train)
    u, s, query = components(train, test)
    signs = np.array([[1.0 if mix(8, k, i) & 1 else -1.0 for i in range(n)] for k in range(2)])
    # Three objects have equal rows, so that fewer than n - 1 components vary.
    rank = int((s > 1e-9 * s[0]).sum())
    return {
        "name": name,
        "rows": list(train.shape),
        "rank": rank,
        "variance": sketch(s[: n - 1] ** 2 / (n - 1)),
        "parts": [
            {
                "k": k,
                "gap": short(min(above, below), 3),
                "projection": [short(a @ u[:, :k] @ (u[:, :k].T @ b)) for a in signs for b in signs],
                "train": sketch((u * s)[:, k - 1]),
                "query": sketch(query[:, k - 1]),
            }
            for k, above, below in [(k, *gaps(s, k, rank)) for k in (1, 4, 32, n // 2, rank)]
        ],
    }


def gaps(s, k, rank):
    """How far the variance of component k is from those of its neighbours, in parts of the largest. What rounding
    errors in products do to a component is in inverse proportion to the smaller."""
    variances = np.append(s[:rank] ** 2 / s[0] ** 2, 0.0)
    return variances[k - 2] - variances[k - 1] if k > 1 else 1.0, variances[k - 1] - variances[k]


class Corrected(EllipticEnvelope):
    """With the corrections of 1.2.2: the median distance before, nothing after reweighting."""

    def correct_covariance(self, data):
        correction = np.median(self.dist_) / chi2(data.shape[1]).isf(0.5)
        self.dist_ /= correction
        return self.raw_covariance_ * correction

    def reweight_covariance(self, data):
        mask = self.dist_ < chi2(data.shape[1]).isf(0.025)
        location, covariance = data[mask].mean(0), np.atleast_2d(np.cov(data[mask].T, bias=True))
        self._set_covariance(covariance)
        self.location_, self.support_ = location, mask
        centred = data - location
        self.dist_ = (centred @ self.get_precision() * centred).sum(1)
        return location, covariance, mask


def fit(x, q, seed, corrected=not IS_REFERENCE):
    estimator = Corrected if corrected else EllipticEnvelope
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = estimator(random_state=seed).fit(x)
    return model.location_, model.covariance_, -model.score_samples(q), -float(model.offset_)


def envelope(name, train, test, k):
    u, s, query = components(train, test)
    k = min(k, len(s))
    x, q = (u * s)[:, :k], query[:, :k]
    if k == len(s):
        # All components: the last has no variance but rounding errors, which ours has not.
        x[:, -1], q[:, -1] = 0.0, 0.0
    fits = [fit(x, q, seed) for seed in range(SEEDS if len(x) <= 500 else LISTED)]
    result = {"name": name, "rows": list(train.shape), "k": k}
    scale = np.abs(fits[0][1]).max()
    apart = max(np.abs(f[1] - fits[0][1]).max() for f in fits) / scale
    different = len({f"{f[1][0, 0]:.9e} {f[0][0]:.6e}" for f in fits})
    print(name, x.shape, f"{different} different results, covariances up to {apart:.1e} apart", flush=True)
    if not IS_REFERENCE and apart < 1e-9:
        without = fit(x, q, 0, corrected=False)[2]
        ratios = without / fits[0][2]
        print(f"  scores without the corrections of 1.2.2 are {ratios.min():.3f} to {ratios.max():.3f} of those with")
    if apart < 1e-9:
        location, covariance, scores, threshold = fits[0]
        # The mean of all rows is 0, but for rounding.
        location = np.where(np.abs(location) < 1e-9 * np.abs(covariance).max() ** 0.5, 0.0, location)
        return result | {"all": {
            "location": sketch(location),
            "covariance": sketch(covariance.ravel()),
            "scores": sketch(scores),
            "threshold": short(threshold),
        }}
    at = [i * (len(q) - 1) // 4 for i in range(5)]
    rows = [
        [short(v, 9) for v in (np.linalg.slogdet(c)[1], l[0], l[-1], c[0, 0], c[-1, -1], *scores[at])]
        for l, c, scores, _ in fits
    ]
    groups = []
    for row in rows:
        for group in groups:
            if np.allclose(group["values"], row, rtol=1e-7, atol=1e-7):
                group["count"] += 1
                break
        else:
            groups.append({"count": 1, "values": row})
    if len(groups) > LISTED:
        groups = [{"count": 1, "values": row} for row in rows[:LISTED]]
    return result | {"spread": groups}


def pooled(names):
    """Normal and defective rows of several objects, one after another."""
    parts = [adbench(name) for name in names]
    return tuple(np.concatenate([p[i] for p in parts]) for i in range(2))


def main():
    parts = {name: adbench(name)[:2] for name in OBJECTS}
    envelopes = []
    for name in OBJECTS:
        train, test = parts[name]
        for k in (1, 4, 24) if name in ("bottle", "hazelnut", "toothbrush", "wood") else (8,):
            envelopes.append(envelope(name, train, test, k))
    envelopes.append(envelope("toothbrush", *parts["toothbrush"], 256))
    # More than 500 rows, in two subsets and in six, and merged by way of 1500 rows.
    for names, k in [("hazelnut screw", 3), ("hazelnut screw", 12), ("bottle cable capsule carpet grid hazelnut leather", 3),
                     ("bottle cable capsule carpet grid hazelnut leather metal_nut pill screw", 6)]:
        envelopes.append(envelope(names, *pooled(names.split()), k))
    result = {"components": [pca(name, *parts[name]) for name in OBJECTS], "envelopes": envelopes}
    finish(__file__, result, 1e-6)


if __name__ == "__main__":
    main()
