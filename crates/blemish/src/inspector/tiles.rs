//! Cutting a large picture into tiles, each of which passes through the network by itself, and putting their features
//! into the places that they have in the whole picture.

use blemish_backbones::{Architecture, Network, TapShape};
use ndarray::{Array2, Array4, ArrayView4, s};
use serde::{Deserialize, Serialize};

use super::embed::{Embedding, Layer};
use super::features::CHUNK;
use crate::Error;

/// Sides of tiles and of pictures that are cut, and places of tiles, are multiples of this: the stride of the deepest
/// layers, so that a tile's features are whole features of the picture.
pub(crate) const STEP: u32 = 32;
/// The smallest side of a tile: less has no neighbourhood in the deeper layers.
const LEAST: u32 = 64;
/// The largest side of a tile: what networks take.
const MOST: u32 = 2048;

/// How pictures are cut into tiles: small defects in large pictures are seen at their own resolution, and the memory of
/// the network is that of a few tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tiling {
    /// Side of a tile in pixels: 64 to 2048, a multiple of 32; 224 for a transformer.
    pub size: u32,
    /// Pixels that neighbours share at least: 0 to half of `size`. Rounded up to a multiple of 32.
    pub overlap: u32,
}

impl Tiling {
    /// Whether the values make sense for a network.
    ///
    /// # Errors
    /// [`Error::Config`] if not, with what would.
    pub(crate) fn check(self, architecture: Architecture) -> Result<(), Error> {
        let Tiling { size, overlap } = self;
        if is_transformer(architecture) && size != 224 {
            return Err(Error::Config(format!(
                "{architecture} takes tiles of 224 pixels alone, not of {size}"
            )));
        }
        if !(LEAST..=MOST).contains(&size) {
            return Err(Error::Config(format!(
                "a tile of {size} pixels is none: give {LEAST} to {MOST}, a multiple of {STEP}, such as 320"
            )));
        }
        if !size.is_multiple_of(STEP) {
            let below = size / STEP * STEP;
            return Err(Error::Config(format!(
                "a tile's side is a multiple of {STEP} pixels, which {size} is not: give {below} or {}",
                (below + STEP).min(MOST)
            )));
        }
        if 2 * overlap.next_multiple_of(STEP) > size {
            return Err(Error::Config(format!(
                "tiles of {size} pixels that share {overlap} are senseless: give an overlap of 0 to {}",
                size / 2 / STEP * STEP
            )));
        }
        Ok(())
    }

    /// Where tiles begin along a side of `length` pixels (a multiple of [`STEP`]): as few as share at least the overlap,
    /// spread evenly; and the length of a tile, which is that of the side where this is shorter.
    pub(crate) fn places(self, length: u32) -> (Vec<u32>, u32) {
        if length <= self.size {
            return (vec![0], length);
        }
        let overlap = self.overlap.next_multiple_of(STEP);
        let count = (length - overlap).div_ceil(self.size - overlap);
        let (last, steps) = (u64::from((length - self.size) / STEP), u64::from(count - 1));
        // Rounded to the nearest step; neighbours are never farther apart than size - overlap, which is whole steps.
        let place = |i: u64| (2 * i * last + steps) / (2 * steps);
        ((0..=steps).map(|i| place(i) as u32 * STEP).collect(), self.size)
    }
}

pub(crate) fn is_transformer(architecture: Architecture) -> bool {
    architecture.layers().len() != 4
}

/// How pictures of a size become patches, and the tiles that they are cut into, if they are.
///
/// # Errors
/// If the network has no such layer or takes no such size.
pub(crate) fn layout(
    architecture: Architecture,
    layers: &[&str],
    (width, height): (u32, u32),
    tiling: Option<Tiling>,
) -> Result<(Embedding, Option<Tiles>), Error> {
    let tokens = is_transformer(architecture);
    let shape = |layer: usize, height: usize, width: usize| -> Result<TapShape, Error> {
        Ok(architecture.layer_shape(layers[layer], height, width)?)
    };
    if let Some(tiling) = tiling {
        let tiles = Tiles::new(tiling, (width, height), layers.len(), tokens, &shape)?;
        return Ok((Embedding::of_layers(tiles.whole()), Some(tiles)));
    }
    let layers = (0..layers.len())
        .map(|i| Ok(Layer::new(shape(i, height as usize, width as usize)?, tokens)))
        .collect::<Result<_, Error>>()?;
    Ok((Embedding::of_layers(layers), None))
}

