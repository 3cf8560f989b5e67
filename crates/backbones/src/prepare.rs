//! From named tensors to the layers that are run: batch normalisation folded, matrices packed.

use crate::architecture::Architecture;
use crate::conv::Convolution;
use crate::description::{ConvolutionStep, EmbeddingStep, EncoderStep, TensorSpec};
use crate::error::BackbonesError;
use crate::product::Linear;
use crate::simd::Available;
use crate::transformer::{Dense, Embedding, Encoder, Normalisation};
use crate::weights::Weights;

/// Added to the variance of every batch normalisation: torchvision's.
const EPSILON: f64 = 1e-5;

/// Where a stage's tensors come from.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) set: Available,
    pub(crate) architecture: Architecture,
    pub(crate) weights: &'a Weights,
    /// The layer they are needed for.
    pub(crate) layer: &'static str,
}

/// The weight and the bias of a convolution with its batch normalisation in it.
pub(crate) struct Folded {
    pub(crate) weight: Vec<f32>,
    pub(crate) bias: Vec<f32>,
}

impl<'a> Source<'a> {
    fn tensor(&self, spec: &TensorSpec) -> Result<&'a [f32], BackbonesError> {
        self.weights.tensor(self.architecture, self.layer, spec)
    }

    /// The convolution of `step` with its batch normalisation folded in, computed in f64:
    /// `gamma (w x - mean) / sqrt(variance + epsilon) + beta` is a convolution with bias.
    pub(crate) fn fold(&self, step: &ConvolutionStep) -> Result<Folded, BackbonesError> {
        let specs = step.tensors();
        let [weight, gamma, beta, mean, variance] = specs.each_ref().map(|spec| self.tensor(spec));
        let (weight, gamma, beta, mean, variance) = (weight?, gamma?, beta?, mean?, variance?);
        if variance.iter().any(|v| *v < 0.0) {
            return Err(self.weights.bad_values(&specs[4].name, "a negative variance"));
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
            return Err(self
                .weights
                .bad_values(&specs[0].name, "values too large for its batch normalisation"));
        }
        Ok(Folded { weight: folded, bias })
    }

    pub(crate) fn convolution(&self, step: &ConvolutionStep) -> Result<Convolution, BackbonesError> {
        let Folded { weight, bias } = self.fold(step)?;
        Ok(Convolution::new(
            self.set,
            step.window,
            step.input_channels,
            &weight,
            &bias,
        ))
    }

    pub(crate) fn embedding(&self, step: &EmbeddingStep) -> Result<Embedding, BackbonesError> {
        let specs = step.tensors();
        let [weight, bias, class, positions] = specs.each_ref().map(|spec| self.tensor(spec));
        let (weight, bias, class, positions) = (weight?, bias?, class?, positions?);
        let (first, others) = positions.split_at(step.width);
        Ok(Embedding {
            side: step.side,
            patch: step.patch,
            channels: step.input_channels,
            projection: self.linear(weight, bias),
            class: class.iter().zip(first).map(|(a, b)| a + b).collect(),
            positions: others.to_vec(),
        })
    }

    pub(crate) fn encoder(&self, step: &EncoderStep) -> Result<Encoder, BackbonesError> {
        let specs = step.tensors();
        let mut tensors = Vec::with_capacity(specs.len());
        for spec in &specs {
            tensors.push(self.tensor(spec)?);
        }
        // Queries are divided by the square root of a head's channels, before rather than after.
        let scale = 1.0 / ((step.width / step.heads) as f32).sqrt();
        let scaled = |output: usize| if output < step.width { scale } else { 1.0 };
        let (in_weight, in_bias) = (tensors[2], tensors[3]);
        let in_bias: Vec<f32> = in_bias.iter().enumerate().map(|(n, b)| b * scaled(n)).collect();
        let in_projection = Dense::new(self.set, step.width, &in_bias, |k, n| {
            in_weight[n * step.width + k] * scaled(n)
        });
        Ok(Encoder {
            heads: step.heads,
            before_attention: Normalisation::new(tensors[0], tensors[1]),
            in_projection,
            out_projection: self.dense(tensors[4], tensors[5]),
            before_perceptron: Normalisation::new(tensors[6], tensors[7]),
            hidden: self.dense(tensors[8], tensors[9]),
            output: self.dense(tensors[10], tensors[11]),
        })
    }

    /// PyTorch's order: output by input.
    fn linear(&self, weight: &[f32], bias: &[f32]) -> Linear {
        let depth = weight.len() / bias.len();
        Linear::new(self.set, depth, bias, |k, n| weight[n * depth + k])
    }

    fn dense(&self, weight: &[f32], bias: &[f32]) -> Dense {
        let depth = weight.len() / bias.len();
        Dense::new(self.set, depth, bias, |k, n| weight[n * depth + k])
    }
}
