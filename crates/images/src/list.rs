//! Image files of plain folders.

use std::path::{Path, PathBuf};

use crate::ImagesError;
use crate::dataset::{image_paths, list};

/// The image files of `folder`, in byte order of their names; with `deep` also those of its folders, theirs and so on.
/// Hidden files and folders and files with other extensions are left out. Nothing is decoded.
///
/// # Errors
/// [`ImagesError::NoSuchFolder`], [`ImagesError::NotAFolder`], [`ImagesError::NoImages`] if there is none,
/// [`ImagesError::FolderNamedAsImage`], [`ImagesError::Io`].
pub fn list_images(folder: &Path, deep: bool) -> Result<Vec<PathBuf>, ImagesError> {
    match std::fs::metadata(folder) {
        Ok(m) if m.is_dir() => {}
        Ok(_) => return Err(ImagesError::NotAFolder { path: folder.into() }),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(ImagesError::NoSuchFolder { path: folder.into() });
        }
        Err(e) => return Err(ImagesError::io(folder, e)),
    }
    let mut out = vec![];
    collect(folder, if deep { MAX_DEPTH } else { 0 }, &mut out)?;
    if out.is_empty() {
        return Err(ImagesError::NoImages { path: folder.into() });
    }
    Ok(out)
}

/// Folders within folders, so that a link to a folder above is no way without end.
const MAX_DEPTH: usize = 16;

fn collect(folder: &Path, depth: usize, out: &mut Vec<PathBuf>) -> Result<(), ImagesError> {
    out.extend(image_paths(folder)?);
    if depth > 0 {
        for path in list(folder)?.into_iter().filter(|p| p.is_dir()) {
            collect(&path, depth - 1, out)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_listed_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(at("b/c")).unwrap();
        for name in [
            "z.png",
            "a.JPG",
            ".hidden.png",
            "notes.txt",
            "b/1.png",
            "b/c/2.bmp",
        ] {
            std::fs::write(at(name), "").unwrap();
        }
        let names = |deep| list_images(folder.path(), deep).unwrap();
        assert_eq!(names(false), [at("a.JPG"), at("z.png")]);
        assert_eq!(
            names(true),
            [at("a.JPG"), at("z.png"), at("b/1.png"), at("b/c/2.bmp")]
        );
        assert!(matches!(
            list_images(&at("none"), true),
            Err(ImagesError::NoSuchFolder { .. })
        ));
        assert!(matches!(
            list_images(&at("z.png"), true),
            Err(ImagesError::NotAFolder { .. })
        ));
        std::fs::create_dir(at("empty")).unwrap();
        assert!(matches!(
            list_images(&at("empty"), true),
            Err(ImagesError::NoImages { .. })
        ));
    }
}