/// The tiles of a picture of one size, and how their features become those of the whole.
#[derive(Clone, Debug)]
pub(crate) struct Tiles {
    /// Where tiles begin, from the top.
    rows: Vec<u32>,
    /// Where they begin, from the left.
    columns: Vec<u32>,
    /// Height and width of a tile, in pixels.
    side: (u32, u32),
    /// The layers of the whole picture, and of a tile.
    layers: Vec<(Layer, Layer)>,
    /// For each layer, how much each row (column) of each row (column) of tiles counts.
    weights: Vec<(Shares, Shares)>,
}

/// How much each position of each tile along a side counts.
type Shares = Vec<Vec<f32>>;

impl Tiles {
    /// Of a picture whose sides are multiples of [`STEP`]; `shape` tells what a layer gives for a height and width, and
    /// `tokens` whether that is a transformer's.
    pub(crate) fn new(
        tiling: Tiling,
        (width, height): (u32, u32),
        layers: usize,
        tokens: bool,
        shape: &dyn Fn(usize, usize, usize) -> Result<TapShape, Error>,
    ) -> Result<Tiles, Error> {
        let (rows, tile_height) = tiling.places(height);
        let (columns, tile_width) = tiling.places(width);
        let mut out = Tiles {
            rows,
            columns,
            side: (tile_height, tile_width),
            layers: vec![],
            weights: vec![],
        };
        for layer in 0..layers {
            let shape = shape(layer, tile_height as usize, tile_width as usize)?;
            let tile = Layer::new(shape, tokens);
            // Whole features, since sides are multiples of every layer's stride.
            let (down, across) = (tile_height / tile.height as u32, tile_width / tile.width as u32);
            let whole = Layer {
                height: (height / down) as usize,
                width: (width / across) as usize,
                channels: tile.channels,
                skip: 0,
            };
            out.weights.push((
                weights(&out.rows, down, tile.height, whole.height),
                weights(&out.columns, across, tile.width, whole.width),
            ));
            out.layers.push((whole, tile));
        }
        Ok(out)
    }

    /// Height and width of a tile, in pixels.
    pub(crate) fn side(&self) -> (u32, u32) {
        self.side
    }

    /// Columns and rows of tiles.
    pub(crate) fn grid(&self) -> (usize, usize) {
        (self.columns.len(), self.rows.len())
    }

    /// The layers of the whole picture.
    pub(crate) fn whole(&self) -> Vec<Layer> {
        self.layers.iter().map(|(whole, _)| whole.clone()).collect()
    }

    /// Values of a tile's features, all layers.
    pub(crate) fn tile_values(&self) -> usize {
        self.layers.iter().map(|(_, tile)| tile.skip + tile.len()).sum()
    }

    /// The features of whole pictures, one matrix a layer, by way of their tiles, a few at a time.
    pub(crate) fn forward_into(
        &self,
        network: &Network,
        batch: ArrayView4<'_, f32>,
        features: &mut Vec<Array2<f32>>,
    ) -> Result<(), Error> {
        let images = batch.dim().0;
        let fits = |f: &Array2<f32>, l: &Layer| f.dim() == (images, l.len());
        if features.len() != self.layers.len()
            || !features
                .iter()
                .zip(&self.layers)
                .all(|(f, (whole, _))| fits(f, whole))
        {
            *features = self
                .layers
                .iter()
                .map(|(whole, _)| Array2::zeros((images, whole.len())))
                .collect();
        } else {
            features.iter_mut().for_each(|f| f.fill(0.0));
        }
        let (height, width) = (self.side.0 as usize, self.side.1 as usize);
        let all: Vec<(usize, usize, usize)> = (0..images)
            .flat_map(|i| (0..self.rows.len()).map(move |y| (i, y)))
            .flat_map(|(i, y)| (0..self.columns.len()).map(move |x| (i, y, x)))
            .collect();
        let mut found = vec![];
        for some in all.chunks(CHUNK) {
            let mut tiles = Array4::zeros((some.len(), 3, height, width));
            for (mut tile, (i, y, x)) in tiles.outer_iter_mut().zip(some) {
                let (top, left) = (self.rows[*y] as usize, self.columns[*x] as usize);
                tile.assign(&batch.slice(s![*i, .., top..top + height, left..left + width]));
            }
            network.forward_into(tiles.view(), &mut found)?;
            // One after the other: where tiles overlap, the order of the sum is always the same.
            for (layer, (found, out)) in found.iter().zip(features.iter_mut()).enumerate() {
                for (tile, at) in found.outer_iter().zip(some) {
                    let tile = tile.as_standard_layout();
                    if let (Some(tile), Some(out)) = (tile.as_slice(), out.row_mut(at.0).as_slice_mut()) {
                        self.put(layer, (at.1, at.2), tile, out);
                    }
                }
            }
        }
        Ok(())
    }

