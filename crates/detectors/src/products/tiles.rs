//! Products of blocks of rows: in f64, or in f32 with sums in f64.

use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatRef, Par};
use ndarray::{Array2, ArrayView1, ArrayView2, s};
use rayon::prelude::*;

use super::kernel::{GROUP, HALF, Kernel, STRIP, Sums};
use super::pack::{CHUNK, DealtCentre, Moments, Spread, pack_strip};
use super::{Element, RowSums, exact_sq_distance};

/// Rows of a tile: a fixed number, so that what a tile computes depends on its rows alone.
pub(super) const TILE: usize = 128;
/// Columns that are centred and multiplied at a time, in f64.
pub(super) const PANEL: usize = 1024;
/// Chunks that are packed and multiplied at a time, in f32.
const PANEL_CHUNKS: usize = 2;
/// Columns that the f32 kernels take at a time: a strip of them fits the first-level cache.
const DEPTH: usize = 512;
const _: () = assert!(CHUNK.is_multiple_of(DEPTH) && DEPTH.is_multiple_of(GROUP));
/// Squared distances whose estimated standard error is a larger part of them than this are computed again in f64.
const ERROR: f64 = 1.5e-9;
/// A tile with more than one in this many such pairs is computed again as a whole, which is faster then.
const POOR: usize = 4;

/// Consecutive rows of one group.
#[derive(Clone, Copy, Debug)]
struct Block {
    start: usize,
    end: usize,
}

impl Block {
    fn len(self) -> usize {
        self.end - self.start
    }

    fn strips(self) -> usize {
        self.len().div_ceil(STRIP)
    }
}

/// All rows, cut into blocks that do not cross groups.
pub(super) struct Blocks {
    train: Vec<Block>,
    query: Vec<Block>,
    /// Number of training rows; query rows are numbered from here.
    n: usize,
}

/// Products of the rows of one block with those of another.
pub(super) struct Tile {
    rows: Block,
    columns: Block,
    /// Indices of the blocks among all.
    blocks: (usize, usize),
    values: Mat<f64>,
    /// Whether f32 was not enough.
    pub(super) poor: bool,
}

