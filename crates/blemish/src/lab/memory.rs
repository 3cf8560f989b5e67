//! How much memory and disk there is, and how much this process has used.

use std::path::Path;

/// An amount of bytes, written as 512M, 8G (units of 1000) or 7.5Gi (units of 1024).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

impl std::str::FromStr for Bytes {
    type Err = String;
    fn from_str(text: &str) -> Result<Bytes, String> {
        let wrong = || format!("`{text}` is no amount of bytes: give a number and K, M, G or T, as in 8G");
        let text_ = text.trim().trim_end_matches(['B', 'b']);
        let (text_, thousand) = match text_.strip_suffix('i') {
            Some(rest) => (rest, 1024.0f64),
            None => (text_, 1000.0),
        };
        let unit = text_.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
        let power = match unit.trim().to_ascii_uppercase().as_str() {
            "" => 0,
            "K" => 1,
            "M" => 2,
            "G" => 3,
            "T" => 4,
            _ => return Err(wrong()),
        };
        let number: f64 = text_[..text_.len() - unit.len()].parse().map_err(|_| wrong())?;
        let bytes = number * thousand.powi(power);
        if !(1.0..1e18).contains(&bytes) {
            return Err(wrong());
        }
        Ok(Bytes(bytes as u64))
    }
}

impl std::fmt::Display for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bytes = self.0 as f64;
        f.pad(&match self.0 {
            0..1_000 => format!("{bytes} B"),
            1_000..1_000_000 => format!("{:.0} kB", bytes / 1e3),
            1_000_000..1_000_000_000 => format!("{:.0} MB", bytes / 1e6),
            _ => format!("{:.1} GB", bytes / 1e9),
        })
    }
}

/// Memory that this process may use: the least of what is free and what its control group allows; `None` where the
/// system does not say.
pub fn available_memory() -> Option<Bytes> {
    let free = field("/proc/meminfo", "MemAvailable:").map(|kib| kib * 1024);
    let group = || {
        let limit: u64 = read("/sys/fs/cgroup/memory.max")?.trim().parse().ok()?;
        let used: u64 = read("/sys/fs/cgroup/memory.current")?.trim().parse().ok()?;
        Some(limit.saturating_sub(used))
    };
    match (free, group()) {
        (Some(a), Some(b)) => Some(Bytes(a.min(b))),
        (a, b) => a.or(b).map(Bytes),
    }
}

/// Free space of the disk that holds `folder`; `None` where the system does not say.
pub fn free_disk(folder: &Path) -> Option<Bytes> {
    #[cfg(unix)]
    {
        // A folder that is not there yet will be on the disk of the first that is.
        let there = folder
            .ancestors()
            .find(|f| f.exists() || f.as_os_str().is_empty())?;
        let there = if there.as_os_str().is_empty() {
            Path::new(".")
        } else {
            there
        };
        let disk = rustix::fs::statvfs(there).ok()?;
        Some(Bytes(disk.f_bavail.saturating_mul(disk.f_frsize)))
    }
    #[cfg(not(unix))]
    {
        let _ = folder;
        None
    }
}

/// Begins to measure the peak anew; `false` where the system cannot, so that the peak is the process's since its start.
pub(crate) fn reset_peak() -> bool {
    std::fs::write("/proc/self/clear_refs", "5").is_ok()
}

/// The most memory that was resident at any time since [`reset_peak`], in bytes; `None` where the system does not say.
pub(crate) fn peak() -> Option<u64> {
    field("/proc/self/status", "VmHWM:").map(|kib| kib * 1024)
}

fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

/// The number after `name` at the beginning of a line.
fn field(path: &str, name: &str) -> Option<u64> {
    let text = read(path)?;
    let line = text.lines().find_map(|l| l.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_and_written() {
        for (text, bytes) in [
            ("8G", 8_000_000_000),
            ("7.5Gi", 8_053_063_680),
            ("512M", 512_000_000),
            ("1kB", 1000),
            ("17", 17),
            ("2 T", 2_000_000_000_000),
        ] {
            assert_eq!(text.parse(), Ok(Bytes(bytes)), "{text}");
        }
        for text in ["", "G", "-1G", "8X", "8.8.8G", "1e3G", "0", "nanG"] {
            assert!(text.parse::<Bytes>().is_err(), "{text}");
        }
        assert_eq!(Bytes(7_990_000_000).to_string(), "8.0 GB");
        assert_eq!(Bytes(345_600_000).to_string(), "346 MB");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_system_says_how_much_there_is() {
        assert!(available_memory().unwrap().0 > 1_000_000);
        assert!(free_disk(Path::new("not/there/yet")).is_some());
        reset_peak();
        let filled = std::hint::black_box(vec![1u8; 64 << 20]);
        assert!(filled.iter().map(|b| u64::from(*b)).sum::<u64>() == 64 << 20);
        assert!(peak().unwrap() >= 64 << 20);
    }
}
