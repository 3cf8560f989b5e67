//! From pixels to the tensor that a network takes.

use fast_image_resize as fir;
use image::RgbImage;
use ndarray::Array3;

use crate::ImagesError;

/// The longest side an image may have after resizing: 1:256 for a shorter side of 256.
pub(crate) const MAX_SIDE: u64 = 65_536;

/// How an image is resized.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ResizeMode {
    /// Bilinear with antialiasing, in f32 and not rounded: what torchvision since 0.17 gives for float
    /// tensors.
    #[default]
    Antialias,
    /// Bilinear without antialiasing, computed in f32 and rounded back to 8 bits: what torchvision
    /// 0.14.1 gave for uint8 tensors, by which the published results were made.
    Paper,
}

impl std::fmt::Display for ResizeMode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            ResizeMode::Antialias => "antialias",
            ResizeMode::Paper => "paper",
        })
    }
}

impl std::str::FromStr for ResizeMode {
    type Err = ImagesError;
    fn from_str(s: &str) -> Result<Self, ImagesError> {
        match s {
            "antialias" => Ok(ResizeMode::Antialias),
            "paper" => Ok(ResizeMode::Paper),
            other => Err(ImagesError::Preset {
                what: format!("resize mode `{other}` is none of antialias, paper"),
            }),
        }
    }
}

/// The sizes and the normalisation that belong to a network's weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Preset {
    /// Pixels of the shorter side after resizing, at least 1.
    pub resize: u32,
    /// Pixels of both sides of the centre crop, at least 1.
    pub crop: u32,
    /// Mean of red, green and blue in [0, 1], which is subtracted.
    pub mean: [f32; 3],
    /// Standard deviation of red, green and blue, by which is divided; above 0.
    pub std: [f32; 3],
}

impl Preset {
    /// The preset of ImageNet: shorter side to `resize` (256; 232 for newer weights), crop 224.
    pub const fn imagenet(resize: u32) -> Preset {
        Preset {
            resize,
            crop: 224,
            mean: [0.485, 0.456, 0.406],
            std: [0.229, 0.224, 0.225],
        }
    }

    fn check(&self) -> Result<(), ImagesError> {
        let wrong = |what: String| Err(ImagesError::Preset { what });
        for (name, size) in [("resize", self.resize), ("crop", self.crop)] {
            if size == 0 || u64::from(size) > MAX_SIDE {
                return wrong(format!("{name} is {size} and must be from 1 to {MAX_SIDE}"));
            }
        }
        if self.mean.iter().any(|m| !m.is_finite()) {
            return wrong(format!("mean is {:?} and must be finite", self.mean));
        }
        if self.std.iter().any(|s| !(s.is_finite() && *s > 0.0)) {
            return wrong(format!("std is {:?} and must be above 0", self.std));
        }
        Ok(())
    }
}

/// Resizing, centre crop and normalisation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Preprocess {
    /// Sizes and normalisation.
    pub preset: Preset,
    /// How to resize.
    pub mode: ResizeMode,
}

impl Preprocess {
    /// The tensor (3, crop, crop) of `image`, normalised: (value in [0, 1] - mean) / std.
    ///
    /// Where the resized image is smaller than the crop, it is surrounded by black, as torchvision does.
    ///
    /// # Errors
    /// [`ImagesError::Preset`] for a preset out of range; [`ImagesError::NoPixels`];
    /// [`ImagesError::TooElongated`] for an image whose longer side would be beyond 65536.
    pub fn apply(&self, image: &RgbImage) -> Result<Array3<f32>, ImagesError> {
        let mut out = self.apply_unnormalised(image)?;
        for (c, mut channel) in out.outer_iter_mut().enumerate() {
            let (mean, std) = (self.preset.mean[c], self.preset.std[c]);
            channel.mapv_inplace(|v| (v - mean) / std);
        }
        Ok(out)
    }

    /// The tensor (3, crop, crop) of `image` with values in [0, 1].
    ///
    /// # Errors
    /// As [`Preprocess::apply`].
    pub fn apply_unnormalised(&self, image: &RgbImage) -> Result<Array3<f32>, ImagesError> {
        self.preset.check()?;
        let (width, height) = image.dimensions();
        if width == 0 || height == 0 {
            return Err(ImagesError::NoPixels { width, height });
        }
        let (new_width, new_height) = self.resized(width, height)?;
        let (xs, ys) = (
            Crop::new(new_width, self.preset.crop),
            Crop::new(new_height, self.preset.crop),
        );
        match self.mode {
            ResizeMode::Antialias => antialias(image, (new_width, new_height), xs, ys, self.preset.crop),
            ResizeMode::Paper => Ok(paper(image, (new_width, new_height), xs, ys, self.preset.crop)),
        }
    }

    /// Width and height after resizing: the shorter side is `resize`, the longer one is rounded down.
    fn resized(&self, width: u32, height: u32) -> Result<(u32, u32), ImagesError> {
        let (short, long) = (width.min(height), width.max(height));
        let long = u64::from(self.preset.resize) * u64::from(long) / u64::from(short);
        let too_long = || ImagesError::TooElongated { width, height, long };
        if long > MAX_SIDE {
            return Err(too_long());
        }
        let long = u32::try_from(long).map_err(|_| too_long())?;
        Ok(if width <= height {
            (self.preset.resize, long)
        } else {
            (long, self.preset.resize)
        })
    }
}

