//! Products of packed rows in f64: the innermost loops.
//!
//! Rows are packed in strips of [`STRIP`] rows, column by column: entry c of row r is at `c * STRIP + r`. A kernel
//! multiplies two strips with a third and adds to [`LEFT`] x [`STRIP`] sums: enough independent chains of
//! multiply-adds to hide their latency, and few enough for the registers.
//!
//! All kernels do the same operations in the same order for every pair of rows, so that they give the same bytes, on
//! any machine with fused multiply-adds, wherever the pair lies: products are summed column by column by fused
//! multiply-adds, beginning with 0, and the result is added to the pair's sum.

/// Rows that are interleaved.
pub(super) const STRIP: usize = 8;
/// Rows of the left-hand side that a kernel takes: two strips.
pub(super) const LEFT: usize = 2 * STRIP;

/// Sums of [`LEFT`] rows (the inner index) by [`STRIP`] rows.
pub(super) type Sums = [[f64; LEFT]; STRIP];

/// Whether fused multiply-adds are instructions wherever this is run, not function calls.
const FUSED: bool = cfg!(any(target_arch = "aarch64", target_feature = "fma"));

/// A way to multiply that this machine is capable of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kernel {
    /// 512-bit vectors.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// 256-bit vectors.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// No intrinsics; where fused multiply-adds would be function calls, it rounds products too.
    Portable,
}

impl Kernel {
    /// The fastest kernel here.
    pub(super) fn detect() -> Kernel {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") {
                return Kernel::Avx512;
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                return Kernel::Avx2;
            }
        }
        Kernel::Portable
    }

    /// Adds the products of two strips and a third. All hold the same columns: what is in some only, is left out.
    pub(super) fn multiply(self, left: [&[f64]; 2], right: &[f64], sums: &mut Sums) {
        let columns = left[0].len().min(left[1].len()).min(right.len()) / STRIP;
        let [a, b] = left.map(|strip| &strip[..columns * STRIP]);
        let right = &right[..columns * STRIP];
        match self {
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512 => x86::avx512(a, b, right, sums),
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2 => x86::avx2(a, b, right, sums),
            Kernel::Portable => portable::<FUSED>([a, b], right, sums),
        }
    }
}

impl Kernel {
    /// Entries of [`STRIP`] rows, [`STRIP`] columns of them, column by column.
    pub(super) fn transpose(self, rows: [&[f64; STRIP]; STRIP], out: &mut [f64; STRIP * STRIP]) {
        match self {
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512 => x86::transpose(rows, out),
            _ => transpose(rows, out),
        }
    }
}

/// The safe twin of the other.
fn transpose(rows: [&[f64; STRIP]; STRIP], out: &mut [f64; STRIP * STRIP]) {
    for (c, out) in out.chunks_exact_mut(STRIP).enumerate() {
        for (out, row) in out.iter_mut().zip(rows) {
            *out = row[c];
        }
    }
}

/// Asks for `values`, which will be needed soon: rows and tiles lie far apart, where no processor foresees the next.
pub(super) fn prefetch<T>(values: &[T]) {
    #[cfg(target_arch = "x86_64")]
    x86::prefetch(values);
    #[cfg(not(target_arch = "x86_64"))]
    let _ = values;
}

