//! The matrix product on which nearly all time is spent, and what is done to its output while that is
//! still in registers.
//!
//! The right-hand side, the weights, is packed once into panels of two vectors' width; the left-hand
//! side is read where it lies. A tile of the output, [`Simd::ROWS`] rows of one panel, stays in
//! registers over the whole depth: each of its numbers is one sum in the order of the depth, whatever
//! the tile or the thread. Meanwhile what comes next is fetched: the next panel, the next tile's rows, the
//! output's lines and those of what is added to it.
#![expect(
    unsafe_code,
    reason = "a kernel of vector instructions, and threads that write columns"
)]

use std::ops::Range;

use rayon::prelude::*;

use crate::activation::gelu;
use crate::buffer::Aligned;
use crate::profile::{Context, Part, even};
use crate::simd::{Available, Simd, per_set, prefetch, prefetch_near};

/// Numbers of the left-hand side that stay in the second-level cache while the panels go by.
const CHUNK: usize = 144 * 1024;
/// The next panel is fetched during this many tiles, the last ones.
const FETCHING_TILES: usize = 2;

/// The left-hand side: rows of `depth` numbers side by side, `taps` times. A row begins `stride` after
/// the one before, its parts lie `tap_stride` apart.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Left<'a> {
    pub(crate) values: &'a [f32],
    pub(crate) rows: usize,
    pub(crate) stride: usize,
    pub(crate) depth: usize,
    pub(crate) taps: usize,
    pub(crate) tap_stride: usize,
}

impl<'a> Left<'a> {
    /// Rows of `depth` numbers, each `stride` after the one before.
    pub(crate) fn rows(values: &'a [f32], rows: usize, stride: usize, depth: usize) -> Self {
        Left {
            values,
            rows,
            stride,
            depth,
            taps: 1,
            tap_stride: 0,
        }
    }

    /// Where the last number is read, plus one.
    fn end(&self) -> usize {
        (self.rows - 1) * self.stride + (self.taps - 1) * self.tap_stride + self.depth
    }

    fn part(&self, rows: Range<usize>) -> Self {
        Left {
            values: &self.values[rows.start * self.stride..],
            rows: rows.len(),
            ..*self
        }
    }
}

/// Panels of a right-hand side: number (k, n) is at `((n / width) * depth + k) * width + n % width`.
/// Columns beyond the last one are zero.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Panels<'a> {
    pub(crate) values: &'a [f32],
    pub(crate) depth: usize,
    pub(crate) columns: usize,
}

/// How many numbers the panels of a `depth` x `columns` matrix take.
pub(crate) fn packed_len(set: Available, depth: usize, columns: usize) -> usize {
    columns.next_multiple_of(set.panel()) * depth
}

/// Packs the matrix whose number (k, n) is `value(k, n)`.
pub(crate) fn pack(
    set: Available,
    depth: usize,
    columns: usize,
    value: impl Fn(usize, usize) -> f32,
    panels: &mut [f32],
) {
    let width = set.panel();
    for (j, panel) in panels.chunks_exact_mut(depth * width).enumerate() {
        for (k, row) in panel.chunks_exact_mut(width).enumerate() {
            for (x, number) in row.iter_mut().enumerate() {
                let n = j * width + x;
                *number = if n < columns { value(k, n) } else { 0.0 };
            }
        }
    }
}

/// What is done last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Activation {
    None,
    Relu,
    Gelu,
}

/// What is added to an output besides the bias.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Residual<'a> {
    None,
    /// Rows as long as the output's, and their distance.
    Rows(&'a [f32], usize),
    /// What the output holds until then: one place in memory less to read from and to write to.
    Output,
}

impl<'a> Residual<'a> {
    /// That of the output's rows from `row` on.
    pub(crate) fn starting(self, row: usize) -> Self {
        match self {
            Residual::Rows(values, stride) => Residual::Rows(&values[row * stride..], stride),
            other => other,
        }
    }

    /// Where that of a number of the output is, which is at `row` and `column` and lies at `out`, and the distance
    /// of rows; null if there is none.
    pub(crate) fn at(
        self,
        [row, column]: [usize; 2],
        out: *const f32,
        out_stride: usize,
    ) -> (*const f32, usize) {
        match self {
            Residual::None => (std::ptr::null(), 0),
            Residual::Rows(values, stride) => (values[row * stride + column..].as_ptr(), stride),
            Residual::Output => (out, out_stride),
        }
    }

