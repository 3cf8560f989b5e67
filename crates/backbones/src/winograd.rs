//! 3x3 convolutions with fewer multiplications: the transforms around the products.
//!
//! A tile of the output is `At [(G g Gt) * (Bt d B)] A` of a tile `d` of the input and the filter `g`,
//! with `*` element by element (Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks",
//! 2016). Over all tiles and channels each element, a *position*, is a matrix product.
//!
//! Stride 1: 4x4 outputs from 6x6 inputs by 36 products rather than 144. The interpolation points 0,
//! +-1/sqrt(2), +-sqrt(2) and infinity lose no more than direct sums do; the usual 0, +-1, +-2 lose
//! twice as much.
//!
//! Stride 2: 2x2 outputs from 5x5 inputs by 25 products rather than 36. Along a line the even inputs
//! meet the outer two filter values, a convolution of stride 1 (three products for two outputs, at
//! the points 0, 1 and infinity), and the odd ones the middle value (two products). Nothing but sums
//! and differences.
#![expect(
    unsafe_code,
    reason = "kernels of vector instructions, and threads that write rows of their own"
)]

use std::ops::Range;

use rayon::prelude::*;

use crate::buffer::Aligned;
use crate::product::{Finish, Left, Panels, product};
use crate::profile::{Context, Part};
use crate::simd::{Available, Simd, per_set};

/// The points that are neither 0 nor infinity are these and their negatives.
const P: f32 = std::f32::consts::FRAC_1_SQRT_2;
const Q: f32 = std::f32::consts::SQRT_2;
// What the transforms are made of, with squares that are exact: 1/2 and 2.
const P2: f32 = 0.5;
const Q2: f32 = 2.0;

/// The most positions along a line.
const MOST: usize = 6;

/// How a 3x3 convolution is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Algorithm {
    /// Stride 1, 4x4 outputs a tile.
    Stride1,
    /// Stride 2, 2x2 outputs a tile.
    Stride2,
}

impl Algorithm {
    /// Outputs along a tile's side.
    pub(crate) fn outputs(self) -> usize {
        match self {
            Algorithm::Stride1 => 4,
            Algorithm::Stride2 => 2,
        }
    }

    /// Inputs, and products, along a tile's side.
    pub(crate) fn inputs(self) -> usize {
        match self {
            Algorithm::Stride1 => 6,
            Algorithm::Stride2 => 5,
        }
    }

    /// Products for a tile.
    pub(crate) fn positions(self) -> usize {
        self.inputs().pow(2)
    }

    /// The filter's transform `G`.
    fn filter(self) -> Vec<[f64; 3]> {
        match self {
            Algorithm::Stride1 => {
                let (p, q) = (f64::from(P), f64::from(Q));
                let (p2, q2) = (f64::from(P2), f64::from(Q2));
                let line = |x: f64, n: f64| [1.0 / n, x / n, x * x / n];
                let (at_p, at_q) = (2.0 * p2 * (p2 - q2), 2.0 * q2 * (q2 - p2));
                vec![
                    [1.0 / (p2 * q2), 0.0, 0.0],
                    line(p, at_p),
                    line(-p, at_p),
                    line(q, at_q),
                    line(-q, at_q),
                    [0.0, 0.0, 1.0],
                ]
            }
            Algorithm::Stride2 => vec![
                [1.0, 0.0, 0.0],
                [1.0, 0.0, 1.0],
                [0.0, 0.0, 1.0],
                [0.0, 1.0, 0.0],
                [0.0, 1.0, 0.0],
            ],
        }
    }

    /// The transform of a 3x3 filter, row by row: `G g Gt`, one number for each position.
    pub(crate) fn transform_filter(self, filter: [f64; 9]) -> Vec<f64> {
        let g = self.filter();
        let mut out = Vec::with_capacity(self.positions());
        for row in &g {
            for column in &g {
                let mut sum = 0.0;
                for (y, a) in row.iter().enumerate() {
                    for (x, b) in column.iter().enumerate() {
                        sum += a * b * filter[3 * y + x];
                    }
                }
                out.push(sum);
            }
        }
        out
    }
}

