//! How well scores tell defective rows from good ones.

use crate::DetectorError;

/// Area under the ROC curve with the defective rows as positives: the probability that a defective row
/// scores higher than a good one, ties counting half (Mann-Whitney with midranks; scikit-learn's
/// `roc_auc_score`).
///
/// Scores that are not finite are taken as the study took them (`numpy.nan_to_num`): NaN as 0, infinities as the
/// largest finite number of their sign; [`count_non_finite`] tells how many there are.
///
/// # Errors
/// If lengths differ, or if there is no good or no defective row.
pub fn auroc(scores: &[f64], defective: &[bool]) -> Result<f64, DetectorError> {
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
    order.sort_by(|a, b| a.0.total_cmp(&b.0));
    // Twice the midranks, in integers: exact for any number of rows.
    let mut twice_ranks: u128 = 0;
    let mut start = 0;
    while start < order.len() {
        let mut end = start + 1;
        while end < order.len() && order[end].0 == order[start].0 {
            end += 1;
        }
        let in_tie = order[start..end].iter().filter(|(_, d)| *d).count();
        twice_ranks += (in_tie * (start + end + 1)) as u128;
        start = end;
    }
    let twice_u = twice_ranks - (positives * (positives + 1)) as u128;
    Ok(twice_u as f64 / (2 * positives as u128 * negatives as u128) as f64)
}

/// How many scores are NaN or infinite.
pub fn count_non_finite(scores: &[f64]) -> usize {
    scores.iter().filter(|s| !s.is_finite()).count()
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
}
