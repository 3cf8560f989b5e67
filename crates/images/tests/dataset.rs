//! Folders, right and wrong.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::path::Path;

use blemish_images::{Dataset, ImagesError, RgbImage, verify};
use tempfile::TempDir;

fn write(path: &Path, width: u32, level: u8) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    RgbImage::from_pixel(width, 8, image::Rgb([level; 3]))
        .save_with_format(path, image::ImageFormat::Png)
        .unwrap();
}

/// A small object with masks at `root/name`.
fn object(root: &Path, name: &str) {
    let at = |relative: &str| root.join(name).join(relative);
    for (i, relative) in [
        "train/good/000.png",
        "train/good/001.PNG",
        "train/good/010.png",
        "train/good/01.png",
        "test/good/000.png",
        "test/crack/000.png",
        "test/crack/001.png",
        "test/crack-b/000.jpeg",
    ]
    .iter()
    .enumerate()
    {
        write(&at(relative), 8, i as u8);
    }
    write(&at("ground_truth/crack/001_mask.png"), 8, 255);
    write(&at("ground_truth/crack-b/000_mask.png"), 8, 255);
    // What must be ignored.
    std::fs::write(at("train/good/.hidden.png"), b"x").unwrap();
    std::fs::write(at("train/good/Thumbs.db"), b"x").unwrap();
    std::fs::write(at("readme.txt"), b"x").unwrap();
    std::fs::write(at("test/notes.txt"), b"x").unwrap();
}

fn two() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    object(dir.path(), "zinc");
    object(dir.path(), "Brass");
    std::fs::create_dir(dir.path().join("papers")).unwrap();
    dir
}

fn names(dataset: &Dataset) -> Vec<&str> {
    dataset.objects.iter().map(|o| o.name.as_str()).collect()
}

fn error(path: &Path, only: Option<&[&str]>) -> String {
    let only: Option<Vec<String>> = only.map(|o| o.iter().map(|s| (*s).to_owned()).collect());
    Dataset::open(path, only.as_deref()).unwrap_err().to_string()
}

#[test]
fn objects_and_images_are_in_byte_order() {
    let dir = two();
    let dataset = Dataset::open(dir.path(), None).unwrap();
    assert_eq!(names(&dataset), ["Brass", "zinc"]);
    let object = &dataset.objects[1];
    let train: Vec<_> = object.train.iter().map(|i| i.relative.as_str()).collect();
    assert_eq!(
        train,
        [
            "train/good/000.png",
            "train/good/001.PNG",
            "train/good/01.png",
            "train/good/010.png"
        ]
    );
    assert!(object.train.iter().all(|i| !i.is_defective() && i.mask.is_none()));
    let test: Vec<_> = object
        .test
        .iter()
        .map(|i| (i.relative.as_str(), i.defect.as_deref()))
        .collect();
    assert_eq!(
        test,
        [
            // `-` is before `/`.
            ("test/crack-b/000.jpeg", Some("crack-b")),
            ("test/crack/000.png", Some("crack")),
            ("test/crack/001.png", Some("crack")),
            ("test/good/000.png", None),
        ]
    );
    let masks: Vec<bool> = object.test.iter().map(|i| i.mask.is_some()).collect();
    assert_eq!(masks, [true, false, true, false]);
    verify(object).unwrap();
}

#[test]
fn an_object_itself_can_be_opened() {
    let dir = two();
    let dataset = Dataset::open(&dir.path().join("zinc"), None).unwrap();
    assert_eq!(names(&dataset), ["zinc"]);
    // The name does not depend on how the path is written.
    let dataset = Dataset::open(&dir.path().join("Brass/../zinc/."), None).unwrap();
    assert_eq!(names(&dataset), ["zinc"]);
}

