//! Products with seven multiplications rather than eight.
//!
//! Two rows of the left-hand side, each in two halves, are a 2x2 matrix of blocks, and so are the
//! weights; Winograd's form of Strassen's method ("On the multiplication of 2x2 matrices", 1971)
//! multiplies those by seven products of half the depth and half the columns. What it needs of the
//! weights is computed once. It pays for a transformer's linear layers and for 1x1 convolutions of many
//! channels; for the shallower and narrower ones the sums cost what the product saves. One level of it
//! loses less than a bit.
//!
//! Rows are paired within an image, so that a row does not depend on the batch.
#![expect(
    unsafe_code,
    reason = "kernels of vector instructions, and threads that write columns"
)]

use std::ops::Range;

use rayon::prelude::*;

use crate::activation::gelu;
use crate::buffer::{Aligned, Demand, Role};
use crate::product::{Activation, Finish, Left, Panels, Residual, Shared, pack, packed_len, product};
use crate::profile::{Context, Part, at_a_time, even};
use crate::simd::{Available, Simd, per_set};

/// Columns, of each half, that are computed before the seven products are put together: these stay in
/// the second-level cache.
const COLUMNS: usize = 192;

/// Weights and a bias, with the weights' part of the seven products.
#[derive(Debug)]
pub(crate) struct Strassen {
    /// Half the depth and half the columns.
    depth: usize,
    columns: usize,
    panels: Aligned,
    bias: Aligned,
}

/// Rows to multiply: images of `rows` rows each, which begin `stride` after one another.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Images<'a> {
    pub(crate) values: &'a [f32],
    pub(crate) images: usize,
    pub(crate) rows: usize,
    pub(crate) stride: usize,
}

/// Two rows of the output as pointers; null where there is none.
#[derive(Clone, Copy)]
pub(crate) struct Pair {
    even: *mut f32,
    odd: *mut f32,
    residual_even: *const f32,
    residual_odd: *const f32,
    bias: *const f32,
    activation: Activation,
}

/// The left-hand sides of the seven products from an even and an odd row.
///
/// # Safety
/// Both rows can be read at `2 * depth`; `to` can be written at `depth` from each of seven places,
/// `apart` from one another. The depth is whole vectors.
#[inline(always)]
unsafe fn sums<S: Simd>(s: S, even: *const f32, odd: *const f32, depth: usize, to: *mut f32, apart: usize) {
    let mut k = 0;
    while k < depth {
        // SAFETY: the caller's.
        unsafe {
            let (a11, a12) = (s.load(even.add(k)), s.load(even.add(depth + k)));
            let (a21, a22) = (s.load(odd.add(k)), s.load(odd.add(depth + k)));
            let s1 = s.add(a21, a22);
            let s2 = s.sub(s1, a11);
            let s3 = s.sub(a11, a21);
            let s4 = s.sub(a12, s2);
            for (i, v) in [a11, a12, s4, a22, s1, s2, s3].into_iter().enumerate() {
                s.store(to.add(i * apart + k), v);
            }
        }
        k += S::LANES;
    }
}

/// Adds bias and residual and applies the activation.
///
/// # Safety
/// A vector can be read from `bias`, and from `residual` where it is not null.
#[inline(always)]
unsafe fn finish<S: Simd>(
    s: S,
    v: S::V,
    bias: *const f32,
    residual: *const f32,
    activation: Activation,
) -> S::V {
    // SAFETY: the caller's.
    let mut v = unsafe { s.add(v, s.load(bias)) };
    if !residual.is_null() {
        // SAFETY: the caller's.
        v = unsafe { s.add(v, s.load(residual)) };
    }
    match activation {
        Activation::None => v,
        Activation::Relu => s.max(s.zero(), v),
        Activation::Gelu => gelu(s, v),
    }
}

