//! What is in a folder, faults and all: nothing here stops at the first fault.

use std::path::{Path, PathBuf};

use image::{DynamicImage, RgbImage};
use ndarray::{Array1, Array2, Axis, s};

use crate::ImagesError;
use crate::dataset::{ImageFile, attach_mask, image_paths, images, list, name_of, sort};
use crate::image::decode;

/// Side of the thumbnails by which images are compared.
const THUMBNAIL: usize = 32;
/// The correlation of what two thumbnails have beyond the mean of all, from which on they are called alike.
const ALIKE: f32 = 0.95;
/// The distance of two thumbnails, as a part of their contrast, below which they are alike whatever the others are.
const SAME: f32 = 0.01;
/// Thumbnails that are compared with the others at a time.
const BLOCK: usize = 256;

/// An object's images as far as they can be listed, and what is wrong.
#[derive(Debug)]
pub struct Survey {
    /// The name of its folder.
    pub name: String,
    /// Its folder.
    pub folder: PathBuf,
    /// Good images to learn from.
    pub train: Vec<ImageFile>,
    /// Images to test with.
    pub test: Vec<ImageFile>,
    /// Images and folders of images that are of no use where they lie, such as `train/bad` or `test/000.png`.
    pub unused: Vec<PathBuf>,
    /// What is wrong with the folders and masks, in the order in which it was found.
    pub faults: Vec<ImagesError>,
}

/// Lists the objects below `path`, or `path` itself if that is an object, as [`Dataset::open`](crate::Dataset::open)
/// does, but goes on where that stops: a mask without an image, a folder without images, a missing test folder are
/// faults of the survey. Nothing is decoded.
///
/// # Errors
/// If there is no such folder, it cannot be read, or no object is in it.
pub fn survey(path: &Path) -> Result<Vec<Survey>, ImagesError> {
    match std::fs::metadata(path) {
        Ok(m) if m.is_dir() => {}
        Ok(_) => return Err(ImagesError::NotAFolder { path: path.into() }),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(ImagesError::NoSuchFolder { path: path.into() });
        }
        Err(e) => return Err(ImagesError::io(path, e)),
    }
    // An object without good images is one with a fault.
    let is_object = |p: &Path| p.join("train").is_dir();
    if is_object(path) {
        let canonical = path.canonicalize().map_err(|e| ImagesError::io(path, e))?;
        return Ok(vec![object(name_of(&canonical)?, path.into())]);
    }
    let mut out = vec![];
    for folder in list(path)?.into_iter().filter(|p| is_object(p)) {
        out.push(object(name_of(&folder)?, folder));
    }
    if out.is_empty() {
        return Err(ImagesError::Layout { path: path.into() });
    }
    Ok(out)
}

fn object(name: String, folder: PathBuf) -> Survey {
    let mut faults = vec![];
    let mut train = collect(
        images(&folder.join("train/good"), "train/good", None),
        &mut faults,
    );
    sort(&mut train);
    let mut unused = unused_in(&folder.join("train"), true);
    unused.extend(unused_in(&folder.join("test"), false));
    let mut test = vec![];
    let test_folder = folder.join("test");
    if test_folder.is_dir() {
        for kind in collect(list(&test_folder), &mut faults) {
            if !kind.is_dir() {
                continue;
            }
            match name_of(&kind) {
                Ok(name) => {
                    let relative = format!("test/{name}");
                    let defect = (name != "good").then_some(name);
                    test.extend(collect(images(&kind, &relative, defect), &mut faults));
                }
                Err(error) => faults.push(error),
            }
        }
    }
    sort(&mut test);
    let ground_truth = folder.join("ground_truth");
    if ground_truth.is_dir() {
        for kind in collect(list(&ground_truth), &mut faults) {
            // Empty masks of good images say nothing.
            let defect = match name_of(&kind) {
                Ok(name) if kind.is_dir() && name != "good" => name,
                Ok(_) => continue,
                Err(error) => {
                    faults.push(error);
                    continue;
                }
            };
            for mask in collect(image_paths(&kind), &mut faults) {
                faults.extend(attach_mask(mask, &defect, &mut test).err());
            }
        }
    }
    Survey {
        name,
        folder,
        train,
        test,
        unused,
        faults,
    }
}

