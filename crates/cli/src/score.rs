//! `blemish score`: scores, verdicts and maps of images by a model file.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use blemish::Error;
use blemish::images::{MapScale, load_rgb, overlay, write_map};
use blemish::inspector::{Inspection, Inspector, with_threads};
use clap::{Args, ValueEnum};

use crate::args::threads;
use crate::commands::plural;
use crate::fit::own_weights;
use crate::output::{STDOUT, note};
use crate::run_args::{STOPPED, stop_on_signals};

#[derive(Debug, Args)]
pub(crate) struct ScoreArgs {
    /// Model file that `blemish fit` wrote
    pub(crate) model: PathBuf,
    /// Images, and folders with images
    #[arg(required = true, value_name = "IMAGES")]
    pub(crate) images: Vec<PathBuf>,
    /// How the result is printed
    #[arg(long, value_enum, default_value_t = ScoreFormat::Table)]
    pub(crate) format: ScoreFormat,
    /// Folder for maps of where each image is odd, one a picture: 16-bit PNG, on one scale for all
    #[arg(long, value_name = "FOLDER")]
    pub(crate) maps: Option<PathBuf>,
    /// Write maps as colours over the image, what is above the threshold outlined
    #[arg(long, requires = "maps")]
    pub(crate) overlay: bool,
    /// Folder with weights files, for models without their own [default: that of `blemish weights`]
    #[arg(long, value_name = "FOLDER", env = "BLEMISH_WEIGHTS")]
    pub(crate) weights: Option<PathBuf>,
    /// The part of good images that may be rejected, in place of the model's
    #[arg(long, value_name = "RATE", value_parser = crate::fit::rate)]
    pub(crate) false_reject_rate: Option<f64>,
    /// Threads; the default is one for each core. Results do not depend on it
    #[arg(long, value_name = "N", value_parser = threads)]
    pub(crate) threads: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ScoreFormat {
    /// Columns for a person
    Table,
    /// An array of objects
    Json,
    /// A line an image, after a line of names
    Csv,
}

pub(crate) fn run(args: &ScoreArgs) -> Result<ExitCode> {
    // Before anything that takes time: what is printed is whole whenever a signal comes.
    let stop = stop_on_signals()?;
    // Names first: they are the likelier mistake, and seen in a moment.
    let mut files = vec![];
    let mut names = MapNames::default();
    for path in &args.images {
        let found = Inspector::image_files(std::slice::from_ref(path))?;
        found.iter().for_each(|file| names.add(path, file));
        files.extend(found);
    }
    if let Some(folder) = &args.maps {
        spare_images(folder, &files, &names.names)?;
    }
    with_threads(args.threads, || score(args, &files, &names.names, &stop))
}

fn score(args: &ScoreArgs, files: &[PathBuf], map_names: &[PathBuf], stop: &AtomicBool) -> Result<ExitCode> {
    let weights = args.weights.clone().or_else(own_weights);
    let mut inspector = Inspector::load(&args.model, weights.as_deref())?;
    if let Some(rate) = args.false_reject_rate {
        inspector.set_false_reject_rate(rate)?;
    }
    if args.maps.is_some() && !inspector.settings().method.has_map() {
        anyhow::bail!(
            "{} has no maps: {} looks at whole images; fit with memory-bank, padim, patch-lof or patch-mahalanobis",
            args.model.display(),
            inspector.settings().method
        );
    }
    let mut out = Rows::new(args.format, files, args.maps.is_some());
    out.begin()?;
    let mut counts = Counts::default();
    let threshold = inspector.calibration().threshold();
    let scored = inspector.score_files(files, args.maps.is_some(), &mut |i, found| -> Result<()> {
        if stop.load(Ordering::Relaxed) {
            return Err(Error::Stopped.into());
        }
        if let (Some(folder), Ok(inspection)) = (&args.maps, &found) {
            write_maps(
                &files[i],
                &folder.join(&map_names[i]),
                inspection,
                inspector.map_scale(args.overlay),
                args.overlay.then_some(threshold),
            )?;
        }
        let map = args.maps.as_ref().map(|folder| folder.join(&map_names[i]));
        out.row(&files[i], map.as_deref(), &found)?;
        counts.add(&found);
        Ok(())
    });
    // Whatever happened, what was printed is to be read.
    let ended = out.end();
    if let Err(error) = scored {
        if matches!(error.downcast_ref(), Some(Error::Stopped)) {
            let done = counts.good + counts.defective + counts.failed;
            note(format!("stopped: {done} of {} images were scored", files.len()));
            return Ok(ExitCode::from(STOPPED));
        }
        return Err(error);
    }
    ended?;
    if args.format == ScoreFormat::Table {
        note(format!(
            "{} image{}: {} good, {} defective (score above {:.4}), {} unreadable",
            files.len(),
            plural(files.len()),
            counts.good,
            counts.defective,
            inspector.calibration().threshold(),
            counts.failed
        ));
        if let Some(needed) = inspector.calibration().needed_images() {
            note(format!(
                "the model has too few good images for its false-reject rate of {}: {needed} are needed",
                inspector.calibration().requested_rate()
            ));
        }
    }
    Ok(if counts.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Whether no map would be written over one of the images.
fn spare_images(folder: &Path, files: &[PathBuf], map_names: &[PathBuf]) -> Result<()> {
    let images: std::collections::BTreeSet<PathBuf> =
        files.iter().filter_map(|file| file.canonicalize().ok()).collect();
    for name in map_names {
        let map = folder.join(name);
        if map.canonicalize().is_ok_and(|map| images.contains(&map)) {
            anyhow::bail!(
                "the map {} would be written over an image: give --maps another folder",
                map.display()
            );
        }
    }
    Ok(())
}

/// Where each image's map goes: below the folder of maps as the image lies below the folder that was given.
#[derive(Default)]
struct MapNames {
    names: Vec<PathBuf>,
    taken: std::collections::BTreeSet<PathBuf>,
}

impl MapNames {
    fn add(&mut self, given: &Path, file: &Path) {
        let relative = file
            .strip_prefix(given)
            .ok()
            .filter(|r| !r.as_os_str().is_empty());
        let relative = relative
            .or_else(|| file.file_name().map(Path::new))
            .unwrap_or(file);
        let stem = relative
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let mut name = relative.with_file_name(format!("{stem}.png"));
        let mut n = 1;
        // a.png and a.jpg, or files of one name from several folders.
        while !self.taken.insert(name.clone()) {
            n += 1;
            name = relative.with_file_name(format!("{stem}-{n}.png"));
        }
        self.names.push(name);
    }
}

fn write_maps(
    image: &Path,
    path: &Path,
    inspection: &Inspection,
    scale: Option<MapScale>,
    outlined: Option<f64>,
) -> Result<()> {
    let Some(map) = &inspection.map else { return Ok(()) };
    let scale = scale.unwrap_or_else(|| MapScale::of(map.view()));
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    if let Some(threshold) = outlined {
        let picture = overlay(&load_rgb(image)?, map.view(), scale, Some(threshold as f32))?;
        picture.save(path).with_context(|| path.display().to_string())?;
    } else {
        write_map(path, map.view(), scale)?;
    }
    Ok(())
}

#[derive(Default)]
struct Counts {
    good: usize,
    defective: usize,
    failed: usize,
}

impl Counts {
    fn add(&mut self, found: &Result<Inspection, Error>) {
        match found {
            Ok(inspection) if inspection.is_defective => self.defective += 1,
            Ok(_) => self.good += 1,
            Err(_) => self.failed += 1,
        }
    }
}

/// Prints a row as soon as it is there.
struct Rows {
    format: ScoreFormat,
    /// Of the longest path, as far as a table goes.
    width: usize,
    first: bool,
    /// Whether rows tell where their maps are.
    maps: bool,
}

impl Rows {
    fn new(format: ScoreFormat, files: &[PathBuf], maps: bool) -> Rows {
        let width = files
            .iter()
            .map(|file| file.to_string_lossy().chars().count())
            .max();
        Rows {
            format,
            width: width.unwrap_or(0).clamp(5, 60),
            first: true,
            maps,
        }
    }

    fn write(&self, text: &str) -> Result<()> {
        let mut out = std::io::stdout().lock();
        out.write_all(text.as_bytes())
            .and_then(|()| out.flush())
            .context(STDOUT)
    }

    fn begin(&self) -> Result<()> {
        match self.format {
            ScoreFormat::Table => self.write(&format!(
                " {:width$}  {:>12}  {:>8}  verdict\n",
                "image",
                "score",
                "p-value",
                width = self.width
            )),
            ScoreFormat::Json => self.write("["),
            ScoreFormat::Csv if self.maps => self.write("image,score,p_value,verdict,error,map\n"),
            ScoreFormat::Csv => self.write("image,score,p_value,verdict,error\n"),
        }
    }

    fn row(&mut self, file: &Path, map: Option<&Path>, found: &Result<Inspection, Error>) -> Result<()> {
        let name = file.to_string_lossy();
        // Of an image that could not be scored there is none.
        let map = map.filter(|_| found.is_ok()).map(|map| map.to_string_lossy());
        let text = match self.format {
            ScoreFormat::Table => match found {
                Ok(i) => format!(
                    " {name:width$}  {:>12.6}  {:>8.4}  {}\n",
                    i.score,
                    i.p_value,
                    verdict(i),
                    width = self.width
                ),
                Err(error) => format!(" {name:width$}  error: {error}\n", width = self.width),
            },
            ScoreFormat::Json => {
                let mut object = match found {
                    Ok(i) => serde_json::json!({
                        "image": name,
                        "score": i.score,
                        "p_value": i.p_value,
                        "verdict": verdict(i),
                    }),
                    Err(error) => serde_json::json!({ "image": name, "error": error.to_string() }),
                };
                if let Some(map) = &map {
                    object["map"] = map.as_ref().into();
                }
                format!("{}\n{object}", if self.first { "" } else { "," })
            }
            ScoreFormat::Csv => {
                let row = match found {
                    // The shortest text that is read back as the same number.
                    Ok(i) => format!("{},{},{},{},", quoted(&name), i.score, i.p_value, verdict(i)),
                    Err(error) => format!("{},,,,{}", quoted(&name), quoted(&error.to_string())),
                };
                match &map {
                    Some(map) => format!("{row},{}\n", quoted(map)),
                    None if self.maps => format!("{row},\n"),
                    None => format!("{row}\n"),
                }
            }
        };
        self.first = false;
        self.write(&text)
    }

    fn end(&self) -> Result<()> {
        match self.format {
            ScoreFormat::Json => self.write("\n]\n"),
            ScoreFormat::Table | ScoreFormat::Csv => Ok(()),
        }
    }
}

fn verdict(inspection: &Inspection) -> &'static str {
    if inspection.is_defective {
        "defective"
    } else {
        "good"
    }
}

/// A field of a table, in quotes where it needs them.
fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}
