//! One forward pass over the images of a task: pictures in, rows of the wanted layers out.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use blemish_images::{ImageFile, Object, Preprocess, View, load_rgb};
use ndarray::{Array2, Array3, Array4, Axis, s};
use rayon::prelude::*;

use super::backbone::Features;
use super::plan::{Plan, Task};
use super::prepared::Prepared;
use super::rows::{LayerRows, TestRows, TrainRows};
use super::run::{Event, OnEvent};
use super::schedule::Place;
use super::scratch::{ScratchFile, ScratchRows};
use super::stats::StageTimes;
use crate::Error;

/// What is to be extracted, and how.
#[derive(Clone, Copy)]
pub(crate) struct Extraction<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) task: &'a Task,
    /// Layers by name, in the network's order, and where their rows go.
    pub(crate) layers: &'a [(&'a str, Place)],
    pub(crate) augmented: bool,
    /// Source images taken at a time.
    pub(crate) chunk: usize,
    /// Looked at between chunks.
    pub(crate) stop: &'a (dyn Fn() -> bool + Sync),
}

impl Extraction<'_> {
    /// Rows, one entry a layer; `None` if it was stopped.
    pub(crate) fn run(
        self,
        scratch: Option<&mut ScratchFile>,
        mut prepared: Option<&mut Prepared>,
        times: &mut StageTimes,
        on_event: OnEvent<'_>,
    ) -> Result<Option<Vec<LayerRows>>, Error> {
        let Extraction { plan, task, .. } = self;
        let object = &plan.objects[task.object];
        let names: Vec<&str> = self.layers.iter().map(|(name, _)| *name).collect();
        let network = timed(&mut times.load, || plan.features(task, &names))?;
        let prepare = task.backbone.preprocess(plan.resize);
        let views: &[View] = if self.augmented {
            &plan.views
        } else {
            &plan.views[..1]
        };
        let mut sinks = self.sinks(object, views.len(), scratch)?;
        let mut pass = Pass {
            network,
            crop: prepare.preset.crop as usize,
            prepare,
            prepared: prepared.as_deref(),
            buffer: vec![],
            features: vec![],
            times,
        };
        let total = object.train.len() * views.len() + object.test.len();
        let mut seen = 0;
        let mut report = |done: usize| {
            seen += done;
            on_event(Event::Images {
                object: &object.name,
                done: seen,
                total,
            });
        };
        for (c, files) in object.train.chunks(self.chunk).enumerate() {
            if (self.stop)() {
                return Ok(None);
            }
            pass.run(files, views, c * self.chunk * views.len())?;
            let start = Instant::now();
            for (sink, features) in sinks.iter_mut().zip(&pass.features) {
                for (i, row) in features.outer_iter().enumerate() {
                    let (image, view) = (c * self.chunk + i / views.len(), i % views.len());
                    if let Some(row) = row.as_slice() {
                        sink.train(view * object.train.len() + image, row)?;
                    }
                }
            }
            pass.times.rows += start.elapsed();
            report(files.len() * views.len());
        }
        let chunk = self.chunk * views.len();
        for (c, files) in object.test.chunks(chunk).enumerate() {
            if (self.stop)() {
                return Ok(None);
            }
            pass.run(
                files,
                &View::ALL[..1],
                object.train.len() * views.len() + c * chunk,
            )?;
            let start = Instant::now();
            for (sink, features) in sinks.iter_mut().zip(&pass.features) {
                sink.test(c * chunk, features)?;
            }
            pass.times.rows += start.elapsed();
            report(files.len());
        }
        if let Some(prepared) = &mut prepared {
            prepared.set_complete();
        }
        Ok(Some(sinks.into_iter().map(Sink::finish).collect()))
    }

    /// Room for the rows of each layer.
    fn sinks(
        &self,
        object: &Object,
        views: usize,
        mut scratch: Option<&mut ScratchFile>,
    ) -> Result<Vec<Sink>, Error> {
        let sets = &self.plan.feature_sets[self.task.feature_sets.clone()];
        let originals = object.train.len();
        let sink = |(layer, place): &(&str, Place)| {
            let set = sets.iter().find(|s| s.layer == *layer);
            let d = set.map_or(0, |s| s.dimensions);
            match (place, &mut scratch) {
                (Place::Disk, Some(scratch)) => Ok(Sink::Disk {
                    originals,
                    train: scratch.rows(originals * views, d),
                    test: scratch.rows(object.test.len(), d),
                    buffer: vec![],
                }),
                (Place::Disk, None) => Err(Error::Config("there is no scratch file".into())),
                (Place::Memory, _) => Ok(Sink::Memory {
                    originals: Array2::zeros((originals, d)),
                    augmented: Array2::zeros((originals * (views - 1), d)),
                    test: Array2::zeros((object.test.len(), d)),
                }),
            }
        };
        self.layers.iter().map(sink).collect()
    }
}

fn timed<T>(total: &mut Duration, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let out = work();
    *total += start.elapsed();
    out
}

