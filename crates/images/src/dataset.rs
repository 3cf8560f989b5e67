//! Folders in the MVTec AD layout.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::ImagesError;
use crate::image::{has_image_extension, load_mask, load_rgb};

/// The objects of a data folder.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// The folder that was opened.
    pub root: PathBuf,
    /// Objects in byte order of their names; at least one.
    pub objects: Vec<Object>,
}

/// One kind of thing that is inspected, with its training and test images.
#[derive(Clone, Debug)]
pub struct Object {
    /// The name of its folder.
    pub name: String,
    /// Its folder.
    pub folder: PathBuf,
    /// Good images to learn from, in byte order of their relative paths; at least one.
    pub train: Vec<ImageFile>,
    /// Good and defective images to test with, in byte order of their relative paths; at least one.
    pub test: Vec<ImageFile>,
}

/// One image of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageFile {
    /// The file.
    pub path: PathBuf,
    /// Its path relative to the object's folder, separated by `/`.
    pub relative: String,
    /// Kind of defect, which is the name of its folder; `None` where it is good.
    pub defect: Option<String>,
    /// The mask of its defect, where there is one.
    pub mask: Option<PathBuf>,
}

impl ImageFile {
    /// Whether the image shows a defect.
    pub fn is_defective(&self) -> bool {
        self.defect.is_some()
    }
}

impl Dataset {
    /// Lists the images of the objects below `path` (`path/OBJECT/train/good` and so on), or of `path`
    /// itself if that is an object (`path/train/good`). `only` selects objects by name; `None` takes all.
    ///
    /// Hidden files and files with other extensions are ignored. Nothing is decoded: see [`verify`].
    ///
    /// # Errors
    /// If there is no such folder or no object in it, an object of `only` is missing, a folder that should
    /// hold images holds none, there are no test images, or a mask belongs to no image.
    pub fn open(path: &Path, only: Option<&[String]>) -> Result<Dataset, ImagesError> {
        match std::fs::metadata(path) {
            Ok(m) if m.is_dir() => {}
            Ok(_) => return Err(ImagesError::NotAFolder { path: path.into() }),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Err(ImagesError::NoSuchFolder { path: path.into() });
            }
            Err(e) => return Err(ImagesError::io(path, e)),
        }
        let mut folders = BTreeMap::new();
        if path.join("train/good").is_dir() {
            // `.` and `..` have no name of their own.
            let canonical = path.canonicalize().map_err(|e| ImagesError::io(path, e))?;
            folders.insert(name_of(&canonical)?, path.to_path_buf());
        } else {
            for folder in list(path)?.into_iter().filter(|p| p.join("train/good").is_dir()) {
                folders.insert(name_of(&folder)?, folder);
            }
        }
        if folders.is_empty() {
            return Err(ImagesError::Layout { path: path.into() });
        }
        if let Some(only) = only {
            let found = || folders.keys().cloned().collect();
            if only.is_empty() {
                return Err(ImagesError::NoObjects {
                    path: path.into(),
                    found: found(),
                });
            }
            if let Some(name) = only.iter().find(|name| !folders.contains_key(*name)) {
                return Err(ImagesError::NoSuchObject {
                    path: path.into(),
                    name: name.clone(),
                    found: found(),
                });
            }
            folders.retain(|name, _| only.contains(name));
        }
        let objects = folders
            .into_iter()
            .map(|(name, folder)| Object::open(name, folder))
            .collect::<Result<_, _>>()?;
        Ok(Dataset {
            root: path.into(),
            objects,
        })
    }
}

impl Object {
    fn open(name: String, folder: PathBuf) -> Result<Object, ImagesError> {
        let mut train = images(&folder.join("train/good"), "train/good", None)?;
        sort(&mut train);
        let test_folder = folder.join("test");
        let no_test = || ImagesError::NoTest { path: folder.clone() };
        if !test_folder.is_dir() {
            return Err(no_test());
        }
        let mut test = vec![];
        for kind in list(&test_folder)?.into_iter().filter(|p| p.is_dir()) {
            let name = name_of(&kind)?;
            let relative = format!("test/{name}");
            let defect = (name != "good").then_some(name);
            test.extend(images(&kind, &relative, defect)?);
        }
        if test.is_empty() {
            return Err(no_test());
        }
        attach_masks(&folder.join("ground_truth"), &mut test)?;
        sort(&mut test);
        Ok(Object {
            name,
            folder,
            train,
            test,
        })
    }

