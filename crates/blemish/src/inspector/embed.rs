//! From the features of some layers to one row for each patch (Roth et al., "Towards Total Recall in Industrial
//! Anomaly Detection", 2022, section 3.1).

use blemish_backbones::TapShape;
use ndarray::{Array2, ArrayView1};

/// How patches are made: every layer's features averaged over 3 x 3 positions, brought to the grid of the finest layer,
/// side by side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Embedding {
    layers: Vec<Layer>,
    pub(crate) height: usize,
    pub(crate) width: usize,
    /// Features of a patch.
    pub(crate) columns: usize,
}

/// A layer's features of an image: height x width x channels, channels side by side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layer {
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) channels: usize,
    /// Values before the first position: a transformer's class token.
    pub(crate) skip: usize,
}

impl Layer {
    /// `tokens` if the shape is a transformer's: a class token and a square of others.
    pub(crate) fn new(shape: TapShape, tokens: bool) -> Layer {
        let count = shape.width.saturating_sub(1);
        let side = count.isqrt();
        if tokens && shape.height == 1 && side > 0 && side * side == count {
            return Layer {
                height: side,
                width: side,
                channels: shape.channels,
                skip: shape.channels,
            };
        }
        Layer {
            height: shape.height,
            width: shape.width,
            channels: shape.channels,
            skip: 0,
        }
    }

    /// Number of values, without what is skipped.
    pub(crate) fn len(&self) -> usize {
        self.height * self.width * self.channels
    }
}

impl Embedding {
    pub(crate) fn of_layers(layers: Vec<Layer>) -> Embedding {
        let finest = layers.iter().max_by_key(|l| l.height * l.width);
        Embedding {
            height: finest.map_or(0, |l| l.height),
            width: finest.map_or(0, |l| l.width),
            columns: layers.iter().map(|l| l.channels).sum(),
            layers,
        }
    }

    /// Of some of the layers, by number.
    pub(crate) fn of_some(&self, layers: &[usize]) -> Embedding {
        Embedding::of_layers(
            layers
                .iter()
                .filter_map(|i| self.layers.get(*i).cloned())
                .collect(),
        )
    }

    /// Values of all layers' features of an image.
    pub(crate) fn values(&self) -> usize {
        self.layers.iter().map(|l| l.skip + l.len()).sum()
    }

    /// Number of patches of an image.
    pub(crate) fn patches(&self) -> usize {
        self.height * self.width
    }

