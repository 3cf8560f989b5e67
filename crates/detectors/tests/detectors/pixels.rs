use blemish_detectors::{
    BootstrapOptions, DetectorError, MapPixels, Regions, auroc, average_precision, bootstrap_intervals,
    pixel_metric_intervals, pixel_metrics,
};
use ndarray::{Array2, array};
use serde::Deserialize;

use crate::common::{uniform, with_threads};

#[derive(Deserialize)]
struct Golden {
    cases: Vec<Case>,
}

/// A case of golden/pixels.py.
#[derive(Deserialize)]
struct Case {
    name: String,
    seed: u64,
    size: (usize, usize),
    images: usize,
    levels: u64,
    shift: u64,
    limit: f64,
    regions: Vec<usize>,
    auroc: f64,
    average_precision: f64,
    aupro: f64,
}

impl Case {
    /// Maps with their masks; `None` where the real masks are absent.
    fn maps(&self) -> Option<Vec<(Array2<f32>, Array2<bool>)>> {
        let masks = if self.name == "real masks" {
            real_masks()?
        } else {
            (0..self.images)
                .map(|i| drawn_mask(self.seed, i, self.size))
                .collect()
        };
        let with_map = |(i, mask): (usize, Array2<bool>)| {
            let score = |(y, x)| {
                let level = uniform(self.seed + i as u64, y, x) % self.levels;
                (level + if mask[[y, x]] { self.shift } else { 0 }) as f32 / 1024.0
            };
            (Array2::from_shape_fn(mask.dim(), score), mask)
        };
        Some(masks.into_iter().enumerate().map(with_map).collect())
    }

    fn pixels(&self) -> Option<Vec<MapPixels>> {
        Some(sorted(&self.maps()?))
    }
}

fn drawn_mask(seed: u64, image: usize, size: (usize, usize)) -> Array2<bool> {
    Array2::from_shape_fn(size, |(y, x)| {
        uniform(seed + 64 + image as u64, y / 5, x / 4).is_multiple_of(6) && !image.is_multiple_of(3)
    })
}

fn real_masks() -> Option<Vec<Array2<bool>>> {
    let folder = blemish_testkit::data("mvtec_ad/bottle/ground_truth")?;
    let mut files = vec![];
    for defect in std::fs::read_dir(folder).unwrap() {
        files.extend(
            std::fs::read_dir(defect.unwrap().path())
                .unwrap()
                .map(|f| f.unwrap().path()),
        );
    }
    files.sort();
    let read = |path| {
        let mask = image::open(path).unwrap().into_luma8();
        Array2::from_shape_fn((mask.height() as usize, mask.width() as usize), |(y, x)| {
            mask.get_pixel(x as u32, y as u32).0[0] > 0
        })
    };
    Some(files.iter().step_by(9).map(read).collect())
}

fn sorted(maps: &[(Array2<f32>, Array2<bool>)]) -> Vec<MapPixels> {
    let sorted =
        |(map, mask): &(Array2<f32>, Array2<bool>)| MapPixels::new(map.view(), Some(mask.view())).unwrap();
    maps.iter().map(sorted).collect()
}

fn cases() -> Vec<Case> {
    let golden: Golden = blemish_testkit::golden(env!("CARGO_MANIFEST_DIR"), "pixels.json");
    assert!(golden.cases.len() >= 10);
    golden.cases
}

