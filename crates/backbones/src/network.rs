//! A network with its weights, ready to compute features.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use ndarray::{Array2, ArrayView4};
use rayon::prelude::*;

use crate::architecture::Architecture;
use crate::buffer::{Demand, Pool, Pooled, Role};
use crate::conv::Convolution;
use crate::description::{Description, IMAGE, Slot, Stage, Step, TapShape};
use crate::error::BackbonesError;
use crate::prepare::{Folded, Source};
use crate::product::Residual;
use crate::profile::{Context, Counters, Profile, at_a_time};
use crate::simd::{Available, InstructionSet};
use crate::stem::Stem;
use crate::transformer::{Embedding, Encoder};
use crate::weights::Weights;

/// A network that computes the features of some of its layers.
#[derive(Debug)]
pub struct Network {
    architecture: Architecture,
    description: Description,
    set: Available,
    /// The wanted layers, by index, in the order given.
    taps: Vec<usize>,
    /// As deep as the deepest tap.
    stages: Vec<Vec<Layer>>,
    pool: Pool,
}

/// A step with its weights.
#[derive(Debug)]
enum Layer {
    Stem {
        stem: Stem,
        to: Slot,
    },
    Convolution {
        convolution: Convolution,
        from: Slot,
        to: Slot,
        residual: Option<Slot>,
        relu: bool,
    },
    Embedding {
        embedding: Embedding,
        to: Slot,
    },
    Encoder {
        encoder: Box<Encoder>,
        from: Slot,
        to: Slot,
    },
}

