//! The parts of a vision transformer: embedding, layer normalisation, attention, perceptron.
#![expect(unsafe_code, reason = "kernels of vector instructions")]

use rayon::prelude::*;

use crate::activation::exp_negative;
use crate::buffer::Aligned;
use crate::product::{Activation, Finish, Left, Linear, Panels, Residual, packed_len, product};
use crate::profile::{Context, Part};
use crate::simd::{Available, Simd, per_set};
use crate::strassen::{Images, Strassen};

/// Added to the variance of every layer normalisation: torchvision's.
const EPSILON: f32 = 1e-6;

/// Images to tokens.
#[derive(Debug)]
pub(crate) struct Embedding {
    pub(crate) side: usize,
    pub(crate) patch: usize,
    pub(crate) channels: usize,
    /// From patches as (channel, y, x).
    pub(crate) projection: Linear,
    /// The class token with its position's embedding.
    pub(crate) class: Vec<f32>,
    /// The embeddings of the patches' positions, row by row.
    pub(crate) positions: Vec<f32>,
}

impl Embedding {
    pub(crate) fn tokens(&self) -> usize {
        (self.side / self.patch).pow(2) + 1
    }

    /// The tokens of one image (channels, height, width).
    pub(crate) fn run(&self, context: Context<'_>, image: &[f32], out: &mut [f32]) {
        let (side, patch) = (self.side, self.patch);
        let (across, patches) = (side / patch, self.tokens() - 1);
        let (depth, width) = (self.projection.depth, self.projection.columns);
        let stride = depth + 16;
        let mut rows = context.pool.take(patches * stride);
        context.timed(Part::Gathering, 0, || {
            for (i, row) in rows.chunks_exact_mut(stride).enumerate() {
                let (top, left) = (i / across * patch, i % across * patch);
                for (line, to) in row
                    .chunks_exact_mut(patch)
                    .take(self.channels * patch)
                    .enumerate()
                {
                    let (c, y) = (line / patch, line % patch);
                    let from = (c * side + top + y) * side + left;
                    to.copy_from_slice(&image[from..from + patch]);
                }
            }
        });
        let (class, tokens) = out.split_at_mut(width);
        class.copy_from_slice(&self.class);
        let left = Left::rows(&rows, patches, stride, depth);
        let positions = Residual::Rows(&self.positions, width);
        self.projection
            .run(context, left, tokens, width, positions, Activation::None);
    }
}

/// A layer normalisation's scale and shift.
#[derive(Debug)]
pub(crate) struct Normalisation {
    pub(crate) scale: Aligned,
    pub(crate) shift: Aligned,
}

/// # Safety
/// `from` can be read and `to` written at `rows * width`, scale and shift read at `width`, which is
/// whole vectors.
#[inline(always)]
unsafe fn normalise<S: Simd>(
    s: S,
    from: *const f32,
    [rows, width]: [usize; 2],
    scale: *const f32,
    shift: *const f32,
    to: *mut f32,
) {
    for row in 0..rows {
        // SAFETY: the caller's.
        unsafe {
            let (from, to) = (from.add(row * width), to.add(row * width));
            let mut sum = s.zero();
            let mut i = 0;
            while i < width {
                sum = s.add(sum, s.load(from.add(i)));
                i += S::LANES;
            }
            let mean = s.splat(s.sum(sum) / width as f32);
            let mut squares = s.zero();
            i = 0;
            while i < width {
                let difference = s.sub(s.load(from.add(i)), mean);
                squares = s.fma(difference, difference, squares);
                i += S::LANES;
            }
            let variance = s.sum(squares) / width as f32;
            let inverse = s.splat(1.0 / (variance + EPSILON).sqrt());
            i = 0;
            while i < width {
                let normal = s.mul(s.sub(s.load(from.add(i)), mean), inverse);
                s.store(
                    to.add(i),
                    s.fma(normal, s.load(scale.add(i)), s.load(shift.add(i))),
                );
                i += S::LANES;
            }
        }
    }
}

