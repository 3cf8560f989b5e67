//! Vectors of f32 for each instruction set, and the choice of one when the program runs.
//!
//! A kernel is written once, over [`Simd`]; [`per_set!`] compiles it for every instruction set and
//! calls the one asked for. A value of an instruction set's type proves that the processor has it,
//! which is what makes its methods safe.
#![expect(
    unsafe_code,
    reason = "vector instructions, and calls of functions compiled for them"
)]

use std::fmt;
use std::str::FromStr;

use crate::error::BackbonesError;

/// Vector instructions that the kernels are written for.
///
/// Each gives results of its own in the last bits, the same ones every time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum InstructionSet {
    /// x86-64 with AVX-512 F, VL, DQ and BW: 16 numbers at a time.
    Avx512,
    /// x86-64 with AVX2 and FMA: 8 numbers at a time.
    Avx2,
    /// 64-bit ARM: 4 numbers at a time.
    Neon,
    /// Whatever the compiler makes of plain Rust.
    Scalar,
}

impl InstructionSet {
    /// All of them, the fastest first.
    pub const ALL: [InstructionSet; 4] = [
        InstructionSet::Avx512,
        InstructionSet::Avx2,
        InstructionSet::Neon,
        InstructionSet::Scalar,
    ];

    /// The name: "avx512", "avx2", "neon" or "scalar".
    pub fn name(self) -> &'static str {
        match self {
            InstructionSet::Avx512 => "avx512",
            InstructionSet::Avx2 => "avx2",
            InstructionSet::Neon => "neon",
            InstructionSet::Scalar => "scalar",
        }
    }

    /// Whether this processor has it.
    pub fn is_available(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx512 => {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512bw")
                    && InstructionSet::Avx2.is_available()
            }
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(target_arch = "aarch64")]
            InstructionSet::Neon => std::arch::is_aarch64_feature_detected!("neon"),
            InstructionSet::Scalar => true,
            #[allow(unreachable_patterns, reason = "those of other processors")]
            _ => false,
        }
    }

    /// The fastest that this processor has.
    pub fn best() -> InstructionSet {
        Self::ALL
            .into_iter()
            .find(|set| set.is_available())
            .unwrap_or(InstructionSet::Scalar)
    }
}

impl fmt::Display for InstructionSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for InstructionSet {
    type Err = BackbonesError;

    fn from_str(name: &str) -> Result<Self, BackbonesError> {
        Self::ALL
            .into_iter()
            .find(|set| set.name() == name)
            .ok_or_else(|| BackbonesError::UnknownInstructionSet {
                name: name.to_owned(),
                known: Self::ALL.map(Self::name).join(", "),
            })
    }
}

/// An instruction set that this processor was found to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Available(InstructionSet);

impl Available {
    pub(crate) fn new(set: InstructionSet) -> Result<Self, BackbonesError> {
        if set.is_available() {
            Ok(Available(set))
        } else {
            Err(BackbonesError::NoInstructionSet { set: set.name() })
        }
    }

    /// The fastest.
    pub(crate) fn best() -> Self {
        Available(InstructionSet::best())
    }

    pub(crate) fn set(self) -> InstructionSet {
        self.0
    }

    /// Numbers in a vector.
    pub(crate) fn lanes(self) -> usize {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx512 => Avx512::LANES,
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx2 => Avx2::LANES,
            _ => 4,
        }
    }

    /// Columns of a panel of a product's right-hand side: two vectors.
    pub(crate) fn panel(self) -> usize {
        2 * self.lanes()
    }
}

/// Vectors of one instruction set. A value exists only where the processor has it.
pub(crate) trait Simd: Copy {
    /// A vector.
    type V: Copy;
    /// Numbers in a vector.
    const LANES: usize;
    /// Rows of a product's tile: as many as registers hold with two vectors each.
    const ROWS: usize;