/// The safe twin of the others, if `FUSE`.
fn portable<const FUSE: bool>(left: [&[f64]; 2], right: &[f64], sums: &mut Sums) {
    /// Rows of the right-hand side whose sums fit the registers together.
    const PART: usize = 4;
    for (s, strip) in left.into_iter().enumerate() {
        for (p, sums) in sums.chunks_exact_mut(PART).enumerate() {
            let mut local = [[0.0; STRIP]; PART];
            for (x, y) in strip.chunks_exact(STRIP).zip(right.chunks_exact(STRIP)) {
                for (local, y) in local.iter_mut().zip(&y[p * PART..]) {
                    for (sum, x) in local.iter_mut().zip(x) {
                        *sum = if FUSE { x.mul_add(*y, *sum) } else { x * y + *sum };
                    }
                }
            }
            for (sums, local) in sums.iter_mut().zip(&local) {
                for (sum, local) in sums[s * STRIP..].iter_mut().zip(local) {
                    *sum += local;
                }
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    #![expect(unsafe_code, reason = "vector loads and stores by pointer")]

    use std::arch::x86_64::*;

    use super::{STRIP, Sums};

    /// See [`prefetch`](super::prefetch).
    pub(super) fn prefetch<T>(values: &[T]) {
        const LINE: usize = 64;
        let start = values.as_ptr().cast::<i8>();
        for at in (0..size_of_val(values)).step_by(LINE) {
            // SAFETY: the address lies within `values`; SSE is part of x86_64, and a prefetch changes nothing.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(start.add(at)) };
        }
    }

    /// The caller has seen the processor's `avx512f`.
    pub(super) fn transpose(rows: [&[f64; STRIP]; STRIP], out: &mut [f64; STRIP * STRIP]) {
        // SAFETY: `Kernel::Avx512` is made only after avx512f was detected.
        unsafe { transpose_8x8(rows, out) }
    }

    /// # Safety
    /// The processor has avx512f.
    #[target_feature(enable = "avx512f")]
    unsafe fn transpose_8x8(rows: [&[f64; STRIP]; STRIP], out: &mut [f64; STRIP * STRIP]) {
        // SAFETY: a row is 8 f64 long.
        let row = rows.map(|row| unsafe { _mm512_loadu_pd(row.as_ptr()) });
        // Of rows 2p and 2p + 1 the even columns side by side, and the odd ones.
        let even: [__m512d; 4] = std::array::from_fn(|p| _mm512_unpacklo_pd(row[2 * p], row[2 * p + 1]));
        let odd: [__m512d; 4] = std::array::from_fn(|p| _mm512_unpackhi_pd(row[2 * p], row[2 * p + 1]));
        let (out, _) = out.as_chunks_mut::<STRIP>();
        for (first, pairs) in [(0, even), (1, odd)] {
            let [a, b, c, d] = pairs;
            // Columns `first` and `first + 4`, then those two further on, of rows 0 to 3 and 4 to 7.
            let near = [
                _mm512_shuffle_f64x2::<0x88>(a, b),
                _mm512_shuffle_f64x2::<0x88>(c, d),
            ];
            let far = [
                _mm512_shuffle_f64x2::<0xdd>(a, b),
                _mm512_shuffle_f64x2::<0xdd>(c, d),
            ];
            for (column, value) in [
                (first, _mm512_shuffle_f64x2::<0x88>(near[0], near[1])),
                (first + 2, _mm512_shuffle_f64x2::<0x88>(far[0], far[1])),
                (first + 4, _mm512_shuffle_f64x2::<0xdd>(near[0], near[1])),
                (first + 6, _mm512_shuffle_f64x2::<0xdd>(far[0], far[1])),
            ] {
                // SAFETY: a column is 8 f64 long.
                unsafe { _mm512_storeu_pd(out[column].as_mut_ptr(), value) };
            }
        }
    }

    /// The caller has seen the processor's `avx512f`, and cut all strips to the same number of columns.
    pub(super) fn avx512(a: &[f64], b: &[f64], right: &[f64], sums: &mut Sums) {
        // Checked again here, as pointers run over them.
        assert!(a.len() == right.len() && b.len() == right.len() && a.len().is_multiple_of(STRIP));
        // SAFETY: `Kernel::Avx512` is made only after avx512f was detected; lengths were checked just now.
        unsafe { avx512_columns(a, b, right, sums) }
    }

    /// # Safety
    /// The processor has avx512f; strips are of equal length, a multiple of `STRIP`.
    #[target_feature(enable = "avx512f")]
    unsafe fn avx512_columns(a: &[f64], b: &[f64], right: &[f64], sums: &mut Sums) {
        let mut low = [_mm512_setzero_pd(); STRIP];
        let mut high = [_mm512_setzero_pd(); STRIP];
        let (a, b, right) = (a.as_ptr(), b.as_ptr(), right[..a.len()].as_ptr_range());
        let mut at = 0;
        let end = (right.end as usize - right.start as usize) / size_of::<f64>();
        while at < end {
            // SAFETY: a column of all three strips is at `at .. at + STRIP`, and `at + STRIP <= end`, their length.
            let (x, z) = unsafe { (_mm512_loadu_pd(a.add(at)), _mm512_loadu_pd(b.add(at))) };
            for j in 0..STRIP {
                // SAFETY: as above.
                let y = _mm512_set1_pd(unsafe { *right.start.add(at + j) });
                low[j] = _mm512_fmadd_pd(x, y, low[j]);
                high[j] = _mm512_fmadd_pd(z, y, high[j]);
            }
            at += STRIP;
        }
        for (j, sums) in sums.iter_mut().enumerate() {
            let (low_sums, high_sums) = sums.split_at_mut(STRIP);
            let (l, h) = (low_sums.as_mut_ptr(), high_sums.as_mut_ptr());
            // SAFETY: both are 8 f64 long.
            unsafe {
                _mm512_storeu_pd(l, _mm512_add_pd(_mm512_loadu_pd(l), low[j]));
                _mm512_storeu_pd(h, _mm512_add_pd(_mm512_loadu_pd(h), high[j]));
            }
        }
    }

    /// The caller has seen the processor's `avx2` and `fma`, and cut all strips to the same number of columns.
    pub(super) fn avx2(a: &[f64], b: &[f64], right: &[f64], sums: &mut Sums) {
        assert!(a.len() == right.len() && b.len() == right.len() && a.len().is_multiple_of(STRIP));
        for (s, strip) in [a, b].into_iter().enumerate() {
            for part in 0..STRIP / 4 {
                // SAFETY: `Kernel::Avx2` is made only after avx2 and fma were detected; lengths were checked just now;
                // `4 part + 4 <= STRIP`.
                unsafe { avx2_columns(strip, right, s, part, sums) }
            }
        }
    }

    /// Eight rows by four, so that sums fit sixteen registers.
    ///
    /// # Safety
    /// The processor has avx2 and fma; strips are of equal length, a multiple of `STRIP`; `s` and `part` are 0 or 1.
    #[target_feature(enable = "avx2,fma")]
    unsafe fn avx2_columns(strip: &[f64], right: &[f64], s: usize, part: usize, sums: &mut Sums) {
        let mut low = [_mm256_setzero_pd(); 4];
        let mut high = [_mm256_setzero_pd(); 4];
        for (x, y) in strip.chunks_exact(STRIP).zip(right.chunks_exact(STRIP)) {
            let (x, y) = (x.as_ptr(), y.as_ptr());
            // SAFETY: a column of a strip is 8 f64 long.
            let (l, h) = unsafe { (_mm256_loadu_pd(x), _mm256_loadu_pd(x.add(4))) };
            for j in 0..4 {
                // SAFETY: `4 part + j < STRIP`.
                let y = _mm256_set1_pd(unsafe { *y.add(4 * part + j) });
                low[j] = _mm256_fmadd_pd(l, y, low[j]);
                high[j] = _mm256_fmadd_pd(h, y, high[j]);
            }
        }
        for j in 0..4 {
            let sums = &mut sums[4 * part + j][s * STRIP..(s + 1) * STRIP];
            let (low_sums, high_sums) = sums.split_at_mut(4);
            let (l, h) = (low_sums.as_mut_ptr(), high_sums.as_mut_ptr());
            // SAFETY: both are 4 f64 long.
            unsafe {
                _mm256_storeu_pd(l, _mm256_add_pd(_mm256_loadu_pd(l), low[j]));
                _mm256_storeu_pd(h, _mm256_add_pd(_mm256_loadu_pd(h), high[j]));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strip(seed: u64, columns: usize) -> Vec<f64> {
        let mut state = seed;
        (0..columns * STRIP)
            .map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
            })
            .collect()
    }

    /// Those that fuse.
    fn kernels() -> Vec<Kernel> {
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
        if FUSED {
            all.push(Kernel::Portable);
        }
        all
    }

    #[test]
    fn every_kernel_gives_the_bytes_of_the_safe_one() {
        for columns in [0, 1, 37, 256] {
            let (a, b, right) = (strip(1, columns), strip(2, columns), strip(3, columns));
            let start: Sums = std::array::from_fn(|j| std::array::from_fn(|i| (i * 7 + j) as f64));
            let mut expected = start;
            portable::<true>([&a, &b], &right, &mut expected);
            for kernel in kernels() {
                let mut sums = start;
                kernel.multiply([&a, &b], &right, &mut sums);
                let bits = |s: &Sums| s.as_flattened().iter().map(|v| v.to_bits()).collect::<Vec<_>>();
                assert_eq!(bits(&sums), bits(&expected), "{kernel:?}, {columns} columns");
            }
        }
    }

    #[test]
    fn every_transpose_gives_what_the_safe_one_gives() {
        let values = strip(1, STRIP);
        let rows: [&[f64; STRIP]; STRIP] =
            std::array::from_fn(|r| values[r * STRIP..].first_chunk().unwrap());
        let mut expected = [0.0; STRIP * STRIP];
        transpose(rows, &mut expected);
        assert_eq!(expected[STRIP + 2], values[2 * STRIP + 1]);
        for kernel in kernels() {
            let mut out = [0.0; STRIP * STRIP];
            kernel.transpose(rows, &mut out);
            assert_eq!(out, expected, "{kernel:?}");
        }
    }

    #[test]
    fn sums_are_products() {
        let columns = 300;
        let (a, b, right) = (strip(1, columns), strip(2, columns), strip(3, columns));
        let (mut fused, mut plain) = ([[1.0; LEFT]; STRIP], [[1.0; LEFT]; STRIP]);
        portable::<true>([&a, &b], &right, &mut fused);
        portable::<false>([&a, &b], &right, &mut plain);
        for j in 0..STRIP {
            for i in 0..LEFT {
                let left = if i < STRIP { &a } else { &b };
                let exact: f64 = (0..columns)
                    .map(|c| left[c * STRIP + i % STRIP] * right[c * STRIP + j])
                    .sum();
                for sum in [fused[j][i], plain[j][i]] {
                    assert!((sum - 1.0 - exact).abs() < 1e-13, "{sum} {exact}");
                }
            }
        }
    }
}
