//! The weights of a new network from a seed, as PyTorch draws them.
//!
//! A state dict from a seed is worth matching: an experiment on random features can then be repeated
//! in either program. What is matched is PyTorch's CPU generator (`twister`), its fillings of f32
//! tensors, and the order in which torchvision's constructors draw. They draw more than they keep: a
//! convolution or a fully connected layer fills itself when it is made, and an initialiser fills it
//! anew. What is overwritten, or not wanted, is skipped over.

use std::collections::BTreeSet;

use rayon::prelude::*;
use statrs::function::erf::erf_inv;

use crate::description::{ConvolutionStep, Description, EmbeddingStep, EncoderStep, Step, TensorSpec};
use crate::twister::MersenneTwister;

/// The classes of ImageNet-1k, to which torchvision's classifiers go.
const CLASSES: usize = 1000;
/// Numbers that one task turns into others; groups of 16 are never cut.
const TASK: usize = 1 << 15;

/// What a tensor is filled with.
#[derive(Debug, Clone, Copy)]
enum Filling {
    Constant(f32),
    /// Uniform between minus and plus this bound.
    Uniform(f64),
    /// Normal with mean 0 and this standard deviation.
    Normal(f64),
    /// The same, but cut off at minus and plus 2 (not: so many standard deviations).
    TruncatedNormal(f64),
}

impl Filling {
    /// The 32-bit numbers that filling `size` values draws.
    fn draws(self, size: usize) -> usize {
        match self {
            Filling::Constant(_) => 0,
            Filling::Uniform(_) | Filling::TruncatedNormal(_) => size,
            Filling::Normal(_) if size.is_multiple_of(GROUP) => size,
            Filling::Normal(_) => size + GROUP,
        }
    }

    fn fill(self, generator: &mut MersenneTwister, size: usize) -> Vec<f32> {
        if let Filling::Constant(value) = self {
            return vec![value; size];
        }
        let mut values = vec![0.0; size];
        generator.uniform(&mut values);
        match self {
            Filling::Constant(_) => {}
            Filling::Uniform(bound) => {
                let (from, range) = (-bound as f32, bound as f32 - -bound as f32);
                values.iter_mut().for_each(|value| *value = *value * range + from);
            }
            Filling::Normal(std) => normal(generator, &mut values, std as f32),
            Filling::TruncatedNormal(std) => {
                let scale = (std * std::f64::consts::SQRT_2) as f32;
                // The cut lies so many standard deviations out that the uniform numbers are of -1 to 1.
                let truncate = |value: &mut f32| {
                    let quantile = erf_inv(f64::from(*value * 2.0 - 1.0)) as f32;
                    *value = (quantile * scale).clamp(-2.0, 2.0);
                };
                values
                    .par_chunks_mut(TASK)
                    .for_each(|part| part.iter_mut().for_each(truncate));
            }
        }
        values
    }
}

/// One act of a constructor.
#[derive(Debug)]
enum Act {
    /// So many values are drawn and later overwritten, or belong to what comes after the last layer.
    Waste(usize),
    Fill(TensorSpec, Filling),
}

/// Those of the tensors in `wanted` that a network has after `torch.manual_seed(seed)`.
pub(crate) fn state_dict(
    description: &Description,
    seed: u64,
    wanted: &BTreeSet<String>,
) -> Vec<(TensorSpec, Vec<f32>)> {
    let acts = construction(description);
    let is_wanted = |act: &Act| matches!(act, Act::Fill(spec, _) if wanted.contains(&spec.name));
    // What is drawn after the last wanted tensor need not be.
    let end = acts.iter().rposition(is_wanted).map_or(0, |last| last + 1);
    let mut generator = MersenneTwister::new(seed);
    let mut tensors = Vec::new();
    for act in acts.into_iter().take(end) {
        let wanted = is_wanted(&act);
        match act {
            Act::Waste(draws) => generator.skip(draws),
            Act::Fill(spec, filling) if wanted => {
                let values = filling.fill(&mut generator, size(&spec));
                tensors.push((spec, values));
            }
            Act::Fill(spec, filling) => generator.skip(filling.draws(size(&spec))),
        }
    }
    tensors
}

