//! The threshold and what it means: conformal prediction from scores of good images alone.

use statrs::distribution::{Beta, ContinuousCDF};

use crate::Error;

/// The part of the intervals that must hold the achieved rate: 95 %.
const COVERAGE: f64 = 0.95;

/// A threshold with its guarantee, and the scores of good images that it was made from.
///
/// The scores are those of n good images, each by a detector that had not seen it. Let R be sorted, and
/// k = ceil((n + 1) (1 - rate)). If a new good image is exchangeable with the n (same part, same camera, same light) then
/// its score is above `R[k]` with probability at most (n + 1 - k) / (n + 1), which is at most the rate, whatever the
/// distribution of scores (Vovk, Gammerman and Shafer, *Algorithmic Learning in a Random World*, 2005). Over
/// the draw of the n images the rate that is really achieved follows a Beta(n + 1 - k, k) distribution, if scores are
/// continuous: that is where the interval comes from (Vovk, "Conditional validity of inductive conformal predictors",
/// 2012).
///
/// ```
/// use blemish::inspector::Calibration;
///
/// let scores: Vec<f64> = (1..=199).map(f64::from).collect();
/// let calibration = Calibration::new(scores, 0.01)?;
/// assert_eq!(calibration.threshold(), 198.0);
/// assert_eq!(calibration.guaranteed_rate(), 0.01);
/// assert!(calibration.is_defective(198.5));
/// assert_eq!(calibration.p_value(1000.0), 1.0 / 200.0);
/// # Ok::<(), blemish::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Calibration {
    /// Ascending.
    scores: Vec<f64>,
    rate: f64,
    /// k, from 1 to n.
    rank: usize,
}

impl Calibration {
    /// From scores of good images, each by a detector that had not seen it, and the part of good images, above 0 and
    /// below 1, that may be rejected.
    ///
    /// # Errors
    /// [`Error::Config`] if there is no score, one is NaN, or the rate is out of range.
    pub fn new(mut scores: Vec<f64>, rate: f64) -> Result<Calibration, Error> {
        check_rate(rate)?;
        if scores.is_empty() || scores.iter().any(|s| s.is_nan()) {
            return Err(Error::Config(
                "a threshold needs scores of good images, and none of them may be NaN".into(),
            ));
        }
        scores.sort_by(f64::total_cmp);
        let n = scores.len();
        let rank = rank(n, rate).min(n);
        Ok(Calibration { scores, rate, rank })
    }

    /// The scores, ascending.
    pub fn scores(&self) -> &[f64] {
        &self.scores
    }

    /// The requested part of good images that may be rejected.
    pub fn requested_rate(&self) -> f64 {
        self.rate
    }

    /// Scores above it are defects.
    pub fn threshold(&self) -> f64 {
        self.scores[self.rank - 1]
    }

    /// Whether a score is above the threshold.
    pub fn is_defective(&self, score: f64) -> bool {
        // NaN is no score of a good image.
        score > self.threshold() || score.is_nan()
    }

    /// The probability that a new good image is rejected is at most this. It is at most the requested rate, unless
    /// there are [too few images](Self::needed_images).
    pub fn guaranteed_rate(&self) -> f64 {
        let n = self.scores.len();
        (n + 1 - self.rank) as f64 / (n + 1) as f64
    }

    /// Between which rates the one lies that is achieved in the long run, in 95 of 100 fits on as many images.
    pub fn interval(&self) -> (f64, f64) {
        let n = self.scores.len();
        let Ok(beta) = Beta::new((n + 1 - self.rank) as f64, self.rank as f64) else {
            return (0.0, 1.0);
        };
        let tail = (1.0 - COVERAGE) / 2.0;
        (beta.inverse_cdf(tail), beta.inverse_cdf(1.0 - tail))
    }

    /// The least number of good images by which the requested rate can be promised, if there are fewer.
    pub fn needed_images(&self) -> Option<usize> {
        let needed = needed(self.rate);
        (self.scores.len() < needed).then_some(needed)
    }

    /// Whether all good images have the same score, as copies of one image have: the threshold then tells nothing.
    pub fn is_degenerate(&self) -> bool {
        self.scores.len() > 1 && self.scores.first() == self.scores.last()
    }

    /// The conformal p-value of a score: (1 + number of good images that score as high or higher) / (n + 1). That of a
    /// new good image is at most p with probability at most p.
    pub fn p_value(&self, score: f64) -> f64 {
        let below = self.scores.partition_point(|s| *s < score);
        let n = self.scores.len();
        (1 + n - below) as f64 / (n + 1) as f64
    }

