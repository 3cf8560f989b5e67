//! Products of packed rows in f64: the innermost loops.
//!
//! Rows are packed in strips of [`STRIP`] rows, column by column: entry c of row r is at `c * STRIP + r`. A kernel
//! multiplies two strips, or one, with another and adds to a block of sums for each: two are as many sums as fit the
//! registers, and either are independent chains of multiply-adds enough to hide their latency.
//!
//! All kernels do the same operations in the same order for every pair of rows, so that they give the same bytes, on
//! any machine with fused multiply-adds, wherever the pair lies: products are summed column by column by fused
//! multiply-adds, beginning with 0, and the result is added to the pair's sum.

/// Rows that are interleaved.
pub(super) const STRIP: usize = 8;

/// Sums of the rows of a strip on the left-hand side (the inner index) by those of the one on the right-hand side.
pub(super) type Block = [[f64; STRIP]; STRIP];

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

    /// Adds the products of one or two strips with another to a block each. All hold the same columns: what is in some
    /// only, is left out.
    pub(super) fn multiply<const N: usize>(self, left: [&[f64]; N], right: &[f64], blocks: &mut [Block; N]) {
        let columns = left
            .iter()
            .fold(right.len(), |least, strip| least.min(strip.len()))
            / STRIP;
        let left = left.map(|strip| &strip[..columns * STRIP]);
        let right = &right[..columns * STRIP];
        match self {
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512 => x86::avx512(left, right, blocks),
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2 => x86::avx2(left, right, blocks),
            Kernel::Portable => portable::<FUSED>(&left, right, blocks),
        }
    }
}

