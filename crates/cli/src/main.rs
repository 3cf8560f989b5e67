//! The command-line program `blemish`: the only place that parses arguments, prints, and chooses exit
//! codes (0 done, 1 failed, 2 wrong usage).

mod args;
mod check;
mod commands;
mod eval;
mod fit;
mod output;
mod plan;
mod progress;
mod score;
mod selection;
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
            ExitCode::FAILURE
        }
    }
}
