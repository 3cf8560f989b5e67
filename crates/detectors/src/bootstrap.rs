//! How sure a statistic of few rows is: the bootstrap.

use std::collections::BTreeMap;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::DetectorError;

/// A statistic and the interval that it lies in, as far as the rows can tell.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The statistic of the rows as they are.
    pub value: f64,
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

impl Interval {
    /// An interval without length.
    pub const fn at(value: f64) -> Interval {
        Interval {
            value,
            low: value,
            high: value,
        }
    }
}

/// How [`bootstrap_interval`] draws.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct BootstrapOptions {
    /// How often the rows are drawn anew, at least 1. The ends of an interval vary with the seed: those of a 95 %
    /// interval from 2000 draws by about 3 % of its length.
    pub resamples: usize,
    /// How much of the resamples the interval holds, above 0 and below 1.
    pub confidence: f64,
    /// The same seed gives the same interval, to the last bit.
    pub seed: u64,
}

impl Default for BootstrapOptions {
    /// 2000 resamples, 95 %, seed 0.
    fn default() -> Self {
        BootstrapOptions {
            resamples: 2000,
            confidence: 0.95,
            seed: 0,
        }
    }
}

/// The percentile interval of a statistic by the stratified bootstrap (Efron, 1979): the rows are drawn with
/// replacement, as many as there are, and the interval holds the middle part of the statistics of such draws. Its
/// ends are interpolated linearly between two order statistics, as `scipy.stats.bootstrap(method="percentile")`
/// does.
///
/// `strata` has the stratum of each row: a resample draws from each stratum as many rows as it has, so that none
/// has good rows only. The labels serve (`&defective`), or `&[(); n]` where all rows are alike.
///
/// `statistic` is called with the row numbers of a resample (grouped by stratum, with repetitions) or with all rows
/// in their order; `None` and NaN are no value. Resamples without a value are left out.
///
/// Resample i draws from a random stream of its own number, so that the interval depends on the rows and the
/// options alone, and not on how many threads compute it.
///
/// ```
/// use blemish_detectors::{BootstrapOptions, auroc, bootstrap_interval};
///
/// # fn main() -> Result<(), blemish_detectors::DetectorError> {
/// let scores = [0.1, 0.4, 0.35, 0.8, 0.7, 0.2];
/// let defective = [false, false, true, true, true, false];
/// let interval = bootstrap_interval(&defective, &BootstrapOptions::default(), |rows| {
///     let scores: Vec<f64> = rows.iter().map(|i| scores[*i]).collect();
///     let defective: Vec<bool> = rows.iter().map(|i| defective[*i]).collect();
///     auroc(&scores, &defective).ok()
/// })?;
/// assert_eq!(interval.value, 8.0 / 9.0);
/// assert!(interval.low < interval.value && interval.high == 1.0);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`DetectorError::Parameter`] if an option is out of its range; [`DetectorError::Degenerate`] if the statistic has
/// no value on the rows as they are (so where there is none), or on most resamples.
pub fn bootstrap_interval<S: Ord>(
    strata: &[S],
    options: &BootstrapOptions,
    statistic: impl Fn(&[usize]) -> Option<f64> + Sync,
) -> Result<Interval, DetectorError> {
    bootstrap_intervals(strata, options, |rows| [statistic(rows)]).map(|[interval]| interval)
}

/// The intervals of `M` statistics, all from the same resamples: see [`bootstrap_interval`].
///
/// # Errors
/// As [`bootstrap_interval`], for the first statistic that has an error.
pub fn bootstrap_intervals<S: Ord, const M: usize>(
    strata: &[S],
    options: &BootstrapOptions,
    statistics: impl Fn(&[usize]) -> [Option<f64>; M] + Sync,
) -> Result<[Interval; M], DetectorError> {
    if options.resamples == 0 {
        return Err(DetectorError::Parameter {
            name: "resamples",
            value: "0".into(),
            expected: "at least 1",
        });
    }
    // Written so that NaN is refused.
    if !(options.confidence > 0.0 && options.confidence < 1.0) {
        return Err(DetectorError::Parameter {
            name: "confidence",
            value: options.confidence.to_string(),
            expected: "above 0 and below 1",
        });
    }
    let all: Vec<usize> = (0..strata.len()).collect();
    let values = statistics(&all);
    if values.iter().any(|v| v.is_none_or(f64::is_nan)) {
        return Err(DetectorError::Degenerate {
            detector: "the bootstrap",
            what: "the statistic has no value on the rows as they are",
            hint: "are there rows, and good and defective ones?",
        });
    }
    let mut groups: BTreeMap<&S, Vec<usize>> = BTreeMap::new();
    for (row, stratum) in strata.iter().enumerate() {
        groups.entry(stratum).or_default().push(row);
    }
    let groups: Vec<Vec<usize>> = groups.into_values().collect();

    let resampled: Vec<[Option<f64>; M]> = (0..options.resamples as u64)
        .into_par_iter()
        .map_init(Vec::new, |rows, resample| {
            let mut rng = ChaCha8Rng::seed_from_u64(options.seed);
            rng.set_stream(resample);
            rows.clear();
            for group in &groups {
                rows.extend((0..group.len()).map(|_| group[below(&mut rng, group.len())]));
            }
            statistics(rows)
        })
        .collect();
    let tail = (1.0 - options.confidence) / 2.0;
    let mut intervals = [Interval::at(f64::NAN); M];
    for (m, interval) in intervals.iter_mut().enumerate() {
        let mut sorted: Vec<f64> = resampled
            .iter()
            .filter_map(|v| v[m])
            .filter(|v| !v.is_nan())
            .collect();
        if sorted.is_empty() || 2 * sorted.len() < options.resamples {
            return Err(DetectorError::Degenerate {
                detector: "the bootstrap",
                what: "the statistic has no value on most resamples",
                hint: "draw within strata, so that each resample has rows of all kinds",
            });
        }
        sorted.sort_unstable_by(f64::total_cmp);
        *interval = Interval {
            value: values[m].unwrap_or(f64::NAN),
            low: quantile(&sorted, tail),
            high: quantile(&sorted, 1.0 - tail),
        };
    }
    Ok(intervals)
}

/// Uniform in 0 to n - 1: an own formula, since the one of a library may change the numbers with its version. Some
/// values are more probable than others, by n / 2^64.
fn below(rng: &mut ChaCha8Rng, n: usize) -> usize {
    ((u128::from(rng.next_u64()) * n as u128) >> 64) as usize
}

/// Of sorted values, at least one: linear between the two nearest ranks (numpy's default).
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let at = q * (sorted.len() - 1) as f64;
    let (low, high) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    // Equal ends, which may be infinite, have no difference.
    if low == high {
        low
    } else {
        low + (high - low) * at.fract()
    }
}