/// Image files of a folder, and with `folders` its folders but for `good` that hold image files.
fn unused_in(folder: &Path, folders: bool) -> Vec<PathBuf> {
    // What cannot be listed is a fault elsewhere, or of no use.
    let files = |p: &Path| image_paths(p).unwrap_or_default();
    let mut out = files(folder);
    for path in list(folder).unwrap_or_default() {
        if folders && path.is_dir() && !path.ends_with("good") && !files(&path).is_empty() {
            out.push(path);
        }
    }
    out
}

fn collect<T>(listed: Result<Vec<T>, ImagesError>, faults: &mut Vec<ImagesError>) -> Vec<T> {
    listed.unwrap_or_else(|error| {
        faults.push(error);
        vec![]
    })
}

/// What can be told of an image without knowing what it shows.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageFacts {
    /// Pixels, as it is viewed.
    pub width: u32,
    /// Pixels, as it is viewed.
    pub height: u32,
    /// How colours are stored: `grey`, `RGB`, `16-bit grey` and so on.
    pub mode: &'static str,
    /// Mean of the three colours of all pixels, 0 to 1.
    pub brightness: f64,
    /// blake3 hash of size and pixels as 8-bit RGB: of two files with the same one, not a pixel differs.
    pub pixels: [u8; 32],
    /// 32 x 32 means of brightness, row by row, 0 to 1: see [`near_duplicates`].
    pub thumbnail: Vec<f32>,
}

impl ImageFacts {
    /// Decodes an image as [`load_rgb`](crate::load_rgb) does.
    ///
    /// # Errors
    /// As [`load_rgb`](crate::load_rgb).
    pub fn of(path: &Path) -> Result<ImageFacts, ImagesError> {
        let image = decode(path)?;
        let mode = match image {
            DynamicImage::ImageLuma8(_) => "grey",
            DynamicImage::ImageLumaA8(_) => "grey with alpha",
            DynamicImage::ImageRgb8(_) => "RGB",
            DynamicImage::ImageRgba8(_) => "RGB with alpha",
            DynamicImage::ImageLuma16(_) => "16-bit grey",
            DynamicImage::ImageLumaA16(_) => "16-bit grey with alpha",
            DynamicImage::ImageRgb16(_) => "16-bit RGB",
            DynamicImage::ImageRgba16(_) => "16-bit RGB with alpha",
            _ => "other",
        };
        let image = image.into_rgb8();
        let mut hasher = blake3::Hasher::new();
        hasher.update(&image.width().to_le_bytes());
        hasher.update(&image.height().to_le_bytes());
        hasher.update(image.as_raw());
        let thumbnail = thumbnail(&image);
        let sum: u64 = image.as_raw().iter().map(|v| u64::from(*v)).sum();
        Ok(ImageFacts {
            width: image.width(),
            height: image.height(),
            mode,
            brightness: sum as f64 / (255.0 * image.as_raw().len().max(1) as f64),
            pixels: *hasher.finalize().as_bytes(),
            thumbnail,
        })
    }
}

/// Means of brightness of equal parts, of which each pixel belongs to one or, by its share, to two: so that the same
/// picture in another size has the same means.
fn thumbnail(image: &RgbImage) -> Vec<f32> {
    let (width, height) = (image.width() as usize, image.height() as usize);
    let mut sums = vec![0.0_f64; THUMBNAIL * THUMBNAIL];
    let (columns, rows) = (shares(width), shares(height));
    let mut row = [0.0_f64; THUMBNAIL];
    for (pixels, parts) in image.as_raw().chunks_exact(3 * width.max(1)).zip(&rows) {
        row.fill(0.0);
        for (pixel, parts) in pixels.as_chunks::<3>().0.iter().zip(&columns) {
            let sum = f64::from(pixel.iter().map(|v| u32::from(*v)).sum::<u32>());
            parts.iter().for_each(|(cell, share)| row[*cell] += share * sum);
        }
        for (v, share) in parts {
            for (to, from) in sums[v * THUMBNAIL..].iter_mut().zip(&row) {
                *to += share * from;
            }
        }
    }
    sums.iter().map(|sum| (sum / (3.0 * 255.0)) as f32).collect()
}

