//! What can go wrong in the lab, with where it went wrong and what to do.

use std::path::{Path, PathBuf};

/// An error of the lab. Its text names the file, experiment or setting and says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Reading or preparing images failed.
    #[error(transparent)]
    Images(#[from] blemish_images::ImagesError),
    /// Loading weights or computing features failed.
    #[error(transparent)]
    Backbones(#[from] blemish_backbones::BackbonesError),
    /// A detector failed.
    #[error(transparent)]
    Detectors(#[from] blemish_detectors::DetectorError),
    /// The configuration cannot be run as it is.
    #[error("{0}")]
    Config(String),
    /// Files of weights are needed that are not there.
    #[error("{}", missing_weights(folder.as_deref(), missing))]
    MissingWeights {
        /// Where they were sought; `None` where there is no folder of weights yet.
        folder: Option<PathBuf>,
        /// All that are missing.
        missing: Vec<MissingWeights>,
    },
    /// What a plan was made for has changed since.
    #[error(
        "{} is not what it was when the plan was made{}: put it back as it was, or plan a new run",
        path.display(),
        in_brackets(changes)
    )]
    Changed {
        /// Images, weights or a network's file.
        path: PathBuf,
        /// What is different about it, in words, as far as is known.
        changes: Vec<String>,
    },
    /// There is no plan in the folder.
    #[error("no plan in {}: `blemish plan DATA --out {}` makes one", folder.display(), folder.display())]
    NoPlan {
        /// The folder that was given.
        folder: PathBuf,
    },
    /// Published results are not those of this plan.
    #[error(
        "{} holds results of another plan ({found}; this one is {expected}): put back the plan that they were computed \
         for, or move them away",
        path.display()
    )]
    OtherPlan {
        /// The file.
        path: PathBuf,
        /// Hash of its plan.
        found: String,
        /// Hash of this plan.
        expected: String,
    },
    /// The run folder holds a run of another configuration.
    #[error(
        "{} holds a run of another configuration ({differences}): \
         repeat the settings it was made with, or give another --out folder; --extend adds to it",
        folder.display()
    )]
    OtherConfiguration {
        /// The run folder.
        folder: PathBuf,
        /// Which settings differ, and how.
        differences: String,
    },
    /// Another process works on the same run folder.
    #[error(
        "{} is in use by another process{holder}: wait for it to end or stop it; another run goes into another folder",
        folder.display()
    )]
    Busy {
        /// The run folder.
        folder: PathBuf,
        /// Who holds it, as far as is known.
        holder: String,
    },
    /// There is no run in the folder.
    #[error("{}", no_run(folder))]
    NoRun {
        /// The folder that was given.
        folder: PathBuf,
    },
    /// The folder for a new run holds something else.
    #[error("{} is not empty and holds no run: give a new or empty --out folder", folder.display())]
    NotARun {
        /// The folder that was given.
        folder: PathBuf,
    },
    /// The disk is full.
    #[error(
        "the disk is full, writing {}: free some space and repeat the same command; \
         what was complete before is kept",
        path.display()
    )]
    DiskFull {
        /// The file that could not grow.
        path: PathBuf,
    },
    /// The store failed.
    #[error("the store {}{}", path.display(), store_trouble(path, source))]
    Store {
        /// The SQLite file.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// The store is of a kind that this version cannot read.
    #[error("the store {} has schema version {found}, this version reads {expected}: use the version of blemish that made it", path.display())]
    StoreVersion {
        /// The SQLite file.
        path: PathBuf,
        /// Its schema version.
        found: String,
        /// The version that can be read.
        expected: &'static str,
    },
    /// A file could not be read or written.
    #[error("{}: {source}{}", path.display(), io_advice(source))]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A model file cannot be used.
    #[error("{}: {source}", path.display())]
    ModelFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<crate::inspector::ModelFileError>,
    },
    /// A fit would need more memory than it may use.
    #[error(transparent)]
    Memory(#[from] crate::inspector::MemoryShortage),
    /// A table could not be read.
    #[error("{}, line {line}: {reason}", path.display())]
    Table {
        /// The CSV file.
        path: PathBuf,
        /// Line number, from 1.
        line: u64,
        /// What is wrong with it, and what was expected.
        reason: String,
    },
    /// The work was stopped, as asked: what was computed so far is gone.
    #[error("stopped")]
    Stopped,
    /// A computation panicked: a defect of the program, kept from taking the rest down.
    #[error("internal error: {0}; please report it with the command that caused it")]
    Panic(String),
}

