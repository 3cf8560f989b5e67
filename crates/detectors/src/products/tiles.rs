//! Products of blocks of rows.

use ndarray::{Array2, ArrayView1};
use rayon::prelude::*;

use super::kernel::{Block as Sums, Kernel, STRIP};
use super::pack::{Ahead, PANEL, pack_strip};
use super::{Element, RowSums};

/// Rows of a tile: a fixed number, so that what a tile computes depends on its rows alone.
pub(super) const TILE: usize = 128;
/// Columns that a kernel takes at a time: a strip of them stays in the first-level cache, two tiles' rows in the second.
const DEPTH: usize = 256;

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
struct Tile {
    rows: Block,
    columns: Block,
    /// Indices of the blocks among all.
    blocks: (usize, usize),
    /// Sums of strips of rows by strips of columns, one column of strips after the other.
    sums: Vec<Sums>,
}

impl Tile {
    fn new(blocks: (usize, usize), rows: Block, columns: Block) -> Tile {
        Tile {
            rows,
            columns,
            blocks,
            sums: vec![[[0.0; STRIP]; STRIP]; rows.strips() * columns.strips()],
        }
    }

    fn at(&self, row: usize, column: usize) -> f64 {
        self.sums[column / STRIP * self.rows.strips() + row / STRIP][column % STRIP][row % STRIP]
    }
}

impl Blocks {
    /// Of groups of so many training rows, and query rows.
    pub(super) fn new(train_groups: &[usize], query: usize) -> Blocks {
        let cut = |start: usize, len: usize| {
            (0..len).step_by(TILE).map(move |o| Block {
                start: start + o,
                end: start + (o + TILE).min(len),
            })
        };
        let mut n = 0;
        let mut train = vec![];
        for rows in train_groups {
            train.extend(cut(n, *rows));
            n += rows;
        }
        Blocks {
            train,
            query: cut(n, query).collect(),
            n,
        }
    }

    fn all(&self) -> impl Iterator<Item = Block> {
        self.train.iter().chain(&self.query).copied()
    }

    /// Tiles at and below the diagonal, row by row, then those of query rows with training rows.
    fn tiles(&self) -> Vec<Tile> {
        self.tiles_from(0)
    }

    /// Tiles of the blocks from the given one on.
    fn tiles_from(&self, first: usize) -> Vec<Tile> {
        let mut tiles = vec![];
        for (i, rows) in self.all().enumerate().skip(first) {
            for (j, columns) in self.train.iter().enumerate().take(i + 1) {
                tiles.push(Tile::new((i, j), rows, *columns));
            }
        }
        tiles
    }

    /// Those of query rows with training rows alone.
    fn cross_tiles(&self) -> Vec<Tile> {
        self.tiles_from(self.train.len())
    }

    /// Index of the tile of two blocks, `j <= i`, among all.
    fn index(&self, i: usize, j: usize) -> usize {
        let trained = self.train.len();
        if i < trained {
            i * (i + 1) / 2 + j
        } else {
            trained * (trained + 1) / 2 + (i - trained) * trained + j
        }
    }

