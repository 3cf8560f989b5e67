//! One forward pass over the images of a task: pictures in, rows of the wanted layers out.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use blemish_images::{ImageFile, ImagesError, Object, Preprocess, View, load_rgb};
use ndarray::{Array2, Array4, s};
use rayon::prelude::*;

use super::backbone::Features;
use super::plan::{Plan, Task};
use super::prepared::Prepared;
use super::rows::{LayerRows, Spare, TestRows, TrainRows};
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
        spare: &mut Spare,
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
        let mut sinks = self.sinks(object, views.len(), scratch, spare)?;
        // What fits no layer of this pass is not kept beside its rows.
        spare.clear();
        let crop = prepare.preset.crop as usize;
        let mut pass = Pass {
            network,
            prepare,
            prepared: prepared.as_deref(),
            batch: Array4::zeros((self.chunk * views.len(), 3, crop, crop)),
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
                sink.train(c * self.chunk, views.len(), features)?;
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
        spare: &mut Spare,
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
                }),
                (Place::Disk, None) => Err(Error::Config("there is no scratch file".into())),
                (Place::Memory, _) => Ok(Sink::Memory {
                    originals: spare.rows(originals, d),
                    augmented: spare.rows(originals * (views - 1), d),
                    test: spare.rows(object.test.len(), d),
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
    },
}

impl Sink {
    /// Training rows: all views of the images from number `first` on, image by image. They go where they belong, originals
    /// first and then view by view, all threads together: memory is touched for the first time here, and the disk written.
    fn train(&mut self, first: usize, views: usize, rows: &Array2<f32>) -> Result<(), Error> {
        let d = rows.ncols();
        let Some(from) = rows.as_slice().filter(|_| d > 0) else {
            return Ok(());
        };
        let images = rows.nrows() / views;
        match self {
            Sink::Memory {
                originals, augmented, ..
            } => {
                let n = originals.nrows();
                let slots = [originals, augmented]
                    .into_iter()
                    .filter_map(Array2::as_slice_mut);
                let of_views = slots.flat_map(|slots| slots.chunks_exact_mut(n * d));
                let blocks = of_views.map(|block| &mut block[first * d..(first + images) * d]);
                let to: Vec<(usize, &mut [f32])> = blocks
                    .enumerate()
                    .flat_map(|(view, block)| {
                        let to = block.chunks_exact_mut(d).enumerate();
                        to.map(move |(image, to)| (image * views + view, to))
                    })
                    .collect();
                to.into_par_iter()
                    .with_max_len(1)
                    .for_each(|(i, to)| to.copy_from_slice(&from[i * d..(i + 1) * d]));
                Ok(())
            }
            Sink::Disk { originals, train, .. } => {
                let originals = *originals;
                from.par_chunks_exact(d)
                    .enumerate()
                    .try_for_each_init(Vec::new, |buffer, (i, row)| {
                        let (image, view) = (first + i / views, i % views);
                        train.write(view * originals + image, row, buffer)
                    })
            }
        }
    }

    /// Test rows from `first` on.
    fn test(&mut self, first: usize, rows: &Array2<f32>) -> Result<(), Error> {
        match self {
            Sink::Memory { test, .. } => {
                test.slice_mut(s![first..first + rows.nrows(), ..]).assign(rows);
                Ok(())
            }
            Sink::Disk { test, .. } => match rows.as_slice() {
                Some(values) => test.write(first, values, &mut vec![]),
                None => Ok(()),
            },
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
    /// Tensors that are there already, or are to be put there.
    prepared: Option<&'t Prepared>,
    /// Room for the tensors of a call, used again by the next.
    batch: Array4<f32>,
    /// Of the last call, one matrix a layer: memory that the next call uses again.
    features: Vec<Array2<f32>>,
    times: &'t mut StageTimes,
}

impl Pass<'_> {
    /// Features of `files` x `views`, image by image, the first of which is number `first` of all.
    fn run(&mut self, files: &[ImageFile], views: &[View], first: usize) -> Result<(), Error> {
        let images = files.len() * views.len();
        let Pass {
            prepare,
            prepared,
            batch,
            times,
            ..
        } = self;
        let mut tensors = batch.slice_mut(s![..images, .., .., ..]);
        if let Some(tensors) = tensors.as_slice_mut() {
            let start = Instant::now();
            let mut decoding = Duration::ZERO;
            match prepared {
                Some(prepared) if prepared.is_complete() => prepared.read(first, tensors)?,
                _ => {
                    decoding = decode(prepare, files, views, tensors)?;
                    if let Some(prepared) = prepared {
                        prepared.write(first, tensors)?;
                    }
                }
            }
            times.decode += decoding;
            times.preprocess += start.elapsed().saturating_sub(decoding);
        }
        let start = Instant::now();
        let batch = self.batch.slice(s![..images, .., .., ..]);
        self.network.forward_into(batch, &mut self.features)?;
        self.times.forward += start.elapsed();
        self.times.images += images;
        Ok(())
    }
}

/// Decodes files once, and puts their views into `tensors`, image by image. Gives the part of the time by the clock that
/// went into decoding: in the proportion of what the threads were busy with.
fn decode(
    prepare: &Preprocess,
    files: &[ImageFile],
    views: &[View],
    tensors: &mut [f32],
) -> Result<Duration, Error> {
    let start = Instant::now();
    let (decoding, preparing) = (AtomicU64::new(0), AtomicU64::new(0));
    let count = |counter: &AtomicU64, since: Instant| {
        counter.fetch_add(since.elapsed().as_nanos() as u64, Ordering::Relaxed);
    };
    let side = prepare.preset.crop as usize;
    let size = 3 * side * side;
    let file = |file: &ImageFile, tensors: &mut [f32]| -> Result<(), ImagesError> {
        let start = Instant::now();
        let image = load_rgb(&file.path)?;
        count(&decoding, start);
        let start = Instant::now();
        for (view, out) in views.iter().zip(tensors.chunks_exact_mut(size)) {
            let tensor = prepare.apply(&view.apply(&image))?;
            for (out, value) in out.iter_mut().zip(&tensor) {
                *out = *value;
            }
        }
        count(&preparing, start);
        Ok(())
    };
    // Of several files that cannot be read the first is told, whichever thread comes first.
    let failed = files
        .par_iter()
        .zip(tensors.par_chunks_mut(size * views.len()))
        .with_max_len(1)
        .find_map_first(|(of, tensors)| file(of, tensors).err());
    if let Some(error) = failed {
        return Err(error.into());
    }
    let (decoding, preparing) = (decoding.into_inner() as f64, preparing.into_inner() as f64);
    Ok(start
        .elapsed()
        .mul_f64(decoding / (decoding + preparing).max(1.0)))
}

/// Which test images are defective, in row order.
pub(crate) fn labels(object: &Object) -> Vec<bool> {
    object.test.iter().map(ImageFile::is_defective).collect()
}