/// Weights that a selection needs and that are not there.
#[derive(Clone, Debug, PartialEq)]
pub struct MissingWeights {
    /// Network and initialisation, as `blemish weights` names them.
    pub name: String,
    /// The file, where torchvision publishes one.
    pub published: Option<blemish_backbones::PublishedWeights>,
}

/// The first few, in brackets; nothing where there are none.
pub(crate) fn in_brackets(changes: &[String]) -> String {
    const MOST: usize = 3;
    let more = match changes.len().saturating_sub(MOST) {
        0 => String::new(),
        n => format!(" and {n} more"),
    };
    match &changes[..changes.len().min(MOST)] {
        [] => String::new(),
        first => format!(" ({}{more})", first.join(", ")),
    }
}

fn no_run(folder: &Path) -> String {
    let folder_name = folder.display();
    if folder.join("plan.json").is_file() {
        return format!(
            "{folder_name} holds a plan and no store, or an empty one: `blemish run {folder_name}` or `blemish merge \
             {folder_name}` makes it, and takes what was published"
        );
    }
    format!("no run in {folder_name}: `blemish grid DATA --out {folder_name}` makes one")
}

/// What is wrong with a store, and what to do.
fn store_trouble(path: &Path, source: &rusqlite::Error) -> String {
    use rusqlite::ErrorCode::{
        CannotOpen, DatabaseBusy, DatabaseCorrupt, NotADatabase, PermissionDenied, ReadOnly, SystemIoFailure,
    };
    match source.sqlite_error_code() {
        Some(DatabaseCorrupt | NotADatabase) => format!(
            " is damaged ({source}): put back a copy of it, or move it and {}-wal away and repeat the command that made \
             the run, which uses what is in the folders parts and products again",
            path.file_name().unwrap_or_default().to_string_lossy()
        ),
        Some(CannotOpen | ReadOnly | PermissionDenied) => format!(
            " cannot be opened ({source}): is its folder there, and may you write in it? SQLite keeps two files beside the \
             store, -wal and -shm: where they belong to another user and no program uses the run, remove them"
        ),
        Some(SystemIoFailure) => format!(
            " could not be read or written ({source}): is its disk full, or gone? What was stored before stays; free some \
             space and repeat the same command"
        ),
        Some(DatabaseBusy) => format!(
            " is in use by another program ({source}): close what has it open and repeat the same command"
        ),
        _ => format!(" failed: {source}"),
    }
}

/// What to do about an error of the system; nothing where whoever made the error says so.
fn io_advice(source: &std::io::Error) -> &'static str {
    use std::io::ErrorKind::{
        AlreadyExists, IsADirectory, NotADirectory, NotFound, PermissionDenied, ReadOnlyFilesystem,
    };
    if source.raw_os_error().is_none() {
        return "";
    }
    match source.kind() {
        NotFound => "; is the name right, and the disk that it is on mounted?",
        PermissionDenied => "; change its permissions, or give another place",
        ReadOnlyFilesystem => "; give a place that can be written",
        NotADirectory => "; a file is where a folder should be: give another place",
        IsADirectory => "; a folder is where a file should be: give another place",
        AlreadyExists => "; move it away, or give another name",
        _ => "",
    }
}