    /// The same scores with another requested rate.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_rate(&self, rate: f64) -> Result<Calibration, Error> {
        Calibration::new(self.scores.clone(), rate)
    }

    /// What the threshold means, in words.
    pub fn in_words(&self) -> String {
        let n = self.scores.len();
        let (low, high) = self.interval();
        let percent = |rate: f64| percent(100.0 * rate);
        let mut text = format!(
            "threshold {:.4}: a new good image scores above it with a probability of at most {} \
             (from {n} good images, each scored by what others teach); the rate in the long run lies between {} and {} \
             with 95 % confidence",
            self.threshold(),
            percent(self.guaranteed_rate()),
            percent(low),
            percent(high),
        );
        if self.is_degenerate() {
            text.push_str(
                "; all good images have the same score, as copies of one image have: whatever differs from them at all is \
                 called defective",
            );
        }
        if let Some(needed) = self.needed_images() {
            text.push_str(&format!(
                "; {n} images are too few to promise the requested {}: that takes {needed}",
                percent(self.rate)
            ));
        }
        text
    }
}

fn percent(value: f64) -> String {
    if value >= 0.095 {
        format!("{value:.1} %")
    } else {
        format!("{value:.2} %")
    }
}

/// Which of the ascending scores is the threshold, from 1; n + 1 if none is high enough.
fn rank(n: usize, rate: f64) -> usize {
    // 200 * (1 - 0.01) is 198.00000000000003 or 197.99999999999997, and neither is 199.
    let exact = (n + 1) as f64 * (1.0 - rate);
    let rounded = exact.round();
    let rank = if (exact - rounded).abs() < 1e-9 * (n + 1) as f64 {
        rounded
    } else {
        exact.ceil()
    };
    (rank as usize).clamp(1, n + 1)
}

fn needed(rate: f64) -> usize {
    // The least n with rank(n) <= n: (n + 1) rate >= 1.
    let guess = (1.0 / rate).ceil() as usize;
    (guess.saturating_sub(2).max(1)..)
        .find(|n| rank(*n, rate) <= *n)
        .unwrap_or(guess)
}

pub(crate) fn check_rate(rate: f64) -> Result<(), Error> {
    // Below a millionth a lifetime of images would not do.
    if (1e-6..1.0).contains(&rate) {
        return Ok(());
    }
    Err(Error::Config(format!(
        "a false-reject rate of {rate} is none: give a number from 0.000001 to below 1, such as 0.01 for one good image \
         in a hundred"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_have_the_rank_that_the_guarantee_needs() {
        let calibration =
            |n: usize, rate| Calibration::new((1..=n).map(|v| v as f64).collect(), rate).unwrap();
        // ceil(210 * 0.99) = 208.
        let bottle = calibration(209, 0.01);
        assert_eq!(bottle.threshold(), 208.0);
        assert!(bottle.guaranteed_rate() <= 0.01);
        // Beta(2, 208), by scipy.stats.beta.ppf([0.025, 0.975], 2, 208).
        let (low, high) = bottle.interval();
        assert!((low - 0.001_161_0).abs() < 1e-6, "{low}");
        assert!((high - 0.026_368_8).abs() < 1e-6, "{high}");
        assert_eq!(bottle.needed_images(), None);
        assert_eq!(calibration(99, 0.01).threshold(), 99.0);
        assert_eq!(calibration(99, 0.01).needed_images(), None);
        let few = calibration(98, 0.01);
        assert_eq!(few.threshold(), 98.0);
        assert_eq!(few.needed_images(), Some(99));
        assert!(few.in_words().contains("takes 99"), "{}", few.in_words());
        assert_eq!(calibration(3, 0.5).threshold(), 2.0);
        assert_eq!(calibration(1, 0.1).needed_images(), Some(9));
    }

    #[test]
    fn p_values_count() {
        let c = Calibration::new(vec![3.0, 1.0, 2.0, 2.0], 0.2).unwrap();
        assert_eq!(c.p_value(0.0), 1.0);
        assert_eq!(c.p_value(2.0), 0.8);
        assert_eq!(c.p_value(3.5), 0.2);
        assert!(c.is_defective(f64::NAN));
        assert!(!c.is_defective(3.0) && c.is_defective(3.1));
        // Verdict and p-value say the same.
        for score in [0.5, 1.0, 2.0, 2.5, 3.0, 4.0] {
            assert_eq!(c.is_defective(score), c.p_value(score) <= c.guaranteed_rate());
        }
    }

    #[test]
    fn scores_that_do_not_differ_are_told_of() {
        let same = Calibration::new(vec![0.0; 150], 0.01).unwrap();
        assert!(same.is_degenerate() && same.in_words().contains("copies of one image"));
        let other = Calibration::new(vec![0.0, 1.0], 0.5).unwrap();
        assert!(!other.is_degenerate() && !other.in_words().contains("copies"));
    }

    #[test]
    fn what_makes_no_threshold_is_refused() {
        for rate in [0.0, 1.0, -1.0, f64::NAN, 1e-9] {
            assert!(Calibration::new(vec![1.0], rate).is_err());
        }
        assert!(Calibration::new(vec![], 0.1).is_err());
        assert!(Calibration::new(vec![f64::NAN], 0.1).is_err());
    }
}
