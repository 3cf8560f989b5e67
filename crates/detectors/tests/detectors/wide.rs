//! Rows of as many columns as feature maps have.

use blemish_detectors::InnerProducts;
use ndarray::{Array2, ArrayView1, ArrayView2, Axis, concatenate, s};

use crate::common::{uniform, with_threads};

/// Not a whole number of panels.
const COLUMNS: usize = 3 * 8192 + 345;

/// Rectified, with a few large columns, as activations are; `scale` is that of what differs between rows.
fn rows(seed: u64, n: usize, scale: f32) -> Array2<f32> {
    let unit = |s: u64, i: usize, j: usize| (uniform(s, i, j) as f64 * 2.0f64.powi(-53)) as f32;
    let size: Vec<f32> = (0..COLUMNS).map(|j| 1.0 / (0.03 + unit(99, 0, j))).collect();
    let base: Vec<f32> = (0..COLUMNS).map(|j| unit(98, 0, j) - 0.3).collect();
    Array2::from_shape_fn((n, COLUMNS), |(i, j)| {
        let own = unit(seed, i, j) + unit(seed + 1, i, j) - 1.0;
        ((base[j] + scale * own) * size[j]).max(0.0)
    })
}

fn sq_distance(a: ArrayView1<'_, f32>, b: ArrayView1<'_, f32>) -> f64 {
    a.iter()
        .zip(b)
        .map(|(x, y)| (f64::from(*x) - f64::from(*y)).powi(2))
        .sum()
}

/// The largest error of a squared distance, relative to it.
fn largest_error(x: ArrayView2<'_, f32>, query: ArrayView2<'_, f32>, products: &InnerProducts) -> f64 {
    let view = products.view();
    let mut largest = 0.0f64;
    let mut compare = |found: f64, exact: f64| {
        let error = if exact == 0.0 {
            found
        } else {
            (found - exact).abs() / exact
        };
        assert!(error.is_finite(), "{found} {exact}");
        largest = largest.max(error);
    };
    for (j, row) in x.outer_iter().enumerate() {
        for i in 0..j {
            assert_eq!(view.train_sq_distance(i, j), view.train_sq_distance(j, i));
            compare(view.train_sq_distance(i, j), sq_distance(x.row(i), row));
        }
        for (q, query) in query.outer_iter().enumerate() {
            compare(view.query_sq_distance(q, j), sq_distance(query, row));
        }
    }
    largest
}

#[test]
fn distances_are_right_to_twelve_places() {
    let (x, query) = (rows(1, 150, 1.0), rows(5, 11, 1.3));
    let products =
        InnerProducts::from_rows(&[x.slice(s![..131, ..]), x.slice(s![131.., ..])], query.view()).unwrap();
    let largest = largest_error(x.view(), query.view(), &products);
    assert!(largest < 1e-12, "{largest:.1e}");
    let view = products.view();
    let wide = x.mapv(f64::from);
    assert!((view.variance() / wide.var(0.0) - 1.0).abs() < 1e-12);
    for (i, j) in [(3, 3), (80, 3), (149, 130)] {
        let inner: f64 = wide.row(i).dot(&wide.row(j));
        assert!((view.train_inner(i, j) / inner - 1.0).abs() < 1e-12);
    }
}

/// Two kinds of rows far from each other, so that the centre is far from both, equal rows, and rows that differ in one
/// column: distances are differences of much larger numbers, or summed from the rows.
#[test]
fn distances_of_near_rows_are_right_to_ten_places() {
    let close = rows(1, 40, 1e-3);
    let mut shifted = rows(3, 40, 1e-3);
    shifted.mapv_inplace(|v| 2.0 * v + 1.0);
    let mut x = concatenate![Axis(0), close, shifted, rows(7, 30, 1.0)];
    let copy = x.row(2).to_owned();
    x.row_mut(60).assign(&copy);
    x.row_mut(100).assign(&copy);
    x[[100, 7]] += 1e-3;
    let query = x.slice(s![30..50, ..]);
    let products = InnerProducts::from_rows(&[x.view()], query).unwrap();
    let largest = largest_error(x.view(), query, &products);
    assert!(largest < 1e-10, "{largest:.1e}");
    assert_eq!(products.view().train_sq_distance(60, 2), 0.0);
    assert_eq!(products.view().query_sq_distance(3, 33), 0.0);
}

#[test]
fn values_of_any_size_are_right_and_bad_ones_are_named() {
    for scale in [1e-24f32, 1e24] {
        let x = rows(1, 30, 1.0).mapv(|v| v * scale);
        let products = InnerProducts::from_rows(&[x.view()], x.slice(s![..2, ..])).unwrap();
        let largest = largest_error(x.view(), x.slice(s![..2, ..]), &products);
        assert!(largest < 1e-12, "{scale:e}: {largest:.1e}");
    }
    for value in [f32::NAN, f32::INFINITY] {
        let mut bad = rows(1, 5, 1.0);
        bad[[4, COLUMNS - 1]] = value;
        let text = InnerProducts::from_rows(&[bad.view()], bad.view())
            .unwrap_err()
            .to_string();
        assert!(
            text.contains("row 4") && text.contains(&format!("column {}", COLUMNS - 1)),
            "{text}"
        );
    }
}

fn bits(products: &InnerProducts, n: usize) -> Vec<u64> {
    let view = products.leading(n).unwrap();
    let mut values: Vec<f64> = view.train().iter().chain(&view.cross()).copied().collect();
    values.push(view.variance());
    values.extend((0..n).flat_map(|j| (0..n).map(move |i| view.train_sq_distance(i, j))));
    values.extend((0..n).flat_map(|j| (0..view.query_len()).map(move |q| view.query_sq_distance(q, j))));
    values.into_iter().map(f64::to_bits).collect()
}

#[test]
fn threads_layouts_and_groups_that_follow_change_nothing() {
    let (x, query) = (rows(1, 50, 1.0), rows(5, 9, 1.0));
    let (first, second) = x.view().split_at(Axis(0), 21);
    let alone = with_threads(1, || InnerProducts::from_rows(&[first], query.view()).unwrap());
    let transposed = x.t().to_owned();
    let turned = transposed.t();
    let (first_turned, second_turned) = turned.split_at(Axis(0), 21);
    let whole = InnerProducts::from_rows(&[first, second], query.view()).unwrap();
    assert!(bits(&whole, 21) == bits(&alone, 21));
    for threads in [1, 3] {
        let again = with_threads(threads, || {
            InnerProducts::from_rows(&[first_turned, second_turned], query.view()).unwrap()
        });
        assert!(bits(&again, 50) == bits(&whole, 50), "{threads} threads");
    }
}
