//! The description of residual networks as torchvision builds and names them.

use crate::description::{ConvolutionStep, Description, IMAGE, Slot, Stage, Step, Window};

/// The layers of a residual network.
pub(crate) const LAYERS: &[&str] = &["layer1", "layer2", "layer3", "layer4"];

const STEM: Window = Window {
    kernel: 7,
    stride: 2,
    padding: 3,
};
const POOL: Window = Window {
    kernel: 3,
    stride: 2,
    padding: 1,
};

/// Four slots serve the whole network besides the image: two for what lies between the convolutions
/// of a block, and two that take turns as a layer's input and output. All blocks of a layer write their
/// output to the same place, where they add to what is there.
const BETWEEN: [Slot; 2] = [1, 2];
const TURNS: [Slot; 2] = [3, 4];

/// What a layer repeats.
#[derive(Debug, Clone, Copy)]
enum Block {
    /// Two 3x3 convolutions.
    Basic,
    /// A 3x3 convolution between two 1x1 ones. The first two have `width` channels for each 64 that
    /// the layer of a ResNet-50 has there; the last has four times as many as that layer.
    Bottleneck { width: usize },
}

/// ResNet-18: two basic blocks a layer.
pub(crate) fn resnet18() -> Description {
    residual(Block::Basic, [2, 2, 2, 2])
}

/// ResNet-50: three, four, six and three bottlenecks.
pub(crate) fn resnet50() -> Description {
    residual(Block::Bottleneck { width: 64 }, [3, 4, 6, 3])
}

/// Wide ResNet-50-2 (Zagoruyko and Komodakis, 2016): ResNet-50 with twice the channels inside the
/// bottlenecks.
pub(crate) fn wide_resnet50_2() -> Description {
    residual(Block::Bottleneck { width: 128 }, [3, 4, 6, 3])
}

/// A stem, then four layers of blocks.
fn residual(block: Block, blocks: [usize; 4]) -> Description {
    let mut builder = Builder {
        channels: 3,
        current: IMAGE,
        steps: Vec::new(),
    };
    builder.convolution(
        "conv1".to_owned(),
        "bn1".to_owned(),
        64,
        STEM,
        BETWEEN[0],
        None,
        true,
    );
    // Where the first block adds its input as it is, that has to be in the place of the output.
    let pooled = match block {
        Block::Basic => TURNS[0],
        Block::Bottleneck { .. } => TURNS[1],
    };
    builder.steps.push(Step::MaxPool {
        window: POOL,
        from: BETWEEN[0],
        to: pooled,
    });
    builder.current = pooled;

    let mut stages = Vec::with_capacity(LAYERS.len());
    for ((((&layer, channels), stride), count), output) in LAYERS
        .iter()
        .zip([64, 128, 256, 512])
        .zip([1, 2, 2, 2])
        .zip(blocks)
        .zip(TURNS.into_iter().cycle())
    {
        for i in 0..count {
            let stride = if i == 0 { stride } else { 1 };
            builder.block(block, &format!("{layer}.{i}"), channels, stride, output);
        }
        stages.push(Stage {
            layer,
            steps: std::mem::take(&mut builder.steps),
            output,
        });
    }
    Description {
        input_channels: 3,
        slots: 5,
        stages,
    }
}

struct Builder {
    /// The channels of the current slot.
    channels: usize,
    current: Slot,
    steps: Vec<Step>,
}

impl Builder {
    /// A convolution of the current slot into `to`, which becomes the current one.
    #[expect(clippy::too_many_arguments, reason = "private; each is a part of one step")]
    fn convolution(
        &mut self,
        conv: String,
        norm: String,
        output_channels: usize,
        window: Window,
        to: Slot,
        residual: Option<Slot>,
        relu: bool,
    ) {
        self.steps.push(Step::Convolution(ConvolutionStep {
            conv,
            norm,
            input_channels: self.channels,
            output_channels,
            window,
            from: self.current,
            to,
            residual,
            relu,
        }));
        self.current = to;
        self.channels = output_channels;
    }

    /// A block's convolutions and a shortcut, which is a 1x1 convolution where the shape changes; where it does not, the
    /// block's input is in `output` already.
    fn block(&mut self, block: Block, name: &str, channels: usize, stride: usize, output: Slot) {
        let square = |kernel, stride| Window {
            kernel,
            stride,
            padding: kernel / 2,
        };
        // Channels and window of each convolution. A bottleneck strides at its 3x3, as torchvision
        // has it (He et al. did at the first 1x1).
        let (convolutions, output_channels) = match block {
            Block::Basic => (
                vec![(channels, square(3, stride)), (channels, square(3, 1))],
                channels,
            ),
            Block::Bottleneck { width } => {
                let inside = channels / 64 * width;
                (
                    vec![
                        (inside, square(1, 1)),
                        (inside, square(3, stride)),
                        (4 * channels, square(1, 1)),
                    ],
                    4 * channels,
                )
            }
        };
        let (input, input_channels) = (self.current, self.channels);
        let reshapes = stride != 1 || input_channels != output_channels;
        let last = convolutions.len() - 1;
        for (i, (channels, window)) in convolutions.into_iter().enumerate() {
            if i == last && reshapes {
                let inside = (self.current, self.channels);
                (self.current, self.channels) = (input, input_channels);
                self.convolution(
                    format!("{name}.downsample.0"),
                    format!("{name}.downsample.1"),
                    output_channels,
                    square(1, stride),
                    output,
                    None,
                    false,
                );
                (self.current, self.channels) = inside;
            }
            let (residual, to) = if i == last {
                (Some(output), output)
            } else {
                (None, BETWEEN[i])
            };
            self.convolution(
                format!("{name}.conv{}", i + 1),
                format!("{name}.bn{}", i + 1),
                channels,
                window,
                to,
                residual,
                true,
            );
        }
    }
}
