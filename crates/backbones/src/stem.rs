//! The first convolution of a residual network, with ReLU and the pooling after it.
#![expect(unsafe_code, reason = "a kernel of vector instructions")]

use rayon::prelude::*;

use crate::buffer::{Demand, Role};
use crate::description::{TapShape, Window};
use crate::product::{Activation, Left, Linear, Residual};
use crate::profile::{Context, Part};
use crate::simd::{Available, Simd, per_set};

/// A convolution of few channels, ReLU, and the greatest of each window of its output.
///
/// Rows of the convolution are computed as the pooling needs them and kept for as long: the output of
/// the convolution, the largest activation of all, is never in memory as a whole.
#[derive(Debug)]
pub(crate) struct Stem {
    window: Window,
    pool: Window,
    input_channels: usize,
    linear: Linear,
}

impl Stem {
    /// `weight` in PyTorch's order: output channel, input channel, kernel y, kernel x.
    pub(crate) fn new(
        set: Available,
        window: Window,
        pool: Window,
        input_channels: usize,
        weight: &[f32],
        bias: &[f32],
    ) -> Self {
        assert!(pool.kernel <= MOST_ROWS, "a small window");
        let kernel = window.kernel;
        let linear = Linear::new(set, kernel * kernel * input_channels, bias, |k, output| {
            let (position, input) = (k / input_channels, k % input_channels);
            weight[(output * input_channels + input) * kernel * kernel + position]
        });
        Stem {
            window,
            pool,
            input_channels,
            linear,
        }
    }

    /// The shape of the output for images of `height` x `width`.
    pub(crate) fn output_shape(&self, height: usize, width: usize) -> TapShape {
        let side = |side| self.pool.positions(self.window.positions(side));
        TapShape {
            height: side(height),
            width: side(width),
            channels: self.linear.columns,
        }
    }

    /// An image with its padding around, and rows of the convolution that the pooling needs, in numbers.
    fn buffers(&self, [height, width]: [usize; 2]) -> [usize; 2] {
        let padding = self.window.padding;
        let padded = (height + 2 * padding) * (width + 2 * padding) * self.input_channels;
        let kept = self.pool.kernel * self.window.positions(width) * self.linear.columns;
        [padded, kept]
    }

    /// The buffers of [`run`](Self::run).
    pub(crate) fn demand(&self, threads: usize, size: [usize; 2]) -> Demand {
        let [padded, kept] = self.buffers(size);
        Demand::of(Role::Padded, padded).and(Demand::of(Role::Kept, kept).times(threads))
    }

    /// One image (channels, height, width) to `output` (NHWC). Values that are not finite become NaN.
    pub(crate) fn run(
        &self,
        context: Context<'_>,
        image: &[f32],
        [height, width]: [usize; 2],
        output: &mut [f32],
    ) {
        let (channels, padding) = (self.input_channels, self.window.padding);
        let row_len = (width + 2 * padding) * channels;
        let mut padded = context.pool.take(Role::Padded, self.buffers([height, width])[0]);
        context.timed(Part::Stem, 0, || {
            padded.fill(0.0);
            let rows = padded.chunks_exact_mut(row_len).skip(padding).take(height);
            for (y, row) in rows.enumerate() {
                let pixels = row[padding * channels..].chunks_exact_mut(channels).take(width);
                for (x, pixel) in pixels.enumerate() {
                    for (c, value) in pixel.iter_mut().enumerate() {
                        *value = image[(c * height + y) * width + x];
                    }
                }
            }
        });
        let shape = self.output_shape(height, width);
        let row_out = shape.width * shape.channels;
        let rows = if context.threads > 1 {
            shape.height.div_ceil(4 * context.threads)
        } else {
            shape.height
        };
        let part = |(i, out): (usize, &mut [f32])| {
            self.rows(context, &padded, [height, width], i * rows, out);
        };
        if context.threads > 1 {
            output.par_chunks_mut(rows * row_out).enumerate().for_each(part);
        } else {
            part((0, output));
        }
    }

