//! One forward pass over the images of a task: pictures in, rows of every wanted layer out.

use std::time::{Duration, Instant};

use blemish_images::{ImageFile, Object, Preprocess, View, load_rgb};
use ndarray::{Array2, Array3, Array4, Axis, s};
use rayon::prelude::*;

use super::backbone::Features;
use super::plan::{Plan, Task};
use super::run::{Event, OnEvent};
use crate::Error;

/// Source images taken at a time: enough to keep all cores busy, few enough to stay small.
const CHUNK: usize = 8;

/// Rows (n x d) of one layer, by origin.
#[derive(Debug)]
pub(crate) struct LayerRows {
    /// Rows of the training images as they are.
    pub(crate) originals: Array2<f32>,
    /// Rows of their five other views, view by view; empty if no experiment wants them.
    pub(crate) augmented: Array2<f32>,
    /// Rows of the test images.
    pub(crate) test: Array2<f32>,
}

/// Features of a task, one entry a layer in `layers`' order, and the time it took.
pub(crate) fn extract(
    plan: &Plan,
    task: &Task,
    layers: &[&str],
    augmented: bool,
    on_event: OnEvent<'_>,
) -> Result<(Vec<LayerRows>, Duration), Error> {
    let start = Instant::now();
    let object = &plan.objects[task.object];
    let network = plan.features(task, layers)?;
    let prepare = task.backbone.preprocess(plan.resize);
    let crop = prepare.preset.crop as usize;
    let views: &[View] = if augmented { &plan.views } else { &plan.views[..1] };
    let extra = object.train.len() * (views.len() - 1);

    let mut rows = vec![];
    for layer in layers {
        let sets = &plan.feature_sets[task.feature_sets.clone()];
        let d = sets
            .iter()
            .find(|s| s.layer == *layer)
            .map_or(0, |s| s.dimensions);
        rows.push(LayerRows {
            originals: Array2::zeros((object.train.len(), d)),
            augmented: Array2::zeros((extra, d)),
            test: Array2::zeros((object.test.len(), d)),
        });
    }

    let pass = Pass {
        network,
        prepare,
        crop,
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
    for (c, files) in object.train.chunks(CHUNK).enumerate() {
        let features = pass.run(files, views)?;
        for (rows, features) in rows.iter_mut().zip(&features) {
            for i in 0..files.len() {
                let image = c * CHUNK + i;
                for v in 0..views.len() {
                    let from = features.row(i * views.len() + v);
                    if v == 0 {
                        rows.originals.row_mut(image).assign(&from);
                    } else {
                        rows.augmented
                            .row_mut((v - 1) * object.train.len() + image)
                            .assign(&from);
                    }
                }
            }
        }
        report(files.len() * views.len());
    }
    for (c, files) in object.test.chunks(CHUNK * View::ALL.len()).enumerate() {
        let features = pass.run(files, &View::ALL[..1])?;
        let first = c * CHUNK * View::ALL.len();
        for (rows, features) in rows.iter_mut().zip(&features) {
            rows.test
                .slice_mut(s![first..first + files.len(), ..])
                .assign(features);
        }
        report(files.len());
    }
    Ok((rows, start.elapsed()))
}

struct Pass {
    network: Features,
    prepare: Preprocess,
    crop: usize,
}

impl Pass {
    /// Features of `files` x `views`, image by image; one matrix a layer.
    fn run(&self, files: &[ImageFile], views: &[View]) -> Result<Vec<Array2<f32>>, Error> {
        let tensors: Vec<Vec<Array3<f32>>> = files
            .par_iter()
            .map(|file| {
                let image = load_rgb(&file.path)?;
                views
                    .iter()
                    .map(|v| self.prepare.apply(&v.apply(&image)))
                    .collect()
            })
            .collect::<Result<_, blemish_images::ImagesError>>()?;
        let mut batch = Array4::zeros((files.len() * views.len(), 3, self.crop, self.crop));
        for (mut slot, tensor) in batch.axis_iter_mut(Axis(0)).zip(tensors.iter().flatten()) {
            slot.assign(tensor);
        }
        self.network.forward(batch.view())
    }
}

/// Which test images are defective, in row order.
pub(crate) fn labels(object: &Object) -> Vec<bool> {
    object.test.iter().map(ImageFile::is_defective).collect()
}
