//! Products of rows in f32 with sums in f64: the innermost loops.
//!
//! Rows are packed in strips of [`STRIP`] rows, column by column: entry c of row r is at `c * STRIP + r`. A kernel
//! multiplies one strip with half of another, [`HALF`] rows, and adds to [`STRIP`] x [`HALF`] sums.
//!
//! All kernels do the same operations in the same order for every pair of rows, so that they give the same bytes, on
//! any machine, wherever the pair lies: of every [`GROUP`] columns the even ones are summed in f32 by fused
//! multiply-adds, so are the odd ones, the two sums are added in f32, and the result is added in f64 to the pair's
//! sum. With chains of eight, rounding errors in a group are those of about 5.5 roundings of a product (7.5 with the
//! two of the factors), which is what [`super::pack`] reckons with; chains of sixteen would have 8.5. Longer groups
//! would cost less time (a group of 32 is 5 % faster) and more digits.

/// Rows that are interleaved.
pub(super) const STRIP: usize = 16;
/// Rows of the right-hand side that a kernel takes.
pub(super) const HALF: usize = 8;
/// Columns that are summed in f32.
pub(super) const GROUP: usize = 16;

/// Sums of [`STRIP`] rows (the inner index) by [`HALF`] rows.
pub(super) type Sums = [[f64; STRIP]; HALF];

/// A way to multiply that this machine is capable of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kernel {
    /// 512-bit vectors.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// 256-bit vectors.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// No intrinsics: fast where fused multiply-adds are part of every processor, as on AArch64.
    Portable,
}

impl Kernel {
    /// The fastest kernel here; `None` where fused multiply-adds would be function calls.
    pub(super) fn detect() -> Option<Kernel> {
        Kernel::all().first().copied()
    }

    /// All kernels that are worth while here, the fastest first.
    pub(super) fn all() -> Vec<Kernel> {
        let mut all = vec![];
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") {
                all.push(Kernel::Avx512);
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                all.push(Kernel::Avx2);
            }
        }
        if cfg!(any(target_arch = "aarch64", target_feature = "fma")) {
            all.push(Kernel::Portable);
        }
        all
    }

    /// Adds the products of a strip and of one half (0 or 1) of another. Both hold the same columns, a multiple of
    /// [`GROUP`]; what is beyond the last whole group, or in one strip only, is left out.
    pub(super) fn multiply(self, a: &[f32], b: &[f32], half: usize, sums: &mut Sums) {
        let groups = (a.len().min(b.len())) / (STRIP * GROUP);
        if groups == 0 {
            return;
        }
        let half = half.min(STRIP / HALF - 1);
        let (a, b) = (&a[..groups * STRIP * GROUP], &b[..groups * STRIP * GROUP]);
        match self {
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512 => x86::avx512(a, b, half, sums),
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2 => x86::avx2(a, b, half, sums),
            Kernel::Portable => portable(a, b, half, sums),
        }
    }
}

