//! `blemish submit slurm`: a plan as job arrays of Slurm, until all results are there.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use blemish::lab::{Plan, TaskState, task_states};
use clap::{Args, Subcommand};

use crate::cluster::{AGAIN, PERMANENT, ranges};
use crate::commands::plural;
use crate::output::{note, print};

#[derive(Debug, Subcommand)]
pub(crate) enum SubmitCommand {
    /// As job arrays of Slurm: submits what is missing, waits, and submits again what is missing still
    #[command(
        after_help = "Everything after -- goes to sbatch as it is. RUN, the images, the weights and this program must be\n\
            found under the same names on every node. Interrupt it at any time: the jobs go on, and the same\n\
            command waits for them.\n\n\
            Exit codes: 0 all results are there, 75 some are still missing, 65 some experiments failed.\n\n\
            Example:\n  blemish submit slurm run -- --partition=cpu --cpus-per-task=8 --mem=8G --time=2:00:00"
    )]
    Slurm(SlurmArgs),
}

#[derive(Debug, Args)]
pub(crate) struct SlurmArgs {
    /// Run folder with a plan, in a file system that all nodes share
    run: PathBuf,
    /// How often to submit what is missing
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Tasks in one array at most [default: what the cluster's MaxArraySize allows]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    chunk: Option<u32>,
    /// Seconds between looks at the queue and the results
    #[arg(long, value_name = "SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=3600))]
    poll: u64,
    /// The program on the nodes, such as a script that loads modules and calls this one [default: this program]
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    /// Print the job script and the sbatch commands, and submit nothing
    #[arg(long)]
    dry_run: bool,
    /// Options of sbatch
    #[arg(last = true, value_name = "SBATCH_OPTIONS")]
    sbatch: Vec<OsString>,
}

/// One call of sbatch: tasks from `offset` on.
#[derive(Debug, PartialEq)]
struct Array {
    offset: usize,
    indices: String,
}

/// Arrays that hold `tasks`, with indices below `chunk`.
fn arrays(tasks: &[usize], chunk: usize) -> Vec<Array> {
    let same = |a: &usize, b: &usize| a / chunk == b / chunk;
    tasks
        .chunk_by(same)
        .map(|tasks| {
            let offset = tasks[0] / chunk * chunk;
            let indices: Vec<usize> = tasks.iter().map(|t| t - offset).collect();
            Array {
                offset,
                indices: ranges(&indices),
            }
        })
        .collect()
}

pub(crate) fn submit(command: &SubmitCommand) -> Result<ExitCode> {
    let SubmitCommand::Slurm(args) = command;
    let array_option = |o: &&OsString| {
        let text = o.to_string_lossy();
        text == "--array" || text.starts_with("--array=") || text.starts_with("-a")
    };
    if let Some(option) = args.sbatch.iter().find(array_option) {
        bail!(
            "{}: the array is made from what is missing; leave this option out",
            option.to_string_lossy()
        );
    }
    let run = args
        .run
        .canonicalize()
        .with_context(|| args.run.display().to_string())?;
    let plan = Plan::open(&run)?;
    let states = task_states(&plan, &run, 0..plan.tasks.len())?;
    let slurm = Slurm::new(args, &run)?;
    let mut job = Job {
        plan: &plan,
        run: &run,
        unfinished: lacking(&states),
        poll: Duration::from_secs(args.poll),
    };
    if args.dry_run {
        print(&slurm.script)?;
        for array in arrays(&job.unfinished, slurm.chunk) {
            let words: Vec<String> = slurm
                .sbatch(&array)
                .iter()
                .map(|w| quote(w).to_string_lossy().into_owned())
                .collect();
            print(format!("sbatch {}", words.join(" ")))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    slurm.write_script()?;
    // Of a call that was interrupted.
    let before = slurm.jobs_from_before();
    if !before.is_empty() && !job.unfinished.is_empty() && slurm.queued(&before).is_ok_and(|n| n > 0) {
        note(format!("waiting for jobs from before: {}", before.join(", ")));
        job.wait(&slurm, &before)?;
    }
    for round in 1..=args.rounds {
        if job.unfinished.is_empty() {
            break;
        }
        let mut jobs = vec![];
        for array in arrays(&job.unfinished, slurm.chunk) {
            match slurm.submit(&array) {
                Ok(id) => {
                    jobs.push(id);
                    slurm.remember(&jobs)?;
                }
                // What was submitted goes on; the rest is submitted in the next round.
                Err(error) if !jobs.is_empty() => {
                    note(format!("{error:#}"));
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        note(format!(
            "round {round} of {}: job{} {} for {} task{} ({})",
            args.rounds,
            plural(jobs.len()),
            jobs.join(", "),
            job.unfinished.len(),
            plural(job.unfinished.len()),
            ranges(&job.unfinished),
        ));
        job.wait(&slurm, &jobs)?;
    }
    job.report(&slurm)
}

fn lacking(states: &[TaskState]) -> Vec<usize> {
    states.iter().filter(|s| s.missing > 0).map(|s| s.task).collect()
}

/// The plan while it is under way.
struct Job<'a> {
    plan: &'a Plan,
    run: &'a Path,
    /// Tasks without results.
    unfinished: Vec<usize>,
    poll: Duration,
}

impl Job<'_> {
    /// Looks for results; says what has come.
    fn look(&mut self) -> Result<()> {
        let states = task_states(self.plan, self.run, self.unfinished.iter().copied())?;
        let left = lacking(&states);
        if left.len() < self.unfinished.len() {
            let all = self.plan.tasks.len();
            note(format!("{} of {all} tasks have results", all - left.len()));
        }
        self.unfinished = left;
        Ok(())
    }

    /// Waits until all results are there or the jobs have left the queue. The results decide: a scheduler may list jobs
    /// that have done their work, and a job that has ended may have left none.
    fn wait(&mut self, slurm: &Slurm<'_>, jobs: &[String]) -> Result<()> {
        let mut told = false;
        let mut gone = 0;
        loop {
            std::thread::sleep(self.poll);
            self.look()?;
            if self.unfinished.is_empty() {
                slurm.cancel(jobs);
                return Ok(());
            }
            match slurm.queued(jobs) {
                // Once more, since a shared file system may show new files late.
                Ok(0) => gone += 1,
                Ok(_) => gone = 0,
                Err(error) => {
                    if !told {
                        note(format!("{error:#}; asking again"));
                    }
                    told = true;
                }
            }
            if gone == 2 {
                slurm.cancel(jobs);
                return Ok(());
            }
        }
    }

    fn report(&self, slurm: &Slurm<'_>) -> Result<ExitCode> {
        if !self.unfinished.is_empty() {
            note(format!(
                "tasks without results: {}; their logs are in {}",
                ranges(&self.unfinished),
                slurm.logs.display()
            ));
            return Ok(ExitCode::from(AGAIN));
        }
        let states = task_states(self.plan, self.run, 0..self.plan.tasks.len())?;
        let failed: usize = states.iter().map(|s| s.failed).sum();
        print(format!(
            "all {} tasks have results, {failed} experiment{} failed\nNext:\n  blemish merge {}",
            states.len(),
            plural(failed),
            self.run.display()
        ))?;
        Ok(if failed > 0 {
            ExitCode::from(PERMANENT)
        } else {
            ExitCode::SUCCESS
        })
    }
}

/// How Slurm is called.
struct Slurm<'a> {
    folder: PathBuf,
    logs: PathBuf,
    script: String,
    chunk: usize,
    options: &'a [OsString],
}

impl<'a> Slurm<'a> {
    fn new(args: &'a SlurmArgs, run: &Path) -> Result<Slurm<'a>> {
        let program = match &args.program {
            Some(program) => program
                .canonicalize()
                .with_context(|| program.display().to_string())?,
            None => std::env::current_exe().context("this program does not know where it is")?,
        };
        // The script is copied to the spool of the node and runs in the folder of submission: absolute paths only.
        let script = format!(
            "#!/bin/sh\n# Made by `blemish submit slurm`: the task is the index in the array plus the first argument.\n\
             exec {} run {} --task \"$((SLURM_ARRAY_TASK_ID + $1))\"\n",
            text(&quote(program.as_os_str()))?,
            text(&quote(run.as_os_str()))?,
        );
        let folder = run.join("slurm");
        let largest = if args.dry_run && args.chunk.is_some() {
            usize::MAX
        } else {
            largest_array()
        };
        Ok(Slurm {
            logs: folder.join("logs"),
            folder,
            script,
            chunk: args.chunk.map_or(largest, |c| largest.min(c as usize)),
            options: &args.sbatch,
        })
    }

    fn script_path(&self) -> PathBuf {
        self.folder.join("job.sh")
    }

    fn write_script(&self) -> Result<()> {
        std::fs::create_dir_all(&self.logs).with_context(|| self.logs.display().to_string())?;
        let path = self.script_path();
        std::fs::write(&path, &self.script).with_context(|| path.display().to_string())
    }

    /// The arguments of sbatch.
    fn sbatch(&self, array: &Array) -> Vec<OsString> {
        // In a name of a log, % begins a pattern.
        let logs = self.logs.to_string_lossy().replace('%', "%%");
        let mut words: Vec<OsString> = [
            "--parsable",
            "--job-name=blemish",
            "--requeue",
            "--open-mode=append",
        ]
        .map(OsString::from)
        .to_vec();
        words.push(format!("--array={}", array.indices).into());
        words.push(format!("--output={logs}/%A_%a.log").into());
        words.extend(self.options.iter().cloned());
        words.push(self.script_path().into());
        words.push(array.offset.to_string().into());
        words
    }

    fn submit(&self, array: &Array) -> Result<String> {
        let output = call("sbatch", self.sbatch(array))?;
        let text = String::from_utf8_lossy(&output.stdout);
        // The number, and after a semicolon the cluster where there are several.
        let id = text.trim().split(';').next().unwrap_or_default();
        if id.is_empty() || !id.bytes().all(|b| b.is_ascii_digit()) {
            bail!("sbatch printed `{}` where a job number was expected", text.trim());
        }
        Ok(id.to_owned())
    }

    fn jobs_path(&self) -> PathBuf {
        self.folder.join("jobs")
    }

    /// Notes the jobs of this round, for a call after an interruption.
    fn remember(&self, jobs: &[String]) -> Result<()> {
        let path = self.jobs_path();
        std::fs::write(&path, jobs.join("\n") + "\n").with_context(|| path.display().to_string())
    }

    fn jobs_from_before(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.jobs_path()).unwrap_or_default();
        let number = |l: &&str| !l.is_empty() && l.bytes().all(|b| b.is_ascii_digit());
        text.lines().filter(number).map(str::to_owned).collect()
    }

    /// How many tasks of `jobs` are in the queue and may still run by themselves.
    fn queued(&self, jobs: &[String]) -> Result<usize> {
        // Asked for one job that is gone, squeue fails; asked for all of this user's, it lists those that there are.
        let output = call(
            "squeue",
            ["--noheader", "--me", "--format=%F|%r"].map(OsString::from),
        )?;
        let text = String::from_utf8_lossy(&output.stdout);
        let ours = text.lines().filter_map(|line| line.split_once('|'));
        Ok(ours
            .filter(|(id, _)| jobs.iter().any(|job| job == id.trim()))
            // A node could not start it: it is held until somebody releases it.
            .filter(|(_, reason)| !reason.contains("launch failed"))
            .count())
    }

    /// Takes what is left of `jobs` out of the queue; it does not matter if there is nothing.
    fn cancel(&self, jobs: &[String]) {
        let mut words = vec![OsString::from("--quiet")];
        words.extend(jobs.iter().map(OsString::from));
        let _ = Command::new("scancel").args(words).output();
    }
}

/// How many tasks an array of this cluster may hold: its indices are below MaxArraySize.
fn largest_array() -> usize {
    let output = call("scontrol", ["show", "config"].map(OsString::from));
    let text = output.map_or_else(
        |_| String::new(),
        |o| String::from_utf8_lossy(&o.stdout).into_owned(),
    );
    let value = text.lines().find_map(|line| {
        let (name, value) = line.split_once('=')?;
        (name.trim() == "MaxArraySize").then(|| value.trim().parse().ok())?
    });
    // Slurm's own default where nothing is said.
    value.filter(|n| *n > 0).unwrap_or(1001)
}

/// Runs a program of Slurm; its failure is an error with what it said.
fn call(program: &str, arguments: impl IntoIterator<Item = OsString>) -> Result<Output> {
    let output = match Command::new(program).args(arguments).output() {
        Ok(output) => output,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            bail!("there is no program {program} here: submit from a machine of the cluster")
        }
        Err(e) => return Err(e).context(program.to_owned()),
    };
    if !output.status.success() {
        let mut text = format!("{program} failed ({})", output.status);
        for line in String::from_utf8_lossy(&output.stderr).lines() {
            let _ = write!(text, "\n  {line}");
        }
        bail!(text);
    }
    Ok(output)
}

fn text(word: &OsStr) -> Result<&str> {
    word.to_str()
        .with_context(|| format!("{}: this name is not valid UTF-8", word.to_string_lossy()))
}

/// A word as a shell reads it back.
fn quote(word: &OsStr) -> OsString {
    let text = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,%+@".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''")).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_are_cut_at_multiples_of_the_chunk() {
        let array = |offset, indices: &str| Array {
            offset,
            indices: indices.into(),
        };
        assert_eq!(arrays(&[0, 1, 2, 5], 1000), [array(0, "0-2,5")]);
        assert_eq!(
            arrays(&[1, 3, 4, 5, 7, 12], 4),
            [array(0, "1,3"), array(4, "0-1,3"), array(12, "0")]
        );
        assert_eq!(arrays(&[], 4), []);
    }

    #[test]
    fn words_survive_the_shell() {
        for word in ["plain/path.x", "with space", "it's", "$HOME`x`\"\\", "", "a\nb"] {
            let output = Command::new("sh")
                .arg("-c")
                .arg(format!("printf %s {}", quote(OsStr::new(word)).to_string_lossy()))
                .output()
                .unwrap();
            assert_eq!(String::from_utf8_lossy(&output.stdout), word);
        }
    }
}
