//! A small data set, a folder of its own for each test, and ways to run the program.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// A fresh folder, with the synthetic data set in `data` (made small: the point is the program).
pub(crate) struct Bench {
    dir: TempDir,
}

impl Bench {
    pub(crate) fn new() -> Bench {
        Bench {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    /// With a data set of two objects.
    pub(crate) fn with_data() -> Bench {
        let bench = Bench::new();
        bench.ok(&["synth", "data", "--size", "64", "--train", "6"]);
        bench
    }

    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.dir.path().join(relative)
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_blemish"));
        command
            .args(args)
            .current_dir(self.dir.path())
            .env("XDG_DATA_HOME", self.path("xdg"))
            .env_remove("BLEMISH_WEIGHTS");
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Runs what must succeed; returns standard output.
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(
            output.status.success(),
            "blemish {}\n{}",
            args.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs what must fail with exit code `code`; returns standard error.
    pub(crate) fn fails(&self, code: i32, args: &[&str]) -> String {
        let output = self.run(args);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(
            output.status.code(),
            Some(code),
            "blemish {}\n{text}",
            args.join(" ")
        );
        text
    }

    /// The export of a run without its times: what must not depend on anything but the key.
    pub(crate) fn timeless(&self, run: &str) -> String {
        let text = self.ok(&["export", run, "-o", "-"]);
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let header = reader.headers().unwrap().clone();
        let times: Vec<bool> = header.iter().map(|h| h.ends_with("_time_s")).collect();
        let mut out = String::new();
        for record in reader.records() {
            let record = record.unwrap();
            let kept: Vec<&str> = record
                .iter()
                .zip(&times)
                .filter(|(_, t)| !**t)
                .map(|(f, _)| f)
                .collect();
            out.push_str(&kept.join("|"));
            out.push('\n');
        }
        out
    }
}

/// Grid arguments for a quick run on the synthetic data of [`Bench::with_data`].
pub(crate) fn quick(out: &str) -> Vec<&str> {
    vec![
        "grid",
        "data",
        "--out",
        out,
        "--initializations",
        "random",
        "--layers",
        "layer3,layer4",
    ]
}

/// Copies a folder with everything in it.
pub(crate) fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
