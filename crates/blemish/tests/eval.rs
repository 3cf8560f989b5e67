//! Evaluation of scores that are known beforehand.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::path::{Path, PathBuf};

use blemish::Error;
use blemish::detectors::{BootstrapOptions, MapPixels, auroc, pixel_metrics};
use blemish::eval::{EvalConfig, Scores, evaluate};
use blemish::images::{GrayImage, ImageFile, load_mask};
use blemish::inspector::Inspection;
use ndarray::Array2;

/// Scores by the number in a file's name; maps that are high on the left.
struct Fake {
    maps: bool,
    size: (u32, u32),
}

fn number(path: &Path) -> f64 {
    path.file_stem().unwrap().to_str().unwrap().parse().unwrap()
}

impl Fake {
    fn inspect(&self, path: &Path) -> Inspection {
        let score = number(path);
        let (width, height) = self.size;
        let map = |(y, x): (usize, usize)| score as f32 - x as f32 + ((x * 7 + y * 13) % 5) as f32;
        Inspection {
            score,
            p_value: 0.5,
            is_defective: score > 20.0,
            width,
            height,
            map: self
                .maps
                .then(|| Array2::from_shape_fn((height as usize, width as usize), map)),
        }
    }
}

impl Scores for Fake {
    fn score_files(
        &self,
        files: &[PathBuf],
        take: &mut dyn FnMut(usize, Result<Inspection, Error>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        for (i, path) in files.iter().enumerate() {
            let found = if number(path) == 99.0 {
                Err(Error::Config("cannot be scored".into()))
            } else {
                Ok(self.inspect(path))
            };
            take(i, found)?;
        }
        Ok(())
    }
}

fn file(name: &str, defect: Option<&str>, mask: Option<PathBuf>) -> ImageFile {
    ImageFile {
        path: name.into(),
        relative: name.into(),
        defect: defect.map(str::to_owned),
        mask,
    }
}

/// Good images with scores 10 to 21, defective ones 18 to 29, each with a mask of four columns on the left.
fn test_set(folder: &Path) -> Vec<ImageFile> {
    let mut files: Vec<ImageFile> = (10..22).map(|i| file(&format!("{i}.png"), None, None)).collect();
    for i in 18..30 {
        let path = folder.join(format!("{i}_mask.png"));
        GrayImage::from_fn(12, 9, |x, y| [u8::from(x < 4 && y != 4 && i != 20) * 255].into())
            .save(&path)
            .unwrap();
        files.push(file(&format!("{i}.png"), Some("dent"), Some(path)));
    }
    files
}

const FAKE: Fake = Fake {
    maps: true,
    size: (12, 9),
};

fn quick() -> EvalConfig {
    EvalConfig {
        bootstrap: BootstrapOptions {
            resamples: 200,
            ..BootstrapOptions::default()
        },
        ..EvalConfig::default()
    }
}

#[test]
fn metrics_are_those_of_scores_and_maps() {
    let folder = tempfile::tempdir().unwrap();
    let test = test_set(folder.path());
    let done = std::cell::Cell::new(0);
    let found = evaluate(&FAKE, &test, &quick(), &|n| done.set(n)).unwrap();
    assert_eq!(done.get(), 24);
    let scores: Vec<f64> = test.iter().map(|f| number(&f.path)).collect();
    let labels: Vec<bool> = test.iter().map(ImageFile::is_defective).collect();
    assert_eq!(found.image_auroc.value, auroc(&scores, &labels).unwrap());
    assert!(found.image_auroc.low < found.image_auroc.value && found.image_auroc.value < 1.0);
    assert_eq!((found.good, found.defective), (12, 12));
    // 21 is called defective, 18, 19 and 20 are not.
    assert_eq!((found.false_rejects, found.missed), (1, 3));
    let maps: Vec<MapPixels> = test
        .iter()
        .map(|f| {
            let map = FAKE.inspect(&f.path).map.unwrap();
            let mask = f.mask.as_ref().map(|path| {
                let mask = load_mask(path).unwrap();
                Array2::from_shape_fn((9, 12), |(y, x)| mask.get_pixel(x as u32, y as u32).0[0] > 0)
            });
            MapPixels::new(map.view(), mask.as_ref().map(|m| m.view())).unwrap()
        })
        .collect();
    let pixels = pixel_metrics(&maps, 0.3).unwrap();
    assert_eq!(found.pixel_auroc.unwrap().value, pixels.auroc);
    assert_eq!(found.pixel_ap.unwrap().value, pixels.average_precision);
    let aupro = found.aupro.unwrap();
    assert_eq!(aupro.value, pixels.aupro);
    assert!(aupro.low < aupro.value && aupro.value < aupro.high, "{aupro:?}");
    let (good, defective) = found.worst(2);
    let names = |images: &[&blemish::eval::EvaluatedImage]| -> Vec<String> {
        images.iter().map(|i| i.image.clone()).collect()
    };
    assert_eq!(names(&good), ["21.png", "20.png"]);
    assert_eq!(names(&defective), ["18.png", "19.png"]);
}

#[test]
fn without_maps_or_masks_there_are_no_metrics_of_pixels() {
    let folder = tempfile::tempdir().unwrap();
    let mut test = test_set(folder.path());
    let plain = Fake { maps: false, ..FAKE };
    assert_eq!(evaluate(&plain, &test, &quick(), &|_| {}).unwrap().aupro, None);
    // An image without a mask is not counted; that of nothing is all good.
    test[12].mask = None;
    let found = evaluate(&FAKE, &test, &quick(), &|_| {}).unwrap();
    assert_eq!(found.pixel_images, 23);
    test.iter_mut().for_each(|f| f.mask = None);
    let found = evaluate(&FAKE, &test, &quick(), &|_| {}).unwrap();
    assert_eq!((found.pixel_auroc, found.pixel_images), (None, 12));
}

#[test]
fn images_that_cannot_be_scored_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let mut test = test_set(folder.path());
    test.push(file("99.png", Some("dent"), None));
    let found = evaluate(&FAKE, &test, &quick(), &|_| {}).unwrap();
    assert_eq!(found.failed.len(), 1);
    assert_eq!(found.failed[0].image, "99.png");
    assert_eq!(found.images.len(), 24);
    let only = [file("10.png", None, None), file("99.png", Some("dent"), None)];
    let error = evaluate(&FAKE, &only, &quick(), &|_| {}).unwrap_err();
    assert!(error.to_string().contains("cannot be scored"), "{error}");
}

