//! Metrics of pixels on as many maps as the test set of a bottle has: `cargo bench -p blemish-detectors --bench pixels`.
#![allow(clippy::unwrap_used, reason = "a bench")]

use blemish_detectors::{BootstrapOptions, MapPixels, pixel_metric_intervals, pixel_metrics};
use ndarray::Array2;
use rayon::prelude::*;

const IMAGES: usize = 83;
const SIDE: usize = 900;

fn main() {
    divan::main();
}

/// A smooth map with grain, and a mask of a disc in three of four.
fn map(image: usize) -> (Array2<f32>, Array2<bool>) {
    let disc = |y: usize, x: usize| {
        let (y, x) = (y as f32 - 300.0, x as f32 - 200.0 - image as f32);
        y.hypot(x) < 90.0
    };
    let mask = Array2::from_shape_fn((SIDE, SIDE), |(y, x)| !image.is_multiple_of(4) && disc(y, x));
    let map = Array2::from_shape_fn((SIDE, SIDE), |(y, x)| {
        let smooth = (y as f32 / 50.0).sin() * ((x + 7 * image) as f32 / 60.0).cos();
        let grain = ((y * SIDE + x) as u32)
            .wrapping_mul(0x9e37_79b1)
            .wrapping_add(image as u32)
            >> 8;
        smooth + grain as f32 / (1 << 24) as f32 + if mask[[y, x]] { 1.0 } else { 0.0 }
    });
    (map, mask)
}

fn maps() -> Vec<MapPixels> {
    let sorted = |image| {
        let (map, mask) = map(image);
        MapPixels::new(map.view(), Some(mask.view())).unwrap()
    };
    (0..IMAGES).into_par_iter().map(sorted).collect()
}

/// One of the 83.
#[divan::bench]
fn sort_one_map(bencher: divan::Bencher<'_, '_>) {
    let (map, mask) = map(1);
    bencher.bench_local(|| MapPixels::new(map.view(), Some(mask.view())).unwrap());
}

/// All 83, 67 million pixels.
#[divan::bench(sample_count = 3)]
fn metrics(bencher: divan::Bencher<'_, '_>) {
    let maps = maps();
    bencher.bench_local(|| pixel_metrics(&maps, 0.3).unwrap());
}

/// With 2000 resamples.
#[divan::bench(sample_count = 3)]
fn intervals(bencher: divan::Bencher<'_, '_>) {
    let maps = maps();
    let options = BootstrapOptions::default();
    bencher.bench_local(|| pixel_metric_intervals(&maps, 0.3, &options).unwrap());
}
