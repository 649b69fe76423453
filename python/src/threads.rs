//! The threads of a process that is about to fork, by name.
//!
//! A fork copies the calling thread alone. Locks that another one held stay
//! locked in the child, where no thread is left to unlock them. The interpreter knows
//! its own threads; those of libraries, thread pools in C++ or Rust, only the
//! kernel knows. So they are counted and named by /proc.

use crate::tools::tools;
use pyo3::exceptions::PyRuntimeWarning;
use pyo3::prelude::*;
use std::collections::{BTreeMap, HashMap};
use std::ffi::CString;

/// How many different names a warning shows.
const SHOWN: usize = 8;

/// Warns where there are other threads than this one: `what` is going on, with their names,
/// and `why` that is a danger.
pub(crate) fn warn_of_threads(py: Python<'_>, what: &str, why: &str) -> PyResult<()> {
    let others = other_threads();
    if others.is_empty() {
        return Ok(());
    }
    let text = format!("{what} ({}): {why}", names(py, others));
    let text = CString::new(text.replace('\0', "?"))?;
    PyErr::warn(py, &py.get_type::<PyRuntimeWarning>(), &text, 1)
}

/// Number and name in the kernel of each thread but this one. Empty where there is no
/// /proc.
fn other_threads() -> Vec<(i32, String)> {
    let own = nix::unistd::gettid().as_raw();
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return Vec::new() };
    tasks
        .filter_map(|task| task.ok()?.file_name().to_str()?.parse().ok())
        .filter(|&tid| tid != own)
        .filter_map(|tid: i32| {
            // One that has ended since is no danger.
            let name = std::fs::read(format!("/proc/self/task/{tid}/comm")).ok()?;
            Some((tid, String::from_utf8_lossy(&name).trim_end().to_owned()))
        })
        .collect()
}

/// "Thread-1 (work), tokio-worker x4".
fn names(py: Python<'_>, threads: Vec<(i32, String)>) -> String {
    let known = python_names(py).unwrap_or_default();
    let mut counts = BTreeMap::<String, usize>::new();
    for (tid, comm) in threads {
        *counts.entry(known.get(&tid).cloned().unwrap_or(comm)).or_default() += 1;
    }
    let more = counts.len().saturating_sub(SHOWN);
    let mut shown: Vec<String> = counts
        .into_iter()
        .take(SHOWN)
        .map(|(name, count)| if count > 1 { format!("{name} x{count}") } else { name })
        .collect();
    if more > 0 {
        shown.push(format!("and {more} more"));
    }
    shown.join(", ")
}

/// The names that `threading` has for its threads, which the kernel is not told before
/// CPython 3.14.
fn python_names(py: Python<'_>) -> PyResult<HashMap<i32, String>> {
    let Some(threading) = tools(py)?.modules.bind(py).get_item("threading")? else {
        return Ok(HashMap::new());
    };
    let mut names = HashMap::new();
    for thread in threading.call_method0("enumerate")?.try_iter()? {
        let thread = thread?;
        // None where it has not yet begun.
        if let Some(tid) = thread.getattr("native_id")?.extract::<Option<i32>>()? {
            names.insert(tid, thread.getattr("name")?.extract()?);
        }
    }
    Ok(names)
}
