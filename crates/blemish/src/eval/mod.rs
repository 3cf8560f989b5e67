//! How well scores and maps find the defects of a test set, and how sure that is.
//!
//! [`evaluate`] takes whatever gives [`Scores`], such as an [`Inspector`], and labelled images; the metrics are those of
//! [`blemish_detectors`], with intervals by a bootstrap over images.
//!
//! ```no_run
//! use blemish::eval::{EvalConfig, evaluate};
//! use blemish::inspector::{Inspector, Samples};
//!
//! # fn main() -> Result<(), blemish::Error> {
//! let samples = Samples::open("mvtec_ad/bottle".as_ref())?;
//! let inspector = Inspector::load("bottle.blemish".as_ref(), None)?;
//! let evaluation = evaluate(&inspector, &samples.test, &EvalConfig::default(), &|_done| {})?;
//! let auroc = evaluation.image_auroc;
//! println!("image AUROC {:.3} ({:.3} to {:.3})", auroc.value, auroc.low, auroc.high);
//! # Ok(())
//! # }
//! ```

use std::path::{Path, PathBuf};

use blemish_detectors::{
    BootstrapOptions, Interval, MapPixels, auroc, average_precision, bootstrap_intervals, f1_max,
    pixel_metric_intervals,
};
use blemish_images::{GrayImage, ImageFile, ImagesError, load_mask};
use ndarray::{Array2, ArrayView2};
use rayon::prelude::*;
use serde::Serialize;

use crate::Error;
use crate::inspector::{Inspection, Inspector};

/// What gives images a score, and perhaps a map of where they are odd.
pub trait Scores {
    /// Scores image files in order and hands each to `take` with its number: with a map, height x width of the image,
    /// where it has one. A file that cannot be scored is an error of its own.
    ///
    /// # Errors
    /// What `take` returns.
    fn score_files(
        &self,
        files: &[PathBuf],
        take: &mut dyn FnMut(usize, Result<Inspection, Error>) -> Result<(), Error>,
    ) -> Result<(), Error>;
}

impl Scores for Inspector {
    fn score_files(
        &self,
        files: &[PathBuf],
        take: &mut dyn FnMut(usize, Result<Inspection, Error>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        Inspector::score_files(self, files, true, take)
    }
}

/// How to evaluate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EvalConfig {
    /// The false positive rate up to which the per-region overlap is integrated; above 0, at most 1.
    pub aupro_limit: f64,
    /// How intervals are drawn.
    pub bootstrap: BootstrapOptions,
}

impl Default for EvalConfig {
    /// To 0.3, with 2000 resamples for 95 %.
    fn default() -> Self {
        EvalConfig {
            aupro_limit: 0.3,
            bootstrap: BootstrapOptions::default(),
        }
    }
}

/// A scored image of the test set.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EvaluatedImage {
    /// Its path relative to the object's folder.
    pub image: String,
    /// Its kind of defect; `None` where it is good.
    pub defect: Option<String>,
    /// Its score.
    pub score: f64,
    /// See [`Inspection::p_value`].
    pub p_value: f64,
    /// Whether it is called defective.
    pub is_called_defective: bool,
}

/// An image that could not be scored or whose mask could not be read, and why.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Failed {
    /// Its path relative to the object's folder.
    pub image: String,
    /// The error.
    pub error: String,
}

