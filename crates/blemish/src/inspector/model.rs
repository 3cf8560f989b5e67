//! A fitted inspector: pictures in; scores, verdicts and maps out.

use std::path::{Path, PathBuf};

use blemish_backbones::{Architecture, Weights};
use blemish_images::{ImagesError, MapScale, RgbImage, load_rgb};
use ndarray::{Array2, s};
use serde::{Deserialize, Serialize};

use super::calibrate::Calibration;
use super::detector::{Detector, Scored};
use super::features::{CHUNK, Chunk, Extractor, Size};
use super::input::Samples;
use super::map::{SIGMA, resize, smooth};
use super::method::Method;
use super::plan::{FitConfig, FitPlan};
use super::tiles::Tiling;
use crate::Error;

/// What an inspector was fitted with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Settings {
    /// What the images are of.
    pub name: String,
    /// The version of this program.
    pub program: String,
    /// The way to find defects.
    pub method: Method,
    /// The network.
    pub architecture: String,
    /// Its weights.
    pub initialization: String,
    /// Its layers.
    pub layers: Vec<String>,
    /// Content hash of what the deepest of the layers depends on ([`Weights::digest`]).
    pub weights_digest: String,
    /// The vector instructions in use.
    pub instruction_set: String,
    /// Width of the network's input, in pixels.
    pub width: u32,
    /// Height of the network's input, in pixels.
    pub height: u32,
    /// How the input is cut into tiles; `None` where it is taken whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tiling: Option<Tiling>,
    /// Subtracted from red, green and blue in 0 to 1.
    pub mean: [f32; 3],
    /// Divided by, after the mean was subtracted.
    pub std: [f32; 3],
    /// Number of training images.
    pub images: usize,
    /// The requested part of good images that may be rejected.
    pub false_reject_rate: f64,
    /// Seed of what was drawn at random.
    pub seed: u64,
}

impl Settings {
    pub(crate) fn new(
        samples: &Samples,
        config: &FitConfig,
        plan: &FitPlan,
        extractor: &Extractor,
        weights: &Weights,
    ) -> Result<Settings, Error> {
        Ok(Settings {
            name: samples.name.clone(),
            program: env!("CARGO_PKG_VERSION").into(),
            method: config.method,
            architecture: config.architecture.to_string(),
            initialization: config.initialization().to_string(),
            layers: plan.layers.iter().map(|l| (*l).to_owned()).collect(),
            weights_digest: weights
                .digest(config.architecture, deepest(config.architecture, &plan.layers))?,
            instruction_set: extractor.network.instruction_set().to_string(),
            width: plan.width,
            height: plan.height,
            tiling: plan.tiling,
            mean: plan.prepare.mean,
            std: plan.prepare.std,
            images: plan.images,
            false_reject_rate: config.false_reject_rate,
            seed: config.seed,
        })
    }
}

/// The deepest of some layers.
pub(crate) fn deepest<'a>(architecture: Architecture, layers: &[&'a str]) -> &'a str {
    let depth = |layer: &str| architecture.layers().iter().position(|known| *known == layer);
    layers
        .iter()
        .max_by_key(|layer| depth(layer))
        .copied()
        .unwrap_or_default()
}

/// Pictures with their scores, which a loaded model must give again.
#[derive(Debug, Default)]
pub(crate) struct References {
    /// Of the size of the network's input.
    pub(crate) images: Vec<RgbImage>,
    pub(crate) scores: Vec<f64>,
}

/// A detector of defects that was fitted to good images, with its threshold.
#[derive(Debug)]
pub struct Inspector {
    pub(crate) settings: Settings,
    pub(crate) weights: Weights,
    pub(crate) extractor: Extractor,
    pub(crate) detector: Detector,
    pub(crate) calibration: Calibration,
    pub(crate) references: References,
}

/// What was found in an image.
#[derive(Clone, Debug, PartialEq)]
pub struct Inspection {
    /// How unlike the good images it is; higher is more so. On the scale of the method: scores of two models cannot be
    /// compared.
    pub score: f64,
    /// See [`Calibration::p_value`].
    pub p_value: f64,
    /// Whether the score is above the threshold.
    pub is_defective: bool,
    /// The image's width, in pixels.
    pub width: u32,
    /// The image's height, in pixels.
    pub height: u32,
    /// Where it is unlike the good ones: height x width of the image, higher is more so, on the same scale in all images;
    /// `None` where it was not asked for or the method has none.
    pub map: Option<Array2<f32>>,
}

