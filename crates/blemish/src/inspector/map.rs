//! From scores of patches to a map of the image's size.

use ndarray::{Array2, ArrayView2};

use super::embed::taps;

/// Standard deviation of the smoothing, in pixels of the network's input (PatchCore's and PaDiM's).
pub(crate) const SIGMA: f64 = 4.0;

/// Bilinear, pixel centres, edges repeated.
pub(crate) fn resize(map: ArrayView2<'_, f32>, height: usize, width: usize) -> Array2<f32> {
    let (h, w) = map.dim();
    let mut out = Array2::zeros((height, width));
    if h == 0 || w == 0 {
        return out;
    }
    let columns = taps(w, width);
    let mut between = vec![0.0_f32; w];
    for ((a, b, t), mut out) in taps(h, height).into_iter().zip(out.outer_iter_mut()) {
        for (v, (p, q)) in between.iter_mut().zip(map.row(a).iter().zip(map.row(b))) {
            *v = p + (q - p) * t;
        }
        for (out, (a, b, t)) in out.iter_mut().zip(&columns) {
            *out = between[*a] + (between[*b] - between[*a]) * t;
        }
    }
    out
}

/// Convolution with a Gaussian that is cut off at four standard deviations; the image is mirrored at its edges.
pub(crate) fn smooth(map: &Array2<f32>, sigma: f64) -> Array2<f32> {
    let radius = (4.0 * sigma + 0.5) as isize;
    let weights: Vec<f64> = (-radius..=radius)
        .map(|i| (-0.5 * (i as f64 / sigma).powi(2)).exp())
        .collect();
    let sum: f64 = weights.iter().sum();
    let weights: Vec<f32> = weights.iter().map(|w| (w / sum) as f32).collect();
    let (h, w) = map.dim();
    let mut rows = Array2::zeros((h, w));
    // Rows of the result are sums of whole rows, which vector instructions take many columns of at a time.
    for (y, mut out) in rows.outer_iter_mut().enumerate() {
        for (k, weight) in weights.iter().enumerate() {
            let from = map.row(mirrored(y as isize + k as isize - radius, h));
            for (out, v) in out.iter_mut().zip(from) {
                *out += weight * v;
            }
        }
    }
    let mut out = Array2::zeros((h, w));
    let r = radius as usize;
    let mut padded = vec![0.0_f32; w + 2 * r];
    for (from, mut out) in rows.outer_iter().zip(out.outer_iter_mut()) {
        for (i, v) in padded.iter_mut().enumerate() {
            *v = from[mirrored(i as isize - radius, w)];
        }
        for (k, weight) in weights.iter().enumerate() {
            for (out, v) in out.iter_mut().zip(&padded[k..]) {
                *out += weight * v;
            }
        }
    }
    out
}

/// The pixel that `i` stands for, mirrored about the edge pixels' outer sides as often as it takes.
fn mirrored(i: isize, n: usize) -> usize {
    let n = n as isize;
    let i = i.rem_euclid(2 * n);
    (if i < n { i } else { 2 * n - 1 - i }) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smoothing_keeps_constants_and_sums() {
        let map = Array2::from_elem((7, 3), 2.5);
        for v in smooth(&map, 4.0) {
            assert!((v - 2.5).abs() < 1e-5);
        }
        let mut one = Array2::zeros((41, 61));
        one[[20, 30]] = 1.0;
        let out = smooth(&one, 2.0);
        assert!((out.sum() - 1.0).abs() < 1e-5);
        let gauss = |d: f64| (-d * d / 8.0).exp() / (2.0 * (2.0 * std::f64::consts::PI).sqrt());
        for (dy, dx) in [(0, 0), (1, 0), (3, 2)] {
            let expected = gauss(f64::from(dy)) * gauss(f64::from(dx));
            let found = f64::from(out[[20 + dy as usize, 30 - dx as usize]]);
            assert!((found - expected).abs() < 1e-5, "{found} {expected}");
        }
    }

    #[test]
    fn resizing_goes_straight_between_pixels() {
        let map = ndarray::array![[0.0, 4.0], [8.0, 12.0]];
        let out = resize(map.view(), 4, 4);
        assert_eq!(out.row(0).to_vec(), [0.0, 1.0, 3.0, 4.0]);
        assert_eq!(out.column(0).to_vec(), [0.0, 2.0, 6.0, 8.0]);
        assert_eq!(resize(map.view(), 2, 2), map);
    }
}
