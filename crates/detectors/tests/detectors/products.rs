use blemish_detectors::{COLUMN_BLOCK, DetectorError, InnerProducts, ProductsBuilder};
use ndarray::{Array2, ArrayView2, Axis, array, concatenate, s};
use proptest::prelude::*;

use crate::common::{bell, with_threads};

fn sq_distance(a: ArrayView2<'_, f64>, i: usize, b: ArrayView2<'_, f64>, j: usize) -> f64 {
    a.row(i)
        .iter()
        .zip(b.row(j))
        .map(|(x, y)| (x - y) * (x - y))
        .sum()
}

/// Compares all distances with those summed entry by entry; returns the largest error relative to each.
fn distance_error(x: &Array2<f64>, query: &Array2<f64>) -> f64 {
    let products = InnerProducts::from_rows(&[x.view()], query.view()).unwrap();
    let view = products.view();
    let mut worst = 0.0f64;
    let mut compare = |found: f64, expected: f64| {
        assert!(found >= 0.0);
        if expected == 0.0 {
            assert_eq!(found, 0.0);
        } else {
            worst = worst.max((found - expected).abs() / expected);
        }
    };
    for j in 0..x.nrows() {
        for i in 0..x.nrows() {
            compare(
                view.train_sq_distance(i, j),
                sq_distance(x.view(), i, x.view(), j),
            );
        }
        for q in 0..query.nrows() {
            compare(
                view.query_sq_distance(q, j),
                sq_distance(query.view(), q, x.view(), j),
            );
        }
    }
    worst
}

#[test]
fn products_distances_and_variance_are_those_of_the_rows() {
    // More rows than a tile and more columns than a panel.
    let (x, query) = (bell(1, 150, 1100) + 3.0, bell(11, 7, 1100) * 2.0);
    let products =
        InnerProducts::from_rows(&[x.slice(s![..130, ..]), x.slice(s![130.., ..])], query.view()).unwrap();
    let view = products.view();
    assert_eq!(
        (view.train_len(), view.query_len(), view.dimensions()),
        (150, 7, 1100)
    );
    let (inner, cross) = (x.dot(&x.t()), query.dot(&x.t()));
    let centre = x.slice(s![..130, ..]).mean_axis(Axis(0)).unwrap();
    let (z, zq) = (&x - &centre, &query - &centre);
    let (centred, centred_cross) = (z.dot(&z.t()), zq.dot(&z.t()));
    // Products are about a point near the mean of the first group; the mean is had from them.
    let first = |rows: ArrayView2<'_, f64>| rows.slice(s![.., ..130]).mean_axis(Axis(1)).unwrap();
    let (means, query_means) = (first(view.train()), first(view.cross()));
    let grand = means.slice(s![..130]).mean().unwrap();
    let close = |found: f64, expected: f64| (found - expected).abs() < 1e-12 * 1100.0 * 12.0;
    for j in 0..150 {
        for i in 0..150 {
            assert!(close(view.train_inner(i, j), inner[[i, j]]));
            let about_mean = view.train()[[i, j]] - means[i] - means[j] + grand;
            assert!(close(about_mean, centred[[i, j]]));
        }
        for q in 0..7 {
            assert!(close(view.query_inner(q, j), cross[[q, j]]));
            let about_mean = view.cross()[[q, j]] - query_means[q] - means[j] + grand;
            assert!(close(about_mean, centred_cross[[q, j]]));
        }
    }
    assert!(distance_error(&x, &query) < 1e-11);
    assert!((view.variance() - x.var(0.0)).abs() < 1e-12);
    let leading = products.leading(140).unwrap();
    assert!((leading.variance() - x.slice(s![..140, ..]).var(0.0)).abs() < 1e-12);
    assert_eq!(
        (leading.train().dim(), leading.cross().dim()),
        ((140, 140), (7, 140))
    );
}

