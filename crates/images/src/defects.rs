//! Defects made on good images, to see what a detector would find before there is one real defect.

use image::{GrayImage, Luma, Rgb, RgbImage};

use crate::ImagesError;
use crate::synth::canvas::{Color, Dice, Stroke, blend, coverage, mix, scale, smoothstep};

/// How often a defect is drawn anew that nobody would see.
const ATTEMPTS: u64 = 60;
/// What is seen: the mean change of the pixels of the mask, in levels of 255 of the colour that changes most.
const VISIBLE: f32 = 14.0;
/// The least shorter side of an image, in pixels.
const LEAST_SIDE: u32 = 32;

/// A way to spoil a good image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DefectKind {
    /// A piece of the image, turned and of slightly other colour, pasted elsewhere (after CutPaste: Li et al., 2021).
    CutPaste,
    /// Irregular patches where smooth noise is high, into which another texture is blended (after DRAEM: Zavrtanik et
    /// al., 2021).
    Texture,
    /// A thin wandering line, lighter or darker.
    Scratch,
    /// A few round spots, lighter, darker or coloured.
    Blob,
    /// A place pulled aside and back, as by a dent: no pixel has a new colour.
    Shift,
}

impl DefectKind {
    /// All of them.
    pub const ALL: [DefectKind; 5] = [
        DefectKind::CutPaste,
        DefectKind::Texture,
        DefectKind::Scratch,
        DefectKind::Blob,
        DefectKind::Shift,
    ];
}

impl std::fmt::Display for DefectKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            DefectKind::CutPaste => "cut-paste",
            DefectKind::Texture => "texture",
            DefectKind::Scratch => "scratch",
            DefectKind::Blob => "blob",
            DefectKind::Shift => "shift",
        })
    }
}

/// `image` with one defect of a `kind`, and its mask: 255 where the defect is, 0 elsewhere.
///
/// Sizes are relative to the shorter side: masks cover about 0.05 % to 4 % of a square image. Of three places the one
/// with most contrast is taken, since objects have more of it than what they lie on; a defect that changes hardly a
/// level, such as a piece of table pasted onto the table, is drawn anew. Pixels outside the mask are those of `image`,
/// but for a rim where the defect fades out.
///
/// The same image, kind and `seed` give the same pixels (on one platform; another one's sines may differ in the last
/// place).
///
/// ```
/// use blemish_images::{DefectKind, RgbImage, make_defect};
///
/// # fn main() -> Result<(), blemish_images::ImagesError> {
/// let good = RgbImage::from_fn(64, 64, |x, y| image::Rgb([(x * 4) as u8, (y * 4) as u8, 128]));
/// let (spoiled, mask) = make_defect(&good, DefectKind::Blob, 7)?;
/// assert!(mask.pixels().any(|p| p.0 == [255]));
/// assert_ne!(spoiled, good);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`ImagesError::Defect`] for an image with a side below 32 pixels, or on which no defect of the kind can be seen
/// (shifting a blank area leaves it blank).
pub fn make_defect(
    image: &RgbImage,
    kind: DefectKind,
    seed: u64,
) -> Result<(RgbImage, GrayImage), ImagesError> {
    let (width, height) = image.dimensions();
    let wrong = |reason| ImagesError::Defect {
        kind: kind.to_string(),
        width,
        height,
        reason,
    };
    if width.min(height) < LEAST_SIDE {
        return Err(wrong("its sides must be 32 pixels or more"));
    }
    for attempt in 0..ATTEMPTS {
        let mut dice = Dice::new(seed, &format!("defect/{kind}/{attempt}"));
        let canvas = Canvas { image };
        let patch = match kind {
            DefectKind::CutPaste => canvas.cut_paste(&mut dice),
            DefectKind::Texture => canvas.texture(&mut dice),
            DefectKind::Scratch => canvas.scratch(&mut dice),
            DefectKind::Blob => canvas.blob(&mut dice),
            DefectKind::Shift => canvas.shift(&mut dice),
        };
        if patch.change() >= VISIBLE {
            return Ok(patch.apply(image));
        }
    }
    Err(wrong("no such defect can be seen on it"))
}

