//! The page: one file with its style, script, figures and every experiment in it.

use askama::Template;
use serde_json::{Value, json};

use super::data::{RunData, parameters_in_words};
use super::figure::{Figure, escape};
use super::objects::ObjectReport;
use super::table::{Cell, Table};
use super::warnings::Warning;
use crate::Error;
use crate::lab::Status;

/// A part of the page.
pub(crate) enum Block {
    /// A paragraph.
    Text(String),
    /// A heading within a section.
    Heading(String),
    /// A table.
    Table(Table),
    /// Figures side by side.
    Figures(Vec<Figure>),
    /// Objects.
    Objects(Vec<ObjectReport>),
    /// Warnings.
    Warnings(Vec<Warning>),
    /// Images beside what was found in them.
    Pictures(Vec<Pictured>),
}

/// An image with what was found in it.
pub(crate) struct Pictured {
    /// Path relative to the object's folder.
    pub(crate) path: String,
    /// Score, p-value, verdict.
    pub(crate) text: String,
    /// Whether the verdict is wrong.
    pub(crate) wrong: bool,
    /// What each picture shows, and the picture as a data URI.
    pub(crate) pictures: Vec<(&'static str, String)>,
}

/// A numbered part.
pub(crate) struct Section {
    /// Anchor.
    pub(crate) id: &'static str,
    /// Heading.
    pub(crate) title: &'static str,
    /// What it holds.
    pub(crate) blocks: Vec<Block>,
}

/// A number on top of the page.
pub(crate) struct Headline {
    /// The number.
    pub(crate) value: String,
    /// What it is.
    pub(crate) name: &'static str,
    /// More of it.
    pub(crate) note: String,
}

#[derive(Template)]
#[template(path = "report.html")]
struct Page<'a> {
    title: &'a str,
    lead: &'a str,
    headlines: &'a [Headline],
    sections: &'a [Section],
    style: &'static str,
    script: &'static str,
    rows: String,
    experiments: usize,
    made_by: &'a str,
}

#[derive(Template)]
#[template(path = "evaluation.html")]
struct EvaluationPage<'a> {
    title: &'a str,
    lead: &'a str,
    headlines: &'a [Headline],
    sections: &'a [Section],
    style: &'static str,
    script: &'static str,
    made_by: &'a str,
}

const STYLE: &str = include_str!("../../templates/report.css");
const SCRIPT: &str = include_str!("../../templates/report.js");

/// Writes the page of an evaluation.
///
/// # Errors
/// If the template fails, which would be a defect of it.
pub(crate) fn evaluation(head: &Head<'_>, sections: &[Section], made_by: &str) -> Result<String, Error> {
    let page = EvaluationPage {
        title: head.title,
        lead: head.lead,
        headlines: head.headlines,
        sections,
        style: STYLE,
        script: SCRIPT,
        made_by,
    };
    page.render().map_err(|e| Error::Panic(format!("the page: {e}")))
}

/// What is told of a run at the top.
pub(crate) struct Head<'a> {
    /// Title of the page.
    pub(crate) title: &'a str,
    /// One paragraph.
    pub(crate) lead: &'a str,
    /// Numbers.
    pub(crate) headlines: &'a [Headline],
}

/// Writes the page.
///
/// # Errors
/// If the template fails, which would be a defect of it.
pub(crate) fn page(data: &RunData, head: &Head<'_>, sections: &[Section]) -> Result<String, Error> {
    let page = Page {
        title: head.title,
        lead: head.lead,
        headlines: head.headlines,
        sections,
        style: STYLE,
        script: SCRIPT,
        // Inside a script element nothing but its end has a meaning.
        rows: rows(data).to_string().replace('<', "\\u003c"),
        experiments: data.experiments.len(),
        made_by: &data.made_by,
    };
    page.render().map_err(|e| Error::Panic(format!("the page: {e}")))
}

/// Every experiment, column by column, with each text once.
fn rows(data: &RunData) -> Value {
    let rounded = |v: Option<f64>, digits: i32| match v {
        None => Value::Null,
        Some(0.0) => json!(0),
        Some(v) => {
            let power = 10f64.powi(digits - 1 - v.abs().log10().floor() as i32);
            json!((v * power).round() / power)
        }
    };
    let of = |f: &dyn Fn(&super::data::Experiment) -> Value| -> Vec<Value> {
        data.experiments.iter().map(f).collect()
    };
    json!({
        "objects": data.objects,
        "settings": data.recipes.iter().map(|s| json!([
            s.architecture, s.initialization, s.layer, u8::from(s.augmented), s.model, parameters_in_words(&s.hyperparameter),
        ])).collect::<Vec<_>>(),
        "number": of(&|e| e.ordinal.into()),
        "object": of(&|e| e.object.into()),
        "setting": of(&|e| e.recipe.into()),
        "auroc": of(&|e| e.row.auroc.map_or(Value::Null, |v| json!((v * 1e5).round() / 1e5))),
        "train": of(&|e| rounded(e.row.train_time_s, 3)),
        "test": of(&|e| rounded(e.row.test_time_s, 3)),
        "failed": data.experiments.iter().enumerate().filter(|(_, e)| e.row.status == Status::Failed)
            .map(|(i, e)| json!([i, e.row.error])).collect::<Vec<_>>(),
    })
}

/// What templates ask of a cell.
impl Cell {
    fn html(&self) -> String {
        let text = escape(&self.text);
        let text = if self.strong {
            format!("<strong>{text}</strong>")
        } else {
            text
        };
        match self.experiment {
            Some(number) => format!("<a href=\"#x{number}\">{text}</a>"),
            None => text,
        }
    }

    fn key(&self) -> String {
        self.value.map(|v| v.to_string()).unwrap_or_default()
    }
}
