//! Learning from good images.

use std::cell::RefCell;

use blemish_backbones::{Network, Weights};
use blemish_detectors::{DetectorKind, FitOptions};
use blemish_images::{RgbImage, WholeImage, load_rgb};
use ndarray::Array2;
use rand::{SeedableRng, seq::index};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::bank::MemoryBank;
use super::calibrate::Calibration;
use super::coreset::{k_centre, project};
use super::detector::{CELLS, Detector};
use super::features::{Extractor, Source, check_stop, patches, select};
use super::gaussian::Sums;
use super::input::Samples;
use super::method::Method;
use super::model::{Inspector, References, Settings};
use super::plan::{FOLDS, FitConfig, FitPlan};
use crate::Error;

/// The first of the streams of random numbers by which an image's candidates are drawn; one for each image.
const STREAM: u64 = 1 << 32;

/// The most values of an image of which two are stored.
const MOST_REFERENCE: usize = 3 * 2048 * 2048;

/// How far a fit is.
#[derive(Debug)]
pub enum FitEvent<'a> {
    /// What will be done.
    Planned(&'a FitPlan),
    /// A step.
    Progress {
        /// What is being done.
        step: &'static str,
        /// How much of it is done.
        done: usize,
        /// How much there is.
        total: usize,
    },
    /// Something worth knowing, in words.
    Note(&'a str),
}

/// Is told how far a fit is.
pub type OnFitEvent<'a> = &'a dyn Fn(&FitEvent<'_>);

impl Inspector {
    /// Learns from the training images of `samples`, on rayon's current pool (see
    /// [`with_threads`](super::with_threads)).
    ///
    /// # Errors
    /// If an image cannot be decoded, a setting is out of range, weights are missing, or the memory does not suffice: see
    /// [`FitPlan::new`].
    pub fn fit(samples: &Samples, config: &FitConfig, on_event: OnFitEvent<'_>) -> Result<Inspector, Error> {
        let plan = FitPlan::new(samples, config)?;
        on_event(&FitEvent::Planned(&plan));
        let weights = config.load_weights(&plan.layers)?;
        let network = Network::new(config.architecture, &weights, &plan.layers)?;
        let extractor = Extractor::new(network, plan.prepare, plan.tiling)?;
        let files = samples.train.iter().map(|file| file.path.clone()).collect();
        let mut source = Source::new(&extractor, files, &plan);
        let (detector, scores) = learn(&mut source, &plan, config, on_event)?;
        drop(source);
        let settings = Settings::new(samples, config, &plan, &extractor, &weights)?;
        let calibration = Calibration::new(scores, config.false_reject_rate)?;
        finish(samples, settings, weights, extractor, detector, calibration)
    }
}

/// The score of each training image by what is learned from the others, in order; nothing is kept.
pub(crate) fn left_out_scores(
    samples: &Samples,
    config: &FitConfig,
    advance: &dyn Fn(usize, usize),
) -> Result<Vec<f64>, Error> {
    let plan = FitPlan::new(samples, config)?;
    let weights = config.load_weights(&plan.layers)?;
    let network = Network::new(config.architecture, &weights, &plan.layers)?;
    let extractor = Extractor::new(network, plan.prepare, plan.tiling)?;
    let files = samples.train.iter().map(|file| file.path.clone()).collect();
    let mut source = Source::new(&extractor, files, &plan);
    let on_event = |event: &FitEvent<'_>| {
        if let FitEvent::Progress { done, total, .. } = event {
            advance(*done, *total);
        }
    };
    Ok(learn(&mut source, &plan, config, &on_event)?.1)
}

fn finish(
    samples: &Samples,
    settings: Settings,
    weights: Weights,
    extractor: Extractor,
    detector: Detector,
    calibration: Calibration,
) -> Result<Inspector, Error> {
    let mut images = vec![];
    if let (Some(first), Some(last)) = (samples.train.first(), samples.train.last()) {
        // Of very large ones the other is enough: they are in every file, and scored whenever it is read.
        if extractor.prepare.len() <= MOST_REFERENCE {
            images.push(at_input_size(&load_rgb(&first.path)?, &extractor.prepare)?);
        }
        // One with a defect: a part of it is inverted.
        let mut image = at_input_size(&load_rgb(&last.path)?, &extractor.prepare)?;
        let (width, height) = image.dimensions();
        for y in height / 3..height / 2 {
            for x in width / 3..width / 2 {
                let pixel = image.get_pixel_mut(x, y);
                pixel.0 = pixel.0.map(|v| 255 - v);
            }
        }
        images.push(image);
    }
    let mut inspector = Inspector::assemble(
        settings,
        weights,
        extractor,
        detector,
        calibration,
        References::default(),
    );
    let scores = images
        .iter()
        .map(|image| Ok(inspector.score(image)?.score))
        .collect::<Result<_, Error>>()?;
    inspector.references = References { images, scores };
    Ok(inspector)
}

/// The picture that the network sees, in 8 bits.
fn at_input_size(image: &RgbImage, prepare: &WholeImage) -> Result<RgbImage, Error> {
    let plain = WholeImage {
        mean: [0.0; 3],
        std: [1.0; 3],
        ..*prepare
    };
    let mut values = vec![0.0; plain.len()];
    plain.apply(image, &mut values)?;
    let pixels = plain.len() / 3;
    let mut bytes = vec![0; plain.len()];
    for (i, byte) in bytes.iter_mut().enumerate() {
        *byte = (255.0 * values[i % 3 * pixels + i / 3]).round().clamp(0.0, 255.0) as u8;
    }
    RgbImage::from_raw(plain.width, plain.height, bytes)
        .ok_or_else(|| Error::Panic("a resized image has another size".into()))
}

/// What the method learns, and the score of every image by what is learned without it.
pub(crate) fn learn(
    source: &mut Source<'_>,
    plan: &FitPlan,
    config: &FitConfig,
    on_event: OnFitEvent<'_>,
) -> Result<(Detector, Vec<f64>), Error> {
    let detector = learn_detector(source, plan, config, on_event)?;
    let n = source.len();
    let step = "threshold";
    let advance = |done: usize| {
        on_event(&FitEvent::Progress { step, done, total: n });
    };
    let scores = match (&detector, config.method) {
        (Detector::Image(model), Method::Image(kind)) => {
            // The local outlier factor leaves a row out of its own neighbours alone, not out of its neighbours'.
            if model.leaves_one_out() && kind != DetectorKind::LocalOutlierFactor {
                model.train_scores().to_vec()
            } else {
                image_scores(source, kind, config.seed, &advance)?
            }
        }
        (_, Method::Padim) => left_out(source, &detector, &advance)?,
        _ => fold_scores(source, plan, config, on_event)?,
    };
    Ok((detector, scores))
}

/// What the method learns from all images.
pub(crate) fn learn_detector(
    source: &mut Source<'_>,
    plan: &FitPlan,
    config: &FitConfig,
    on_event: OnFitEvent<'_>,
) -> Result<Detector, Error> {
    let n = source.len();
    let progress = |step: &'static str, total: usize| {
        move |done: usize| on_event(&FitEvent::Progress { step, done, total })
    };
    let features = progress("features", n);
    match config.method {
        Method::MemoryBank => {
            let (rows, _) = candidates(source, plan.candidates, config.seed, &features)?;
            let projected = project(rows.view(), config.seed);
            let step = progress("choosing patches", plan.rows);
            let go_on = |done: usize| {
                step(done);
                check_stop(config.stop.as_deref()).is_ok()
            };
            let mut chosen = k_centre(projected.view(), plan.rows, &go_on);
            check_stop(config.stop.as_deref())?;
            // In the order of the images.
            chosen.sort_unstable();
            Ok(Detector::Bank(MemoryBank::new(select(&rows, &chosen))))
        }
        Method::Padim => {
            let embedding = source.embedding.clone();
            let mut sums = Sums::new(embedding.patches(), embedding.columns, config.seed);
            source.visit(&features, &mut |_, chunk| {
                sums.add(&patches(&embedding, chunk));
                Ok(())
            })?;
            Ok(Detector::Gaussian(sums.finish()))
        }
        Method::Patches(kind) => {
            let (rows, _) = candidates(source, plan.candidates, config.seed, &features)?;
            let model = Method::spec(kind).fit(rows.view(), &options(config.seed))?;
            Ok(Detector::Patches(model.into()))
        }
        Method::Image(kind) => {
            let rows = whole_images(source, &features)?;
            let model = Method::spec(kind).fit(rows.view(), &options(config.seed))?;
            Ok(Detector::Image(model.into()))
        }
    }
}