#[test]
fn objects_are_selected_by_name() {
    let dir = two();
    // What is not selected may be broken.
    std::fs::remove_dir_all(dir.path().join("Brass/test")).unwrap();
    let only = ["zinc".to_owned()];
    assert_eq!(names(&Dataset::open(dir.path(), Some(&only)).unwrap()), ["zinc"]);
    let message = error(dir.path(), Some(&["zinc", "lead"]));
    assert!(
        message.contains("no object `lead`; there are Brass, zinc"),
        "{message}"
    );
    let message = error(&dir.path().join("zinc"), Some(&["lead"]));
    assert!(message.contains("there is only zinc"), "{message}");
    assert!(error(dir.path(), Some(&[])).contains("no object is selected"));
}

#[test]
fn wrong_folders_say_what_is_expected() {
    let dir = two();
    assert!(error(&dir.path().join("nowhere"), None).contains("nowhere: there is no such folder"));
    assert!(error(&dir.path().join("zinc/readme.txt"), None).contains("readme.txt: this is not a folder"));
    let papers = dir.path().join("papers");
    let message = error(&papers, None);
    assert!(
        message.contains("neither this folder nor a subfolder"),
        "{message}"
    );
    assert!(
        message.contains(&format!("{}/OBJECT/train/good/000.png", papers.display())),
        "{message}"
    );
}

#[test]
fn missing_images_are_errors_that_name_the_folder() {
    let dir = two();
    let zinc = dir.path().join("zinc");
    std::fs::create_dir(zinc.join("test/dent")).unwrap();
    let message = error(&zinc, None);
    assert!(
        message.contains("zinc/test/dent: this folder holds no image"),
        "{message}"
    );
    std::fs::remove_dir_all(zinc.join("test")).unwrap();
    assert!(error(&zinc, None).contains("zinc: there are no test images"));
    std::fs::create_dir(zinc.join("test")).unwrap();
    assert!(error(&zinc, None).contains("zinc: there are no test images"));
    std::fs::remove_dir_all(zinc.join("train/good")).unwrap();
    std::fs::create_dir(zinc.join("train/good")).unwrap();
    assert!(error(&zinc, None).contains("zinc/train/good: this folder holds no image"));
}

#[test]
fn masks_must_belong_to_one_image() {
    let dir = two();
    let zinc = dir.path().join("zinc");
    write(&zinc.join("test/crack/001.bmp"), 8, 1);
    assert!(error(&zinc, None).contains("belongs to two images, test/crack/001.bmp and test/crack/001.png"));
    std::fs::remove_file(zinc.join("test/crack/001.bmp")).unwrap();

    write(&zinc.join("ground_truth/crack/001_mask.bmp"), 8, 1);
    assert!(error(&zinc, None).contains("this image has two masks"));
    std::fs::remove_file(zinc.join("ground_truth/crack/001_mask.bmp")).unwrap();

    for name in [
        "ground_truth/crack/007_mask.png",
        "ground_truth/crack/001.png",
        "ground_truth/dent/000_mask.png",
    ] {
        write(&zinc.join(name), 8, 1);
        let message = error(&zinc, None);
        assert!(
            message.contains(name) && message.contains("belongs to no image"),
            "{message}"
        );
        assert!(
            message.contains("restore that image, remove the mask"),
            "{message}"
        );
        std::fs::remove_file(zinc.join(name)).unwrap();
    }
    // Masks of good images say nothing.
    write(&zinc.join("ground_truth/good/000_mask.png"), 8, 0);
    Dataset::open(&zinc, None).unwrap();
}

#[test]
fn a_folder_named_as_an_image_is_an_error() {
    let dir = two();
    std::fs::create_dir(dir.path().join("zinc/train/good/x.png")).unwrap();
    let message = error(dir.path(), None);
    assert!(
        message.contains("x.png: this is a folder, but its name is that of an image"),
        "{message}"
    );
}

