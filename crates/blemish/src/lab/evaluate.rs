//! The detectors on one feature set. What the settings of a detector share is computed once.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use blemish_detectors::{
    DetectorSpec, EllipticEnvelope, EllipticWarnings, IsolationForest, NeighborTable, Pca, ProductsView,
    auroc, count_non_finite,
};
use ndarray::ArrayView2;
use rayon::prelude::*;

use super::plan::Experiment;
use super::store::Outcome;
use crate::Error;

/// The features of one set, as each detector wants them.
#[derive(Clone, Copy)]
pub(crate) struct SetData<'a> {
    /// Inner products; `None` if no pending experiment needs them.
    pub(crate) products: Option<ProductsView<'a>>,
    /// Training rows in consecutive groups.
    pub(crate) train: &'a [ArrayView2<'a, f32>],
    /// Test rows.
    pub(crate) test: ArrayView2<'a, f32>,
    /// Which test rows are defective.
    pub(crate) defective: &'a [bool],
    /// Time spent on the features and products, for each experiment.
    pub(crate) shared_time: Duration,
}

/// Whether any of `pending` is computed from inner products.
pub(crate) fn needs_products(pending: &[&Experiment]) -> bool {
    pending
        .iter()
        .any(|e| !matches!(e.spec, DetectorSpec::IsolationForest { .. }))
}

/// Receives each outcome as soon as there is one; returns whether to go on.
pub(crate) type Sink<'s, 'e> = &'s (dyn Fn(&'e Experiment, Outcome) -> bool + Sync);

/// Computes `pending`, handing each outcome to `sink`. An error or panic of one detector is the
/// outcome of the experiments it was to serve, and of no others.
pub(crate) fn evaluate<'e>(data: SetData<'_>, pending: &[&'e Experiment], sink: Sink<'_, 'e>) {
    let (mut elliptic, mut forest, mut lof, mut single) = (vec![], vec![], vec![], vec![]);
    for &e in pending {
        match e.spec {
            DetectorSpec::EllipticEnvelope { .. } => elliptic.push(e),
            DetectorSpec::IsolationForest { .. } => forest.push(e),
            DetectorSpec::LocalOutlierFactor(_) => lof.push(e),
            DetectorSpec::OneClassSvm(_) | DetectorSpec::KernelDensity(_) => single.push(e),
        }
    }
    type Work<'e> = fn(SetData<'_>, &[&'e Experiment], Sink<'_, 'e>) -> Result<(), Error>;
    // Longest first, so that no core waits for the last one alone.
    let mut units: Vec<(Vec<&'e Experiment>, Work<'e>)> = vec![
        (elliptic, elliptic_envelope),
        (forest, isolation_forest),
        (lof, local_outlier_factor),
    ];
    units.extend(single.into_iter().map(|e| (vec![e], alone as Work<'e>)));
    units.retain(|(experiments, _)| !experiments.is_empty());

    units.par_iter().with_max_len(1).for_each(|(experiments, work)| {
        guarded(experiments, sink, || work(data, experiments, sink));
    });
}

/// Runs `work`; if it fails or panics, that is the outcome of all `experiments` it was to serve.
/// Outcomes it handed over before are replaced: they stand on what failed.
fn guarded<'e>(experiments: &[&'e Experiment], sink: Sink<'_, 'e>, work: impl FnOnce() -> Result<(), Error>) {
    let result =
        catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(Error::from_panic(panic.as_ref())));
    if let Err(error) = result {
        for e in experiments {
            if !sink(e, failed(&error)) {
                return;
            }
        }
    }
}

/// The outcome of an experiment that failed by `error`.
pub(crate) fn failed(error: &Error) -> Outcome {
    Outcome::Failed {
        kind: error.kind().to_owned(),
        message: error.to_string(),
    }
}

fn done(
    data: SetData<'_>,
    scores: Vec<f64>,
    warning: Option<String>,
    train_time: Duration,
    test_time: Duration,
) -> Result<Outcome, Error> {
    Ok(Outcome::Done {
        auroc: auroc(&scores, data.defective)?,
        non_finite: count_non_finite(&scores),
        scores,
        warning,
        train_time,
        test_time,
        shared_time: data.shared_time,
    })
}

fn products<'a>(data: SetData<'a>) -> Result<ProductsView<'a>, Error> {
    data.products
        .ok_or_else(|| Error::Panic("inner products were not computed".into()))
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let value = work();
    (value, start.elapsed())
}

