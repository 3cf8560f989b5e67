//! How long a plan will take, and what it needs, before it runs.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use blemish_backbones::{Network, Weights};
use blemish_detectors::InnerProducts;
use blemish_images::load_rgb;
use ndarray::{Array2, Array4};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::backbone::Backbone;
use super::folder::RunFolder;
use super::kept::Kept;
use super::memory::Bytes;
use super::plan::{Plan, Task};
use super::prepared::Prepared;
use super::run::RunOptions;
use super::schedule::Schedule;
use super::stats::Prediction;
use super::store::Store;
use super::work::{LayerWork, size, work};
use crate::Error;

/// How fast a machine is at what takes the time of a run, with a number of threads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// Threads that it was measured with.
    pub threads: usize,
    /// Seconds to decode a source image.
    pub decode_s: f64,
    /// Seconds for a view, its resizing and its normalising.
    pub view_s: f64,
    /// Seconds of a forward pass for an image, by network.
    pub forward_s: BTreeMap<String, f64>,
    /// Multiplications and additions of inner products in a second.
    pub products_flops: f64,
}

/// Multiplications and additions a second where the costs of detectors were measured.
const REFERENCE_FLOPS: f64 = 73e9;
/// Seconds to read an image that is prepared already.
const READ_S: f64 = 0.00015;
/// Bytes of rows a second that are copied to memory that may be fresh.
const ROWS_PER_S: f64 = 2.5e9;
/// Images that a network is timed with.
const BATCH: usize = 6;

impl Default for Calibration {
    /// The machine of `docs/performance.md`: two cores with AVX-512.
    fn default() -> Calibration {
        let forward = [
            ("resnet18", 0.010),
            ("resnet50", 0.036),
            ("wide_resnet50_2", 0.070),
            ("vit_base_16", 0.055),
            ("vit_base_32", 0.015),
        ];
        Calibration {
            threads: 2,
            decode_s: 0.010,
            view_s: 0.003,
            forward_s: forward.map(|(name, s)| (name.to_owned(), s)).into(),
            products_flops: REFERENCE_FLOPS,
        }
    }
}

impl Calibration {
    /// Times some images of the plan, each of its networks on a few made-up images, and small inner products: some
    /// seconds in all.
    ///
    /// # Errors
    /// If an image cannot be read, or a network cannot compute.
    pub fn measure(plan: &Plan, threads: Option<usize>) -> Result<Calibration, Error> {
        let mut pool = rayon::ThreadPoolBuilder::new();
        if let Some(threads) = threads {
            pool = pool.num_threads(threads);
        }
        let pool = pool
            .build()
            .map_err(|e| Error::Config(format!("the threads could not be started: {e}")))?;
        pool.install(|| Calibration::measure_here(plan))
    }

    fn measure_here(plan: &Plan) -> Result<Calibration, Error> {
        let threads = rayon::current_num_threads();
        let mut calibration = Calibration {
            threads,
            ..Calibration::default()
        };
        // Images: of each object one for each thread, at most 16.
        let files: Vec<_> = plan
            .objects
            .iter()
            .flat_map(|o| o.train.iter().take(threads))
            .take(16.max(threads))
            .collect();
        if let Some(task) = plan.tasks.first() {
            let prepare = task.backbone.preprocess(plan.resize);
            let start = Instant::now();
            let images = files
                .par_iter()
                .map(|file| load_rgb(&file.path))
                .collect::<Result<Vec<_>, _>>()?;
            calibration.decode_s = start.elapsed().as_secs_f64() / files.len().max(1) as f64;
            let start = Instant::now();
            images.par_iter().try_for_each(|image| {
                prepare
                    .apply(&plan.views[plan.views.len() - 1].apply(image))
                    .map(drop)
            })?;
            calibration.view_s = start.elapsed().as_secs_f64() / files.len().max(1) as f64;
        }
        let mut seen: Vec<String> = vec![];
        for task in &plan.tasks {
            let name = task.backbone.architecture();
            if seen.contains(&name) {
                continue;
            }
            let side = task.backbone.preprocess(plan.resize).preset.crop as usize;
            let image = |(n, c, y, x)| ((n * 7 + c * 5 + y * 3 + x) % 17) as f32 / 17.0 - 0.4;
            let batch = Array4::from_shape_fn((BATCH, 3, side, side), image);
            let layers: Vec<&str> = plan.feature_sets[task.feature_sets.clone()]
                .chunk_by(|a, b| a.layer == b.layer)
                .map(|sets| sets[0].layer.as_str())
                .collect();
            let mut features = vec![];
            // Random weights take as long as others.
            if let Backbone::Builtin { architecture, .. } = task.backbone {
                let weights = Weights::random_for(architecture, 0, &layers)?;
                let network = Network::new(architecture, &weights, &layers)?;
                network.forward_into(batch.view(), &mut features)?;
                let start = Instant::now();
                network.forward_into(batch.view(), &mut features)?;
                let seconds = start.elapsed().as_secs_f64() / BATCH as f64;
                calibration.forward_s.insert(name.clone(), seconds);
            } else {
                let network = plan.features(task, &layers)?;
                network.forward_into(batch.view(), &mut features)?;
                let start = Instant::now();
                network.forward_into(batch.view(), &mut features)?;
                let seconds = start.elapsed().as_secs_f64() / BATCH as f64;
                calibration.forward_s.insert(name.clone(), seconds);
            }
            seen.push(name);
        }
        let (n, d) = (512, 8192);
        let rows = Array2::from_shape_fn((n, d), |(i, j)| ((i * 31 + j * 17) % 101) as f32 / 101.0);
        let start = Instant::now();
        InnerProducts::from_rows(&[rows.view()], Array2::zeros((0, d)).view())?;
        calibration.products_flops = flops(n, 0, d) / start.elapsed().as_secs_f64();
        Ok(calibration)
    }

