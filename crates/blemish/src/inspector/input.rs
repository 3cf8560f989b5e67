//! What there is to learn from and to test with: a plain folder, an object in the MVTec layout, or a table.

use std::path::{Path, PathBuf};

use blemish_images::{Dataset, ImageFile, ImagesError, list_images};

use crate::Error;

/// Good images to learn from, and what there may be to test with.
#[derive(Clone, Debug)]
pub struct Samples {
    /// What the images are of: the name of the folder or of the table.
    pub name: String,
    /// Good images, at least one, in a fixed order.
    pub train: Vec<ImageFile>,
    /// Good and defective images to test with; may be empty.
    pub test: Vec<ImageFile>,
}

impl Samples {
    /// Finds out what `path` is:
    /// - an object in the MVTec layout: a folder with `train/good`, and `test` and `ground_truth` where there are tests;
    /// - a folder of images, all of them good; or a folder with images in `good` and, to test with, one folder a defect;
    /// - a `.csv` table of `path,label[,mask][,split]` with a line of names. Paths are relative to the table's folder.
    ///   The label of good images is `good`, others name a defect. The split is `train` or `test`; without it, good images
    ///   are to learn from and the others to test with.
    ///
    /// Nothing is decoded.
    ///
    /// # Errors
    /// If it is none of these, or the layout is broken: with the path and what was expected.
    pub fn open(path: &Path) -> Result<Samples, Error> {
        let is_table = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("csv"));
        if is_table && path.is_file() {
            return table(path);
        }
        if path.join("train").join("good").is_dir() {
            return object(path);
        }
        let name = name_of(path);
        let plain = list_images(path, false);
        match plain {
            Ok(files) => Ok(Samples {
                name,
                train: files.into_iter().map(|file| image(file, path, None)).collect(),
                test: vec![],
            }),
            Err(ImagesError::NoImages { .. }) if path.join("good").is_dir() => labelled(path, name),
            Err(ImagesError::NoImages { .. }) => match Dataset::open(path, None) {
                Ok(dataset) => Err(Error::Config(format!(
                    "{} holds several objects, and one is inspected at a time: give {}",
                    path.display(),
                    path.join(&dataset.objects[0].name).display()
                ))),
                Err(_) => Err(Error::Config(format!(
                    "{0}: no images here. Give a folder of good images, {0}/train/good/000.png and so on, \
                     {0}/good/000.png and so on, or a .csv table of path,label",
                    path.display()
                ))),
            },
            Err(error) => Err(error.into()),
        }
    }
}

fn name_of(path: &Path) -> String {
    let whole = path.canonicalize().unwrap_or_else(|_| path.into());
    whole
        .file_stem()
        .map_or_else(|| "images".into(), |name| name.to_string_lossy().into_owned())
}

fn image(path: PathBuf, folder: &Path, defect: Option<String>) -> ImageFile {
    let relative = path.strip_prefix(folder).unwrap_or(&path);
    let parts: Vec<_> = relative.iter().map(|part| part.to_string_lossy()).collect();
    ImageFile {
        relative: parts.join("/"),
        path,
        defect,
        mask: None,
    }
}

/// MVTec's layout; the test folder may be missing.
fn object(path: &Path) -> Result<Samples, Error> {
    if path.join("test").is_dir() {
        let mut dataset = Dataset::open(path, None)?;
        let object = dataset.objects.remove(0);
        return Ok(Samples {
            name: object.name,
            train: object.train,
            test: object.test,
        });
    }
    let files = list_images(&path.join("train").join("good"), false)?;
    Ok(Samples {
        name: name_of(path),
        train: files.into_iter().map(|file| image(file, path, None)).collect(),
        test: vec![],
    })
}

