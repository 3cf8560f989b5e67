//! What a network consists of, without its numbers: steps that read and write numbered slots.
//!
//! A description is data: what runs it (`network`), what it is run with (`conv`) and what is read for
//! it (`weights`) can each change without the others.

use crate::error::BackbonesError;

/// The side of an image may not be less, in pixels: every layer then has at least one position.
pub(crate) const MINIMUM_SIDE: usize = 32;
/// Nor greater, in pixels: a bound on memory.
pub(crate) const MAXIMUM_SIDE: usize = 2048;

/// The shape of a layer's output.
///
/// The tokens of a transformer are one row of positions: height 1, and as width the class token
/// followed by the patches, row by row of the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TapShape {
    /// Positions from top to bottom.
    pub height: usize,
    /// Positions from left to right.
    pub width: usize,
    /// Channels at each position.
    pub channels: usize,
}

impl TapShape {
    /// The number of features: height x width x channels.
    pub fn len(&self) -> usize {
        self.height * self.width * self.channels
    }

    /// Whether there are no features.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The index of an activation.
pub(crate) type Slot = usize;
/// The slot that holds the image.
pub(crate) const IMAGE: Slot = 0;

/// A square window that slides over an activation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    pub(crate) padding: usize,
}

impl Window {
    /// The number of positions along a side of `side` pixels; 0 where the window does not fit.
    pub(crate) fn positions(&self, side: usize) -> usize {
        (side + 2 * self.padding)
            .checked_sub(self.kernel)
            .map_or(0, |room| room / self.stride + 1)
    }
}

/// A convolution without bias, followed by a batch normalisation.
#[derive(Debug, Clone)]
pub(crate) struct ConvolutionStep {
    /// The convolution's name: its weight is the tensor `{conv}.weight`.
    pub(crate) conv: String,
    /// The batch normalisation's name: `{norm}.weight`, `bias`, `running_mean` and `running_var`.
    pub(crate) norm: String,
    pub(crate) input_channels: usize,
    pub(crate) output_channels: usize,
    pub(crate) window: Window,
    pub(crate) from: Slot,
    pub(crate) to: Slot,
    /// Added after the normalisation, before the ReLU.
    pub(crate) residual: Option<Slot>,
    pub(crate) relu: bool,
}

/// An image of one size cut into square patches, each mapped to a token; a class token before them;
/// and to all of them their position's embedding added (Dosovitskiy et al., 2021).
#[derive(Debug, Clone)]
pub(crate) struct EmbeddingStep {
    /// The only side of an image, in pixels: there are no embeddings for other positions.
    pub(crate) side: usize,
    /// The side of a patch, in pixels.
    pub(crate) patch: usize,
    pub(crate) input_channels: usize,
    /// The channels of a token.
    pub(crate) width: usize,
    pub(crate) to: Slot,
}

/// A block of a transformer's encoder: attention and a perceptron of one hidden layer, each after a
/// layer normalisation and added to its input.
#[derive(Debug, Clone)]
pub(crate) struct EncoderStep {
    /// What its tensors' names begin with, without the last dot.
    pub(crate) name: String,
    pub(crate) width: usize,
    pub(crate) heads: usize,
    /// The channels of the perceptron's hidden layer.
    pub(crate) hidden: usize,
    pub(crate) from: Slot,
    pub(crate) to: Slot,
}

/// One step of a network.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Convolution(ConvolutionStep),
    MaxPool { window: Window, from: Slot, to: Slot },
    Embedding(EmbeddingStep),
    Encoder(EncoderStep),
}

/// The steps from the previous layer's output (or the image) to this layer's.
#[derive(Debug, Clone)]
pub(crate) struct Stage {
    pub(crate) layer: &'static str,
    pub(crate) steps: Vec<Step>,
    /// The slot that holds the layer's output after the steps.
    pub(crate) output: Slot,
}

/// A network.
#[derive(Debug, Clone)]
pub(crate) struct Description {
    pub(crate) input_channels: usize,
    /// The number of slots.
    pub(crate) slots: usize,
    pub(crate) stages: Vec<Stage>,
}

/// A tensor that a step reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TensorSpec {
    /// The name in torchvision's present state dict: the one that identifies the tensor.
    pub(crate) name: String,
    /// The name in files of older versions, where it was another. torchvision's own published files
    /// of vision transformers have it.
    pub(crate) old_name: Option<String>,
    pub(crate) shape: Vec<usize>,
}

impl TensorSpec {
    fn new(name: String, shape: &[usize]) -> Self {
        TensorSpec {
            name,
            old_name: None,
            shape: shape.to_vec(),
        }
    }

    fn formerly(mut self, old_name: String) -> Self {
        self.old_name = Some(old_name);
        self
    }
}

impl ConvolutionStep {
    /// What the step reads: the convolution's weight, then the normalisation's weight, bias, running
    /// mean and running variance.
    pub(crate) fn tensors(&self) -> [TensorSpec; 5] {
        let channels = |part: &str| TensorSpec::new(format!("{}.{part}", self.norm), &[self.output_channels]);
        let weight = TensorSpec::new(
            format!("{}.weight", self.conv),
            &[
                self.output_channels,
                self.input_channels,
                self.window.kernel,
                self.window.kernel,
            ],
        );
        [
            weight,
            channels("weight"),
            channels("bias"),
            channels("running_mean"),
            channels("running_var"),
        ]
    }
}