impl Network {
    /// The network of `architecture` with `weights`, for the layers `taps`; what lies deeper than the
    /// deepest of them is neither needed nor computed. Uses the fastest vector instructions there are.
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
        Self::with_instruction_set(architecture, weights, taps, InstructionSet::best())
    }

    /// [`new`](Self::new) with other vector instructions than the fastest: to measure them, or to get
    /// the same last bits on several machines.
    ///
    /// # Errors
    /// Those of [`new`](Self::new), and [`BackbonesError::NoInstructionSet`].
    pub fn with_instruction_set(
        architecture: Architecture,
        weights: &Weights,
        taps: &[&str],
        set: InstructionSet,
    ) -> Result<Network, BackbonesError> {
        let set = Available::new(set)?;
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
            let source = Source {
                set,
                architecture,
                weights,
                layer: stage.layer,
            };
            stages.push(prepare(source, stage)?);
        }
        Ok(Network {
            architecture,
            description,
            set,
            taps,
            stages,
            pool: Pool::default(),
        })
    }

    /// Which network this is.
    pub fn architecture(&self) -> Architecture {
        self.architecture
    }

    /// The vector instructions that it uses.
    pub fn instruction_set(&self) -> InstructionSet {
        self.set.set()
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
    /// pixels, or 224 for a transformer. A row has height x width x channels values of the tap's
    /// [`TapShape`], with the channels of one position side by side (NHWC). `torch.flatten` of a
    /// residual network's layer puts channels first instead: the same values in another order, and the
    /// same inner products and distances.
    ///
    /// Computed in parallel on rayon's current pool: images side by side, or all threads at one layer
    /// where there are few images or many weights. A row does not depend on the other images or on the
    /// number of threads.
    ///
    /// # Errors
    /// [`BackbonesError::Channels`], [`BackbonesError::ImageSize`], [`BackbonesError::ImageValues`],
    /// [`BackbonesError::FeatureValues`].
    pub fn forward(&self, images: ArrayView4<'_, f32>) -> Result<Vec<Array2<f32>>, BackbonesError> {
        let mut features = Vec::new();
        self.forward_into(images, &mut features)?;
        Ok(features)
    }

    /// [`forward`](Self::forward) into matrices that are there already: those of the right shape are
    /// written to, the others replaced. Saves the system from finding fresh memory for every batch.
    ///
    /// # Errors
    /// Those of [`forward`](Self::forward); the matrices then hold anything.
    pub fn forward_into(
        &self,
        images: ArrayView4<'_, f32>,
        features: &mut Vec<Array2<f32>>,
    ) -> Result<(), BackbonesError> {
        self.compute(images, features, None)
    }

    /// [`forward`](Self::forward), and where the time went.
    ///
    /// # Errors
    /// Those of [`forward`](Self::forward).
    pub fn profile(
        &self,
        images: ArrayView4<'_, f32>,
    ) -> Result<(Vec<Array2<f32>>, Profile), BackbonesError> {
        let counters = Counters::default();
        let mut features = Vec::new();
        let start = Instant::now();
        self.compute(images, &mut features, Some(&counters))?;
        let profile = Profile::new(&counters, start.elapsed(), rayon::current_num_threads());
        Ok((features, profile))
    }

    fn compute(
        &self,
        images: ArrayView4<'_, f32>,
        features: &mut Vec<Array2<f32>>,
        counters: Option<&Counters>,
    ) -> Result<(), BackbonesError> {
        let (count, channels, height, width) = images.dim();
        if channels != self.description.input_channels {
            return Err(BackbonesError::Channels {
                found: channels,
                expected: self.description.input_channels,
            });
        }
        self.description.check_size(height, width)?;
        let shapes = (0..self.stages.len())
            .map(|depth| self.description.tap_shape(depth, height, width))
            .collect::<Result<Vec<_>, _>>()?;
        features.truncate(self.taps.len());
        for (i, depth) in self.taps.iter().enumerate() {
            let dim = (count, shapes[*depth].len());
            match features.get_mut(i) {
                Some(matrix) if matrix.dim() == dim && matrix.is_standard_layout() => {}
                Some(matrix) => *matrix = Array2::zeros(dim),
                None => features.push(Array2::zeros(dim)),
            }
        }
        if count == 0 {
            return Ok(());
        }

        self.pool.reserve(self.demand(count, &shapes, height, width));
        let images = images.as_standard_layout();
        let Some(images) = images.as_slice() else {
            unreachable!("an array in standard layout is a slice");
        };
        let image = TapShape {
            height,
            width,
            channels,
        };
        // Every stage's output goes to the first tap of it, or else to a buffer that the next reads.
        let mut before = (Output::Images(images), image);
        for (depth, layers) in self.stages.iter().enumerate() {
            let shape = shapes[depth];
            let stage = &self.description.stages[depth];
            let context = Context {
                set: self.set,
                pool: &self.pool,
                threads: rayon::current_num_threads(),
                counters,
            };
            let plan = Plan::new(context.threads, count, shape);
            let wanted = self.taps.iter().position(|tap| *tap == depth);
            // Taken out, so that the features of the stage before can be read.
            let mut place = match wanted {
                Some(i) => Place::Tap(i, std::mem::take(&mut features[i])),
                None => Place::Buffer(self.pool.take(Role::Layer, count * shape.len())),
            };
            let out = match &mut place {
                Place::Tap(_, matrix) => matrix.as_slice_mut().unwrap_or_default(),
                Place::Buffer(buffer) => buffer,
            };
            let input = before.0.read(features);
            let (input_len, len) = (before.1.len(), shape.len());
            // The first image, and the first features, that are not finite: looked for where they are
            // computed, while they are in the cache.
            let (bad_image, bad_features) = (AtomicUsize::new(usize::MAX), AtomicUsize::new(usize::MAX));
            let run = |context, Part { first, from, to }: Part<'_>| {
                if depth == 0
                    && let Some(index) = first_bad(from, input_len)
                {
                    bad_image.fetch_min(first + index, Ordering::Relaxed);
                    return;
                }
                Run {
                    context,
                    images: to.len() / len,
                    input: from,
                    input_shape: before.1,
                }
                .stage(&self.description, stage, layers, to);
                if wanted.is_some()
                    && let Some(index) = first_bad(to, len)
                {
                    bad_features.fetch_min(first + index, Ordering::Relaxed);
                }
            };
            if plan.groups > 1 {
                let alone = Context {
                    threads: 1,
                    ..context
                };
                plan.split(input, out, input_len, len)
                    .into_par_iter()
                    .for_each(|part| run(alone, part));
            } else {
                run(
                    context,
                    Part {
                        first: 0,
                        from: input,
                        to: out,
                    },
                );
            }
            match (bad_image.into_inner(), bad_features.into_inner()) {
                (usize::MAX, usize::MAX) => {}
                (usize::MAX, image) => {
                    return Err(BackbonesError::FeatureValues {
                        image,
                        layer: stage.layer,
                    });
                }
                (image, _) => return Err(BackbonesError::ImageValues { image }),
            }
            before = match place {
                Place::Tap(i, matrix) => {
                    features[i] = matrix;
                    (Output::Tap(i), shape)
                }
                Place::Buffer(buffer) => (Output::Buffer(buffer), shape),
            };
        }
        // A layer that was asked for more than once.
        for (i, depth) in self.taps.iter().enumerate() {
            if let Some(first) = self.taps.iter().position(|tap| tap == depth)
                && first < i
            {
                let (a, b) = features.split_at_mut(i);
                b[0].assign(&a[first]);
            }
        }
        Ok(())
    }

    /// The buffers of a pass: those between stages, and of each stage for all groups that are computed at a time. `shapes`
    /// are those of the stages' outputs.
    fn demand(&self, count: usize, shapes: &[TapShape], height: usize, width: usize) -> Demand {
        let threads = rayon::current_num_threads();
        let mut before = TapShape {
            height,
            width,
            channels: self.description.input_channels,
        };
        let between = |depth: usize| {
            let tapped = self.taps.contains(&depth);
            Demand::of(Role::Layer, if tapped { 0 } else { count * shapes[depth].len() })
        };
        let mut most = Demand::default();
        for (depth, layers) in self.stages.iter().enumerate() {
            let plan = Plan::new(threads, count, shapes[depth]);
            let (at_once, threads) = at_a_time(threads, plan.groups, plan.groups > 1);
            // A group of one image less may be cut into longer parts.
            let group = [count / plan.groups, count.div_ceil(plan.groups)]
                .map(|images| self.stage_demand(depth, layers, threads, images, before));
            let group = group[0].or(group[1]);
            let mut all = group.times(at_once).and(between(depth));
            if depth > 0 {
                all = all.and(between(depth - 1));
            }
            most = most.or(all);
            before = shapes[depth];
        }
        most
    }

    /// The buffers of a stage for `images` images together, each of shape `input`.
    fn stage_demand(
        &self,
        depth: usize,
        layers: &[Layer],
        threads: usize,
        images: usize,
        input: TapShape,
    ) -> Demand {
        let output = self.description.stages[depth].output;
        let mut slots = vec![Demand::default(); self.description.slots];
        let mut shapes = vec![input; self.description.slots];
        let mut most = Demand::default();
        for layer in layers {
            let step = layer.demand(self.set, threads, images, &shapes);
            let (shape, to) = layer.output(&shapes);
            shapes[to] = shape;
            if to != output {
                slots[to] = Demand::of(Role::Between, images * shape.len());
            }
            most = most.or(slots.iter().fold(step, |all, slot| all.and(*slot)));
        }
        most
    }
}

