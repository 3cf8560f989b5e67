//! Convolutions of NHWC activations, each by the method that suits it.

use rayon::prelude::*;

use crate::buffer::{Demand, Role};
use crate::description::{TapShape, Window};
use crate::product::{Activation, Left, Linear, Residual};
use crate::profile::{Context, Part, even};
use crate::simd::Available;
use crate::strassen::{Images, Strassen};
use crate::winograd::{Algorithm, FastConvolution};

/// A 1x1 convolution with as many channels at least, before and after, goes by seven products.
const MANY_CHANNELS: usize = 256;

/// A convolution with bias, ready to run.
#[derive(Debug)]
pub(crate) struct Convolution {
    window: Window,
    output_channels: usize,
    method: Method,
}

#[derive(Debug)]
enum Method {
    /// A product with patches as rows; those of a 1x1 convolution lie there already.
    Patches(Linear),
    Fast(FastConvolution),
    /// A 1x1 convolution by seven products rather than eight.
    Seven(Strassen),
}

impl Convolution {
    /// `weight` in PyTorch's order: output channel, input channel, kernel y, kernel x.
    pub(crate) fn new(
        set: Available,
        window: Window,
        input_channels: usize,
        weight: &[f32],
        bias: &[f32],
    ) -> Self {
        let algorithm = match (window.kernel, window.stride, window.padding) {
            (3, 1, 1) => Some(Algorithm::Stride1),
            (3, 2, 1) => Some(Algorithm::Stride2),
            _ => None,
        };
        let fast = algorithm.and_then(|a| FastConvolution::new(set, a, input_channels, weight, bias));
        let alone = (window.kernel, window.stride, window.padding) == (1, 1, 0);
        let seven = if alone && input_channels.min(bias.len()) >= MANY_CHANNELS {
            Strassen::new(set, input_channels, bias, |k, n| weight[n * input_channels + k])
        } else {
            None
        };
        Convolution {
            window,
            output_channels: bias.len(),
            method: match (fast, seven) {
                (Some(fast), _) => Method::Fast(fast),
                (None, Some(seven)) => Method::Seven(seven),
                (None, None) => Method::Patches(patches(set, window, input_channels, weight, bias)),
            },
        }
    }

    /// The shape of the output for an input of shape `input`.
    pub(crate) fn output_shape(&self, input: TapShape) -> TapShape {
        TapShape {
            height: self.window.positions(input.height),
            width: self.window.positions(input.width),
            channels: self.output_channels,
        }
    }

    /// The buffers of [`run`](Self::run).
    pub(crate) fn demand(&self, set: Available, threads: usize, images: usize, shape: TapShape) -> Demand {
        let out = self.output_shape(shape);
        match &self.method {
            Method::Fast(fast) => fast.demand(set, threads, images, [shape.height, shape.width]),
            Method::Seven(seven) => seven.demand(set, threads, images, shape.height * shape.width),
            Method::Patches(linear) => match self.cut(linear, threads, images * out.height * out.width) {
                None => Demand::default(),
                Some(cut) => Demand::of(Role::Patches, cut.rows * cut.stride).times(cut.parts.min(threads)),
            },
        }
    }

    /// How `rows` patches are gathered; `None` where they lie there already.
    fn cut(&self, linear: &Linear, threads: usize, rows: usize) -> Option<Cut> {
        let (window, depth) = (self.window, linear.depth);
        // A multiple of 4 KiB from row to row would leave the rows of a tile to a few lines of the
        // first-level cache: they are moved apart.
        let direct =
            window.kernel == 1 && window.stride == 1 && window.padding == 0 && !depth.is_multiple_of(1024);
        if direct {
            return None;
        }
        let parts = if threads > 1 && rows < 56 * threads {
            1
        } else {
            even(rows.div_ceil(linear.chunk_rows()), threads, rows)
        };
        Some(Cut {
            parts,
            rows: rows.div_ceil(parts),
            stride: depth.next_multiple_of(16) + 16,
        })
    }

