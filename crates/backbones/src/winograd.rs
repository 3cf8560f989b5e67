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
//!
//! Where whole tiles would end beyond the output the last ones are short, by one output: at stride 1 that
//! is the same transform without the point at infinity, at stride 2 without the two products of the second
//! output. The positions they leave out have fewer rows. How a side is cut depends on its length alone.
#![expect(
    unsafe_code,
    reason = "kernels of vector instructions, and threads that write rows of their own"
)]

use std::ops::Range;

use rayon::prelude::*;

use crate::buffer::{Aligned, Demand, Role};
use crate::product::{Finish, Left, Panels, Residual, Shared, product};
use crate::profile::{Context, Part, at_a_time, even};
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

/// Whether a short tile does without the position `i` of a line's `n`: it has one output less. At
/// stride 1 that is the point at infinity, at stride 2 what makes the second output.
#[inline(always)]
const fn left_out(n: usize, i: usize) -> bool {
    match n {
        5 => i == 2 || i == 4,
        _ => i == 5,
    }
}

/// Positions fall into four classes by whether a tile that is short in height (2) or in width (1) does
/// without them. Each class has rows of its own.
#[inline(always)]
const fn class(n: usize, position: usize) -> usize {
    2 * left_out(n, position / n) as usize + left_out(n, position % n) as usize
}

/// Tiles along a side: the first ones whole, the others short.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tiling {
    whole: usize,
    short: usize,
    /// Outputs of a whole tile.
    outputs: usize,
}

impl Tiling {
    /// As few tiles as cover `side` outputs, and of those as many short ones as still do.
    fn new(algorithm: Algorithm, side: usize) -> Self {
        let outputs = algorithm.outputs();
        let tiles = side.div_ceil(outputs);
        let short = (tiles * outputs - side).min(tiles);
        Tiling {
            whole: tiles - short,
            short,
            outputs,
        }
    }

    fn tiles(self) -> usize {
        self.whole + self.short
    }

    /// The first output of tile `i`.
    fn start(self, i: usize) -> usize {
        i * self.outputs - i.saturating_sub(self.whole)
    }

    /// The outputs of tile `i`, if it does not end before.
    fn outputs(self, i: usize) -> usize {
        self.outputs - usize::from(i >= self.whole)
    }
}

/// A band: one row of tiles of one image.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Band {
    algorithm: Algorithm,
    /// The input's rows and columns.
    height: usize,
    width: usize,
    /// The row of tiles, counted from the top, and the tiles in it.
    index: usize,
    down: Tiling,
    across: Tiling,
    /// The output's rows and columns.
    output_height: usize,
    output_width: usize,
    /// Where the band's rows begin in each class of positions.
    rows: [usize; 4],
}

impl Band {
    /// Where the tile's row begins in each class of positions. For a class that the tile does without
    /// that is a row which is nobody's: written to and read, but no output is made of it.
    #[inline(always)]
    fn rows_of(&self, tile: usize, layout: Layout) -> [usize; 4] {
        let low = self.index >= self.down.whole;
        let narrow = tile >= self.across.whole;
        let mut rows = self.rows.map(|rows| rows + tile);
        for (class, row) in rows.iter_mut().enumerate() {
            if low && class & 2 != 0 || narrow && class & 1 != 0 {
                *row = layout.rows;
            }
        }
        rows.map(|row| row * layout.row)
    }
}

/// Numbers at a position, over tiles: a row of `channels` for each, `row` apart; positions are
/// `position` apart. There are `rows` rows and one that is nobody's.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout {
    channels: usize,
    rows: usize,
    row: usize,
    position: usize,
}

