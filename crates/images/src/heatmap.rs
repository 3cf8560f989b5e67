//! Maps of scores as pictures.

use std::io::{BufReader, BufWriter, Write};
use std::path::Path;

use image::{Rgb, RgbImage};
use ndarray::{Array2, ArrayView2};

use crate::ImagesError;
use crate::image::MAX_PIXELS;

/// Names of the texts in a PNG file that hold the scale.
const LOW: &str = "blemish:low";
const HIGH: &str = "blemish:high";

/// The scores that are drawn darkest and brightest: one scale for all images of a part, so that maps can be compared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MapScale {
    /// What is drawn as 0; what lies below is too.
    pub low: f32,
    /// What is drawn as 1; what lies above is too.
    pub high: f32,
}

impl MapScale {
    /// From the lowest to the highest value of a map; of one without values that differ, a scale around them.
    pub fn of(map: ArrayView2<'_, f32>) -> MapScale {
        let finite = || map.iter().copied().filter(|v| v.is_finite());
        let (low, high) = (
            finite().fold(f32::INFINITY, f32::min),
            finite().fold(f32::NEG_INFINITY, f32::max),
        );
        if low < high {
            MapScale { low, high }
        } else if low.is_finite() {
            MapScale {
                low: low - 0.5,
                high: low + 0.5,
            }
        } else {
            MapScale { low: 0.0, high: 1.0 }
        }
    }

    fn check(self) -> Result<MapScale, ImagesError> {
        if self.low.is_finite()
            && self.high.is_finite()
            && self.low < self.high
            && (self.high - self.low).is_finite()
        {
            return Ok(self);
        }
        Err(ImagesError::Map {
            what: format!(
                "the scale from {} to {} is not an ascending one",
                self.low, self.high
            ),
        })
    }

    /// In 0 to 1; NaN is 0.
    fn part(self, v: f32) -> f32 {
        let t = (v - self.low) / (self.high - self.low);
        if t.is_nan() { 0.0 } else { t.clamp(0.0, 1.0) }
    }
}

/// Writes a map, height x width, as a PNG file of 16 bits a pixel: `round(65535 (v - low) / (high - low))`, within 0 to
/// 65535. The scale is in the file as the texts `blemish:low` and `blemish:high`, and [`read_map`] applies it. The file
/// is whole or absent.
///
/// # Errors
/// [`ImagesError::Map`] for a map without pixels or a scale that is not ascending; [`ImagesError::Io`].
pub fn write_map(path: &Path, map: ArrayView2<'_, f32>, scale: MapScale) -> Result<(), ImagesError> {
    let scale = scale.check()?;
    let (height, width) = map.dim();
    let no_pixels = || ImagesError::Map {
        what: format!("{height} x {width} pixels cannot be written"),
    };
    let (Ok(w), Ok(h)) = (u32::try_from(width), u32::try_from(height)) else {
        return Err(no_pixels());
    };
    if w == 0 || h == 0 {
        return Err(no_pixels());
    }
    let mut pixels = Vec::with_capacity(2 * map.len());
    for v in map {
        pixels.extend(((65535.0 * scale.part(*v)).round() as u16).to_be_bytes());
    }
    let io = |e: std::io::Error| ImagesError::io(path, e);
    let refused = |e: png::EncodingError| match e {
        png::EncodingError::IoError(e) => io(e),
        e => io(std::io::Error::other(e)),
    };
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".partial");
    let partial = path.with_file_name(name);
    let write = || {
        let file = std::fs::File::create(&partial).map_err(io)?;
        let mut out = BufWriter::new(file);
        let mut encoder = png::Encoder::new(&mut out, w, h);
        encoder.set_color(png::ColorType::Grayscale);
        encoder.set_depth(png::BitDepth::Sixteen);
        for (key, value) in [(LOW, scale.low), (HIGH, scale.high)] {
            // The shortest text that is read back as the same number.
            encoder
                .add_text_chunk(key.into(), value.to_string())
                .map_err(refused)?;
        }
        let mut writer = encoder.write_header().map_err(refused)?;
        writer.write_image_data(&pixels).map_err(refused)?;
        writer.finish().map_err(refused)?;
        out.flush().map_err(io)?;
        std::fs::rename(&partial, path).map_err(io)
    };
    write().inspect_err(|_| {
        // What is left of it helps no one; that it cannot be removed either is not the error to report.
        let _ = std::fs::remove_file(&partial);
    })
}