    fn forward(&self, backbone: &Backbone) -> f64 {
        self.forward_s
            .get(&backbone.architecture())
            .copied()
            .unwrap_or(0.05)
    }
}

/// Multiplications and additions of the inner products of n training rows of d columns, and m test rows with them.
fn flops(n: usize, m: usize, d: usize) -> f64 {
    2.0 * (n as f64 * (n as f64 + 1.0) / 2.0 + m as f64 * n as f64) * d as f64
}

/// Seconds of all 71 settings of the study on n rows where [`REFERENCE_FLOPS`] are reached: 0.10 s for 209 rows, 1.2 s
/// for 1254 (`docs/performance.md`), the envelope most of it.
fn detectors_s(n: usize) -> f64 {
    0.05 + 1.15 * (n as f64 / 1254.0).powf(1.75)
}

/// What is expected of a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskPrediction {
    /// Index of the task in the plan.
    pub task: usize,
    /// Experiments of the task.
    pub experiments: usize,
    /// Those that have a result already.
    pub finished: usize,
    /// Layers whose inner products are kept already.
    pub kept_layers: usize,
    /// Images that will go through the network; views count as images.
    pub images: usize,
    /// Seconds of features, inner products and detectors.
    pub stages_s: [f64; 3],
    /// All of it.
    pub prediction: Prediction,
}

impl TaskPrediction {
    /// Seconds of all stages.
    pub fn seconds(&self) -> f64 {
        self.stages_s.iter().sum()
    }
}

/// What is expected of each task of `plan` with `options`, given the results and products that are in `folder`.
///
/// # Errors
/// If memory and scratch space are too small for some task, or the store cannot be read.
pub fn predict(
    plan: &Plan,
    folder: &RunFolder,
    options: &RunOptions,
    calibration: &Calibration,
) -> Result<Vec<TaskPrediction>, Error> {
    let bounds = options.bounds(folder.path(), options.threads.unwrap_or(calibration.threads));
    let finished = folder.store().finished()?;
    let kept = Kept::in_run(folder.path());
    // Images that a task before has decoded and resized (`Runner::prepared`).
    let mut prepared = vec![];
    let tasks = plan.tasks.iter().enumerate();
    tasks
        .map(|(index, task)| {
            let layers = work(plan, task, &finished, &kept);
            let experiments = plan.task_experiments(task);
            let images: Vec<&LayerWork<'_>> = layers.iter().filter(|l| l.needs_images()).collect();
            let size = size(plan, task, &images);
            let schedule = match images.is_empty() {
                true => None,
                false => Some(Schedule::new(&task.backbone, &size, bounds)?),
            };
            let mut out = TaskPrediction {
                task: index,
                experiments: experiments.len(),
                finished: experiments
                    .iter()
                    .filter(|e| finished.contains_key(&e.key))
                    .count(),
                kept_layers: layers.iter().filter(|l| l.has_kept).count(),
                images: 0,
                stages_s: [0.0; 3],
                prediction: Prediction::default(),
            };
            let content = (task.object, task.backbone.preprocess(plan.resize), size.views);
            let shared = prepared.contains(&content);
            out.cost(plan, task, &layers, schedule.as_ref(), shared, calibration);
            if let Some(schedule) = schedule.filter(|_| !shared) {
                let bytes = Prepared::bytes_of(&content.1, size.train * size.views + size.test);
                if schedule.scratch + bytes <= bounds.scratch.0 {
                    prepared.push(content);
                }
            }
            Ok(out)
        })
        .collect()
}

