//! Convolution and pooling over NHWC activations, in safe code: patches gathered as rows, then a
//! matrix product. Faster kernels are measured against this one.

use crate::description::{TapShape, Window};
use crate::product::product;

/// Patches gathered at a time, in f32s: a quarter of a mebibyte stays in the second-level cache between
/// being gathered and being multiplied. From a half to 150 times of this changed the processor time by
/// less than 7 %, within the noise, so the least memory decides. A constant, because the order of sums
/// must depend on nothing but shapes.
const PATCH_FLOATS: usize = 64 * 1024;
/// But never fewer rows than this, so that a product is worth packing the weights for.
const LEAST_ROWS: usize = 64;

/// A convolution with bias, ready to run.
#[derive(Debug)]
pub(crate) struct Convolution {
    window: Window,
    input_channels: usize,
    /// Row-major, (kernel y, kernel x, input channel) by output channel.
    weights: Vec<f32>,
    bias: Vec<f32>,
}

/// What is added to and done with the product.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Finish<'a> {
    /// NHWC, of the output's shape.
    pub(crate) residual: Option<&'a [f32]>,
    pub(crate) relu: bool,
}

impl Convolution {
    /// `weight` in PyTorch's order: output channel, input channel, kernel y, kernel x.
    pub(crate) fn new(window: Window, input_channels: usize, weight: &[f32], bias: Vec<f32>) -> Self {
        let area = window.kernel * window.kernel;
        let mut weights = Vec::with_capacity(weight.len());
        for row in 0..area * input_channels {
            let (position, input) = (row / input_channels, row % input_channels);
            weights.extend(
                (0..bias.len()).map(|output| weight[(output * input_channels + input) * area + position]),
            );
        }
        Convolution {
            window,
            input_channels,
            weights,
            bias,
        }
    }

    /// The shape of the output for an input of shape `input`.
    pub(crate) fn output_shape(&self, input: TapShape) -> TapShape {
        TapShape {
            height: self.window.positions(input.height),
            width: self.window.positions(input.width),
            channels: self.bias.len(),
        }
    }

    /// Writes the convolution of `input` (NHWC, of `shape`) to `output`; `patches` is scratch.
    pub(crate) fn run(
        &self,
        input: &[f32],
        shape: TapShape,
        finish: Finish<'_>,
        patches: &mut Vec<f32>,
        output: &mut [f32],
    ) {
        let out = self.output_shape(shape);
        let window = self.window;
        let (pixels, depth) = (
            out.height * out.width,
            window.kernel * window.kernel * self.input_channels,
        );
        // One pixel at a time and nothing around it: the activation itself is the matrix of patches.
        let direct = window.kernel == 1 && window.stride == 1 && window.padding == 0;
        let rows = (PATCH_FLOATS / depth / 16 * 16).max(LEAST_ROWS).min(pixels);
        if !direct {
            patches.resize(rows * depth, 0.0);
        }
        for (index, part) in output.chunks_mut(rows * out.channels).enumerate() {
            let (start, count) = (index * rows, part.len() / out.channels);
            let chunk = if direct {
                &input[start * depth..(start + count) * depth]
            } else {
                let chunk = &mut patches[..count * depth];
                gather(input, shape, window, self.input_channels, out.width, start, chunk);
                &*chunk
            };
            product(chunk, &self.weights, part, [count, depth, out.channels]);
            let from = start * out.channels;
            let residual = finish.residual.map(|values| &values[from..from + part.len()]);
            finish_rows(part, &self.bias, residual, finish.relu);
        }
    }
}