    /// Panics where `rows` rows of `columns` numbers would end beyond it.
    pub(crate) fn check(self, rows: usize, columns: usize) {
        if let Residual::Rows(values, stride) = self {
            assert!((rows - 1) * stride + columns <= values.len(), "residual");
        }
    }
}

/// What is added to the product and done with it: `activation(product + bias + residual)`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Finish<'a> {
    /// For each column, up to the end of the last panel.
    pub(crate) bias: Option<&'a [f32]>,
    pub(crate) residual: Residual<'a>,
    pub(crate) activation: Activation,
}

impl Finish<'_> {
    pub(crate) const NOTHING: Finish<'static> = Finish {
        bias: None,
        residual: Residual::None,
        activation: Activation::None,
    };
}

/// Pointers of a [`Finish`], at the tile; null for what there is not.
#[derive(Clone, Copy)]
struct TileFinish {
    bias: *const f32,
    residual: *const f32,
    residual_stride: usize,
    activation: Activation,
}

/// The same pointers, of which the compiler no longer knows where they came from. Otherwise LLVM finds
/// that the rows are one pointer plus multiples of the stride and keeps a pointer for each of the 14,
/// more than there are registers; or computes each from the last, a chain of additions in every step.
/// Either costs a factor of five.
#[inline(always)]
#[cfg_attr(
    any(target_arch = "x86_64", target_arch = "aarch64"),
    expect(clippy::pointers_in_nomem_asm_block, reason = "they are not followed")
)]
fn opaque(mut rows: [*const f32; 5]) -> [*const f32; 5] {
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    {
        let [a, b, c, d, e] = &mut rows;
        // SAFETY: no instruction at all.
        unsafe {
            std::arch::asm!(
                "/* {0} {1} {2} {3} {4} */",
                inout(reg) * a,
                inout(reg) * b,
                inout(reg) * c,
                inout(reg) * d,
                inout(reg) * e,
                options(pure, nomem, nostack, preserves_flags)
            );
        }
    }
    rows
}

/// One tile: `M` rows of one panel.
///
/// # Safety
/// `left` can be read at every row, tap and depth of the tile, `panel` at `taps * depth` rows of two
/// vectors, `bias` at two vectors and `residual` at `M` rows of two vectors, where they are not null;
/// `out` can be written at `M` rows of two vectors.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "a kernel's")]
unsafe fn tile<S: Simd, const M: usize>(
    s: S,
    left: *const f32,
    [stride, taps, tap_stride, depth]: [usize; 4],
    panel: *const f32,
    [mut next, mut ahead]: [*const f32; 2],
    out: *mut f32,
    out_stride: usize,
    finish: TileFinish,
) {
    // SAFETY: the caller's; addresses of the next panel are only prefetched.
    unsafe {
        // The output, and what is added to it, come from far while the sums are made.
        let apart = !finish.residual.is_null() && !std::ptr::eq(finish.residual, out);
        for i in 0..M {
            let at = out.add(i * out_stride);
            prefetch_near(at);
            prefetch_near(at.add(2 * S::LANES - 1));
            if apart {
                let at = finish.residual.add(i * finish.residual_stride);
                prefetch_near(at);
                prefetch_near(at.add(2 * S::LANES - 1));
            }
        }
        let mut sums = [[s.zero(); 2]; 14];
        let mut row = panel;
        for tap in 0..taps {
            let base = left.add(tap * tap_stride);
            let at = |i: usize| if i < M { base.add(i * stride) } else { base };
            // Every third row has a pointer of its own, from which one or two strides reach the two
            // rows after it in the address of the load.
            let mut rows = [at(0), at(3), at(6), at(9), at(12)];
            for _ in 0..depth {
                rows = opaque(rows);
                prefetch(next);
                next = next.wrapping_add(2 * S::LANES / FETCHING_TILES);
                prefetch(ahead);
                ahead = ahead.wrapping_add(S::ROWS);
                let (b0, b1) = (s.load(row), s.load(row.add(S::LANES)));
                // Spelled out: LLVM unrolls a loop of 14 only sometimes, and otherwise keeps the sums
                // in memory.
                macro_rules! step {
                    ($($i:literal)*) => {
                        $(if $i < M {
                            let a = s.splat(*rows[$i / 3].add(($i % 3) * stride));
                            sums[$i][0] = s.fma(a, b0, sums[$i][0]);
                            sums[$i][1] = s.fma(a, b1, sums[$i][1]);
                        })*
                    };
                }
                step!(0 1 2 3 4 5 6 7 8 9 10 11 12 13);
                row = row.add(2 * S::LANES);
                rows = [
                    rows[0].wrapping_add(1),
                    rows[1].wrapping_add(1),
                    rows[2].wrapping_add(1),
                    rows[3].wrapping_add(1),
                    rows[4].wrapping_add(1),
                ];
            }
        }
        let (b0, b1) = if finish.bias.is_null() {
            (s.zero(), s.zero())
        } else {
            (s.load(finish.bias), s.load(finish.bias.add(S::LANES)))
        };
        macro_rules! end {
            ($($i:literal)*) => {
                $(if $i < M {
                    let (mut x, mut y) = (s.add(sums[$i][0], b0), s.add(sums[$i][1], b1));
                    if !finish.residual.is_null() {
                        let from = finish.residual.add($i * finish.residual_stride);
                        x = s.add(x, s.load(from));
                        y = s.add(y, s.load(from.add(S::LANES)));
                    }
                    if finish.activation == Activation::Relu {
                        x = s.max(s.zero(), x);
                        y = s.max(s.zero(), y);
                    }
                    let to = out.add($i * out_stride);
                    s.store(to, x);
                    s.store(to.add(S::LANES), y);
                })*
            };
        }
        end!(0 1 2 3 4 5 6 7 8 9 10 11 12 13);
        if finish.activation == Activation::Gelu {
            // In a loop of its own, because it needs registers.
            for i in 0..M {
                for half in 0..2 {
                    let to = out.add(i * out_stride + half * S::LANES);
                    s.store(to, gelu(s, s.load(to)));
                }
            }
        }
    }
}

