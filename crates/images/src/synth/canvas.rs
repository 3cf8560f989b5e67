//! Chance, noise and pixels, of which the objects are drawn.

use image::{GrayImage, Luma, Rgb, RgbImage};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// The random numbers of one image.
pub(crate) struct Dice(ChaCha8Rng);

impl Dice {
    /// Of the image `name` in the data set of `seed`: a stream of its own.
    pub(crate) fn new(seed: u64, name: &str) -> Dice {
        let hash = blake3::hash(name.as_bytes());
        let mut stream = [0; 8];
        stream.copy_from_slice(&hash.as_bytes()[..8]);
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(u64::from_le_bytes(stream));
        Dice(rng)
    }

    /// Uniform in [low, high).
    pub(crate) fn range(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * ((self.0.next_u32() >> 8) as f32 / (1 << 24) as f32)
    }

    /// Nearly normal with standard deviation `sd`: four uniform ones added, so within 3.5 of them.
    pub(crate) fn normal(&mut self, sd: f32) -> f32 {
        let sum: f32 = (0..4).map(|_| self.range(-1.0, 1.0)).sum();
        sum * sd * 0.866
    }

    /// True with probability one half.
    pub(crate) fn coin(&mut self) -> bool {
        self.range(0.0, 1.0) < 0.5
    }

    /// An angle in radians.
    pub(crate) fn angle(&mut self) -> f32 {
        self.range(0.0, std::f32::consts::TAU)
    }

    /// A field of noise of its own.
    pub(crate) fn noise(&mut self) -> Noise {
        Noise(self.0.next_u32())
    }
}

/// A random field over the plane, the same whenever it is asked.
#[derive(Clone, Copy)]
pub(crate) struct Noise(u32);

impl Noise {
    /// Uniform in [-1, 1) and independent for each pair of whole numbers.
    pub(crate) fn white(self, x: i32, y: i32) -> f32 {
        let mut h = self.0 ^ (x as u32).wrapping_mul(0x9e37_79b1) ^ (y as u32).wrapping_mul(0x85eb_ca77);
        h = (h ^ (h >> 16)).wrapping_mul(0x7feb_352d);
        h = (h ^ (h >> 15)).wrapping_mul(0x846c_a68b);
        h ^= h >> 16;
        (h >> 8) as f32 / (1 << 23) as f32 - 1.0
    }

    /// Smooth, in [-1, 1], with features of about one unit.
    pub(crate) fn smooth(self, x: f32, y: f32) -> f32 {
        let (i, j) = (x.floor(), y.floor());
        let (u, v) = (smoothstep(0.0, 1.0, x - i), smoothstep(0.0, 1.0, y - j));
        let (i, j) = (i as i32, j as i32);
        mix(
            mix(self.white(i, j), self.white(i + 1, j), u),
            mix(self.white(i, j + 1), self.white(i + 1, j + 1), u),
            v,
        )
    }

    /// Smooth noise of three sizes together, about in [-1, 1].
    pub(crate) fn cloud(self, x: f32, y: f32) -> f32 {
        let finer = |k: u32| Noise(self.0.wrapping_add(k));
        0.57 * self.smooth(x, y)
            + 0.29 * finer(1).smooth(2.0 * x, 2.0 * y)
            + 0.14 * finer(2).smooth(4.0 * x, 4.0 * y)
    }
}

pub(crate) fn mix(a: f32, b: f32, t: f32) -> f32 {
    a + (b - a) * t
}

