"""Makes forest_real.json: isolation forests of scikit-learn, many on real features, and some node by node.

    ./regenerate.sh forest_real        (scikit-learn 1.2.2, compared with 1.9.1; needs BLEMISH_TEST_DATA)

`means` holds mean and variance over 50 seeds of each test row's score. `forests` holds whole forests, with scores of
rows that lie on both sides of, and as near as can be to, the thresholds: what the path lengths of a given forest are.
"""
import numpy as np
import sklearn
from sklearn.ensemble import IsolationForest

from inputs import adbench, bell, finish, short

SEEDS = 50
TREES = 100


def mean_scores(name):
    train, test, _ = adbench(name)
    train, test = train.astype(np.float32), test.astype(np.float32)
    fit = lambda seed: IsolationForest(n_estimators=TREES, random_state=seed).fit(train)
    scores = np.array([-fit(seed).score_samples(test) for seed in range(SEEDS)])
    print(name, "standard error", (scores.std(0, ddof=1) / SEEDS**0.5).mean(), flush=True)
    return {
        "name": name,
        "rows": list(train.shape),
        "trees": TREES,
        "seeds": SEEDS,
        "mean": [short(v, 9) for v in scores.mean(0)],
        "variance": [short(v, 6) for v in scores.var(0, ddof=1)],
    }


def forest(name, train, trees, max_samples):
    train = train.astype(np.float32)
    model = IsolationForest(n_estimators=trees, max_samples=max_samples, random_state=1).fit(train)
    structures, rows = [], list(train[:4]) + [train[0] + 100, train[1] - 100]
    for estimator, features in zip(model.estimators_, model.estimators_features_):
        assert features.tolist() == list(range(train.shape[1]))
        tree = estimator.tree_
        if tree.children_left[0] >= 0:
            # The f32 values next to the root's threshold, below and above.
            at = np.float32(tree.threshold[0])
            for value in (at, np.nextafter(at, np.float32(-np.inf)), np.nextafter(at, np.float32(np.inf))):
                row = train[3].copy()
                row[tree.feature[0]] = value
                rows.append(row)
        structures.append({
            "left": tree.children_left.tolist(),
            "right": tree.children_right.tolist(),
            "feature": tree.feature.tolist(),
            "threshold": tree.threshold.tolist(),
            "samples": tree.n_node_samples.tolist(),
        })
    rows = np.array(rows)
    return {
        "name": name,
        "max_samples": int(model.max_samples_),
        "columns": train.shape[1],
        "trees": structures,
        "rows": [[float(v) for v in row] for row in rows],
        "scores": (-model.score_samples(rows)).tolist(),
    }


def main():
    repeated = bell(210, 40, 3)[np.arange(40) % 5]
    result = {
        "means": [mean_scores(name) for name in ("bottle", "hazelnut", "screw", "transistor")],
        "forests": [
            forest("deep", bell(200, 60, 3), 3, 48),
            forest("duplicates", repeated, 3, 40),
            forest("two rows", bell(220, 30, 2), 4, 2),
            forest("five rows", bell(230, 30, 2), 4, 5),
            forest("constant", np.full((20, 2), 3.0), 2, 16),
        ],
    }
    finish(__file__, result, 1e-6)


if __name__ == "__main__":
    main()