/// Reads what [`write_map`] wrote: the map, height x width, to within one part in 131070 of its scale, and the scale.
///
/// # Errors
/// [`ImagesError::Io`]; [`ImagesError::Undecodable`] for what is no PNG, is cut off, or is not such a map.
pub fn read_map(path: &Path) -> Result<(Array2<f32>, MapScale), ImagesError> {
    let wrong = |reason: String| ImagesError::Undecodable {
        path: path.into(),
        reason,
    };
    let file = std::fs::File::open(path).map_err(|e| ImagesError::io(path, e))?;
    let mut reader = png::Decoder::new(BufReader::new(file))
        .read_info()
        .map_err(|e| wrong(e.to_string()))?;
    let info = reader.info();
    let (width, height) = (info.width, info.height);
    if (info.color_type, info.bit_depth) != (png::ColorType::Grayscale, png::BitDepth::Sixteen) {
        return Err(wrong("it is not a map of 16-bit grey".into()));
    }
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err(ImagesError::TooLarge {
            path: path.into(),
            width,
            height,
        });
    }
    let text = |key: &str| {
        let chunk = info.uncompressed_latin1_text.iter().find(|t| t.keyword == key);
        chunk.and_then(|t| t.text.parse::<f32>().ok())
    };
    let (Some(low), Some(high)) = (text(LOW), text(HIGH)) else {
        return Err(wrong("its scale is not in the file".into()));
    };
    let scale = MapScale { low, high };
    scale.check().map_err(|e| wrong(e.to_string()))?;
    let size = reader.output_buffer_size().unwrap_or(0);
    let mut bytes = vec![0; size];
    reader.next_frame(&mut bytes).map_err(|e| wrong(e.to_string()))?;
    let values = bytes.as_chunks::<2>().0.iter().map(|b| {
        let t = f32::from(u16::from_be_bytes(*b)) / 65535.0;
        low + (high - low) * t
    });
    let map = Array2::from_shape_vec((height as usize, width as usize), values.collect());
    Ok((map.map_err(|e| wrong(e.to_string()))?, scale))
}

/// The colour of a part of the scale, 0 to 1: `inferno`, of even steps to the eye, also in grey.
fn heat(t: f32) -> [u8; 3] {
    let colorous::Color { r, g, b } = colorous::INFERNO.eval_continuous(f64::from(t));
    [r, g, b]
}

/// A map, height x width, in colours: black is low, yellow high.
pub fn heat_image(map: ArrayView2<'_, f32>, scale: MapScale) -> RgbImage {
    RgbImage::from_fn(map.ncols() as u32, map.nrows() as u32, |x, y| {
        Rgb(heat(scale.part(map[[y as usize, x as usize]])))
    })
}

/// `image` with a map of its size laid over it, the denser the higher the score, and a bright line around what lies at
/// or above `threshold`.
///
/// # Errors
/// [`ImagesError::Map`] if sizes differ.
pub fn overlay(
    image: &RgbImage,
    map: ArrayView2<'_, f32>,
    scale: MapScale,
    threshold: Option<f32>,
) -> Result<RgbImage, ImagesError> {
    let (height, width) = map.dim();
    if (image.width() as usize, image.height() as usize) != (width, height) {
        return Err(ImagesError::Map {
            what: format!(
                "a map of {width} x {height} pixels does not fit an image of {} x {}",
                image.width(),
                image.height()
            ),
        });
    }
    // A line that is seen when the picture is scaled down to a page.
    let line = (image.width().min(image.height()) / 300).max(1) as usize;
    let above = |y: usize, x: usize| threshold.is_some_and(|t| map[[y, x]] >= t);
    Ok(RgbImage::from_fn(image.width(), image.height(), |px, py| {
        let (x, y) = (px as usize, py as usize);
        if above(y, x) && on_the_edge(&above, (y, x), (height, width), line) {
            return Rgb([60, 255, 235]);
        }
        let t = scale.part(map[[y, x]]);
        let (old, new) = (image.get_pixel(px, py).0, heat(t));
        // Faint where low: the dark end of the colours would look like dirt on a bright part.
        let opacity = 0.85 * t;
        Rgb(std::array::from_fn(|c| {
            (f32::from(old[c]) * (1.0 - opacity) + f32::from(new[c]) * opacity).round() as u8
        }))
    }))
}

/// Whether a pixel within `line` pixels, up, down, left or right, is not `above`.
fn on_the_edge(
    above: &impl Fn(usize, usize) -> bool,
    (y, x): (usize, usize),
    (height, width): (usize, usize),
    line: usize,
) -> bool {
    (1..=line).any(|d| {
        (y >= d && !above(y - d, x))
            || (x >= d && !above(y, x - d))
            || (y + d < height && !above(y + d, x))
            || (x + d < width && !above(y, x + d))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_of_a_map_is_ascending_whatever_is_in_it() {
        let of = |values: Vec<f32>| {
            MapScale::of(Array2::from_shape_vec((1, values.len()), values).unwrap().view())
        };
        assert_eq!(of(vec![1.0, f32::NAN, -2.0]), MapScale { low: -2.0, high: 1.0 });
        for values in [vec![], vec![f32::NAN], vec![f32::INFINITY], vec![3.0, 3.0]] {
            assert!(of(values).check().is_ok());
        }
    }

    #[test]
    fn the_contour_is_where_the_threshold_is_crossed() {
        let image = RgbImage::new(5, 5);
        let map = Array2::from_shape_fn((5, 5), |(y, x)| {
            if (1..4).contains(&y) && (1..4).contains(&x) {
                1.0
            } else {
                0.0
            }
        });
        let scale = MapScale { low: 0.0, high: 2.0 };
        let drawn = overlay(&image, map.view(), scale, Some(0.5)).unwrap();
        let line = |x, y| drawn.get_pixel(x, y).0 == [60, 255, 235];
        for y in 0..5 {
            for x in 0..5 {
                let ring = (1..4).contains(&x) && (1..4).contains(&y) && (x, y) != (2, 2);
                assert_eq!(line(x, y), ring, "{x} {y}");
            }
        }
        // Where the score is lowest the image is as it was.
        assert_eq!(drawn.get_pixel(0, 0).0, [0, 0, 0]);
        assert!(overlay(&RgbImage::new(5, 4), map.view(), scale, None).is_err());
    }
}
