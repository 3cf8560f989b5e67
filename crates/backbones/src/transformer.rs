//! The parts of a vision transformer: embedding, layer normalisation, attention, perceptron.
#![expect(unsafe_code, reason = "kernels of vector instructions")]

use rayon::prelude::*;

use crate::activation::exp_negative;
use crate::buffer::{Aligned, Demand, Role};
use crate::product::{
    Activation, Finish, Left, Linear, Panels, Residual, Shared, packed_len, product, product_at,
};
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

    /// The buffer of [`run`](Self::run): the patches as rows.
    pub(crate) fn demand(&self) -> Demand {
        Demand::of(Role::Patches, (self.tokens() - 1) * self.stride())
    }

    /// From a patch to the next.
    fn stride(&self) -> usize {
        self.projection.depth + 16
    }

    /// The tokens of one image (channels, height, width).
    pub(crate) fn run(&self, context: Context<'_>, image: &[f32], out: &mut [f32]) {
        let (side, patch) = (self.side, self.patch);
        let (across, patches) = (side / patch, self.tokens() - 1);
        let (depth, width) = (self.projection.depth, self.projection.columns);
        let stride = self.stride();
        let mut rows = context.pool.take(Role::Patches, patches * stride);
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

    /// The buffers of [`run`](Self::run) for images of `rows` rows.
    fn demand(&self, set: Available, threads: usize, images: usize, rows: usize) -> Demand {
        match self {
            Dense::Plain(_) => Demand::default(),
            Dense::Strassen(strassen) => strassen.demand(set, threads, images, rows),
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
    /// The buffers of [`run`](Self::run) for images of `tokens` tokens.
    pub(crate) fn demand(&self, set: Available, threads: usize, images: usize, tokens: usize) -> Demand {
        let rows = images * tokens;
        let dense = |dense: &Dense| dense.demand(set, threads, images, tokens);
        let head = Head::new(set, tokens, self.out_projection.columns() / self.heads);
        let attention = head.demand().times(threads.min(images * self.heads));
        let wide = self.in_projection.columns().max(self.hidden_stride());
        let all = [
            &self.in_projection,
            &self.out_projection,
            &self.hidden,
            &self.output,
        ];
        all.into_iter()
            .map(dense)
            .fold(attention, Demand::or)
            .and(Demand::of(Role::Normal, rows * self.out_projection.columns()))
            .and(Demand::of(Role::Wide, rows * wide))
    }

    /// From a row of the perceptron's hidden layer to the next: rows a multiple of 4 KiB apart would share a few lines of
    /// the first-level cache.
    fn hidden_stride(&self) -> usize {
        self.hidden.columns() + 16
    }

    /// `images` images of tokens.
    pub(crate) fn run(&self, context: Context<'_>, images: usize, from: &[f32], to: &mut [f32]) {
        let width = self.out_projection.columns();
        let rows = from.len() / width;
        let take = |role, columns: usize| context.pool.take(role, rows * columns);
        fn of(values: &[f32], [images, rows, stride]: [usize; 3]) -> Images<'_> {
            Images {
                values,
                images,
                rows,
                stride,
            }
        }
        let shape = |stride| [images, rows / images, stride];
        let mut normal = take(Role::Normal, width);
        self.before_attention.run(context, from, &mut normal);
        {
            let three = self.in_projection.columns();
            let mut projected = take(Role::Wide, three);
            let left = of(&normal, shape(width));
            self.in_projection.run(
                context,
                left,
                &mut projected,
                three,
                Residual::None,
                Activation::None,
            );
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
        let stride = self.hidden_stride();
        let mut hidden = take(Role::Wide, stride);
        let left = of(&normal, shape(width));
        self.hidden.run(
            context,
            left,
            &mut hidden,
            stride,
            Residual::None,
            Activation::Gelu,
        );
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
        let shape = Head::new(context.set, tokens, head);
        let shared = Shared(out.as_mut_ptr());
        assert_eq!(out.len(), images * tokens * width, "all images");
        let one = |i: usize| {
            let (image, column) = (i / self.heads, i % self.heads * head);
            let from = &projected[image * tokens * three..][..tokens * three];
            let part = |which: usize| &from[which * width + column..];
            // SAFETY: of the image's rows nothing else accesses this head's columns.
            context.timed(Part::Attention, 4 * tokens * tokens * head, || unsafe {
                let to = shared.pointer().add(image * tokens * width + column);
                shape.attend(context, three, [part(0), part(1), part(2)], to, width);
            });
        };
        // All heads of all images alike: a thread that waited within an image would begin another.
        if context.threads > 1 {
            (0..images * self.heads).into_par_iter().for_each(one);
        } else {
            (0..images * self.heads).for_each(one);
        }
    }
}

/// The shape of one head's attention.
#[derive(Debug, Clone, Copy)]
struct Head {
    set: Available,
    tokens: usize,
    /// Numbers of a token.
    width: usize,
    /// Scores of a row, in whole panels: the keys beyond the last are 0, and softmax leaves them out.
    padded: usize,
    /// Rows of scores at a time.
    rows: usize,
}

impl Head {
    fn new(set: Available, tokens: usize, width: usize) -> Self {
        Head {
            set,
            tokens,
            width,
            padded: tokens.next_multiple_of(set.panel()),
            rows: 14.min(tokens),
        }
    }

    /// Packed keys, packed values, and scores, with their lengths.
    fn buffers(self) -> [(Role, usize); 3] {
        [
            (Role::Keys, self.padded * self.width),
            (Role::Values, packed_len(self.set, self.tokens, self.width)),
            (Role::Scores, self.rows * self.padded),
        ]
    }

    /// The buffers of [`attend`](Self::attend).
    fn demand(self) -> Demand {
        let each = self.buffers().map(|(role, len)| Demand::of(role, len));
        each.into_iter().fold(Demand::default(), Demand::and)
    }

    /// `out = softmax(queries keys^T) values`, rows of the head's width; those read are `stride` apart, those written
    /// `out_stride`.
    ///
    /// # Safety
    /// Nothing else accesses what is written.
    unsafe fn attend(
        self,
        context: Context<'_>,
        stride: usize,
        [queries, keys, values]: [&[f32]; 3],
        out: *mut f32,
        out_stride: usize,
    ) {
        let Head {
            set,
            tokens,
            width,
            padded,
            rows,
        } = self;
        let panel = set.panel();
        let [mut key_panels, mut value_panels, mut scores] =
            self.buffers().map(|(role, len)| context.pool.take(role, len));
        for (j, to) in key_panels.chunks_exact_mut(width * panel).enumerate() {
            for x in 0..panel {
                let token = j * panel + x;
                let key = if token < tokens {
                    &keys[token * stride..][..width]
                } else {
                    &[]
                };
                for (k, row) in to.chunks_exact_mut(panel).enumerate() {
                    row[x] = key.get(k).copied().unwrap_or(0.0);
                }
            }
        }
        for (j, to) in value_panels.chunks_exact_mut(tokens * panel).enumerate() {
            let columns = panel.min(width - j * panel);
            for (token, row) in to.chunks_exact_mut(panel).enumerate() {
                row[..columns].copy_from_slice(&values[token * stride + j * panel..][..columns]);
                row[columns..].fill(0.0);
            }
        }
        let keys = Panels {
            values: &key_panels,
            depth: width,
            columns: padded,
        };
        let values = Panels {
            values: &value_panels,
            depth: tokens,
            columns: width,
        };
        for first in (0..tokens).step_by(rows) {
            let rows = rows.min(tokens - first);
            let queries = Left::rows(&queries[first * stride..], rows, stride, width);
            product(set, queries, keys, &mut scores, padded, Finish::NOTHING);
            // SAFETY: scores has this many rows of `padded`, which is whole vectors.
            unsafe { softmax_of(set, scores.as_mut_ptr(), [rows, tokens, padded]) };
            let scores = Left::rows(&scores, rows, padded, tokens);
            let len = (rows - 1) * out_stride + width;
            // SAFETY: the caller's.
            unsafe {
                let to = out.add(first * out_stride);
                product_at(set, scores, values, (to, len), out_stride, Finish::NOTHING);
            }
        }
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
