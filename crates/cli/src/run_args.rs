//! How experiments are run, as typed: nothing here changes a result.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Result;
use blemish::lab::{Bytes, Keep, RunOptions};
use clap::Args;

use crate::args::threads;

/// The exit code of a run that was stopped by a signal: the same command goes on.
pub(crate) const STOPPED: u8 = 75;

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) bounds: BoundsArgs,
    /// Compute failed experiments again
    #[arg(long)]
    pub(crate) retry_failed: bool,
}

/// What may be used.
#[derive(Debug, Args)]
pub(crate) struct BoundsArgs {
    /// Threads [default: $SLURM_CPUS_PER_TASK, else one for each core]. Results do not depend on it
    #[arg(long, value_name = "N", value_parser = threads)]
    pub(crate) threads: Option<usize>,
    /// Memory that is not to be exceeded, as in 8G; rows that do not fit go to a file that vanishes with the
    /// program [default: four fifths of what is free]
    #[arg(long, value_name = "BYTES")]
    pub(crate) memory: Option<Bytes>,
    /// Folder for rows that do not fit into memory [default: the run folder]
    #[arg(long, value_name = "FOLDER")]
    pub(crate) scratch: Option<PathBuf>,
    /// Most bytes of such rows; with less, images are read several times [default: 16G]
    #[arg(long, value_name = "BYTES")]
    pub(crate) scratch_limit: Option<Bytes>,
    /// What is kept besides results: products (new settings of all detectors but the isolation forest then need no
    /// image) or nothing
    #[arg(long, value_name = "WHAT", default_value = "products")]
    pub(crate) keep: Keep,
}

impl RunArgs {
    /// The arguments as meant; SIGTERM and Ctrl-C stop the run.
    pub(crate) fn options(&self) -> Result<RunOptions> {
        Ok(RunOptions {
            retry_failed: self.retry_failed,
            stop: Some(stop_on_signals()?),
            ..self.bounds.options()
        })
    }
}

impl BoundsArgs {
    /// The arguments as meant.
    pub(crate) fn options(&self) -> RunOptions {
        RunOptions {
            threads: self.threads.or_else(slurm_threads),
            memory: self.memory.or_else(slurm_memory),
            scratch: self.scratch.clone(),
            scratch_limit: self.scratch_limit,
            keep: self.keep,
            ..RunOptions::default()
        }
    }
}

/// A whole number from the environment.
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.trim().parse().ok()
}

/// The cores that Slurm gave to this task: the system may show all of the machine.
fn slurm_threads() -> Option<usize> {
    number("SLURM_CPUS_PER_TASK")
        .filter(|n| (1..=1024).contains(n))
        .map(|n| n as usize)
}

/// Four fifths of the memory that Slurm gave to this job on this machine.
fn slurm_memory() -> Option<Bytes> {
    let cores = || number("SLURM_CPUS_PER_TASK").unwrap_or(1);
    let mebibytes =
        number("SLURM_MEM_PER_NODE").or_else(|| number("SLURM_MEM_PER_CPU")?.checked_mul(cores()))?;
    // 0 is all that there is.
    let bytes = mebibytes.checked_mul(1 << 20).filter(|b| *b > 0)?;
    Some(Bytes(bytes / 5 * 4))
}

/// Becomes true with the first SIGTERM or Ctrl-C; the second ends the process at once.
pub(crate) fn stop_on_signals() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        signal_hook::flag::register_conditional_shutdown(signal, STOPPED.into(), stop.clone())?;
        signal_hook::flag::register(signal, stop.clone())?;
    }
    Ok(stop)
}
