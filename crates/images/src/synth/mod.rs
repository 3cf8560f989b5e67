//! The built-in synthetic data set.

pub(crate) mod canvas;
mod washer;
mod weave;

use std::path::{Path, PathBuf};

use image::{ExtendedColorType, GrayImage, ImageEncoder, RgbImage, codecs::png::PngEncoder};
use rayon::prelude::*;

use self::canvas::Dice;
use crate::ImagesError;

/// What [`write_synthetic`] writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SynthOptions {
    /// The same seed gives the same files.
    pub seed: u64,
    /// Side of the square images, 32 to 2048 pixels.
    pub size: u32,
    /// Good training images of each object, at least 1.
    pub train: usize,
    /// Good test images of each object, at least 1.
    pub test_good: usize,
    /// Test images of each kind of defect, at least 1.
    pub per_defect: usize,
}

impl Default for SynthOptions {
    fn default() -> SynthOptions {
        SynthOptions {
            seed: 0,
            size: 256,
            train: 40,
            test_good: 16,
            per_defect: 8,
        }
    }
}

/// What [`write_synthetic`] wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SynthSummary {
    /// Names of the objects, in byte order.
    pub objects: Vec<String>,
    /// Number of images, masks not counted.
    pub images: usize,
    /// Number of masks.
    pub masks: usize,
}

/// An image and, where it is defective, what of it is.
type Part = (RgbImage, Option<GrayImage>);

/// How one object is drawn: by a source of chance, a size and perhaps a kind of defect.
struct Artist {
    object: &'static str,
    defects: &'static [&'static str],
    draw: fn(&mut Dice, u32, Option<&str>) -> Part,
}

const ARTISTS: [Artist; 2] = [
    Artist {
        object: "washer",
        defects: &washer::DEFECTS,
        draw: washer::draw,
    },
    Artist {
        object: "weave",
        defects: &weave::DEFECTS,
        draw: weave::draw,
    },
];

/// Digits of a file name; more where there are more files.
const DIGITS: usize = 3;

/// Writes a data set of two objects in the MVTec layout, to try the program without any data: `washer`, a
/// machined part on a table, and `weave`, a fabric, each with four kinds of defect and their masks.
///
/// Light, position and material vary from one good image to the next about as much as small defects show,
/// so that detectors differ. Each image has its own stream of random numbers, made from the seed, the
/// object, the folder and the image's number: other counts leave it as it is. Files are written under a
/// temporary name and renamed, so that none is ever cut off. On one platform the bytes follow from the
/// options; another one's sines may differ in the last place.
///
/// # Errors
/// [`ImagesError::Synth`] for options out of range, [`ImagesError::NotEmpty`] if `out` holds anything,
/// [`ImagesError::NotAFolder`] if it is a file, [`ImagesError::Io`] with the file that could not be written.
pub fn write_synthetic(out: &Path, options: &SynthOptions) -> Result<SynthSummary, ImagesError> {
    write_objects(out, options, &ARTISTS)
}

/// The objects of MVTec AD, by name.
pub const MVTEC_OBJECTS: [&str; 15] = [
    "bottle",
    "cable",
    "capsule",
    "carpet",
    "grid",
    "hazelnut",
    "leather",
    "metal_nut",
    "pill",
    "screw",
    "tile",
    "toothbrush",
    "transistor",
    "wood",
    "zipper",
];

/// As [`write_synthetic`], with the [objects of MVTec AD](MVTEC_OBJECTS) in place of the two: washers and fabrics by
/// turns, each drawn by chance of its own. What they show is not what their names say; a study of them is as long as
/// that study.
///
/// # Errors
/// Those of [`write_synthetic`].
pub fn write_synthetic_mvtec(out: &Path, options: &SynthOptions) -> Result<SynthSummary, ImagesError> {
    let artists: Vec<Artist> = MVTEC_OBJECTS
        .iter()
        .zip(ARTISTS.iter().cycle())
        .map(|(object, artist)| Artist {
            object,
            defects: artist.defects,
            draw: artist.draw,
        })
        .collect();
    write_objects(out, options, &artists)
}

