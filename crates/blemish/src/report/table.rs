//! Tables: computed once, written as CSV, Markdown and HTML.

use std::fmt::Write;

/// A cell: what is read, and the value behind it that sorts and is exported in full.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cell {
    /// Text as shown.
    pub text: String,
    /// The number that the text rounds.
    pub value: Option<f64>,
    /// Number of the experiment that the cell names: the page links to its row.
    pub experiment: Option<u64>,
    /// Whether the cell deserves attention.
    pub strong: bool,
}

impl Cell {
    /// A text.
    pub fn text(text: impl Into<String>) -> Cell {
        Cell {
            text: text.into(),
            ..Cell::default()
        }
    }

    /// A number shown as `text`.
    pub fn number(value: f64, text: String) -> Cell {
        if value.is_nan() {
            return Cell::text("–");
        }
        Cell {
            text,
            value: Some(value),
            ..Cell::default()
        }
    }

    /// An AUROC, or none.
    pub fn auroc(value: Option<f64>) -> Cell {
        value.map_or_else(|| Cell::text("–"), |v| Cell::number(v, format!("{v:.3}")))
    }

    /// A signed difference, or none.
    pub fn difference(value: Option<f64>) -> Cell {
        value.map_or_else(|| Cell::text("–"), |v| Cell::number(v, signed(v)))
    }

    /// A count.
    pub fn count(n: usize) -> Cell {
        Cell::number(n as f64, thousands(n as u64))
    }

    /// A time in seconds, or none.
    pub fn seconds(value: Option<f64>) -> Cell {
        value.map_or_else(|| Cell::text("–"), |v| Cell::number(v, seconds(v)))
    }

    /// The same, as a link to an experiment's row.
    pub fn of(mut self, experiment: u64) -> Cell {
        self.experiment = Some(experiment);
        self
    }

    /// The same, emphasised.
    pub fn strong(mut self) -> Cell {
        self.strong = true;
        self
    }
}

/// A column.
#[derive(Clone, Debug)]
pub struct Column {
    /// Its heading.
    pub name: String,
    /// Whether it holds numbers.
    pub numeric: bool,
}

/// A table.
#[derive(Clone, Debug)]
pub struct Table {
    /// Stable name, of files and anchors.
    pub id: &'static str,
    /// Caption.
    pub title: String,
    /// How to read it; may be empty.
    pub note: String,
    /// Columns.
    pub columns: Vec<Column>,
    /// Rows.
    pub rows: Vec<Vec<Cell>>,
    /// A last row that does not sort with the others.
    pub foot: Option<Vec<Cell>>,
}

impl Table {
    /// A table without rows. A heading that begins with `#` is one of numbers.
    pub fn new(id: &'static str, title: impl Into<String>, columns: &[&str]) -> Table {
        let columns = columns.iter().map(|name| Column {
            name: name.trim_start_matches('#').to_owned(),
            numeric: name.starts_with('#'),
        });
        Table {
            id,
            title: title.into(),
            note: String::new(),
            columns: columns.collect(),
            rows: vec![],
            foot: None,
        }
    }

    /// With a note below the caption.
    pub fn note(mut self, note: impl Into<String>) -> Table {
        self.note = note.into();
        self
    }

    fn all_rows(&self) -> impl Iterator<Item = &Vec<Cell>> {
        self.rows.iter().chain(&self.foot)
    }

    /// Comma-separated values with a header; numbers in full.
    pub fn csv(&self) -> String {
        let quoted = |text: &str| {
            if text.contains([',', '"', '\n', '\r']) {
                format!("\"{}\"", text.replace('"', "\"\""))
            } else {
                text.to_owned()
            }
        };
        let mut out = String::new();
        let header: Vec<String> = self.columns.iter().map(|c| quoted(&c.name)).collect();
        let _ = writeln!(out, "{}", header.join(","));
        for row in self.all_rows() {
            let cells: Vec<String> = row
                .iter()
                .map(|cell| match cell.value {
                    Some(value) => value.to_string(),
                    None if cell.text == "–" => String::new(),
                    None => quoted(&cell.text),
                })
                .collect();
            let _ = writeln!(out, "{}", cells.join(","));
        }
        out
    }

    /// A table of GitHub's Markdown with its title.
    pub fn markdown(&self) -> String {
        let plain = |text: &str| text.replace('|', "\\|").replace(['\n', '\r'], " ");
        let mut out = format!("## {}\n\n", self.title);
        if !self.note.is_empty() {
            let _ = writeln!(out, "{}\n", self.note);
        }
        let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
        out.push_str(&line(self.columns.iter().map(|c| plain(&c.name)).collect()));
        let rule = |c: &Column| if c.numeric { "--:" } else { "---" }.to_owned();
        out.push_str(&line(self.columns.iter().map(rule).collect()));
        for row in self.all_rows() {
            out.push_str(&line(row.iter().map(|cell| plain(&cell.text)).collect()));
        }
        out
    }
}

/// A signed difference to three digits, with a true minus.
pub(crate) fn signed(v: f64) -> String {
    let text = format!("{:.3}", v.abs());
    match text.trim_matches(['0', '.']) {
        "" => text,
        _ if v < 0.0 => format!("−{text}"),
        _ => format!("+{text}"),
    }
}

/// A number with spaces between its thousands.
pub(crate) fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    out
}

/// A time in the unit that suits it.
pub(crate) fn seconds(s: f64) -> String {
    match s {
        s if s.is_nan() => "–".into(),
        s if s <= 0.0 => "0".into(),
        s if s < 0.000_999_5 => format!("{} µs", digits(s * 1e6)),
        s if s < 0.999_5 => format!("{} ms", digits(s * 1e3)),
        s if s < 600.0 => format!("{} s", digits(s)),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

/// Three significant digits at most.
fn digits(v: f64) -> String {
    match v {
        v if v < 10.0 => format!("{v:.2}"),
        v if v < 100.0 => format!("{v:.1}"),
        v => format!("{v:.0}"),
    }
}

/// A size in bytes, in the unit that suits it.
pub(crate) fn bytes(n: u64) -> String {
    match n {
        n if n < 1 << 20 => format!("{:.1} KiB", n as f64 / 1024.0),
        n if n < 1 << 30 => format!("{:.1} MiB", n as f64 / 1024.0 / 1024.0),
        n => format!("{:.2} GiB", n as f64 / 1024.0 / 1024.0 / 1024.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_exported_in_full_and_shown_short() {
        let mut table = Table::new("t", "A | title", &["object", "#AUROC"]);
        table
            .rows
            .push(vec![Cell::text("a,\"b\""), Cell::auroc(Some(0.123_456))]);
        table.rows.push(vec![Cell::text("c|d"), Cell::auroc(None)]);
        assert_eq!(table.csv(), "object,AUROC\n\"a,\"\"b\"\"\",0.123456\nc|d,\n");
        assert!(
            table
                .markdown()
                .ends_with("| object | AUROC |\n| --- | --: |\n| a,\"b\" | 0.123 |\n| c\\|d | – |\n")
        );
    }

    #[test]
    fn numbers_in_words() {
        assert_eq!(
            (signed(-0.0004), signed(-0.25), signed(0.1)),
            ("0.000".into(), "−0.250".into(), "+0.100".into())
        );
        assert_eq!(thousands(59072), "59\u{202f}072");
        assert_eq!(thousands(100), "100");
        assert_eq!(
            (seconds(0.00042), seconds(1.5), seconds(86400.0)),
            ("420 µs".into(), "1.50 s".into(), "24.0 h".into())
        );
    }
}