/// A pixel of a defect.
struct Spot {
    x: u32,
    y: u32,
    color: [u8; 3],
    /// Whether it belongs to the mask.
    masked: bool,
    /// The largest change of a colour.
    change: u8,
}

/// The pixels of a defect.
struct Patch(Vec<Spot>);

impl Patch {
    /// The mean change in the mask; 0 without one.
    fn change(&self) -> f32 {
        let masked = || self.0.iter().filter(|s| s.masked);
        // A defect of a few pixels is none.
        if masked().count() < 4 {
            return 0.0;
        }
        masked().map(|s| f32::from(s.change)).sum::<f32>() / masked().count() as f32
    }

    fn apply(&self, image: &RgbImage) -> (RgbImage, GrayImage) {
        let mut spoiled = image.clone();
        let mut mask = GrayImage::new(image.width(), image.height());
        for spot in self.0.iter().filter(|s| s.masked) {
            mask.put_pixel(spot.x, spot.y, Luma([255]));
        }
        // A faint island would be a defect that the mask does not tell of.
        let rim = (image.width().min(image.height()) / 32).max(2);
        let in_mask = |x: u32, y: u32| mask.get_pixel_checked(x, y).is_some_and(|p| p.0 == [255]);
        let near = |x: u32, y: u32| {
            let around = |v: u32| v.saturating_sub(rim)..=v + rim;
            around(y).any(|y| around(x).any(|x| in_mask(x, y)))
        };
        for spot in self.0.iter().filter(|s| s.masked || near(s.x, s.y)) {
            spoiled.put_pixel(spot.x, spot.y, Rgb(spot.color));
        }
        (spoiled, mask)
    }
}

/// A good image to draw on. Lengths are in pixels, colours in 0 to 255.
struct Canvas<'a> {
    image: &'a RgbImage,
}

