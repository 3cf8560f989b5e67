//! The weights of a new network from a seed, as PyTorch draws them.
//!
//! A state dict from a seed is worth matching: an experiment on random features can then be repeated
//! in either program. What is matched is PyTorch's CPU generator (MT19937; Matsumoto and Nishimura,
//! 1998), its uniform and normal fillings of f32, and the order in which torchvision's constructor
//! draws: first every convolution in the order of construction, overwritten later but drawn all the
//! same, and the fully connected layer; then every convolution again in the order of `modules()`.

use crate::description::{ConvolutionStep, Description, TensorSpec};

const STATE: usize = 624;
const MIDDLE: usize = 397;

/// MT19937, 32 bits at a time.
struct MersenneTwister {
    state: [u32; STATE],
    next: usize,
}

impl MersenneTwister {
    /// As PyTorch's CPU generator: only the low 32 bits of the seed count.
    fn new(seed: u64) -> Self {
        let mut state = [0_u32; STATE];
        state[0] = (seed & 0xffff_ffff) as u32;
        for i in 1..STATE {
            let last = state[i - 1];
            state[i] = 1_812_433_253_u32
                .wrapping_mul(last ^ (last >> 30))
                .wrapping_add(i as u32);
        }
        MersenneTwister { state, next: STATE }
    }

    fn refill(&mut self) {
        for i in 0..STATE {
            let y = (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % STATE] & 0x7fff_ffff);
            let twist = if y & 1 == 1 { 0x9908_b0df } else { 0 };
            self.state[i] = self.state[(i + MIDDLE) % STATE] ^ (y >> 1) ^ twist;
        }
        self.next = 0;
    }

    fn draw(&mut self) -> u32 {
        if self.next == STATE {
            self.refill();
        }
        let mut y = self.state[self.next];
        self.next += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    fn skip(&mut self, draws: usize) {
        let mut left = draws;
        while left > 0 {
            if self.next == STATE {
                self.refill();
            }
            let step = left.min(STATE - self.next);
            self.next += step;
            left -= step;
        }
    }

    /// 24 random bits in 0 (included) to 1 (not).
    fn uniform(&mut self) -> f32 {
        (self.draw() & 0x00ff_ffff) as f32 * (1.0 / 16_777_216.0)
    }

    /// `Tensor.normal_(0, std)` for a contiguous f32 tensor of at least 16 values: uniforms, made
    /// normal in groups of 16 by the method of Box and Muller.
    fn normal(&mut self, size: usize, std: f32) -> Vec<f32> {
        let mut values: Vec<f32> = (0..size).map(|_| self.uniform()).collect();
        let (groups, rest) = values.as_chunks_mut::<16>();
        groups.iter_mut().for_each(|group| box_muller(group, std));
        if !rest.is_empty()
            && let Some(last) = values.last_chunk_mut::<16>()
        {
            // PyTorch draws the last 16 anew rather than treat a part of a group.
            last.fill_with(|| self.uniform());
            box_muller(last, std);
        }
        values
    }
}

/// Rounded to f32 where PyTorch rounds; the functions themselves in f64, whose result is the same
/// on every platform once rounded.
fn box_muller(group: &mut [f32; 16], std: f32) {
    for j in 0..8 {
        let (u1, u2) = (1.0 - group[j], group[j + 8]);
        let radius = (-2.0 * f64::from(u1).ln() as f32).sqrt();
        let theta = f64::from(std::f32::consts::TAU * u2);
        group[j] = radius * theta.cos() as f32 * std;
        group[j + 8] = radius * theta.sin() as f32 * std;
    }
}

/// The tensors of a residual network after `torch.manual_seed(seed)`, without the classifier.
pub(crate) fn state_dict(description: &Description, seed: u64) -> Vec<(TensorSpec, Vec<f32>)> {
    let mut generator = MersenneTwister::new(seed);
    let convolutions: Vec<&ConvolutionStep> = description
        .stages
        .iter()
        .flat_map(|stage| stage.convolutions())
        .collect();

    // What the constructors draw is overwritten, so that only its amount counts: one number for each
    // weight of a convolution, then the weight and the bias of the classifier.
    let size = |spec: &TensorSpec| spec.shape.iter().product::<usize>();
    for convolution in &convolutions {
        generator.skip(size(&convolution.tensors()[0]));
    }
    let features = convolutions.last().map_or(0, |last| last.output_channels);
    generator.skip(CLASSES * features + CLASSES);

    let mut tensors = Vec::new();
    for convolution in in_module_order(&convolutions) {
        let [weight, scale, shift, mean, variance] = convolution.tensors();
        // kaiming_normal_(mode="fan_out", nonlinearity="relu")
        let fan = (convolution.output_channels * convolution.window.kernel.pow(2)) as f64;
        let std = 2.0_f64.sqrt() / fan.sqrt();
        let values = generator.normal(size(&weight), std as f32);
        tensors.push((weight, values));
        for (spec, value) in [(scale, 1.0), (shift, 0.0), (mean, 0.0), (variance, 1.0)] {
            let values = vec![value; size(&spec)];
            tensors.push((spec, values));
        }
    }
    tensors
}

/// The classes of ImageNet-1k, to which torchvision's classifier goes.
const CLASSES: usize = 1000;

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

#[cfg(test)]
mod tests {
    use super::*;

    /// The reference implementation's first and ten-thousandth outputs (also C++'s standard).
    #[test]
    fn is_mt19937() {
        let mut generator = MersenneTwister::new(5489);
        assert_eq!(generator.draw(), 3_499_211_612);
        generator.skip(9998);
        assert_eq!(generator.draw(), 4_123_659_995);
    }

    #[test]
    fn normal_redraws_a_partial_group() {
        #[derive(serde::Deserialize)]
        struct Golden {
            normal_37: Vec<f32>,
        }
        let golden: Golden = blemish_testkit::golden(env!("CARGO_MANIFEST_DIR"), "random.json");
        let found = MersenneTwister::new(12).normal(37, 0.5);
        for (found, expected) in found.iter().zip(&golden.normal_37) {
            assert!((found - expected).abs() <= 1e-6 * 0.5, "{found} {expected}");
        }
        assert_eq!(found.len(), golden.normal_37.len());
    }
}