    /// A blake3 hash, in hexadecimal, of the relative paths and contents of all training and test images
    /// and masks.
    ///
    /// It is the same wherever the folder lies and whatever its name is, and another if one byte of one
    /// file or one name changes.
    ///
    /// # Errors
    /// [`ImagesError::Io`] if a file cannot be read.
    pub fn fingerprint(&self) -> Result<String, ImagesError> {
        Ok(self.content()?.fingerprint)
    }

    /// The object that a list of [`files`](Self::files) describes, whether they are there or not. Masks are left out.
    pub fn of_files<'a>(name: &str, folder: &Path, files: impl IntoIterator<Item = &'a String>) -> Object {
        let mut object = Object {
            name: name.to_owned(),
            folder: folder.into(),
            train: vec![],
            test: vec![],
        };
        for relative in files {
            let file = |defect: Option<&str>| ImageFile {
                path: folder.join(relative),
                relative: relative.clone(),
                defect: defect.map(str::to_owned),
                mask: None,
            };
            match relative.split('/').collect::<Vec<_>>()[..] {
                ["train", ..] => object.train.push(file(None)),
                ["test", kind, ..] => object.test.push(file(Some(kind).filter(|kind| *kind != "good"))),
                _ => {}
            }
        }
        object
    }

    /// The files that results depend on, images and masks, with their paths relative to the object's folder; sorted.
    ///
    /// # Errors
    /// [`ImagesError::Io`] if the name of a mask is no text.
    pub fn files(&self) -> Result<Vec<(String, &Path)>, ImagesError> {
        let mut files: Vec<(String, &Path)> = vec![];
        for image in self.train.iter().chain(&self.test) {
            files.push((image.relative.clone(), &image.path));
            if let (Some(mask), Some(defect)) = (&image.mask, &image.defect) {
                files.push((format!("ground_truth/{defect}/{}", name_of(mask)?), mask));
            }
        }
        files.sort();
        Ok(files)
    }

    /// The [`fingerprint`](Self::fingerprint), and the hashes of the files that it is made of.
    ///
    /// # Errors
    /// [`ImagesError::Io`] if a file cannot be read.
    pub fn content(&self) -> Result<Content, ImagesError> {
        let files = self.files()?;
        let hashes: Vec<blake3::Hash> = files
            .par_iter()
            .map(|(_, path)| {
                let mut hasher = blake3::Hasher::new();
                std::fs::File::open(path)
                    .and_then(|file| hasher.update_reader(file).map(|h| h.finalize()))
                    .map_err(|e| ImagesError::io(*path, e))
            })
            .collect::<Result<_, _>>()?;
        let mut hasher = blake3::Hasher::new();
        for ((relative, _), hash) in files.iter().zip(&hashes) {
            // The length keeps names apart from what follows them.
            hasher.update(&(relative.len() as u64).to_le_bytes());
            hasher.update(relative.as_bytes());
            hasher.update(hash.as_bytes());
        }
        let hashes = hashes.iter().map(|hash| hash.to_hex().to_string());
        Ok(Content {
            fingerprint: hasher.finalize().to_hex().to_string(),
            files: files.into_iter().map(|(name, _)| name).zip(hashes).collect(),
        })
    }
}

/// What the files of an object hold, by BLAKE3.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// Hash of the whole: of the names and the hashes of the files.
    pub fingerprint: String,
    /// Hash of each file, by its path relative to the object's folder.
    pub files: BTreeMap<String, String>,
}