    /// Writes the convolution of the images `input` (NHWC, each of `shape`), with `residual` (its rows side
    /// by side) added and ReLU applied where wanted, to `output`.
    pub(crate) fn run(
        &self,
        context: Context<'_>,
        input: &[f32],
        shape: TapShape,
        residual: Residual<'_>,
        relu: bool,
        output: &mut [f32],
    ) {
        let activation = if relu { Activation::Relu } else { Activation::None };
        let channels = self.output_channels;
        let linear = match &self.method {
            Method::Fast(fast) => {
                return fast.run(
                    context,
                    input,
                    [shape.height, shape.width],
                    residual,
                    relu,
                    output,
                );
            }
            Method::Seven(seven) => {
                let rows = shape.height * shape.width;
                let images = Images {
                    values: input,
                    images: input.len() / shape.len(),
                    rows,
                    stride: shape.channels,
                };
                return seven.run(context, images, output, channels, residual, activation);
            }
            Method::Patches(linear) => linear,
        };
        let (window, depth, rows) = (self.window, linear.depth, output.len() / channels);
        let Some(Cut {
            parts,
            rows: count,
            stride,
        }) = self.cut(linear, context.threads, rows)
        else {
            let left = Left::rows(input, rows, depth, depth);
            return linear.run(context, left, output, channels, residual, activation);
        };
        let out = self.output_shape(shape);
        let chunk = |context: Context<'_>, (i, output): (usize, &mut [f32])| {
            let start = i * count;
            let rows = output.len() / channels;
            let mut patches = context.pool.take(Role::Patches, rows * stride);
            context.timed(Part::Gathering, 0, || {
                let place = Place {
                    window,
                    shape,
                    out_height: out.height,
                    out_width: out.width,
                };
                place.gather(input, start, stride, &mut patches);
            });
            let residual = residual.starting(start);
            let left = Left::rows(&patches, rows, stride, depth);
            linear.run(context, left, output, channels, residual, activation);
        };
        if parts > 1 && context.threads > 1 {
            let alone = Context {
                threads: 1,
                ..context
            };
            output
                .par_chunks_mut(count * channels)
                .enumerate()
                .for_each(|part| chunk(alone, part));
        } else {
            output
                .chunks_mut(count * channels)
                .enumerate()
                .for_each(|part| chunk(context, part));
        }
    }
}

/// Patches are gathered in so many parts, of so many rows at most, which begin `stride` after one another.
struct Cut {
    parts: usize,
    rows: usize,
    stride: usize,
}

/// A convolution's weights for patches in the order kernel y, kernel x, input channel.
fn patches(set: Available, window: Window, input_channels: usize, weight: &[f32], bias: &[f32]) -> Linear {
    let area = window.kernel * window.kernel;
    Linear::new(set, area * input_channels, bias, |k, output| {
        let (position, input) = (k / input_channels, k % input_channels);
        weight[(output * input_channels + input) * area + position]
    })
}

/// Where patches are gathered.
struct Place {
    window: Window,
    /// Of one image.
    shape: TapShape,
    out_height: usize,
    out_width: usize,
}

