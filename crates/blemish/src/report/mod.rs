//! The report: what a researcher wants to look at after a run. [`report`] computes it from a [`Store`] alone, so that
//! the same store gives the same bytes; [`Report::write`] puts it into a folder: one HTML file that needs nothing else,
//! the tables as CSV and Markdown, the figures as SVG and PNG.
//!
//! Each section is a module that computes plain values first and makes tables and figures of them. What each figure
//! means is told in `docs/report.md`.

use std::path::{Path, PathBuf};

use blemish_detectors::BootstrapOptions;

pub use self::figure::Figure;
pub use self::inspection::{evaluation_page, write_page};
pub use self::table::{Cell, Column, Table};

use self::data::RunData;
use self::html::{Block, Head, Section};
use self::selection::Selection;
use crate::Error;
use crate::lab::{Store, read_table};

mod data;
mod figure;
mod html;
mod inspection;
mod meaning;
mod objects;
mod plot;
mod selection;
mod stats;
mod study;
mod summary;
mod table;
mod warnings;

/// A report, ready to be written.
#[derive(Debug)]
pub struct Report {
    /// The page.
    pub html: String,
    /// Its tables, in the order of the page.
    pub tables: Vec<Table>,
    /// Its figures, in the order of the page.
    pub figures: Vec<Figure>,
    /// Its warnings, each in words.
    pub warnings: Vec<String>,
    /// The three ways of choosing a setting: name, mean AUROC, the ends of its 95 % interval.
    pub selection: Vec<ChoiceSummary>,
}