#[test]
fn a_large_offset_does_not_cancel() {
    // Differences of 1e-3 on an offset of 1e6; rows hold them to 1e-10 each.
    let (x, query) = (bell(2, 40, 300) * 1e-3 + 1e6, bell(12, 5, 300) * 1e-3 + 1e6);
    assert!(distance_error(&x, &query) < 1e-9);
    let products = InnerProducts::from_rows(&[x.view()], query.view()).unwrap();
    let expected = (&x - 1e6).var(0.0);
    assert!((products.view().variance() / expected - 1.0).abs() < 1e-9);
    // Columns of different offsets, too: the centre is that of each column.
    let steps = Array2::from_shape_fn((1, 300), |(_, j)| 1e6 * (j % 5) as f64);
    assert!(distance_error(&(&x + &steps), &(&query + &steps)) < 1e-9);
}

#[test]
fn duplicates_and_near_duplicates_have_their_distances() {
    let base = bell(3, 6, 500) * 100.0;
    let mut rows = vec![base.clone(), base.clone()];
    for scale in [1e-1, 1e-3, 1e-5, 1e-7, 1e-9] {
        rows.push(&base + &(bell(4, 6, 500) * scale));
    }
    let views: Vec<_> = rows.iter().map(|r| r.view()).collect();
    let x = concatenate(Axis(0), &views).unwrap();
    assert!(distance_error(&x, &x.slice(s![3..20, ..]).to_owned()) < 1e-9);
    // A tight group far from the centre, which is that of the first group.
    let far = bell(5, 9, 500) * 1e-4 + 1e4;
    let products = InnerProducts::from_rows(&[base.view(), far.view()], far.view()).unwrap();
    for i in 0..9 {
        for j in 0..9 {
            let expected = sq_distance(far.view(), i, far.view(), j);
            let found = products.view().train_sq_distance(6 + i, 6 + j);
            assert!((found - expected).abs() <= 1e-9 * expected);
            assert_eq!(found, products.view().query_sq_distance(i, 6 + j));
        }
    }
}

fn all_bits(products: &InnerProducts, n: usize) -> Vec<u64> {
    let view = products.leading(n).unwrap();
    let mut values: Vec<f64> = view.train().iter().chain(&view.cross()).copied().collect();
    values.push(view.variance());
    for j in 0..n {
        values.extend((0..n).flat_map(|i| [view.train_inner(i, j), view.train_sq_distance(i, j)]));
        values.extend(
            (0..view.query_len()).flat_map(|q| [view.query_inner(q, j), view.query_sq_distance(q, j)]),
        );
    }
    values.into_iter().map(f64::to_bits).collect()
}

#[test]
fn a_leading_block_is_the_same_bytes_with_any_groups_after_it_and_any_threads() {
    let x = bell(6, 420, 1500).mapv(|v| v as f32);
    // 137 rows: the last tile of the first group is not full.
    for (first, m) in [(137, 9), (1, 1), (200, 150)] {
        let (group, second, third) = (
            x.slice(s![..first, ..]),
            x.slice(s![200..300, ..]),
            x.slice(s![300..310, ..]),
        );
        let query = x.slice(s![270..270 + m, ..]);
        let alone = with_threads(1, || InnerProducts::from_rows(&[group], query).unwrap());
        let bits = all_bits(&alone, first);
        for threads in [1, 2, 3] {
            let more = with_threads(threads, || {
                InnerProducts::from_rows(&[group, second, third], query).unwrap()
            });
            assert!(all_bits(&more, first) == bits, "{first} rows, {threads} threads");
            let two = with_threads(threads, || {
                InnerProducts::from_rows(&[group, second], query).unwrap()
            });
            assert!(all_bits(&more, first + 100) == all_bits(&two, first + 100));
        }
    }
}