/// Gathers the patches of the output positions from `start`, row by row, into `patches`.
fn gather(
    input: &[f32],
    shape: TapShape,
    window: Window,
    channels: usize,
    output_width: usize,
    start: usize,
    patches: &mut [f32],
) {
    let Window {
        kernel,
        stride,
        padding,
    } = window;
    let (mut oy, mut ox) = (start / output_width, start % output_width);
    for patch in patches.chunks_exact_mut(kernel * kernel * channels) {
        // Coordinates below are shifted by the padding, so that they stay unsigned.
        let left = ox * stride;
        let first = padding.saturating_sub(left).min(kernel);
        let last = (shape.width + padding)
            .saturating_sub(left)
            .min(kernel)
            .max(first);
        for (ky, row) in patch.chunks_exact_mut(kernel * channels).enumerate() {
            let y = oy * stride + ky;
            if y < padding || y >= shape.height + padding || first == last {
                row.fill(0.0);
                continue;
            }
            let from = ((y - padding) * shape.width + left + first - padding) * channels;
            row[..first * channels].fill(0.0);
            row[first * channels..last * channels]
                .copy_from_slice(&input[from..from + (last - first) * channels]);
            row[last * channels..].fill(0.0);
        }
        ox += 1;
        if ox == output_width {
            (oy, ox) = (oy + 1, 0);
        }
    }
}

fn finish_rows(values: &mut [f32], bias: &[f32], residual: Option<&[f32]>, relu: bool) {
    let channels = bias.len();
    match residual {
        Some(residual) => {
            for (row, extra) in values
                .chunks_exact_mut(channels)
                .zip(residual.chunks_exact(channels))
            {
                for ((value, bias), extra) in row.iter_mut().zip(bias).zip(extra) {
                    *value = rectify(*value + bias + extra, relu);
                }
            }
        }
        None => {
            for row in values.chunks_exact_mut(channels) {
                for (value, bias) in row.iter_mut().zip(bias) {
                    *value = rectify(*value + bias, relu);
                }
            }
        }
    }
}

/// ReLU that lets NaN through, as PyTorch's does: `max` would hide it.
#[inline]
fn rectify(value: f32, relu: bool) -> f32 {
    if relu && value < 0.0 { 0.0 } else { value }
}

/// Writes the greatest value under each window, channel by channel, to `output`; what lies outside
/// does not count. Lets NaN through.
pub(crate) fn max_pool(input: &[f32], shape: TapShape, window: Window, output: &mut [f32]) {
    let (width, channels) = (window.positions(shape.width), shape.channels);
    for (index, pixel) in output.chunks_exact_mut(channels).enumerate() {
        let rows = span(index / width, window, shape.height);
        let columns = span(index % width, window, shape.width);
        pixel.fill(f32::NEG_INFINITY);
        for y in rows {
            for x in columns.clone() {
                let from = (y * shape.width + x) * channels;
                for (greatest, value) in pixel.iter_mut().zip(&input[from..from + channels]) {
                    let keep = *value <= *greatest || greatest.is_nan();
                    *greatest = if keep { *greatest } else { *value };
                }
            }
        }
    }
}

