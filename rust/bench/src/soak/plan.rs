//! The servers that are soaked, and with how much.

use std::path::Path;

/// What to do to which server.
#[derive(Clone, Debug)]
pub struct Soak {
    /// Its name in the table.
    pub name: String,
    /// The test server's program and arguments.
    pub argv: Vec<String>,
    /// Children that wait when nothing is to do.
    pub spares: usize,
    /// How many connections.
    pub count: u64,
    /// Where the clients' manners come from.
    pub seed: u64,
}

/// The ways to run, as the soak goes through them.
pub fn plan(program: &Path, count: u64, seed: u64) -> Vec<Soak> {
    let models: [(&str, &[&str], usize); 3] = [
        ("", &[], 0),
        (" ahead", &["--spares", "4"], 4),
        (" reuse", &["--spares", "4", "--connections-per-child", "100"], 4),
    ];
    let common = "--handler obey --lifetime 10000 --kill-after 300 --fork-retry 60000 --mode";
    let mut soaks = Vec::new();
    for mode in ["run", "dispatch", "step", "start"] {
        for (model, options, spares) in models {
            // A step is one connection: there is no reuse.
            if mode == "step" && model == " reuse" {
                continue;
            }
            let mut argv = vec![program.display().to_string()];
            argv.extend(common.split(' ').chain([mode]).map(String::from));
            argv.extend(options.iter().map(|word| (*word).to_owned()));
            soaks.push(Soak { name: format!("{mode}{model}"), argv, spares, count, seed });
        }
    }
    soaks
}