    /// The output's rows from `first`.
    fn rows(
        &self,
        context: Context<'_>,
        padded: &[f32],
        [height, width]: [usize; 2],
        first: usize,
        out: &mut [f32],
    ) {
        let (stride, kernel) = (self.window.stride, self.window.kernel);
        let channels = self.linear.columns;
        let row_len = (width + 2 * self.window.padding) * self.input_channels;
        let (conv_height, conv_width) = (self.window.positions(height), self.window.positions(width));
        let pooled = self.pool.positions(conv_width) * channels;
        let conv_len = conv_width * channels;
        // The convolution's row y is kept at y modulo the pooling's height.
        let mut kept = context.pool.take(Role::Kept, self.buffers([height, width])[1]);
        let mut next = (first * self.pool.stride).saturating_sub(self.pool.padding);
        let alone = Context {
            threads: 1,
            counters: None,
            ..context
        };
        for (i, out) in out.chunks_exact_mut(pooled).enumerate() {
            let span = span(first + i, self.pool, conv_height);
            while next < span.end {
                let from = &padded[next * stride * row_len..];
                let left = Left {
                    values: from,
                    rows: conv_width,
                    stride: stride * self.input_channels,
                    depth: kernel * self.input_channels,
                    taps: kernel,
                    tap_stride: row_len,
                };
                let to = &mut kept[next % self.pool.kernel * conv_len..][..conv_len];
                context.timed(Part::Stem, 2 * conv_width * self.linear.depth * channels, || {
                    self.linear
                        .run(alone, left, to, channels, Residual::None, Activation::Relu);
                });
                next += 1;
            }
            context.timed(Part::Stem, 0, || {
                let mut rows = [&[][..]; MOST_ROWS];
                for (row, y) in rows.iter_mut().zip(span.clone()) {
                    *row = &kept[y % self.pool.kernel * conv_len..][..conv_len];
                }
                let rows = &rows[..span.len()];
                assert!(
                    out.len() == pooled && rows.iter().all(|row| row.len() == conv_len),
                    "whole rows"
                );
                // SAFETY: asserted, and every span of columns ends within the row.
                unsafe { greatest_of(context.set, rows, self.pool, conv_width, channels, out) };
            });
        }
    }
}

/// The most rows under a window of the pooling.
const MOST_ROWS: usize = 8;

/// A row of the pooling: the greatest of each window's numbers, which are not negative, and NaN where
/// one is not finite.
///
/// # Safety
/// Each of `rows` has `width * channels` numbers, `out` as many as the pooling has positions, times
/// `channels`.
#[inline(always)]
unsafe fn greatest<S: Simd>(
    s: S,
    rows: &[&[f32]],
    pool: Window,
    width: usize,
    channels: usize,
    out: &mut [f32],
) {
    for (x, out) in out.chunks_exact_mut(channels).enumerate() {
        let columns = span(x, pool, width);
        let mut channel = 0;
        while channel + S::LANES <= channels {
            // 0 as long as all are finite, then NaN, which a comparison would lose.
            let (mut most, mut zero) = (s.zero(), s.zero());
            for row in rows {
                for x in columns.clone() {
                    // SAFETY: the columns end within the row, and so do whole vectors of channels.
                    let v = unsafe { s.load(row.as_ptr().add(x * channels + channel)) };
                    most = s.max(most, v);
                    zero = s.fma(v, s.zero(), zero);
                }
            }
            // SAFETY: as many channels as those read.
            unsafe { s.store(out.as_mut_ptr().add(channel), s.add(most, zero)) };
            channel += S::LANES;
        }
        for channel in channel..channels {
            let (mut most, mut zero) = (0.0_f32, 0.0_f32);
            for row in rows {
                for x in columns.clone() {
                    let v = row[x * channels + channel];
                    most = if v > most { v } else { most };
                    zero += v * 0.0;
                }
            }
            out[channel] = most + zero;
        }
    }
}