/// Rows of `count` numbers, `stride` apart, to `e^x` divided by their sum; what lies between `count` and
/// the next whole vector becomes 0.
///
/// # Safety
/// `values` can be read and written at `rows * stride`, and `count` rounded up to vectors is at most
/// `stride`.
#[inline(always)]
unsafe fn softmax<S: Simd>(s: S, values: *mut f32, [rows, count, stride]: [usize; 3]) {
    let whole = count.next_multiple_of(S::LANES);
    for row in 0..rows {
        // SAFETY: the caller's.
        unsafe {
            let row = values.add(row * stride);
            let mut greatest = f32::NEG_INFINITY;
            let mut maximum = s.splat(greatest);
            let mut i = 0;
            while i + S::LANES <= count {
                maximum = s.max(maximum, s.load(row.add(i)));
                i += S::LANES;
            }
            for lane in &s.to_array(maximum)[..S::LANES] {
                greatest = greatest.max(*lane);
            }
            while i < count {
                greatest = greatest.max(*row.add(i));
                i += 1;
            }
            for i in count..whole {
                // As good as minus infinity.
                *row.add(i) = -1e30;
            }
            let shift = s.splat(greatest);
            i = 0;
            while i < whole {
                let at = row.add(i);
                s.store(at, exp_negative(s, s.sub(s.load(at), shift)));
                i += S::LANES;
            }
            for i in count..whole {
                *row.add(i) = 0.0;
            }
            let mut sum = s.zero();
            i = 0;
            while i < whole {
                sum = s.add(sum, s.load(row.add(i)));
                i += S::LANES;
            }
            let inverse = s.splat(1.0 / s.sum(sum));
            i = 0;
            while i < whole {
                s.store(row.add(i), s.mul(s.load(row.add(i)), inverse));
                i += S::LANES;
            }
        }
    }
}

per_set!(
    /// Layer normalisation of rows.
    unsafe fn normalise_of(
        from: *const f32,
        shape: [usize; 2],
        scale: *const f32,
        shift: *const f32,
        to: *mut f32,
    ) = normalise
);
per_set!(
    /// Softmax of rows.
    unsafe fn softmax_of(values: *mut f32, shape: [usize; 3]) = softmax
);

impl Normalisation {
    pub(crate) fn new(scale: &[f32], shift: &[f32]) -> Self {
        let aligned = |values: &[f32]| {
            let mut aligned = Aligned::zeros(values.len());
            aligned.copy_from_slice(values);
            aligned
        };
        Normalisation {
            scale: aligned(scale),
            shift: aligned(shift),
        }
    }

    /// Normalises rows as wide as the scale.
    pub(crate) fn run(&self, context: Context<'_>, from: &[f32], to: &mut [f32]) {
        let width = self.scale.len();
        assert!(
            width.is_multiple_of(context.set.lanes()) && self.shift.len() == width,
            "whole vectors"
        );
        let rows = |from: &[f32], to: &mut [f32]| {
            assert!(
                from.len() == to.len() && from.len().is_multiple_of(width),
                "whole rows"
            );
            let shape = [from.len() / width, width];
            let (scale, shift) = (self.scale.as_ptr(), self.shift.as_ptr());
            // SAFETY: the lengths were asserted.
            context.timed(Part::Normalisation, 0, || unsafe {
                normalise_of(context.set, from.as_ptr(), shape, scale, shift, to.as_mut_ptr());
            });
        };
        if context.threads > 1 {
            let some = 16 * width;
            from.par_chunks(some)
                .zip(to.par_chunks_mut(some))
                .for_each(|(f, t)| rows(f, t));
        } else {
            rows(from, to);
        }
    }
}

/// A linear layer by the method that suits it.
#[derive(Debug)]
pub(crate) enum Dense {
    Plain(Linear),
    Strassen(Strassen),
}

impl Dense {
    pub(crate) fn new(
        set: Available,
        depth: usize,
        bias: &[f32],
        value: impl Fn(usize, usize) -> f32,
    ) -> Self {
        match Strassen::new(set, depth, bias, &value) {
            Some(strassen) => Dense::Strassen(strassen),
            None => Dense::Plain(Linear::new(set, depth, bias, value)),
        }
    }

    pub(crate) fn columns(&self) -> usize {
        match self {
            Dense::Plain(linear) => linear.columns,
            Dense::Strassen(strassen) => strassen.columns(),
        }
    }

    /// `out = activation(left weights + bias + residual)`, its rows `out_stride` apart.
    pub(crate) fn run(
        &self,
        context: Context<'_>,
        left: Images<'_>,
        out: &mut [f32],
        out_stride: usize,
        residual: Residual<'_>,
        activation: Activation,
    ) {
        match self {
            Dense::Plain(linear) => {
                let rows = left.images * left.rows;
                let left = Left::rows(left.values, rows, left.stride, linear.depth);
                linear.run(context, left, out, out_stride, residual, activation);
            }
            Dense::Strassen(strassen) => strassen.run(context, left, out, out_stride, residual, activation),
        }
    }
}

/// A block of the encoder.
#[derive(Debug)]
pub(crate) struct Encoder {
    pub(crate) heads: usize,
    pub(crate) before_attention: Normalisation,
    /// To queries, which are scaled already, keys and values, side by side.
    pub(crate) in_projection: Dense,
    pub(crate) out_projection: Dense,
    pub(crate) before_perceptron: Normalisation,
    pub(crate) hidden: Dense,
    pub(crate) output: Dense,
}