fn missing_weights(folder: Option<&Path>, missing: &[MissingWeights]) -> String {
    use std::fmt::Write;
    let mut text = match folder {
        Some(folder) => format!("weights that are not in {}:", folder.display()),
        None => "weights files are needed, and there is no folder of weights yet:".to_owned(),
    };
    for MissingWeights { name, published } in missing {
        // Writing to a string cannot fail.
        let _ = match published {
            Some(p) => write!(
                text,
                "\n  {name}: {} ({:.0} MiB), published at {}",
                p.file_name(),
                p.mebibytes,
                p.url()
            ),
            None => write!(text, "\n  {name}: a file {name}.safetensors of your own"),
        };
    }
    let names: Vec<&str> = missing.iter().map(|m| m.name.as_str()).collect();
    let _ = write!(
        text,
        "\n`blemish weights fetch {}` gets published ones, `blemish weights import FILE` takes a file that you have, \
         --weights FOLDER names another folder; random weights need no file (--initializations random for a grid, \
         --initialization random for a fit)",
        names.join(" ")
    );
    text
}

impl Error {
    /// The error for `path` whose content is not that of the plan.
    pub(crate) fn changed(path: &Path) -> Error {
        Error::Changed {
            path: path.into(),
            changes: vec![],
        }
    }

    /// Wraps an I/O error with its path; a full disk gets its own kind.
    pub fn io(path: &Path, source: std::io::Error) -> Error {
        if matches!(
            source.kind(),
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded
        ) {
            return Error::DiskFull { path: path.into() };
        }
        Error::Io {
            path: path.into(),
            source,
        }
    }

    /// Wraps an SQLite error with its path; a full disk gets its own kind.
    pub fn store(path: &Path, source: rusqlite::Error) -> Error {
        if source.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull) {
            return Error::DiskFull { path: path.into() };
        }
        Error::Store {
            path: path.into(),
            source,
        }
    }

    /// The error for a caught panic.
    pub(crate) fn from_panic(panic: &(dyn std::any::Any + Send)) -> Error {
        let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        Error::Panic(text.unwrap_or_else(|| "a panic without a message".into()))
    }

    /// Whether the same may succeed at another time or on another machine: files and disks, not what they hold.
    pub fn is_transient(&self) -> bool {
        use blemish_backbones::BackbonesError;
        use blemish_images::ImagesError;
        let passing = |e: &std::io::Error| e.kind() != std::io::ErrorKind::PermissionDenied;
        match self {
            Error::Images(ImagesError::Io { source, .. }) => passing(source),
            // Such as a file system that is not mounted there.
            Error::Images(ImagesError::NoSuchFolder { .. }) => true,
            Error::Backbones(BackbonesError::Read { source, .. } | BackbonesError::Write { source, .. })
            | Error::Io { source, .. } => passing(source),
            Error::Store { source, .. } => !matches!(
                source.sqlite_error_code(),
                Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase)
            ),
            Error::DiskFull { .. } | Error::Busy { .. } => true,
            _ => false,
        }
    }

    /// A short stable name of the kind, for the column `error_kind` of a failed experiment.
    pub fn kind(&self) -> &'static str {
        match self {
            Error::Images(_) | Error::Backbones(_) if self.is_transient() => "io",
            Error::Images(_) => "images",
            Error::Backbones(_) => "backbones",
            Error::Detectors(_) => "detectors",
            Error::Panic(_) => "panic",
            Error::DiskFull { .. } => "disk_full",
            Error::Config(_) | Error::MissingWeights { .. } | Error::OtherConfiguration { .. } => "config",
            Error::OtherPlan { .. } => "run",
            Error::Busy { .. } | Error::NoRun { .. } | Error::NoPlan { .. } | Error::NotARun { .. } => "run",
            Error::Changed { .. } => "changed",
            Error::Store { .. } | Error::StoreVersion { .. } => "store",
            Error::Io { .. } | Error::Table { .. } => "io",
            Error::ModelFile { .. } => "model_file",
            Error::Memory(_) => "memory",
            Error::Stopped => "stopped",
        }
    }
}

/// Whether a failure with this [`Error::kind`] may not happen again at another time or on another machine.
pub(crate) fn is_transient_kind(kind: &str) -> bool {
    matches!(kind, "io" | "disk_full" | "store")
}