fn options(seed: u64) -> FitOptions {
    FitOptions {
        seed,
        contamination: None,
    }
}

/// A row for each image.
fn whole_images(source: &mut Source<'_>, advance: &dyn Fn(usize)) -> Result<Array2<f32>, Error> {
    let embedding = source.embedding.clone();
    let mut rows = Array2::zeros((source.len(), embedding.whole_len(CELLS)));
    source.visit(advance, &mut |first, chunk| {
        for i in 0..chunk.len() {
            let row = embedding.whole(&chunk.image(i), CELLS);
            rows.row_mut(first + i)
                .iter_mut()
                .zip(row)
                .for_each(|(to, v)| *to = v);
        }
        Ok(())
    })?;
    Ok(rows)
}

/// Scores of all images by detectors of whole images that were fitted to the images of other folds.
fn image_scores(
    source: &mut Source<'_>,
    kind: DetectorKind,
    seed: u64,
    advance: &dyn Fn(usize),
) -> Result<Vec<f64>, Error> {
    let rows = whole_images(source, &|_| {})?;
    let n = rows.nrows();
    let folds = FOLDS.min(n);
    let mut scores = vec![0.0; n];
    for fold in 0..folds {
        let (own, others): (Vec<usize>, Vec<usize>) = (0..n).partition(|i| i % folds == fold);
        let model = Method::spec(kind).fit(select(&rows, &others).view(), &options(seed))?;
        for (i, score) in own.iter().zip(model.score(select(&rows, &own).view())?) {
            scores[*i] = score;
        }
        advance((fold + 1) * n / folds);
    }
    Ok(scores)
}

