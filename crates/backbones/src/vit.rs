//! The description of vision transformers as torchvision builds and names them.

use crate::description::{Description, EmbeddingStep, EncoderStep, Slot, Stage, Step};

/// The blocks of the encoder, each a layer: all tokens after it. The names are the reference study's.
pub(crate) const LAYERS: &[&str] = &[
    "layer0", "layer1", "layer2", "layer3", "layer4", "layer5", "layer6", "layer7", "layer8", "layer9",
    "layer10", "layer11",
];

/// Two slots besides the image take turns.
const TURNS: [Slot; 2] = [1, 2];

const CHANNELS: usize = 3;
const WIDTH: usize = 768;

/// The "base" transformer for images of 224 x 224 pixels in patches of `patch` x `patch`.
pub(crate) fn base(patch: usize) -> Description {
    let embedding = Step::Embedding(EmbeddingStep {
        side: 224,
        patch,
        input_channels: CHANNELS,
        width: WIDTH,
        to: TURNS[0],
    });
    let mut before = vec![embedding];
    let stages = LAYERS
        .iter()
        .enumerate()
        .map(|(i, &layer)| {
            let (from, to) = (TURNS[i % 2], TURNS[(i + 1) % 2]);
            let mut steps = std::mem::take(&mut before);
            steps.push(Step::Encoder(EncoderStep {
                name: format!("encoder.layers.encoder_layer_{i}"),
                width: WIDTH,
                heads: 12,
                hidden: 3072,
                from,
                to,
            }));
            Stage {
                layer,
                steps,
                output: to,
            }
        })
        .collect();
    Description {
        input_channels: CHANNELS,
        slots: 3,
        stages,
    }
}