/// Decodes every image and mask of `object`, so that a damaged file is found before a long job.
///
/// # Errors
/// That of the first file, in the order of `train` and then `test`, that cannot be decoded or whose mask
/// cannot be or has another size.
pub fn verify(object: &Object) -> Result<(), ImagesError> {
    let files: Vec<&ImageFile> = object.train.iter().chain(&object.test).collect();
    match files.par_iter().find_map_first(|file| verify_file(file).err()) {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

fn verify_file(file: &ImageFile) -> Result<(), ImagesError> {
    let image = load_rgb(&file.path)?;
    if let Some(path) = &file.mask {
        let mask = load_mask(path)?;
        if mask.dimensions() != image.dimensions() {
            return Err(ImagesError::MaskSize {
                path: path.clone(),
                size: mask.dimensions(),
                image: file.path.clone(),
                image_size: image.dimensions(),
            });
        }
    }
    Ok(())
}

pub(crate) fn sort(files: &mut [ImageFile]) {
    files.sort_by(|a, b| a.relative.cmp(&b.relative));
}

/// The entries of `folder` that are not hidden, in byte order of their names.
pub(crate) fn list(folder: &Path) -> Result<Vec<PathBuf>, ImagesError> {
    let io = |e| ImagesError::io(folder, e);
    let mut out = vec![];
    for entry in std::fs::read_dir(folder).map_err(io)? {
        let entry = entry.map_err(io)?;
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
            out.push(entry.path());
        }
    }
    out.sort();
    Ok(out)
}

pub(crate) fn name_of(path: &Path) -> Result<String, ImagesError> {
    path.file_name()
        .and_then(|n| n.to_str())
        .map(str::to_owned)
        .ok_or_else(|| ImagesError::NotUtf8 { path: path.into() })
}

/// Files with an image's extension in `folder`, which must hold one.
pub(crate) fn image_paths(folder: &Path) -> Result<Vec<PathBuf>, ImagesError> {
    let mut paths = list(folder)?;
    paths.retain(|p| has_image_extension(p));
    if let Some(path) = paths.iter().find(|p| p.is_dir()) {
        return Err(ImagesError::FolderNamedAsImage { path: path.clone() });
    }
    Ok(paths)
}

pub(crate) fn images(
    folder: &Path,
    relative: &str,
    defect: Option<String>,
) -> Result<Vec<ImageFile>, ImagesError> {
    let files = image_paths(folder)?
        .into_iter()
        .map(|path| {
            let relative = format!("{relative}/{}", name_of(&path)?);
            Ok(ImageFile {
                path,
                relative,
                defect: defect.clone(),
                mask: None,
            })
        })
        .collect::<Result<Vec<_>, ImagesError>>()?;
    if files.is_empty() {
        return Err(ImagesError::NoImages { path: folder.into() });
    }
    Ok(files)
}

/// Gives each mask below `ground_truth` to its image.
fn attach_masks(ground_truth: &Path, test: &mut [ImageFile]) -> Result<(), ImagesError> {
    if !ground_truth.is_dir() {
        return Ok(());
    }
    for folder in list(ground_truth)?.into_iter().filter(|p| p.is_dir()) {
        let defect = name_of(&folder)?;
        if defect == "good" {
            // Some data sets store empty masks of good images; they say nothing.
            continue;
        }
        for path in image_paths(&folder)? {
            attach_mask(path, &defect, test)?;
        }
    }
    Ok(())
}

/// Gives a mask of a `defect` to its image.
pub(crate) fn attach_mask(path: PathBuf, defect: &str, test: &mut [ImageFile]) -> Result<(), ImagesError> {
    let name = name_of(&path)?;
    let stem = name.rsplit_once('.').map_or(name.as_str(), |(stem, _)| stem);
    let wanted = stem.strip_suffix("_mask");
    let mut owners = test.iter_mut().filter(|file| {
        file.defect.as_deref() == Some(defect) && file.path.file_stem().and_then(|s| s.to_str()) == wanted
    });
    let (first, second) = (owners.next(), owners.next());
    match (first, second) {
        (Some(image), None) if image.mask.is_none() => image.mask = Some(path),
        (Some(image), None) => {
            // 000_mask.png and 000_mask.bmp: the image has two masks.
            return Err(ImagesError::TwoMasks {
                image: image.path.clone(),
                first: image.mask.clone().unwrap_or_default(),
                second: path,
            });
        }
        (Some(first), Some(second)) => {
            return Err(ImagesError::AmbiguousMask {
                path,
                first: first.relative.clone(),
                second: second.relative.clone(),
            });
        }
        (None, _) => {
            let expected = format!("test/{defect}/{}.*", wanted.unwrap_or(stem));
            return Err(ImagesError::MaskWithoutImage { path, expected });
        }
    }
    Ok(())
}
