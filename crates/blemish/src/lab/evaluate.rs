//! The detectors on one feature set. What the settings of a detector share is computed once.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use blemish_detectors::{
    DetectorSpec, IsolationForest, NeighborTable, Pca, ProductsView, auroc, count_non_finite,
};
use ndarray::ArrayView2;
use rayon::prelude::*;

use super::plan::Experiment;
use super::rows::RowsOf;
use super::store::Outcome;
use crate::Error;

/// The features of one set, as each detector wants them.
#[derive(Clone, Copy)]
pub(crate) struct SetData<'a> {
    /// Inner products; `None` if no pending experiment needs them.
    pub(crate) products: Option<ProductsView<'a>>,
    /// Training and test rows; `None` if no pending experiment needs them.
    pub(crate) rows: Option<(RowsOf<'a>, ArrayView2<'a, f32>)>,
    /// Which test rows are defective.
    pub(crate) defective: &'a [bool],
    /// Time spent on the features and products, for each experiment.
    pub(crate) shared_time: Duration,
}

/// Whether any of `pending` is computed from inner products.
pub(crate) fn needs_products(pending: &[&Experiment]) -> bool {
    pending
        .iter()
        .any(|e| !matches!(e.spec, DetectorSpec::IsolationForest(_)))
}

/// Whether any of `pending` is computed from the rows themselves.
pub(crate) fn needs_rows(pending: &[&Experiment]) -> bool {
    pending
        .iter()
        .any(|e| matches!(e.spec, DetectorSpec::IsolationForest(_)))
}

/// Receives each outcome as soon as there is one; returns whether to go on.
pub(crate) type Sink<'s, 'e> = &'s (dyn Fn(&'e Experiment, Outcome) -> bool + Sync);