fn size(spec: &TensorSpec) -> usize {
    spec.shape.iter().product()
}

/// What torchvision's constructor of a network does, in its order.
fn construction(description: &Description) -> Vec<Act> {
    let steps = || description.stages.iter().flat_map(|stage| &stage.steps);
    let embedding = steps().find_map(|step| match step {
        Step::Embedding(embedding) => Some(embedding),
        _ => None,
    });
    let blocks = steps().filter_map(|step| match step {
        Step::Encoder(block) => Some(block),
        _ => None,
    });
    match embedding {
        Some(embedding) => transformer(embedding, blocks),
        None => residual(description),
    }
}

/// `torchvision.models.resnet.ResNet`: all modules are made; then the convolutions are filled anew by
/// `kaiming_normal_(mode="fan_out", nonlinearity="relu")` in the order of `modules()`.
fn residual(description: &Description) -> Vec<Act> {
    let convolutions: Vec<&ConvolutionStep> = description
        .stages
        .iter()
        .flat_map(|stage| stage.convolutions())
        .collect();
    // Each convolution's weight, then the classifier's weight and bias.
    let made: usize = convolutions.iter().map(|c| size(&c.tensors()[0])).sum();
    let features = convolutions.last().map_or(0, |last| last.output_channels);
    let mut acts = vec![Act::Waste(made + CLASSES * features + CLASSES)];
    for convolution in in_module_order(&convolutions) {
        let [weight, scale, shift, mean, variance] = convolution.tensors();
        let fan_out = (convolution.output_channels * convolution.window.kernel.pow(2)) as f64;
        acts.push(Act::Fill(
            weight,
            Filling::Normal(2.0_f64.sqrt() / fan_out.sqrt()),
        ));
        for (spec, value) in [(scale, 1.0), (shift, 0.0), (mean, 0.0), (variance, 1.0)] {
            acts.push(Act::Fill(spec, Filling::Constant(value)));
        }
    }
    acts
}

/// In a block, `modules()` gives the shortcut last, though it is computed earlier.
fn in_module_order<'a>(convolutions: &[&'a ConvolutionStep]) -> Vec<&'a ConvolutionStep> {
    let block = |c: &ConvolutionStep| c.conv.splitn(3, '.').take(2).collect::<Vec<_>>().join(".");
    let mut ordered = Vec::with_capacity(convolutions.len());
    for of_block in convolutions.chunk_by(|a, b| block(a) == block(b)) {
        let shortcut = |c: &&&ConvolutionStep| c.conv.contains(".downsample.");
        ordered.extend(of_block.iter().filter(|c| !shortcut(c)));
        ordered.extend(of_block.iter().filter(shortcut));
    }
    ordered
}

/// `torchvision.models.vision_transformer.VisionTransformer`: the patches' projection is made first and
/// filled last, after the classifier.
fn transformer<'a>(embedding: &EmbeddingStep, blocks: impl Iterator<Item = &'a EncoderStep>) -> Vec<Act> {
    let [projection, projection_bias, class, positions] = embedding.tensors();
    let fan_in = embedding.input_channels * embedding.patch.pow(2);
    let mut acts = vec![
        Act::Waste(size(&projection) + size(&projection_bias)),
        Act::Fill(class, Filling::Constant(0.0)),
        Act::Fill(positions, Filling::Normal(0.02)),
    ];
    for block in blocks {
        acts.extend(encoder_block(block));
    }
    // The classifier is filled with zeros, without a draw.
    acts.push(Act::Waste(CLASSES * embedding.width + CLASSES));
    let std = (1.0 / fan_in as f64).sqrt();
    acts.push(Act::Fill(projection, Filling::TruncatedNormal(std)));
    acts.push(Act::Fill(projection_bias, Filling::Constant(0.0)));
    acts
}