/// A group of consecutive images at a stage.
struct Part<'a> {
    /// The number of its first image.
    first: usize,
    from: &'a [f32],
    to: &'a mut [f32],
}

/// Where the output of a stage goes.
enum Place<'a> {
    /// The features of this tap.
    Tap(usize, Array2<f32>),
    Buffer(Pooled<'a>),
}

/// Where the output of a stage is.
enum Output<'a> {
    Images(&'a [f32]),
    /// In the features of this tap.
    Tap(usize),
    Buffer(Pooled<'a>),
}

impl Output<'_> {
    fn read<'b>(&'b self, features: &'b [Array2<f32>]) -> &'b [f32] {
        match self {
            Output::Images(images) => images,
            Output::Tap(i) => features[*i].as_slice().unwrap_or_default(),
            Output::Buffer(buffer) => buffer,
        }
    }
}

/// How the images of a stage are shared out to threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Plan {
    images: usize,
    /// Groups of consecutive images, each computed by one thread; of one group all threads share the
    /// steps.
    groups: usize,
}

impl Plan {
    /// A stage whose output has `shape`. Where that is large, images are computed side by side, each
    /// core in its own cache; where it is small there are many weights for few positions, and several
    /// images go together: in the end all.
    fn new(threads: usize, images: usize, shape: TapShape) -> Self {
        let positions = shape.height * shape.width;
        let together = if positions < MANY_WEIGHTS && threads > 1 && shape.height > 1 {
            images
        } else {
            (SOME_POSITIONS / positions).max(1)
        };
        let groups = images.div_ceil(together);
        // As many groups for each thread: a last one would keep the others waiting.
        let even = groups.next_multiple_of(threads);
        if even <= images && groups > 1 {
            Plan { images, groups: even }
        } else if images >= 4 * threads && together < images {
            Plan {
                images,
                groups: images,
            }
        } else {
            Plan { images, groups: 1 }
        }
    }