#[test]
fn verify_reports_the_first_damaged_file() {
    let dir = two();
    let open = || {
        Dataset::open(&dir.path().join("zinc"), None)
            .unwrap()
            .objects
            .remove(0)
    };
    let zinc = dir.path().join("zinc");
    write(&zinc.join("ground_truth/crack-b/000_mask.png"), 9, 1);
    let message = verify(&open()).unwrap_err().to_string();
    assert!(
        message.contains("000_mask.png: this mask is 9 x 8 pixels") && message.contains("is 8 x 8"),
        "{message}"
    );
    std::fs::write(zinc.join("ground_truth/crack-b/000_mask.png"), b"").unwrap();
    assert!(
        verify(&open())
            .unwrap_err()
            .to_string()
            .contains("000_mask.png: cannot be decoded")
    );
    for name in ["test/good/000.png", "train/good/010.png", "train/good/001.PNG"] {
        std::fs::write(zinc.join(name), b"text").unwrap();
        for _ in 0..5 {
            let message = verify(&open()).unwrap_err().to_string();
            let first = if name.starts_with("test") {
                "ground_truth/crack-b/000_mask.png"
            } else {
                name
            };
            assert!(message.contains(first), "{message}");
        }
    }
}

#[cfg(unix)]
#[test]
fn links_are_followed_and_broken_ones_are_found() {
    let dir = two();
    let link = dir.path().join("zinc/train/good/link.png");
    std::os::unix::fs::symlink(dir.path().join("zinc/test/good/000.png"), &link).unwrap();
    let object = Dataset::open(dir.path(), None).unwrap().objects.remove(1);
    assert_eq!(object.train.len(), 5);
    verify(&object).unwrap();
    std::fs::remove_file(dir.path().join("zinc/test/good/000.png")).unwrap();
    let message = verify(&object).unwrap_err().to_string();
    assert!(message.contains("link.png"), "{message}");
}

#[cfg(target_os = "linux")]
#[test]
fn names_that_are_not_utf8_are_errors() {
    use std::os::unix::ffi::OsStrExt;
    let dir = two();
    let name = std::ffi::OsStr::from_bytes(b"a\xff.png");
    std::fs::write(dir.path().join("zinc/train/good").join(name), b"x").unwrap();
    let result = Dataset::open(dir.path(), None);
    assert!(matches!(result, Err(ImagesError::NotUtf8 { .. })));
}

#[test]
fn a_fingerprint_is_of_the_contents_and_not_of_the_place() {
    let (a, b) = (two(), tempfile::tempdir().unwrap());
    object(b.path(), "another name");
    let print = |root: &Path| {
        Dataset::open(root, None)
            .unwrap()
            .objects
            .last()
            .unwrap()
            .fingerprint()
            .unwrap()
    };
    let before = print(a.path());
    assert_eq!(before.len(), 64);
    assert_eq!(before, print(b.path()));

    let zinc = a.path().join("zinc");
    for name in [
        "train/good/000.png",
        "test/crack/000.png",
        "ground_truth/crack/001_mask.png",
    ] {
        let whole = std::fs::read(zinc.join(name)).unwrap();
        let mut other = whole.clone();
        *other.last_mut().unwrap() ^= 1;
        std::fs::write(zinc.join(name), &other).unwrap();
        assert_ne!(before, print(a.path()), "{name}");
        std::fs::write(zinc.join(name), &whole).unwrap();
        assert_eq!(before, print(a.path()), "{name}");
    }
    // A name, the set of masks, and which of two files has which content matter; other files do not.
    std::fs::write(zinc.join("train/good/notes.txt"), b"y").unwrap();
    assert_eq!(before, print(a.path()));
    std::fs::rename(zinc.join("train/good/000.png"), zinc.join("train/good/999.png")).unwrap();
    assert_ne!(before, print(a.path()));
    std::fs::rename(zinc.join("train/good/999.png"), zinc.join("train/good/000.png")).unwrap();
    std::fs::remove_file(zinc.join("ground_truth/crack/001_mask.png")).unwrap();
    assert_ne!(before, print(a.path()));
}

#[test]
fn the_real_data_set_is_read() {
    let Some(path) = blemish_testkit::data("mvtec_ad/bottle") else {
        return;
    };
    let object = Dataset::open(&path, None).unwrap().objects.remove(0);
    assert_eq!(
        (object.name.as_str(), object.train.len(), object.test.len()),
        ("bottle", 209, 83)
    );
    assert!(object.test.iter().all(|i| i.mask.is_some() == i.is_defective()));
    assert_eq!(object.test.iter().filter(|i| i.is_defective()).count(), 63);
}