impl Inspector {
    /// As many images are taken at a time by [`score_files`](Self::score_files); fewer where they are very large.
    pub const BATCH: usize = CHUNK;

    pub(crate) fn assemble(
        settings: Settings,
        weights: Weights,
        extractor: Extractor,
        detector: Detector,
        calibration: Calibration,
        references: References,
    ) -> Inspector {
        Inspector {
            settings,
            weights,
            extractor,
            detector,
            calibration,
            references,
        }
    }

    /// What it was fitted with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The threshold, and what it means.
    pub fn calibration(&self) -> &Calibration {
        &self.calibration
    }

    /// The scale on which maps of this model are drawn, the same for all images, so that they can be compared: from 0 to
    /// twice the threshold; of maps that are laid over images, from half of the threshold, so that what is like the good
    /// images stays as it is. `None` where the threshold is not above 0.
    pub fn map_scale(&self, overlaid: bool) -> Option<MapScale> {
        let threshold = self.calibration.threshold() as f32;
        (threshold > 0.0).then_some(MapScale {
            low: if overlaid { 0.5 * threshold } else { 0.0 },
            high: 2.0 * threshold,
        })
    }

    /// Chooses the threshold for another part of good images that may be rejected, from the same scores.
    ///
    /// # Errors
    /// If the rate is out of range.
    pub fn set_false_reject_rate(&mut self, rate: f64) -> Result<(), Error> {
        self.calibration = self.calibration.with_rate(rate)?;
        self.settings.false_reject_rate = rate;
        Ok(())
    }

    /// Scores an image, of any size, with a map.
    ///
    /// # Errors
    /// If the image has no pixels, or its features are not finite.
    pub fn score(&self, image: &RgbImage) -> Result<Inspection, Error> {
        let mut out = self.score_batch(1, &|_| Ok(image.clone()), true);
        out.pop()
            .unwrap_or_else(|| Err(Error::Panic("no score for one image".into())))
    }

    /// Scores image files in order, some at a time, in constant memory, and hands each to `take` with its number; with
    /// maps if `maps`. A file that cannot be decoded is an error of its own and does not stop the others. Uses rayon's
    /// current pool.
    ///
    /// # Errors
    /// What `take` returns.
    pub fn score_files<E>(
        &self,
        files: &[PathBuf],
        maps: bool,
        take: &mut dyn FnMut(usize, Result<Inspection, Error>) -> Result<(), E>,
    ) -> Result<(), E> {
        let chunk = self.extractor.chunk();
        for (c, files) in files.chunks(chunk).enumerate() {
            let scored = self.score_batch(files.len(), &|i| Ok(load_rgb(&files[i])?), maps);
            for (i, inspection) in scored.into_iter().enumerate() {
                take(c * chunk + i, inspection)?;
            }
        }
        Ok(())
    }