impl Blocks {
    pub(super) fn new<T>(train_groups: &[ArrayView2<'_, T>], query: &ArrayView2<'_, T>) -> Blocks {
        let cut = |start: usize, len: usize| {
            (0..len).step_by(TILE).map(move |o| Block {
                start: start + o,
                end: start + (o + TILE).min(len),
            })
        };
        let mut n = 0;
        let mut train = vec![];
        for group in train_groups {
            train.extend(cut(n, group.nrows()));
            n += group.nrows();
        }
        Blocks {
            train,
            query: cut(n, query.nrows()).collect(),
            n,
        }
    }

    fn all(&self) -> impl Iterator<Item = Block> {
        self.train.iter().chain(&self.query).copied()
    }

    /// Tiles at and below the diagonal, row by row, then those of query rows with training rows.
    pub(super) fn tiles(&self) -> Vec<Tile> {
        let mut tiles = vec![];
        for (i, rows) in self.all().enumerate() {
            for (j, columns) in self.train.iter().enumerate().take(i + 1) {
                tiles.push(Tile {
                    rows,
                    columns: *columns,
                    blocks: (i, j),
                    values: Mat::zeros(rows.len(), columns.len()),
                    poor: false,
                });
            }
        }
        tiles
    }

    /// Index of the tile of two blocks, `j <= i`.
    fn index(&self, i: usize, j: usize) -> usize {
        let trained = self.train.len();
        if i < trained {
            i * (i + 1) / 2 + j
        } else {
            trained * (trained + 1) / 2 + (i - trained) * trained + j
        }
    }

    /// Products of training rows, n x n, and of query rows with them, m x n.
    pub(super) fn assemble(&self, tiles: &[Tile]) -> (Array2<f64>, Array2<f64>) {
        let n = self.n;
        let m = self.query.iter().map(|b| b.len()).sum();
        let (mut train, mut cross) = (Array2::zeros((n, n)), Array2::zeros((m, n)));
        let blocks: Vec<Block> = self.all().collect();
        let row = |i: usize, out: &mut [f64]| {
            let own = blocks.partition_point(|b| b.end <= i);
            for (j, block) in self.train.iter().enumerate() {
                let out = &mut out[block.start..block.end];
                if j <= own {
                    let tile = &tiles[self.index(own, j)];
                    let r = i - tile.rows.start;
                    for (c, out) in out.iter_mut().enumerate() {
                        // On the diagonal, the upper half is the lower one's.
                        let at = if j == own { (r.max(c), r.min(c)) } else { (r, c) };
                        *out = tile.values[at];
                    }
                } else {
                    let tile = &tiles[self.index(j, own)];
                    for (r, out) in out.iter_mut().enumerate() {
                        *out = tile.values[(r, i - tile.columns.start)];
                    }
                }
            }
        };
        for (matrix, first) in [(&mut train, 0), (&mut cross, n)] {
            if let Some(values) = matrix.as_slice_mut() {
                values
                    .par_chunks_mut(n)
                    .enumerate()
                    .for_each(|(i, out)| row(first + i, out));
            }
        }
        (train, cross)
    }
}

/// Fills `tiles` in f64; gives the sums of all rows.
pub(super) fn wide_tiles<T: Element>(
    mut tiles: Vec<&mut Tile>,
    groups: &[ArrayView2<'_, T>],
    centre: &[f64],
    mean: f64,
) -> Vec<RowSums> {
    let d = centre.len();
    let rows: Vec<_> = groups.iter().flat_map(|g| g.outer_iter()).collect();
    let mut sums = vec![RowSums::default(); rows.len()];
    let mut panel = vec![0.0f64; rows.len() * PANEL.min(d)];
    for tile in &mut tiles {
        tile.values.fill(0.0);
    }
    for from in (0..d).step_by(PANEL) {
        let width = PANEL.min(d - from);
        let centre = &centre[from..from + width];
        let panel = &mut panel[..rows.len() * width];
        panel
            .par_chunks_mut(width)
            .zip(&mut sums)
            .zip(&rows)
            .for_each(|((out, sums), row)| {
                centre_part_of_row(row.slice(s![from..from + width]), centre, out);
                sums.add(out, centre, mean);
            });
        let panel = MatRef::from_row_major_slice(panel, rows.len(), width);
        tiles.par_iter_mut().with_max_len(1).for_each(|tile| {
            let left = panel.subrows(tile.rows.start, tile.rows.len());
            let right = panel.subrows(tile.columns.start, tile.columns.len());
            matmul(
                tile.values.as_mut(),
                Accum::Add,
                left,
                right.transpose(),
                1.0,
                Par::Seq,
            );
        });
    }
    sums
}

/// Writes `row - centre` to `out`.
pub(super) fn centre_part_of_row<T: Element>(row: ArrayView1<'_, T>, centre: &[f64], out: &mut [f64]) {
    // A row that lies in one piece, as nearly all do, goes several entries at a time.
    if let Some(row) = row.as_slice() {
        for ((out, x), c) in out.iter_mut().zip(row).zip(centre) {
            *out = (*x).into() - c;
        }
    } else {
        for ((out, x), c) in out.iter_mut().zip(row).zip(centre) {
            *out = (*x).into() - c;
        }
    }
}

/// Fills `tiles` by products in f32; gives the moments of all rows.
pub(super) fn narrow_tiles(
    tiles: &mut [Tile],
    blocks: &Blocks,
    groups: &[ArrayView2<'_, f32>],
    centre: &DealtCentre,
    kernel: Kernel,
) -> Vec<Moments> {
    let rows: Vec<_> = groups.iter().flat_map(|g| g.outer_iter()).collect();
    // Strips of consecutive rows; `first[b]` is the first one of block b.
    let mut strips: Vec<&[ArrayView1<'_, f32>]> = vec![];
    let mut first = vec![];
    for block in blocks.all() {
        first.push(strips.len());
        strips.extend(rows[block.start..block.end].chunks(STRIP));
    }
    let mut moments: Vec<Vec<Moments>> = strips.iter().map(|s| vec![Moments::default(); s.len()]).collect();
    let chunks = centre.deal.chunks;
    let mut panel = vec![0.0f32; strips.len() * STRIP * CHUNK * PANEL_CHUNKS.min(chunks)];
    for from in (0..chunks).step_by(PANEL_CHUNKS) {
        let to = (from + PANEL_CHUNKS).min(chunks);
        let len = STRIP * CHUNK * (to - from);
        let panel = &mut panel[..strips.len() * len];
        panel
            .par_chunks_mut(len)
            .zip(&mut moments)
            .zip(&strips)
            .for_each(|((out, moments), rows)| pack_strip(rows, centre, from..to, out, moments));
        let panel = &*panel;
        tiles.par_iter_mut().with_max_len(1).for_each(|tile| {
            let (i, j) = tile.blocks;
            let part = |strip: usize| &panel[strip * len..(strip + 1) * len];
            for depth in (0..len).step_by(STRIP * DEPTH) {
                let depth = depth..(depth + STRIP * DEPTH).min(len);
                for a in 0..tile.rows.strips() {
                    let left = &part(first[i] + a)[depth.clone()];
                    for b in 0..tile.columns.strips() {
                        let right = &part(first[j] + b)[depth.clone()];
                        for half in 0..STRIP / HALF {
                            let column = b * STRIP + half * HALF;
                            let above = i == j && column >= (a + 1) * STRIP;
                            if above || column >= tile.columns.len() {
                                continue;
                            }
                            let mut sums: Sums = [[0.0; STRIP]; HALF];
                            kernel.multiply(left, right, half, &mut sums);
                            add(&mut tile.values, a * STRIP, column, &sums);
                        }
                    }
                }
            }
        });
    }
    moments.into_iter().flatten().collect()
}

/// Adds sums to the part of a tile that begins at (row, column).
fn add(values: &mut Mat<f64>, row: usize, column: usize, sums: &Sums) {
    let rows = STRIP.min(values.nrows() - row);
    let columns = HALF.min(values.ncols() - column);
    for (j, sums) in sums.iter().enumerate().take(columns) {
        let out = &mut values.col_as_slice_mut(column + j)[row..row + rows];
        for (out, sum) in out.iter_mut().zip(sums) {
            *out += sum;
        }
    }
}

/// Looks for pairs whose squared distance f32 products give too roughly. Where they are few, the product is replaced by
/// that which makes the distance right; where they are many, the tile is marked.
pub(super) fn mend(tiles: &mut [Tile], groups: &[ArrayView2<'_, f32>], sums: &[RowSums], spreads: &[Spread]) {
    let rows: Vec<_> = groups.iter().flat_map(|g| g.outer_iter()).collect();
    tiles.par_iter_mut().with_max_len(1).for_each(|tile| {
        let (top, left, height) = (tile.rows.start, tile.columns.start, tile.rows.len());
        let triangle = tile.blocks.0 == tile.blocks.1;
        let mut rough = vec![];
        let mut pairs = 0;
        for j in 0..tile.columns.len() {
            let below = if triangle { j + 1 } else { 0 };
            let (column, spread) = (sums[left + j], spreads[left + j]);
            let products = tile.values.col_as_slice(j);
            for i in below..height {
                let product = products[i];
                let distance = sums[top + i].square + column.square - 2.0 * product;
                let variance = 4.0 * spreads[top + i].variance(&spread, product);
                // Written so that NaN is rough.
                let fine = distance > 0.0 && variance <= ERROR * ERROR * distance * distance;
                if !fine {
                    rough.push((i, j));
                }
            }
            pairs += height - below.min(height);
        }
        if rough.len() * POOR > pairs {
            tile.poor = true;
            return;
        }
        for (i, j) in rough {
            let exact = exact_sq_distance(rows[top + i], rows[left + j]);
            let squares = sums[top + i].square + sums[left + j].square;
            tile.values[(i, j)] = 0.5 * (squares - exact);
        }
    });
}
