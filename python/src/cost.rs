//! `fork_cost`: what a fork of this interpreter takes.

use crate::error;
use pyo3::prelude::*;
use std::fmt::Write;

/// What a file, a kind of memory, or a package adds to a fork.
#[pyclass(frozen, get_all, module = "forkserve")]
#[derive(Clone)]
pub(crate) struct ForkCostPart {
    /// The path of a library; "[heap]", "[stack]" and so on, "[anonymous]" for memory that
    /// has no name; of imports the package.
    name: String,
    /// How many mappings it has; of a package, those of its libraries.
    mappings: u64,
    /// Private memory of it that is resident, in KiB. Of a package that is an estimate, from
    /// the size of its functions, classes and data.
    private_kib: u64,
}

#[pymethods]
impl ForkCostPart {
    fn __repr__(&self) -> String {
        let ForkCostPart { name, mappings, private_kib } = self;
        format!("ForkCostPart(name={name:?}, mappings={mappings}, private_kib={private_kib})")
    }
}

/// What a fork of this process costs; what fork_cost() returns. str() of it is a table.
#[pyclass(frozen, get_all, module = "forkserve")]
pub(crate) struct ForkCost {
    /// Seconds for a fork and the end of the child, which does nothing: the median of some.
    /// The interpreter's own steps in a child come on top.
    fork: f64,
    /// Mappings of the process.
    mappings: u64,
    /// Private memory that is resident, in KiB: a fork copies an entry for each page.
    private_kib: u64,
    /// Page tables, in KiB.
    page_tables_kib: u64,
    /// Threads, this one among them.
    threads: u64,
    /// What the mappings are of, a list of ForkCostPart, the dearest first.
    parts: Vec<ForkCostPart>,
    /// The packages that have been imported, a list of ForkCostPart, the dearest first.
    imports: Vec<ForkCostPart>,
}

/// So many lines of each list are shown by str().
const SHOWN: usize = 12;

#[pymethods]
impl ForkCost {
    fn __repr__(&self) -> String {
        let ForkCost { fork, mappings, private_kib, page_tables_kib, threads, .. } = self;
        format!(
            "<forkserve.ForkCost: fork={fork:.6}, mappings={mappings}, \
             private_kib={private_kib}, page_tables_kib={page_tables_kib}, threads={threads}>"
        )
    }

    fn __str__(&self) -> String {
        let mut text = format!(
            "fork and exit {:.0} µs, mappings {}, private memory {} KiB, page tables {} KiB, \
             threads {}\n",
            self.fork * 1e6,
            self.mappings,
            self.private_kib,
            self.page_tables_kib,
            self.threads
        );
        for (title, parts) in [("mappings of", &self.parts), ("imports", &self.imports)] {
            let _ = write!(text, "\n{:>8} {:>8}  {title}\n", "mappings", "KiB");
            for part in parts.iter().take(SHOWN) {
                let ForkCostPart { name, mappings, private_kib } = part;
                let _ = writeln!(text, "{mappings:>8} {private_kib:>8}  {name}");
            }
        }
        text
    }
}

/// Measures what a fork of this process costs, and tells what contributes most.
///
/// Makes some children that end at once and run no Python; the program's own waiting does
/// not see them. Takes up to half a second, or three forks where one takes longer than
/// that. To be called where the forks are made, once everything is loaded.
///
/// Raises Error if the process cannot fork, or /proc/self not be read.
#[pyfunction]
pub(crate) fn fork_cost(py: Python<'_>) -> PyResult<ForkCost> {
    let cost = forkserve::fork_cost().map_err(|error| error::from_core(py, &error))?;
    let parts: Vec<ForkCostPart> = cost
        .parts
        .into_iter()
        .map(|part| ForkCostPart {
            name: part.name,
            mappings: part.mappings,
            private_kib: part.private_kib,
        })
        .collect();
    let names: Vec<(&str, u64)> =
        parts.iter().map(|part| (part.name.as_str(), part.mappings)).collect();
    let imports = py.import("forkserve._cost")?.call_method1("imports", (names,))?;
    let imports: Vec<(String, u64, u64)> = imports.extract()?;
    let imports = imports.into_iter().map(|(name, mappings, private_kib)| ForkCostPart {
        name,
        mappings,
        private_kib,
    });
    Ok(ForkCost {
        fork: cost.fork.as_secs_f64(),
        mappings: cost.mappings,
        private_kib: cost.private_kib,
        page_tables_kib: cost.page_tables_kib,
        threads: cost.threads,
        imports: imports.collect(),
        parts,
    })
}