/// # Safety
/// `image` can be read at `height * width * channels`, `zeros` at `channels`, `to` written at every
/// position's rows of the band's tiles; channels are whole vectors.
#[inline(always)]
unsafe fn inputs_of_side<S: Simd, const N: usize>(
    s: S,
    image: *const f32,
    zeros: *const f32,
    band: Band,
    layout: Layout,
    to: *mut f32,
) {
    let stride = if N == 5 { 2 } else { 1 };
    for tile in 0..band.across.tiles() {
        // Padding of 1: input (0, 0) of the tile lies at (top - 1, left - 1).
        let (top, left) = (
            stride * band.down.start(band.index),
            stride * band.across.start(tile),
        );
        let mut from = [[zeros; MOST]; MOST];
        for (i, line) in from.iter_mut().enumerate().take(N) {
            for (j, from) in line.iter_mut().enumerate().take(N) {
                let (y, x) = (top + i, left + j);
                if y >= 1 && y <= band.height && x >= 1 && x <= band.width {
                    *from = image.wrapping_add(((y - 1) * band.width + x - 1) * layout.channels);
                }
            }
        }
        let rows = band.rows_of(tile, layout);
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
                for (i, line) in half.iter().enumerate().take(N) {
                    let line = transform_inputs::<S, N>(s, line);
                    for (j, v) in line.iter().enumerate().take(N) {
                        let position = i * N + j;
                        let at = rows[class(N, position)] + position * layout.position + channel;
                        s.store(to.add(at), *v);
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
    /// Null for none; of the band's part of the output, or that itself.
    residual: *const f32,
    relu: bool,
    /// Of the whole output: from pixel to pixel.
    channels: usize,
}

/// # Safety
/// `from` can be read at every position's rows of the band's tiles, `out` written and the residual read
/// at the layout's channels of the band's rows of the output, the bias at the channels, which are whole
/// vectors.
#[inline(always)]
#[expect(clippy::needless_range_loop, reason = "rows and columns in turn")]
unsafe fn outputs_of_side<S: Simd, const N: usize>(
    s: S,
    from: *const f32,
    band: Band,
    layout: Layout,
    out: *mut f32,
    finish: OutputFinish,
) {
    let side = if N == 5 { 2 } else { 4 };
    let top = band.down.start(band.index);
    let height = band.down.outputs(band.index).min(band.output_height - top);
    for tile in 0..band.across.tiles() {
        let left = band.across.start(tile);
        let width = band.across.outputs(tile).min(band.output_width - left);
        let rows = band.rows_of(tile, layout);
        let mut channel = 0;
        while channel < layout.channels {
            // SAFETY: the caller's; rows and columns end with the output.
            unsafe {
                let mut half = [[s.zero(); MOST]; 4];
                for j in 0..N {
                    let mut column = [s.zero(); MOST];
                    for i in 0..N {
                        let position = i * N + j;
                        let at = rows[class(N, position)] + position * layout.position + channel;
                        column[i] = s.load(from.add(at));
                    }
                    let column = transform_products::<S, N>(s, &column);
                    for i in 0..side {
                        half[i][j] = column[i];
                    }
                }
                let bias = s.load(finish.bias.add(channel));
                for (i, line) in half.iter().enumerate().take(height) {
                    let line = transform_products::<S, N>(s, line);
                    for (j, v) in line.iter().enumerate().take(width) {
                        let at = (i * band.output_width + left + j) * finish.channels + channel;
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
unsafe fn inputs<S: Simd>(
    s: S,
    image: *const f32,
    zeros: *const f32,
    band: Band,
    layout: Layout,
    to: *mut f32,
) {
    // SAFETY: the caller's.
    unsafe {
        match band.algorithm {
            Algorithm::Stride1 => inputs_of_side::<S, 6>(s, image, zeros, band, layout, to),
            Algorithm::Stride2 => inputs_of_side::<S, 5>(s, image, zeros, band, layout, to),
        }
    }
}

#[inline(always)]
unsafe fn outputs<S: Simd>(
    s: S,
    from: *const f32,
    band: Band,
    layout: Layout,
    out: *mut f32,
    finish: OutputFinish,
) {
    // SAFETY: the caller's.
    unsafe {
        match band.algorithm {
            Algorithm::Stride1 => outputs_of_side::<S, 6>(s, from, band, layout, out, finish),
            Algorithm::Stride2 => outputs_of_side::<S, 5>(s, from, band, layout, out, finish),
        }
    }
}

per_set!(
    /// The transforms of a band's inputs.
    unsafe fn inputs_of(image: *const f32, zeros: *const f32, band: Band, layout: Layout, to: *mut f32) = inputs
);
per_set!(
    /// A band's outputs from the products.
    unsafe fn outputs_of(from: *const f32, band: Band, layout: Layout, out: *mut f32, finish: OutputFinish) = outputs
);

/// The shapes of a fast convolution's input and output, for one image.
#[derive(Debug, Clone, Copy)]
struct Geometry {
    height: usize,
    width: usize,
    output_height: usize,
    output_width: usize,
    /// Rows of tiles, and tiles in each.
    down: Tiling,
    across: Tiling,
}

impl Geometry {
    fn bands(&self) -> usize {
        self.down.tiles()
    }

    /// How many rows the bands before `band`, counted over all images, have in each class of positions.
    fn rows_before(&self, band: usize) -> [usize; 4] {
        let (image, index) = (band / self.bands(), band % self.bands());
        let whole = image * self.down.whole + index.min(self.down.whole);
        let (all, some) = (self.across.tiles(), self.across.whole);
        [band * all, band * some, whole * all, whole * some]
    }
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

/// Of so many channels each there is a tile in a block: for twice the channels the filters, which are
/// read once a block, are four times as large, and the transforms of a tile twice.
const CHANNELS_A_TILE: usize = 4;
/// At least so many tiles are in a block: a product's tile of rows.
const FEWEST_TILES: usize = 14;
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
        let (output_height, output_width) = (height.div_ceil(stride), width.div_ceil(stride));
        Geometry {
            height,
            width,
            output_height,
            output_width,
            down: Tiling::new(self.algorithm, output_height),
            across: Tiling::new(self.algorithm, output_width),
        }
    }

    /// Bands, the blocks they are cut into, and whether threads take blocks of their own.
    fn cut(&self, threads: usize, images: usize, geometry: Geometry) -> (usize, usize, bool) {
        let bands = images * geometry.bands();
        let tiles = (self.input_channels.max(self.output_channels) / CHANNELS_A_TILE).max(FEWEST_TILES);
        let most = (tiles / geometry.across.tiles()).max(1);
        let apart =
            threads > 1 && bands >= threads && self.filters.len() * size_of::<f32>() <= SHARED_FILTERS;
        let threads = if apart { threads } else { 1 };
        (bands, even(bands.div_ceil(most), threads, bands), apart)
    }

    /// How many groups of columns a block's products and outputs are cut into.
    fn groups(&self, set: Available, threads: usize) -> usize {
        let panels = self.output_channels / set.panel();
        if threads > 1 { (4 * threads).min(panels) } else { 1 }
    }

    /// The numbers of `rows` tiles at all positions, for so many channels.
    fn layout(rows: usize, channels: usize) -> Layout {
        // Rows and positions whose distances are multiples of 4 KiB would share a few lines of the cache.
        let row = if channels >= 256 { channels + 16 } else { channels };
        Layout {
            channels,
            rows,
            row,
            position: (rows + 1) * row + 16,
        }
    }

    /// The buffers of [`run`](Self::run).
    pub(crate) fn demand(
        &self,
        set: Available,
        threads: usize,
        images: usize,
        [height, width]: [usize; 2],
    ) -> Demand {
        let geometry = self.geometry(height, width);
        let (bands, blocks, apart) = self.cut(threads, images, geometry);
        let rows = bands.div_ceil(blocks) * geometry.across.tiles();
        let (at_once, threads) = at_a_time(threads, blocks, apart);
        let groups = self.groups(set, threads);
        let columns = (self.output_channels / set.panel()).div_ceil(groups) * set.panel();
        let len = |channels| self.algorithm.positions() * Self::layout(rows, channels).position;
        let products = Demand::of(Role::Products, len(columns)).times(threads.min(groups));
        Demand::of(Role::Transformed, len(self.input_channels))
            .and(products)
            .times(at_once)
    }

    /// Convolves images of `height` x `width` (NHWC, side by side). Rows of `residual` lie side by side.
    pub(crate) fn run(
        &self,
        context: Context<'_>,
        input: &[f32],
        [height, width]: [usize; 2],
        residual: Residual<'_>,
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
        assert!(out.len() == outputs, "the output");
        if let Residual::Rows(values, stride) = residual {
            assert!(
                values.len() == outputs && stride == self.output_channels,
                "the residual"
            );
        }
        let (bands, blocks, apart) = self.cut(context.threads, images, geometry);
        let shared = Shared(out.as_mut_ptr());
        let block = |context: Context<'_>, bands: Range<usize>| {
            // SAFETY: the lengths were asserted, and no two blocks have the same bands.
            unsafe { self.block(context, input, geometry, bands, residual, relu, shared) }
        };
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
        residual: Residual<'_>,
        relu: bool,
        out: Shared,
    ) {
        let Context {
            set, pool, threads, ..
        } = context;
        let n = self.algorithm.inputs();
        let positions = self.algorithm.positions();
        let before = geometry.rows_before(bands.start);
        let rows_of = |band: usize| {
            let rows = geometry.rows_before(band);
            [0, 1, 2, 3].map(|class| rows[class] - before[class])
        };
        let rows = rows_of(bands.end);
        let layout = |channels| Self::layout(rows[0], channels);
        let each = |n: usize, work: &(dyn Fn(usize) + Sync)| {
            if threads > 1 {
                (0..n).into_par_iter().for_each(work);
            } else {
                (0..n).for_each(work);
            }
        };
        // An image and a band of it.
        let place = |band: usize| {
            let (image, index) = (band / geometry.bands(), band % geometry.bands());
            let Geometry {
                height,
                width,
                output_height,
                output_width,
                down,
                across,
            } = geometry;
            let band = Band {
                algorithm: self.algorithm,
                height,
                width,
                index,
                down,
                across,
                output_height,
                output_width,
                rows: rows_of(band),
            };
            (image, band)
        };

        let inputs = layout(self.input_channels);
        let mut transformed = pool.take(Role::Transformed, positions * inputs.position);
        let to = Shared(transformed.as_mut_ptr());
        each(bands.len(), &|i| {
            let (image, band) = place(bands.start + i);
            let len = geometry.height * geometry.width * self.input_channels;
            let image = &input[image * len..(image + 1) * len];
            // SAFETY: the buffer has rows for all tiles of all bands at each position, and the zeros are
            // as many as channels, which `new` made whole vectors.
            context.timed(Part::Transforms, 0, || unsafe {
                inputs_of(
                    set,
                    image.as_ptr(),
                    self.zeros.as_ptr(),
                    band,
                    inputs,
                    to.pointer(),
                );
            });
        });

        // Threads share the columns, from products to outputs, so that none waits for the others between.
        let transformed = &*transformed;
        let width = set.panel();
        let panels = self.output_channels / width;
        let groups = self.groups(set, threads);
        let filter_len = self.input_channels * self.output_channels;
        each(groups, &|group| {
            let share = group * panels / groups..(group + 1) * panels / groups;
            let (first, columns) = (share.start * width, share.len() * width);
            let outputs = layout(columns);
            let mut products = pool.take(Role::Products, positions * outputs.position);
            for (position, to) in products.chunks_exact_mut(outputs.position).enumerate() {
                let rows = rows[class(n, position)];
                if rows == 0 {
                    continue;
                }
                let left = &transformed[position * inputs.position..(position + 1) * inputs.position];
                let from = position * filter_len + first * self.input_channels;
                let right = Panels {
                    values: &self.filters[from..from + self.input_channels * columns],
                    depth: self.input_channels,
                    columns,
                };
                let left = Left::rows(left, rows, inputs.row, self.input_channels);
                context.timed(Part::Winograd, 2 * rows * self.input_channels * columns, || {
                    product(set, left, right, to, outputs.row, Finish::NOTHING);
                });
            }
            for band in bands.clone() {
                let (image, band) = place(band);
                let top = image * geometry.output_height + band.down.start(band.index);
                let pixel = top * geometry.output_width;
                let at = pixel * self.output_channels + first;
                // SAFETY: the output is the caller's.
                let out = unsafe { out.pointer().add(at) };
                let finish = OutputFinish {
                    bias: self.bias[first..].as_ptr(),
                    residual: residual.at([pixel, first], out, self.output_channels).0,
                    relu,
                    channels: self.output_channels,
                };
                // SAFETY: the buffer has rows for all tiles of all bands at each position; the output is
                // the caller's, and these columns of it are this group's alone.
                context.timed(Part::Transforms, 0, || unsafe {
                    outputs_of(set, products.as_ptr(), band, outputs, out, finish);
                });
            }
        });
    }
}
