"""Makes bootstrap.json: percentile intervals of scipy.stats.bootstrap.

    ./regenerate.sh bootstrap        (scipy 1.11.4 and scikit-learn 1.2.2)

A bootstrap is random: for each case, scipy computes `low` and `high` with twenty seeds, and what is kept is the mean
and the standard deviation of each over the seeds. Rows of several strata are several samples to scipy, which draws
each of them by itself.
"""
import numpy as np
from scipy.stats import bootstrap
from sklearn.metrics import roc_auc_score

from inputs import finish, mix

RESAMPLES = 4000
SEEDS = 20


def bell(seed, n, shift=0.0):
    """Bell-shaped around the shift, exactly representable."""
    return [sum(mix(seed + k, i, 0) for k in range(4)) * 2.0**-53 - 2.0 + shift for i in range(n)]


def case(name, statistic, samples, confidence):
    def value(*parts):
        if statistic == "mean":
            return np.concatenate(parts).mean()
        return roc_auc_score(np.repeat([0, 1], [len(p) for p in parts]), np.concatenate(parts))

    ends = []
    for seed in range(SEEDS):
        result = bootstrap(
            samples, value, n_resamples=RESAMPLES, confidence_level=confidence, method="percentile", vectorized=False,
            random_state=np.random.default_rng(seed),
        )
        ends.append(result.confidence_interval)
    mean, deviation = np.mean(ends, axis=0), np.std(ends, axis=0, ddof=1)
    return {
        "name": name,
        "statistic": statistic,
        "resamples": RESAMPLES,
        "confidence": confidence,
        "rows": [x for sample in samples for x in sample],
        "strata": [i for i, sample in enumerate(samples) for _ in sample],
        "value": float(value(*samples)),
        "low": [float(mean[0]), float(deviation[0])],
        "high": [float(mean[1]), float(deviation[1])],
    }


def main():
    near, far = bell(11, 25), bell(15, 40, 6.0)
    cases = [
        case("the mean of 30 rows", "mean", [bell(1, 30)], 0.95),
        case("the mean of two strata that lie apart", "mean", [near, far], 0.95),
        case("the same rows in one stratum", "mean", [near + far], 0.95),
        case("an area", "auroc", [bell(21, 20), bell(25, 63, 0.75)], 0.95),
        case("an area, 80 %", "auroc", [bell(21, 20), bell(25, 63, 0.75)], 0.8),
    ]
    finish(__file__, {"cases": cases}, 0.01)


if __name__ == "__main__":
    main()
