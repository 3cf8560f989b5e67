use blemish_detectors::{DetectorError, InnerProducts, LocalOutlierFactor, NeighborTable};
use ndarray::{Axis, array};

use crate::common::{bell, error, golden};

#[test]
fn factors_are_those_of_scikit_learn() {
    for case in golden().cases {
        let products = case.products();
        let table = NeighborTable::new(products.view(), 64).unwrap();
        for expected in &case.lof {
            let model = LocalOutlierFactor {
                n_neighbors: expected.k,
            }
            .fit(&table)
            .unwrap();
            let off = error(&model.score(&table).unwrap(), &expected.query);
            assert!(off < 1e-9, "{}, k = {}: {off:.1e}", case.name, expected.k);
            let off = error(&model.train_scores(&table).unwrap()[..12], &expected.train);
            assert!(
                off < 1e-9,
                "{}, k = {}, training rows: {off:.1e}",
                case.name,
                expected.k
            );
        }
    }
}

#[test]
fn a_larger_table_gives_the_same_factors() {
    let (x, query) = (bell(3, 50, 6), bell(13, 8, 6));
    let products = InnerProducts::from_rows(&[x.view()], query.view()).unwrap();
    let (small, large) = (
        NeighborTable::new(products.view(), 4).unwrap(),
        NeighborTable::new(products.view(), 40).unwrap(),
    );
    let lof = LocalOutlierFactor { n_neighbors: 4 };
    let scores = lof.fit(&small).unwrap().score(&small).unwrap();
    assert_eq!(scores, lof.fit(&large).unwrap().score(&large).unwrap());
    assert_eq!((small.k_max(), large.k_max()), (4, 40));
}

#[test]
fn factors_do_not_depend_on_the_order_of_rows() {
    let (x, query) = (bell(4, 60, 5), bell(14, 8, 5));
    let order: Vec<usize> = (0..60).map(|i| (i * 29 + 3) % 60).collect();
    let permuted = x.select(Axis(0), &order);
    let score = |x: &ndarray::Array2<f64>| {
        let products = InnerProducts::from_rows(&[x.view()], query.view()).unwrap();
        let table = NeighborTable::new(products.view(), 10).unwrap();
        LocalOutlierFactor { n_neighbors: 10 }
            .fit(&table)
            .unwrap()
            .score(&table)
            .unwrap()
    };
    assert!(error(&score(&permuted), &score(&x)) < 1e-12);
}

#[test]
fn more_duplicates_than_neighbours_stay_finite() {
    let mut x = bell(5, 30, 3);
    for i in 0..12 {
        let row = x.row(12).to_owned();
        x.row_mut(i).assign(&row);
    }
    let products = InnerProducts::from_rows(&[x.view()], x.view()).unwrap();
    let table = NeighborTable::new(products.view(), 5).unwrap();
    let model = LocalOutlierFactor { n_neighbors: 5 }.fit(&table).unwrap();
    let scores = model.train_scores(&table).unwrap();
    assert!(scores.iter().all(|s| s.is_finite()), "{scores:?}");
    assert!(scores[..13].iter().all(|s| (s - 1.0).abs() < 1e-12), "{scores:?}");
}

#[test]
fn bad_parameters_are_errors() {
    let x = bell(6, 9, 2);
    let products = InnerProducts::from_rows(&[x.view()], x.view()).unwrap();
    let table = NeighborTable::new(products.view(), 3).unwrap();
    let fit = |n_neighbors| LocalOutlierFactor { n_neighbors }.fit(&table);
    assert!(matches!(
        fit(0),
        Err(DetectorError::Parameter {
            name: "n_neighbors",
            ..
        })
    ));
    assert!(matches!(fit(4), Err(DetectorError::Shape { .. })));
    let other = NeighborTable::new(products.leading(8).unwrap(), 3).unwrap();
    assert!(matches!(
        fit(3).unwrap().score(&other),
        Err(DetectorError::Shape { .. })
    ));
    let fewer = NeighborTable::new(products.view(), 2).unwrap();
    assert!(matches!(
        fit(3).unwrap().score(&fewer),
        Err(DetectorError::Shape { .. })
    ));
    let one = InnerProducts::from_rows(&[array![[1.0]].view()], array![[1.0]].view()).unwrap();
    assert!(matches!(
        NeighborTable::new(one.view(), 3),
        Err(DetectorError::TooFewRows { .. })
    ));
}