/// Computes `pending`, handing each outcome to `sink`, as long as it is to `go_on`. An error or panic of one detector is
/// the outcome of the experiments it was to serve, and of no others.
pub(crate) fn evaluate<'e>(
    data: SetData<'_>,
    pending: &[&'e Experiment],
    go_on: &(dyn Fn() -> bool + Sync),
    sink: Sink<'_, 'e>,
) {
    let (mut components, mut forest, mut neighbors, mut single) = (vec![], vec![], vec![], vec![]);
    for &e in pending {
        match e.spec {
            DetectorSpec::EllipticEnvelope { .. } | DetectorSpec::Mahalanobis(_) => components.push(e),
            DetectorSpec::IsolationForest(_) => forest.push(e),
            DetectorSpec::LocalOutlierFactor(_) | DetectorSpec::KNearestNeighbors(_) => neighbors.push(e),
            DetectorSpec::OneClassSvm(_) | DetectorSpec::KernelDensity(_) => single.push(e),
        }
    }
    type Work<'e> = fn(SetData<'_>, &[&'e Experiment], Sink<'_, 'e>) -> Result<(), Error>;
    // Longest first, so that no core waits for the last one alone.
    let mut units: Vec<(Vec<&'e Experiment>, Work<'e>)> = vec![
        (components, of_components),
        (forest, isolation_forest),
        (neighbors, of_neighbors),
    ];
    units.extend(single.into_iter().map(|e| (vec![e], alone as Work<'e>)));
    units.retain(|(experiments, _)| !experiments.is_empty());

    units
        .par_iter()
        .with_max_len(1)
        .filter(|_| go_on())
        .for_each(|(experiments, work)| {
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
                (scores?, model.warning(), train_time, test_time)
            }
            DetectorSpec::KernelDensity(density) => {
                let (model, train_time) = timed(|| density.fit(view));
                let model = model?;
                let (scores, test_time) = timed(|| model.score(view));
                (scores?, None, train_time, test_time)
            }
            other => return Err(not_here(other)),
        };
        if !sink(e, done(data, scores, warning, train_time, test_time)?) {
            return Ok(());
        }
    }
    Ok(())
}

/// Local outlier factor and nearest-neighbour distance share the sorted neighbours.
fn of_neighbors<'e>(
    data: SetData<'_>,
    experiments: &[&'e Experiment],
    sink: Sink<'_, 'e>,
) -> Result<(), Error> {
    let wanted = experiments.iter().filter_map(|e| match &e.spec {
        DetectorSpec::LocalOutlierFactor(lof) => Some(lof.n_neighbors),
        DetectorSpec::KNearestNeighbors(knn) => Some(knn.n_neighbors),
        _ => None,
    });
    let largest = wanted.max().unwrap_or(1);
    let view = products(data)?;
    let (table, shared) = timed(|| NeighborTable::new(view, largest));
    let table = table?;
    let shared = shared / experiments.len().max(1) as u32;
    for e in experiments {
        guarded(&[e], sink, || {
            let (scores, train_time, test_time) = match &e.spec {
                DetectorSpec::LocalOutlierFactor(lof) => {
                    let (model, train_time) = timed(|| lof.fit(&table));
                    let model = model?;
                    let (scores, test_time) = timed(|| model.score(&table));
                    (scores?, train_time, test_time)
                }
                DetectorSpec::KNearestNeighbors(knn) => {
                    let (model, train_time) = timed(|| knn.fit(&table));
                    let model = model?;
                    let (scores, test_time) = timed(|| model.score(&table));
                    (scores?, train_time, test_time)
                }
                other => return Err(not_here(other)),
            };
            sink(e, done(data, scores, None, train_time + shared, test_time)?);
            Ok(())
        });
    }
    Ok(())
}

/// An experiment that was handed to the wrong unit.
fn not_here(spec: &DetectorSpec) -> Error {
    Error::Panic(format!("{} is not computed here", spec.model_name()))
}

/// Isolation forests that draw as many rows a tree share their trees.
fn isolation_forest<'e>(
    data: SetData<'_>,
    experiments: &[&'e Experiment],
    sink: Sink<'_, 'e>,
) -> Result<(), Error> {
    let mut by_samples: BTreeMap<usize, Vec<(&'e Experiment, IsolationForest)>> = BTreeMap::new();
    for e in experiments {
        match e.spec {
            DetectorSpec::IsolationForest(forest) => {
                by_samples
                    .entry(forest.max_samples)
                    .or_default()
                    .push((e, forest));
            }
            ref other => return Err(not_here(other)),
        }
    }
    for settings in by_samples.into_values() {
        let experiments: Vec<&'e Experiment> = settings.iter().map(|(e, _)| *e).collect();
        guarded(&experiments, sink, || forests_of_one_kind(data, &settings, sink));
    }
    Ok(())
}

fn forests_of_one_kind<'e>(
    data: SetData<'_>,
    settings: &[(&'e Experiment, IsolationForest)],
    sink: Sink<'_, 'e>,
) -> Result<(), Error> {
    let Some(&(first, setting)) = settings.first() else {
        return Ok(());
    };
    let (train, test) = data
        .rows
        .ok_or_else(|| Error::Panic("rows were not extracted".into()))?;
    let sizes: Vec<usize> = settings.iter().map(|(_, f)| f.n_estimators).collect();
    let n_estimators = sizes.iter().copied().max().unwrap_or(1);
    let forest = IsolationForest {
        n_estimators,
        ..setting
    };
    let (model, grown) = timed(|| match train {
        RowsOf::Memory(groups) => forest.fit_groups(groups, first.seed),
        RowsOf::Disk(store, rows) => forest.fit_store(store, rows, first.seed),
    });
    let model = model?;
    let (scores, scored) = timed(|| model.score_sizes(test, &sizes));
    for ((e, forest), scores) in settings.iter().zip(scores?) {
        // A forest of n is the first n trees: it would have cost that part of the time.
        let part = forest.n_estimators as f64 / n_estimators as f64;
        let outcome = done(data, scores, None, grown.mul_f64(part), scored.mul_f64(part))?;
        if !sink(e, outcome) {
            return Ok(());
        }
    }
    Ok(())
}

/// Elliptic envelope and Mahalanobis distance share the principal components.
fn of_components<'e>(
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
            let (scores, warning, train_time, test_time) = match &e.spec {
                DetectorSpec::EllipticEnvelope {
                    envelope,
                    components: Some(components),
                } => {
                    let (model, train_time) =
                        timed(|| envelope.fit(pca.train_scores(*components).view(), e.seed));
                    let model = model?;
                    let (scores, test_time) =
                        timed(|| model.score(pca.query_scores(view, *components)?.view()));
                    (scores?, model.warnings().in_words(), train_time, test_time)
                }
                DetectorSpec::Mahalanobis(mahalanobis) => {
                    let (model, train_time) = timed(|| mahalanobis.fit_components(view, pca.clone()));
                    let model = model?;
                    let (scores, test_time) = timed(|| model.score(view));
                    (scores?, None, train_time, test_time)
                }
                other => return Err(not_here(other)),
            };
            sink(e, done(data, scores, warning, train_time + shared, test_time)?);
            Ok(())
        });
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use blemish_detectors::LocalOutlierFactor;
    use std::sync::Mutex;

    #[test]
    fn a_panic_is_the_outcome_of_what_it_was_to_serve_and_of_no_others() {
        let experiment = |n_neighbors| Experiment {
            key: format!("key{n_neighbors}"),
            feature_set: 0,
            spec: LocalOutlierFactor { n_neighbors }.into(),
            dimensions: 1,
            seed: 0,
        };
        let (a, b) = (experiment(2), experiment(4));
        let seen = Mutex::new(vec![]);
        let sink = |e: &Experiment, outcome: Outcome| {
            seen.lock().unwrap().push((e.key.clone(), outcome));
            true
        };
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        guarded(&[&a], &sink, || panic!("the {} broke", "detector"));
        guarded(&[&b], &sink, || Ok(()));
        // Without products nothing of this can be computed: an error, not a panic, of both.
        let data = SetData {
            products: None,
            rows: None,
            defective: &[false, true],
            shared_time: Duration::ZERO,
        };
        evaluate(data, &[&a, &b], &|| true, &sink);
        evaluate(data, &[&a, &b], &|| false, &sink);
        std::panic::set_hook(hook);
        let seen = seen.into_inner().unwrap();
        assert_eq!(seen.len(), 3);
        let Outcome::Failed { kind, message } = &seen[0].1 else {
            panic!("{seen:?}")
        };
        assert_eq!((seen[0].0.as_str(), kind.as_str()), ("key2", "panic"));
        assert!(message.contains("the detector broke"), "{message}");
        assert!(seen[1..].iter().all(|(_, o)| matches!(o, Outcome::Failed { .. })));
    }
}