    /// The groups' inputs and outputs.
    fn split<'a>(
        &self,
        mut input: &'a [f32],
        mut out: &'a mut [f32],
        input_len: usize,
        len: usize,
    ) -> Vec<Part<'a>> {
        let mut parts = Vec::with_capacity(self.groups);
        for group in 0..self.groups {
            let first = group * self.images / self.groups;
            let images = (group + 1) * self.images / self.groups - first;
            let (from, rest) = input.split_at(images * input_len);
            let (to, rest_out) = out.split_at_mut(images * len);
            (input, out) = (rest, rest_out);
            parts.push(Part { first, from, to });
        }
        parts
    }
}

/// Fewer positions than this an image, and all images are computed together.
const MANY_WEIGHTS: usize = 100;
/// Positions of several images that are worth multiplying together.
const SOME_POSITIONS: usize = 784;

/// What the layers of a stage have written.
#[derive(Clone, Copy)]
struct Slots<'a> {
    slots: &'a [Option<Pooled<'a>>],
    /// The slot of the stage's output, if that has been written and can be read.
    output: Option<(Slot, &'a [f32])>,
}

impl<'a> Slots<'a> {
    /// `None` where no layer of this stage has written: that is the stage's input.
    fn read(self, slot: Slot) -> Option<&'a [f32]> {
        match self.output {
            Some((output, values)) if output == slot => Some(values),
            _ => self.slots[slot].as_deref(),
        }
    }
}

/// Some images at a stage.
struct Run<'a> {
    context: Context<'a>,
    images: usize,
    input: &'a [f32],
    input_shape: TapShape,
}

impl Run<'_> {
    /// Computes the stage's layers; the slot of its output is `out`.
    fn stage(&self, description: &Description, stage: &Stage, layers: &[Layer], out: &mut [f32]) {
        let mut slots: Vec<Option<Pooled<'_>>> = Vec::new();
        slots.resize_with(description.slots, || None);
        let mut shapes = vec![self.input_shape; description.slots];
        let mut begun = false;
        for layer in layers {
            let (shape, to) = layer.output(&shapes);
            if to == stage.output {
                debug_assert_eq!(out.len(), self.images * shape.len());
                self.layer(
                    layer,
                    Slots {
                        slots: &slots,
                        output: None,
                    },
                    &shapes,
                    out,
                );
                begun = true;
            } else {
                // What was there is not read any more.
                slots[to] = None;
                let mut buffer = self.context.pool.take(Role::Between, self.images * shape.len());
                let output = begun.then_some((stage.output, &*out));
                self.layer(
                    layer,
                    Slots {
                        slots: &slots,
                        output,
                    },
                    &shapes,
                    &mut buffer,
                );
                slots[to] = Some(buffer);
            }
            shapes[to] = shape;
        }
    }

    fn layer(&self, layer: &Layer, slots: Slots<'_>, shapes: &[TapShape], out: &mut [f32]) {
        let read = |slot: Slot| slots.read(slot).unwrap_or(self.input);
        let each = |from: &[f32], out: &mut [f32], work: &(dyn Fn(&[f32], &mut [f32]) + Sync)| {
            let (from_len, to_len) = (from.len() / self.images, out.len() / self.images);
            from.chunks(from_len)
                .zip(out.chunks_mut(to_len))
                .for_each(|(from, to)| work(from, to));
        };
        match layer {
            Layer::Stem { stem, .. } => {
                let image = shapes[IMAGE];
                each(self.input, out, &|from, to| {
                    stem.run(self.context, from, [image.height, image.width], to);
                });
            }
            Layer::Convolution {
                convolution,
                from,
                to,
                residual,
                relu,
            } => {
                let residual = match residual {
                    None => Residual::None,
                    Some(slot) if slot == to => Residual::Output,
                    Some(slot) => Residual::Rows(read(*slot), shapes[*slot].channels),
                };
                convolution.run(self.context, read(*from), shapes[*from], residual, *relu, out);
            }
            Layer::Embedding { embedding, .. } => {
                each(self.input, out, &|from, to| embedding.run(self.context, from, to));
            }
            Layer::Encoder { encoder, from, .. } => encoder.run(self.context, self.images, read(*from), out),
        }
    }
}