impl Encoder {
    /// `images` images of tokens.
    pub(crate) fn run(&self, context: Context<'_>, images: usize, from: &[f32], to: &mut [f32]) {
        let width = self.out_projection.columns();
        let rows = from.len() / width;
        let take = |columns: usize| context.pool.take(rows * columns);
        fn of(values: &[f32], [images, rows, stride]: [usize; 3]) -> Images<'_> {
            Images {
                values,
                images,
                rows,
                stride,
            }
        }
        let shape = |stride| [images, rows / images, stride];
        let mut normal = take(width);
        self.before_attention.run(context, from, &mut normal);
        {
            let three = self.in_projection.columns();
            let mut projected = take(three);
            let left = of(&normal, shape(width));
            self.in_projection
                .run(context, left, &mut projected, three, Residual::None, Activation::None);
            self.attention(context, images, &projected, &mut normal);
            let left = of(&normal, shape(width));
            self.out_projection.run(
                context,
                left,
                to,
                width,
                Residual::Rows(from, width),
                Activation::None,
            );
        }
        self.before_perceptron.run(context, to, &mut normal);
        // Rows a multiple of 4 KiB apart would share a few lines of the first-level cache.
        let stride = self.hidden.columns() + 16;
        let mut hidden = take(stride);
        let left = of(&normal, shape(width));
        self.hidden
            .run(context, left, &mut hidden, stride, Residual::None, Activation::Gelu);
        let left = of(&hidden, shape(stride));
        self.output
            .run(context, left, to, width, Residual::Output, Activation::None);
    }

    /// Attention of every image: queries, keys and values side by side to rows of all heads.
    fn attention(&self, context: Context<'_>, images: usize, projected: &[f32], out: &mut [f32]) {
        let three = self.in_projection.columns();
        let width = three / 3;
        let tokens = projected.len() / three / images;
        let head = width / self.heads;
        let panel = context.set.panel();
        let image = |(projected, out): (&[f32], &mut [f32])| {
            // Each head to rows of its own, which are then put side by side.
            let mut separate = context.pool.take(self.heads * tokens * head);
            let one = |(i, out): (usize, &mut [f32])| {
                let operations = 4 * tokens * tokens * head;
                context.timed(Part::Attention, operations, || {
                    let part = |which: usize| &projected[which * width + i * head..];
                    attend(
                        context,
                        [tokens, three, head, panel],
                        part(0),
                        part(1),
                        part(2),
                        out,
                    );
                });
            };
            if context.threads > 1 {
                separate.par_chunks_mut(tokens * head).enumerate().for_each(one);
            } else {
                separate.chunks_mut(tokens * head).enumerate().for_each(one);
            }
            for (token, row) in out.chunks_exact_mut(width).enumerate() {
                for (i, to) in row.chunks_exact_mut(head).enumerate() {
                    to.copy_from_slice(&separate[(i * tokens + token) * head..][..head]);
                }
            }
        };
        let pairs = (
            projected.par_chunks(tokens * three),
            out.par_chunks_mut(tokens * width),
        );
        if context.threads > 1 {
            pairs.into_par_iter().for_each(image);
        } else {
            projected
                .chunks(tokens * three)
                .zip(out.chunks_mut(tokens * width))
                .for_each(image);
        }
    }
}