#[test]
fn a_broken_mask_costs_its_pixels_alone() {
    let folder = tempfile::tempdir().unwrap();
    let test = test_set(folder.path());
    let whole = evaluate(&FAKE, &test, &quick(), &|_| {}).unwrap();
    assert!(whole.failed_masks.is_empty());
    std::fs::write(folder.path().join("20_mask.png"), "no image").unwrap();
    let found = evaluate(&FAKE, &test, &quick(), &|_| {}).unwrap();
    assert_eq!(found.failed_masks.len(), 1);
    assert_eq!(found.failed_masks[0].image, "20.png");
    assert_eq!(
        (found.images.len(), found.pixel_images),
        (24, whole.pixel_images - 1)
    );
    assert_eq!(found.image_auroc, whole.image_auroc);
    // As if that image were not among those with masks.
    let mut without = test.clone();
    without.iter_mut().find(|f| f.relative == "20.png").unwrap().mask = None;
    let without = evaluate(&FAKE, &without, &quick(), &|_| {}).unwrap();
    assert_eq!(
        (found.pixel_auroc, found.aupro),
        (without.pixel_auroc, without.aupro)
    );
}

#[test]
fn what_cannot_be_evaluated_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let test = test_set(folder.path());
    let error = evaluate(&FAKE, &test[..12], &quick(), &|_| {}).unwrap_err();
    assert!(error.to_string().contains("12 good and 0 defective"), "{error}");
    let other = Fake {
        size: (12, 10),
        ..FAKE
    };
    // No mask fits: there are metrics of images, none of pixels, and every mask is named.
    let found = evaluate(&other, &test, &quick(), &|_| {}).unwrap();
    assert_eq!((found.pixel_auroc, found.failed_masks.len()), (None, 12));
    assert_eq!(found.defective, 12);
    assert!(found.failed_masks[0].error.contains("18_mask.png"));
    let wrong = EvalConfig {
        aupro_limit: 0.0,
        ..quick()
    };
    assert!(evaluate(&FAKE, &test, &wrong, &|_| {}).is_err());
}
