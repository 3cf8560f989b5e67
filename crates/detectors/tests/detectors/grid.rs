//! What holds for every setting of the study's grid that works on inner products.

use blemish_detectors::{DetectorKind, DetectorSpec, InnerProducts, NeighborTable, ProductsView, study_grid};
use ndarray::s;

use crate::common::{bell, with_threads};

fn score(spec: &DetectorSpec, products: ProductsView<'_>) -> Option<Vec<u64>> {
    let scores = match spec {
        DetectorSpec::OneClassSvm(svm) => svm.fit(products).unwrap().score(products).unwrap(),
        DetectorSpec::KernelDensity(density) => density.fit(products).unwrap().score(products).unwrap(),
        DetectorSpec::LocalOutlierFactor(lof) => {
            let table = NeighborTable::new(products, lof.n_neighbors).unwrap();
            lof.fit(&table).unwrap().score(&table).unwrap()
        }
        _ => return None,
    };
    Some(scores.into_iter().map(f64::to_bits).collect())
}

#[test]
fn scores_are_the_same_bytes_again_on_any_threads_and_with_other_query_rows() {
    let x = bell(1, 80, 40).mapv(|v| (v as f32).max(0.0));
    let (train, query) = (x.slice(s![..60, ..]), x.slice(s![60.., ..]));
    let products = InnerProducts::from_rows(&[train], query).unwrap();
    let fewer = InnerProducts::from_rows(&[train], query.slice(s![5..12, ..])).unwrap();
    for spec in study_grid() {
        let Some(scores) = score(&spec, products.view()) else {
            continue;
        };
        assert_eq!(scores.len(), 20);
        assert_eq!(
            score(&spec, products.view()).unwrap(),
            scores,
            "{spec:?}: fitted twice"
        );
        for threads in [1, 3] {
            let again = with_threads(threads, || score(&spec, products.view()).unwrap());
            assert_eq!(again, scores, "{spec:?}: {threads} threads");
        }
        // The matrix product may sum in another order where a tile has another size: not bytes, but values.
        let part = score(&spec, fewer.view()).unwrap();
        for (a, b) in part.iter().zip(&scores[5..12]) {
            let (a, b) = (f64::from_bits(*a), f64::from_bits(*b));
            assert!(
                a == b || (a - b).abs() <= 1e-9 * b.abs().max(1.0),
                "{spec:?}: {a} {b}"
            );
        }
    }
}

#[test]
fn settings_survive_json() {
    for spec in study_grid() {
        let text = serde_json::to_string(&spec).unwrap();
        assert_eq!(
            serde_json::from_str::<DetectorSpec>(&text).unwrap(),
            spec,
            "{text}"
        );
        assert!(
            serde_json::from_str::<serde_json::Value>(&spec.hyperparameter_json())
                .unwrap()
                .is_object()
        );
    }
    for kind in DetectorKind::ALL {
        assert_eq!(kind.name().parse::<DetectorKind>().unwrap(), kind);
    }
    assert!("PCA".parse::<DetectorKind>().is_err());
}