impl EmbeddingStep {
    /// The number of tokens: one for each patch, and the class token.
    pub(crate) fn tokens(&self) -> usize {
        (self.side / self.patch).pow(2) + 1
    }

    /// What the step reads: the projection's weight and bias, the class token, the embeddings of the
    /// positions.
    pub(crate) fn tensors(&self) -> [TensorSpec; 4] {
        let width = self.width;
        [
            TensorSpec::new(
                "conv_proj.weight".to_owned(),
                &[width, self.input_channels, self.patch, self.patch],
            ),
            TensorSpec::new("conv_proj.bias".to_owned(), &[width]),
            TensorSpec::new("class_token".to_owned(), &[1, 1, width]),
            TensorSpec::new("encoder.pos_embedding".to_owned(), &[1, self.tokens(), width]),
        ]
    }
}

impl EncoderStep {
    /// What the step reads, a weight and a bias each: the first normalisation, the projection to
    /// queries, keys and values, the projection of what attention gives, the second normalisation, the
    /// perceptron's two layers.
    pub(crate) fn tensors(&self) -> [TensorSpec; 12] {
        let (width, hidden) = (self.width, self.hidden);
        let spec = |part: &str, shape: &[usize]| TensorSpec::new(format!("{}.{part}", self.name), shape);
        let renamed = |part: &str, old: &str, shape: &[usize]| {
            spec(part, shape).formerly(format!("{}.{old}", self.name))
        };
        [
            spec("ln_1.weight", &[width]),
            spec("ln_1.bias", &[width]),
            spec("self_attention.in_proj_weight", &[3 * width, width]),
            spec("self_attention.in_proj_bias", &[3 * width]),
            spec("self_attention.out_proj.weight", &[width, width]),
            spec("self_attention.out_proj.bias", &[width]),
            spec("ln_2.weight", &[width]),
            spec("ln_2.bias", &[width]),
            renamed("mlp.0.weight", "mlp.linear_1.weight", &[hidden, width]),
            renamed("mlp.0.bias", "mlp.linear_1.bias", &[hidden]),
            renamed("mlp.3.weight", "mlp.linear_2.weight", &[width, hidden]),
            renamed("mlp.3.bias", "mlp.linear_2.bias", &[width]),
        ]
    }
}

impl Step {
    /// What the step reads.
    pub(crate) fn tensors(&self) -> Vec<TensorSpec> {
        match self {
            Step::Convolution(step) => step.tensors().into(),
            Step::MaxPool { .. } => Vec::new(),
            Step::Embedding(step) => step.tensors().into(),
            Step::Encoder(step) => step.tensors().into(),
        }
    }
}

impl Stage {
    /// What the stage's steps read.
    pub(crate) fn tensors(&self) -> impl Iterator<Item = TensorSpec> {
        self.steps.iter().flat_map(Step::tensors)
    }

    pub(crate) fn convolutions(&self) -> impl Iterator<Item = &ConvolutionStep> {
        self.steps.iter().filter_map(|step| match step {
            Step::Convolution(convolution) => Some(convolution),
            Step::MaxPool { .. } | Step::Embedding(_) | Step::Encoder(_) => None,
        })
    }
}

impl Description {
    /// The shape of the output of the layer at `depth` for images of `height` x `width` pixels.
    pub(crate) fn tap_shape(
        &self,
        depth: usize,
        height: usize,
        width: usize,
    ) -> Result<TapShape, BackbonesError> {
        self.check_size(height, width)?;
        let image = TapShape {
            height,
            width,
            channels: self.input_channels,
        };
        let mut shapes = vec![image; self.slots];
        let mut output = IMAGE;
        for stage in self.stages.iter().take(depth + 1) {
            for step in &stage.steps {
                let slide = |shape: TapShape, window: &Window, channels| TapShape {
                    height: window.positions(shape.height),
                    width: window.positions(shape.width),
                    channels,
                };
                match step {
                    Step::Convolution(c) => {
                        shapes[c.to] = slide(shapes[c.from], &c.window, c.output_channels)
                    }
                    Step::MaxPool { window, from, to } => {
                        shapes[*to] = slide(shapes[*from], window, shapes[*from].channels);
                    }
                    Step::Embedding(e) => {
                        shapes[e.to] = TapShape {
                            height: 1,
                            width: e.tokens(),
                            channels: e.width,
                        };
                    }
                    Step::Encoder(e) => shapes[e.to] = shapes[e.from],
                }
            }
            output = stage.output;
        }
        Ok(shapes[output])
    }

    /// Whether images of `height` x `width` pixels can be computed.
    pub(crate) fn check_size(&self, height: usize, width: usize) -> Result<(), BackbonesError> {
        let only = self
            .stages
            .iter()
            .flat_map(|s| &s.steps)
            .find_map(|step| match step {
                Step::Embedding(embedding) => Some(embedding.side),
                _ => None,
            });
        let sides = match only {
            Some(side) => side..=side,
            None => MINIMUM_SIDE..=MAXIMUM_SIDE,
        };
        if sides.contains(&height) && sides.contains(&width) {
            return Ok(());
        }
        Err(BackbonesError::ImageSize {
            height,
            width,
            minimum: *sides.start(),
            maximum: *sides.end(),
        })
    }
}