/// [`tile`] for a number of rows known only at run time.
///
/// # Safety
/// As [`tile`], with `1 <= rows <= S::ROWS`.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "a kernel's")]
unsafe fn tile_of<S: Simd>(
    s: S,
    rows: usize,
    left: *const f32,
    shape: [usize; 4],
    panel: *const f32,
    next: [*const f32; 2],
    out: *mut f32,
    out_stride: usize,
    finish: TileFinish,
) {
    macro_rules! choose {
        ($($m:literal)*) => {
            match rows {
                $($m if $m <= S::ROWS => {
                    // SAFETY: the caller's.
                    unsafe { tile::<S, $m>(s, left, shape, panel, next, out, out_stride, finish) }
                })*
                _ => unreachable!("a tile has 1 to S::ROWS rows"),
            }
        };
    }
    choose!(1 2 3 4 5 6 7 8 9 10 11 12 13 14)
}

/// The columns of `panels` of a product; see [`product`] for the arguments.
///
/// # Safety
/// The bounds that [`check`] checks hold, and nothing else accesses these columns of `out`.
#[inline(always)]
unsafe fn columns<S: Simd>(
    s: S,
    left: Left<'_>,
    right: Panels<'_>,
    panels: Range<usize>,
    out: *mut f32,
    out_stride: usize,
    finish: Finish<'_>,
) {
    let width = 2 * S::LANES;
    let panel_len = right.depth * width;
    let tiles = left.rows.div_ceil(S::ROWS);
    let shape = [left.stride, left.taps, left.tap_stride, left.depth];
    for j in panels.clone() {
        let column = j * width;
        let columns = width.min(right.columns - column);
        for t in 0..tiles {
            // Tiles of the same height, rather than many full ones and a low one.
            let (start, end) = (t * left.rows / tiles, (t + 1) * left.rows / tiles);
            let rows = end - start;
            // SAFETY: `check` holds for every row and panel, and a panel that is not whole goes by way
            // of `edge`, so that nothing is read or written beyond the last column.
            unsafe {
                let from = left.values.as_ptr().add(start * left.stride);
                let panel = right.values.as_ptr().add(j * panel_len);
                // What is asked for ahead: during the last tiles the next panel, during the first panel
                // the next tile's rows; otherwise what is there already.
                let next = match (t + FETCHING_TILES).checked_sub(tiles) {
                    Some(i) => panel.wrapping_add(panel_len + i * panel_len / FETCHING_TILES),
                    None => panel,
                };
                let ahead = if j == panels.start {
                    from.wrapping_add(rows * left.stride)
                } else {
                    panel
                };
                let to = out.add(start * out_stride + column);
                let bias = finish.bias.map_or(std::ptr::null(), |b| b.as_ptr().add(column));
                let (residual, residual_stride) = finish.residual.at([start, column], to, out_stride);
                let next = [next, ahead];
                if columns == width {
                    let finish = TileFinish {
                        bias,
                        residual,
                        residual_stride,
                        activation: finish.activation,
                    };
                    tile_of(s, rows, from, shape, panel, next, to, out_stride, finish);
                    continue;
                }
                let mut edge = [0.0_f32; 14 * 32];
                let mut extra = [0.0_f32; 14 * 32];
                if !residual.is_null() {
                    for i in 0..rows {
                        let row = extra.as_mut_ptr().add(i * width);
                        row.copy_from_nonoverlapping(residual.add(i * residual_stride), columns);
                    }
                }
                let finish = TileFinish {
                    bias,
                    residual: extra.as_ptr(),
                    residual_stride: width,
                    activation: finish.activation,
                };
                let edge_out = edge.as_mut_ptr();
                tile_of(s, rows, from, shape, panel, next, edge_out, width, finish);
                for i in 0..rows {
                    to.add(i * out_stride)
                        .copy_from_nonoverlapping(edge_out.add(i * width), columns);
                }
            }
        }
    }
}

