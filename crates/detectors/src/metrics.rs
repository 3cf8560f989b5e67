//! How well scores tell defective rows from good ones.

mod pixels;
mod regions;

use serde::{Deserialize, Serialize};

pub use pixels::{MapPixels, PixelIntervals, PixelMetrics, pixel_metric_intervals, pixel_metrics};
pub use regions::Regions;

use crate::DetectorError;

/// Area under the ROC curve with the defective rows as positives: the probability that a defective row
/// scores higher than a good one, ties counting half (Mann-Whitney with midranks; scikit-learn's
/// `roc_auc_score`).
///
/// Scores that are not finite are taken as the study took them (`numpy.nan_to_num`): NaN as 0, infinities as the
/// largest finite number of their sign; [`count_non_finite`] tells how many there are. That holds for every metric
/// here.
///
/// # Errors
/// If lengths differ, or if there is no good or no defective row.
pub fn auroc(scores: &[f64], defective: &[bool]) -> Result<f64, DetectorError> {
    let steps = Steps::of(scores, defective)?;
    // Twice the pairs in order, in integers: exact for any number of rows.
    let mut twice_ordered: u128 = 0;
    let (mut above, mut good_above) = (0, 0);
    for step in &steps.steps {
        let (tied, good_tied) = (step.defective - above, step.good - good_above);
        twice_ordered += good_tied as u128 * (2 * above + tied) as u128;
        (above, good_above) = (step.defective, step.good);
    }
    Ok(twice_ordered as f64 / (2 * steps.defective as u128 * steps.good as u128) as f64)
}

/// Average precision with the defective rows as positives: the precision at each distinct score, weighted by the
/// recall gained there (scikit-learn's `average_precision_score`; no interpolation).
///
/// # Errors
/// As [`auroc`].
pub fn average_precision(scores: &[f64], defective: &[bool]) -> Result<f64, DetectorError> {
    let steps = Steps::of(scores, defective)?;
    let mut before = 0;
    let mut sum = 0.0;
    for step in &steps.steps {
        sum += (step.defective - before) as f64 * step.precision();
        before = step.defective;
    }
    Ok(sum / steps.defective as f64)
}

/// The best that a threshold could do on labelled rows. Chosen on those rows, it is an upper bound, not an estimate.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct F1Max {
    /// The largest F1 score, the harmonic mean of precision and recall, in (0, 1].
    pub f1: f64,
    /// The smallest of the scores that reach it: rows that score this or more are called defective.
    pub threshold: f64,
}

/// The largest F1 score over all thresholds, with the defective rows as positives.
///
/// # Errors
/// As [`auroc`].
pub fn f1_max(scores: &[f64], defective: &[bool]) -> Result<F1Max, DetectorError> {
    let steps = Steps::of(scores, defective)?;
    // F1 = 2 tp / (tp + fp + positives), compared without rounding.
    let parts = |s: &Step| {
        (
            s.defective as u128,
            (s.defective + s.good + steps.defective) as u128,
        )
    };
    let mut best = steps.steps[0];
    for step in &steps.steps {
        let ((a, b), (best_a, best_b)) = (parts(step), parts(&best));
        if a * best_b >= best_a * b {
            best = *step;
        }
    }
    let (a, b) = parts(&best);
    Ok(F1Max {
        f1: 2.0 * a as f64 / b as f64,
        threshold: best.threshold,
    })
}

/// The ROC curve: one point for each distinct score, from the strictest threshold to the laxest, after the point
/// (0, 0).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RocCurve {
    /// The part of the good rows that score the threshold or more, ascending from 0 to 1.
    pub false_positive_rate: Vec<f64>,
    /// The part of the defective rows that do, ascending from 0 to 1.
    pub true_positive_rate: Vec<f64>,
    /// The thresholds, descending; the first, which no row reaches, is infinite.
    pub thresholds: Vec<f64>,
}

/// The ROC curve with the defective rows as positives (scikit-learn's `roc_curve` with `drop_intermediate=False`).
///
/// # Errors
/// As [`auroc`].
pub fn roc_curve(scores: &[f64], defective: &[bool]) -> Result<RocCurve, DetectorError> {
    let steps = Steps::of(scores, defective)?;
    let with_first = |first: f64, value: &dyn Fn(&Step) -> f64| {
        std::iter::once(first)
            .chain(steps.steps.iter().map(value))
            .collect()
    };
    Ok(RocCurve {
        false_positive_rate: with_first(0.0, &|s| s.good as f64 / steps.good as f64),
        true_positive_rate: with_first(0.0, &|s| s.defective as f64 / steps.defective as f64),
        thresholds: with_first(f64::INFINITY, &|s| s.threshold),
    })
}

/// The precision-recall curve: one point for each distinct score, from the laxest threshold to the strictest, and
/// the point (recall 0, precision 1) at the end, which has no threshold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PrecisionRecallCurve {
    /// The part of the rows that score the threshold or more which is defective; one more than thresholds.
    pub precision: Vec<f64>,
    /// The part of the defective rows that score the threshold or more, descending; one more than thresholds.
    pub recall: Vec<f64>,
    /// The thresholds, ascending.
    pub thresholds: Vec<f64>,
}