impl Layer {
    /// The buffers that computing `images` images takes besides the slots.
    fn demand(&self, set: Available, threads: usize, images: usize, shapes: &[TapShape]) -> Demand {
        match self {
            Layer::Stem { stem, .. } => stem.demand(threads, [shapes[IMAGE].height, shapes[IMAGE].width]),
            Layer::Convolution {
                convolution, from, ..
            } => convolution.demand(set, threads, images, shapes[*from]),
            Layer::Embedding { embedding, .. } => embedding.demand(),
            Layer::Encoder { encoder, from, .. } => encoder.demand(set, threads, images, shapes[*from].width),
        }
    }

    /// The shape of one image's output, and the slot it goes to.
    fn output(&self, shapes: &[TapShape]) -> (TapShape, Slot) {
        match self {
            Layer::Stem { stem, to } => (stem.output_shape(shapes[IMAGE].height, shapes[IMAGE].width), *to),
            Layer::Convolution {
                convolution,
                from,
                to,
                ..
            } => (convolution.output_shape(shapes[*from]), *to),
            Layer::Embedding { embedding, to } => (
                TapShape {
                    height: 1,
                    width: embedding.tokens(),
                    channels: embedding.class.len(),
                },
                *to,
            ),
            Layer::Encoder { from, to, .. } => (shapes[*from], *to),
        }
    }
}

/// The stage's layers with their weights.
fn prepare(source: Source<'_>, stage: &Stage) -> Result<Vec<Layer>, BackbonesError> {
    let mut layers = Vec::new();
    let mut steps = stage.steps.iter().peekable();
    while let Some(step) = steps.next() {
        layers.push(match step {
            Step::Convolution(step) if step.from == IMAGE => {
                let Some(Step::MaxPool { window, to, .. }) = steps.next() else {
                    unreachable!("every described stem ends in a pooling");
                };
                let Folded { weight, bias } = source.fold(step)?;
                Layer::Stem {
                    stem: Stem::new(
                        source.set,
                        step.window,
                        *window,
                        step.input_channels,
                        &weight,
                        &bias,
                    ),
                    to: *to,
                }
            }
            Step::Convolution(step) => Layer::Convolution {
                convolution: source.convolution(step)?,
                from: step.from,
                to: step.to,
                residual: step.residual,
                relu: step.relu,
            },
            Step::MaxPool { .. } => unreachable!("every described pooling follows a stem"),
            Step::Embedding(step) => Layer::Embedding {
                embedding: source.embedding(step)?,
                to: step.to,
            },
            Step::Encoder(step) => Layer::Encoder {
                encoder: Box::new(source.encoder(step)?),
                from: step.from,
                to: step.to,
            },
        });
    }
    Ok(layers)
}