/// Two rows of the output from a row of each of the seven products.
///
/// # Safety
/// `from` can be read at `columns` from seven places `apart` from one another; the pointers of `pair`
/// that are not null at `columns`, and as many from `right` on. Columns are whole vectors.
#[inline(always)]
unsafe fn combine<S: Simd>(s: S, from: *const f32, apart: usize, columns: usize, right: usize, pair: Pair) {
    let shifted = |p: *const f32, by: usize| if p.is_null() { p } else { p.wrapping_add(by) };
    let mut n = 0;
    while n < columns {
        // SAFETY: the caller's.
        unsafe {
            let p = |i: usize| s.load(from.add((i - 1) * apart + n));
            let u2 = s.add(p(1), p(6));
            let (u3, p5) = (s.add(u2, p(7)), p(5));
            let c11 = s.add(p(1), p(2));
            let c12 = s.add(s.add(u2, p5), p(3));
            let (bias_left, bias_right) = (pair.bias.add(n), pair.bias.add(right + n));
            let residual = shifted(pair.residual_even, n);
            s.store(
                pair.even.add(n),
                finish(s, c11, bias_left, residual, pair.activation),
            );
            let residual = shifted(pair.residual_even, right + n);
            s.store(
                pair.even.add(right + n),
                finish(s, c12, bias_right, residual, pair.activation),
            );
            if !pair.odd.is_null() {
                let (c21, c22) = (s.sub(u3, p(4)), s.add(u3, p5));
                let residual = shifted(pair.residual_odd, n);
                s.store(
                    pair.odd.add(n),
                    finish(s, c21, bias_left, residual, pair.activation),
                );
                let residual = shifted(pair.residual_odd, right + n);
                s.store(
                    pair.odd.add(right + n),
                    finish(s, c22, bias_right, residual, pair.activation),
                );
            }
        }
        n += S::LANES;
    }
}

per_set!(
    /// The left-hand sides of the seven products of two rows.
    unsafe fn sums_of(even: *const f32, odd: *const f32, depth: usize, to: *mut f32, apart: usize) = sums
);
per_set!(
    /// Two rows of the output.
    unsafe fn combine_of(from: *const f32, apart: usize, columns: usize, right: usize, pair: Pair) = combine
);

/// Where the output goes and what is added to it.
#[derive(Clone, Copy)]
struct Target<'a> {
    out: Shared,
    stride: usize,
    residual: Residual<'a>,
    activation: Activation,
}

impl Strassen {
    /// `value(k, n)` is the weight from input `k` to output `n`. None where the halves would not be
    /// whole vectors and panels, or are so small that the sums cost more than they save.
    pub(crate) fn new(
        set: Available,
        depth: usize,
        bias: &[f32],
        value: impl Fn(usize, usize) -> f32,
    ) -> Option<Self> {
        let columns = bias.len();
        let fits = depth.is_multiple_of(2 * set.lanes()) && columns.is_multiple_of(2 * set.panel());
        if !fits || depth < 128 || columns < 128 {
            return None;
        }
        let (half, left) = (depth / 2, columns / 2);
        let len = packed_len(set, half, left);
        let mut panels = Aligned::zeros(7 * len);
        for (i, panels) in panels.chunks_exact_mut(len).enumerate() {
            let block = |k: usize, n: usize| {
                let b11 = || f64::from(value(k, n));
                let b12 = || f64::from(value(k, left + n));
                let b21 = || f64::from(value(half + k, n));
                let b22 = || f64::from(value(half + k, left + n));
                let exact = match i {
                    0 => b11(),
                    1 => b21(),
                    2 => b22(),
                    3 => b22() - b12() + b11() - b21(),
                    4 => b12() - b11(),
                    5 => b22() - b12() + b11(),
                    _ => b22() - b12(),
                };
                exact as f32
            };
            pack(set, half, left, block, panels);
        }
        let mut aligned = Aligned::zeros(columns);
        aligned.copy_from_slice(bias);
        Some(Strassen {
            depth: half,
            columns: left,
            panels,
            bias: aligned,
        })
    }

    /// All columns.
    pub(crate) fn columns(&self) -> usize {
        2 * self.columns
    }

    /// Pairs of rows that are best multiplied at a time.
    fn chunk_pairs(&self) -> usize {
        (24 * 1024 / self.depth).clamp(28, 112)
    }

    /// How many parts so many pairs are cut into, and whether threads take parts of their own.
    fn cut(&self, threads: usize, pairs: usize) -> (usize, bool) {
        let apart = threads > 1 && pairs >= 28 * threads;
        let threads = if apart { threads } else { 1 };
        (even(pairs.div_ceil(self.chunk_pairs()), threads, pairs), apart)
    }

    /// How many blocks the columns are cut into.
    fn blocks(&self, set: Available, threads: usize) -> usize {
        let panels = self.columns / set.panel();
        even(panels.div_ceil((COLUMNS / set.panel()).max(1)), threads, panels)
    }