/// One-class SVM and kernel density: nothing to share.
fn alone<'e>(data: SetData<'_>, experiments: &[&'e Experiment], sink: Sink<'_, 'e>) -> Result<(), Error> {
    let view = products(data)?;
    for e in experiments {
        let (scores, warning, train_time, test_time) = match &e.spec {
            DetectorSpec::OneClassSvm(svm) => {
                let (model, train_time) = timed(|| svm.fit(view));
                let model = model?;
                let (scores, test_time) = timed(|| model.score(view));
                let warning = (!model.converged())
                    .then(|| format!("stopped after {} iterations, not converged", model.iterations()));
                (scores?, warning, train_time, test_time)
            }
            DetectorSpec::KernelDensity(density) => {
                let (model, train_time) = timed(|| density.fit(view));
                let model = model?;
                let (scores, test_time) = timed(|| model.score(view));
                (scores?, None, train_time, test_time)
            }
            other => {
                return Err(Error::Panic(format!(
                    "{} is not fitted alone",
                    other.model_name()
                )));
            }
        };
        if !sink(e, done(data, scores, warning, train_time, test_time)?) {
            return Ok(());
        }
    }
    Ok(())
}

fn local_outlier_factor<'e>(
    data: SetData<'_>,
    experiments: &[&'e Experiment],
    sink: Sink<'_, 'e>,
) -> Result<(), Error> {
    let settings: Vec<_> = experiments
        .iter()
        .filter_map(|e| match &e.spec {
            DetectorSpec::LocalOutlierFactor(lof) => Some((*e, lof)),
            _ => None,
        })
        .collect();
    let largest = settings.iter().map(|(_, lof)| lof.n_neighbors).max().unwrap_or(1);
    let view = products(data)?;
    let (table, shared) = timed(|| NeighborTable::new(view, largest));
    let table = table?;
    let shared = shared / settings.len().max(1) as u32;
    for (e, lof) in settings {
        guarded(&[e], sink, || {
            let (model, train_time) = timed(|| lof.fit(&table));
            let model = model?;
            let (scores, test_time) = timed(|| model.score(&table));
            sink(e, done(data, scores?, None, train_time + shared, test_time)?);
            Ok(())
        });
    }
    Ok(())
}

fn isolation_forest<'e>(
    data: SetData<'_>,
    experiments: &[&'e Experiment],
    sink: Sink<'_, 'e>,
) -> Result<(), Error> {
    let settings: Vec<_> = experiments
        .iter()
        .filter_map(|e| match e.spec {
            DetectorSpec::IsolationForest { n_estimators } => Some((*e, n_estimators)),
            _ => None,
        })
        .collect();
    let Some(&(first, _)) = settings.first() else {
        return Ok(());
    };
    let sizes: Vec<usize> = settings.iter().map(|(_, n)| *n).collect();
    let n_estimators = sizes.iter().copied().max().unwrap_or(1);
    let forest = IsolationForest {
        n_estimators,
        ..IsolationForest::default()
    };
    let (model, grown) = timed(|| forest.fit_groups(data.train, first.seed));
    let model = model?;
    let (scores, scored) = timed(|| model.score_sizes(data.test, &sizes));
    for ((e, n), scores) in settings.into_iter().zip(scores?) {
        // A forest of n is the first n trees: it would have cost that part of the time.
        let part = n as f64 / n_estimators as f64;
        let outcome = done(data, scores, None, grown.mul_f64(part), scored.mul_f64(part))?;
        if !sink(e, outcome) {
            return Ok(());
        }
    }
    Ok(())
}

fn elliptic_envelope<'e>(
    data: SetData<'_>,
    experiments: &[&'e Experiment],
    sink: Sink<'_, 'e>,
) -> Result<(), Error> {
    let view = products(data)?;
    let (pca, shared) = timed(|| Pca::fit(view));
    let pca = pca?;
    let shared = shared / experiments.len().max(1) as u32;
    experiments.par_iter().with_max_len(1).for_each(|e| {
        guarded(&[e], sink, || {
            let DetectorSpec::EllipticEnvelope { components } = e.spec else {
                return Ok(());
            };
            let (model, train_time) = timed(|| {
                let rows = pca.train_scores(components);
                EllipticEnvelope::default().fit(rows.view(), e.seed)
            });
            let model = model?;
            let (scores, test_time) = timed(|| {
                let rows = pca.query_scores(view, components)?;
                model.score(rows.view())
            });
            let warning = singularity(&model.warnings());
            sink(e, done(data, scores?, warning, train_time + shared, test_time)?);
            Ok(())
        });
    });
    Ok(())
}

/// What was singular in an elliptic envelope's fit, in words.
fn singularity(warnings: &EllipticWarnings) -> Option<String> {
    let mut parts = vec![];
    if warnings.singular_candidates > 0 {
        let (n, of) = (warnings.singular_candidates, warnings.candidates);
        parts.push(format!("{n} of {of} candidate subsets are singular"));
    }
    if warnings.singular_support {
        parts.push("the chosen subset is singular".into());
    }
    if warnings.singular_covariance {
        parts.push("the covariance is singular: pseudo-inverse used".into());
    }
    (!parts.is_empty()).then(|| parts.join("; "))
}
