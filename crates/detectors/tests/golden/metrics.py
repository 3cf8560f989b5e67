"""Makes metrics.json: ranking metrics of scikit-learn, with ties.

    ./regenerate.sh metrics        (scikit-learn 1.2.2, compared with 1.9.1)

Scores are multiples of 1/1024, so that reading them from text changes nothing. `defective` are the labels; higher
scores are more anomalous. For each case:

- `auroc`, `average_precision`: `roc_auc_score`, `average_precision_score`;
- `pr`: `precision_recall_curve` as it is returned: thresholds ascending, and one more precision (1) and recall (0)
  at the end;
- `roc`: `roc_curve(drop_intermediate=False)` without its first point (0, 0), whose threshold is not a score
  (`max + 1` in 1.2.2, infinity since 1.3); thresholds descending;
- `f1_max`, the largest F1 over the thresholds of `pr`, compared exactly as 2 TP / (2 TP + FP + FN); `f1_threshold`
  the lowest threshold that reaches it (the first, as `argmax` finds it), `f1_thresholds` all that do.
"""
from fractions import Fraction

import numpy as np
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

from inputs import finish, mix


def case(name, scores, labels):
    scores, labels = np.array(scores, dtype=np.float64), np.array(labels, dtype=bool)
    precision, recall, thresholds = precision_recall_curve(labels, scores)
    fpr, tpr, roc_thresholds = roc_curve(labels, scores, drop_intermediate=False)

    def f1(threshold):
        predicted = scores >= threshold
        wrong = int((predicted != labels).sum())
        hits = int((predicted & labels).sum())
        return Fraction(2 * hits, 2 * hits + wrong)

    # Once more by precision and recall, as one would from the curve.
    with np.errstate(invalid="ignore"):
        by_curve = np.nan_to_num(2 * precision * recall / (precision + recall))[:-1]
    values = [f1(t) for t in thresholds]
    assert np.allclose([float(v) for v in values], by_curve, rtol=1e-14, atol=0)
    best = [float(t) for t, v in zip(thresholds, values) if v == max(values)]
    return {
        "name": name,
        "scores": scores.tolist(),
        "defective": labels.tolist(),
        "auroc": float(roc_auc_score(labels, scores)),
        "average_precision": float(average_precision_score(labels, scores)),
        "f1_max": float(max(values)),
        "f1_threshold": best[0],
        "f1_thresholds": best,
        "pr": {"precision": precision.tolist(), "recall": recall.tolist(), "thresholds": thresholds.tolist()},
        "roc": {"fpr": fpr[1:].tolist(), "tpr": tpr[1:].tolist(), "thresholds": roc_thresholds[1:].tolist()},
    }


def drawn(name, seed, n, levels, one_in, shift=0):
    """Scores of so many levels, one row in so many defective; defective ones are moved up by `shift` levels."""
    labels = [mix(seed, i, 1) % one_in == 0 for i in range(n)]
    scores = [(mix(seed, i, 0) % levels + shift * label) / 1024 for i, label in enumerate(labels)]
    return case(name, scores, labels)


def main():
    few = [False, False, True, True]
    cases = [
        case("the documentation's example", [0.125, 0.375, 0.3125, 0.75], few),
        case("perfect", [1, 2, 3, 4], few),
        case("inverted", [4, 3, 2, 1], few),
        case("all tied", [5] * 6, [True, False, False, True, False, False]),
        case("two rows", [0, 1], [False, True]),
        case("two tied rows", [1, 1], [False, True]),
        case("tie across the classes", [0, 1, 1, 1, 2], [False, False, True, False, True]),
        case("one defective, lowest", [-3, 1, 2, 2, 5], [True, False, False, False, False]),
        case("one good, highest", [-3, 1, 2, 2, 5], [True, True, True, True, False]),
        case("negative and zeros of both signs", [-0.0, 0.0, -1, 1, 0.0, -0.0, -2], [1, 0, 0, 1, 1, 0, 1]),
        case("extremes, as nan_to_num leaves them", [np.finfo(float).max, 0, -np.finfo(float).max, 1, np.finfo(float).max, 0],
             [True, False, False, True, False, True]),
        case("two thresholds reach the same F1", [1, 2, 3, 4, 5], [False, True, False, False, True]),
        drawn("2 levels", 1, 40, 2, 3),
        drawn("4 levels", 2, 37, 4, 3, 1),
        drawn("7 levels, rare", 3, 60, 7, 9, 2),
        drawn("12 levels, mostly defective", 4, 45, 12, 2, 4),
        drawn("hardly a tie", 5, 60, 5000, 3, 1500),
        drawn("no tie, no skill", 6, 50, 10**9, 4),
    ]
    finish(__file__, {"cases": cases}, 1e-14)


if __name__ == "__main__":
    main()