    /// The left-hand sides of seven products of so many pairs, and a row of zeros: where each row begins after the one
    /// before, and all numbers.
    fn left_len(&self, pairs: usize) -> (usize, usize) {
        // Not a multiple of 4 KiB from row to row.
        let row_len = self.depth + 16;
        (row_len, 7 * pairs * row_len + 2 * self.depth)
    }

    /// The buffers of [`run`](Self::run).
    pub(crate) fn demand(&self, set: Available, threads: usize, images: usize, rows: usize) -> Demand {
        let pairs = images * rows.div_ceil(2);
        let (parts, apart) = self.cut(threads, pairs);
        let count = pairs.div_ceil(parts);
        let (at_once, threads) = at_a_time(threads, parts, apart);
        let blocks = self.blocks(set, threads);
        let columns = (self.columns / set.panel()).div_ceil(blocks) * set.panel();
        let products = Demand::of(Role::Seven, 7 * count * columns).times(threads.min(blocks));
        Demand::of(Role::Sums, self.left_len(count).1)
            .and(products)
            .times(at_once)
    }

    /// `out = activation(rows weights + bias + residual)`, its rows `out_stride` apart.
    pub(crate) fn run(
        &self,
        context: Context<'_>,
        left: Images<'_>,
        out: &mut [f32],
        out_stride: usize,
        residual: Residual<'_>,
        activation: Activation,
    ) {
        let rows = left.images * left.rows;
        let columns = 2 * self.columns;
        assert!(
            rows > 0 && (rows - 1) * left.stride + 2 * self.depth <= left.values.len(),
            "left-hand side"
        );
        assert!(
            out_stride >= columns && (rows - 1) * out_stride + columns <= out.len(),
            "output"
        );
        residual.check(rows, columns);
        let target = Target {
            out: Shared(out.as_mut_ptr()),
            stride: out_stride,
            residual,
            activation,
        };
        let pairs = left.images * left.rows.div_ceil(2);
        let (parts, apart) = self.cut(context.threads, pairs);
        let share = |i: usize| i * pairs / parts..(i + 1) * pairs / parts;
        if apart {
            let alone = Context {
                threads: 1,
                ..context
            };
            (0..parts).into_par_iter().for_each(|i| {
                // SAFETY: asserted, and the shares do not overlap.
                unsafe { self.chunk(alone, left, share(i), target) }
            });
        } else {
            // SAFETY: asserted; one after another.
            (0..parts).for_each(|i| unsafe { self.chunk(context, left, share(i), target) });
        }
    }

    /// Some pairs of rows, counted over all images.
    ///
    /// # Safety
    /// The lengths that `run` asserts, and nothing else accesses the pairs' rows of the output.
    unsafe fn chunk(&self, context: Context<'_>, left: Images<'_>, pairs: Range<usize>, target: Target<'_>) {
        let set = context.set;
        let depth = self.depth;
        // The first row of a pair, and whether there is a second.
        let per_image = left.rows.div_ceil(2);
        let place = |pair: usize| {
            let (image, i) = (pair / per_image, pair % per_image);
            (image * left.rows + 2 * i, 2 * i + 1 < left.rows)
        };
        let count = pairs.len();
        let (row_len, len) = self.left_len(count);
        let matrix = count * row_len;
        let mut rows = context.pool.take(Role::Sums, len);
        let (rows, zeros) = rows.split_at_mut(7 * matrix);
        zeros.fill(0.0);
        context.timed(Part::Gathering, 0, || {
            for (i, pair) in pairs.clone().enumerate() {
                let (first, both) = place(pair);
                let even = left.values[first * left.stride..].as_ptr();
                let odd = if both {
                    even.wrapping_add(left.stride)
                } else {
                    zeros.as_ptr()
                };
                // SAFETY: rows end within the left-hand side, as `run` asserts.
                unsafe { sums_of(set, even, odd, depth, rows.as_mut_ptr().add(i * row_len), matrix) };
            }
        });
        let rows = &*rows;
        let width = set.panel();
        let panels = self.columns / width;
        let panel_len = depth * width;
        let block = |share: Range<usize>| {
            let columns = share.len() * width;
            let product_len = count * columns;
            let mut products = context.pool.take(Role::Seven, 7 * product_len);
            context.timed(Part::Linear, 14 * count * depth * columns, || {
                for (i, product_of) in products.chunks_exact_mut(product_len).enumerate() {
                    let from = (i * panels + share.start) * panel_len;
                    let right = Panels {
                        values: &self.panels[from..from + share.len() * panel_len],
                        depth,
                        columns,
                    };
                    let left = Left::rows(&rows[i * matrix..(i + 1) * matrix], count, row_len, depth);
                    product(set, left, right, product_of, columns, Finish::NOTHING);
                }
                let column = share.start * width;
                for (i, pair) in pairs.clone().enumerate() {
                    let (first, both) = place(pair);
                    // SAFETY: the rows and columns of the output are within its length and this share's
                    // alone.
                    unsafe {
                        let even = target.out.pointer().add(first * target.stride + column);
                        let (residual_even, stride) =
                            target.residual.at([first, column], even, target.stride);
                        let residual_odd = if both && !residual_even.is_null() {
                            residual_even.add(stride)
                        } else {
                            std::ptr::null()
                        };
                        let pair = Pair {
                            even,
                            odd: if both {
                                even.add(target.stride)
                            } else {
                                std::ptr::null_mut()
                            },
                            residual_even,
                            residual_odd,
                            bias: self.bias.as_ptr().add(column),
                            activation: target.activation,
                        };
                        let from = products.as_ptr().add(i * columns);
                        combine_of(set, from, product_len, columns, self.columns, pair);
                    }
                }
            });
        };
        let blocks = self.blocks(set, context.threads);
        let share = |i: usize| i * panels / blocks..(i + 1) * panels / blocks;
        if context.threads > 1 {
            (0..blocks).into_par_iter().for_each(|i| block(share(i)));
        } else {
            (0..blocks).for_each(|i| block(share(i)));
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

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(30))]

