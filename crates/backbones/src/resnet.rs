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

/// Three slots serve the whole network besides the image: what lies between two convolutions of a
/// block, and two that take turns as a block's input and output.
const BETWEEN: Slot = 1;
const TURNS: [Slot; 2] = [2, 3];

/// ResNet-18: a stem, then four layers of two basic blocks each.
pub(crate) fn resnet18() -> Description {
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
        BETWEEN,
        None,
        true,
    );
    builder.steps.push(Step::MaxPool {
        window: POOL,
        from: BETWEEN,
        to: TURNS[0],
    });
    builder.current = TURNS[0];

    let mut stages = Vec::with_capacity(LAYERS.len());
    for ((&layer, channels), stride) in LAYERS.iter().zip([64, 128, 256, 512]).zip([1, 2, 2, 2]) {
        builder.basic_block(&format!("{layer}.0"), channels, stride);
        builder.basic_block(&format!("{layer}.1"), channels, 1);
        stages.push(Stage {
            layer,
            steps: std::mem::take(&mut builder.steps),
            output: builder.current,
        });
    }
    Description {
        input_channels: 3,
        slots: 4,
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

    /// Two 3x3 convolutions and a shortcut, which is a 1x1 convolution where the shape changes.
    fn basic_block(&mut self, name: &str, channels: usize, stride: usize) {
        let (input, input_channels) = (self.current, self.channels);
        let other = if input == TURNS[0] { TURNS[1] } else { TURNS[0] };
        let three = |stride| Window {
            kernel: 3,
            stride,
            padding: 1,
        };

        self.convolution(
            format!("{name}.conv1"),
            format!("{name}.bn1"),
            channels,
            three(stride),
            BETWEEN,
            None,
            true,
        );
        let (residual, output) = if stride == 1 && input_channels == channels {
            (input, other)
        } else {
            // The block's input is not read after the shortcut, so its slot takes the output.
            self.current = input;
            self.channels = input_channels;
            self.convolution(
                format!("{name}.downsample.0"),
                format!("{name}.downsample.1"),
                channels,
                Window {
                    kernel: 1,
                    stride,
                    padding: 0,
                },
                other,
                None,
                false,
            );
            (other, input)
        };
        self.current = BETWEEN;
        self.convolution(
            format!("{name}.conv2"),
            format!("{name}.bn2"),
            channels,
            three(1),
            output,
            Some(residual),
            true,
        );
    }
}
