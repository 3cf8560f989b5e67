//! From a file to pixels.

use std::io::Cursor;
use std::path::Path;

use image::{DynamicImage, GrayImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits, RgbImage};

use crate::ImagesError;

/// The extensions of image files, in lower case; a file's may be in any case.
pub const EXTENSIONS: [&str; 7] = ["png", "jpg", "jpeg", "bmp", "tif", "tiff", "webp"];

/// The most pixels an image may have: beyond every camera, and below what a crafted file of a few bytes
/// could fill the memory with.
pub const MAX_PIXELS: u64 = 200_000_000;

/// 16-bit RGBA of the largest image, and as much again for what a decoder needs beside it.
const MAX_ALLOC: u64 = 16 * MAX_PIXELS;

/// Whether `path` has one of the [`EXTENSIONS`].
pub(crate) fn has_image_extension(path: &Path) -> bool {
    path.extension()
        .and_then(|e| e.to_str())
        .is_some_and(|e| EXTENSIONS.iter().any(|known| known.eq_ignore_ascii_case(e)))
}

/// Decodes an image as 8-bit RGB.
///
/// What it is is told by its content, not by its name. Grey becomes three equal channels, a palette is
/// expanded, 16 bits become 8 by `round(v * 255 / 65535)`, an alpha channel is dropped (the colours stay
/// as they are stored, as torchvision's `read_image` in RGB mode does), and an EXIF orientation is
/// applied as viewers do. Colour profiles and gamma are not applied.
///
/// # Errors
/// With the path in each: [`ImagesError::Io`], [`ImagesError::Undecodable`] for what is no image or is
/// cut off, [`ImagesError::TooLarge`] beyond [`MAX_PIXELS`], [`ImagesError::UnsupportedPixels`] for
/// floating point.
pub fn load_rgb(path: &Path) -> Result<RgbImage, ImagesError> {
    Ok(decode(path)?.into_rgb8())
}

/// Decodes a mask: 255 where its pixel is not 0, which is where the defect is, and 0 elsewhere.
///
/// # Errors
/// As [`load_rgb`].
pub fn load_mask(path: &Path) -> Result<GrayImage, ImagesError> {
    // Any colour that is not black counts, be it by one level: some data sets store masks of 0 and 1.
    let rgb = load_rgb(path)?;
    Ok(GrayImage::from_fn(rgb.width(), rgb.height(), |x, y| {
        image::Luma([if rgb.get_pixel(x, y).0 == [0; 3] { 0 } else { 255 }])
    }))
}

pub(crate) fn decode(path: &Path) -> Result<DynamicImage, ImagesError> {
    let undecodable = |reason: String| ImagesError::Undecodable {
        path: path.into(),
        reason,
    };
    let bytes = std::fs::read(path).map_err(|e| ImagesError::io(path, e))?;
    if bytes.is_empty() {
        return Err(undecodable("the file is empty".to_owned()));
    }
    let mut reader = ImageReader::new(Cursor::new(&bytes))
        .with_guessed_format()
        .map_err(|e| ImagesError::io(path, e))?;
    let Some(format) = reader.format() else {
        return Err(undecodable(
            "it is not a PNG, JPEG, BMP, TIFF or WebP image".to_owned(),
        ));
    };
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_ALLOC);
    reader.limits(limits);
    let describe = |e: ImageError| match e {
        ImageError::Limits(_) => undecodable("it needs more memory than an image may".to_owned()),
        ImageError::Unsupported(_) => undecodable(format!("{e}, or it is damaged")),
        e => undecodable(e.to_string()),
    };
    let mut decoder = reader.into_decoder().map_err(describe)?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err(ImagesError::TooLarge {
            path: path.into(),
            width,
            height,
        });
    }
    // The decoder fills what is missing of a JPEG with grey, and says nothing.
    if format == ImageFormat::Jpeg && !jpeg_is_whole(&bytes) {
        return Err(undecodable("the file ends before the image does".to_owned()));
    }
    let orientation = decoder.orientation().map_err(describe)?;
    let mut image = DynamicImage::from_decoder(decoder).map_err(describe)?;
    if matches!(
        image,
        DynamicImage::ImageRgb32F(_) | DynamicImage::ImageRgba32F(_)
    ) {
        return Err(ImagesError::UnsupportedPixels {
            path: path.into(),
            kind: "floating-point numbers",
        });
    }
    image.apply_orientation(orientation);
    Ok(image)
}

/// Whether the marker that ends a JPEG image is reached: segments are skipped by their length (one may
/// hold a thumbnail with an end of its own), coded data up to the next marker.
fn jpeg_is_whole(bytes: &[u8]) -> bool {
    const END: u8 = 0xd9;
    let mut at = 2;
    while let Some(pair) = bytes.get(at..at + 2) {
        match (pair[0], pair[1]) {
            (0xff, END) => return true,
            // A stuffed zero, a restart, a fill byte: no segment follows.
            (0xff, 0x00 | 0x01 | 0xd0..=0xd8) => at += 2,
            (0xff, 0xff) => at += 1,
            (0xff, _) => {
                let Some(length) = bytes.get(at + 2..at + 4) else {
                    return false;
                };
                at += 2 + usize::from(u16::from_be_bytes([length[0], length[1]]));
            }
            // Coded data, or padding between segments.
            _ => at += 1,
        }
    }
    false
}
