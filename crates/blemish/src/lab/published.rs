//! Tables of results as files: the study's published one, or an export of our own.

use std::io::{BufReader, Read};
use std::path::Path;

use super::compare::normal;
use super::store::{Row, Status};
use crate::Error;

/// Reads a table of results: CSV, or gzipped CSV if the name ends in `.gz`, with the columns of an export. Each row
/// comes with its line number. Train and test times, sample counts, dimensions, `status` and `error` may be missing;
/// a row without an AUROC counts as failed, unless its status says otherwise.
///
/// # Errors
/// If the file cannot be read, lacks a column, or holds a value that is none; with the line.
pub fn read_table(path: &Path) -> Result<Vec<(u64, Row)>, Error> {
    let file = std::fs::File::open(path).map_err(|e| Error::io(path, e))?;
    let reader: Box<dyn Read> = if path.extension().is_some_and(|e| e == "gz") {
        Box::new(flate2::read::MultiGzDecoder::new(BufReader::new(file)))
    } else {
        Box::new(BufReader::new(file))
    };
    let bad = |line: u64, reason: String| Error::Table {
        path: path.into(),
        line,
        reason,
    };
    let mut csv = csv::Reader::from_reader(reader);
    let header = csv.headers().map_err(|e| bad(1, e.to_string()))?.clone();
    let find = |name: &str| header.iter().position(|h| h == name);
    let column = |name: &str| {
        find(name).ok_or_else(|| {
            bad(
                1,
                format!("there is no column `{name}`: is this a table of results?"),
            )
        })
    };
    let object = column("object")?;
    let augmented = column("augmented")?;
    let architecture = column("architecture")?;
    let initialization = column("initialization")?;
    let layer = column("layer")?;
    let model = column("model")?;
    let hyperparameter = column("hyperparameter")?;
    let auroc = column("auroc")?;
    let (train_samples, dimensions) = (find("train_samples"), find("dimensions"));
    let (train_time, test_time) = (find("train_time_s"), find("test_time_s"));
    let (status, error) = (find("status"), find("error"));

    let mut rows = vec![];
    for record in csv.records() {
        let record = record.map_err(|e| {
            bad(
                e.position().map_or(0, csv::Position::line),
                format!("{e}; is the file cut off?"),
            )
        })?;
        let line = record.position().map_or(0, csv::Position::line);
        let field = |i: usize| record.get(i).unwrap_or("");
        let number = |i: usize, what: &str| match field(i) {
            "" => Ok(None),
            text => match text.parse::<f64>() {
                Ok(v) if v.is_finite() => Ok(Some(v)),
                _ => Err(bad(line, format!("`{text}` is no {what}"))),
            },
        };
        let optional = |i: Option<usize>, what: &str| i.map_or(Ok(None), |i| number(i, what));
        let auroc = number(auroc, "AUROC")?;
        if let Some(v) = auroc.filter(|v| !(0.0..=1.0).contains(v)) {
            return Err(bad(line, format!("an AUROC lies in 0 to 1, not at {v}")));
        }
        let count = |i: Option<usize>, what: &str| match optional(i, what)? {
            Some(v) if v < 0.0 || v.fract() != 0.0 => Err(bad(line, format!("`{v}` is no {what}"))),
            v => Ok(v.unwrap_or(0.0) as u64),
        };
        let status = match status.map(field) {
            Some("pending") => Status::Pending,
            _ if auroc.is_none() => Status::Failed,
            _ => Status::Done,
        };
        if normal(field(hyperparameter)).is_none() {
            let text = field(hyperparameter);
            return Err(bad(line, format!("hyperparameter `{text}` is no JSON")));
        }
        let row = Row {
            object: field(object).into(),
            augmented: match field(augmented) {
                "True" | "true" => true,
                "False" | "false" => false,
                other => return Err(bad(line, format!("augmented is `{other}`, not True or False"))),
            },
            architecture: field(architecture).into(),
            initialization: field(initialization).into(),
            layer: field(layer).into(),
            train_samples: count(train_samples, "number of training rows")?,
            dimensions: count(dimensions, "number of features")?,
            model: field(model).into(),
            hyperparameter: field(hyperparameter).into(),
            auroc,
            train_time_s: optional(train_time, "time in seconds")?,
            test_time_s: optional(test_time, "time in seconds")?,
            error: (status == Status::Failed).then(|| {
                let told = error.map(field).filter(|text| !text.is_empty());
                told.unwrap_or("the published table has no AUROC for it").into()
            }),
            status,
            non_finite: None,
            warning: None,
        };
        rows.push((line, row));
    }
    Ok(rows)
}