    /// One image's patches, row by row of the grid: patches x columns.
    pub(crate) fn apply(&self, features: &[ArrayView1<'_, f32>]) -> Array2<f32> {
        let mut out = Array2::zeros((self.patches(), self.columns));
        let mut first = 0;
        for (layer, features) in self.layers.iter().zip(features) {
            let features = features.as_standard_layout();
            let values = features.as_slice().unwrap_or_default();
            let pooled = pool(layer, &values[layer.skip..]);
            self.align(layer, &pooled, first, &mut out);
            first += layer.channels;
        }
        out
    }

    /// Writes a pooled layer to its columns: bilinear, pixel centres, edges repeated.
    fn align(&self, layer: &Layer, pooled: &[f32], first: usize, out: &mut Array2<f32>) {
        let c = layer.channels;
        let rows = taps(layer.height, self.height);
        let columns = taps(layer.width, self.width);
        let all = self.columns;
        let Some(out) = out.as_slice_mut() else { return };
        for (y, row) in rows.iter().enumerate() {
            for (x, column) in columns.iter().enumerate() {
                let at = |y: usize, x: usize| &pooled[(y * layer.width + x) * c..][..c];
                let start = (y * self.width + x) * all + first;
                let out = &mut out[start..start + c];
                if (layer.height, layer.width) == (self.height, self.width) {
                    out.copy_from_slice(at(y, x));
                    continue;
                }
                let corners = [
                    (at(row.0, column.0), (1.0 - row.2) * (1.0 - column.2)),
                    (at(row.0, column.1), (1.0 - row.2) * column.2),
                    (at(row.1, column.0), row.2 * (1.0 - column.2)),
                    (at(row.1, column.1), row.2 * column.2),
                ];
                let [(a, wa), (b, wb), (d, wd), (e, we)] = corners;
                for ((((out, a), b), d), e) in out.iter_mut().zip(a).zip(b).zip(d).zip(e) {
                    *out = a * wa + b * wb + (d * wd + e * we);
                }
            }
        }
    }

    /// One image's features for detectors that look at it as a whole: each layer averaged over at most `side` x `side`
    /// cells, side by side.
    pub(crate) fn whole(&self, features: &[ArrayView1<'_, f32>], side: usize) -> Vec<f32> {
        let mut out = Vec::with_capacity(self.whole_len(side));
        for (layer, features) in self.layers.iter().zip(features) {
            let features = features.as_standard_layout();
            let values = &features.as_slice().unwrap_or_default()[layer.skip..];
            let (rows, columns) = (layer.height.min(side), layer.width.min(side));
            for i in 0..rows {
                let ys = i * layer.height / rows..(i + 1) * layer.height / rows;
                for j in 0..columns {
                    let xs = j * layer.width / columns..(j + 1) * layer.width / columns;
                    let start = out.len();
                    out.resize(start + layer.channels, 0.0);
                    let cell = &mut out[start..];
                    for y in ys.clone() {
                        for x in xs.clone() {
                            let from = &values[(y * layer.width + x) * layer.channels..];
                            for (sum, v) in cell.iter_mut().zip(from) {
                                *sum += v;
                            }
                        }
                    }
                    let scale = 1.0 / (ys.len() * xs.len()) as f32;
                    cell.iter_mut().for_each(|v| *v *= scale);
                }
            }
        }
        out
    }

    /// Number of values that [`whole`](Self::whole) gives.
    pub(crate) fn whole_len(&self, side: usize) -> usize {
        let len = |l: &Layer| l.height.min(side) * l.width.min(side) * l.channels;
        self.layers.iter().map(len).sum()
    }
}

/// For each of `to` pixels: two of `from` pixels and the weight of the second (bilinear, pixel centres).
pub(crate) fn taps(from: usize, to: usize) -> Vec<(usize, usize, f32)> {
    let scale = from as f64 / to as f64;
    (0..to)
        .map(|i| {
            let at = ((i as f64 + 0.5) * scale - 0.5).max(0.0);
            let first = (at as usize).min(from - 1);
            (first, (first + 1).min(from - 1), (at - first as f64) as f32)
        })
        .collect()
}

/// The mean over the positions of a 3 x 3 neighbourhood that are there.
fn pool(layer: &Layer, values: &[f32]) -> Vec<f32> {
    let (h, w, c) = (layer.height, layer.width, layer.channels);
    // Sums of three neighbours in a row, then of three rows.
    let mut sums = values[..h * w * c].to_vec();
    let add = |to: &mut [f32], from: &[f32]| to.iter_mut().zip(from).for_each(|(a, b)| *a += b);
    for y in 0..h {
        let (row, from) = (
            &mut sums[y * w * c..(y + 1) * w * c],
            &values[y * w * c..(y + 1) * w * c],
        );
        if w > 1 {
            add(&mut row[c..], &from[..(w - 1) * c]);
            add(&mut row[..(w - 1) * c], &from[c..]);
        }
    }
    let mut out = sums.clone();
    if h > 1 {
        add(&mut out[w * c..], &sums[..(h - 1) * w * c]);
        add(&mut out[..(h - 1) * w * c], &sums[w * c..]);
    }
    let count = |i: usize, n: usize| 1 + usize::from(i > 0) + usize::from(i + 1 < n);
    for y in 0..h {
        for x in 0..w {
            let scale = 1.0 / (count(y, h) * count(x, w)) as f32;
            out[(y * w + x) * c..][..c].iter_mut().for_each(|v| *v *= scale);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use ndarray::Array1;

    use super::*;

    fn embedding(shapes: &[TapShape], tokens: bool) -> Embedding {
        Embedding::of_layers(shapes.iter().map(|shape| Layer::new(*shape, tokens)).collect())
    }

    fn shape(height: usize, width: usize, channels: usize) -> TapShape {
        TapShape {
            height,
            width,
            channels,
        }
    }

    fn features(shape: TapShape) -> Array1<f32> {
        (0..shape.len()).map(|i| ((i * 37) % 101) as f32).collect()
    }

    #[test]
    fn patches_are_means_over_neighbours_brought_to_the_finest_grid() {
        let (fine, coarse) = (shape(6, 8, 3), shape(3, 4, 2));
        let embedding = embedding(&[fine, coarse], false);
        assert_eq!((embedding.height, embedding.width, embedding.columns), (6, 8, 5));
        let (a, b) = (features(fine), features(coarse));
        let patches = embedding.apply(&[a.view(), b.view()]);
        let mean = |values: &Array1<f32>, s: TapShape, y: usize, x: usize, c: usize| {
            let (mut sum, mut n) = (0.0, 0.0);
            for y in y.saturating_sub(1)..(y + 2).min(s.height) {
                for x in x.saturating_sub(1)..(x + 2).min(s.width) {
                    sum += f64::from(values[(y * s.width + x) * s.channels + c]);
                    n += 1.0;
                }
            }
            sum / n
        };
        for y in 0..6 {
            for x in 0..8 {
                for c in 0..3 {
                    let found = f64::from(patches[[y * 8 + x, c]]);
                    assert!((found - mean(&a, fine, y, x, c)).abs() < 1e-4);
                }
                // Half a coarse pixel from its centre, to one side or the other, on both axes.
                for c in 0..2 {
                    let at = |i: usize, n: usize| {
                        let at = ((i as f64 + 0.5) / 2.0 - 0.5).clamp(0.0, (n - 1) as f64);
                        (
                            at.floor() as usize,
                            (at.floor() as usize + 1).min(n - 1),
                            at.fract(),
                        )
                    };
                    let ((y0, y1, u), (x0, x1, v)) = (at(y, 3), at(x, 4));
                    let m = |y, x| mean(&b, coarse, y, x, c);
                    let expected = (1.0 - u) * ((1.0 - v) * m(y0, x0) + v * m(y0, x1))
                        + u * ((1.0 - v) * m(y1, x0) + v * m(y1, x1));
                    let found = f64::from(patches[[y * 8 + x, 3 + c]]);
                    assert!((found - expected).abs() < 1e-4, "{y} {x}: {found} {expected}");
                }
            }
        }
    }

    #[test]
    fn a_transformer_has_a_square_grid_without_its_class_token() {
        let tokens = shape(1, 10, 4);
        let embedding = embedding(&[tokens], true);
        assert_eq!((embedding.height, embedding.width), (3, 3));
        let mut values = features(tokens);
        let before = embedding.apply(&[values.view()]);
        values[2] += 1000.0;
        assert_eq!(embedding.apply(&[values.view()]), before);
        // Of another network these are ten positions in a row.
        let row = self::embedding(&[tokens], false);
        assert_eq!((row.height, row.width), (1, 10));
    }

    #[test]
    fn whole_images_are_means_over_cells() {
        let s = shape(5, 4, 2);
        let embedding = embedding(&[s], false);
        let values = features(s);
        assert_eq!(embedding.whole(&[values.view()], 9), values.to_vec());
        let one = embedding.whole(&[values.view()], 1);
        for c in 0..2 {
            let mean = (0..20).map(|i| values[i * 2 + c]).sum::<f32>() / 20.0;
            assert!((one[c] - mean).abs() < 1e-4);
        }
        assert_eq!(embedding.whole(&[values.view()], 2).len(), embedding.whole_len(2));
    }
}