/// One folder a label.
fn labelled(path: &Path, name: String) -> Result<Samples, Error> {
    let train = list_images(&path.join("good"), false)?;
    let io = |e| Error::io(path, e);
    let mut folders = vec![];
    for entry in std::fs::read_dir(path).map_err(io)? {
        let entry = entry.map_err(io)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().is_dir() && name != "good" && !name.starts_with('.') {
            folders.push((name, entry.path()));
        }
    }
    folders.sort();
    let mut test = vec![];
    for (defect, folder) in folders {
        match list_images(&folder, false) {
            Ok(files) => {
                test.extend(
                    files
                        .into_iter()
                        .map(|file| image(file, path, Some(defect.clone()))),
                );
            }
            // Results and notes may lie beside the images.
            Err(ImagesError::NoImages { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Samples {
        name,
        train: train.into_iter().map(|file| image(file, path, None)).collect(),
        test,
    })
}

fn table(path: &Path) -> Result<Samples, Error> {
    let wrong = |line: u64, reason: String| Error::Table {
        path: path.into(),
        line,
        reason,
    };
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .from_path(path)
        .map_err(|e| wrong(1, e.to_string()))?;
    let header = reader.headers().map_err(|e| wrong(1, e.to_string()))?.clone();
    let column = |name: &str| {
        header
            .iter()
            .position(|h| h.trim_start_matches('\u{feff}') == name)
    };
    let (Some(at_path), Some(at_label)) = (column("path"), column("label")) else {
        let found = header.iter().collect::<Vec<_>>().join(",");
        return Err(wrong(
            1,
            format!(
                "the first line is `{found}` and should be `path,label` or \
            `path,label,mask` or `path,label,mask,split`"
            ),
        ));
    };
    // A misspelt name would change what is learned from without a word.
    for (i, name) in header.iter().enumerate() {
        let name = name.trim_start_matches('\u{feff}');
        if !["path", "label", "mask", "split"].contains(&name) {
            let text = format!("the column `{name}` is none of path, label, mask, split");
            return Err(wrong(1, text));
        }
        if column(name) != Some(i) {
            return Err(wrong(1, format!("the column `{name}` is there twice")));
        }
    }
    let (at_mask, at_split) = (column("mask"), column("split"));
    let (mut train, mut test) = (vec![], vec![]);
    let mut seen = std::collections::BTreeMap::new();
    for record in reader.records() {
        let record = record.map_err(|e| {
            let line = e.position().map_or(0, csv::Position::line);
            wrong(line, e.to_string())
        })?;
        let line = record.position().map_or(0, csv::Position::line);
        let field = |at: Option<usize>| at.and_then(|at| record.get(at)).filter(|v| !v.is_empty());
        let Some(relative) = field(Some(at_path)) else {
            return Err(wrong(line, "there is no path".into()));
        };
        let Some(label) = field(Some(at_label)) else {
            return Err(wrong(
                line,
                format!("{relative} has no label: give good or the name of a defect"),
            ));
        };
        if let Some(first) = seen.insert(relative.to_owned(), line) {
            return Err(wrong(line, format!("{relative} is in line {first} already")));
        }
        if label != "good" && ["good", "ok", "normal"].contains(&label.to_lowercase().as_str()) {
            let text =
                format!("{relative} has the label `{label}`: that of good images is `good`, in lower case");
            return Err(wrong(line, text));
        }
        let defect = (label != "good").then(|| label.to_owned());
        let file = ImageFile {
            path: folder.join(relative),
            relative: relative.to_owned(),
            mask: field(at_mask).map(|mask| folder.join(mask)),
            defect,
        };
        if !file.path.is_file() {
            return Err(wrong(line, format!("there is no file {}", file.path.display())));
        }
        if let Some(mask) = file.mask.as_ref().filter(|mask| !mask.is_file()) {
            return Err(wrong(line, format!("there is no mask {}", mask.display())));
        }
        match (field(at_split), file.is_defective()) {
            (Some("train"), false) | (None, false) => train.push(file),
            (Some("test"), _) | (None, true) => test.push(file),
            (Some("train"), true) => {
                return Err(wrong(
                    line,
                    format!(
                        "{relative} is to learn from and has the defect {label}: learning needs good images alone"
                    ),
                ));
            }
            (Some(other), _) => {
                return Err(wrong(
                    line,
                    format!("the split is `{other}` and should be train or test"),
                ));
            }
        }
    }
    if train.is_empty() {
        return Err(wrong(1, "there is no good image to learn from".into()));
    }
    Ok(Samples {
        name: name_of(path),
        train,
        test,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touch(folder: &Path, names: &[&str]) {
        for name in names {
            let path = folder.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
    }

    fn names(files: &[ImageFile]) -> Vec<(&str, Option<&str>)> {
        files
            .iter()
            .map(|f| (f.relative.as_str(), f.defect.as_deref()))
            .collect()
    }

    #[test]
    fn folders_of_three_kinds_are_understood() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        touch(folder.path(), &["plain/b.png", "plain/a.jpg"]);
        let plain = Samples::open(&at("plain")).unwrap();
        assert_eq!(plain.name, "plain");
        assert_eq!(names(&plain.train), [("a.jpg", None), ("b.png", None)]);
        assert!(plain.test.is_empty());

        touch(
            folder.path(),
            &["kinds/good/1.png", "kinds/bent/1.png", "kinds/notes/x.txt"],
        );
        let kinds = Samples::open(&at("kinds")).unwrap();
        assert_eq!(names(&kinds.train), [("good/1.png", None)]);
        assert_eq!(names(&kinds.test), [("bent/1.png", Some("bent"))]);

        touch(folder.path(), &["mvtec/part/train/good/1.png"]);
        let object = Samples::open(&at("mvtec/part")).unwrap();
        assert_eq!(names(&object.train), [("train/good/1.png", None)]);
        assert!(object.test.is_empty());
        touch(
            folder.path(),
            &["mvtec/part/test/good/1.png", "mvtec/part/test/hole/1.png"],
        );
        touch(folder.path(), &["mvtec/part/ground_truth/hole/1_mask.png"]);
        let object = Samples::open(&at("mvtec/part")).unwrap();
        assert_eq!(object.test.len(), 2);
        assert!(object.test[1].mask.is_some());

        let text = |path: &str| Samples::open(&at(path)).unwrap_err().to_string();
        assert!(text("mvtec").contains("give"), "{}", text("mvtec"));
        std::fs::create_dir(at("empty")).unwrap();
        assert!(text("empty").contains("no images here"), "{}", text("empty"));
        assert!(text("nowhere").contains("no such folder"), "{}", text("nowhere"));
    }

    #[test]
    fn tables_are_read() {
        let folder = tempfile::tempdir().unwrap();
        touch(folder.path(), &["a.png", "b.png", "c.png", "m.png"]);
        let table = folder.path().join("parts.csv");
        let open = |text: &str| {
            std::fs::write(&table, text).unwrap();
            Samples::open(&table)
        };
        let samples = open("path,label,mask\na.png,good,\nb.png, hole ,m.png\n").unwrap();
        assert_eq!(names(&samples.train), [("a.png", None)]);
        assert_eq!(names(&samples.test), [("b.png", Some("hole"))]);
        assert!(samples.test[0].mask.is_some());
        let samples = open("split,label,path\ntrain,good,a.png\ntest,good,b.png\n").unwrap();
        assert_eq!(samples.test.len(), 1);
        for (text, expected) in [
            ("file,label\na.png,good\n", "should be `path,label`"),
            ("path,label,splt\na.png,good,train\n", "`splt` is none of"),
            ("path,label,label\na.png,good,good\n", "`label` is there twice"),
            ("path,label\na.png,OK\n", "that of good images is `good`"),
            ("path,label\na.png,\n", "no label"),
            ("path,label\n,good\n", "no path"),
            ("path,label\nx.png,good\n", "no file"),
            ("path,label\na.png,good\na.png,good\n", "line 2 already"),
            ("path,label,mask\na.png,hole,x.png\n", "no mask"),
            ("path,label,split\na.png,hole,train\n", "good images alone"),
            ("path,label,split\na.png,good,val\n", "train or test"),
            ("path,label\na.png,hole\n", "no good image"),
            ("path,label\na.png\n", "line 2"),
        ] {
            let error = open(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
