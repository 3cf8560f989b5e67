//! Scores of training rows, each without itself, equal those of a fit without it.

use blemish_detectors::{
    Aggregate, Bandwidth, DensityKernel, InnerProducts, KNearestNeighbors, KernelDensity, Mahalanobis,
    NeighborTable, ProductsView, Shrinkage,
};
use ndarray::{Array2, Axis, s};

use crate::common::{bell, error};

type Score = Box<dyn Fn(ProductsView<'_>) -> Vec<f64>>;

/// Names, scores of the training rows without themselves, scores of query rows.
fn detectors() -> Vec<(String, Score, Score)> {
    let mut found: Vec<(String, Score, Score)> = vec![];
    for aggregate in Aggregate::ALL {
        for n_neighbors in [1, 2, 5] {
            let knn = KNearestNeighbors {
                n_neighbors,
                aggregate,
            };
            let table = |p: ProductsView<'_>| NeighborTable::new(p, 5).unwrap();
            found.push((
                format!("{knn:?}"),
                Box::new(move |p| knn.fit(&table(p)).unwrap().train_scores(&table(p)).unwrap()),
                Box::new(move |p| knn.fit(&table(p)).unwrap().score(&table(p)).unwrap()),
            ));
        }
    }
    for kernel in DensityKernel::ALL {
        for bandwidth in [Bandwidth::Value(6.0), Bandwidth::Scott, Bandwidth::Silverman] {
            let density = KernelDensity { kernel, bandwidth };
            found.push((
                format!("{density:?}"),
                Box::new(move |p| density.fit(p).unwrap().train_scores(p).unwrap()),
                Box::new(move |p| density.fit(p).unwrap().score(p).unwrap()),
            ));
        }
    }
    for shrinkage in [
        Shrinkage::LedoitWolf,
        Shrinkage::Fixed(0.3),
        Shrinkage::Fixed(1.0),
    ] {
        let mahalanobis = Mahalanobis { shrinkage };
        found.push((
            format!("{mahalanobis:?}"),
            Box::new(move |p| mahalanobis.fit(p).unwrap().train_scores(p).unwrap()),
            Box::new(move |p| mahalanobis.fit(p).unwrap().score(p).unwrap()),
        ));
    }
    found
}

#[test]
fn leaving_a_row_out_is_fitting_without_it() {
    for (n, d) in [(12, 40), (30, 6), (9, 9), (25, 1)] {
        let x = bell(3, n, d).mapv(|v| v * 2.0 + 1.0);
        let none = Array2::<f64>::zeros((0, d));
        let whole = InnerProducts::from_rows(&[x.view()], none.view()).unwrap();
        for (name, train_scores, score) in detectors() {
            let found = train_scores(whole.view());
            let expected: Vec<f64> = (0..n)
                .map(|i| {
                    let others: Vec<usize> = (0..n).filter(|j| *j != i).collect();
                    let others = x.select(Axis(0), &others);
                    let products =
                        InnerProducts::from_rows(&[others.view()], x.slice(s![i..i + 1, ..])).unwrap();
                    score(products.view())[0]
                })
                .collect();
            let finite = |v: &[f64]| v.iter().map(|x| x.is_finite()).collect::<Vec<_>>();
            assert_eq!(finite(&found), finite(&expected), "{name}, {n} x {d}");
            let of = |v: &[f64]| v.iter().copied().filter(|x| x.is_finite()).collect::<Vec<_>>();
            let error = error(&of(&found), &of(&expected));
            assert!(error < 1e-9, "{name}, {n} x {d}: {error}");
        }
    }
}