/// How well defects are found. Metrics of pixels are `None` where there is no map or no mask.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evaluation {
    /// Good images that were scored.
    pub good: usize,
    /// Defective images that were scored.
    pub defective: usize,
    /// Area under the ROC curve of images.
    pub image_auroc: Interval,
    /// Average precision of images.
    pub image_ap: Interval,
    /// Largest F1 score of images: an upper bound, since its threshold is chosen on the test set.
    pub image_f1_max: Interval,
    /// Area under the ROC curve of pixels.
    pub pixel_auroc: Option<Interval>,
    /// Average precision of pixels.
    pub pixel_ap: Option<Interval>,
    /// Area under the per-region overlap curve, up to a false positive rate.
    pub aupro: Option<Interval>,
    /// That rate.
    pub aupro_limit: f64,
    /// Images whose pixels are counted: the good ones, and defective ones with a mask.
    pub pixel_images: usize,
    /// Good images that are called defective.
    pub false_rejects: usize,
    /// Defective images that are called good.
    pub missed: usize,
    /// How much of the resamples an interval holds.
    pub confidence: f64,
    /// Resamples of the test set's images that the intervals come from.
    pub resamples: usize,
    /// Every image, in order.
    pub images: Vec<EvaluatedImage>,
    /// Images that could not be scored.
    pub failed: Vec<Failed>,
    /// Images whose masks could not be read or are of another size: they count as images, and their pixels do not.
    pub failed_masks: Vec<Failed>,
}

impl Evaluation {
    /// The images that were told apart worst: the good ones with the highest scores and the defective ones with the
    /// lowest, up to `count` of each.
    pub fn worst(&self, count: usize) -> (Vec<&EvaluatedImage>, Vec<&EvaluatedImage>) {
        let (mut good, mut defective): (Vec<&EvaluatedImage>, Vec<&EvaluatedImage>) =
            self.images.iter().partition(|image| image.defect.is_none());
        good.sort_by(|a, b| b.score.total_cmp(&a.score));
        defective.sort_by(|a, b| a.score.total_cmp(&b.score));
        good.truncate(count);
        defective.truncate(count);
        (good, defective)
    }
}

/// Maps that are in memory at a time, waiting to be sorted in parallel.
const PENDING: usize = 8;

/// Scores the images of `test` and measures how well they are told apart, on rayon's current pool. `on_image` is told how
/// many are done.
///
/// An image that cannot be scored is left out and named; of one whose mask cannot be read the pixels are. Memory grows by 4 bytes for each pixel of a map (a test set of
/// 83 images of 900 x 900: 270 MB).
///
/// # Errors
/// If there are no good or no defective images among those that could be scored, or a setting is out of range.
pub fn evaluate(
    scores: &impl Scores,
    test: &[ImageFile],
    config: &EvalConfig,
    on_image: &dyn Fn(usize),
) -> Result<Evaluation, Error> {
    let count = |defective: bool| test.iter().filter(|f| f.is_defective() == defective).count();
    if count(false) == 0 || count(true) == 0 {
        return Err(Error::Config(format!(
            "{} good and {} defective images to test with: at least one of each is needed, in the MVTec layout, in a \
             folder with good/ and one folder a defect, or in a table (images in no folder of their own are for training)",
            count(false),
            count(true)
        )));
    }
    let files: Vec<PathBuf> = test.iter().map(|f| f.path.clone()).collect();
    let (mut images, mut failed, mut failed_masks) = (vec![], vec![], vec![]);
    let mut maps: Vec<MapPixels> = vec![];
    let mut pending: Vec<(&ImageFile, Array2<f32>)> = vec![];
    scores.score_files(&files, &mut |i, inspection| {
        let file = &test[i];
        match inspection {
            Ok(found) => {
                images.push(EvaluatedImage {
                    image: file.relative.clone(),
                    defect: file.defect.clone(),
                    score: found.score,
                    p_value: found.p_value,
                    is_called_defective: found.is_defective,
                });
                let is_counted = !file.is_defective() || file.mask.is_some();
                pending.extend(found.map.filter(|_| is_counted).map(|map| (file, map)));
                if pending.len() >= PENDING {
                    sort_maps(&mut pending, &mut maps, &mut failed_masks)?;
                }
            }
            Err(error) => failed.push(Failed {
                image: file.relative.clone(),
                error: error.to_string(),
            }),
        }
        on_image(i + 1);
        Ok(())
    })?;
    sort_maps(&mut pending, &mut maps, &mut failed_masks)?;

    let values: Vec<f64> = images.iter().map(|image| image.score).collect();
    let defective: Vec<bool> = images.iter().map(|image| image.defect.is_some()).collect();
    if !defective.contains(&true) || !defective.contains(&false) {
        return Err(Error::Config(format!(
            "{} of {} images could not be scored, and what is left is all of one kind; the first: {}",
            failed.len(),
            test.len(),
            failed.first().map_or("", |f| &f.error)
        )));
    }
    let [image_auroc, image_ap, image_f1_max] =
        bootstrap_intervals(&defective, &config.bootstrap, |rows: &[usize]| {
            let scores: Vec<f64> = rows.iter().map(|i| values[*i]).collect();
            let labels: Vec<bool> = rows.iter().map(|i| defective[*i]).collect();
            [
                auroc(&scores, &labels).ok(),
                average_precision(&scores, &labels).ok(),
                f1_max(&scores, &labels).ok().map(|best| best.f1),
            ]
        })?;
    let both_kinds = maps.iter().any(|m| m.defective() > 0) && maps.iter().any(|m| m.good() > 0);
    let pixels = if both_kinds {
        Some(pixel_metric_intervals(
            &maps,
            config.aupro_limit,
            &config.bootstrap,
        )?)
    } else {
        None
    };
    let called = |is_defective: bool, called: bool| {
        let of = |image: &&EvaluatedImage| {
            image.defect.is_some() == is_defective && image.is_called_defective == called
        };
        images.iter().filter(of).count()
    };
    Ok(Evaluation {
        good: defective.iter().filter(|d| !**d).count(),
        defective: defective.iter().filter(|d| **d).count(),
        image_auroc,
        image_ap,
        image_f1_max,
        pixel_auroc: pixels.map(|p| p.auroc),
        pixel_ap: pixels.map(|p| p.average_precision),
        aupro: pixels.map(|p| p.aupro),
        aupro_limit: config.aupro_limit,
        pixel_images: maps.len(),
        false_rejects: called(false, true),
        missed: called(true, false),
        confidence: config.bootstrap.confidence,
        resamples: config.bootstrap.resamples,
        images,
        failed,
        failed_masks,
    })
}

