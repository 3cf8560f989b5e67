//! The whole image as the tensor that a network takes: nothing is cut off, since defects at the border count.

use fast_image_resize as fir;
use image::RgbImage;

use crate::ImagesError;
use crate::preprocess::MAX_SIDE;

/// Resizing of the whole image to one size, and normalisation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WholeImage {
    /// Width after resizing, in pixels; at least 1.
    pub width: u32,
    /// Height after resizing, in pixels; at least 1.
    pub height: u32,
    /// Mean of red, green and blue in [0, 1], which is subtracted.
    pub mean: [f32; 3],
    /// Standard deviation of red, green and blue, by which is divided; above 0.
    pub std: [f32; 3],
}

impl WholeImage {
    /// Number of values of a tensor: 3 x height x width.
    pub fn len(&self) -> usize {
        3 * self.width as usize * self.height as usize
    }

    /// Whether a tensor has no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes the tensor (3, height, width) of `image`, normalised: (value in [0, 1] - mean) / std.
    ///
    /// Bilinear with antialiasing, in f32 and not rounded, as
    /// [`ResizeMode::Antialias`](crate::ResizeMode::Antialias). An image of another aspect ratio is distorted.
    ///
    /// # Errors
    /// [`ImagesError::Preset`] for sizes and normalisations out of range and an `out` of another length;
    /// [`ImagesError::NoPixels`].
    pub fn apply(&self, image: &RgbImage, out: &mut [f32]) -> Result<(), ImagesError> {
        self.check(out.len())?;
        let (width, height) = image.dimensions();
        if width == 0 || height == 0 {
            return Err(ImagesError::NoPixels { width, height });
        }
        let refused = |reason: String| ImagesError::Resize {
            width,
            height,
            reason,
        };
        let level: [f32; 256] = std::array::from_fn(|v| v as f32 / 255.0);
        let pixels = image
            .as_raw()
            .as_chunks::<3>()
            .0
            .iter()
            .map(|p| fir::pixels::F32x3::new(p.map(|v| level[usize::from(v)])))
            .collect();
        let source = fir::images::TypedImage::from_pixels(width, height, pixels)
            .map_err(|e| refused(e.to_string()))?;
        let mut resized = fir::images::TypedImage::new(self.width, self.height);
        let options =
            fir::ResizeOptions::new().resize_alg(fir::ResizeAlg::Convolution(fir::FilterType::Bilinear));
        fir::Resizer::new()
            .resize_typed(&source, &mut resized, &options)
            .map_err(|e| refused(e.to_string()))?;
        let pixels: &[fir::pixels::F32x3] = resized.pixels();
        for (c, channel) in out.chunks_exact_mut(self.len() / 3).enumerate() {
            let (mean, std) = (self.mean[c], self.std[c]);
            for (out, pixel) in channel.iter_mut().zip(pixels) {
                *out = (pixel.0[c] - mean) / std;
            }
        }
        Ok(())
    }

    fn check(&self, found: usize) -> Result<(), ImagesError> {
        let wrong = |what: String| Err(ImagesError::Preset { what });
        for (name, side) in [("width", self.width), ("height", self.height)] {
            if side == 0 || u64::from(side) > MAX_SIDE {
                return wrong(format!("{name} is {side} and must be from 1 to {MAX_SIDE}"));
            }
        }
        if self.mean.iter().any(|m| !m.is_finite()) {
            return wrong(format!("mean is {:?} and must be finite", self.mean));
        }
        if self.std.iter().any(|s| !(s.is_finite() && *s > 0.0)) {
            return wrong(format!("std is {:?} and must be above 0", self.std));
        }
        if found != self.len() {
            return wrong(format!(
                "there is room for {found} values, not for {}",
                self.len()
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Preprocess, Preset, ResizeMode};

    fn picture(width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| {
            image::Rgb([(x * 7 + y) as u8, (x ^ y) as u8, (x * y) as u8])
        })
    }

    #[test]
    fn of_a_square_image_it_is_what_the_crop_of_all_gives() {
        let preset = Preset {
            resize: 32,
            crop: 32,
            ..Preset::imagenet(32)
        };
        let whole = WholeImage {
            width: 32,
            height: 32,
            mean: preset.mean,
            std: preset.std,
        };
        let image = picture(75, 75);
        let mut out = vec![0.0; whole.len()];
        whole.apply(&image, &mut out).unwrap();
        let mode = ResizeMode::Antialias;
        let other = Preprocess { preset, mode }.apply(&image).unwrap();
        assert_eq!(other.as_slice().unwrap(), out);
    }

    #[test]
    fn one_size_is_made_of_every_size() {
        let whole = WholeImage {
            width: 40,
            height: 24,
            mean: [0.0; 3],
            std: [1.0; 3],
        };
        let mut out = vec![0.0; whole.len()];
        for (width, height) in [(40, 24), (1, 1), (7, 300)] {
            whole.apply(&picture(width, height), &mut out).unwrap();
            assert!(out.iter().all(|v| (0.0..=1.0).contains(v)));
        }
        // Nothing to resize: the pixels themselves, a channel after the other.
        let image = picture(40, 24);
        whole.apply(&image, &mut out).unwrap();
        assert_eq!(
            out[40 * 24 + 3 * 40 + 5],
            f32::from(image.get_pixel(5, 3).0[1]) / 255.0
        );
        assert!(whole.apply(&image, &mut out[1..]).is_err());
        assert!(whole.apply(&RgbImage::new(0, 3), &mut out).is_err());
        let broken = WholeImage {
            std: [0.0; 3],
            ..whole
        };
        assert!(broken.apply(&image, &mut out).is_err());
    }
}
