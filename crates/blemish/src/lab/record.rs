//! What a run remembers of where and how it was computed. No result depends on it; a report tells it.

use serde_json::{Value, json};

use super::plan::Plan;
use super::run::RunSummary;
use super::store::Store;
use crate::Error;

/// Where the images are, and how many there are to learn from.
pub(crate) const DATA: &str = "data";
/// What was computed in each call, by what machine, in how much time.
pub(crate) const SESSIONS: &str = "sessions";

/// Notes where the images of each object are, so that a report can show them.
pub(crate) fn data(store: &mut Store, plan: &Plan) -> Result<(), Error> {
    let objects: serde_json::Map<String, Value> = plan
        .objects
        .iter()
        .map(|object| {
            let folder = object.folder.canonicalize();
            let folder = folder.unwrap_or_else(|_| object.folder.clone());
            let note = json!({"folder": folder.to_string_lossy(), "train": object.train.len()});
            (object.name.clone(), note)
        })
        .collect();
    store.set_note(DATA, &Value::Object(objects))
}

/// Notes what this call computed; nothing, if there was nothing to do.
pub(crate) fn session(store: &mut Store, summary: &RunSummary, threads: usize) -> Result<(), Error> {
    if summary.computed == 0 {
        return Ok(());
    }
    let mut sessions = match store.note(SESSIONS)? {
        Some(Value::Array(sessions)) => sessions,
        _ => vec![],
    };
    sessions.push(json!({
        "computed": summary.computed,
        "features_s": summary.features_time.as_secs_f64(),
        "products_s": summary.products_time.as_secs_f64(),
        "detectors_s": summary.detectors_time.as_secs_f64(),
        "threads": threads,
        "system": std::env::consts::OS,
        "processor": processor(),
        "version": env!("CARGO_PKG_VERSION"),
    }));
    store.set_note(SESSIONS, &Value::Array(sessions))
}

/// The processor's name where the system tells it, else its kind.
fn processor() -> String {
    let told = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = told.lines().find_map(|line| {
        let (field, value) = line.split_once(':')?;
        (field.trim() == "model name").then(|| value.trim().to_owned())
    });
    name.filter(|n| !n.is_empty())
        .unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}