/// Sorts the pixels of maps that wait, with their masks; those whose masks cannot be used are named.
fn sort_maps(
    pending: &mut Vec<(&ImageFile, Array2<f32>)>,
    maps: &mut Vec<MapPixels>,
    failed: &mut Vec<Failed>,
) -> Result<(), Error> {
    let sorted: Vec<Result<MapPixels, Failed>> = pending
        .par_iter()
        .map(|(file, map)| {
            let mask = match file.mask.as_ref().filter(|_| file.is_defective()) {
                Some(path) => match mask_of(path, file, map.view()) {
                    Ok(mask) => Some(mask),
                    Err(error) => {
                        return Ok(Err(Failed {
                            image: file.relative.clone(),
                            error: error.to_string(),
                        }));
                    }
                },
                None => None,
            };
            Ok(Ok(MapPixels::new(map.view(), mask.as_ref().map(|m| m.view()))?))
        })
        .collect::<Result<_, Error>>()?;
    for sorted in sorted {
        match sorted {
            Ok(pixels) => maps.push(pixels),
            Err(error) => failed.push(error),
        }
    }
    pending.clear();
    Ok(())
}

fn mask_of(path: &Path, file: &ImageFile, map: ArrayView2<'_, f32>) -> Result<Array2<bool>, Error> {
    let mask: GrayImage = load_mask(path)?;
    let (height, width) = map.dim();
    if (mask.height() as usize, mask.width() as usize) != (height, width) {
        return Err(ImagesError::MaskSize {
            path: path.into(),
            size: mask.dimensions(),
            image: file.path.clone(),
            image_size: (width as u32, height as u32),
        }
        .into());
    }
    let set = mask.into_raw().iter().map(|v| *v > 0).collect();
    Array2::from_shape_vec((height, width), set).map_err(|e| Error::Config(e.to_string()))
}