/// `EncoderBlock`: attention keeps its output's projection as a fully connected layer fills itself, and
/// fills that of queries, keys and values by `xavier_uniform_`; the perceptron's layers fill themselves,
/// and then `MLPBlock` fills their weights by `xavier_uniform_` and their biases by `normal_`.
fn encoder_block(block: &EncoderStep) -> Vec<Act> {
    let [
        norm_1,
        norm_1_bias,
        attention,
        attention_bias,
        output,
        output_bias,
        norm_2,
        norm_2_bias,
        hidden,
        hidden_bias,
        last,
        last_bias,
    ] = block.tensors();
    let xavier = |spec: &TensorSpec| Filling::Uniform((6.0 / (spec.shape[0] + spec.shape[1]) as f64).sqrt());
    // kaiming_uniform_(a=sqrt(5)), which is uniform up to 1 / sqrt(fan_in).
    let own = |spec: &TensorSpec| Filling::Uniform(1.0 / (spec.shape[1] as f64).sqrt());
    let tiny = Filling::Normal(1e-6);
    let (zero, one) = (Filling::Constant(0.0), Filling::Constant(1.0));
    let (of_output, of_attention) = (own(&output), xavier(&attention));
    let (of_hidden, of_last) = (xavier(&hidden), xavier(&last));
    let made = size(&hidden) + size(&hidden_bias) + size(&last) + size(&last_bias);
    vec![
        Act::Fill(norm_1, one),
        Act::Fill(norm_1_bias, zero),
        Act::Fill(output, of_output),
        Act::Waste(size(&output_bias)),
        Act::Fill(attention, of_attention),
        Act::Fill(attention_bias, zero),
        Act::Fill(output_bias, zero),
        Act::Fill(norm_2, one),
        Act::Fill(norm_2_bias, zero),
        Act::Waste(made),
        Act::Fill(hidden, of_hidden),
        Act::Fill(hidden_bias, tiny),
        Act::Fill(last, of_last),
        Act::Fill(last_bias, tiny),
    ]
}

/// Values that PyTorch makes normal together.
const GROUP: usize = 16;

/// `Tensor.normal_(0, std)` for a contiguous f32 tensor of at least 16 values, which all tensors here
/// are: uniforms, made normal in groups by the method of Box and Muller (1958).
fn normal(generator: &mut MersenneTwister, values: &mut [f32], std: f32) {
    values.par_chunks_mut(TASK).for_each(|part| {
        let (groups, _) = part.as_chunks_mut::<GROUP>();
        groups.iter_mut().for_each(|group| box_muller(group, std));
    });
    if !values.len().is_multiple_of(GROUP)
        && let Some(last) = values.last_chunk_mut::<GROUP>()
    {
        // PyTorch draws the last 16 anew rather than treat a part of a group.
        generator.uniform(last);
        box_muller(last, std);
    }
}

/// Rounded to f32 where PyTorch rounds. The functions are computed in f64 by additions and
/// multiplications alone, so that the result is the same on every machine.
fn box_muller(group: &mut [f32; GROUP], std: f32) {
    for j in 0..GROUP / 2 {
        let (u1, u2) = (1.0 - group[j], group[j + GROUP / 2]);
        let radius = (-2.0 * ln(f64::from(u1)) as f32).sqrt();
        let (sine, cosine) = sine_cosine(f64::from(std::f32::consts::TAU * u2));
        group[j] = radius * cosine as f32 * std;
        group[j + GROUP / 2] = radius * sine as f32 * std;
    }
}

/// The natural logarithm of a normal number above 0, to 1e-11 of it: `2 artanh((m - 1) / (m + 1))` of
/// the mantissa.
fn ln(x: f64) -> f64 {
    // Moves the mantissa's range from 1 .. 2 to about sqrt(1/2) .. sqrt(2), where it is nearest to 1.
    const HALF_ROOT: u64 = 0x3fe6_a09e_667f_3bcd;
    let bits = x.to_bits().wrapping_sub(HALF_ROOT);
    let exponent = (bits as i64) >> 52;
    let mantissa = f64::from_bits((bits & 0x000f_ffff_ffff_ffff).wrapping_add(HALF_ROOT));
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let t = s * s;
    let series = [
        1.0 / 13.0,
        1.0 / 11.0,
        1.0 / 9.0,
        1.0 / 7.0,
        1.0 / 5.0,
        1.0 / 3.0,
        1.0,
    ]
    .into_iter()
    .fold(1.0 / 15.0, |sum, coefficient| sum * t + coefficient);
    exponent as f64 * std::f64::consts::LN_2 + 2.0 * s * series
}

