//! Functions of single numbers over vectors: the exponential and GELU.
#![cfg_attr(test, expect(unsafe_code, reason = "tests call vector instructions"))]

use crate::simd::Simd;

/// Added to a number below 2^22 in magnitude and subtracted again, this rounds it to a whole one.
const ROUNDING: f32 = 12_582_912.0;
/// ln 2 in two parts; the first has so few bits that whole multiples of it are exact.
const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];

/// `c[0] + c[1] x + c[2] x^2 + ...` by Horner's scheme.
#[inline(always)]
fn polynomial<S: Simd, const N: usize>(s: S, coefficients: [f32; N], x: S::V) -> S::V {
    let mut sum = s.splat(coefficients[N - 1]);
    let mut i = N - 1;
    while i > 0 {
        i -= 1;
        sum = s.fma(sum, x, s.splat(coefficients[i]));
    }
    sum
}

/// `e^x` for `x` of at most 0, to 2e-7 of it; below -87, where f32 ends, `e^-87`.
#[inline(always)]
pub(crate) fn exp_negative<S: Simd>(s: S, x: S::V) -> S::V {
    // x = n ln 2 + r with |r| <= ln(2) / 2, and then Taylor's series of e^r.
    let x = s.max(s.splat(-87.0), x);
    let rounding = s.splat(ROUNDING);
    let n = s.sub(s.fma(x, s.splat(std::f32::consts::LOG2_E), rounding), rounding);
    let r = s.fnma(n, s.splat(LN_2[1]), s.fnma(n, s.splat(LN_2[0]), x));
    let series = [
        1.0,
        1.0,
        1.0 / 2.0,
        1.0 / 6.0,
        1.0 / 24.0,
        1.0 / 120.0,
        1.0 / 720.0,
        1.0 / 5040.0,
    ];
    s.mul(polynomial(s, series, r), s.power_of_two(n))
}

/// Beyond this erf is 1 to less than a rounding.
const ERF_END: f32 = 3.9;
/// `erf(x) = x P(x^2) / Q(x^2)` in -3.9 to 3.9, fitted for the least relative error, 1.7e-8.
const ERF_P: [f32; 6] = [
    std::f32::consts::FRAC_2_SQRT_PI,
    1.896_670_5e-1,
    5.266_811_5e-2,
    3.738_356_3e-3,
    2.850_625_5e-4,
    2.066_473_2e-6,
];
const ERF_Q: [f32; 6] = [
    1.0,
    5.014_208_3e-1,
    1.138_190_5e-1,
    1.491_429_8e-2,
    1.157_378_9e-3,
    3.827_004e-5,
];

/// `x (1 + erf(x / sqrt 2)) / 2`, exact GELU (Hendrycks and Gimpel, 2016), to 1e-6 for `x` of up to 6 in
/// magnitude and to 4e-7 of it beyond. NaN stays NaN.
#[inline(always)]
pub(crate) fn gelu<S: Simd>(s: S, x: S::V) -> S::V {
    let a = s.mul(x, s.splat(std::f32::consts::FRAC_1_SQRT_2));
    let a = s.max(s.splat(-ERF_END), s.min(s.splat(ERF_END), a));
    let square = s.mul(a, a);
    let erf = s.div(
        s.mul(a, polynomial(s, ERF_P, square)),
        polynomial(s, ERF_Q, square),
    );
    let half = s.mul(x, s.splat(0.5));
    s.fma(half, erf, half)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{Available, available, per_set};

    #[inline(always)]
    unsafe fn both<S: Simd>(s: S, x: &[f32; 16], exponentials: &mut [f32; 16], gelus: &mut [f32; 16]) {
        for i in (0..16).step_by(S::LANES) {
            // SAFETY: LANES divides 16.
            unsafe {
                let v = s.load(x.as_ptr().add(i));
                s.store(exponentials.as_mut_ptr().add(i), exp_negative(s, v));
                s.store(gelus.as_mut_ptr().add(i), gelu(s, v));
            }
        }
    }
    per_set!(
        /// Both functions of 16 numbers.
        unsafe fn both_of(x: &[f32; 16], exponentials: &mut [f32; 16], gelus: &mut [f32; 16]) = both
    );

    /// erf by its series, or by the continued fraction of erfc; both to 1e-15.
    fn erf(x: f64) -> f64 {
        let a = x.abs();
        let value = if a < 3.0 {
            let (mut term, mut sum) = (a, a);
            for n in 1..200 {
                term *= -a * a / f64::from(n);
                sum += term / f64::from(2 * n + 1);
            }
            sum * std::f64::consts::FRAC_2_SQRT_PI
        } else {
            let fraction = (1..100).rev().fold(0.0, |f, n| f64::from(n) / 2.0 / (a + f));
            1.0 - (-a * a).exp() / std::f64::consts::PI.sqrt() / (a + fraction)
        };
        value.copysign(x)
    }

    fn compute(set: Available, x: [f32; 16]) -> ([f32; 16], [f32; 16]) {
        let (mut exponentials, mut gelus) = ([0.0; 16], [0.0; 16]);
        // SAFETY: there are 16 of all.
        unsafe { both_of(set, &x, &mut exponentials, &mut gelus) };
        (exponentials, gelus)
    }

    #[test]
    fn are_the_definitions() {
        assert!((erf(1.0) - 0.842_700_792_949_714_9).abs() < 1e-14);
        assert!((erf(-3.5) + 0.999_999_256_901_627_7).abs() < 1e-14);
        for set in available() {
            for start in -4000..4000 {
                let x: [f32; 16] = std::array::from_fn(|i| (start * 16 + i as i32) as f32 / 4000.0);
                let (exponentials, gelus) = compute(set, x);
                for i in 0..16 {
                    let exact = f64::from(x[i]);
                    let gelu = exact * (1.0 + erf(exact / 2.0_f64.sqrt())) / 2.0;
                    let error = (f64::from(gelus[i]) - gelu).abs();
                    assert!(
                        error <= 1e-6_f64.max(4e-7 * exact.abs()),
                        "{x:?}: gelu, {error:e}"
                    );
                    if exact <= 0.0 {
                        let error = (f64::from(exponentials[i]) / exact.exp() - 1.0).abs();
                        assert!(error <= 2e-7, "{x:?}: exp, {error:e}");
                    }
                }
            }
        }
    }

    #[test]
    fn ends_are_kept() {
        for set in available() {
            let mut x = [-1e30; 16];
            x[..4].copy_from_slice(&[f32::NAN, -0.0, 1e30, -87.0]);
            let (exponentials, gelus) = compute(set, x);
            assert!(gelus[0].is_nan());
            assert_eq!(gelus[1], 0.0);
            assert!((gelus[2] / 1e30 - 1.0).abs() < 4e-7);
            assert_eq!(exponentials[1], 1.0);
            assert!(exponentials[5] > 0.0 && exponentials[5] < 1.7e-38);
        }
    }
}
