//! PyTorch's CPU generator: MT19937 (Matsumoto and Nishimura, "Mersenne Twister", 1998).

const STATE: usize = 624;
const MIDDLE: usize = 397;

/// MT19937, 32 bits at a time.
pub(crate) struct MersenneTwister {
    state: [u32; STATE],
    next: usize,
}

impl MersenneTwister {
    /// As PyTorch's `manual_seed`: only the low 32 bits of the seed count.
    pub(crate) fn new(seed: u64) -> Self {
        let mut state = [0_u32; STATE];
        state[0] = (seed & 0xffff_ffff) as u32;
        for i in 1..STATE {
            let last = state[i - 1];
            state[i] = 1_812_433_253_u32
                .wrapping_mul(last ^ (last >> 30))
                .wrapping_add(i as u32);
        }
        MersenneTwister { state, next: STATE }
    }

    fn refill(&mut self) {
        let twist = |high: u32, low: u32| {
            let y = (high & 0x8000_0000) | (low & 0x7fff_ffff);
            (y >> 1) ^ ((y & 1).wrapping_neg() & 0x9908_b0df)
        };
        let state = &mut self.state;
        for i in 0..STATE - MIDDLE {
            state[i] = state[i + MIDDLE] ^ twist(state[i], state[i + 1]);
        }
        for i in STATE - MIDDLE..STATE - 1 {
            state[i] = state[i + MIDDLE - STATE] ^ twist(state[i], state[i + 1]);
        }
        state[STATE - 1] = state[MIDDLE - 1] ^ twist(state[STATE - 1], state[0]);
        self.next = 0;
    }

    fn temper(mut y: u32) -> u32 {
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    #[cfg(test)]
    pub(crate) fn draw(&mut self) -> u32 {
        if self.next == STATE {
            self.refill();
        }
        self.next += 1;
        Self::temper(self.state[self.next - 1])
    }

    /// Passes over so many numbers.
    pub(crate) fn skip(&mut self, draws: usize) {
        let mut left = draws;
        while left > 0 {
            if self.next == STATE {
                self.refill();
            }
            let step = left.min(STATE - self.next);
            self.next += step;
            left -= step;
        }
    }

    /// Fills `values` with 24 random bits each, in 0 (included) to 1 (not).
    pub(crate) fn uniform(&mut self, mut values: &mut [f32]) {
        while !values.is_empty() {
            if self.next == STATE {
                self.refill();
            }
            let count = values.len().min(STATE - self.next);
            let (now, later) = values.split_at_mut(count);
            for (value, y) in now.iter_mut().zip(&self.state[self.next..]) {
                *value = (Self::temper(*y) & 0x00ff_ffff) as f32 * (1.0 / 16_777_216.0);
            }
            self.next += count;
            values = later;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The reference implementation's first and ten-thousandth outputs (also C++'s standard).
    #[test]
    fn is_mt19937() {
        let mut generator = MersenneTwister::new(5489);
        assert_eq!(generator.draw(), 3_499_211_612);
        generator.skip(9998);
        assert_eq!(generator.draw(), 4_123_659_995);
    }

    #[test]
    fn filling_is_drawing() {
        let (mut one, mut many) = (MersenneTwister::new(7), MersenneTwister::new(7));
        let mut values = vec![0.0; 2000];
        many.uniform(&mut values[..3]);
        many.uniform(&mut values[3..]);
        for value in values {
            assert_eq!(value, (one.draw() % (1 << 24)) as f32 / 16_777_216.0);
        }
    }
}