impl Place {
    /// Gathers the patches of the outputs from `start`, counted over all images, as rows of `patches`.
    fn gather(&self, input: &[f32], start: usize, stride: usize, patches: &mut [f32]) {
        let (channels, kernel) = (self.shape.channels, self.window.kernel);
        let image_len = self.shape.len();
        for (i, patch) in patches.chunks_exact_mut(stride).enumerate() {
            let pixel = start + i;
            let image = &input[pixel / (self.out_height * self.out_width) * image_len..][..image_len];
            let (oy, ox) = (pixel / self.out_width % self.out_height, pixel % self.out_width);
            // Coordinates below are shifted by the padding, so that they stay unsigned.
            let padding = self.window.padding;
            let left = ox * self.window.stride;
            let first = padding.saturating_sub(left).min(kernel);
            let last = (self.shape.width + padding)
                .saturating_sub(left)
                .min(kernel)
                .max(first);
            for (ky, row) in patch.chunks_exact_mut(kernel * channels).take(kernel).enumerate() {
                let y = oy * self.window.stride + ky;
                if y < padding || y >= self.shape.height + padding || first == last {
                    row.fill(0.0);
                    continue;
                }
                let from = ((y - padding) * self.shape.width + left + first - padding) * channels;
                row[..first * channels].fill(0.0);
                row[first * channels..last * channels]
                    .copy_from_slice(&image[from..from + (last - first) * channels]);
                row[last * channels..].fill(0.0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::Pool;
    use crate::reference::{self, values};
    use crate::simd::available;
    use proptest::prelude::*;

    struct Case {
        window: Window,
        shape: TapShape,
        images: usize,
        output_channels: usize,
        relu: bool,
        with_residual: bool,
        in_place: bool,
        salt: u32,
    }

    /// All instruction sets against the definition; threads and batches must not show. Fast tiles lose
    /// a little more than plain sums: `worse` times as much is allowed.
    fn check(case: &Case, worse: f64) -> Result<(), TestCaseError> {
        let Case {
            window,
            shape,
            images,
            output_channels,
            relu,
            salt,
            ..
        } = *case;
        let depth = window.kernel * window.kernel * shape.channels;
        let input = values(images * shape.len(), salt);
        let weight = values(depth * output_channels, salt.wrapping_add(7));
        let bias = values(output_channels, salt.wrapping_add(11));
        let out_len = window.positions(shape.height) * window.positions(shape.width) * output_channels;
        let residual = case
            .with_residual
            .then(|| values(images * out_len, salt.wrapping_add(13)));
        let expected: Vec<(f64, f64)> = (0..images)
            .flat_map(|i| {
                let residual = residual.as_deref().map(|r| &r[i * out_len..(i + 1) * out_len]);
                let image = &input[i * shape.len()..(i + 1) * shape.len()];
                reference::convolution(image, shape, window, &weight, &bias, residual, relu)
            })
            .collect();
        for set in available() {
            let convolution = Convolution::new(set, window, shape.channels, &weight, &bias);
            let pool = Pool::default();
            let run = |threads: usize, from: usize, to: usize| {
                let context = Context {
                    set,
                    pool: &pool,
                    threads,
                    counters: None,
                };
                let mut found = vec![f32::NAN; (to - from) * out_len];
                let input = &input[from * shape.len()..to * shape.len()];
                let residual = residual
                    .as_deref()
                    .map(|r| (&r[from * out_len..to * out_len], output_channels));
                let residual = reference::added(residual, case.in_place, output_channels, &mut found);
                convolution.run(context, input, shape, residual, relu, &mut found);
                found
            };
            let found = run(1, 0, images);
            for (found, (sum, magnitude)) in found.iter().zip(&expected) {
                let error = (f64::from(*found) - sum).abs();
                let most = worse * reference::roundings(depth) * magnitude;
                prop_assert!(error <= most, "{set:?} {found} {sum}: {error:e}");
            }
            prop_assert!(found == run(3, 0, images), "threads");
            let single: Vec<f32> = (0..images).flat_map(|i| run(1, i, i + 1)).collect();
            prop_assert!(found == single, "batches");
        }
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]

        #[test]
        fn is_the_definition(
            height in 1_usize..24,
            width in 1_usize..24,
            input_channels in 1_usize..9,
            output_channels in 1_usize..40,
            images in 1_usize..3,
            kernel in 1_usize..8,
            stride in 1_usize..4,
            padding in 0_usize..5,
            relu: bool,
            with_residual: bool,
            in_place: bool,
            salt: u32,
        ) {
            let window = Window { kernel, stride, padding };
            let shape = TapShape { height, width, channels: input_channels };
            prop_assume!(window.positions(height) > 0 && window.positions(width) > 0);
            check(&Case { window, shape, images, output_channels, relu, with_residual, in_place, salt }, 1.0)?;
        }

        /// Channels in whole vectors: the fast tiles.
        #[test]
        fn fast_tiles_are_the_definition(
            height in 1_usize..20,
            width in 1_usize..20,
            inputs in 1_usize..4,
            outputs in 1_usize..3,
            images in 1_usize..4,
            stride in 1_usize..3,
            relu: bool,
            with_residual: bool,
            in_place: bool,
            salt: u32,
        ) {
            let window = Window { kernel: 3, stride, padding: 1 };
            let shape = TapShape { height, width, channels: 16 * inputs };
            let output_channels = 32 * outputs;
            let set = available()[0];
            let fast = Convolution::new(set, window, 16, &vec![0.0; 9 * 16 * 32], &[0.0; 32]);
            prop_assert!(matches!(fast.method, Method::Fast(_)));
            check(&Case { window, shape, images, output_channels, relu, with_residual, in_place, salt }, 4.0)?;
        }
    }

    /// Many channels before and after a 1x1 convolution: seven products, of pairs of rows within an image.
    #[test]
    fn seven_products_are_the_definition() {
        let window = Window {
            kernel: 1,
            stride: 1,
            padding: 0,
        };
        let set = available()[0];
        let seven = Convolution::new(set, window, 256, &vec![0.0; 256 * 320], &[0.0; 320]);
        assert!(matches!(seven.method, Method::Seven(_)));
        for (height, width, with_residual, in_place) in
            [(5, 7, false, false), (3, 4, true, false), (7, 7, true, true)]
        {
            let shape = TapShape {
                height,
                width,
                channels: 256,
            };
            let case = Case {
                window,
                shape,
                images: 3,
                output_channels: 320,
                relu: true,
                with_residual,
                in_place,
                salt: 5,
            };
            check(&case, 1.0).unwrap();
        }
    }

    /// Rows a multiple of 4 KiB apart are moved first.
    #[test]
    fn wide_rows_are_the_definition() {
        let window = Window {
            kernel: 1,
            stride: 1,
            padding: 0,
        };
        let shape = TapShape {
            height: 5,
            width: 6,
            channels: 1024,
        };
        let case = Case {
            window,
            shape,
            images: 2,
            output_channels: 40,
            relu: true,
            with_residual: true,
            in_place: false,
            salt: 3,
        };
        check(&case, 1.0).unwrap();
    }
}