per_set!(
    /// The columns of some panels of a product.
    unsafe fn columns_of(
        left: Left<'_>,
        right: Panels<'_>,
        panels: Range<usize>,
        out: *mut f32,
        out_stride: usize,
        finish: Finish<'_>,
    ) = columns
);

/// That nothing is read or written beyond the ends: the kernels trust it.
fn check(
    set: Available,
    left: &Left<'_>,
    right: &Panels<'_>,
    out: usize,
    out_stride: usize,
    finish: &Finish<'_>,
) {
    let (width, columns) = (set.panel(), right.columns);
    assert!(
        left.rows > 0 && left.taps > 0 && left.end() <= left.values.len(),
        "left-hand side"
    );
    assert_eq!(left.taps * left.depth, right.depth, "depth");
    assert!(
        packed_len(set, right.depth, columns) <= right.values.len(),
        "right-hand side"
    );
    assert!(
        out_stride >= columns && (left.rows - 1) * out_stride + columns <= out,
        "output"
    );
    if let Some(bias) = finish.bias {
        assert!(columns.next_multiple_of(width) <= bias.len(), "bias");
    }
    finish.residual.check(left.rows, columns);
}

/// `out = finish(left right)`, in this thread. A row of `out` begins `out_stride` after the one before.
pub(crate) fn product(
    set: Available,
    left: Left<'_>,
    right: Panels<'_>,
    out: &mut [f32],
    out_stride: usize,
    finish: Finish<'_>,
) {
    let out = (out.as_mut_ptr(), out.len());
    // SAFETY: it is borrowed for this alone.
    unsafe { product_at(set, left, right, out, out_stride, finish) }
}

/// [`product`] to a place that other threads write around.
///
/// # Safety
/// `out` can be written for `len` numbers, of which nothing else accesses the columns of the rows of the product.
pub(crate) unsafe fn product_at(
    set: Available,
    left: Left<'_>,
    right: Panels<'_>,
    (out, len): (*mut f32, usize),
    out_stride: usize,
    finish: Finish<'_>,
) {
    check(set, &left, &right, len, out_stride, &finish);
    let panels = right.columns.div_ceil(set.panel());
    // SAFETY: checked, and the caller's.
    unsafe { columns_of(set, left, right, 0..panels, out, out_stride, finish) }
}

/// A pointer that threads share, each for rows or columns of its own.
#[derive(Clone, Copy)]
pub(crate) struct Shared(pub(crate) *mut f32);

// SAFETY: every thread is given other rows or columns, which whoever makes one sees to.
unsafe impl Send for Shared {}
// SAFETY: the same.
unsafe impl Sync for Shared {}

impl Shared {
    /// A method, so that closures capture the whole.
    pub(crate) fn pointer(self) -> *mut f32 {
        self.0
    }
}