fn write_objects(
    out: &Path,
    options: &SynthOptions,
    artists: &[Artist],
) -> Result<SynthSummary, ImagesError> {
    check(options)?;
    prepare(out)?;
    let mut jobs: Vec<(&Artist, &str, Option<&'static str>, usize)> = vec![];
    for artist in artists {
        jobs.extend((0..options.train).map(|i| (artist, "train/good", None, i)));
        jobs.extend((0..options.test_good).map(|i| (artist, "test/good", None, i)));
        for defect in artist.defects {
            jobs.extend((0..options.per_defect).map(|i| (artist, "test", Some(*defect), i)));
        }
    }
    let masks = jobs
        .par_iter()
        .map(|&(artist, folder, defect, i)| write_part(out, options, artist, folder, defect, i))
        .collect::<Result<Vec<bool>, _>>()?;
    Ok(SynthSummary {
        objects: artists.iter().map(|a| a.object.to_owned()).collect(),
        images: masks.len(),
        masks: masks.into_iter().filter(|&m| m).count(),
    })
}

fn check(options: &SynthOptions) -> Result<(), ImagesError> {
    let wrong = |what: String| Err(ImagesError::Synth { what });
    if !(32..=2048).contains(&options.size) {
        return wrong(format!(
            "the size is {} and must be from 32 to 2048 pixels",
            options.size
        ));
    }
    for (name, count) in [
        ("training images", options.train),
        ("good test images", options.test_good),
        ("test images of each defect", options.per_defect),
    ] {
        if !(1..=100_000).contains(&count) {
            return wrong(format!(
                "the number of {name} is {count} and must be from 1 to 100000"
            ));
        }
    }
    Ok(())
}

/// Makes sure that `out` is an empty folder.
fn prepare(out: &Path) -> Result<(), ImagesError> {
    if out.exists() && !out.is_dir() {
        return Err(ImagesError::NotAFolder { path: out.into() });
    }
    std::fs::create_dir_all(out).map_err(|e| ImagesError::io(out, e))?;
    let mut entries = std::fs::read_dir(out).map_err(|e| ImagesError::io(out, e))?;
    match entries.next() {
        None => Ok(()),
        Some(Ok(_)) => Err(ImagesError::NotEmpty { path: out.into() }),
        Some(Err(e)) => Err(ImagesError::io(out, e)),
    }
}

/// Draws and writes one image, and its mask if it has one; returns whether it has.
fn write_part(
    out: &Path,
    options: &SynthOptions,
    artist: &Artist,
    folder: &str,
    defect: Option<&'static str>,
    index: usize,
) -> Result<bool, ImagesError> {
    let folder = match defect {
        Some(defect) => format!("{folder}/{defect}"),
        None => folder.to_owned(),
    };
    let mut dice = Dice::new(options.seed, &format!("{}/{folder}/{index}", artist.object));
    let (image, mask) = (artist.draw)(&mut dice, options.size, defect);
    let object = out.join(artist.object);
    let name = format!("{index:0DIGITS$}");
    let path = object.join(folder).join(format!("{name}.png"));
    write_png(&path, image.as_raw(), options.size, ExtendedColorType::Rgb8)?;
    if let (Some(mask), Some(defect)) = (&mask, defect) {
        let path: PathBuf = object
            .join("ground_truth")
            .join(defect)
            .join(format!("{name}_mask.png"));
        write_png(&path, mask.as_raw(), options.size, ExtendedColorType::L8)?;
    }
    Ok(mask.is_some())
}

/// Writes under another name and renames, so that the file is whole or absent.
fn write_png(path: &Path, pixels: &[u8], size: u32, color: ExtendedColorType) -> Result<(), ImagesError> {
    let io = |e| ImagesError::io(path, e);
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|e| ImagesError::io(folder, e))?;
    }
    let mut bytes = vec![];
    PngEncoder::new(&mut bytes)
        .write_image(pixels, size, size, color)
        .map_err(|e| io(std::io::Error::other(e)))?;
    let partial = path.with_extension("png.partial");
    let written = std::fs::write(&partial, &bytes).and_then(|()| std::fs::rename(&partial, path));
    written.map_err(|e| {
        // What is left of it helps no one; that it cannot be removed either is not the error to report.
        let _ = std::fs::remove_file(&partial);
        io(e)
    })
}