/// The first row of `len` numbers that has NaN or infinity.
fn first_bad(values: &[f32], len: usize) -> Option<usize> {
    const EXPONENT: u32 = 0x7f80_0000;
    let bad = |row: &[f32]| {
        // Without an exit, so that it becomes vectors.
        let all = row
            .iter()
            .fold(0, |any, v| any | u32::from(v.to_bits() & EXPONENT == EXPONENT));
        all != 0
    };
    values.chunks(len).position(bad)
}

#[cfg(test)]
mod tests {
    use ndarray::Array4;

    use super::*;

    /// Buffers are made in the first passes and used again in all others, whatever the batch.
    #[test]
    fn memory_does_not_grow_with_the_number_of_images() {
        let architecture = Architecture::Resnet18;
        let network = Network::new(architecture, &Weights::random(architecture, 0), &["layer4"]).unwrap();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        pool.install(|| {
            let mut features = Vec::new();
            let mut passes = |images: usize| {
                let mut left = images;
                while left > 0 {
                    let batch = (4 - left % 4).min(left);
                    let images = Array4::<f32>::ones((batch, 3, 32, 32));
                    network.forward_into(images.view(), &mut features).unwrap();
                    left -= batch;
                }
                network.pool.free_bytes()
            };
            let bytes = passes(10);
            assert!(bytes > 0);
            assert_eq!(passes(10_000), bytes);
        });
    }

    /// A pass finds all of its buffers in the pool: what is planned is enough.
    #[test]
    fn buffers_are_those_of_the_plan() {
        let cases: [(Architecture, &[&str], [usize; 2]); 7] = [
            (
                Architecture::Resnet18,
                &["layer1", "layer3", "layer4"],
                [224, 224],
            ),
            (Architecture::Resnet18, &["layer4"], [97, 64]),
            (
                Architecture::Resnet50,
                &["layer1", "layer2", "layer3", "layer4"],
                [224, 224],
            ),
            (Architecture::Resnet50, &["layer3"], [64, 150]),
            (Architecture::WideResnet50_2, &["layer2"], [64, 64]),
            (Architecture::VitBase16, &["layer1"], [224, 224]),
            (Architecture::VitBase32, &["layer0", "layer2"], [224, 224]),
        ];
        for (architecture, taps, [height, width]) in cases {
            let weights = Weights::random_for(architecture, 0, taps).unwrap();
            for threads in [1, 2, 3] {
                let pool = rayon::ThreadPoolBuilder::new()
                    .num_threads(threads)
                    .build()
                    .unwrap();
                for batch in [1, 2, 5, 16] {
                    let network = Network::new(architecture, &weights, taps).unwrap();
                    let images = Array4::<f32>::ones((batch, 3, height, width));
                    pool.install(|| {
                        let shapes: Vec<TapShape> = (0..network.stages.len())
                            .map(|depth| network.description.tap_shape(depth, height, width).unwrap())
                            .collect();
                        network
                            .pool
                            .reserve(network.demand(batch, &shapes, height, width));
                        let planned = network.pool.free_bytes();
                        network.forward(images.view()).unwrap();
                        assert_eq!(
                            network.pool.free_bytes(),
                            planned,
                            "{architecture} {threads} threads, {batch} images"
                        );
                        assert!(planned > 0);
                    });
                }
            }
        }
    }

    /// The first image that is not finite is named, wherever its group is computed.
    #[test]
    fn the_first_bad_image_is_named() {
        let architecture = Architecture::Resnet18;
        let network = Network::new(architecture, &Weights::random(architecture, 0), &["layer1"]).unwrap();
        for threads in [1, 2, 3] {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            let mut images = Array4::<f32>::ones((12, 3, 32, 32));
            images[[9, 0, 3, 3]] = f32::NAN;
            images[[7, 2, 31, 31]] = f32::INFINITY;
            let error = pool.install(|| network.forward(images.view())).unwrap_err();
            assert!(
                matches!(error, BackbonesError::ImageValues { image: 7 }),
                "{error}"
            );
        }
    }
}
