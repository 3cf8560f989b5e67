//! From training scores to a decision threshold.

use crate::DetectorError;

/// The score that the part `contamination`, above 0 and at most 0.5, of the training scores lies above: their
/// percentile, linear between ranks, as in scikit-learn's `offset_` (of scores with the opposite sign).
///
/// Scores may be infinite; there must be at least one, and none may be NaN.
pub(crate) fn by_contamination(train_scores: &[f64], contamination: f64) -> Result<f64, DetectorError> {
    check_contamination(contamination)?;
    let mut descending = train_scores.to_vec();
    descending.sort_unstable_by(|a, b| b.total_cmp(a));
    let Some(last) = descending.len().checked_sub(1) else {
        return Err(DetectorError::Empty {
            what: "the training scores".into(),
            rows: 0,
            columns: 1,
        });
    };
    let position = contamination * last as f64;
    let rank = (position.floor() as usize).min(last);
    let (above, below) = (descending[rank], descending[(rank + 1).min(last)]);
    let t = position - rank as f64;
    // Equal infinities have no difference. Else as numpy rounds.
    Ok(if above == below || t == 0.0 {
        above
    } else if t < 0.5 {
        above + (below - above) * t
    } else {
        below - (below - above) * (1.0 - t)
    })
}

pub(crate) fn check_contamination(contamination: f64) -> Result<(), DetectorError> {
    if contamination > 0.0 && contamination <= 0.5 {
        return Ok(());
    }
    Err(DetectorError::Parameter {
        name: "contamination",
        value: contamination.to_string(),
        expected: "above 0 and at most 0.5",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_are_percentiles() {
        // -numpy.percentile([-1, -2, -3, -4, -10], 100 c) for c = 0.1, 0.25, 0.3, 0.5.
        let scores = [3.0, 1.0, 10.0, 2.0, 4.0];
        for (contamination, expected) in [(0.1, 7.6), (0.25, 4.0), (0.3, 3.8), (0.5, 3.0)] {
            let found = by_contamination(&scores, contamination).unwrap();
            assert!((found - expected).abs() < 1e-12, "{contamination}: {found}");
        }
        assert_eq!(by_contamination(&[7.0], 0.1), Ok(7.0));
        let infinite = [f64::INFINITY; 4];
        assert_eq!(by_contamination(&infinite, 0.3), Ok(f64::INFINITY));
        assert_eq!(
            by_contamination(&[f64::INFINITY, 1.0, 2.0], 0.25),
            Ok(f64::INFINITY)
        );
        assert!(by_contamination(&[], 0.1).is_err());
        for bad in [0.0, 0.6, f64::NAN] {
            assert!(by_contamination(&scores, bad).is_err());
        }
    }
}