/// The precision-recall curve with the defective rows as positives (scikit-learn's `precision_recall_curve`).
///
/// # Errors
/// As [`auroc`].
pub fn precision_recall_curve(
    scores: &[f64],
    defective: &[bool],
) -> Result<PrecisionRecallCurve, DetectorError> {
    let steps = Steps::of(scores, defective)?;
    let lax_first = || steps.steps.iter().rev();
    let recall = |s: &Step| s.defective as f64 / steps.defective as f64;
    Ok(PrecisionRecallCurve {
        precision: lax_first().map(Step::precision).chain([1.0]).collect(),
        recall: lax_first().map(recall).chain([0.0]).collect(),
        thresholds: lax_first().map(|s| s.threshold).collect(),
    })
}

/// How many scores are NaN or infinite.
pub fn count_non_finite(scores: &[f64]) -> usize {
    scores.iter().filter(|s| !s.is_finite()).count()
}

/// How many rows score `threshold` or more.
#[derive(Clone, Copy)]
struct Step {
    threshold: f64,
    defective: usize,
    good: usize,
}

impl Step {
    fn precision(&self) -> f64 {
        self.defective as f64 / (self.defective + self.good) as f64
    }
}

/// What every metric counts.
struct Steps {
    /// One for each distinct score, descending; never empty.
    steps: Vec<Step>,
    defective: usize,
    good: usize,
}

impl Steps {
    fn of(scores: &[f64], defective: &[bool]) -> Result<Steps, DetectorError> {
        if scores.len() != defective.len() {
            return Err(DetectorError::Shape {
                what: "labels of the scores".into(),
                found: defective.len(),
                expected: scores.len(),
            });
        }
        let positives = defective.iter().filter(|d| **d).count();
        let negatives = defective.len() - positives;
        if positives == 0 || negatives == 0 {
            let missing = if positives == 0 { "defective" } else { "good" };
            return Err(DetectorError::OneClass {
                missing,
                rows: scores.len(),
            });
        }
        let mut order: Vec<(f64, bool)> = scores
            .iter()
            .map(|s| nan_to_num(*s))
            .zip(defective.iter().copied())
            .collect();
        order.sort_by(|a, b| b.0.total_cmp(&a.0));
        let mut steps: Vec<Step> = vec![];
        let mut count = Step {
            threshold: f64::INFINITY,
            defective: 0,
            good: 0,
        };
        for (score, is_defective) in order {
            if is_defective {
                count.defective += 1;
            } else {
                count.good += 1;
            }
            if score == count.threshold {
                steps.pop();
            }
            count.threshold = score;
            steps.push(count);
        }
        Ok(Steps {
            steps,
            defective: positives,
            good: negatives,
        })
    }
}

fn nan_to_num(score: f64) -> f64 {
    if score.is_nan() {
        return 0.0;
    }
    // Adding zero turns -0 into 0, which `total_cmp` would tell apart.
    score.clamp(f64::MIN, f64::MAX) + 0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_count_half_and_infinities_are_ordered() {
        let labels = [false, true, false, true];
        assert_eq!(auroc(&[0.0, 1.0, 0.0, 1.0], &labels), Ok(1.0));
        assert_eq!(auroc(&[1.0; 4], &labels), Ok(0.5));
        assert_eq!(auroc(&[0.0, -0.0, 0.0, -0.0], &labels), Ok(0.5));
        assert_eq!(
            auroc(&[f64::NAN, f64::INFINITY, 0.0, f64::INFINITY], &labels),
            Ok(1.0)
        );
        assert_eq!(
            auroc(&[f64::INFINITY, f64::NEG_INFINITY, 1.0, 2.0], &labels),
            Ok(0.25)
        );
        assert_eq!(count_non_finite(&[f64::NAN, 1.0, f64::NEG_INFINITY]), 2);
    }

    #[test]
    fn one_class_is_named() {
        let error = auroc(&[1.0, 2.0], &[false, false]).unwrap_err();
        assert!(error.to_string().contains("no defective row"), "{error}");
        let error = auroc(&[1.0, 2.0], &[true, true]).unwrap_err();
        assert!(error.to_string().contains("no good row"), "{error}");
    }

    #[test]
    fn curves_of_a_small_case_by_hand() {
        let scores = [0.1, 0.4, 0.35, 0.8];
        let defective = [false, false, true, true];
        let roc = roc_curve(&scores, &defective).unwrap();
        assert_eq!(roc.thresholds, [f64::INFINITY, 0.8, 0.4, 0.35, 0.1]);
        assert_eq!(roc.false_positive_rate, [0.0, 0.0, 0.5, 0.5, 1.0]);
        assert_eq!(roc.true_positive_rate, [0.0, 0.5, 0.5, 1.0, 1.0]);
        let curve = precision_recall_curve(&scores, &defective).unwrap();
        assert_eq!(curve.thresholds, [0.1, 0.35, 0.4, 0.8]);
        assert_eq!(curve.precision, [0.5, 2.0 / 3.0, 0.5, 1.0, 1.0]);
        assert_eq!(curve.recall, [1.0, 1.0, 0.5, 0.5, 0.0]);
        let average = average_precision(&scores, &defective).unwrap();
        assert!((average - (0.5 + 0.5 * 2.0 / 3.0)).abs() < 1e-15);
        let best = f1_max(&scores, &defective).unwrap();
        assert_eq!((best.f1, best.threshold), (0.8, 0.35));
    }

    #[test]
    fn of_equal_f1_scores_the_smallest_threshold_is_taken() {
        // Thresholds 3 and 1 both give F1 = 2/3.
        let best = f1_max(&[3.0, 2.0, 1.0, 2.0], &[true, false, true, false]).unwrap();
        assert_eq!((best.f1, best.threshold), (2.0 / 3.0, 1.0));
    }
}