        /// All instruction sets against the safe twin; threads, batches and what is around the numbers
        /// do not matter.
        #[test]
        fn is_the_definition(
            rows in 1_usize..70,
            images in 1_usize..4,
            depth in 4_usize..7,
            columns in 2_usize..8,
            gap in 0_usize..5,
            activation in 0..3,
            with_residual: bool,
            in_place: bool,
            salt: u32,
        ) {
            let activation = [Activation::None, Activation::Relu, Activation::Gelu][activation as usize];
            let (depth, columns) = (32 * depth, 64 * columns);
            let (stride, out_stride) = (depth + gap, columns + gap);
            let all = rows * images;
            let left = values(all * stride, salt);
            let weights = values(depth * columns, salt.wrapping_add(1));
            let bias = values(columns, salt.wrapping_add(2));
            let residual = with_residual.then(|| values(all * out_stride, salt.wrapping_add(3)));
            let residual = residual.as_deref().map(|r| (r, out_stride));
            let shape = [all, depth, columns];
            let expected = reference::product(&left, shape, stride, &weights, &bias, residual, activation);
            for set in available() {
                let strassen = Strassen::new(set, depth, &bias, |k, n| weights[k * columns + n]).unwrap();
                let pool = Pool::default();
                let run = |threads: usize, first: usize, images: usize| {
                    let context = Context { set, pool: &pool, threads, counters: None };
                    let mut out = vec![f32::NAN; images * rows * out_stride];
                    let values = &left[first * rows * stride..];
                    let residual = residual.map(|(r, s)| (&r[first * rows * s..], s));
                    let residual = reference::added(residual, in_place, columns, &mut out);
                    let left = Images { values, images, rows, stride };
                    strassen.run(context, left, &mut out, out_stride, residual, activation);
                    out
                };
                let bits = |out: &[f32]| -> Vec<u32> { out.iter().map(|v| v.to_bits()).collect() };
                let found = run(1, 0, images);
                for row in 0..all {
                    let line = &found[row * out_stride..(row + 1) * out_stride];
                    prop_assert!(line[columns..].iter().all(|v| v.is_nan()), "beyond the columns");
                    let expected = &expected[row * columns..(row + 1) * columns];
                    for (found, (sum, magnitude)) in line.iter().zip(expected) {
                        let error = (f64::from(*found) - sum).abs();
                        prop_assert!(error <= reference::roundings(depth) * magnitude + 2e-6, "{set:?} {error:e}");
                    }
                }
                prop_assert!(bits(&found) == bits(&run(3, 0, images)), "threads");
                let single: Vec<f32> = (0..images).flat_map(|i| run(2, i, 1)).collect();
                prop_assert!(bits(&found) == bits(&single), "batches");
            }
        }
    }
}
