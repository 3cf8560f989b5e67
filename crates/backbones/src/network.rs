//! A network with its weights, ready to compute features.

use std::sync::{Mutex, PoisonError};

use ndarray::{Array2, ArrayView1, ArrayView3, ArrayView4, ArrayViewMut1, Axis};
use rayon::prelude::*;

use crate::architecture::Architecture;
use crate::conv::{Convolution, Finish, max_pool};
use crate::description::{ConvolutionStep, Description, IMAGE, Slot, Step, TapShape, Window};
use crate::error::BackbonesError;
use crate::weights::Weights;

/// Added to the variance of every batch normalisation: torchvision's.
const EPSILON: f64 = 1e-5;

/// A network that computes the features of some of its layers.
#[derive(Debug)]
pub struct Network {
    architecture: Architecture,
    description: Description,
    /// The wanted layers, by index, in the order given.
    taps: Vec<usize>,
    /// As deep as the deepest tap.
    stages: Vec<Vec<Layer>>,
    /// Buffers of images computed before; at most one for each thread.
    scratch: Mutex<Vec<Scratch>>,
}

/// A step with its weights.
#[derive(Debug)]
enum Layer {
    Convolution {
        convolution: Convolution,
        from: Slot,
        to: Slot,
        residual: Option<Slot>,
        relu: bool,
    },
    MaxPool {
        window: Window,
        from: Slot,
        to: Slot,
    },
}

/// What computing one image writes to.
#[derive(Debug, Default)]
struct Scratch {
    slots: Vec<Vec<f32>>,
    shapes: Vec<TapShape>,
    patches: Vec<f32>,
}

impl Network {
    /// The network of `architecture` with `weights`, for the layers `taps`; what lies deeper than the
    /// deepest of them is neither needed nor computed.
    ///
    /// # Errors
    /// [`BackbonesError::NoTaps`], [`BackbonesError::UnknownLayer`]; and where a needed tensor is
    /// absent, of a wrong shape or type, or cannot be computed with: [`BackbonesError::MissingTensor`],
    /// [`BackbonesError::TensorShape`], [`BackbonesError::TensorType`], [`BackbonesError::TensorValues`].
    pub fn new(
        architecture: Architecture,
        weights: &Weights,
        taps: &[&str],
    ) -> Result<Network, BackbonesError> {
        let taps = taps
            .iter()
            .map(|tap| architecture.depth(tap))
            .collect::<Result<Vec<_>, _>>()?;
        let Some(deepest) = taps.iter().max().copied() else {
            return Err(BackbonesError::NoTaps {
                architecture: architecture.name(),
                known: architecture.layers().join(", "),
            });
        };
        let description = architecture.describe();
        let mut stages = Vec::new();
        for stage in description.stages.iter().take(deepest + 1) {
            let mut layers = Vec::new();
            for step in &stage.steps {
                layers.push(match step {
                    Step::Convolution(step) => Layer::Convolution {
                        convolution: fold(architecture, weights, stage.layer, step)?,
                        from: step.from,
                        to: step.to,
                        residual: step.residual,
                        relu: step.relu,
                    },
                    Step::MaxPool { window, from, to } => Layer::MaxPool {
                        window: *window,
                        from: *from,
                        to: *to,
                    },
                    // The next change computes them.
                    Step::Embedding(_) | Step::Encoder(_) => {
                        return Err(BackbonesError::NotImplemented {
                            architecture: architecture.name(),
                        });
                    }
                });
            }
            stages.push(layers);
        }
        Ok(Network {
            architecture,
            description,
            taps,
            stages,
            scratch: Mutex::new(Vec::new()),
        })
    }

    /// Which network this is.
    pub fn architecture(&self) -> Architecture {
        self.architecture
    }