impl TaskPrediction {
    fn cost(
        &mut self,
        plan: &Plan,
        task: &Task,
        layers: &[LayerWork<'_>],
        schedule: Option<&Schedule>,
        shared: bool,
        calibration: &Calibration,
    ) {
        let images: Vec<&LayerWork<'_>> = layers.iter().filter(|l| l.needs_images()).collect();
        let size = size(plan, task, &images);
        let m = plan.objects[task.object].test.len();
        if let Some(schedule) = schedule {
            let passes = schedule.passes.len();
            self.images = passes * (size.train * size.views + size.test);
            let sources = (passes * (size.train + size.test)) as f64;
            let views = self.images as f64;
            let images = match shared {
                true => views * READ_S,
                false => sources * calibration.decode_s + views * calibration.view_s,
            };
            let columns: usize = size.layers.iter().sum();
            let rows = ((size.train * size.views + size.test) * columns * 4) as f64;
            self.stages_s[0] = 0.5
                + images
                + views * calibration.forward(&task.backbone)
                + rows / ROWS_PER_S
                // To a disk and back.
                + schedule.scratch as f64 / 1e9;
            self.prediction.memory = schedule.memory;
            self.prediction.scratch = schedule.scratch;
        }
        let slower = REFERENCE_FLOPS / calibration.products_flops;
        for layer in layers {
            let d = layer.sets.first().map_or(0, |s| s.dimensions);
            if layer.needs_products && !layer.has_kept {
                let n = layer.rows();
                self.stages_s[1] += flops(n, m, d) / calibration.products_flops;
                self.prediction.kept += (4 * n * (n + 1) + 8 * n * m + 24 * (n + m) + 100) as u64;
            }
            for (set, pending) in &layer.pending {
                self.stages_s[2] += detectors_s(set.train_samples) * slower * pending.len() as f64 / 71.0;
            }
        }
        self.prediction.seconds = Some(self.seconds());
    }
}

/// Names of the calibration and of what was predicted with it among the store's facts.
const META: &str = "calibration";
const PREDICTIONS: &str = "predictions";

impl RunFolder {
    /// Remembers how fast this machine is, and what was predicted by that.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub fn save_predictions(
        &mut self,
        calibration: &Calibration,
        predictions: &[TaskPrediction],
    ) -> Result<(), Error> {
        let text = serde_json::to_string(calibration).unwrap_or_default();
        self.store_mut().put_meta(META, &text)?;
        let text = serde_json::to_string(predictions).unwrap_or_default();
        self.store_mut().put_meta(PREDICTIONS, &text)
    }
}

impl Store {
    /// The calibration that was measured when the run was planned, if there is one.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn calibration(&self) -> Result<Option<Calibration>, Error> {
        let text = self.meta(META)?;
        Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
    }

    /// What was predicted of each task when the run was planned; empty if nothing was.
    ///
    /// # Errors
    /// If SQLite fails.
    pub fn predictions(&self) -> Result<Vec<TaskPrediction>, Error> {
        let text = self.meta(PREDICTIONS)?;
        Ok(text
            .and_then(|text| serde_json::from_str(&text).ok())
            .unwrap_or_default())
    }
}

/// What a folder of the plan's results will take: bytes of the store, from a row with scores of `m` test images.
pub(crate) fn store_bytes(plan: &Plan) -> u64 {
    let of = |task: &Task| {
        let m = plan.objects[task.object].test.len() as u64;
        plan.task_experiments(task).len() as u64 * (420 + 8 * m)
    };
    plan.tasks.iter().map(of).sum()
}

/// Whether the disk of `folder` has room for what is predicted; if not, an error that says how much is missing.
///
/// # Errors
/// [`Error::Config`].
pub fn check_disk(
    plan: &Plan,
    folder: &Path,
    options: &RunOptions,
    predictions: &[TaskPrediction],
) -> Result<(), Error> {
    let keep = options.keep == super::kept::Keep::Products;
    let kept: u64 = predictions.iter().map(|p| p.prediction.kept).sum();
    let stored = store_bytes(plan) + if keep { kept } else { 0 };
    let scratch = predictions
        .iter()
        .map(|p| p.prediction.scratch)
        .max()
        .unwrap_or(0);
    let elsewhere = options.scratch.is_some();
    let free = super::memory::free_disk(folder);
    let needed = stored + if elsewhere { 0 } else { scratch };
    if let Some(free) = free.filter(|free| free.0 < needed) {
        return Err(Error::Config(format!(
            "the disk of {} has {free} free, and the run needs about {}: {} for results, {} for inner products and up to \
             {} for rows while it runs: free some space, give another folder by --out or --scratch, or use --keep nothing",
            folder.display(),
            Bytes(needed),
            Bytes(store_bytes(plan)),
            Bytes(if keep { kept } else { 0 }),
            Bytes(if elsewhere { 0 } else { scratch }),
        )));
    }
    if let (true, Some(scratch_folder)) = (elsewhere, &options.scratch)
        && let Some(free) = super::memory::free_disk(scratch_folder).filter(|free| free.0 < scratch)
    {
        return Err(Error::Config(format!(
            "the disk of {} has {free} free, and rows take up to {} while the run goes on: free some space, or give another \
             --scratch folder",
            scratch_folder.display(),
            Bytes(scratch),
        )));
    }
    Ok(())
}
