//! The fast minimum covariance determinant: the search for the support.

use rand::{SeedableRng, seq::index};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::EllipticWarnings;
use super::relative::{Measure, Reference};
use super::scatter::{Estimate, Rows, Whitening};
use crate::DetectorError;

/// Above this many rows, subsets are searched first.
const SMALL: usize = 500;
/// Rows of a subset, at least.
const SUBSET: usize = 300;
/// Random starts: all together with subsets, else of the whole.
const SUBSET_TRIALS: usize = 500;
const TRIALS: usize = 30;
/// Starts that are kept.
const BEST: usize = 10;
/// Rows that the candidates of the subsets are tried on, at most.
const MERGED: usize = 1500;
/// Concentration steps of random starts, and of candidates.
const FIRST_STEPS: usize = 2;
const STEPS: usize = 30;
/// Random starts that are searched together. A constant, as the early end is looked at between batches.
const BATCH: usize = 2 * BEST;
/// Streams of the generator besides those of the random starts, which are (subset << 32) + trial.
const SHUFFLE_STREAM: u64 = 1 << 63;
const MERGE_STREAM: u64 = SHUFFLE_STREAM + 1;

/// A support, ascending.
///
/// Location and covariance are functions of the support, and are computed again where they are needed: to keep
/// those of 500 starts would take much memory.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    support: Vec<usize>,
    /// The support by whose covariance its distances are measured. It is the one before the last step, as in
    /// scikit-learn, and differs from `support` only where concentration had not converged.
    metric: Vec<usize>,
    log_determinant: f64,
    increased: bool,
}

impl Candidate {
    /// A support that measures its own distances.
    pub(super) fn simple(support: Vec<usize>) -> Candidate {
        Candidate {
            metric: support.clone(),
            support,
            log_determinant: f64::NAN,
            increased: false,
        }
    }

    /// Squared Mahalanobis distances of all rows.
    pub(super) fn distances(&self, data: &Rows) -> Result<Vec<f64>, DetectorError> {
        let location = Estimate::of(data, &self.support)?.location;
        let whitening = Estimate::of(data, &self.metric)?.whitening(data, &self.metric)?;
        Ok(whitening.squared_distances(data, &location))
    }
}

/// The support of h rows with the smallest determinant found, of at least two columns.
pub(super) fn fast_mcd(
    data: &Rows,
    h: usize,
    seed: u64,
    warnings: &mut EllipticWarnings,
) -> Result<Candidate, DetectorError> {
    let n = data.len();
    let best = if n <= SMALL {
        let starts = random_starts(data, h, seed, 0, TRIALS, warnings)?;
        improve(data, h, &with_metric(data, starts)?, 1, warnings)?
    } else {
        let subsets = n / SUBSET;
        let size = n / subsets;
        // By the same rounding as scikit-learn's: of all rows it can be one more than h.
        let part = |rows: usize| ((rows as f64 * (h as f64 / n as f64)).ceil() as usize).min(rows);
        let shuffled = permutation(n, seed, SHUFFLE_STREAM);
        let mut pooled = vec![];
        for subset in 0..subsets {
            let names = &shuffled[subset * size..(subset + 1) * size];
            let rows = data.select(names);
            let trials = BEST.max(SUBSET_TRIALS / subsets);
            let starts = random_starts(&rows, part(size), seed, subset as u64, trials, warnings)?;
            pooled.extend(with_metric(&rows, starts)?);
        }
        if n < MERGED {
            improve(data, part(n), &pooled, 1, warnings)?
        } else {
            let names = &permutation(n, seed, MERGE_STREAM)[..MERGED];
            let rows = data.select(names);
            let keep = if n > MERGED { BEST } else { 1 };
            let merged = improve(&rows, part(MERGED), &pooled, keep, warnings)?;
            improve(data, h, &with_metric(&rows, merged)?, 1, warnings)?
        }
    };
    let best = best.into_iter().next().ok_or(DetectorError::Degenerate {
        detector: super::NAME,
        what: "no support was found",
        hint: "use more rows",
    })?;
    warnings.singular_support = best.log_determinant == f64::NEG_INFINITY;
    Ok(best)
}

/// A start that is a location and what measures distances.
struct Start {
    location: Vec<f64>,
    whitening: Whitening,
}

/// Estimates of candidates on the rows that they were found on.
fn with_metric(data: &Rows, candidates: Vec<Candidate>) -> Result<Vec<Start>, DetectorError> {
    candidates
        .into_par_iter()
        .map(|candidate| {
            let estimate = Estimate::of(data, &candidate.support)?;
            let whitening = estimate.whitening(data, &candidate.support)?;
            Ok(Start {
                location: estimate.location,
                whitening,
            })
        })
        .collect()
}

