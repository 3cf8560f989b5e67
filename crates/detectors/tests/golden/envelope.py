"""Makes envelope.json: principal components of real features by numpy, and scikit-learn's elliptic envelope on them.

    ./regenerate.sh envelope        (scikit-learn 1.2.2, compared with 1.9.1; needs BLEMISH_TEST_DATA)

Components come from numpy's singular value decomposition of the centred rows in f64; the largest entry, in magnitude,
of each left vector is made positive. `projection` are sums with pseudo-random signs over the projection onto the
first k left vectors, which says what subspace it is whatever the signs.

Each envelope is fitted with random_state 0..59. Where all sixty agree, `all` is their result. Where they do not,
`spread` lists, for each of the first twenty: the log-determinant of the covariance, the location and the variance of the first and
the last component, and the scores of five test rows.
"""
import warnings

import numpy as np
from sklearn.covariance import EllipticEnvelope

from inputs import OBJECTS, adbench, finish, mix, short, sketch

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
    largest = s[0]
    return {
        "name": name,
        "rows": list(train.shape),
        "variance": sketch(s[: n - 1] ** 2 / (n - 1)),
        "parts": [
            {
                "k": k,
                "gap": float(f"{(s[k - 1] - (s[k] if k < n - 1 else 0)) / largest:.1e}"),
                "projection": [short(a @ u[:, :k] @ (u[:, :k].T @ b)) for a in signs for b in signs],
                "train": sketch((u * s)[:, k - 1]),
                "query": sketch(query[:, k - 1]),
            }
            for k in (1, 4, 32, n - 1)
        ],
    }


def fit(x, q, seed):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = EllipticEnvelope(random_state=seed).fit(x)
    return model.location_, model.covariance_, -model.score_samples(q), -float(model.offset_)


def envelope(name, train, test, k):
    u, s, query = components(train, test)
    k = min(k, len(s))
    x, q = (u * s)[:, :k], query[:, :k]
    if k == len(s):
        # All components: the last has no variance but rounding errors, which ours has not.
        x[:, -1], q[:, -1] = 0.0, 0.0
    fits = [fit(x, q, seed) for seed in range(SEEDS)]
    result = {"name": name, "rows": list(train.shape), "k": k}
    scale = np.abs(fits[0][1]).max()
    apart = max(np.abs(f[1] - fits[0][1]).max() for f in fits) / scale
    different = len({f"{f[1][0, 0]:.9e} {f[0][0]:.6e}" for f in fits})
    print(name, x.shape, f"{different} different results, covariances up to {apart:.1e} apart", flush=True)
    if apart < 1e-9:
        location, covariance, scores, threshold = fits[0]
        return result | {"all": {
            "location": sketch(location),
            "covariance": sketch(covariance.ravel()),
            "scores": sketch(scores),
            "threshold": short(threshold),
        }}
    at = [i * (len(q) - 1) // 4 for i in range(5)]
    return result | {"spread": [
        [short(v, 9) for v in (np.linalg.slogdet(c)[1], l[0], l[-1], c[0, 0], c[-1, -1], *scores[at])]
        for l, c, scores, _ in fits[:LISTED]
    ]}


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
    # Where chance decides, the newer version's means are compared: they lie within the spread of the reference.
    finish(__file__, result, 1e-6, ignore=["/gap"], drawn="envelopes")


if __name__ == "__main__":
    main()
