//! Means, quantiles and intervals.

use blemish_detectors::{BootstrapOptions, Interval, bootstrap_interval};

/// Mean; `None` of nothing.
pub(crate) fn mean(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let (sum, n) = values.into_iter().fold((0.0, 0usize), |(s, n), v| (s + v, n + 1));
    (n > 0).then(|| sum / n as f64)
}

/// Linear interpolation between order statistics, as numpy's default; sorts `values`.
pub(crate) fn quantile(values: &mut [f64], q: f64) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    let last = values.len().checked_sub(1)?;
    let at = q * last as f64;
    let (low, high) = (values[at.floor() as usize], values[at.ceil() as usize]);
    Some(low + (high - low) * (at - at.floor()))
}

/// The 95 % bootstrap interval of a mean over things that are alike; `None` below three of them.
pub(crate) fn mean_interval(values: &[f64], options: &BootstrapOptions) -> Option<Interval> {
    if values.len() < 3 {
        return None;
    }
    bootstrap_interval(&vec![(); values.len()], options, |rows| {
        mean(rows.iter().map(|i| values[*i]))
    })
    .ok()
}

/// An interval in words.
pub(crate) fn interval_text(interval: Option<Interval>) -> String {
    interval.map_or_else(|| "–".into(), |i| format!("{:.3} to {:.3}", i.low, i.high))
}

/// An interval of differences in words.
pub(crate) fn signed_interval_text(interval: Option<Interval>) -> String {
    use super::table::signed;
    interval.map_or_else(
        || "–".into(),
        |i| format!("{} to {}", signed(i.low), signed(i.high)),
    )
}