    /// The layers that [`forward`](Self::forward) gives, in its order.
    pub fn taps(&self) -> Vec<&'static str> {
        self.taps
            .iter()
            .map(|depth| self.architecture.layers()[*depth])
            .collect()
    }

    /// The shape of the features of `tap` for images of `height` x `width` pixels.
    ///
    /// # Errors
    /// [`BackbonesError::UnknownLayer`], [`BackbonesError::NotComputed`] for a layer that is none of
    /// the taps, [`BackbonesError::ImageSize`].
    pub fn tap_shape(&self, tap: &str, height: usize, width: usize) -> Result<TapShape, BackbonesError> {
        let depth = self.architecture.depth(tap)?;
        if !self.taps.contains(&depth) {
            return Err(BackbonesError::NotComputed {
                architecture: self.architecture.name(),
                layer: tap.to_owned(),
                taps: self.taps().join(", "),
            });
        }
        self.description.tap_shape(depth, height, width)
    }

    /// The features of `images`: for each tap, in the order given to [`new`](Self::new), a matrix with
    /// one row for each image.
    ///
    /// `images` are (n, channels, height, width), preprocessed and normalised, with sides of 32 to 2048
    /// pixels. A row has height x width x channels values of the tap's [`TapShape`], with the channels
    /// of one position side by side (NHWC). `torch.flatten` puts channels first instead: the same values
    /// in another order, and the same inner products and distances.
    ///
    /// Images are computed in parallel on rayon's current pool, each by itself: a row does not depend
    /// on the other images or on the number of threads.
    ///
    /// # Errors
    /// [`BackbonesError::Channels`], [`BackbonesError::ImageSize`], [`BackbonesError::ImageValues`],
    /// [`BackbonesError::FeatureValues`].
    pub fn forward(&self, images: ArrayView4<'_, f32>) -> Result<Vec<Array2<f32>>, BackbonesError> {
        let (count, channels, height, width) = images.dim();
        if channels != self.description.input_channels {
            return Err(BackbonesError::Channels {
                found: channels,
                expected: self.description.input_channels,
            });
        }
        self.description.check_size(height, width)?;
        let mut features = Vec::with_capacity(self.taps.len());
        for depth in &self.taps {
            let shape = self.description.tap_shape(*depth, height, width)?;
            features.push(Array2::zeros((count, shape.len())));
        }
        // One list for each image of the rows that it writes.
        let mut rows: Vec<Vec<ArrayViewMut1<'_, f32>>> = (0..count).map(|_| Vec::new()).collect();
        for matrix in &mut features {
            for (row, of_image) in matrix.axis_iter_mut(Axis(0)).zip(&mut rows) {
                of_image.push(row);
            }
        }
        let jobs: Vec<_> = images.axis_iter(Axis(0)).zip(rows).enumerate().collect();
        jobs.into_par_iter().try_for_each(|(index, (image, mut rows))| {
            let mut scratch = self.borrow_scratch();
            let done = self.image(index, image, &mut rows, &mut scratch);
            self.scratch
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(scratch);
            done
        })?;
        Ok(features)
    }

    fn borrow_scratch(&self) -> Scratch {
        // A panic elsewhere leaves nothing half done in a buffer that is written before it is read.
        self.scratch
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop()
            .unwrap_or_default()
    }

    /// Computes one image and writes its row of each tap.
    fn image(
        &self,
        index: usize,
        image: ArrayView3<'_, f32>,
        rows: &mut [ArrayViewMut1<'_, f32>],
        scratch: &mut Scratch,
    ) -> Result<(), BackbonesError> {
        let (channels, height, width) = image.dim();
        let shape = TapShape {
            height,
            width,
            channels,
        };
        let Scratch {
            slots,
            shapes,
            patches,
        } = scratch;
        slots.resize_with(self.description.slots, Vec::new);
        shapes.resize(self.description.slots, shape);
        shapes[IMAGE] = shape;
        slots[IMAGE].clear();
        slots[IMAGE].extend(image.permuted_axes([1, 2, 0]).iter());
        if slots[IMAGE].iter().any(|value| !value.is_finite()) {
            return Err(BackbonesError::ImageValues { image: index });
        }
        for (depth, (stage, layers)) in self.description.stages.iter().zip(&self.stages).enumerate() {
            for layer in layers {
                layer.run(slots, shapes, patches);
            }
            if !self.taps.contains(&depth) {
                continue;
            }
            let output = &slots[stage.output];
            if output.iter().any(|value| !value.is_finite()) {
                return Err(BackbonesError::FeatureValues {
                    image: index,
                    layer: stage.layer,
                });
            }
            for (tap, row) in self.taps.iter().zip(rows.iter_mut()) {
                if *tap == depth {
                    row.assign(&ArrayView1::from(output));
                }
            }
        }
        Ok(())
    }
}

impl Layer {
    fn run(&self, slots: &mut [Vec<f32>], shapes: &mut [TapShape], patches: &mut Vec<f32>) {
        let (from, to) = match self {
            Layer::Convolution { from, to, .. } | Layer::MaxPool { from, to, .. } => (*from, *to),
        };
        // Taken out for the time of writing, so that the others can be read. Keeps its allocation.
        let mut output = std::mem::take(&mut slots[to]);
        let input = shapes[from];
        match self {
            Layer::Convolution {
                convolution,
                residual,
                relu,
                ..
            } => {
                shapes[to] = convolution.output_shape(input);
                output.resize(shapes[to].len(), 0.0);
                let finish = Finish {
                    residual: residual.map(|slot| slots[slot].as_slice()),
                    relu: *relu,
                };
                convolution.run(&slots[from], input, finish, patches, &mut output);
            }
            Layer::MaxPool { window, .. } => {
                shapes[to] = TapShape {
                    height: window.positions(input.height),
                    width: window.positions(input.width),
                    channels: input.channels,
                };
                output.resize(shapes[to].len(), 0.0);
                max_pool(&slots[from], input, *window, &mut output);
            }
        }
        slots[to] = output;
    }
}

/// The convolution of `step` with its batch normalisation folded in, computed in f64:
/// `gamma (w x - mean) / sqrt(variance + epsilon) + beta` is a convolution with bias.
fn fold(
    architecture: Architecture,
    weights: &Weights,
    layer: &'static str,
    step: &ConvolutionStep,
) -> Result<Convolution, BackbonesError> {
    let specs = step.tensors();
    let [weight, gamma, beta, mean, variance] = specs
        .each_ref()
        .map(|spec| weights.tensor(architecture, layer, spec));
    let (weight, gamma, beta, mean, variance) = (weight?, gamma?, beta?, mean?, variance?);
    if variance.iter().any(|v| *v < 0.0) {
        return Err(weights.bad_values(&specs[4].name, "a negative variance"));
    }
    let scale: Vec<f64> = gamma
        .iter()
        .zip(variance)
        .map(|(gamma, variance)| f64::from(*gamma) / (f64::from(*variance) + EPSILON).sqrt())
        .collect();
    let bias: Vec<f32> = beta
        .iter()
        .zip(mean)
        .zip(&scale)
        .map(|((beta, mean), scale)| (f64::from(*beta) - f64::from(*mean) * scale) as f32)
        .collect();
    let per_output = weight.len() / scale.len();
    let folded: Vec<f32> = weight
        .chunks_exact(per_output)
        .zip(&scale)
        .flat_map(|(values, scale)| values.iter().map(move |v| (f64::from(*v) * scale) as f32))
        .collect();
    if folded.iter().chain(&bias).any(|value| !value.is_finite()) {
        return Err(weights.bad_values(&specs[0].name, "values too large for its batch normalisation"));
    }
    Ok(Convolution::new(step.window, step.input_channels, &folded, bias))
}