/// One head: `out = softmax(queries keys^T) values`, rows of `head` numbers; those read are `stride`
/// apart.
fn attend(
    context: Context<'_>,
    [tokens, stride, head, panel]: [usize; 4],
    queries: &[f32],
    keys: &[f32],
    values: &[f32],
    out: &mut [f32],
) {
    let set = context.set;
    // Whole panels of scores: the keys beyond the last are 0, and softmax leaves them out.
    let padded = tokens.next_multiple_of(panel);
    let mut key_panels = context.pool.take(padded * head);
    for (j, to) in key_panels.chunks_exact_mut(head * panel).enumerate() {
        for x in 0..panel {
            let token = j * panel + x;
            let key = if token < tokens {
                &keys[token * stride..][..head]
            } else {
                &[]
            };
            for (k, row) in to.chunks_exact_mut(panel).enumerate() {
                row[x] = key.get(k).copied().unwrap_or(0.0);
            }
        }
    }
    let mut value_panels = context.pool.take(packed_len(set, tokens, head));
    for (j, to) in value_panels.chunks_exact_mut(tokens * panel).enumerate() {
        let columns = panel.min(head - j * panel);
        for (token, row) in to.chunks_exact_mut(panel).enumerate() {
            row[..columns].copy_from_slice(&values[token * stride + j * panel..][..columns]);
            row[columns..].fill(0.0);
        }
    }
    let keys = Panels {
        values: &key_panels,
        depth: head,
        columns: padded,
    };
    let values = Panels {
        values: &value_panels,
        depth: tokens,
        columns: head,
    };
    let rows = 14.min(tokens);
    let mut scores = context.pool.take(rows * padded);
    for (i, out) in out.chunks_mut(rows * head).enumerate() {
        let rows = out.len() / head;
        let queries = Left::rows(&queries[i * 14 * stride..], rows, stride, head);
        product(set, queries, keys, &mut scores, padded, Finish::NOTHING);
        // SAFETY: scores has this many rows of `padded`, which is whole vectors.
        unsafe { softmax_of(set, scores.as_mut_ptr(), [rows, tokens, padded]) };
        let scores = Left::rows(&scores, rows, padded, tokens);
        product(set, scores, values, out, head, Finish::NOTHING);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::Pool;
    use crate::reference::{roundings, values};
    use crate::simd::available;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn normalisation_is_the_definition(rows in 1_usize..40, vectors in 1_usize..6, salt: u32) {
            let width = 16 * vectors;
            let from: Vec<f32> = values(rows * width, salt).iter().map(|v| 3.0 * v + 1.0).collect();
            let (scale, shift) = (values(width, salt.wrapping_add(1)), values(width, salt.wrapping_add(2)));
            for set in available() {
                let norm = Normalisation::new(&scale, &shift);
                for threads in [1, 2] {
                    let context = Context { set, pool: &Pool::default(), threads, counters: None };
                    let mut to = vec![f32::NAN; from.len()];
                    norm.run(context, &from, &mut to);
                    for (from, to) in from.chunks(width).zip(to.chunks(width)) {
                        let mean = from.iter().map(|v| f64::from(*v)).sum::<f64>() / width as f64;
                        let variance =
                            from.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / width as f64;
                        for i in 0..width {
                            let normal = (f64::from(from[i]) - mean) / (variance + 1e-6).sqrt();
                            let expected = normal * f64::from(scale[i]) + f64::from(shift[i]);
                            prop_assert!((f64::from(to[i]) - expected).abs() <= 5e-6, "{set:?}");
                        }
                    }
                }
            }
        }

        #[test]
        fn attention_is_the_definition(tokens in 1_usize..60, head in 1_usize..40, images in 1_usize..3, salt: u32) {
            let heads = 2;
            let width = heads * head;
            let projected: Vec<f32> =
                values(images * tokens * 3 * width, salt).iter().map(|v| 2.0 * v).collect();
            let at = |image: usize, token: usize, which: usize, channel: usize| {
                f64::from(projected[(image * tokens + token) * 3 * width + which * width + channel])
            };
            for set in available() {
                let linear = |n: usize| Dense::new(set, width, &vec![0.0; n], |_, _| 0.0);
                let norm = || Normalisation::new(&vec![1.0; width], &vec![0.0; width]);
                let encoder = Encoder {
                    heads,
                    before_attention: norm(),
                    in_projection: linear(3 * width),
                    out_projection: linear(width),
                    before_perceptron: norm(),
                    hidden: linear(width),
                    output: linear(width),
                };
                for threads in [1, 2] {
                    let context = Context { set, pool: &Pool::default(), threads, counters: None };
                    let mut out = vec![f32::NAN; images * tokens * width];
                    encoder.attention(context, images, &projected, &mut out);
                    for image in 0..images {
                        for token in 0..tokens {
                            for channel in 0..width {
                                let of_head = channel / head * head..(channel / head + 1) * head;
                                let scores: Vec<f64> = (0..tokens)
                                    .map(|t| of_head.clone().map(|c| at(image, token, 0, c) * at(image, t, 1, c)).sum())
                                    .collect();
                                let greatest = scores.iter().copied().fold(f64::MIN, f64::max);
                                let parts: Vec<f64> = scores.iter().map(|s| (s - greatest).exp()).collect();
                                let sum: f64 = parts.iter().sum();
                                let weighted = |t: usize| parts[t] / sum * at(image, t, 2, channel);
                                let expected: f64 = (0..tokens).map(weighted).sum();
                                // An error of scores is one of the weights' logarithms, and of their sum.
                                let score_error = (0..tokens)
                                    .map(|t| of_head.clone().map(|c| (at(image, token, 0, c) * at(image, t, 1, c)).abs()).sum())
                                    .fold(0.0, f64::max) * roundings(head);
                                let relative = 2.0 * score_error + roundings(tokens) + 8.0 * f64::from(f32::EPSILON);
                                let bound = (0..tokens).map(|t| weighted(t).abs()).sum::<f64>() * relative;
                                let found = out[(image * tokens + token) * width + channel];
                                let error = (f64::from(found) - expected).abs();
                                prop_assert!(error <= bound, "{set:?} {found} {expected}: {error:e} beyond {bound:e}");
                            }
                        }
                    }
                }
            }
        }
    }
}
