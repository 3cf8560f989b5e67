//! `blemish weights`: what is there, and getting more.

use std::cell::Cell;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use blemish::weights::{self, FetchProgress, Imported, Listed};
use clap::{Args, Subcommand};
use comfy_table::{Table, presets};
use indicatif::{ProgressBar, ProgressStyle};

use crate::output::{note, print};

#[derive(Debug, Args)]
pub(crate) struct WeightsArgs {
    #[command(subcommand)]
    command: WeightsCommand,
}

/// The folder, as all of the commands name it.
#[derive(Debug, Args)]
pub(crate) struct FolderArgs {
    /// Folder of weights [default: blemish/weights in $XDG_DATA_HOME or ~/.local/share]
    #[arg(long = "weights", value_name = "FOLDER", env = "BLEMISH_WEIGHTS")]
    folder: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum WeightsCommand {
    /// List the weights that torchvision publishes, and which of them are here
    #[command(after_help = "Example:\n  blemish weights list")]
    List {
        #[command(flatten)]
        folder: FolderArgs,
    },
    /// Check weights files and put them into the folder of weights
    #[command(
        after_help = "Files are safetensors, or state dicts saved by PyTorch (.pth, .pt); nothing in them is executed.\n\
            Published files are known by their SHA-256, others by a name that begins with\n\
            ARCHITECTURE-INITIALIZATION; --as says it for any other.\n\n\
            Examples:\n  \
            blemish weights import ~/Downloads/resnet18-f37072fd.pth\n  \
            blemish weights import mine.pth --as resnet50-imagenet1k_v2"
    )]
    Import {
        /// Weights files
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Which weights they are: ARCHITECTURE-INITIALIZATION
        #[arg(long = "as", value_name = "NAME")]
        named: Option<String>,
        #[command(flatten)]
        folder: FolderArgs,
    },
    /// Fetch published weights into the folder of weights
    #[command(
        after_help = "A download that was interrupted goes on where it stopped. The SHA-256 is checked. Proxies are taken\n\
            from HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY.\n\n\
            Examples:\n  \
            blemish weights fetch resnet18\n  \
            blemish weights fetch resnet50-imagenet1k_v2 vit_b_16-imagenet1k_v1\n  \
            blemish weights fetch resnet18 --mirror https://mirror.example/models"
    )]
    Fetch {
        /// Names as `blemish weights list` has them; a network alone means its newest weights
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
        /// What the URLs begin with instead of torchvision's server
        #[arg(long, value_name = "URL")]
        mirror: Option<String>,
        #[command(flatten)]
        folder: FolderArgs,
    },
}

impl FolderArgs {
    fn folder(&self) -> Result<PathBuf> {
        match &self.folder {
            Some(folder) => Ok(folder.clone()),
            None => Ok(weights::default_folder()?),
        }
    }
}

pub(crate) fn run(args: WeightsArgs) -> Result<()> {
    match args.command {
        WeightsCommand::List { folder } => {
            let folder = folder.folder()?;
            print(format!(
                "{}\nFolder: {}\nPublished by torchvision (its code: BSD-3-Clause) and trained on ImageNet-1k; whether the terms of that data set\n\
                 permit your use of the weights is for you to determine. Random weights need no file.",
                table(&weights::list(&folder)?),
                folder.display()
            ))?;
        }
        WeightsCommand::Import { files, named, folder } => {
            let folder = folder.folder()?;
            for file in files {
                let imported = weights::import(&file, named.as_deref(), &folder);
                say(&imported.with_context(|| format!("{} was not imported", file.display()))?)?;
            }
        }
        WeightsCommand::Fetch {
            names,
            mirror,
            folder,
        } => {
            let folder = folder.folder()?;
            // All names are checked before the first download.
            let wanted = names.iter().map(|name| weights::published(name));
            for published in wanted.collect::<Result<Vec<_>, _>>()? {
                note(format!("fetching {}", published.file_name()));
                let bar = Bar::new();
                let fetched = weights::fetch(&published, mirror.as_deref(), &folder, &mut |progress| {
                    bar.show(progress)
                });
                bar.bar.finish_and_clear();
                say(&fetched?)?;
            }
        }
    }
    Ok(())
}

fn say(imported: &Imported) -> Result<()> {
    let published = if imported.published {
        "torchvision's own file"
    } else {
        "not a published file"
    };
    print(format!(
        "{}-{}: {published} (SHA-256 {}), serves {} to {}; now {}",
        imported.architecture,
        imported.initialization,
        &imported.sha256,
        imported.layers.first().copied().unwrap_or_default(),
        imported.layers.last().copied().unwrap_or_default(),
        imported.path.display()
    ))?;
    if let Some(ends) = &imported.ends {
        note(format!("deeper layers are not in it: {ends}"));
    }
    Ok(())
}

fn table(listed: &[Listed]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["name", "MiB", "SHA-256", "URL", "here"]);
    for Listed { published, file } in listed {
        table.add_row([
            published.name(),
            format!("{:.1}", published.mebibytes),
            format!("{}...", published.sha256_prefix()),
            published.url(),
            match file {
                None => "no".to_owned(),
                Some(Ok(file)) => file.file_name().unwrap_or_default().display().to_string(),
                Some(Err(why)) => why.clone(),
            },
        ]);
    }
    table
}

/// The progress of a download; plain lines where standard error is no terminal.
struct Bar {
    bar: ProgressBar,
    terminal: bool,
    last_line: Cell<Instant>,
}

impl Bar {
    fn new() -> Bar {
        let bar = ProgressBar::no_length();
        let template = "{bar:30} {decimal_bytes}/{decimal_total_bytes}, {decimal_bytes_per_sec}, {eta} left";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Bar {
            bar,
            terminal: std::io::stderr().is_terminal(),
            last_line: Cell::new(Instant::now()),
        }
    }

    fn show(&self, progress: FetchProgress) {
        let FetchProgress { received, total } = progress;
        if self.terminal {
            self.bar.update(|state| {
                state.set_pos(received);
                if let Some(total) = total {
                    state.set_len(total);
                }
            });
        } else if self.last_line.get().elapsed() >= Duration::from_secs(10) {
            self.last_line.set(Instant::now());
            let of = total.map_or_else(String::new, |total| format!(" of {:.1}", total as f64 / 1e6));
            note(format!("{:.1}{of} MB", received as f64 / 1e6));
        }
    }
}