    /// Scores `count` images that `load` gives, all at once.
    pub(crate) fn score_batch(
        &self,
        count: usize,
        load: &(dyn Fn(usize) -> Result<RgbImage, Error> + Sync),
        maps: bool,
    ) -> Vec<Result<Inspection, Error>> {
        let (batch, sizes) = self.extractor.tensors(count, load);
        let embedding = &self.extractor.embedding;
        let scores = |batch: ndarray::ArrayView4<'_, f32>| -> Result<Vec<Scored>, Error> {
            let mut features = vec![];
            self.extractor.features_into(batch, &mut features)?;
            let layers = features.iter().map(|f| f.view()).collect();
            self.detector.score(embedding, &Chunk { layers })
        };
        let good = batch.dim().0;
        let scored: Vec<Result<Scored, Error>> = match scores(batch.view()) {
            Ok(scored) => scored.into_iter().map(Ok).collect(),
            // One image may have spoiled it for all.
            Err(_) if good > 1 => (0..good)
                .map(|i| {
                    let mut one = scores(batch.slice(s![i..=i, .., .., ..]))?;
                    one.pop()
                        .ok_or_else(|| Error::Panic("no score for one image".into()))
                })
                .collect(),
            Err(error) => vec![Err(error)],
        };
        let mut scored = scored.into_iter();
        let paired: Vec<Result<(Size, Scored), Error>> = sizes
            .into_iter()
            .map(|size| {
                let size = size?;
                let scored = scored.next();
                let scored = scored.unwrap_or_else(|| Err(Error::Panic("an image has no score".into())))?;
                Ok((size, scored))
            })
            .collect();
        use rayon::prelude::*;
        paired
            .into_par_iter()
            .map(|pair| {
                let ((width, height), scored) = pair?;
                let map = scored.patches.filter(|_| maps).map(|patches| {
                    let input = &self.extractor.prepare;
                    let map = resize(patches.view(), input.height as usize, input.width as usize);
                    resize(smooth(&map, SIGMA).view(), height as usize, width as usize)
                });
                Ok(Inspection {
                    score: scored.score,
                    p_value: self.calibration.p_value(scored.score),
                    is_defective: self.calibration.is_defective(scored.score),
                    width,
                    height,
                    map,
                })
            })
            .collect()
    }

    /// What it has learned and how, in words.
    pub fn in_words(&self) -> String {
        let settings = &self.settings;
        let embedding = &self.extractor.embedding;
        let what = match &self.detector {
            Detector::Bank(bank) => format!("{} patches x {} features", bank.rows.nrows(), bank.rows.ncols()),
            Detector::Gaussian(gaussian) => {
                format!(
                    "{} positions x {} features",
                    gaussian.mean.nrows(),
                    gaussian.columns.len()
                )
            }
            Detector::Patches(model) => {
                format!("{} patches x {} features", model.train_len(), model.columns())
            }
            Detector::Image(model) => format!("{} images x {} features", model.train_len(), model.columns()),
        };
        let tiles = settings
            .tiling
            .map_or_else(String::new, |tiling| format!(" in tiles of {}", tiling.size));
        format!(
            "{}: {} of {what}, from {} good images; {} ({}) {}, {} x {} pixels{tiles}, a grid of {} x {}",
            settings.name,
            settings.method,
            settings.images,
            settings.architecture,
            settings.initialization,
            settings.layers.join("+"),
            settings.width,
            settings.height,
            embedding.width,
            embedding.height,
        )
    }
}

/// The files that `paths` mean: files themselves, and the images in folders and in their folders, in order.
///
/// # Errors
/// If a folder holds no image, or there is no such file.
pub(crate) fn expand(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Error> {
    let mut files = vec![];
    for path in paths {
        if path.is_dir() {
            files.extend(blemish_images::list_images(path, true)?);
        } else if path.exists() {
            files.push(path.clone());
        } else {
            let text = "there is no such file or folder";
            let source = std::io::Error::new(std::io::ErrorKind::NotFound, text);
            return Err(ImagesError::Io {
                path: path.clone(),
                source,
            }
            .into());
        }
    }
    Ok(files)
}

impl Inspector {
    /// The image files that `paths` mean: files themselves, and of folders the images in them and in their folders, in the
    /// order of their names.
    ///
    /// # Errors
    /// If there is no such file or folder, or a folder holds no image.
    pub fn image_files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Error> {
        expand(paths)
    }

    /// [`save`](Self::save)s and tells the size of the file in bytes.
    ///
    /// # Errors
    /// As [`save`](Self::save).
    pub fn save_sized(&self, path: &Path, embed_weights: bool) -> Result<u64, Error> {
        self.save(path, embed_weights)?;
        Ok(std::fs::metadata(path).map_err(|e| Error::io(path, e))?.len())
    }
}

/// Runs `work` on a pool of so many threads; `None` is one for each core. Results do not depend on it.
///
/// # Errors
/// If the threads cannot be started, and those of `work`.
pub fn with_threads<T: Send, E: From<Error> + Send>(
    threads: Option<usize>,
    work: impl FnOnce() -> Result<T, E> + Send,
) -> Result<T, E> {
    let mut pool = rayon::ThreadPoolBuilder::new();
    if let Some(threads) = threads {
        pool = pool.num_threads(threads);
    }
    let pool = pool
        .build()
        .map_err(|e| Error::Config(format!("the threads could not be started: {e}")))?;
    pool.install(work)
}