#[test]
fn metrics_of_pixels_are_those_by_definition() {
    let mut failures = vec![];
    for case in cases() {
        let Some(maps) = case.pixels() else { continue };
        let regions: Vec<usize> = maps.iter().map(MapPixels::regions).collect();
        if regions != case.regions {
            failures.push(format!(
                "{}: {regions:?} for {:?} regions",
                case.name, case.regions
            ));
        }
        let found = pixel_metrics(&maps, case.limit).unwrap();
        for (what, found, expected) in [
            ("AUROC", found.auroc, case.auroc),
            (
                "average precision",
                found.average_precision,
                case.average_precision,
            ),
            ("AUPRO", found.aupro, case.aupro),
        ] {
            if (found - expected).is_nan() || (found - expected).abs() > 1e-11 {
                failures.push(format!("{}: {what} {found} for {expected}", case.name));
            }
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn metrics_of_pixels_are_those_of_rows() {
    let cases = cases();
    let case = cases.iter().find(|c| c.name == "hardly a tie").unwrap();
    let maps = case.maps().unwrap();
    let scores: Vec<f64> = maps
        .iter()
        .flat_map(|(map, _)| map.iter().map(|v| f64::from(*v)))
        .collect();
    let defective: Vec<bool> = maps.iter().flat_map(|(_, mask)| mask.iter().copied()).collect();
    let found = pixel_metrics(&sorted(&maps), 0.3).unwrap();
    assert_eq!(found.auroc, auroc(&scores, &defective).unwrap());
    let rows = average_precision(&scores, &defective).unwrap();
    assert!((found.average_precision - rows).abs() < 1e-12);
}

#[test]
fn neither_threads_nor_the_order_of_images_matter() {
    let case = cases().into_iter().find(|c| c.name == "fewer ties").unwrap();
    let mut maps = case.pixels().unwrap();
    let options = BootstrapOptions {
        resamples: 50,
        ..BootstrapOptions::default()
    };
    let once = pixel_metric_intervals(&maps, 0.3, &options).unwrap();
    for threads in [1, 3] {
        assert_eq!(
            with_threads(threads, || pixel_metric_intervals(&maps, 0.3, &options).unwrap()),
            once
        );
    }
    let metrics = pixel_metrics(&maps, 0.3).unwrap();
    maps.reverse();
    assert_eq!(pixel_metrics(&maps, 0.3).unwrap(), metrics);
}

/// Ends of intervals against a bootstrap that computes the exact metrics of each resample.
#[test]
fn intervals_are_those_of_exact_resamples() {
    for case in cases().iter().filter(|c| c.name != "real masks") {
        let maps = case.pixels().unwrap();
        let options = BootstrapOptions {
            resamples: 40,
            ..BootstrapOptions::default()
        };
        let found = pixel_metric_intervals(&maps, case.limit, &options).unwrap();
        let strata: Vec<bool> = case.regions.iter().map(|r| *r > 0).collect();
        let exact = bootstrap_intervals(&strata, &options, |rows| {
            let resample: Vec<MapPixels> = rows.iter().map(|i| maps[*i].clone()).collect();
            let metrics = pixel_metrics(&resample, case.limit).unwrap();
            [
                Some(metrics.auroc),
                Some(metrics.average_precision),
                Some(metrics.aupro),
            ]
        })
        .unwrap();
        for (found, exact) in [found.auroc, found.average_precision, found.aupro]
            .iter()
            .zip(&exact)
        {
            assert_eq!(found.value, exact.value, "{}", case.name);
            for (found, exact) in [(found.low, exact.low), (found.high, exact.high)] {
                assert!((found - exact).abs() < 5e-4, "{}: {found} {exact}", case.name);
            }
        }
    }
}

#[test]
fn maps_that_cannot_be_used_say_why() {
    let (map, mask) = (array![[0.0f32, 1.0]], array![[false, true]]);
    let error = MapPixels::new(array![[0.0, f32::NAN]].view(), None).unwrap_err();
    assert!(
        error.to_string().contains("the map, row 0, column 1 is NaN"),
        "{error}"
    );
    for wrong in [array![[false, true, true]], array![[false, true], [false, true]]] {
        let error = MapPixels::new(map.view(), Some(wrong.view())).unwrap_err();
        assert!(matches!(error, DetectorError::Shape { .. }), "{error}");
    }
    let good = MapPixels::new(map.view(), None).unwrap();
    let error = pixel_metrics(&[good.clone(), good], 0.3).unwrap_err();
    assert!(
        error.to_string().contains("no defective pixel in 2 maps"),
        "{error}"
    );
    let all = MapPixels::new(map.view(), Some(array![[true, true]].view())).unwrap();
    let error = pixel_metrics(&[all], 0.3).unwrap_err();
    assert!(error.to_string().contains("no good pixel"), "{error}");
    let maps = [MapPixels::new(map.view(), Some(mask.view())).unwrap()];
    for limit in [0.0, -1.0, 1.1, f64::NAN] {
        assert!(matches!(
            pixel_metrics(&maps, limit),
            Err(DetectorError::Parameter { .. })
        ));
    }
    assert!(matches!(
        pixel_metrics(&[], 0.3),
        Err(DetectorError::OneClassOfPixels { .. })
    ));
}

#[test]
fn regions_cover_the_mask() {
    for image in [1, 2, 4] {
        let mask = drawn_mask(900, image, (61, 47));
        let regions = Regions::of(mask.view());
        assert!(
            regions
                .labels
                .iter()
                .zip(&mask)
                .all(|(label, set)| (*label > 0) == *set)
        );
        let mut areas = vec![0; regions.areas.len()];
        regions
            .labels
            .iter()
            .filter(|l| **l > 0)
            .for_each(|l| areas[*l as usize - 1] += 1);
        assert_eq!(areas, regions.areas);
    }
}
