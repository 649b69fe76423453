//! `forkserve ps`: the servers of this library and their connections, once.

use crate::args::{self, Key};
use crate::failure::Failure;
use crate::output;
use crate::servers::{find, Connection, Found, Server};
use std::process::ExitCode;

pub(crate) fn ps(arguments: &args::Ps) -> Result<ExitCode, Failure> {
    let mut found = find(arguments.target.as_ref())?;
    if let Some(target) = arguments.target.as_ref().filter(|_| found.servers.is_empty()) {
        return Err(Failure::of(target, "no server of this library that you may see"));
    }
    sort(&mut found, arguments.sort);
    if arguments.json {
        output::print_json(&found)?;
    } else {
        output::print(&text(&found))?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn sort(found: &mut Found, key: Key) {
    found.servers.iter_mut().for_each(|server| sort_connections(&mut server.connections, key));
}

fn sort_connections(connections: &mut [Connection], key: Key) {
    let largest = |value: fn(&Connection) -> f64| {
        move |a: &Connection, b: &Connection| value(b).total_cmp(&value(a))
    };
    connections.sort_by_key(|connection| connection.id);
    match key {
        Key::Id => {}
        Key::Age => connections.sort_by(largest(|one| one.age_seconds)),
        Key::Cpu => connections.sort_by(largest(|one| one.cpu_seconds.unwrap_or(-1.0))),
        Key::Memory => {
            connections.sort_by(largest(|one| one.resident_kib.map_or(-1.0, |kib| kib as f64)));
        }
        Key::Peer => connections.sort_by(|a, b| a.peer.cmp(&b.peer)),
    }
}

pub(crate) fn text(found: &Found) -> String {
    let mut text = String::new();
    for server in &found.servers {
        for line in head(server) {
            text += &(line + "\n");
        }
        if !server.connections.is_empty() {
            text += &format!("  {}\n", COLUMNS.trim_end());
        }
        for connection in &server.connections {
            text += &format!("  {}\n", row(connection).trim_end());
        }
        text.push('\n');
    }
    if found.servers.is_empty() {
        text += "No server of this library runs here.\n";
    }
    for line in &found.not_seen {
        text += &format!("Not seen: {line}\n");
    }
    text
}

/// What is said of a server, above its connections.
pub(crate) fn head(server: &Server) -> Vec<String> {
    let who = match (server.pid, server.host) {
        (Some(pid), Some(host)) => format!("{pid} {}, supervisor of {host}", server.name),
        (Some(pid), None) => format!("{pid} {}", server.name),
        (None, Some(host)) => format!("{host} {}, whose supervisor was killed", server.name),
        (None, None) => format!("{}, killed", server.name),
    };
    let state = if server.state == "stopped" { ", stopped" } else { "" };
    let limits = &server.limits;
    let count = |name| server.counter(name);
    vec![
        format!(
            "{who}{state}: {}, {}, up {}",
            server.model,
            server.addresses.join(" "),
            age(server.up_seconds)
        ),
        format!(
            "  connections: {}; spares: {}; children: at most {}, each for {}",
            server.connections.len(),
            count("idle"),
            limits.max_children,
            limits.connections_per_child,
        ),
        format!(
            "  {} accepted, {} ended ({} crashed), {} refused, {} forks failed",
            count("accepted"),
            count("ended"),
            count("crashed"),
            count("refused"),
            count("fork_failures"),
        ),
    ]
}

pub(crate) const COLUMNS: &str = "      ID      PID STATE          AGE      CPU     MEMORY CLIENT";

pub(crate) fn row(connection: &Connection) -> String {
    let cpu = connection.cpu_seconds.map_or("-".to_owned(), |cpu| format!("{cpu:.2} s"));
    let memory = connection.resident_kib.map_or("-".to_owned(), |kib| format!("{kib} KiB"));
    let age = age(connection.age_seconds);
    let Connection { id, pid, state, peer, .. } = connection;
    format!("{id:>8} {pid:>8} {state:<8} {age:>9} {cpu:>8} {memory:>10} {peer}")
}

/// "1.5 s", "3 min", "2 h".
fn age(seconds: f64) -> String {
    match seconds {
        ..60.0 => format!("{seconds:.1} s"),
        ..3600.0 => format!("{:.0} min", (seconds / 60.0).floor()),
        ..172_800.0 => format!("{:.0} h", (seconds / 3600.0).floor()),
        _ => format!("{:.0} d", (seconds / 86_400.0).floor()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_the_unit_that_a_reader_wants() {
        assert_eq!(age(1.54), "1.5 s");
        assert_eq!(age(179.0), "2 min");
        assert_eq!(age(7200.0), "2 h");
        assert_eq!(age(864_000.0), "10 d");
    }
}