/// Scores of all images, each by a detector of patches that is made in the same way from the images of the other folds.
fn fold_scores(
    source: &mut Source<'_>,
    plan: &FitPlan,
    config: &FitConfig,
    on_event: OnFitEvent<'_>,
) -> Result<Vec<f64>, Error> {
    let n = source.len();
    let folds = FOLDS.min(n);
    let total = n + folds * n.div_ceil(4);
    let advance = |done: usize| {
        let step = "threshold";
        on_event(&FitEvent::Progress { step, done, total });
    };
    let (rows, images) = candidates(source, plan.candidates, config.seed, &|_| {})?;
    let projected = match config.method {
        Method::MemoryBank => project(rows.view(), config.seed),
        _ => Array2::zeros((0, 0)),
    };
    let mut detectors = vec![];
    for fold in 0..folds {
        check_stop(config.stop.as_deref())?;
        let others: Vec<usize> = (0..rows.nrows())
            .filter(|i| images[*i] as usize % folds != fold)
            .collect();
        detectors.push(match config.method {
            Method::Patches(kind) => {
                let model = Method::spec(kind).fit(select(&rows, &others).view(), &options(config.seed))?;
                Detector::Patches(model.into())
            }
            _ => {
                let go_on = |_| check_stop(config.stop.as_deref()).is_ok();
                let mut chosen = k_centre(select(&projected, &others).view(), plan.rows, &go_on);
                check_stop(config.stop.as_deref())?;
                chosen.sort_unstable();
                let chosen: Vec<usize> = chosen.iter().map(|i| others[*i]).collect();
                Detector::Bank(MemoryBank::new(select(&rows, &chosen)))
            }
        });
        advance((fold + 1) * n.div_ceil(4));
    }
    drop((rows, projected));
    let embedding = source.embedding.clone();
    let mut scores = Vec::with_capacity(n);
    source.visit(&|done| advance(total - n + done), &mut |first, chunk| {
        let scored: Vec<f64> = (0..chunk.len())
            .into_par_iter()
            .map(|i| {
                let scored = detectors[(first + i) % folds].score(&embedding, &chunk.one(i))?;
                Ok(scored.first().map_or(f64::NAN, |s| s.score))
            })
            .collect::<Result<_, Error>>()?;
        scores.extend(scored);
        Ok(())
    })?;
    Ok(scores)
}

/// The scores of all images, each by what was learned from the others.
fn left_out(
    source: &mut Source<'_>,
    detector: &Detector,
    advance: &dyn Fn(usize),
) -> Result<Vec<f64>, Error> {
    let mut scores = Vec::with_capacity(source.len());
    let embedding = source.embedding.clone();
    source.visit(advance, &mut |_, chunk| {
        let scored = detector.score_left_out(&embedding, chunk)?;
        scores.extend(scored.iter().map(|s| s.score));
        Ok(())
    })?;
    Ok(scores)
}

/// Patches of all images, as many of each, at positions that are drawn at random; and each one's image, ascending.
fn candidates(
    source: &mut Source<'_>,
    count: usize,
    seed: u64,
    advance: &dyn Fn(usize),
) -> Result<(Array2<f32>, Vec<u32>), Error> {
    let n = source.len();
    let embedding = source.embedding.clone();
    let all = embedding.patches();
    let count = count.min(n * all);
    // Where a share would be a fraction, some images have one more.
    let share = |i: usize| (i + 1) * count / n - i * count / n;
    let rows = RefCell::new(Array2::zeros((count, embedding.columns)));
    let mut images = Vec::with_capacity(count);
    source.visit(advance, &mut |first, chunk| {
        let mut rows = rows.borrow_mut();
        for (i, patches) in patches(&embedding, chunk).iter().enumerate() {
            let image = first + i;
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            rng.set_stream(STREAM + image as u64);
            let mut positions = index::sample(&mut rng, all, share(image).min(all)).into_vec();
            positions.sort_unstable();
            for position in positions {
                rows.row_mut(images.len()).assign(&patches.row(position));
                images.push(image as u32);
            }
        }
        Ok(())
    })?;
    Ok((rows.into_inner(), images))
}