#[test]
fn f32_rows_are_summed_as_f64() {
    let x = bell(7, 30, 200).mapv(|v| v as f32);
    let wide = x.mapv(f64::from);
    let narrow = InnerProducts::from_rows(&[x.view()], x.slice(s![..4, ..])).unwrap();
    let wide = InnerProducts::from_rows(&[wide.view()], wide.slice(s![..4, ..])).unwrap();
    assert_eq!(all_bits(&narrow, 30), all_bits(&wide, 30));
}

#[test]
fn rows_of_any_layout_are_accepted() {
    let x = bell(8, 20, 33);
    let transposed = x.t().to_owned();
    let plain = InnerProducts::from_rows(&[x.view()], x.view()).unwrap();
    let other = InnerProducts::from_rows(&[transposed.t()], transposed.t()).unwrap();
    assert_eq!(all_bits(&plain, 20), all_bits(&other, 20));
}

#[test]
fn hostile_rows_are_errors_that_say_where() {
    let x = bell(9, 4, 3);
    let none = Array2::<f64>::zeros((0, 3));
    let no_columns = Array2::<f64>::zeros((4, 0));
    let failing = |train: &[ArrayView2<'_, f64>], query: ArrayView2<'_, f64>| {
        InnerProducts::from_rows(train, query).unwrap_err()
    };
    assert!(matches!(failing(&[], x.view()), DetectorError::Empty { .. }));
    assert!(matches!(
        failing(&[none.view()], x.view()),
        DetectorError::Empty { rows: 0, .. }
    ));
    assert!(matches!(
        failing(&[no_columns.view()], no_columns.view()),
        DetectorError::Empty { columns: 0, .. }
    ));
    let narrow = x.slice(s![.., ..2]);
    assert!(matches!(
        failing(&[x.view(), narrow], x.view()),
        DetectorError::Shape {
            found: 2,
            expected: 3,
            ..
        }
    ));
    assert!(matches!(
        failing(&[x.view()], narrow),
        DetectorError::Shape {
            found: 2,
            expected: 3,
            ..
        }
    ));
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let mut bad = x.clone();
        bad[[2, 1]] = value;
        let text = failing(&[x.view(), bad.view()], x.view()).to_string();
        assert!(
            text.contains("group 1") && text.contains("row 2") && text.contains("column 1"),
            "{text}"
        );
        let text = failing(&[x.view()], bad.view()).to_string();
        assert!(text.contains("query") && text.contains("row 2"), "{text}");
    }
    for scale in [1e160, 1e307] {
        let huge = &x * scale;
        assert!(matches!(
            failing(&[huge.view()], x.view()),
            DetectorError::Overflow { .. }
        ));
        assert!(matches!(
            failing(&[x.view()], huge.view()),
            DetectorError::Overflow { .. }
        ));
    }
    // No query rows and an empty later group are fine.
    let products = InnerProducts::from_rows(&[x.view(), none.view()], none.view()).unwrap();
    assert_eq!((products.train_len(), products.query_len()), (4, 0));
    assert!(products.leading(0).is_err() && products.leading(5).is_err() && products.leading(4).is_ok());
}

#[test]
fn one_row_and_one_column_work() {
    let products = InnerProducts::from_rows(&[array![[2.0]].view()], array![[5.0]].view()).unwrap();
    let view = products.view();
    assert_eq!((view.train_inner(0, 0), view.query_inner(0, 0)), (4.0, 10.0));
    assert_eq!((view.query_sq_distance(0, 0), view.variance()), (9.0, 0.0));
}

proptest! {
    #[test]
    fn distances_are_right_for_any_rows(
        n in 1usize..12, m in 1usize..5, d in 1usize..9,
        entries in prop::collection::vec(prop_oneof![Just(0.0), Just(1.0), Just(1e6), -1e3f64..1e3, -1e-3f64..1e-3], 17 * 9),
    ) {
        let x = Array2::from_shape_fn((n, d), |(i, j)| entries[i * d + j]);
        let query = Array2::from_shape_fn((m, d), |(i, j)| entries[(12 + i) * d + j]);
        prop_assert!(distance_error(&x, &query) < 1e-9);
        let products = InnerProducts::from_rows(&[x.view()], query.view()).unwrap();
        let scale = x.iter().fold(0.0f64, |m, v| m.max(v.abs())).powi(2);
        prop_assert!((products.view().variance() - x.var(0.0)).abs() <= 1e-12 * scale);
    }
}