/// `Bt` along a line.
#[inline(always)]
fn transform_inputs<S: Simd, const N: usize>(s: S, d: &[S::V; MOST]) -> [S::V; MOST] {
    let mut r = [s.zero(); MOST];
    if N == 5 {
        r[0] = s.sub(d[0], d[2]);
        r[1] = d[2];
        r[2] = s.sub(d[4], d[2]);
        r[3] = d[1];
        r[4] = d[3];
        return r;
    }
    let (p, q, p2, q2) = (s.splat(P), s.splat(Q), s.splat(P2), s.splat(Q2));
    let sum = s.splat(P2 + Q2);
    let (even_p, odd_p) = (s.fnma(q2, d[2], d[4]), s.mul(p, s.fnma(q2, d[1], d[3])));
    let (even_q, odd_q) = (s.fnma(p2, d[2], d[4]), s.mul(q, s.fnma(p2, d[1], d[3])));
    // The product of the squares is 1.
    r[0] = s.add(d[0], s.fnma(sum, d[2], d[4]));
    r[1] = s.add(even_p, odd_p);
    r[2] = s.sub(even_p, odd_p);
    r[3] = s.add(even_q, odd_q);
    r[4] = s.sub(even_q, odd_q);
    r[5] = s.add(d[1], s.fnma(sum, d[3], d[5]));
    r
}

/// `At` along a line.
#[inline(always)]
fn transform_products<S: Simd, const N: usize>(s: S, m: &[S::V; MOST]) -> [S::V; 4] {
    if N == 5 {
        return [
            s.add(s.add(m[0], m[1]), m[3]),
            s.add(s.add(m[1], m[2]), m[4]),
            s.zero(),
            s.zero(),
        ];
    }
    let (sum_p, difference_p) = (s.add(m[1], m[2]), s.sub(m[1], m[2]));
    let (sum_q, difference_q) = (s.add(m[3], m[4]), s.sub(m[3], m[4]));
    [
        s.add(m[0], s.add(sum_p, sum_q)),
        s.fma(s.splat(P), difference_p, s.mul(s.splat(Q), difference_q)),
        s.fma(s.splat(P2), sum_p, s.mul(s.splat(Q2), sum_q)),
        s.add(
            m[5],
            s.fma(
                s.splat(P2 * P),
                difference_p,
                s.mul(s.splat(Q2 * Q), difference_q),
            ),
        ),
    ]
}

/// A band: one row of tiles of one image.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Band {
    /// The input's rows and columns.
    pub(crate) height: usize,
    pub(crate) width: usize,
    /// The row of tiles, counted from the top.
    pub(crate) index: usize,
    /// Tiles in it.
    pub(crate) tiles: usize,
    /// The output's rows and columns.
    pub(crate) output_height: usize,
    pub(crate) output_width: usize,
}

/// Numbers at a position, over tiles: a row of `channels` for each, `row` apart; positions are
/// `position` apart.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout {
    pub(crate) channels: usize,
    pub(crate) row: usize,
    pub(crate) position: usize,
}

/// # Safety
/// `image` can be read at `height * width * channels`, `zeros` at `channels`, `to` written at every
/// position's rows of the band's tiles; channels are whole vectors.
#[inline(always)]
unsafe fn inputs_of<S: Simd, const N: usize>(
    s: S,
    image: *const f32,
    zeros: *const f32,
    band: Band,
    layout: Layout,
    to: *mut f32,
) {
    for tile in 0..band.tiles {
        // Tiles are 4 inputs apart: four outputs of stride 1, or two of stride 2. Padding of 1: input (0, 0) of the tile lies at (top - 1, left - 1).
        let (top, left) = (band.index * 4, tile * 4);
        let mut from = [[zeros; MOST]; MOST];
        for (i, line) in from.iter_mut().enumerate().take(N) {
            for (j, from) in line.iter_mut().enumerate().take(N) {
                let (y, x) = (top + i, left + j);
                if y >= 1 && y <= band.height && x >= 1 && x <= band.width {
                    *from = image.wrapping_add(((y - 1) * band.width + x - 1) * layout.channels);
                }
            }
        }
        let mut channel = 0;
        while channel < layout.channels {
            // SAFETY: the caller's; every address lies in the image or is `zeros`.
            unsafe {
                let mut half = [[s.zero(); MOST]; MOST];
                for j in 0..N {
                    let mut column = [s.zero(); MOST];
                    for i in 0..N {
                        column[i] = s.load(from[i][j].add(channel));
                    }
                    let column = transform_inputs::<S, N>(s, &column);
                    for i in 0..N {
                        half[i][j] = column[i];
                    }
                }
                let to = to.add(tile * layout.row + channel);
                for (i, line) in half.iter().enumerate().take(N) {
                    let line = transform_inputs::<S, N>(s, line);
                    for (j, v) in line.iter().enumerate().take(N) {
                        s.store(to.add((i * N + j) * layout.position), *v);
                    }
                }
            }
            channel += S::LANES;
        }
    }
}