/// The safe twin of the others.
pub(super) fn portable(a: &[f32], b: &[f32], half: usize, sums: &mut Sums) {
    let mut local: Sums = [[0.0; STRIP]; HALF];
    for (a, b) in a.chunks_exact(STRIP * GROUP).zip(b.chunks_exact(STRIP * GROUP)) {
        let mut chains = [[[0.0f32; STRIP]; HALF]; 2];
        for (c, (a, b)) in a.chunks_exact(STRIP).zip(b.chunks_exact(STRIP)).enumerate() {
            let b = &b[half * HALF..(half + 1) * HALF];
            for (chain, y) in chains[c % 2].iter_mut().zip(b) {
                for (sum, x) in chain.iter_mut().zip(a) {
                    *sum = if c < 2 { x * y } else { x.mul_add(*y, *sum) };
                }
            }
        }
        let [even, odd] = chains;
        for (local, (even, odd)) in local.iter_mut().zip(even.iter().zip(&odd)) {
            for (local, (even, odd)) in local.iter_mut().zip(even.iter().zip(odd)) {
                *local += f64::from(even + odd);
            }
        }
    }
    for (sums, local) in sums.as_flattened_mut().iter_mut().zip(local.as_flattened()) {
        *sums += local;
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    #![expect(unsafe_code, reason = "vector loads and stores by pointer")]

    use std::arch::x86_64::*;

    use super::{GROUP, HALF, STRIP, Sums};

    /// The caller has seen the processor's `avx512f`, and cut both strips to the same number of whole groups.
    pub(super) fn avx512(a: &[f32], b: &[f32], half: usize, sums: &mut Sums) {
        // SAFETY: `Kernel::Avx512` is made by `Kernel::all` only, after it detected avx512f. Lengths and `half` are
        // checked again here, as pointers run over them.
        assert!(a.len() == b.len() && a.len().is_multiple_of(STRIP * GROUP) && half < STRIP / HALF);
        unsafe { avx512_groups(a, b, half, sums) }
    }

    /// # Safety
    /// The processor has avx512f; strips are of equal length, a multiple of `STRIP * GROUP`; `half` is 0 or 1.
    #[target_feature(enable = "avx512f")]
    unsafe fn avx512_groups(a: &[f32], b: &[f32], half: usize, sums: &mut Sums) {
        let mut low = [_mm512_setzero_pd(); HALF];
        let mut high = [_mm512_setzero_pd(); HALF];
        let groups = a.len() / (STRIP * GROUP);
        let (mut a, mut b) = (a.as_ptr(), b[half * HALF..].as_ptr());
        for _ in 0..groups {
            // One array for each chain: with an index the compiler would keep them in memory.
            let mut even = [_mm512_setzero_ps(); HALF];
            let mut odd = [_mm512_setzero_ps(); HALF];
            for c in 0..GROUP / 2 {
                // SAFETY: columns 2c and 2c + 1 of a group are at `2 * c * STRIP .. 2 * (c + 1) * STRIP`, and the group
                // lies in the strip.
                let (x, y) = unsafe { (a.add(2 * c * STRIP), b.add(2 * c * STRIP)) };
                // SAFETY: so do 16 f32 from there, and the next 16.
                let (x_even, x_odd) = unsafe { (_mm512_loadu_ps(x), _mm512_loadu_ps(x.add(STRIP))) };
                for (j, even) in even.iter_mut().enumerate() {
                    // SAFETY: row `half * HALF + j` < STRIP of those columns.
                    let y_even = _mm512_set1_ps(unsafe { *y.add(j) });
                    *even = if c == 0 {
                        _mm512_mul_ps(x_even, y_even)
                    } else {
                        _mm512_fmadd_ps(x_even, y_even, *even)
                    };
                }
                for (j, odd) in odd.iter_mut().enumerate() {
                    // SAFETY: as above.
                    let y_odd = _mm512_set1_ps(unsafe { *y.add(STRIP + j) });
                    *odd = if c == 0 {
                        _mm512_mul_ps(x_odd, y_odd)
                    } else {
                        _mm512_fmadd_ps(x_odd, y_odd, *odd)
                    };
                }
            }
            for j in 0..HALF {
                let sum = _mm512_add_ps(even[j], odd[j]);
                let upper = _mm256_castpd_ps(_mm512_extractf64x4_pd::<1>(_mm512_castps_pd(sum)));
                low[j] = _mm512_add_pd(low[j], _mm512_cvtps_pd(_mm512_castps512_ps256(sum)));
                high[j] = _mm512_add_pd(high[j], _mm512_cvtps_pd(upper));
            }
            // Wrapping, as `b` ends beyond the strip by `half * HALF`, where it is not read any more.
            (a, b) = (a.wrapping_add(STRIP * GROUP), b.wrapping_add(STRIP * GROUP));
        }
        for (j, sums) in sums.iter_mut().enumerate() {
            let (low_sums, high_sums) = sums.split_at_mut(STRIP / 2);
            // SAFETY: both are 8 f64 long.
            unsafe {
                let (l, h) = (low_sums.as_mut_ptr(), high_sums.as_mut_ptr());
                _mm512_storeu_pd(l, _mm512_add_pd(_mm512_loadu_pd(l), low[j]));
                _mm512_storeu_pd(h, _mm512_add_pd(_mm512_loadu_pd(h), high[j]));
            }
        }
    }

    /// The caller has seen the processor's `avx2` and `fma`, and cut both strips to the same number of whole groups.
    pub(super) fn avx2(a: &[f32], b: &[f32], half: usize, sums: &mut Sums) {
        assert!(a.len() == b.len() && a.len().is_multiple_of(STRIP * GROUP) && half < STRIP / HALF);
        for rows in 0..STRIP / 8 {
            for columns in 0..HALF / 4 {
                // SAFETY: `Kernel::Avx2` is made by `Kernel::all` only, after it detected avx2 and fma; lengths and
                // `half` were checked just now; 8 `rows` + 8 <= STRIP and 4 `columns` + 4 <= HALF.
                unsafe { avx2_groups(a, b, half, rows, columns, sums) }
            }
        }
    }

    /// Eight rows by four, so that sums and chains fit sixteen registers.
    ///
    /// # Safety
    /// The processor has avx2 and fma; strips are of equal length, a multiple of `STRIP * GROUP`; `half` and `rows` are
    /// 0 or 1, `columns` is 0 or 1.
    #[target_feature(enable = "avx2,fma")]
    unsafe fn avx2_groups(a: &[f32], b: &[f32], half: usize, rows: usize, columns: usize, sums: &mut Sums) {
        let mut low = [_mm256_setzero_pd(); 4];
        let mut high = [_mm256_setzero_pd(); 4];
        for (a, b) in a.chunks_exact(STRIP * GROUP).zip(b.chunks_exact(STRIP * GROUP)) {
            let (a, b) = (a[rows * 8..].as_ptr(), b[half * HALF + columns * 4..].as_ptr());
            for pair in 0..2 {
                let mut even = [_mm256_setzero_ps(); 2];
                let mut odd = [_mm256_setzero_ps(); 2];
                for c in 0..GROUP / 2 {
                    // SAFETY: rows `8 rows .. 8 rows + 8` of columns 2c and 2c + 1 of this group, and rows
                    // `half * HALF + 4 columns + 2 pair ..` of the right-hand side.
                    let (x, y) = unsafe { (a.add(2 * c * STRIP), b.add(2 * c * STRIP + 2 * pair)) };
                    // SAFETY: eight rows of each of those columns.
                    let (x_even, x_odd) = unsafe { (_mm256_loadu_ps(x), _mm256_loadu_ps(x.add(STRIP))) };
                    for j in 0..2 {
                        // SAFETY: `4 columns + 2 pair + j < HALF`.
                        let (y_even, y_odd) =
                            unsafe { (_mm256_set1_ps(*y.add(j)), _mm256_set1_ps(*y.add(STRIP + j))) };
                        (even[j], odd[j]) = if c == 0 {
                            (_mm256_mul_ps(x_even, y_even), _mm256_mul_ps(x_odd, y_odd))
                        } else {
                            (
                                _mm256_fmadd_ps(x_even, y_even, even[j]),
                                _mm256_fmadd_ps(x_odd, y_odd, odd[j]),
                            )
                        };
                    }
                }
                for j in 0..2 {
                    let sum = _mm256_add_ps(even[j], odd[j]);
                    let (l, h) = (_mm256_castps256_ps128(sum), _mm256_extractf128_ps::<1>(sum));
                    low[2 * pair + j] = _mm256_add_pd(low[2 * pair + j], _mm256_cvtps_pd(l));
                    high[2 * pair + j] = _mm256_add_pd(high[2 * pair + j], _mm256_cvtps_pd(h));
                }
            }
        }
        for j in 0..4 {
            let part = &mut sums[columns * 4 + j][rows * 8..rows * 8 + 8];
            let (low_sums, high_sums) = part.split_at_mut(4);
            // SAFETY: both are 4 f64 long.
            unsafe {
                let (l, h) = (low_sums.as_mut_ptr(), high_sums.as_mut_ptr());
                _mm256_storeu_pd(l, _mm256_add_pd(_mm256_loadu_pd(l), low[j]));
                _mm256_storeu_pd(h, _mm256_add_pd(_mm256_loadu_pd(h), high[j]));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strip(seed: u32, columns: usize) -> Vec<f32> {
        let mut state = seed;
        (0..columns * STRIP)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 8) as f32 / (1 << 23) as f32 - 1.0
            })
            .collect()
    }

    #[test]
    fn every_kernel_gives_the_bytes_of_the_safe_one() {
        for columns in [0, GROUP, 3 * GROUP, 32 * GROUP] {
            let (a, b) = (strip(1, columns), strip(2, columns));
            for half in 0..2 {
                let start: Sums = std::array::from_fn(|j| std::array::from_fn(|i| (i * 7 + j) as f64));
                let mut expected = start;
                portable(&a, &b, half, &mut expected);
                for kernel in Kernel::all() {
                    let mut sums = start;
                    kernel.multiply(&a, &b, half, &mut sums);
                    let bits = |s: &Sums| s.as_flattened().iter().map(|v| v.to_bits()).collect::<Vec<_>>();
                    assert_eq!(
                        bits(&sums),
                        bits(&expected),
                        "{kernel:?}, {columns} columns, half {half}"
                    );
                }
            }
        }
    }

    #[test]
    fn sums_are_products() {
        let columns = 64 * GROUP;
        let (a, b) = (strip(3, columns), strip(4, columns));
        for half in 0..2 {
            let mut sums: Sums = [[0.0; STRIP]; HALF];
            portable(&a, &b, half, &mut sums);
            for (j, sums) in sums.iter().enumerate() {
                for (i, sum) in sums.iter().enumerate() {
                    let at = |s: &[f32], r: usize, c: usize| f64::from(s[c * STRIP + r]);
                    let exact: f64 = (0..columns)
                        .map(|c| at(&a, i, c) * at(&b, half * HALF + j, c))
                        .sum();
                    // Entries are of variance 1/3: 2.74 * 2^-25 * sqrt(1024) / 3 is 9e-7; six times that.
                    assert!((sum - exact).abs() < 6e-6, "{sum} {exact}");
                }
            }
        }
    }
}