    fn splat(self, x: f32) -> Self::V;
    /// # Safety
    /// `LANES` numbers can be read from `from`, which need not be aligned.
    unsafe fn load(self, from: *const f32) -> Self::V;
    /// # Safety
    /// `LANES` numbers can be written to `to`, which need not be aligned.
    unsafe fn store(self, to: *mut f32, v: Self::V);
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a b + c`, rounded once where the processor can.
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `c - a b`, rounded once where the processor can.
    fn fnma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// The greater; `b` where it is NaN.
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// The less; `b` where it is NaN.
    fn min(self, a: Self::V, b: Self::V) -> Self::V;
    /// 2 to the power of `n`, whole numbers in -126 to 127.
    fn power_of_two(self, n: Self::V) -> Self::V;

    #[inline(always)]
    fn zero(self) -> Self::V {
        self.splat(0.0)
    }

    /// The vector's numbers; those beyond `LANES` are 0.
    #[inline(always)]
    fn to_array(self, v: Self::V) -> [f32; 16] {
        const { assert!(Self::LANES <= 16) };
        let mut numbers = [0.0; 16];
        // SAFETY: LANES is at most 16, as asserted.
        unsafe { self.store(numbers.as_mut_ptr(), v) };
        numbers
    }

    /// The sum of the vector's numbers, always in the same order.
    #[inline(always)]
    fn sum(self, v: Self::V) -> f32 {
        self.to_array(v)[..Self::LANES].iter().sum()
    }
}

/// Asks for the cache line at `at`, which need not be valid memory, into the second-level cache.
#[inline(always)]
pub(crate) fn prefetch(at: *const f32) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: a prefetch of an invalid address does nothing; every x86-64 processor has it.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

/// Asks for the cache line at `at`, which need not be valid memory, into the first-level cache.
#[inline(always)]
pub(crate) fn prefetch_near(at: *const f32) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch of an invalid address does nothing; every x86-64 processor has it.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

/// A vector type whose operations are each one function.
macro_rules! vectors {
    ($(#[$doc:meta])* $name:ident, $v:ty, lanes $lanes:literal, rows $rows:literal,
     $splat:path, $load:path, $store:path, $add:path, $sub:path, $mul:path, $div:path,
     $fma:path, $fnma:path, $max:path, $min:path, $power:path) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy)]
        pub(crate) struct $name(());

        impl $name {
            /// # Safety
            /// The processor has the instructions.
            #[inline(always)]
            pub(crate) unsafe fn new() -> Self {
                $name(())
            }
        }

        // SAFETY (of all): `self` proves that the processor has the instructions, and the caller of
        // `load` and `store` vouches for the memory.
        #[allow(unused_unsafe, reason = "some of the functions are safe")]
        impl Simd for $name {
            type V = $v;
            const LANES: usize = $lanes;
            const ROWS: usize = $rows;

            #[inline(always)]
            fn splat(self, x: f32) -> $v { unsafe { $splat(x) } }
            #[inline(always)]
            unsafe fn load(self, from: *const f32) -> $v { unsafe { $load(from) } }
            #[inline(always)]
            unsafe fn store(self, to: *mut f32, v: $v) { unsafe { $store(to, v) } }
            #[inline(always)]
            fn add(self, a: $v, b: $v) -> $v { unsafe { $add(a, b) } }
            #[inline(always)]
            fn sub(self, a: $v, b: $v) -> $v { unsafe { $sub(a, b) } }
            #[inline(always)]
            fn mul(self, a: $v, b: $v) -> $v { unsafe { $mul(a, b) } }
            #[inline(always)]
            fn div(self, a: $v, b: $v) -> $v { unsafe { $div(a, b) } }
            #[inline(always)]
            fn fma(self, a: $v, b: $v, c: $v) -> $v { unsafe { $fma(a, b, c) } }
            #[inline(always)]
            fn fnma(self, a: $v, b: $v, c: $v) -> $v { unsafe { $fnma(a, b, c) } }
            #[inline(always)]
            fn max(self, a: $v, b: $v) -> $v { unsafe { $max(a, b) } }
            #[inline(always)]
            fn min(self, a: $v, b: $v) -> $v { unsafe { $min(a, b) } }
            #[inline(always)]
            fn power_of_two(self, n: $v) -> $v { unsafe { $power(n) } }
        }
    };
}

#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Simd;
    use std::arch::x86_64::*;

    #[inline(always)]
    unsafe fn power_512(n: __m512) -> __m512 {
        // SAFETY: called where AVX-512 F is there.
        unsafe { _mm512_scalef_ps(_mm512_set1_ps(1.0), n) }
    }

    #[inline(always)]
    unsafe fn power_256(n: __m256) -> __m256 {
        // SAFETY: called where AVX2 is there.
        unsafe {
            let exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
            _mm256_castsi256_ps(_mm256_slli_epi32::<23>(exponent))
        }
    }

    vectors!(
        /// 512-bit vectors. 14 rows of two vectors, two of the right-hand side and one broadcast fill
        /// 31 of 32 registers.
        Avx512, __m512, lanes 16, rows 14,
        _mm512_set1_ps, _mm512_loadu_ps, _mm512_storeu_ps, _mm512_add_ps, _mm512_sub_ps, _mm512_mul_ps,
        _mm512_div_ps, _mm512_fmadd_ps, _mm512_fnmadd_ps, _mm512_max_ps, _mm512_min_ps, power_512
    );
    vectors!(
        /// 256-bit vectors. 6 rows of two vectors, two of the right-hand side and one broadcast fill 15
        /// of 16 registers.
        Avx2, __m256, lanes 8, rows 6,
        _mm256_set1_ps, _mm256_loadu_ps, _mm256_storeu_ps, _mm256_add_ps, _mm256_sub_ps, _mm256_mul_ps,
        _mm256_div_ps, _mm256_fmadd_ps, _mm256_fnmadd_ps, _mm256_max_ps, _mm256_min_ps, power_256
    );
}

#[cfg(target_arch = "aarch64")]
pub(crate) use arm::Neon;

#[cfg(target_arch = "aarch64")]
mod arm {
    use super::Simd;
    use std::arch::aarch64::*;

    // SAFETY (of all): called where NEON is there.
    #[inline(always)]
    unsafe fn fma(a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        unsafe { vfmaq_f32(c, a, b) }
    }
    #[inline(always)]
    unsafe fn fnma(a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        unsafe { vfmsq_f32(c, a, b) }
    }
    #[inline(always)]
    unsafe fn power(n: float32x4_t) -> float32x4_t {
        unsafe {
            let exponent = vaddq_s32(vcvtnq_s32_f32(n), vdupq_n_s32(127));
            vreinterpretq_f32_s32(vshlq_n_s32::<23>(exponent))
        }
    }

    vectors!(
        /// 128-bit vectors. 14 rows of two vectors, two of the right-hand side and one broadcast fill
        /// 31 of 32 registers.
        Neon, float32x4_t, lanes 4, rows 14,
        vdupq_n_f32, vld1q_f32, vst1q_f32, vaddq_f32, vsubq_f32, vmulq_f32, vdivq_f32, fma, fnma,
        vmaxq_f32, vminq_f32, power
    );
}

/// Four numbers in plain Rust, which compilers turn into vectors where every processor of the kind has
/// them. Products and sums are rounded each.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scalar;

type Four = [f32; 4];

#[inline(always)]
fn zip(a: Four, b: Four, f: impl Fn(f32, f32) -> f32) -> Four {
    [f(a[0], b[0]), f(a[1], b[1]), f(a[2], b[2]), f(a[3], b[3])]
}

impl Simd for Scalar {
    type V = Four;
    const LANES: usize = 4;
    const ROWS: usize = 4;

    #[inline(always)]
    fn splat(self, x: f32) -> Four {
        [x; 4]
    }
    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> Four {
        // SAFETY: the caller's.
        unsafe { from.cast::<Four>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32, v: Four) {
        // SAFETY: the caller's.
        unsafe { to.cast::<Four>().write_unaligned(v) }
    }
    #[inline(always)]
    fn add(self, a: Four, b: Four) -> Four {
        zip(a, b, |a, b| a + b)
    }
    #[inline(always)]
    fn sub(self, a: Four, b: Four) -> Four {
        zip(a, b, |a, b| a - b)
    }
    #[inline(always)]
    fn mul(self, a: Four, b: Four) -> Four {
        zip(a, b, |a, b| a * b)
    }
    #[inline(always)]
    fn div(self, a: Four, b: Four) -> Four {
        zip(a, b, |a, b| a / b)
    }
    #[inline(always)]
    fn fma(self, a: Four, b: Four, c: Four) -> Four {
        self.add(self.mul(a, b), c)
    }
    #[inline(always)]
    fn fnma(self, a: Four, b: Four, c: Four) -> Four {
        self.sub(c, self.mul(a, b))
    }
    #[inline(always)]
    fn max(self, a: Four, b: Four) -> Four {
        zip(a, b, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    fn min(self, a: Four, b: Four) -> Four {
        zip(a, b, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    fn power_of_two(self, n: Four) -> Four {
        n.map(|n| f32::from_bits(((n as i32 + 127) as u32) << 23))
    }
}

/// Defines a function that runs `$generic` compiled for the instruction set `set`.
macro_rules! per_set {
    ($(#[$doc:meta])* unsafe fn $name:ident($($arg:ident: $ty:ty),* $(,)?) = $generic:ident) => {
        $(#[$doc])*
        ///
        /// # Safety
        /// As for the generic function.
        #[allow(clippy::too_many_arguments, reason = "a kernel's")]
        pub(crate) unsafe fn $name(set: $crate::simd::Available, $($arg: $ty),*) {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx2,fma")]
            #[allow(clippy::too_many_arguments, reason = "a kernel's")]
            unsafe fn avx512($($arg: $ty),*) {
                // SAFETY: this is called where the instructions are there; the rest is the caller's.
                unsafe { $generic($crate::simd::Avx512::new(), $($arg),*) }
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            #[allow(clippy::too_many_arguments, reason = "a kernel's")]
            unsafe fn avx2($($arg: $ty),*) {
                // SAFETY: this is called where the instructions are there; the rest is the caller's.
                unsafe { $generic($crate::simd::Avx2::new(), $($arg),*) }
            }
            #[cfg(target_arch = "aarch64")]
            #[target_feature(enable = "neon")]
            #[allow(clippy::too_many_arguments, reason = "a kernel's")]
            unsafe fn neon($($arg: $ty),*) {
                // SAFETY: this is called where the instructions are there; the rest is the caller's.
                unsafe { $generic($crate::simd::Neon::new(), $($arg),*) }
            }
            // SAFETY: `set` was found to be available; the rest is the caller's.
            unsafe {
                match set.set() {
                    #[cfg(target_arch = "x86_64")]
                    $crate::simd::InstructionSet::Avx512 => avx512($($arg),*),
                    #[cfg(target_arch = "x86_64")]
                    $crate::simd::InstructionSet::Avx2 => avx2($($arg),*),
                    #[cfg(target_arch = "aarch64")]
                    $crate::simd::InstructionSet::Neon => neon($($arg),*),
                    _ => $generic($crate::simd::Scalar, $($arg),*),
                }
            }
        }
    };
}
pub(crate) use per_set;

/// Those that this processor has, for tests.
#[cfg(test)]
pub(crate) fn available() -> Vec<Available> {
    InstructionSet::ALL
        .into_iter()
        .filter_map(|set| Available::new(set).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for set in InstructionSet::ALL {
            assert_eq!(set.to_string().parse::<InstructionSet>().unwrap(), set);
        }
        assert!("sse".parse::<InstructionSet>().is_err());
        assert!(InstructionSet::best().is_available());
        assert!(InstructionSet::Scalar.is_available());
        let foreign = if cfg!(target_arch = "x86_64") {
            InstructionSet::Neon
        } else {
            InstructionSet::Avx2
        };
        assert!(Available::new(foreign).is_err());
    }
}