pub(crate) fn smoothstep(low: f32, high: f32, x: f32) -> f32 {
    let t = ((x - low) / (high - low)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

/// How much of a pixel lies within an edge that is `distance` pixels away (negative: inside).
pub(crate) fn coverage(distance: f32) -> f32 {
    (0.5 - distance).clamp(0.0, 1.0)
}

pub(crate) type Color = [f32; 3];

pub(crate) fn blend(a: Color, b: Color, t: f32) -> Color {
    [mix(a[0], b[0], t), mix(a[1], b[1], t), mix(a[2], b[2], t)]
}

pub(crate) fn scale(a: Color, k: f32) -> Color {
    a.map(|v| v * k)
}

/// A line of straight pieces.
pub(crate) struct Stroke(Vec<(f32, f32)>);

impl Stroke {
    /// A line of `steps` pieces that starts at (x, y) in direction `angle`, turning by `turn` radians
    /// (standard deviation) from piece to piece.
    pub(crate) fn wander(
        dice: &mut Dice,
        start: (f32, f32),
        mut angle: f32,
        length: f32,
        steps: usize,
        turn: f32,
    ) -> Stroke {
        let mut at = start;
        let mut points = vec![at];
        for _ in 0..steps {
            let step = length / steps as f32;
            at = (at.0 + step * angle.cos(), at.1 + step * angle.sin());
            points.push(at);
            angle += dice.normal(turn);
        }
        Stroke(points)
    }

    /// The distance of (x, y) from the line, and how far along it that is, from 0 to 1.
    pub(crate) fn distance(&self, x: f32, y: f32) -> (f32, f32) {
        let mut best = (f32::INFINITY, 0.0);
        let pieces = (self.0.len() - 1) as f32;
        for (i, ends) in self.0.windows(2).enumerate() {
            let ((ax, ay), (bx, by)) = (ends[0], ends[1]);
            let (dx, dy) = (bx - ax, by - ay);
            let along = ((x - ax) * dx + (y - ay) * dy) / (dx * dx + dy * dy).max(1e-9);
            let t = along.clamp(0.0, 1.0);
            let d = (x - ax - t * dx).hypot(y - ay - t * dy);
            if d < best.0 {
                best = (d, (i as f32 + t) / pieces);
            }
        }
        best
    }
}

/// Renders `size` x `size` pixels: `shade` gives the colour at a point and how defective it is, each pixel
/// being the mean of 2 x 2 points. Points are in units in which the side is 256, so that every size shows
/// the same picture. Grain of the sensor is added.
pub(crate) fn render(
    dice: &mut Dice,
    size: u32,
    defective: bool,
    shade: impl Fn(f32, f32) -> (Color, f32),
) -> (RgbImage, Option<GrayImage>) {
    let unit = 256.0 / size as f32;
    let (grain, sd) = (dice.noise(), dice.range(0.006, 0.011));
    let mut image = RgbImage::new(size, size);
    let mut mask = GrayImage::new(size, size);
    let mut worst = (0.0, 0, 0);
    for (px, py, pixel) in image.enumerate_pixels_mut() {
        let (mut color, mut amount) = ([0.0; 3], 0.0);
        for (dx, dy) in [(0.25, 0.25), (0.75, 0.25), (0.25, 0.75), (0.75, 0.75)] {
            let (c, a) = shade((px as f32 + dx) * unit, (py as f32 + dy) * unit);
            color = [
                color[0] + c[0] / 4.0,
                color[1] + c[1] / 4.0,
                color[2] + c[2] / 4.0,
            ];
            amount += a / 4.0;
        }
        let (x, y) = (px as i32 * 4, py as i32);
        // All colours share most of the grain, as neighbours in a sensor's mosaic do.
        let shared = grain.white(x, y) + grain.white(x, -1 - y);
        let own = [1, 2, 3].map(|c| grain.white(x + c, y));
        let levels: [f32; 3] = std::array::from_fn(|c| (color[c] + sd * (shared + 0.5 * own[c])) * 255.0);
        *pixel = Rgb(levels.map(|v| v.round().clamp(0.0, 255.0) as u8));
        if amount >= 0.35 {
            mask.put_pixel(px, py, Luma([255]));
        }
        if amount > worst.0 {
            worst = (amount, px, py);
        }
    }
    // A hair that is thinner than a pixel of a small image still leaves one pixel of mask.
    mask.put_pixel(worst.1, worst.2, Luma([if worst.0 > 0.0 { 255 } else { 0 }]));
    (image, defective.then_some(mask))
}
