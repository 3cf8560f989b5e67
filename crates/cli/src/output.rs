//! Printing. Everything for a person goes through here.

use std::io::{IsTerminal, Write};

use anyhow::{Context, Result};

/// What an error on standard output begins with.
pub(crate) const STDOUT: &str = "cannot write to standard output";

/// Control characters, which names of files may have and terminals obey, as escapes.
fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && !matches!(c, '\n' | '\t') {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// Prints to standard output.
///
/// # Errors
/// Those of standard output, such as a closed pipe.
pub(crate) fn print(text: impl std::fmt::Display) -> Result<()> {
    let mut out = std::io::stdout().lock();
    if out.is_terminal() {
        writeln!(out, "{}", visible(&text.to_string())).context(STDOUT)
    } else {
        writeln!(out, "{text}").context(STDOUT)
    }
}

/// Prints a note to standard error, where it does not disturb what is piped on.
pub(crate) fn note(text: impl std::fmt::Display) {
    // Nobody is left to tell that standard error is closed.
    let _ = writeln!(std::io::stderr().lock(), "{}", visible(&text.to_string()));
}

/// A mistake in the arguments that shows only when they are taken together: the exit code is that of wrong usage.
#[derive(Debug)]
pub(crate) struct Usage(pub(crate) String);

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// Prints an error with its causes.
pub(crate) fn error(error: &anyhow::Error) {
    let mut text = format!("error: {error}");
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        // Many errors repeat their cause in their own text, SQLite's with a number before it.
        let told = match cause.split_once(": ") {
            Some((code, told)) if code.starts_with("Error code ") => told,
            _ => &cause,
        };
        if !text.contains(told) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    note(text);
}

/// Whether the cause is that the reader of our output has gone.
pub(crate) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminals_are_told_nothing() {
        assert_eq!(visible("a\tb\nc \u{e9}"), "a\tb\nc \u{e9}");
        assert_eq!(visible("\u{1b}[31mred\r\u{9b}"), "\\u{1b}[31mred\\r\\u{9b}");
    }
}
