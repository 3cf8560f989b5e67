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

/// One step of a network.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Convolution(ConvolutionStep),
    MaxPool { window: Window, from: Slot, to: Slot },
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
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
}

impl ConvolutionStep {
    /// What the step reads: the convolution's weight, then the normalisation's weight, bias, running
    /// mean and running variance.
    pub(crate) fn tensors(&self) -> [TensorSpec; 5] {
        let channels = |part: &str| TensorSpec {
            name: format!("{}.{part}", self.norm),
            shape: vec![self.output_channels],
        };
        let weight = TensorSpec {
            name: format!("{}.weight", self.conv),
            shape: vec![
                self.output_channels,
                self.input_channels,
                self.window.kernel,
                self.window.kernel,
            ],
        };
        [
            weight,
            channels("weight"),
            channels("bias"),
            channels("running_mean"),
            channels("running_var"),
        ]
    }
}

impl Stage {
    pub(crate) fn convolutions(&self) -> impl Iterator<Item = &ConvolutionStep> {
        self.steps.iter().filter_map(|step| match step {
            Step::Convolution(convolution) => Some(convolution),
            Step::MaxPool { .. } => None,
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
        check_size(height, width)?;
        let image = TapShape {
            height,
            width,
            channels: self.input_channels,
        };
        let mut shapes = vec![image; self.slots];
        let mut output = IMAGE;
        for stage in self.stages.iter().take(depth + 1) {
            for step in &stage.steps {
                let (from, to, window, channels) = match step {
                    Step::Convolution(c) => (c.from, c.to, &c.window, c.output_channels),
                    Step::MaxPool { window, from, to } => (*from, *to, window, shapes[*from].channels),
                };
                shapes[to] = TapShape {
                    height: window.positions(shapes[from].height),
                    width: window.positions(shapes[from].width),
                    channels,
                };
            }
            output = stage.output;
        }
        Ok(shapes[output])
    }
}

pub(crate) fn check_size(height: usize, width: usize) -> Result<(), BackbonesError> {
    let sides = MINIMUM_SIDE..=MAXIMUM_SIDE;
    if sides.contains(&height) && sides.contains(&width) {
        return Ok(());
    }
    Err(BackbonesError::ImageSize {
        height,
        width,
        minimum: MINIMUM_SIDE,
        maximum: MAXIMUM_SIDE,
    })
}
