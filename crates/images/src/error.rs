//! What can go wrong with images and their folders.

use std::path::PathBuf;

/// An error with an image folder, an image or its preprocessing: where, what, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImagesError {
    /// The operating system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// File or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// There is no such folder.
    #[error("{}: there is no such folder; check the path", path.display())]
    NoSuchFolder {
        /// As it was given.
        path: PathBuf,
    },
    /// It is a file.
    #[error("{}: this is not a folder; give the folder that holds the images", path.display())]
    NotAFolder {
        /// As it was given.
        path: PathBuf,
    },
    /// Neither the folder nor one of its subfolders has `train/good`.
    #[error(
        "{0}: neither this folder nor a subfolder of it has train/good; expected is\n  \
         {0}/OBJECT/train/good/000.png\n  \
         {0}/OBJECT/test/good/000.png\n  \
         {0}/OBJECT/test/DEFECT/000.png\n  \
         {0}/OBJECT/ground_truth/DEFECT/000_mask.png (optional)",
        path.display()
    )]
    Layout {
        /// As it was given.
        path: PathBuf,
    },
    /// An object was asked for that is not there.
    #[error("{}: there is no object `{name}`; there {}", path.display(), listed(found))]
    NoSuchObject {
        /// The data folder.
        path: PathBuf,
        /// As it was asked for.
        name: String,
        /// The objects that are there.
        found: Vec<String>,
    },
    /// An empty list of objects was asked for.
    #[error("{}: no object is selected; name at least one of {}", path.display(), found.join(", "))]
    NoObjects {
        /// The data folder.
        path: PathBuf,
        /// The objects that are there.
        found: Vec<String>,
    },
    /// A folder that should hold images holds none.
    #[error(
        "{}: this folder holds no image (png, jpg, jpeg, bmp, tif, tiff or webp); \
         put images there or remove the folder",
        path.display()
    )]
    NoImages {
        /// The folder.
        path: PathBuf,
    },
    /// An object has no test folder, or one without subfolders.
    #[error(
        "{}: there are no test images; put good ones into test/good and defective ones into test/DEFECT",
        path.display()
    )]
    NoTest {
        /// The object's folder.
        path: PathBuf,
    },
    /// A mask belongs to no image.
    #[error(
        "{}: this mask belongs to no image: there is no {expected}; \
         restore that image, remove the mask, or name it NAME_mask.png after its image NAME",
        path.display()
    )]
    MaskWithoutImage {
        /// The mask.
        path: PathBuf,
        /// The image that was looked for.
        expected: String,
    },
    /// A mask could belong to two images.
    #[error("{}: this mask belongs to two images, {first} and {second}; rename one", path.display())]
    AmbiguousMask {
        /// The mask.
        path: PathBuf,
        /// One image.
        first: String,
        /// The other.
        second: String,
    },
    /// An image has two masks.
    #[error(
        "{}: this image has two masks, {} and {}; remove one",
        image.display(), first.display(), second.display()
    )]
    TwoMasks {
        /// The image.
        image: PathBuf,
        /// One mask.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
    /// A mask's size is not its image's.
    #[error(
        "{}: this mask is {} x {} pixels, but its image {} is {} x {}; replace or remove the mask",
        path.display(), size.0, size.1, image.display(), image_size.0, image_size.1
    )]
    MaskSize {
        /// The mask.
        path: PathBuf,
        /// Width and height of the mask.
        size: (u32, u32),
        /// Its image.
        image: PathBuf,
        /// Width and height of the image.
        image_size: (u32, u32),
    },
    /// A name is not UTF-8, so that it can have no place in a table.
    #[error("{}: this name is not valid UTF-8; rename it", path.display())]
    NotUtf8 {
        /// File or folder.
        path: PathBuf,
    },
    /// A folder has the name of an image.
    #[error("{}: this is a folder, but its name is that of an image; rename or remove it", path.display())]
    FolderNamedAsImage {
        /// The folder.
        path: PathBuf,
    },
    /// A file is not an image, or not a whole one.
    #[error("{}: cannot be decoded: {reason}; copy the file again or remove it", path.display())]
    Undecodable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A kind of pixels that has no one meaning in 8 bits.
    #[error("{}: its pixels are {kind}, which is not supported; convert it to 8 or 16 bits", path.display())]
    UnsupportedPixels {
        /// The file.
        path: PathBuf,
        /// What they are.
        kind: &'static str,
    },
    /// An image is too large to be decoded safely.
    #[error(
        "{}: the image is {width} x {height} pixels and may have at most {} million; \
         cut it up or scale it down",
        path.display(), crate::image::MAX_PIXELS / 1_000_000
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Pixels.
        width: u32,
        /// Pixels.
        height: u32,
    },
    /// An image is too long for its breadth.
    #[error(
        "an image of {width} x {height} pixels would be {long} pixels long after resizing; \
         cut it into pieces that are less elongated"
    )]
    TooElongated {
        /// Pixels.
        width: u32,
        /// Pixels.
        height: u32,
        /// Longer side after resizing.
        long: u64,
    },
    /// An image without pixels.
    #[error("an image of {width} x {height} pixels cannot be resized")]
    NoPixels {
        /// Pixels.
        width: u32,
        /// Pixels.
        height: u32,
    },
    /// A preset that cannot be applied.
    #[error("preprocessing: {what}")]
    Preset {
        /// Which value is wrong, and what it may be.
        what: String,
    },
    /// The resizer refused.
    #[error("an image of {width} x {height} pixels could not be resized: {reason}")]
    Resize {
        /// Pixels.
        width: u32,
        /// Pixels.
        height: u32,
        /// Why.
        reason: String,
    },
    /// An option of the synthetic data set is out of range.
    #[error("synthetic data set: {what}")]
    Synth {
        /// Which, and what it may be.
        what: String,
    },
    /// No defect can be made on an image.
    #[error("no defect of the kind {kind} can be made on an image of {width} x {height} pixels: {reason}")]
    Defect {
        /// The kind.
        kind: String,
        /// Pixels.
        width: u32,
        /// Pixels.
        height: u32,
        /// Why.
        reason: &'static str,
    },
    /// A map of scores that cannot be drawn.
    #[error("map of scores: {what}")]
    Map {
        /// What is wrong.
        what: String,
    },
    /// The output folder holds something.
    #[error(
        "{}: this folder is not empty, and nothing is overwritten; give a new folder or empty this one",
        path.display()
    )]
    NotEmpty {
        /// The folder.
        path: PathBuf,
    },
}

impl ImagesError {
    pub(crate) fn io(path: impl Into<PathBuf>, source: std::io::Error) -> ImagesError {
        ImagesError::Io {
            path: path.into(),
            source,
        }
    }
}

fn listed(found: &[String]) -> String {
    match found {
        [one] => format!("is only {one}"),
        many => format!("are {}", many.join(", ")),
    }
}