/// What is added to the outputs and done with them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OutputFinish {
    bias: *const f32,
    /// Null for none; of the band's part of the output.
    residual: *const f32,
    relu: bool,
}

/// # Safety
/// `from` can be read at every position's rows of the band's tiles, `out` written and the residual read
/// at the band's rows of the output, the bias at `channels`; channels are whole vectors.
#[inline(always)]
#[expect(clippy::needless_range_loop, reason = "rows and columns in turn")]
unsafe fn outputs_of<S: Simd, const N: usize>(
    s: S,
    from: *const f32,
    band: Band,
    layout: Layout,
    out: *mut f32,
    finish: OutputFinish,
) {
    let side = if N == 5 { 2 } else { 4 };
    let rows = side.min(band.output_height - band.index * side);
    for tile in 0..band.tiles {
        let columns = side.min(band.output_width - tile * side);
        let mut channel = 0;
        while channel < layout.channels {
            // SAFETY: the caller's; rows and columns end with the output.
            unsafe {
                let from = from.add(tile * layout.row + channel);
                let mut half = [[s.zero(); MOST]; 4];
                for j in 0..N {
                    let mut column = [s.zero(); MOST];
                    for i in 0..N {
                        column[i] = s.load(from.add((i * N + j) * layout.position));
                    }
                    let column = transform_products::<S, N>(s, &column);
                    for i in 0..side {
                        half[i][j] = column[i];
                    }
                }
                let bias = s.load(finish.bias.add(channel));
                for (i, line) in half.iter().enumerate().take(rows) {
                    let line = transform_products::<S, N>(s, line);
                    for (j, v) in line.iter().enumerate().take(columns) {
                        let at = (i * band.output_width + tile * side + j) * layout.channels + channel;
                        let mut v = s.add(*v, bias);
                        if !finish.residual.is_null() {
                            v = s.add(v, s.load(finish.residual.add(at)));
                        }
                        if finish.relu {
                            v = s.max(s.zero(), v);
                        }
                        s.store(out.add(at), v);
                    }
                }
            }
            channel += S::LANES;
        }
    }
}

#[inline(always)]
unsafe fn inputs_1<S: Simd>(
    s: S,
    image: *const f32,
    zeros: *const f32,
    band: Band,
    layout: Layout,
    to: *mut f32,
) {
    // SAFETY: the caller's.
    unsafe { inputs_of::<S, 6>(s, image, zeros, band, layout, to) }
}

#[inline(always)]
unsafe fn inputs_2<S: Simd>(
    s: S,
    image: *const f32,
    zeros: *const f32,
    band: Band,
    layout: Layout,
    to: *mut f32,
) {
    // SAFETY: the caller's.
    unsafe { inputs_of::<S, 5>(s, image, zeros, band, layout, to) }
}

#[inline(always)]
unsafe fn outputs_1<S: Simd>(
    s: S,
    from: *const f32,
    band: Band,
    layout: Layout,
    out: *mut f32,
    finish: OutputFinish,
) {
    // SAFETY: the caller's.
    unsafe { outputs_of::<S, 6>(s, from, band, layout, out, finish) }
}

#[inline(always)]
unsafe fn outputs_2<S: Simd>(
    s: S,
    from: *const f32,
    band: Band,
    layout: Layout,
    out: *mut f32,
    finish: OutputFinish,
) {
    // SAFETY: the caller's.
    unsafe { outputs_of::<S, 5>(s, from, band, layout, out, finish) }
}

per_set!(
    /// A band's inputs, stride 1.
    unsafe fn inputs_1_of(image: *const f32, zeros: *const f32, band: Band, layout: Layout, to: *mut f32) = inputs_1
);
per_set!(
    /// A band's inputs, stride 2.
    unsafe fn inputs_2_of(image: *const f32, zeros: *const f32, band: Band, layout: Layout, to: *mut f32) = inputs_2
);
per_set!(
    /// A band's outputs, stride 1.
    unsafe fn outputs_1_of(from: *const f32, band: Band, layout: Layout, out: *mut f32, finish: OutputFinish) = outputs_1
);
per_set!(
    /// A band's outputs, stride 2.
    unsafe fn outputs_2_of(from: *const f32, band: Band, layout: Layout, out: *mut f32, finish: OutputFinish) = outputs_2
);

/// The shapes of a fast convolution's input and output, for one image.
#[derive(Debug, Clone, Copy)]
struct Geometry {
    height: usize,
    width: usize,
    output_height: usize,
    output_width: usize,
    /// Rows of tiles, and tiles in each.
    bands: usize,
    tiles: usize,
}