/// The best supports after two steps from random ones.
fn random_starts(
    data: &Rows,
    h: usize,
    seed: u64,
    subset: u64,
    trials: usize,
    warnings: &mut EllipticWarnings,
) -> Result<Vec<Candidate>, DetectorError> {
    let mut found: Vec<Candidate> = vec![];
    // Nothing is better than a singular support, and of those the first win: once there are enough, no later start
    // can change the outcome.
    while found.len() < trials && singular(&found) < BEST {
        let batch = found.len()..(found.len() + BATCH).min(trials);
        let candidates: Result<Vec<Candidate>, DetectorError> = batch
            .into_par_iter()
            .map(|trial| {
                let mut rng = ChaCha8Rng::seed_from_u64(seed);
                rng.set_stream((subset << 32) + trial as u64);
                let mut support = index::sample(&mut rng, data.len(), h).into_vec();
                support.sort_unstable();
                concentrate(data, support, FIRST_STEPS)
            })
            .collect();
        found.extend(candidates?);
    }
    Ok(best(found, BEST, warnings))
}

/// The best supports after up to 30 steps from given starts.
fn improve(
    data: &Rows,
    h: usize,
    starts: &[Start],
    keep: usize,
    warnings: &mut EllipticWarnings,
) -> Result<Vec<Candidate>, DetectorError> {
    let found: Result<Vec<Candidate>, DetectorError> = starts
        .par_iter()
        .with_max_len(1)
        .map(|start| {
            let distances = start.whitening.squared_distances(data, &start.location);
            concentrate(data, smallest(&distances, h), STEPS)
        })
        .collect();
    Ok(best(found?, keep, warnings))
}

fn singular(found: &[Candidate]) -> usize {
    found
        .iter()
        .filter(|c| c.log_determinant == f64::NEG_INFINITY)
        .count()
}

/// The candidates with the smallest determinants; of equals, the first.
fn best(mut found: Vec<Candidate>, keep: usize, warnings: &mut EllipticWarnings) -> Vec<Candidate> {
    warnings.candidates += found.len();
    warnings.singular_candidates += singular(&found);
    warnings.increased_determinants += found.iter().filter(|c| c.increased).count();
    found.sort_by(|a, b| a.log_determinant.total_cmp(&b.log_determinant));
    found.truncate(keep);
    found
}

/// Concentration steps: the h rows nearest by the estimate of the support are the next support, until the
/// determinant falls no more, is that of a singular covariance, or the steps are used up.
fn concentrate(data: &Rows, start: Vec<usize>, steps: usize) -> Result<Candidate, DetectorError> {
    let h = start.len();
    let mut support = start;
    let mut reference: Option<Reference> = None;
    let mut measure = Measure::of(data, None, &support)?;
    let mut previous: Option<(Vec<usize>, f64)> = None;
    let mut left = steps;
    while left > 0
        && previous
            .as_ref()
            .is_none_or(|(_, determinant)| measure.log_determinant() < *determinant)
    {
        let Some(distances) = measure.distances(data, &mut reference, &support) else {
            // Singular.
            break;
        };
        let next = smallest(&distances, h);
        if next == support {
            // The next determinant would be this one.
            return Ok(Candidate {
                metric: support.clone(),
                support,
                log_determinant: measure.log_determinant(),
                increased: false,
            });
        }
        let next_measure = Measure::of(data, reference.as_mut(), &next)?;
        previous = Some((std::mem::replace(&mut support, next), measure.log_determinant()));
        measure = next_measure;
        left -= 1;
    }
    let log_determinant = measure.log_determinant();
    let Some((before, determinant)) = previous else {
        return Ok(Candidate {
            metric: support.clone(),
            support,
            log_determinant,
            increased: false,
        });
    };
    // scikit-learn's `allclose`, which it applies to log-determinants.
    let close = (log_determinant - determinant).abs() <= 1e-8 + 1e-5 * determinant.abs();
    if left > 0 && log_determinant > determinant && !close {
        return Ok(Candidate {
            metric: before.clone(),
            support: before,
            log_determinant: determinant,
            increased: true,
        });
    }
    Ok(Candidate {
        support,
        metric: before,
        log_determinant,
        increased: false,
    })
}

/// Indices, ascending, of the h smallest distances; of equals, the first.
pub(super) fn smallest(distances: &[f64], h: usize) -> Vec<usize> {
    let mut indices: Vec<usize> = (0..distances.len()).collect();
    if h < indices.len() {
        indices.select_nth_unstable_by(h, |a, b| distances[*a].total_cmp(&distances[*b]).then(a.cmp(b)));
        indices.truncate(h);
        indices.sort_unstable();
    }
    indices
}

fn permutation(n: usize, seed: u64, stream: u64) -> Vec<usize> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(stream);
    index::sample(&mut rng, n, n).into_vec()
}
