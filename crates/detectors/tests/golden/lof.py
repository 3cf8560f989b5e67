"""Makes lof.json: local outlier factors of scikit-learn on real features and on ties and duplicates.

    ./regenerate.sh lof        (scikit-learn 1.2.2, compared with 1.9.1; needs BLEMISH_TEST_DATA)

Above 15 columns scikit-learn finds neighbours by `|x|^2 + |y|^2 - 2 <x, y>` (`brute`), which leaves equal rows at
distances of about 1e-7 instead of 0, and below by a tree, which takes differences. Golden values are those of the
tree, and `agree` is how far `brute` is from them, at most, in parts of the largest factor.

Of other rows than duplicates, equally far from a row as its k-th neighbour, scikit-learn keeps whichever its heap
keeps, which depends on their order and on the algorithm: factors change when training rows are permuted. For `ties`
(whole numbers in few levels, so that nearly all distances are tied and exact) it is fitted with the training rows in
many orders by both algorithms, and the golden values are the lowest and the highest factor of each row. (Their numbers
are powers of two, so that means of columns, and with them products about the means, are exact too.)
"""
import numpy as np
from sklearn.neighbors import LocalOutlierFactor

from inputs import OBJECTS, adbench, bell, finish, mix, short, sketch

NEIGHBORS = [1, 2, 8, 32, 64]
TIED_NEIGHBORS = [1, 2, 5, 13, 29]
#: Orders of the training rows, and how many of those rows are looked at.
ORDERS = 100
TIED_ROWS = 10


def factors(x, q, k, algorithm):
    model = LocalOutlierFactor(n_neighbors=k, novelty=True, algorithm=algorithm).fit(x)
    return -model.score_samples(q), -model.negative_outlier_factor_


def case(name, x, q, real=False, neighbors=NEIGHBORS):
    runs = []
    for k in neighbors:
        query, train = factors(x, q, k, "kd_tree")
        other = factors(x, q, k, "brute")
        apart = [np.abs(a - b).max() / np.abs(a).max() for a, b in zip((query, train), other)]
        runs.append({
            "k": k,
            "query": sketch(query),
            "train": sketch(train),
            "agree": float(f"{max(apart):.2g}"),
        })
    print(name, "tree and products differ by", *(r["agree"] for r in runs), flush=True)
    return {"name": name, "real": real, "rows": list(x.shape), "runs": runs}


def ties(name, x, q):
    """Lowest and highest factors over orders of the training rows."""
    n, runs = len(x), []
    orders = [np.arange(n)] + [np.array(sorted(range(n), key=lambda i: mix(90 + o, i, 3))) for o in range(ORDERS - 1)]
    for k in TIED_NEIGHBORS:
        found = []
        for order in orders:
            for algorithm in ("brute", "kd_tree"):
                query, train = factors(x[order], q, k, algorithm)
                in_place = np.empty(n)
                in_place[order] = train
                found.append(np.concatenate([query, in_place[:TIED_ROWS]]))
        found = np.array(found)
        low, high = found.min(0), found.max(0)
        runs.append({"k": k, "low": [short(v) for v in low], "high": [short(v) for v in high]})
        print(name, k, f"depends on order: {(high - low > 1e-9).mean():.0%} of rows, by {((high - low) / high).max():.1e}")
    return {"name": name, "rows": list(x.shape), "runs": runs}


def grid(seed, n, d, levels):
    """Whole numbers, few of them: nearly all distances are tied, and products are exact."""
    return np.array([[float(mix(seed, i, j) % levels) for j in range(d)] for i in range(n)])


def main():
    cases = []
    for name in OBJECTS:
        train, test, _ = adbench(name)
        # Real rows have no duplicates, but nearly equal ones, between which products lose digits.
        cases.append(case(name, train, test, real=True))
    tied = [
        ties("few columns", grid(1, 64, 3, 4), grid(2, 15, 3, 4)),
        ties("more rows", grid(3, 256, 3, 4), grid(4, 15, 3, 5)),
        ties("many columns", grid(5, 128, 20, 2), grid(6, 15, 20, 2)),
    ]
    for name, d in (("duplicates, few columns", 4), ("duplicates, many columns", 40)):
        x = bell(40 + d, 90, d)
        x = x[np.array([i if i % 4 else i % 12 for i in range(90)])]
        q = np.vstack([x[:6], bell(50 + d, 10, d)])
        cases.append(case(name, x, q, neighbors=[1, 2, 3, 5, 8, 13, 29, 63]))
    x, q = bell(60, 50, 6), bell(68, 12, 6)
    constant = x.copy()
    constant[:, 1:] = -3.0
    cases.append(case("one column varies", constant, q))
    cases.append(case("equal rows", np.full((30, 5), 0.5), q[:, :5]))
    cases.append(case("two rows", x[:2], q))
    cases.append(case("one column", x[:, :1], q[:, :1]))
    cases.append(case("many columns", bell(70, 12, 3000), bell(78, 12, 3000)))
    cases.append(case("far off", x * 1e-3 + 1e5, q * 1e-3 + 1e5))
    finish(__file__, {"cases": cases, "ties": tied}, 1e-9, ignore=["agree"])


if __name__ == "__main__":
    main()