/// A 3x3 convolution, padded by 1, by fast tiles.
#[derive(Debug)]
pub(crate) struct FastConvolution {
    algorithm: Algorithm,
    input_channels: usize,
    output_channels: usize,
    /// The transformed filters: a packed matrix for each position.
    filters: Aligned,
    bias: Aligned,
    zeros: Aligned,
}

/// A pointer that threads share, each for rows of its own.
#[derive(Clone, Copy)]
struct Shared(*mut f32);

// SAFETY: every thread is given other bands, whose rows are apart.
unsafe impl Send for Shared {}
// SAFETY: the same.
unsafe impl Sync for Shared {}

impl Shared {
    /// A method, so that closures capture the whole.
    fn pointer(self) -> *mut f32 {
        self.0
    }
}

/// Tiles whose transforms stay in the second-level cache.
const TILES: usize = 56;
/// Filters of more bytes than this are better read once by all threads together than by each.
const SHARED_FILTERS: usize = 4 << 20;

impl FastConvolution {
    /// `weight` in PyTorch's order: output channel, input channel, kernel y, kernel x. None where the
    /// channels are not whole vectors.
    pub(crate) fn new(
        set: Available,
        algorithm: Algorithm,
        input_channels: usize,
        weight: &[f32],
        bias: &[f32],
    ) -> Option<Self> {
        let output_channels = bias.len();
        if !input_channels.is_multiple_of(set.lanes()) || !output_channels.is_multiple_of(set.panel()) {
            return None;
        }
        let len = input_channels * output_channels;
        let mut filters = Aligned::zeros(algorithm.positions() * len);
        let width = set.panel();
        for (pair, filter) in weight.as_chunks::<9>().0.iter().enumerate() {
            let (output, input) = (pair / input_channels, pair % input_channels);
            let at = ((output / width) * input_channels + input) * width + output % width;
            let transformed = algorithm.transform_filter(filter.map(f64::from));
            for (position, value) in transformed.into_iter().enumerate() {
                filters[position * len + at] = value as f32;
            }
        }
        let mut aligned = Aligned::zeros(output_channels);
        aligned.copy_from_slice(bias);
        Some(FastConvolution {
            algorithm,
            input_channels,
            output_channels,
            filters,
            bias: aligned,
            zeros: Aligned::zeros(input_channels),
        })
    }

    fn geometry(&self, height: usize, width: usize) -> Geometry {
        let stride = match self.algorithm {
            Algorithm::Stride1 => 1,
            Algorithm::Stride2 => 2,
        };
        let side = self.algorithm.outputs();
        let (output_height, output_width) = (height.div_ceil(stride), width.div_ceil(stride));
        Geometry {
            height,
            width,
            output_height,
            output_width,
            bands: output_height.div_ceil(side),
            tiles: output_width.div_ceil(side),
        }
    }