/// A way of choosing a setting, its mean AUROC over objects and the ends of the 95 % interval of that.
pub type ChoiceSummary = (&'static str, Option<f64>, Option<(f64, f64)>);

/// The three ways of choosing a setting (the oracle, the best single setting, leaving one object out), and what their
/// intervals are over: the report's *Honest selection* in short.
///
/// # Errors
/// If the store cannot be read.
pub fn choices(store: &Store) -> Result<(Vec<ChoiceSummary>, &'static str), Error> {
    let data = RunData::read(store)?;
    let selection = Selection::new(&data, store, &BootstrapOptions::default())?;
    Ok((in_short(&selection), selection.basis()))
}

fn in_short(selection: &Selection) -> Vec<ChoiceSummary> {
    let short = |c: &selection::Choice| (c.name, c.mean, c.interval.map(|i| (i.low, i.high)));
    selection.choices().map(short).to_vec()
}

/// Makes the report of a run, beside a published table of results if there is one.
///
/// # Errors
/// If the store or the table cannot be read, or the run holds no experiment.
pub fn report(store: &Store, published: Option<&Path>) -> Result<Report, Error> {
    let data = RunData::read(store)?;
    if data.experiments.is_empty() {
        return Err(Error::Config("the run holds no experiment to report".into()));
    }
    let published = match published {
        Some(path) => {
            let table = RunData::of_table(read_table(path)?, &data.objects);
            if table.experiments.is_empty() {
                return Err(Error::Config(format!(
                    "{} has no rows of {}: is it the table of another data set?",
                    path.display(),
                    data.objects.join(", ")
                )));
            }
            Some(table)
        }
        None => None,
    };
    let published = published.as_ref();
    let selection = Selection::new(&data, store, &BootstrapOptions::default())?;
    let found = warnings::find(&data);
    let texts: Vec<String> = found.iter().map(|w| format!("{}: {}", w.kind, w.text)).collect();

    let mut sections = vec![];
    let mut blocks = vec![];
    blocks.push(Block::Table(summary::facts(&data)));
    let failures = warnings::failures(&data);
    if !failures.rows.is_empty() {
        blocks.push(Block::Table(failures));
        blocks.extend(summary::failed_rows(&data).map(Block::Table));
    }
    sections.push(Section {
        id: "summary",
        title: "Summary",
        blocks,
    });

    let mut blocks = vec![Block::Text(if found.is_empty() { "Nothing found to mistrust." } else { "Found in the rows of this run and, where they are at hand, in its images. A warning is no verdict: it says where to look before believing a number." }.into())];
    let warned = found.len();
    if !found.is_empty() {
        blocks.push(Block::Warnings(found));
    }
    sections.push(Section {
        id: "warnings",
        title: "Warnings",
        blocks,
    });

    sections.push(Section {
        id: "selection",
        title: "Honest selection",
        blocks: vec![
            Block::Text("A grid tries many settings, and the best of many looks better than it is: whoever picks the best result of each object on the very test images that are then reported has let the answers choose the question. That is the oracle. A user with a new product has no defective images to choose by, and can at best take a setting that did well elsewhere: that is what leaving one object out measures. The gap between the two is what selection alone adds.".into()),
            Block::Table(selection.means()),
            Block::Table(selection.objects(&data)),
        ],
    });

    sections.push(Section {
        id: "study",
        title: "Tables and figures of the study",
        blocks: vec![
            Block::Table(study::best(&data, published)),
            Block::Table(study::best_experiments(&data, published)),
            Block::Table(study::times(&data, published)),
            Block::Figures(study::scaling(&data)),
            Block::Figures(vec![study::tree(&data)]),
            Block::Table(study::samples(&data)),
            Block::Table(study::features(&data)),
            Block::Table(study::hyperparameters(&data)),
        ],
    });

    let (layers, heat) = meaning::layers(&data);
    let (pareto, cost) = meaning::cost(&data);
    let (augmentation_tables, augmentation_figures) = meaning::augmentation(&data);
    let (weights_tables, weights_figures) = meaning::weights(&data);
    let mut blocks = vec![
        Block::Figures(cost.into_iter().collect()),
        Block::Table(pareto),
        Block::Figures(heat.into_iter().collect()),
        Block::Table(layers),
    ];
    if augmentation_figures.is_empty() {
        blocks.push(Block::Text(
            "This run has one kind of training set, so nothing can be said of augmentation.".into(),
        ));
    }
    blocks.push(Block::Figures(augmentation_figures));
    blocks.extend(augmentation_tables.into_iter().map(Block::Table));
    if weights_figures.is_empty() {
        blocks.push(Block::Text(
            "This run has no network with both random and published weights to compare.".into(),
        ));
    }
    blocks.push(Block::Figures(weights_figures));
    blocks.extend(weights_tables.into_iter().map(Block::Table));
    blocks.push(Block::Figures(meaning::hyperparameters(&data)));
    sections.push(Section {
        id: "meaning",
        title: "What it means",
        blocks,
    });

    let objects = objects::all(&data, store, &selection)?;
    let mut blocks = vec![];
    if objects.iter().all(|o| o.figures.is_empty()) {
        blocks.push(Block::Text("This run has no scores of single images (it was imported from a table, or has no results yet), so there are no curves and no images to show.".into()));
    }
    blocks.push(Block::Objects(objects));
    sections.push(Section {
        id: "objects",
        title: "Object by object",
        blocks,
    });

    let title = match &data.objects[..] {
        _ if data.imported() => format!(
            "Report of {}",
            data.identity["published"]["file"].as_str().unwrap_or("a table")
        ),
        [one] => format!("Defect detection on {one}"),
        many => format!("Defect detection on {} objects", many.len()),
    };
    let lead = format!(
        "{} settings of {} detectors on hidden-layer features of image networks, fitted to good images alone and measured by the AUROC of good against defective test images. {}.",
        table::thousands(data.recipes.len() as u64),
        data.models.len(),
        selection.basis()
    );
    let headlines = summary::headlines(&data, &selection, warned);
    let html = html::page(
        &data,
        &Head {
            title: &title,
            lead: &lead,
            headlines: &headlines,
        },
        &sections,
    )?;
    let (mut tables, mut figures) = (vec![], vec![]);
    for block in sections.into_iter().flat_map(|s| s.blocks) {
        match block {
            Block::Table(table) => tables.push(table),
            Block::Figures(list) => figures.extend(list),
            Block::Objects(list) => figures.extend(list.into_iter().flat_map(|o| o.figures)),
            Block::Text(_) | Block::Heading(_) | Block::Warnings(_) | Block::Pictures(_) => {}
        }
    }
    let selection = in_short(&selection);
    Ok(Report {
        html,
        tables,
        figures,
        warnings: texts,
        selection,
    })
}

impl Report {
    /// Writes `report.html`, `tables/` and `figures/` into a folder, which is made if it is not there. Files of an older
    /// report are replaced one by one, each complete or not at all; the page comes last.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn write(&self, folder: &Path) -> Result<PathBuf, Error> {
        use rayon::prelude::*;
        let (tables, figures) = (folder.join("tables"), folder.join("figures"));
        for folder in [&tables, &figures] {
            std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
        }
        for table in &self.tables {
            put(&tables.join(format!("{}.csv", table.id)), table.csv().as_bytes())?;
            put(
                &tables.join(format!("{}.md", table.id)),
                table.markdown().as_bytes(),
            )?;
        }
        let fonts = figure::Fonts::new();
        self.figures.par_iter().try_for_each(|figure| {
            // Names of objects are names of folders, but dots and the like have no place in ours.
            let id: String = figure
                .id
                .chars()
                .map(|c| {
                    if c.is_alphanumeric() || "-_".contains(c) {
                        c
                    } else {
                        '_'
                    }
                })
                .collect();
            put(&figures.join(format!("{id}.svg")), figure.svg.as_bytes())?;
            put(&figures.join(format!("{id}.png")), &figure.png(&fonts)?)
        })?;
        let page = folder.join("report.html");
        put(&page, self.html.as_bytes())?;
        Ok(page)
    }
}

/// Writes a file by way of another beside it.
pub(crate) fn put(path: &Path, content: &[u8]) -> Result<(), Error> {
    use std::io::Write;
    let io = |e| Error::io(path, e);
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = crate::lab::new_file()
        .prefix(".blemish-report")
        .tempfile_in(folder)
        .map_err(io)?;
    file.write_all(content).map_err(io)?;
    file.persist(path).map_err(|e| io(e.error))?;
    Ok(())
}