/// The safe twin of the others, if `FUSE`.
fn portable<const FUSE: bool>(left: &[&[f64]], right: &[f64], blocks: &mut [Block]) {
    /// Rows of the right-hand side whose sums fit the registers together.
    const PART: usize = 4;
    for (strip, block) in left.iter().zip(blocks) {
        for (p, sums) in block.chunks_exact_mut(PART).enumerate() {
            let mut local = [[0.0; STRIP]; PART];
            for (x, y) in strip.chunks_exact(STRIP).zip(right.chunks_exact(STRIP)) {
                for (local, y) in local.iter_mut().zip(&y[p * PART..]) {
                    for (sum, x) in local.iter_mut().zip(x) {
                        *sum = if FUSE { x.mul_add(*y, *sum) } else { x * y + *sum };
                    }
                }
            }
            for (sum, local) in sums.as_flattened_mut().iter_mut().zip(local.as_flattened()) {
                *sum += local;
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    #![expect(unsafe_code, reason = "vector loads and stores by pointer")]

    use std::arch::x86_64::*;

    use super::{Block, STRIP};

    /// Whether pointers may run over all strips together.
    fn are_alike(left: &[&[f64]], right: &[f64]) -> bool {
        right.len().is_multiple_of(STRIP) && left.iter().all(|strip| strip.len() == right.len())
    }

    /// The caller has seen the processor's `avx512f`, and cut all strips to the same number of columns.
    pub(super) fn avx512<const N: usize>(left: [&[f64]; N], right: &[f64], blocks: &mut [Block; N]) {
        // Checked again here, as pointers run over them.
        assert!(are_alike(&left, right));
        // SAFETY: `Kernel::Avx512` is made only after avx512f was detected; lengths were checked just now.
        unsafe { avx512_columns(left, right, blocks) }
    }

    /// # Safety
    /// The processor has avx512f; strips are of equal length, a multiple of `STRIP`.
    #[target_feature(enable = "avx512f")]
    unsafe fn avx512_columns<const N: usize>(left: [&[f64]; N], right: &[f64], blocks: &mut [Block; N]) {
        let mut sums = [[_mm512_setzero_pd(); STRIP]; N];
        let (end, right) = (right.len(), right.as_ptr());
        let left = left.map(|strip| strip.as_ptr());
        let mut at = 0;
        while at < end {
            // SAFETY: a column of every strip is at `at .. at + STRIP`, and `at + STRIP <= end`, their length.
            let x = left.map(|strip| unsafe { _mm512_loadu_pd(strip.add(at)) });
            for j in 0..STRIP {
                // SAFETY: as above.
                let y = _mm512_set1_pd(unsafe { *right.add(at + j) });
                for (sums, x) in sums.iter_mut().zip(x) {
                    sums[j] = _mm512_fmadd_pd(x, y, sums[j]);
                }
            }
            at += STRIP;
        }
        for (block, sums) in blocks.iter_mut().zip(sums) {
            for (out, sum) in block.iter_mut().zip(sums) {
                let out = out.as_mut_ptr();
                // SAFETY: it is 8 f64 long.
                unsafe { _mm512_storeu_pd(out, _mm512_add_pd(_mm512_loadu_pd(out), sum)) };
            }
        }
    }

    /// The caller has seen the processor's `avx2` and `fma`, and cut all strips to the same number of columns.
    pub(super) fn avx2<const N: usize>(left: [&[f64]; N], right: &[f64], blocks: &mut [Block; N]) {
        assert!(are_alike(&left, right));
        for (strip, block) in left.into_iter().zip(blocks) {
            for part in 0..STRIP / 4 {
                // SAFETY: `Kernel::Avx2` is made only after avx2 and fma were detected; lengths were checked just now;
                // `4 part + 4 <= STRIP`.
                unsafe { avx2_columns(strip, right, part, block) }
            }
        }
    }

    /// Eight rows by four, so that sums fit sixteen registers.
    ///
    /// # Safety
    /// The processor has avx2 and fma; strips are of equal length, a multiple of `STRIP`; `part` is 0 or 1.
    #[target_feature(enable = "avx2,fma")]
    unsafe fn avx2_columns(strip: &[f64], right: &[f64], part: usize, block: &mut Block) {
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
            let (low_sums, high_sums) = block[4 * part + j].split_at_mut(4);
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

    /// Blocks of two strips, not zero.
    fn start() -> [Block; 2] {
        std::array::from_fn(|s| std::array::from_fn(|j| std::array::from_fn(|i| (s * 5 + i * 7 + j) as f64)))
    }

    fn bits(blocks: &[Block]) -> Vec<u64> {
        blocks
            .as_flattened()
            .as_flattened()
            .iter()
            .map(|v| v.to_bits())
            .collect()
    }

    #[test]
    fn every_kernel_gives_the_bytes_of_the_safe_one() {
        for columns in [0, 1, 37, 256] {
            let (a, b, right) = (strip(1, columns), strip(2, columns), strip(3, columns));
            let mut expected = start();
            portable::<true>(&[&a, &b], &right, &mut expected);
            for kernel in kernels() {
                let mut both = start();
                kernel.multiply([&a, &b], &right, &mut both);
                assert_eq!(bits(&both), bits(&expected), "{kernel:?}, {columns} columns");
                let [mut first, mut second] = start().map(|block| [block]);
                kernel.multiply([&a], &right, &mut first);
                kernel.multiply([&b], &right, &mut second);
                let alone = [first, second].concat();
                assert_eq!(
                    bits(&alone),
                    bits(&expected),
                    "{kernel:?}, {columns} columns, one strip"
                );
            }
        }
    }

    #[test]
    fn sums_are_products() {
        let columns = 300;
        let (a, b, right) = (strip(1, columns), strip(2, columns), strip(3, columns));
        let (mut fused, mut plain) = (start(), start());
        portable::<true>(&[&a, &b], &right, &mut fused);
        portable::<false>(&[&a, &b], &right, &mut plain);
        for (s, left) in [a, b].iter().enumerate() {
            for j in 0..STRIP {
                for i in 0..STRIP {
                    let exact: f64 = (0..columns)
                        .map(|c| left[c * STRIP + i] * right[c * STRIP + j])
                        .sum();
                    for sum in [fused[s][j][i], plain[s][j][i]] {
                        assert!((sum - start()[s][j][i] - exact).abs() < 1e-13, "{sum} {exact}");
                    }
                }
            }
        }
    }
}