/// Where the rows of a layer go.
enum Sink {
    Memory {
        originals: Array2<f32>,
        augmented: Array2<f32>,
        test: Array2<f32>,
    },
    Disk {
        originals: usize,
        train: ScratchRows,
        test: ScratchRows,
        buffer: Vec<u8>,
    },
}

impl Sink {
    /// Row `i` of the training rows: originals first, then view by view.
    fn train(&mut self, i: usize, row: &[f32]) -> Result<(), Error> {
        match self {
            Sink::Memory {
                originals, augmented, ..
            } => {
                let n = originals.nrows();
                let mut to = if i < n {
                    originals.row_mut(i)
                } else {
                    augmented.row_mut(i - n)
                };
                if let Some(to) = to.as_slice_mut() {
                    to.copy_from_slice(row);
                }
                Ok(())
            }
            Sink::Disk { train, buffer, .. } => train.write(i, row, buffer),
        }
    }

    /// Test rows from `first` on.
    fn test(&mut self, first: usize, rows: &Array2<f32>) -> Result<(), Error> {
        match self {
            Sink::Memory { test, .. } => {
                test.slice_mut(s![first..first + rows.nrows(), ..]).assign(rows);
                Ok(())
            }
            Sink::Disk { test, buffer, .. } => {
                let mut rows = rows.outer_iter().enumerate();
                rows.try_for_each(|(i, row)| match row.as_slice() {
                    Some(row) => test.write(first + i, row, buffer),
                    None => Ok(()),
                })
            }
        }
    }

    fn finish(self) -> LayerRows {
        match self {
            Sink::Memory {
                originals,
                augmented,
                test,
            } => LayerRows {
                train: TrainRows::Memory { originals, augmented },
                test: TestRows::Memory(test),
            },
            Sink::Disk {
                originals,
                train,
                test,
                ..
            } => LayerRows {
                train: TrainRows::Disk {
                    originals,
                    rows: train,
                },
                test: TestRows::Disk(test),
            },
        }
    }
}

struct Pass<'t> {
    network: Features,
    prepare: Preprocess,
    crop: usize,
    /// Tensors that are there already, or are to be put there.
    prepared: Option<&'t Prepared>,
    buffer: Vec<u8>,
    /// Of the last call, one matrix a layer: memory that the next call uses again.
    features: Vec<Array2<f32>>,
    times: &'t mut StageTimes,
}

impl Pass<'_> {
    /// Features of `files` x `views`, image by image, the first of which is number `first` of all.
    fn run(&mut self, files: &[ImageFile], views: &[View], first: usize) -> Result<(), Error> {
        let mut batch = Array4::zeros((files.len() * views.len(), 3, self.crop, self.crop));
        let start = Instant::now();
        match (self.prepared, batch.as_slice_mut()) {
            (Some(prepared), Some(tensors)) if prepared.is_complete() => {
                prepared.read(first, tensors)?;
                self.times.preprocess += start.elapsed();
            }
            _ => {
                self.prepare(files, views, &mut batch)?;
                if let (Some(prepared), Some(tensors)) = (self.prepared, batch.as_slice()) {
                    let start = Instant::now();
                    prepared.write(first, tensors, &mut self.buffer)?;
                    self.times.preprocess += start.elapsed();
                }
            }
        }
        let start = Instant::now();
        self.network.forward_into(batch.view(), &mut self.features)?;
        self.times.forward += start.elapsed();
        self.times.images += batch.dim().0;
        Ok(())
    }

    /// Decodes files once, and puts their views into a batch.
    fn prepare(&mut self, files: &[ImageFile], views: &[View], batch: &mut Array4<f32>) -> Result<(), Error> {
        let start = Instant::now();
        let (decoding, preparing) = (AtomicU64::new(0), AtomicU64::new(0));
        let count = |counter: &AtomicU64, since: Instant| {
            counter.fetch_add(since.elapsed().as_nanos() as u64, Ordering::Relaxed);
        };
        let tensors: Vec<Vec<Array3<f32>>> = files
            .par_iter()
            .map(|file| {
                let start = Instant::now();
                let image = load_rgb(&file.path)?;
                count(&decoding, start);
                let start = Instant::now();
                let tensors = views
                    .iter()
                    .map(|v| self.prepare.apply(&v.apply(&image)))
                    .collect();
                count(&preparing, start);
                tensors
            })
            .collect::<Result<_, blemish_images::ImagesError>>()?;
        for (mut slot, tensor) in batch.axis_iter_mut(Axis(0)).zip(tensors.iter().flatten()) {
            slot.assign(tensor);
        }
        // The time by the clock, in the proportion of what the threads were busy with.
        let elapsed = start.elapsed();
        let (decoding, preparing) = (decoding.into_inner() as f64, preparing.into_inner() as f64);
        let decode = elapsed.mul_f64(decoding / (decoding + preparing).max(1.0));
        self.times.decode += decode;
        self.times.preprocess += elapsed.saturating_sub(decode);
        Ok(())
    }
}

/// Which test images are defective, in row order.
pub(crate) fn labels(object: &Object) -> Vec<bool> {
    object.test.iter().map(ImageFile::is_defective).collect()
}