/// The pixels, of `side`, under the window at `position`.
fn span(position: usize, window: Window, side: usize) -> std::ops::Range<usize> {
    let start = position * window.stride;
    start.saturating_sub(window.padding)..(start + window.kernel).saturating_sub(window.padding).min(side)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Values in -1 to 1 that no two positions share, from the index alone.
    fn values(n: usize, salt: u32) -> Vec<f32> {
        (0..n as u32)
            .map(|i| (i.wrapping_add(salt).wrapping_mul(2_654_435_761) >> 8) as f32 / 8_388_608.0 - 1.0)
            .collect()
    }

    /// The definition, in f64: each sum, and the sum of the magnitudes of its terms.
    fn direct(
        input: &[f32],
        shape: TapShape,
        window: Window,
        weight: &[f32],
        bias: &[f32],
        finish: Finish<'_>,
    ) -> Vec<(f64, f64)> {
        let (height, width) = (window.positions(shape.height), window.positions(shape.width));
        let mut output = Vec::new();
        for oy in 0..height {
            for ox in 0..width {
                for (co, bias) in bias.iter().enumerate() {
                    let mut sum = f64::from(*bias);
                    let mut magnitude = sum.abs();
                    for ci in 0..shape.channels {
                        for ky in 0..window.kernel {
                            for kx in 0..window.kernel {
                                let y = (oy * window.stride + ky) as isize - window.padding as isize;
                                let x = (ox * window.stride + kx) as isize - window.padding as isize;
                                if y < 0 || x < 0 || y as usize >= shape.height || x as usize >= shape.width {
                                    continue;
                                }
                                let at = (y as usize * shape.width + x as usize) * shape.channels + ci;
                                let w =
                                    ((co * shape.channels + ci) * window.kernel + ky) * window.kernel + kx;
                                let term = f64::from(input[at]) * f64::from(weight[w]);
                                sum += term;
                                magnitude += term.abs();
                            }
                        }
                    }
                    if let Some(residual) = finish.residual {
                        sum += f64::from(residual[output.len()]);
                        magnitude += f64::from(residual[output.len()]).abs();
                    }
                    output.push((if finish.relu { sum.max(0.0) } else { sum }, magnitude));
                }
            }
        }
        output
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn is_the_definition(
            height in 1_usize..24,
            width in 1_usize..24,
            input_channels in 1_usize..9,
            output_channels in 1_usize..20,
            kernel in 1_usize..8,
            stride in 1_usize..4,
            padding in 0_usize..5,
            relu: bool,
            with_residual: bool,
            salt: u32,
        ) {
            let window = Window { kernel, stride, padding };
            let shape = TapShape { height, width, channels: input_channels };
            prop_assume!(window.positions(height) > 0 && window.positions(width) > 0);
            let input = values(shape.len(), salt);
            let depth = kernel * kernel * input_channels;
            let weight = values(depth * output_channels, salt.wrapping_add(7));
            let bias = values(output_channels, salt.wrapping_add(11));
            let convolution = Convolution::new(window, input_channels, &weight, bias.clone());
            let out = convolution.output_shape(shape);
            let residual = with_residual.then(|| values(out.len(), salt.wrapping_add(13)));
            let finish = Finish { residual: residual.as_deref(), relu };

            let expected = direct(&input, shape, window, &weight, &bias, finish);
            // Whatever is left over in the buffers must not matter.
            let mut found = vec![f32::NAN; out.len()];
            let mut patches = vec![f32::NAN; 17];
            convolution.run(&input, shape, finish, &mut patches, &mut found);

            // A sum of n terms in f32 errs by at most n half-epsilons of the sum of their magnitudes
            // (Higham, 2002, section 4.2) and hardly ever by more than 2 sqrt(n) of them (Higham and
            // Mary, 2019); a sequential loop reaches 0.2 sqrt(n) on these values.
            let roundings = 2.0 * (depth as f64 + 2.0).sqrt() * f64::from(f32::EPSILON) / 2.0;
            for (found, (sum, magnitude)) in found.iter().zip(&expected) {
                let error = (f64::from(*found) - sum).abs();
                prop_assert!(error <= roundings * magnitude, "{found} {sum}: {error:e}");
            }
        }

        #[test]
        fn pooling_is_the_definition(
            height in 2_usize..20,
            width in 2_usize..20,
            channels in 1_usize..6,
            salt: u32,
        ) {
            let window = Window { kernel: 3, stride: 2, padding: 1 };
            let shape = TapShape { height, width, channels };
            let input = values(shape.len(), salt);
            let (out_height, out_width) = (window.positions(height), window.positions(width));
            let mut found = vec![f32::NAN; out_height * out_width * channels];
            max_pool(&input, shape, window, &mut found);
            for (i, found) in found.iter().enumerate() {
                let (pixel, channel) = (i / channels, i % channels);
                let (oy, ox) = (pixel / out_width, pixel % out_width);
                let mut greatest = f32::NEG_INFINITY;
                for y in 0..height {
                    for x in 0..width {
                        if (y + 1).abs_diff(oy * 2 + 1) <= 1 && (x + 1).abs_diff(ox * 2 + 1) <= 1 {
                            greatest = greatest.max(input[(y * width + x) * channels + channel]);
                        }
                    }
                }
                prop_assert_eq!(*found, greatest);
            }
        }
    }

    #[test]
    fn nan_passes_through() {
        assert!(rectify(f32::NAN, true).is_nan());
        let shape = TapShape {
            height: 2,
            width: 2,
            channels: 1,
        };
        let window = Window {
            kernel: 3,
            stride: 2,
            padding: 1,
        };
        let mut output = [0.0];
        for position in 0..4 {
            let mut input = [1.0, 2.0, 3.0, 4.0];
            input[position] = f32::NAN;
            max_pool(&input, shape, window, &mut output);
            assert!(output[0].is_nan(), "{position}");
        }
    }
}
