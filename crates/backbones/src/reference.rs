//! Safe twins of the kernels, in f64 and by definition, for tests. Each sum comes with the sum of the
//! magnitudes of its terms, by which errors are judged.

use crate::description::{TapShape, Window};
use crate::product::{Activation, Residual};

/// Values in -1 to 1 that no two positions share, from the index alone.
pub(crate) fn values(n: usize, salt: u32) -> Vec<f32> {
    (0..n as u32)
        .map(|i| (i.wrapping_add(salt).wrapping_mul(2_654_435_761) >> 8) as f32 / 8_388_608.0 - 1.0)
        .collect()
}

/// A sum of n terms in f32 errs by at most n half-epsilons of the sum of their magnitudes (Higham,
/// 2002, section 4.2) and hardly ever by more than 2 sqrt(n) of them (Higham and Mary, 2019); a
/// sequential loop reaches 0.2 sqrt(n) on [`values`].
pub(crate) fn roundings(terms: usize) -> f64 {
    2.0 * (terms as f64 + 2.0).sqrt() * f64::from(f32::EPSILON) / 2.0
}

fn activate(x: f64, activation: Activation) -> f64 {
    match activation {
        Activation::None => x,
        Activation::Relu => x.max(0.0),
        Activation::Gelu => {
            // erf by its series: enough digits for sums that are not large.
            let a = x / 2.0_f64.sqrt();
            let (mut term, mut sum) = (a, a);
            for n in 1..400 {
                term *= -a * a / f64::from(n);
                sum += term / f64::from(2 * n + 1);
            }
            let erf = if a.abs() > 5.0 {
                a.signum()
            } else {
                sum * std::f64::consts::FRAC_2_SQRT_PI
            };
            x * (1.0 + erf) / 2.0
        }
    }
}

/// What is added to `out`: rows and their distance, which are put there where it is added `in_place`, so many columns of
/// them.
pub(crate) fn added<'a>(
    residual: Option<(&'a [f32], usize)>,
    in_place: bool,
    columns: usize,
    out: &mut [f32],
) -> Residual<'a> {
    match residual {
        Some((values, stride)) if in_place => {
            for (to, from) in out.chunks_mut(stride).zip(values.chunks(stride)) {
                to[..columns].copy_from_slice(&from[..columns]);
            }
            Residual::Output
        }
        Some((values, stride)) => Residual::Rows(values, stride),
        None => Residual::None,
    }
}

/// `activation(left weights + bias + residual)`; `weights` is row-major.
pub(crate) fn product(
    left: &[f32],
    [rows, depth, columns]: [usize; 3],
    stride: usize,
    weights: &[f32],
    bias: &[f32],
    residual: Option<(&[f32], usize)>,
    activation: Activation,
) -> Vec<(f64, f64)> {
    let mut out = Vec::with_capacity(rows * columns);
    for row in 0..rows {
        for column in 0..columns {
            let mut sum = f64::from(bias[column]);
            let mut magnitude = sum.abs();
            for k in 0..depth {
                let term = f64::from(left[row * stride + k]) * f64::from(weights[k * columns + column]);
                sum += term;
                magnitude += term.abs();
            }
            if let Some((values, stride)) = residual {
                let extra = f64::from(values[row * stride + column]);
                sum += extra;
                magnitude += extra.abs();
            }
            // GELU is steeper than the identity, by at most 1.13.
            out.push((activate(sum, activation), 1.13 * magnitude));
        }
    }
    out
}

/// The convolution of one NHWC image by the definition.
pub(crate) fn convolution(
    input: &[f32],
    shape: TapShape,
    window: Window,
    weight: &[f32],
    bias: &[f32],
    residual: Option<&[f32]>,
    relu: bool,
) -> Vec<(f64, f64)> {
    let (height, width) = (window.positions(shape.height), window.positions(shape.width));
    let mut output = Vec::new();
    for oy in 0..height {
        for ox in 0..width {
            for (co, bias) in bias.iter().enumerate() {
                let mut sum = f64::from(*bias);
                let mut magnitude = sum.abs();
                for ci in 0..shape.channels {
                    for ky in 0..window.kernel {
                        for kx in 0..window.kernel {
                            let y = (oy * window.stride + ky) as isize - window.padding as isize;
                            let x = (ox * window.stride + kx) as isize - window.padding as isize;
                            if y < 0 || x < 0 || y as usize >= shape.height || x as usize >= shape.width {
                                continue;
                            }
                            let at = (y as usize * shape.width + x as usize) * shape.channels + ci;
                            let w = ((co * shape.channels + ci) * window.kernel + ky) * window.kernel + kx;
                            let term = f64::from(input[at]) * f64::from(weight[w]);
                            sum += term;
                            magnitude += term.abs();
                        }
                    }
                }
                if let Some(residual) = residual {
                    sum += f64::from(residual[output.len()]);
                    magnitude += f64::from(residual[output.len()]).abs();
                }
                output.push((if relu { sum.max(0.0) } else { sum }, magnitude));
            }
        }
    }
    output
}