impl Canvas<'_> {
    fn size(&self) -> (f32, f32) {
        (self.image.width() as f32, self.image.height() as f32)
    }

    fn side(&self) -> f32 {
        self.size().0.min(self.size().1)
    }

    fn color(&self, x: f32, y: f32) -> Color {
        let at = |v: f32, n: u32| (v.floor().max(0.0) as u32).min(n - 1);
        let pixel = self
            .image
            .get_pixel(at(x, self.image.width()), at(y, self.image.height()));
        pixel.0.map(f32::from)
    }

    /// Between four pixels; the edge is repeated.
    fn smooth_color(&self, x: f32, y: f32) -> Color {
        let (x, y) = (x - 0.5, y - 0.5);
        let (u, v) = (x - x.floor(), y - y.floor());
        let row = |y: f32| blend(self.color(x, y), self.color(x + 1.0, y), u);
        blend(row(y), row(y + 1.0), v)
    }

    /// The standard deviation of the brightness in a square of a half side `reach` about a place.
    fn contrast(&self, (x, y): (f32, f32), reach: f32) -> f32 {
        const N: usize = 9;
        let step = |i: usize| (2.0 * i as f32 / (N - 1) as f32 - 1.0) * reach;
        let mut sums = (0.0, 0.0);
        for i in 0..N * N {
            let [r, g, b] = self.color(x + step(i % N), y + step(i / N));
            let v = (r + g + b) / 3.0;
            sums = (sums.0 + v, sums.1 + v * v);
        }
        let n = (N * N) as f32;
        (sums.1 / n - (sums.0 / n).powi(2)).max(0.0).sqrt()
    }

    /// A place at which something of a half side `reach` lies within the image.
    fn place(&self, dice: &mut Dice, reach: f32) -> (f32, f32) {
        let (width, height) = self.size();
        let mut best = ((0.0, 0.0), -1.0);
        for _ in 0..3 {
            let at = (
                dice.range(reach.min(width / 2.0), (width - reach).max(width / 2.0 + 1e-3)),
                dice.range(reach.min(height / 2.0), (height - reach).max(height / 2.0 + 1e-3)),
            );
            let contrast = self.contrast(at, reach);
            if contrast > best.1 {
                best = (at, contrast);
            }
        }
        best.0
    }

    /// Paints within `reach` pixels of a place: `paint` gives the colour at a point and how much it covers, 0 to 1.
    fn paint(&self, at: (f32, f32), reach: f32, paint: impl Fn(f32, f32) -> (Color, f32)) -> Patch {
        let range = |v: f32, n: u32| {
            let low = (v - reach).floor().max(0.0) as u32;
            low..((v + reach).ceil().max(0.0) as u32).min(n)
        };
        let mut spots = vec![];
        for y in range(at.1, self.image.height()) {
            for x in range(at.0, self.image.width()) {
                let (color, cover) = paint(x as f32 + 0.5, y as f32 + 0.5);
                if cover <= 0.0 {
                    continue;
                }
                let old = self.image.get_pixel(x, y).0;
                let new = blend(old.map(f32::from), color, cover.min(1.0));
                let color = new.map(|v| v.round().clamp(0.0, 255.0) as u8);
                let change = (0..3).map(|c| old[c].abs_diff(color[c])).max().unwrap_or(0);
                spots.push(Spot {
                    x,
                    y,
                    color,
                    masked: cover >= 0.4,
                    change,
                });
            }
        }
        Patch(spots)
    }

    fn cut_paste(&self, dice: &mut Dice) -> Patch {
        let side = self.side();
        let area = dice.range(0.003, 0.03) * side * side;
        let aspect = dice.range(-1.1, 1.1).exp();
        let (half_w, half_h) = ((area * aspect).sqrt() / 2.0, (area / aspect).sqrt() / 2.0);
        let reach = half_w.hypot(half_h);
        let (from, to) = (self.place(dice, reach), self.place(dice, reach));
        let (sin, cos) = dice.angle().sin_cos();
        let lit = dice.range(0.85, 1.15);
        let tint = [
            dice.range(0.95, 1.05),
            dice.range(0.95, 1.05),
            dice.range(0.95, 1.05),
        ];
        self.paint(to, reach + 1.0, |x, y| {
            let (x, y) = (x - to.0, y - to.1);
            // In the frame of the piece.
            let (u, v) = (cos * x + sin * y, cos * y - sin * x);
            let inside = coverage((u.abs() - half_w).max(v.abs() - half_h));
            let color = self.smooth_color(from.0 + u, from.1 + v);
            (std::array::from_fn(|c| color[c] * lit * tint[c]), inside)
        })
    }

    fn texture(&self, dice: &mut Dice) -> Patch {
        let reach = self.side() * dice.range(0.05, 0.13);
        let at = self.place(dice, reach);
        let (shape, grain) = (dice.noise(), dice.noise());
        let unit = reach * dice.range(0.35, 0.8);
        let level = dice.range(0.0, 0.25);
        let fine = self.side() * dice.range(0.006, 0.03);
        let opacity = dice.range(0.35, 0.95);
        // Another texture: this image somewhere else, in other colours, or noise of two colours.
        let (own, turned) = (dice.coin(), dice.coin());
        let from = self.place(dice, reach);
        let (a, b) = (self.other_color(dice, at), self.other_color(dice, at));
        let order = if turned { [2, 0, 1] } else { [1, 2, 0] };
        self.paint(at, reach, |x, y| {
            let (u, v) = (x - at.0, y - at.1);
            // The noise falls off, so that the shape ends within its reach.
            let d = u.hypot(v) / reach;
            let height = shape.cloud(u / unit, v / unit) + 0.6 * (1.0 - d * d) - 0.3;
            let cover = if d < 1.0 {
                smoothstep(level, level + 0.06, height)
            } else {
                0.0
            };
            let color = if own {
                let color = self.smooth_color(from.0 + v, from.1 - u);
                order.map(|c: usize| color[c])
            } else {
                blend(a, b, smoothstep(-0.6, 0.6, grain.cloud(u / fine, v / fine)))
            };
            let old = self.color(x, y);
            (blend(old, color, opacity), cover)
        })
    }

    fn scratch(&self, dice: &mut Dice) -> Patch {
        let side = self.side();
        let length = side * dice.range(0.08, 0.4);
        let at = self.place(dice, length / 2.0);
        let angle = dice.angle();
        let start = (
            at.0 - angle.cos() * length / 2.0,
            at.1 - angle.sin() * length / 2.0,
        );
        let line = Stroke::wander(dice, start, angle, length, 12, 0.12);
        // Half a pixel at the least, or nothing of it would be seen.
        let half = (side * dice.range(0.0015, 0.005)).max(0.6);
        let lighter = dice.coin();
        let strength = dice.range(0.3, 0.8);
        let fray = dice.noise();
        self.paint(at, length, |x, y| {
            let (far, along) = line.distance(x, y);
            let width = half * (1.0 + 0.35 * fray.smooth(along * 14.0, 0.0)) * mix(1.0, 0.5, along);
            let old = self.color(x, y);
            let to = if lighter {
                [250.0, 250.0, 248.0]
            } else {
                [12.0, 11.0, 10.0]
            };
            (blend(old, to, strength), coverage(far - width))
        })
    }

    fn blob(&self, dice: &mut Dice) -> Patch {
        let side = self.side();
        let reach = side * dice.range(0.02, 0.09);
        let at = self.place(dice, reach);
        let spots = 1 + dice.range(0.0, 3.0) as usize;
        let mut discs = vec![];
        for i in 0..spots {
            let radius = if i == 0 {
                0.75 * reach
            } else {
                reach * dice.range(0.15, 0.4)
            }
            .max(1.5);
            let (angle, far) = (
                dice.angle(),
                if i == 0 { 0.0 } else { reach * dice.range(0.6, 1.6) },
            );
            discs.push((at.0 + far * angle.cos(), at.1 + far * angle.sin(), radius));
        }
        let color = self.other_color(dice, at);
        let opacity = dice.range(0.4, 0.95);
        let soft = dice.range(0.05, 0.3);
        let fray = dice.noise();
        self.paint(at, 2.5 * reach + 4.0, |x, y| {
            let mut cover: f32 = 0.0;
            for (cx, cy, radius) in &discs {
                let (u, v) = (x - cx, y - cy);
                let ragged = radius * (1.0 + 0.22 * fray.cloud(u / radius * 1.6, v / radius * 1.6));
                let edge = (soft * radius).max(0.6);
                cover = cover.max(smoothstep(edge, -edge, u.hypot(v) - ragged));
            }
            let old = self.color(x, y);
            (blend(old, color, opacity), cover)
        })
    }

    fn shift(&self, dice: &mut Dice) -> Patch {
        let reach = self.side() * dice.range(0.04, 0.12);
        let at = self.place(dice, reach);
        let angle = dice.angle();
        let by = reach * dice.range(0.3, 0.55);
        let twist = dice.range(-1.2, 1.2);
        self.paint(at, reach, |x, y| {
            let (u, v) = (x - at.0, y - at.1);
            let fall = smoothstep(1.0, 0.0, u.hypot(v) / reach);
            let (sin, cos) = (twist * fall).sin_cos();
            let (u, v) = (
                cos * u - sin * v - by * fall * angle.cos(),
                sin * u + cos * v - by * fall * angle.sin(),
            );
            let color = self.smooth_color(at.0 + u, at.1 + v);
            // Seen from where it is moved by a few pixels; colours are moved wholly all over.
            (
                color,
                if fall > 0.0 {
                    smoothstep(0.02, 0.1, fall)
                } else {
                    0.0
                },
            )
        })
    }

    /// A colour that is seen on what lies about a place: the mean there made lighter, darker, or of another hue.
    fn other_color(&self, dice: &mut Dice, at: (f32, f32)) -> Color {
        let reach = self.side() * 0.03;
        let mut mean = [0.0; 3];
        for i in 0..9 {
            let offset = |k: usize| (k as f32 - 1.0) * reach;
            let color = self.color(at.0 + offset(i % 3), at.1 + offset(i / 3));
            mean = std::array::from_fn(|c| mean[c] + color[c] / 9.0);
        }
        let kind = dice.range(0.0, 3.0) as u32;
        let by = dice.range(0.25, 0.6);
        let hue = [
            dice.range(20.0, 235.0),
            dice.range(20.0, 235.0),
            dice.range(20.0, 235.0),
        ];
        match kind {
            0 => scale(mean, 1.0 - by),
            1 => blend(mean, [255.0; 3], by),
            _ => blend(mean, hue, 0.8),
        }
    }
}