/// One axis of the centre crop: `count` pixels from `source` on come to lie at `target`.
#[derive(Clone, Copy)]
struct Crop {
    source: u32,
    target: u32,
    count: u32,
}

impl Crop {
    /// Offsets as torchvision's `center_crop`: half of what is left over, and a half is rounded to the
    /// even number as Python does; where the side is too short, the smaller half of the padding is before.
    fn new(side: u32, crop: u32) -> Crop {
        if side < crop {
            return Crop {
                source: 0,
                target: (crop - side) / 2,
                count: side,
            };
        }
        let over = side - crop;
        let half = over / 2;
        let source = if over % 2 == 1 && half % 2 == 1 {
            half + 1
        } else {
            half
        };
        Crop {
            source,
            target: 0,
            count: crop,
        }
    }
}

fn antialias(
    image: &RgbImage,
    (width, height): (u32, u32),
    xs: Crop,
    ys: Crop,
    crop: u32,
) -> Result<Array3<f32>, ImagesError> {
    let refused = |reason: String| ImagesError::Resize {
        width: image.width(),
        height: image.height(),
        reason,
    };
    let pixels = image
        .pixels()
        .map(|p| fir::pixels::F32x3::new(p.0.map(|v| f32::from(v) / 255.0)))
        .collect();
    let source = fir::images::TypedImage::from_pixels(image.width(), image.height(), pixels)
        .map_err(|e| refused(e.to_string()))?;
    let mut resized = fir::images::TypedImage::new(width, height);
    let options =
        fir::ResizeOptions::new().resize_alg(fir::ResizeAlg::Convolution(fir::FilterType::Bilinear));
    fir::Resizer::new()
        .resize_typed(&source, &mut resized, &options)
        .map_err(|e| refused(e.to_string()))?;
    let mut out = Array3::zeros((3, crop as usize, crop as usize));
    for y in 0..ys.count {
        let first = (ys.source + y) as usize * width as usize + xs.source as usize;
        let row = resized
            .pixels()
            .get(first..first + xs.count as usize)
            .unwrap_or_default();
        for (x, pixel) in row.iter().enumerate() {
            for (c, v) in pixel.0.into_iter().enumerate() {
                out[[c, (ys.target + y) as usize, xs.target as usize + x]] = v;
            }
        }
    }
    Ok(out)
}

// Paper mode is written by hand because it must be exact. PyTorch's x86 kernels are compiled so that each
// product that is added to is fused with the addition (one rounding, not two), and where a value is near
// one half that decides to which level it is rounded. With the fusions below all values of the golden set
// agree; without them, or with the other product of a sum fused, two to five hundred of forty million do not.
// The resizing library gives no say in this. (With one thread PyTorch takes yet another kernel, which
// differs in as few values; the study ran on many, and so does the golden script.)

/// Two neighbours on one axis and their weights.
#[derive(Clone, Copy)]
struct Tap {
    first: u32,
    second: u32,
    weights: [f32; 2],
}

impl Tap {
    /// PyTorch's `area_pixel_compute_source_index` and `guard_index_and_lambda`, in f32 throughout.
    fn new(index: u32, input: u32, output: u32) -> Tap {
        let scale = input as f32 / output as f32;
        let real = (index as f32 + 0.5).mul_add(scale, -0.5).max(0.0);
        let first = (real as u32).min(input - 1);
        let second = (first + 1).min(input - 1);
        let weight = (real - first as f32).clamp(0.0, 1.0);
        Tap {
            first,
            second,
            weights: [1.0 - weight, weight],
        }
    }

    fn mix(self, first: f32, second: f32) -> f32 {
        first.mul_add(self.weights[0], second * self.weights[1])
    }
}

fn paper(image: &RgbImage, (width, height): (u32, u32), xs: Crop, ys: Crop, crop: u32) -> Array3<f32> {
    let columns: Vec<Tap> = (0..xs.count)
        .map(|x| Tap::new(xs.source + x, image.width(), width))
        .collect();
    let mut out = Array3::zeros((3, crop as usize, crop as usize));
    for y in 0..ys.count {
        let row = Tap::new(ys.source + y, image.height(), height);
        for (x, column) in columns.iter().enumerate() {
            let at = |x, y| image.get_pixel(x, y).0;
            let (a, b) = (at(column.first, row.first), at(column.second, row.first));
            let (c, d) = (at(column.first, row.second), at(column.second, row.second));
            for i in 0..3 {
                let above = column.mix(f32::from(a[i]), f32::from(b[i]));
                let below = column.mix(f32::from(c[i]), f32::from(d[i]));
                let v = row.mix(above, below);
                out[[i, (ys.target + y) as usize, xs.target as usize + x]] =
                    v.round_ties_even().clamp(0.0, 255.0) / 255.0;
            }
        }
    }
    out
}