/// Sine and cosine of an angle from 0 to 2 pi, to 1e-13: Taylor's series about the nearest multiple of
/// a right angle.
fn sine_cosine(angle: f64) -> (f64, f64) {
    use std::f64::consts::FRAC_PI_2;
    let quadrant = (angle * (1.0 / FRAC_PI_2) + 0.5) as i32;
    let r = angle - f64::from(quadrant) * FRAC_PI_2;
    let t = r * r;
    let horner = |coefficients: [f64; 7]| coefficients.into_iter().fold(0.0, |sum, c| sum * t + c);
    let sine = r * horner([
        1.0 / 6_227_020_800.0,
        -1.0 / 39_916_800.0,
        1.0 / 362_880.0,
        -1.0 / 5040.0,
        1.0 / 120.0,
        -1.0 / 6.0,
        1.0,
    ]);
    let cosine = horner([
        1.0 / 479_001_600.0,
        -1.0 / 3_628_800.0,
        1.0 / 40320.0,
        -1.0 / 720.0,
        1.0 / 24.0,
        -0.5,
        1.0,
    ]);
    match quadrant & 3 {
        0 => (sine, cosine),
        1 => (cosine, -sine),
        2 => (-sine, -cosine),
        _ => (-cosine, sine),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize)]
    struct Golden {
        normal_37: Vec<f32>,
        truncated_64: Vec<f32>,
    }

    #[test]
    fn fillings_are_pytorchs() {
        let golden: Golden = blemish_testkit::golden(env!("CARGO_MANIFEST_DIR"), "random_weights.json");
        for (filling, expected) in [
            (Filling::Normal(0.5), golden.normal_37),
            (Filling::TruncatedNormal(0.25), golden.truncated_64),
        ] {
            let found = filling.fill(&mut MersenneTwister::new(12), expected.len());
            assert_eq!(found.len(), expected.len());
            let largest = expected.iter().fold(0.0_f32, |a, v| a.max(v.abs()));
            for (found, expected) in found.iter().zip(&expected) {
                assert!(
                    (found - expected).abs() <= 1e-6 * largest,
                    "{filling:?}: {found} {expected}"
                );
            }
        }
    }

    /// To fill and to skip leave the generator at the same place.
    #[test]
    fn skipping_is_filling() {
        for filling in [
            Filling::Constant(1.0),
            Filling::Uniform(0.1),
            Filling::Normal(1.0),
            Filling::TruncatedNormal(1.0),
        ] {
            for size in [16, 37, 1000, 100_000] {
                let (mut filled, mut skipped) = (MersenneTwister::new(3), MersenneTwister::new(3));
                filling.fill(&mut filled, size);
                skipped.skip(filling.draws(size));
                assert_eq!(filled.draw(), skipped.draw(), "{filling:?} {size}");
            }
        }
    }

    #[test]
    fn functions_are_near_the_systems() {
        for i in 1..=1 << 16 {
            let x = f64::from(i) / f64::from(1 << 16);
            let near = |found: f64, expected: f64, bound: f64| {
                assert!((found - expected).abs() <= bound, "{x}: {found} {expected}");
            };
            near(ln(x), x.ln(), 1e-11 * x.ln().abs());
            near(ln(x * 1e-7), (x * 1e-7).ln(), 1e-10);
            let (sine, cosine) = sine_cosine(x * std::f64::consts::TAU);
            near(sine, (x * std::f64::consts::TAU).sin(), 1e-12);
            near(cosine, (x * std::f64::consts::TAU).cos(), 1e-12);
        }
        assert_eq!(ln(1.0), 0.0);
        assert_eq!(sine_cosine(0.0), (0.0, 1.0));
    }
}