#[test]
fn columns_by_columns_gives_the_bytes_of_all_at_once() {
    let mut rng = 7u64;
    let mut next = || {
        rng = rng
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        ((rng >> 40) as f32 / (1u64 << 24) as f32 - 0.3).max(0.0)
    };
    let d = 3 * COLUMN_BLOCK + 77;
    let mut all = Array2::from_shape_simple_fn((150 + 40 + 30, d), &mut next);
    // Rows so near each other that distances come from the rows, training rows and others.
    for (a, b) in [(3, 100), (5, 160), (9, 195), (170, 219)] {
        let mut row = all.row(a).to_owned();
        row[3] += 1e-3;
        all.row_mut(b).assign(&row);
    }
    let parts = |columns: std::ops::Range<usize>| {
        [
            all.slice(s![..150, columns.clone()]),
            all.slice(s![150..190, columns.clone()]),
            all.slice(s![190.., columns]),
        ]
    };
    let [a, b, q] = parts(0..d);
    let whole = InnerProducts::from_rows(&[a, b], q).unwrap();
    for step in [COLUMN_BLOCK, 2 * COLUMN_BLOCK] {
        let mut centre = vec![];
        for from in (0..d).step_by(step) {
            centre.extend(InnerProducts::centre_of(parts(from..(from + step).min(d))[0]));
        }
        let mut builder = ProductsBuilder::new(&[150, 40], 30, centre).unwrap();
        for from in (0..d).step_by(step) {
            let [a, b, q] = parts(from..(from + step).min(d));
            builder.add(&[a, b], q).unwrap();
        }
        let row = |i: usize| all.row(i).to_vec();
        let parted = builder
            .finish(|i, j| Ok(ProductsBuilder::sq_distance(&row(i), &row(j))))
            .unwrap();
        assert!(parted.to_bytes() == whole.to_bytes(), "{step} columns at a time");
    }

    // Kept and read again.
    let bytes = whole.to_bytes();
    assert_eq!(InnerProducts::from_bytes(&bytes).unwrap().to_bytes(), bytes);
    let read = InnerProducts::from_bytes(&bytes).unwrap();
    assert_eq!(read.view().train(), whole.view().train());
    assert_eq!(
        read.view().train_sq_distance(3, 100),
        whole.view().train_sq_distance(3, 100)
    );
    assert_eq!(read.view().variance(), whole.view().variance());
    assert!(InnerProducts::from_bytes(&bytes[..bytes.len() - 8]).is_err());
    assert!(InnerProducts::from_bytes(&bytes[..bytes.len() - 3]).is_err());
    assert!(InnerProducts::from_bytes(&bytes[1..]).is_err());
    let mut huge = bytes.clone();
    huge[16..24].copy_from_slice(&u64::MAX.to_le_bytes());
    assert!(InnerProducts::from_bytes(&huge).is_err());

    // Wrong shapes.
    let centre = || InnerProducts::centre_of(a);
    assert!(ProductsBuilder::new(&[0, 3], 1, centre()).is_err());
    let mut builder = ProductsBuilder::new(&[150, 40], 30, centre()).unwrap();
    let [a, b, q] = parts(0..100);
    assert!(builder.add(&[a, b], q).is_err(), "not a whole block");
    let [a, b, q] = parts(0..COLUMN_BLOCK);
    assert!(builder.add(&[b, a], q).is_err());
    assert!(builder.add(&[a], q).is_err());
    builder.add(&[a, b], q).unwrap();
    assert_eq!(builder.columns_done(), COLUMN_BLOCK);
    assert!(builder.finish(|_, _| Ok(0.0)).is_err(), "columns are missing");
}