    /// Convolves images of `height` x `width` (NHWC, side by side). `residual` is of the output's shape.
    pub(crate) fn run(
        &self,
        context: Context<'_>,
        input: &[f32],
        [height, width]: [usize; 2],
        residual: Option<&[f32]>,
        relu: bool,
        out: &mut [f32],
    ) {
        let geometry = self.geometry(height, width);
        let images = input.len() / (height * width * self.input_channels);
        let outputs = images * geometry.output_height * geometry.output_width * self.output_channels;
        assert!(
            input.len() == images * height * width * self.input_channels,
            "whole images"
        );
        assert!(
            out.len() == outputs && residual.is_none_or(|r| r.len() == outputs),
            "the output"
        );
        let bands = images * geometry.bands;
        let most = (TILES / geometry.tiles).max(1);
        let shared = Shared(out.as_mut_ptr());
        let block = |context: Context<'_>, bands: Range<usize>| {
            // SAFETY: the lengths were asserted, and no two blocks have the same bands.
            unsafe { self.block(context, input, geometry, bands, residual, relu, shared) }
        };
        let apart = context.threads > 1
            && bands >= context.threads
            && self.filters.len() * size_of::<f32>() <= SHARED_FILTERS;
        let mut blocks = bands.div_ceil(most);
        if apart {
            blocks = blocks.next_multiple_of(context.threads).min(bands);
        }
        let range = |i: usize| i * bands / blocks..(i + 1) * bands / blocks;
        if apart {
            let alone = Context {
                threads: 1,
                ..context
            };
            (0..blocks).into_par_iter().for_each(|i| block(alone, range(i)));
        } else {
            (0..blocks).for_each(|i| block(context, range(i)));
        }
    }

    /// Some consecutive bands, counted over all images.
    ///
    /// # Safety
    /// `input`, `residual` and `out` hold the images of all bands, and nothing else accesses these
    /// bands' rows of `out`.
    #[expect(clippy::too_many_arguments, reason = "a kernel's")]
    unsafe fn block(
        &self,
        context: Context<'_>,
        input: &[f32],
        geometry: Geometry,
        bands: Range<usize>,
        residual: Option<&[f32]>,
        relu: bool,
        out: Shared,
    ) {
        let Context {
            set, pool, threads, ..
        } = context;
        let positions = self.algorithm.positions();
        let rows = bands.len() * geometry.tiles;
        // Rows and positions whose distances are multiples of 4 KiB would share a few lines of the cache.
        let layout = |channels: usize| {
            let row = if channels >= 256 { channels + 16 } else { channels };
            Layout {
                channels,
                row,
                position: rows * row + 16,
            }
        };
        let (inputs, outputs) = (layout(self.input_channels), layout(self.output_channels));
        let mut transformed = pool.take(positions * inputs.position);
        let mut products = pool.take(positions * outputs.position);
        let each = |n: usize, work: &(dyn Fn(usize) + Sync)| {
            if threads > 1 {
                (0..n).into_par_iter().for_each(work);
            } else {
                (0..n).for_each(work);
            }
        };
        // Where an image and a band of it are.
        let place = |band: usize| {
            let (image, index) = (band / geometry.bands, band % geometry.bands);
            let Geometry {
                height,
                width,
                output_height,
                output_width,
                tiles,
                ..
            } = geometry;
            (
                image,
                Band {
                    height,
                    width,
                    index,
                    tiles,
                    output_height,
                    output_width,
                },
            )
        };
        let first = bands.start;

        let to = Shared(transformed.as_mut_ptr());
        each(bands.len(), &|i| {
            let (image, band) = place(first + i);
            let len = geometry.height * geometry.width * self.input_channels;
            let image = &input[image * len..(image + 1) * len];
            let row = i * geometry.tiles * inputs.row;
            // SAFETY: the buffer has rows for all tiles of all bands at each position, and the zeros are
            // as many as channels, which `new` made whole vectors.
            context.timed(Part::Transforms, 0, || unsafe {
                let to = to.pointer().add(row);
                match self.algorithm {
                    Algorithm::Stride1 => {
                        inputs_1_of(set, image.as_ptr(), self.zeros.as_ptr(), band, inputs, to)
                    }
                    Algorithm::Stride2 => {
                        inputs_2_of(set, image.as_ptr(), self.zeros.as_ptr(), band, inputs, to)
                    }
                }
            });
        });

        let filter_len = self.input_channels * self.output_channels;
        let product_of = |(position, to): (usize, &mut [f32])| {
            let left = &transformed[position * inputs.position..(position + 1) * inputs.position];
            let right = Panels {
                values: &self.filters[position * filter_len..(position + 1) * filter_len],
                depth: self.input_channels,
                columns: self.output_channels,
            };
            let left = Left::rows(left, rows, inputs.row, self.input_channels);
            context.timed(Part::Winograd, 2 * rows * filter_len, || {
                product(set, left, right, to, outputs.row, Finish::NOTHING);
            });
        };
        if threads > 1 {
            products
                .par_chunks_mut(outputs.position)
                .enumerate()
                .for_each(product_of);
        } else {
            products
                .chunks_mut(outputs.position)
                .enumerate()
                .for_each(product_of);
        }

        let products = &products;
        each(bands.len(), &|i| {
            let (image, band) = place(first + i);
            let side = self.algorithm.outputs();
            let top = image * geometry.output_height + band.index * side;
            let at = top * geometry.output_width * self.output_channels;
            let from = &products[i * geometry.tiles * outputs.row..];
            let residual = residual.map_or(std::ptr::null(), |r| r[at..].as_ptr());
            let finish = OutputFinish {
                bias: self.bias.as_ptr(),
                residual,
                relu,
            };
            // SAFETY: the buffer has rows for all tiles of all bands at each position; the output is the
            // caller's.
            context.timed(Part::Transforms, 0, || unsafe {
                let to = out.pointer().add(at);
                match self.algorithm {
                    Algorithm::Stride1 => outputs_1_of(set, from.as_ptr(), band, outputs, to, finish),
                    Algorithm::Stride2 => outputs_2_of(set, from.as_ptr(), band, outputs, to, finish),
                }
            });
        });
    }
}