/// Weights and a bias: a linear layer, or a convolution whose patches are gathered as rows.
#[derive(Debug)]
pub(crate) struct Linear {
    pub(crate) depth: usize,
    pub(crate) columns: usize,
    panels: Aligned,
    bias: Aligned,
}

impl Linear {
    /// `value(k, n)` is the weight from input `k` to output `n`.
    pub(crate) fn new(
        set: Available,
        depth: usize,
        bias: &[f32],
        value: impl Fn(usize, usize) -> f32,
    ) -> Self {
        let columns = bias.len();
        let mut panels = Aligned::zeros(packed_len(set, depth, columns));
        pack(set, depth, columns, value, &mut panels);
        let mut padded = Aligned::zeros(columns.next_multiple_of(set.panel()));
        padded[..columns].copy_from_slice(bias);
        Linear {
            depth,
            columns,
            panels,
            bias: padded,
        }
    }

    /// Rows that are best multiplied at a time: they stay in the second-level cache.
    pub(crate) fn chunk_rows(&self) -> usize {
        (CHUNK / self.depth).clamp(56, 448)
    }

    /// `out = activation(left weights + bias + residual)`, its rows `out_stride` apart; by several
    /// threads where the context has them.
    pub(crate) fn run(
        &self,
        context: Context<'_>,
        left: Left<'_>,
        out: &mut [f32],
        out_stride: usize,
        residual: Residual<'_>,
        activation: Activation,
    ) {
        let Context { set, threads, .. } = context;
        let right = Panels {
            values: &self.panels,
            depth: self.depth,
            columns: self.columns,
        };
        let finish = Finish {
            bias: Some(&self.bias),
            residual,
            activation,
        };
        let panels = self.columns.div_ceil(set.panel());
        let needed = (left.rows - 1) * out_stride + self.columns;
        let out = &mut out[..needed];
        if threads > 1 && left.rows < 56 * threads && panels > 1 {
            check(set, &left, &right, out.len(), out_stride, &finish);
            let parts = (2 * threads).min(panels);
            let shared = Shared(out.as_mut_ptr());
            (0..parts).into_par_iter().for_each(|part| {
                let share = part * panels / parts..(part + 1) * panels / parts;
                let operations = 2 * left.rows * self.depth * share.len() * set.panel();
                // SAFETY: checked, and the shares do not overlap.
                context.timed(Part::Linear, operations, || unsafe {
                    columns_of(set, left, right, share, shared.pointer(), out_stride, finish);
                });
            });
            return;
        }
        let parts = even(left.rows.div_ceil(self.chunk_rows()), threads, left.rows);
        let rows = left.rows.div_ceil(parts);
        let chunk = |(i, out): (usize, &mut [f32])| {
            let part = left.part(i * rows..((i + 1) * rows).min(left.rows));
            let residual = residual.starting(i * rows);
            let operations = 2 * part.rows * self.depth * self.columns;
            context.timed(Part::Linear, operations, || {
                product(set, part, right, out, out_stride, Finish { residual, ..finish });
            });
        };
        if threads > 1 {
            out.par_chunks_mut(rows * out_stride).enumerate().for_each(chunk);
        } else {
            out.chunks_mut(rows * out_stride).enumerate().for_each(chunk);
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
        #![proptest_config(ProptestConfig::with_cases(150))]

        /// All instruction sets against the safe twin, in one thread and in several, whatever is
        /// around the numbers.
        #[test]
        fn is_the_definition(
            rows in 1_usize..70,
            depth in 1_usize..90,
            columns in 1_usize..140,
            gap in 0_usize..5,
            activation in 0..3,
            with_residual: bool,
            in_place: bool,
            salt: u32,
        ) {
            let activation = [Activation::None, Activation::Relu, Activation::Gelu][activation as usize];
            let (stride, out_stride) = (depth + gap, columns + gap);
            let left = values(rows * stride, salt);
            let weights = values(depth * columns, salt.wrapping_add(1));
            let bias = values(columns, salt.wrapping_add(2));
            let residual = with_residual.then(|| values(rows * out_stride, salt.wrapping_add(3)));
            let expected = reference::product(
                &left, [rows, depth, columns], stride, &weights, &bias,
                residual.as_deref().map(|r| (r, out_stride)), activation,
            );
            for set in available() {
                let linear = Linear::new(set, depth, &bias, |k, n| weights[k * columns + n]);
                let pool = Pool::default();
                let mut first: Option<Vec<f32>> = None;
                for threads in [1, 2, 5] {
                    let context = Context { set, pool: &pool, threads, counters: None };
                    let mut out = vec![f32::NAN; rows * out_stride];
                    let left = Left::rows(&left, rows, stride, depth);
                    let residual = residual.as_deref().map(|r| (r, out_stride));
                    let added = reference::added(residual, in_place, columns, &mut out);
                    linear.run(context, left, &mut out, out_stride, added, activation);
                    for row in 0..rows {
                        let line = &out[row * out_stride..(row + 1) * out_stride];
                        prop_assert!(line[columns..].iter().all(|v| v.is_nan()), "beyond the columns");
                        for (found, (sum, magnitude)) in line.iter().zip(&expected[row * columns..]).take(columns) {
                            let error = (f64::from(*found) - sum).abs();
                            let most = reference::roundings(depth) * magnitude + 2e-6;
                            prop_assert!(error <= most, "{set:?} {found} {sum}: {error:e}");
                        }
                    }
                    let bits: Vec<f32> = out.iter().map(|v| if v.is_nan() { 0.0 } else { *v }).collect();
                    match &first {
                        None => first = Some(bits),
                        Some(first) => prop_assert!(*first == bits, "{set:?}, {threads} threads"),
                    }
                }
            }
        }

        /// Rows that overlap, as those of the stem do, and a depth in several taps.
        #[test]
        fn taps_are_the_definition(
            rows in 1_usize..30,
            stride in 1_usize..7,
            depth in 1_usize..22,
            taps in 1_usize..8,
            columns in 1_usize..70,
            salt: u32,
        ) {
            let tap_stride = depth + rows * stride;
            let left = values((taps - 1) * tap_stride + (rows - 1) * stride + depth, salt);
            let weights = values(taps * depth * columns, salt.wrapping_add(1));
            let gathered: Vec<f32> = (0..rows * taps * depth)
                .map(|i| {
                    let (row, k) = (i / (taps * depth), i % (taps * depth));
                    left[row * stride + k / depth * tap_stride + k % depth]
                })
                .collect();
            let bias = vec![0.0; columns];
            let shape = [rows, taps * depth, columns];
            let expected =
                reference::product(&gathered, shape, taps * depth, &weights, &bias, None, Activation::None);
            for set in available() {
                let mut panels = vec![0.0; packed_len(set, taps * depth, columns)];
                pack(set, taps * depth, columns, |k, n| weights[k * columns + n], &mut panels);
                let right = Panels { values: &panels, depth: taps * depth, columns };
                let left = Left { values: &left, rows, stride, depth, taps, tap_stride };
                let mut out = vec![f32::NAN; rows * columns];
                product(set, left, right, &mut out, columns, Finish::NOTHING);
                for (found, (sum, magnitude)) in out.iter().zip(&expected) {
                    let error = (f64::from(*found) - sum).abs();
                    prop_assert!(error <= reference::roundings(taps * depth) * magnitude, "{set:?} {error:e}");
                }
            }
        }
    }

    #[test]
    fn nan_and_relu() {
        for set in available() {
            let linear = Linear::new(set, 1, &[0.0; 3], |_, _| 1.0);
            let context = Context {
                set,
                pool: &Pool::default(),
                threads: 1,
                counters: None,
            };
            let mut out = [9.0; 9];
            let left = Left::rows(&[f32::NAN, -1.0, 2.0], 3, 1, 1);
            linear.run(context, left, &mut out, 3, Residual::None, Activation::Relu);
            assert!(out[..3].iter().all(|v| v.is_nan()), "NaN is not hidden");
            assert_eq!(out[3..], [0.0, 0.0, 0.0, 2.0, 2.0, 2.0]);
        }
    }

    #[test]
    #[should_panic(expected = "left-hand side")]
    fn rows_beyond_the_end_are_not_read() {
        let set = available()[0];
        let linear = Linear::new(set, 4, &[0.0; 3], |_, _| 1.0);
        let context = Context {
            set,
            pool: &Pool::default(),
            threads: 1,
            counters: None,
        };
        linear.run(
            context,
            Left::rows(&[0.0; 7], 2, 4, 4),
            &mut [0.0; 6],
            3,
            Residual::None,
            Activation::None,
        );
    }
}