/// For each of n pixels of a side, the cells of the thumbnail that it lies in and its share of each; the shares of a cell
/// add up to 1.
fn shares(n: usize) -> Vec<Vec<(usize, f64)>> {
    let length = n as f64 / THUMBNAIL as f64;
    let mut out = vec![vec![]; n];
    for cell in 0..THUMBNAIL {
        let (start, end) = (cell as f64 * length, (cell + 1) as f64 * length);
        let last = (end.ceil() as usize).min(n);
        for (pixel, parts) in out.iter_mut().enumerate().take(last).skip(start.floor() as usize) {
            let covered = end.min((pixel + 1) as f64) - start.max(pixel as f64);
            if covered > 0.0 {
                parts.push((cell, covered / length));
            }
        }
    }
    out
}

/// Pairs of images (by number, the lower first) that show the same in the same place: another exposure, size or
/// compression of one scene.
///
/// Images of one kind of part are alike anyway, so that a common perceptual hash would call most of them duplicates.
/// Here thumbnails are brought to one brightness and contrast, what is common to all is taken away, and two are alike
/// where the rest correlates to 0.95 or more; or where they differ by less than 1 % of their contrast. All pairs are
/// compared, by matrix products; images without contrast are left out. Among two or three images, which have little in
/// common to take away, only those that differ in light alone are found; a fine
/// regular texture is not recognised in another size.
pub fn near_duplicates(thumbnails: &[&[f32]]) -> Vec<(usize, usize)> {
    let mut numbers = vec![];
    let mut rows: Vec<f32> = vec![];
    for (i, thumbnail) in thumbnails.iter().enumerate() {
        let row = Array1::from_iter(thumbnail.iter().copied());
        let row = &row - row.mean().unwrap_or(0.0);
        let norm = row.dot(&row).sqrt();
        // Less than a level: nothing to compare.
        if row.len() == THUMBNAIL * THUMBNAIL && norm > THUMBNAIL as f32 / 255.0 {
            numbers.push(i);
            rows.extend(row / norm);
        }
    }
    let Ok(rows) = Array2::from_shape_vec((numbers.len(), THUMBNAIL * THUMBNAIL), rows) else {
        return vec![];
    };
    let Some(mean) = rows.mean_axis(Axis(0)) else {
        return vec![];
    };
    let mut own = &rows - &mean;
    for mut row in own.outer_iter_mut() {
        let norm = row.dot(&row).sqrt();
        // What is equal to the mean has nothing of its own.
        row.mapv_inplace(|v| if norm > 1e-6 { v / norm } else { 0.0 });
    }
    let mut pairs = vec![];
    for start in (0..numbers.len()).step_by(BLOCK) {
        let end = (start + BLOCK).min(numbers.len());
        let alike = own.slice(s![start..end, ..]).dot(&own.slice(s![start.., ..]).t());
        let same = rows
            .slice(s![start..end, ..])
            .dot(&rows.slice(s![start.., ..]).t());
        for ((i, j), correlation) in alike.indexed_iter().filter(|((i, j), _)| i < j) {
            // Of vectors of length 1, |a - b|^2 = 2 - 2 <a, b>.
            if *correlation >= ALIKE || 2.0 - 2.0 * same[[i, j]] < SAME * SAME {
                pairs.push((numbers[start + i], numbers[start + j]));
            }
        }
    }
    pairs
}