    /// Products of training rows, n x n, and of query rows with them, m x n. The former are left out, 0 x 0, if
    /// `tiles` are the cross tiles alone.
    fn assemble(&self, tiles: &[Tile]) -> (Array2<f64>, Array2<f64>) {
        let n = self.n;
        let m = self.query.iter().map(|b| b.len()).sum();
        let absent = self.index(self.train.len() + self.query.len(), 0) - tiles.len();
        let trained = if absent == 0 { n } else { 0 };
        let (mut train, mut cross) = (Array2::zeros((trained, trained)), Array2::zeros((m, n)));
        let blocks: Vec<Block> = self.all().collect();
        let row = |i: usize, out: &mut [f64]| {
            let own = blocks.partition_point(|b| b.end <= i);
            for (j, block) in self.train.iter().enumerate() {
                let out = &mut out[block.start..block.end];
                if j <= own {
                    let tile = &tiles[self.index(own, j) - absent];
                    let r = i - tile.rows.start;
                    for (c, out) in out.iter_mut().enumerate() {
                        // On the diagonal, the upper half is the lower one's.
                        *out = if j == own {
                            tile.at(r.max(c), r.min(c))
                        } else {
                            tile.at(r, c)
                        };
                    }
                } else {
                    let tile = &tiles[self.index(j, own)];
                    for (r, out) in out.iter_mut().enumerate() {
                        *out = tile.at(r, i - tile.columns.start);
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

/// Tiles that are being filled, columns after columns.
pub(super) struct Multiplier {
    blocks: Blocks,
    tiles: Vec<Tile>,
    /// Strips of consecutive rows (first, and one after the last); `first[b]` is the first one of block b.
    strips: Vec<(usize, usize)>,
    first: Vec<usize>,
    sums: Vec<Vec<RowSums>>,
    panel: Vec<f64>,
    /// Mean of the whole centre.
    mean: f64,
    kernel: Kernel,
}

impl Multiplier {
    /// For all tiles, or those of query rows with training rows alone.
    pub(super) fn new(blocks: Blocks, cross_only: bool, mean: f64, kernel: Kernel) -> Multiplier {
        let mut strips: Vec<(usize, usize)> = vec![];
        let mut first = vec![];
        for block in blocks.all() {
            first.push(strips.len());
            let starts = (block.start..block.end).step_by(STRIP);
            strips.extend(starts.map(|start| (start, (start + STRIP).min(block.end))));
        }
        Multiplier {
            tiles: if cross_only {
                blocks.cross_tiles()
            } else {
                blocks.tiles()
            },
            blocks,
            sums: strips
                .iter()
                .map(|(a, b)| vec![RowSums::default(); b - a])
                .collect(),
            strips,
            first,
            panel: vec![],
            mean,
            kernel,
        }
    }

    /// Adds the products of some columns, of which `centre` is the part that is subtracted. What is added one after
    /// the other gives the same bytes as all at once if every part but the last is a multiple of [`PANEL`] wide.
    pub(super) fn add<A: Element, B: Element>(
        &mut self,
        train: &[ArrayView1<'_, A>],
        query: &[ArrayView1<'_, B>],
        centre: &[f64],
    ) {
        let n = self.blocks.n;
        let needed = self.strips.len() * STRIP * PANEL.min(centre.len());
        if self.panel.len() < needed {
            self.panel.resize(needed, 0.0);
        }
        let Multiplier {
            tiles,
            strips,
            first,
            sums,
            panel,
            mean,
            kernel,
            ..
        } = self;
        let width = centre.len();
        let (jobs, rows) = (tiles.len(), train.len() + query.len());
        for (from, centre) in (0..width).step_by(PANEL).zip(centre.chunks(PANEL)) {
            let len = STRIP * centre.len();
            let panel = &mut panel[..strips.len() * len];
            panel
                .par_chunks_mut(len)
                .zip(&mut *sums)
                .zip(&*strips)
                .for_each(|((out, sums), (a, b))| {
                    if *b <= n {
                        pack_strip(&train[*a..*b], from, centre, *mean, out, sums);
                    } else {
                        pack_strip(&query[*a - n..*b - n], from, centre, *mean, out, sums);
                    }
                });
            let panel = &*panel;
            tiles
                .par_iter_mut()
                .enumerate()
                .with_max_len(1)
                .for_each(|(job, tile)| {
                    let (i, j) = tile.blocks;
                    // Each tile asks for its share of the rows.
                    let soon = (from + PANEL).min(width)..(from + 2 * PANEL).min(width);
                    let share = rows * job / jobs..rows * (job + 1) / jobs;
                    let mut train = Ahead::new(&train[share.start.min(n)..share.end.min(n)], soon.clone());
                    let queries = share.start.max(n) - n..share.end.max(n) - n;
                    let mut query = Ahead::new(&query[queries], soon);
                    let steps = tile.columns.strips() * len.div_ceil(STRIP * DEPTH);
                    let lines = (train.len() + query.len()).div_ceil(steps);
                    for depth in (0..len).step_by(STRIP * DEPTH) {
                        let depth = depth..(depth + STRIP * DEPTH).min(len);
                        let part = |strip: usize| &panel[strip * len..(strip + 1) * len][depth.clone()];
                        for (b, sums) in tile.sums.chunks_exact_mut(tile.rows.strips()).enumerate() {
                            if train.len() > 0 {
                                train.ask(lines);
                            } else {
                                query.ask(lines);
                            }
                            let right = part(first[j] + b);
                            // On the diagonal, what lies above it is not needed.
                            let top = if i == j { b } else { 0 };
                            let left = first[i] + top;
                            let (pairs, odd) = sums[top..].as_chunks_mut();
                            for (a, sums) in pairs.iter_mut().enumerate() {
                                kernel.multiply([part(left + 2 * a), part(left + 2 * a + 1)], right, sums);
                            }
                            if let [last] = odd {
                                let last = std::array::from_mut(last);
                                kernel.multiply([part(left + 2 * pairs.len())], right, last);
                            }
                        }
                    }
                });
        }
    }

    /// Products of training rows, products of query rows with them, and the sums of all rows.
    pub(super) fn finish(self) -> (Array2<f64>, Array2<f64>, Vec<RowSums>) {
        let (train, cross) = self.blocks.assemble(&self.tiles);
        (train, cross, self.sums.into_iter().flatten().collect())
    }

    /// The sums of all rows so far.
    pub(super) fn sums(&self) -> impl Iterator<Item = &RowSums> {
        self.sums.iter().flatten()
    }
}
