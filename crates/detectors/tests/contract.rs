//! Every detector keeps the contract of `blemish_testkit::contract`. A new detector is one line in `detectors`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use blemish_detectors::{
    Aggregate, Bandwidth, DensityKernel, DetectorError, DetectorKind, DetectorSpec, EllipticEnvelope,
    FitOptions, IsolationForest, KNearestNeighbors, KernelDensity, LocalOutlierFactor, Mahalanobis, Model,
    OneClassSvm, Shrinkage, SvmKernel,
};
use blemish_testkit::contract::{Detector, Fitted, Refusal, broken};

/// Rounding alone: sums in another order.
const ROUNDING: f64 = 1e-9;

/// Settings, and how far their scores may move when training rows come in another order.
fn detectors() -> Vec<(DetectorSpec, f64)> {
    let mut found = vec![];
    for kernel in [
        SvmKernel::Linear,
        SvmKernel::Rbf,
        SvmKernel::Sigmoid,
        SvmKernel::Poly { degree: 3 },
    ] {
        // Converged, so that the solution does not depend on the order of rows but for the tolerance.
        let svm = OneClassSvm {
            tol: 1e-6,
            max_iter: Some(100_000),
            ..OneClassSvm::new(kernel)
        };
        // The sigmoid kernel is not positive semidefinite: there are several solutions, and the order chooses.
        let permuted = if kernel == SvmKernel::Sigmoid { 2.0 } else { 1e-4 };
        found.push((svm.into(), permuted));
    }
    for bandwidth in [Bandwidth::Value(0.5), Bandwidth::Scott, Bandwidth::Silverman] {
        for kernel in DensityKernel::ALL {
            found.push((KernelDensity { kernel, bandwidth }.into(), ROUNDING));
        }
    }
    for n_neighbors in [1, 5, 1000] {
        found.push((LocalOutlierFactor { n_neighbors }.into(), ROUNDING));
        for aggregate in Aggregate::ALL {
            let knn = KNearestNeighbors {
                n_neighbors,
                aggregate,
            };
            found.push((knn.into(), ROUNDING));
        }
    }
    for shrinkage in [Shrinkage::LedoitWolf, Shrinkage::Fixed(0.2)] {
        found.push((Mahalanobis { shrinkage }.into(), ROUNDING));
    }
    let envelope = EllipticEnvelope::default();
    for components in [None, Some(3), Some(1000)] {
        found.push((DetectorSpec::EllipticEnvelope { envelope, components }, ROUNDING));
    }
    for (n_estimators, max_samples) in [(20, 256), (20, 8)] {
        let forest = IsolationForest {
            n_estimators,
            max_samples,
        };
        found.push((forest.into(), 0.0));
    }
    found
}

fn refusal(error: DetectorError) -> Refusal {
    let text = format!("{error:?}");
    let kind = text.split([' ', '{', '(']).next().unwrap_or_default();
    Refusal {
        kind: kind.to_owned(),
        message: error.to_string(),
    }
}

fn fitted(model: Model) -> Fitted {
    let (scoring, predicting) = (model.clone(), model.clone());
    Fitted {
        threshold: model.threshold(),
        converged: model.warning().is_none_or(|w| !w.contains("not converged")),
        score: Box::new(move |rows| scoring.score(rows).map_err(refusal)),
        predict: Box::new(move |rows| predicting.predict(rows).map_err(refusal)),
        reload: Box::new(move || fitted(Model::from_bytes(&model.to_bytes().unwrap()).unwrap())),
    }
}

#[test]
fn every_detector_keeps_the_contract() {
    let options = FitOptions {
        seed: 7,
        ..FitOptions::default()
    };
    let mut found = vec![];
    for (spec, permuted) in detectors() {
        found.extend(broken(&Detector {
            name: format!("{} {}", spec.model_name(), spec.hyperparameter_json()),
            fit: &|rows| spec.fit(rows, &options).map(fitted).map_err(refusal),
            permuted,
        }));
    }
    assert!(found.is_empty(), "{} broken:\n{}", found.len(), found.join("\n"));
}

#[test]
fn every_kind_is_in_the_suite() {
    for kind in DetectorKind::ALL {
        assert!(detectors().iter().any(|(spec, _)| spec.kind() == kind), "{kind}");
    }
}