    /// Adds a tile's features to those of the whole.
    fn put(&self, layer: usize, (row, column): (usize, usize), from: &[f32], to: &mut [f32]) {
        let (whole, tile) = &self.layers[layer];
        let (down, across) = (&self.weights[layer].0[row], &self.weights[layer].1[column]);
        let stride = (self.side.0 / tile.height as u32, self.side.1 / tile.width as u32);
        let top = (self.rows[row] / stride.0) as usize;
        let left = (self.columns[column] / stride.1) as usize;
        let c = tile.channels;
        let from = &from[tile.skip..];
        for (y, wy) in down.iter().enumerate() {
            for (x, wx) in across.iter().enumerate() {
                let weight = wy * wx;
                let from = &from[(y * tile.width + x) * c..][..c];
                let to = &mut to[((top + y) * whole.width + left + x) * c..][..c];
                to.iter_mut().zip(from).for_each(|(to, v)| *to += weight * v);
            }
        }
    }
}

/// How much each position of each tile along a side counts: 1 where it is alone; where tiles overlap, the more the
/// farther from those edges of its tile beyond which the picture goes on, but the network sees zeros.
fn weights(places: &[u32], stride: u32, len: usize, all: usize) -> Shares {
    let last = places.len().saturating_sub(1);
    let first = |i: usize| (places[i] / stride) as usize;
    let depth = |i: usize, at: usize| {
        let from = |inner: bool, d: usize| if inner { d as f64 + 0.5 } else { len as f64 };
        from(i > 0, at).min(from(i < last, len - 1 - at))
    };
    let mut sums = vec![0.0_f64; all];
    for i in 0..places.len() {
        for at in 0..len {
            sums[first(i) + at] += depth(i, at);
        }
    }
    let weight = |i: usize, at: usize| (depth(i, at) / sums[first(i) + at]) as f32;
    (0..places.len())
        .map(|i| (0..len).map(|at| weight(i, at)).collect())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_cover_a_side_and_share_what_they_should() {
        for size in [64, 96, 320, 512] {
            for overlap in [0, 1, 32, 64, 128, 256] {
                let tiling = Tiling { size, overlap };
                if tiling.check(Architecture::Resnet18).is_err() {
                    continue;
                }
                for length in (32..2500).step_by(32) {
                    let (places, len) = tiling.places(length);
                    assert_eq!(places[0], 0);
                    assert_eq!(places.last().unwrap() + len, length);
                    assert!(places.iter().all(|p| p.is_multiple_of(STEP)));
                    for pair in places.windows(2) {
                        assert!(
                            pair[0] < pair[1] && pair[1] + overlap <= pair[0] + len,
                            "{places:?}"
                        );
                    }
                    // One fewer would not do.
                    let n = places.len() as u32;
                    let reach = |n: u32| n * len - (n - 1) * overlap.next_multiple_of(STEP);
                    assert!(n == 1 || reach(n - 1) < length, "{size} {overlap} {length}");
                }
            }
        }
        let places = |size, overlap, length| Tiling { size, overlap }.places(length).0;
        assert_eq!(places(320, 32, 896), [0, 288, 576]);
        assert_eq!(places(320, 0, 896), [0, 288, 576]);
        assert_eq!(places(448, 0, 896), [0, 448]);
    }

    #[test]
    fn shares_add_up_to_one_and_fall_towards_inner_edges() {
        let found = weights(&[0, 224, 448], 16, 20, 48);
        let mut sums = [0.0_f32; 48];
        for (i, weights) in found.iter().enumerate() {
            for (at, w) in weights.iter().enumerate() {
                sums[14 * i + at] += w;
            }
        }
        assert!(sums.iter().all(|s| (s - 1.0).abs() < 1e-6), "{sums:?}");
        // Alone up to where the next begins, then a straight line down.
        assert_eq!(found[0][..14], [1.0; 14]);
        for (at, expected) in [5.5, 4.5, 3.5, 2.5, 1.5, 0.5].into_iter().enumerate() {
            assert!((found[0][14 + at] - expected / 6.0).abs() < 1e-6);
        }
        assert_eq!(weights(&[0], 8, 4, 4), [vec![1.0; 4]]);
    }

    #[test]
    fn senseless_tiles_are_refused_with_what_would_do() {
        let text = |size, overlap| {
            let tiling = Tiling { size, overlap };
            tiling.check(Architecture::Resnet18).unwrap_err().to_string()
        };
        assert!(text(300, 0).contains("288 or 320"), "{}", text(300, 0));
        assert!(text(32, 0).contains("64 to 2048"), "{}", text(32, 0));
        assert!(text(0, 0).contains("64 to 2048"));
        assert!(text(4096, 0).contains("64 to 2048"));
        assert!(text(320, 200).contains("0 to 160"), "{}", text(320, 200));
        let vit = Tiling {
            size: 256,
            overlap: 0,
        };
        assert!(vit.check(Architecture::VitBase16).is_err());
        let vit = Tiling {
            size: 224,
            overlap: 64,
        };
        vit.check(Architecture::VitBase16).unwrap();
    }

    /// Features of a tile alone are those of the network; where all tiles are the same, so is what is put together.
    #[test]
    fn features_lie_where_their_tiles_lie() {
        use blemish_backbones::Weights;
        let architecture = Architecture::Resnet18;
        let weights = Weights::random(architecture, 3);
        let network = Network::new(architecture, &weights, &["layer1", "layer2"]).unwrap();
        let tiling = Tiling { size: 64, overlap: 0 };
        let shape = |layer: usize, h: usize, w: usize| {
            Ok(architecture.layer_shape(["layer1", "layer2"][layer], h, w)?)
        };
        let tiles = Tiles::new(tiling, (128, 64), 2, false, &shape).unwrap();
        assert_eq!((tiles.grid(), tiles.side()), ((2, 1), (64, 64)));
        let picture = Array4::from_shape_fn((2, 3, 64, 128), |(i, c, y, x)| {
            ((i * 31 + c * 17 + y * 7 + x * 3) % 23) as f32 / 11.0 - 1.0
        });
        let mut found = vec![];
        tiles.forward_into(&network, picture.view(), &mut found).unwrap();
        for (t, left) in [0, 64].into_iter().enumerate() {
            let tile = picture.slice(s![.., .., .., left..left + 64]);
            let alone = network.forward(tile).unwrap();
            for (layer, (side, channels)) in [(16, 64), (8, 128)].into_iter().enumerate() {
                for i in 0..2 {
                    let whole = found[layer]
                        .row(i)
                        .to_shape((side, 2 * side, channels))
                        .unwrap()
                        .to_owned();
                    let part = whole.slice(s![.., t * side..(t + 1) * side, ..]).to_owned();
                    let alone = alone[layer]
                        .row(i)
                        .to_shape((side, side, channels))
                        .unwrap()
                        .to_owned();
                    assert_eq!(part, alone, "image {i}, tile {t}, layer {layer}");
                }
            }
        }
        // Again into matrices that are there.
        let before = found.clone();
        tiles.forward_into(&network, picture.view(), &mut found).unwrap();
        assert_eq!(before, found);
    }
}
