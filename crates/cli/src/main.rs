//! The command-line program `blemish`: the only place that parses arguments, prints, and chooses exit
//! codes (0 done, 1 failed, 2 wrong usage, 75 stopped by a signal).

mod args;
mod check;
mod cluster;
mod commands;
mod eval;
mod fit;
mod gc;
mod output;
mod plan;
mod progress;
mod report;
mod run_args;
mod score;
mod selection;
mod status;
mod submit;
mod tables;
mod weights;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let arguments = args::Arguments::parse();
    match commands::run(arguments) {
        Ok(code) => code,
        // A reader that has seen enough, such as `head`, is no failure.
        Err(error) if output::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            output::error(&error);
            if error.is::<output::Usage>() {
                output::note("\nFor more information, try '--help'.");
                return ExitCode::from(2);
            }
            ExitCode::FAILURE
        }
    }
}
