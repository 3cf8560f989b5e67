//! Exports: the store's rows in the vocabulary of the study's published table.

use std::io::Write;
use std::path::Path;

use serde::Serialize;
use serde_json::value::RawValue;

use super::store::{Row, Store};
use crate::Error;

/// File format of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportFormat {
    /// Comma-separated, with a header.
    Csv,
    /// An array of objects, one a line.
    Json,
}

impl std::str::FromStr for ExportFormat {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        match s {
            "csv" => Ok(ExportFormat::Csv),
            "json" => Ok(ExportFormat::Json),
            other => Err(format!("`{other}` is none of csv, json")),
        }
    }
}

/// One row of either format; the field order is the column order.
#[derive(Serialize)]
struct Record<'a, A: Serialize, H: Serialize> {
    object: &'a str,
    augmented: A,
    architecture: &'a str,
    initialization: &'a str,
    layer: &'a str,
    train_samples: u64,
    dimensions: u64,
    model: &'a str,
    hyperparameter: H,
    auroc: Option<f64>,
    train_time_s: Option<f64>,
    test_time_s: Option<f64>,
    status: &'static str,
    error: Option<&'a str>,
}

fn record<A: Serialize, H: Serialize>(row: &Row, augmented: A, hyperparameter: H) -> Record<'_, A, H> {
    Record {
        object: &row.object,
        augmented,
        architecture: &row.architecture,
        initialization: &row.initialization,
        layer: &row.layer,
        train_samples: row.train_samples,
        dimensions: row.dimensions,
        model: &row.model,
        hyperparameter,
        auroc: row.auroc,
        train_time_s: row.train_time_s,
        test_time_s: row.test_time_s,
        status: row.status.name(),
        error: row.error.as_deref(),
    }
}

/// Writes `rows` to `out`.
///
/// # Errors
/// Those of `out`.
pub fn write_rows(rows: &[Row], format: ExportFormat, out: &mut dyn Write) -> std::io::Result<()> {
    match format {
        ExportFormat::Csv => {
            let mut csv = csv::Writer::from_writer(out);
            for row in rows {
                // The published table writes booleans as Python does.
                let augmented = if row.augmented { "True" } else { "False" };
                let record = record(row, augmented, row.hyperparameter.as_str());
                csv.serialize(record).map_err(io_error)?;
            }
            csv.flush()
        }
        ExportFormat::Json => {
            out.write_all(b"[")?;
            for (i, row) in rows.iter().enumerate() {
                out.write_all(if i == 0 { b"\n" } else { b",\n" })?;
                let setting: &RawValue = serde_json::from_str(&row.hyperparameter)?;
                serde_json::to_writer(&mut *out, &record(row, row.augmented, setting))?;
            }
            out.write_all(b"\n]\n")?;
            out.flush()
        }
    }
}

/// Exports a run to `file`: complete, or, if anything goes wrong, not at all.
///
/// # Errors
/// If the store cannot be read or the file cannot be written.
pub fn export(store: &Store, format: ExportFormat, file: &Path) -> Result<usize, Error> {
    let rows = store.rows()?;
    let io = |e| Error::io(file, e);
    let folder = file
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    if file.is_dir() {
        let text = "this is a folder; give the file to write";
        return Err(io(std::io::Error::new(std::io::ErrorKind::IsADirectory, text)));
    }
    if !folder.is_dir() {
        let text = format!(
            "there is no folder {}; make it or give another file",
            folder.display()
        );
        return Err(io(std::io::Error::new(std::io::ErrorKind::NotFound, text)));
    }
    // A pipe or a device such as /dev/stdout is written to, not replaced.
    if std::fs::metadata(file).is_ok_and(|m| !m.is_file()) {
        let mut out = std::fs::OpenOptions::new().write(true).open(file).map_err(io)?;
        write_rows(&rows, format, &mut std::io::BufWriter::new(&mut out)).map_err(io)?;
        return Ok(rows.len());
    }
    // A reader never sees half a table, and a full disk leaves the old one.
    let mut temporary = new_file()
        .prefix(".blemish-export")
        .tempfile_in(folder)
        .map_err(io)?;
    write_rows(
        &rows,
        format,
        &mut std::io::BufWriter::new(temporary.as_file_mut()),
    )
    .map_err(io)?;
    temporary.as_file().sync_all().map_err(io)?;
    temporary.persist(file).map_err(|e| io(e.error))?;
    Ok(rows.len())
}

/// The I/O error inside a CSV error: whether a disk is full or a pipe closed is told by its kind.
fn io_error(error: csv::Error) -> std::io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        other => std::io::Error::other(format!("{other:?}")),
    }
}

/// A builder of temporary files that end up as readable as any new file; they are private by default.
pub(crate) fn new_file() -> tempfile::Builder<'static, 'static> {
    #[cfg_attr(not(unix), expect(unused_mut, reason = "permissions are Unix's"))]
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // The process's umask still applies.
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    builder
}