per_set!(
    /// A row of the pooling.
    unsafe fn greatest_of(
        rows: &[&[f32]],
        pool: Window,
        width: usize,
        channels: usize,
        out: &mut [f32],
    ) = greatest
);

/// The rows, of `side`, under the window at `position`.
#[inline(always)]
fn span(position: usize, window: Window, side: usize) -> std::ops::Range<usize> {
    let start = position * window.stride;
    start.saturating_sub(window.padding)..(start + window.kernel).saturating_sub(window.padding).min(side)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::Pool;
    use crate::reference::{self, values};
    use crate::simd::available;
    use proptest::prelude::*;

    const WINDOW: Window = Window {
        kernel: 7,
        stride: 2,
        padding: 3,
    };
    const POOL: Window = Window {
        kernel: 3,
        stride: 2,
        padding: 1,
    };

    fn run(
        stem: &Stem,
        set: Available,
        threads: usize,
        image: &[f32],
        [height, width]: [usize; 2],
    ) -> Vec<f32> {
        let context = Context {
            set,
            pool: &Pool::default(),
            threads,
            counters: None,
        };
        let mut out = vec![f32::NAN; stem.output_shape(height, width).len()];
        stem.run(context, image, [height, width], &mut out);
        out
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn is_the_definition(height in 7_usize..60, width in 7_usize..60, outputs in 1_usize..40, salt: u32) {
            let image = values(3 * height * width, salt);
            let weight = values(3 * 49 * outputs, salt.wrapping_add(1));
            let bias = values(outputs, salt.wrapping_add(2));
            let mut nhwc = vec![0.0; image.len()];
            for (i, value) in image.iter().enumerate() {
                nhwc[i % (height * width) * 3 + i / (height * width)] = *value;
            }
            let shape = TapShape { height, width, channels: 3 };
            let convolved = reference::convolution(&nhwc, shape, WINDOW, &weight, &bias, None, true);
            let rows = WINDOW.positions(height);
            let columns = WINDOW.positions(width);
            for set in available() {
                let stem = Stem::new(set, WINDOW, POOL, 3, &weight, &bias);
                let found = run(&stem, set, 1, &image, [height, width]);
                prop_assert!(found == run(&stem, set, 3, &image, [height, width]), "threads");
                for (i, found) in found.iter().enumerate() {
                    let (pixel, channel) = (i / outputs, i % outputs);
                    let across = POOL.positions(columns);
                    let (oy, ox) = (pixel / across, pixel % across);
                    let (mut greatest, mut magnitude) = (0.0_f64, 0.0_f64);
                    for y in 0..rows {
                        for x in 0..columns {
                            if (y + 1).abs_diff(oy * 2 + 1) <= 1 && (x + 1).abs_diff(ox * 2 + 1) <= 1 {
                                let (value, size) = convolved[(y * columns + x) * outputs + channel];
                                greatest = greatest.max(value);
                                magnitude = magnitude.max(size);
                            }
                        }
                    }
                    let error = (f64::from(*found) - greatest).abs();
                    prop_assert!(error <= reference::roundings(147) * magnitude, "{set:?}: {error:e}");
                }
            }
        }
    }

    #[test]
    fn what_is_not_finite_becomes_nan() {
        for set in available() {
            let stem = Stem::new(set, WINDOW, POOL, 1, &[1.0; 49], &[0.0]);
            for bad in [f32::NAN, f32::INFINITY] {
                let mut image = vec![1.0; 32 * 32];
                image[5 * 32 + 5] = bad;
                let found = run(&stem, set, 1, &image, [32, 32]);
                assert!(found[8 + 1].is_nan());
                assert!(found[63].is_finite());
            }
        }
    }
}
