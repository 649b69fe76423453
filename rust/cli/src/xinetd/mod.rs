//! `forkserve serve --xinetd FILE`: what a configuration of xinetd asks for, as services.
//!
//! `file` reads entries, `keys` says what each setting means, `draft` becomes a service. All of
//! the file is read before anything is served, and what is not served here is an error.

mod clients;
mod draft;
mod endpoint;
mod file;
mod keys;

use crate::args;
use crate::failure::Failure;
use crate::log::syslog::Syslog;
use crate::log::{Log, Observer};
use crate::output::printable;
use crate::service::Service;
use draft::{Draft, Target};
use file::{Entry, Setting};
use forkserve::Cgroup;
use keys::Key;
use nix::sys::stat::{umask, Mode};
use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

/// The keys without which a service is not one, in xinetd too.
const NEEDED: [&str; 4] = ["socket_type", "wait", "user", "server"];

/// The services of a file, or of the files of a folder. The flags count for each of them.
pub(crate) fn services(path: &Path, arguments: &args::Serve) -> Result<Vec<Service>, Failure> {
    let entries = file::read(path)?;
    let defaults = defaults(&entries)?;
    let mut services: Vec<(String, Service)> = Vec::new();
    for entry in &entries {
        let Some(name) = entry.service.as_deref() else { continue };
        let id = id(entry).unwrap_or(name);
        if !is_enabled(entry, id, defaults)? {
            continue;
        }
        let service = service(entry, name, defaults, arguments)?;
        if let Some((place, _)) = services.iter().find(|(_, other)| is_taken(other, &service)) {
            let address = printable(&service.addresses[0].to_string_lossy());
            return Err(entry
                .place
                .wrong(format!("{name}: the service of {place} listens at {address}")));
        }
        services.push((entry.place.to_string(), service));
    }
    if services.is_empty() {
        let shown = printable(&path.to_string_lossy());
        return Err(Failure::usage(format!("{shown}: no service is to be served")));
    }
    let in_cgroup = |(_, service): &(String, Service)| service.options.cgroup != Cgroup::default();
    if services.len() > 1 && services.iter().any(in_cgroup) {
        // Each server makes a directory there, named after this process.
        return Err(Failure::usage("--cgroup: not with several services".to_owned()));
    }
    if services.len() > 1 && arguments.metrics.is_some() {
        return Err(Failure::usage("--metrics: not with several services".to_owned()));
    }
    // As xinetd does: a program that is told of no umask makes no file that others may write.
    let write = Mode::S_IWGRP | Mode::S_IWOTH;
    umask(umask(write) | write);
    Ok(services.into_iter().map(|(_, service)| service).collect())
}

fn defaults(entries: &[Entry]) -> Result<Option<&Entry>, Failure> {
    let mut found = entries.iter().filter(|entry| entry.service.is_none());
    let first = found.next();
    match (first, found.next()) {
        (Some(first), Some(second)) => {
            Err(second.place.wrong(format!("defaults: {} has them already", first.place)))
        }
        _ => Ok(first),
    }
}

/// What settings with this key have.
fn values<'a>(entry: &'a Entry, key: &'a str) -> impl Iterator<Item = &'a str> {
    let settings = entry.settings.iter().filter(move |setting| setting.key == key);
    settings.flat_map(|setting| setting.values.iter().map(String::as_str))
}

fn id(entry: &Entry) -> Option<&str> {
    values(entry, "id").next()
}

/// What is not to be served is not looked at any further: it may be what we could not serve.
fn is_enabled(entry: &Entry, id: &str, defaults: Option<&Entry>) -> Result<bool, Failure> {
    let listed = |key| defaults.is_some_and(|entry| values(entry, key).any(|one| one == id));
    let selects = defaults.is_some_and(|entry| entry.settings.iter().any(|s| s.key == "enabled"));
    if listed("disabled") || (selects && !listed("enabled")) {
        return Ok(false);
    }
    for setting in entry.settings.iter().filter(|setting| setting.key == "disable") {
        Key::of(setting, true)?;
        if keys::yes(setting)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn service(
    entry: &Entry,
    name: &str,
    defaults: Option<&Entry>,
    arguments: &args::Serve,
) -> Result<Service, Failure> {
    let mut draft = Draft::new(name);
    let mut seen: Vec<&Setting> = Vec::new();
    for setting in defaults.map_or(&[][..], |entry| &entry.settings) {
        let key = once(setting, false, &mut seen)?;
        // What the service has itself is in place of a single value, and after a list.
        if !key.is_single() || !entry.settings.iter().any(|own| own.key == setting.key) {
            // There `=` adds as well.
            key.apply(&mut draft, &setting.adding())?;
        }
    }
    seen.clear();
    let mut own = Vec::new();
    for setting in &entry.settings {
        own.push((once(setting, true, &mut seen)?, setting));
    }
    for key in NEEDED {
        if !entry.settings.iter().any(|setting| setting.key == key) {
            return Err(entry.place.wrong(format!("{name}: {key} is missing")));
        }
    }
    for (key, setting) in own {
        key.apply(&mut draft, setting)?;
    }
    if !draft.no_libwrap {
        refuse_wrappers(entry, name)?;
    }
    let options = draft.options(&entry.place, &arguments.flags)?;
    let address = draft.address(&entry.place, name)?;
    Ok(Service {
        program: draft.program(&entry.place)?,
        shown: draft.shown(&address, &arguments.flags),
        addresses: vec![address],
        options,
        greeting: draft.greeting(),
        observer: observer(&draft, entry, arguments)?,
        metrics: arguments.metrics.clone(),
        log: arguments.log,
        label: Some(format!("{}: {}", entry.place, printable(&draft.id))),
    })
}

/// The key of a setting, which stands in its entry once unless it is a list.
fn once<'a>(
    setting: &'a Setting,
    in_service: bool,
    seen: &mut Vec<&'a Setting>,
) -> Result<&'static Key, Failure> {
    let key = Key::of(setting, in_service)?;
    if let Some(first) = seen.iter().find(|other| key.is_single() && other.key == setting.key) {
        return Err(setting.wrong(format!("line {} has it already", first.place.line)));
    }
    seen.push(setting);
    Ok(key)
}

/// Rules of the TCP wrappers, which Debian's xinetd obeys, keep clients out that would be let
/// in here.
fn refuse_wrappers(entry: &Entry, name: &str) -> Result<(), Failure> {
    for path in ["/etc/hosts.deny", "/etc/hosts.allow"] {
        let text = fs::read(path).unwrap_or_default();
        let mut lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
        if lines.any(|line| !line.is_empty() && line[0] != b'#') {
            let why = format!("{path} has rules, which are not obeyed here");
            let text = format!("{name}: {why}; use only_from, and flags = NOLIBWRAP");
            return Err(entry.place.wrong(text));
        }
    }
    Ok(())
}

/// Where the service logs. A file is made only if it is going to be written to.
fn observer(
    draft: &Draft,
    entry: &Entry,
    arguments: &args::Serve,
) -> Result<Option<Observer>, Failure> {
    let log = arguments.log;
    let is_made = |path: &Path| !arguments.check || path.exists();
    if log == Log::Off {
        return Ok(None);
    }
    let fail = |subject: &str, error: &io::Error| entry.place.fails("log_type", subject, error);
    let output: Box<dyn Write + Send> = match &draft.log {
        Target::Command => Box::new(io::stderr()),
        Target::File(path) if !is_made(path) => return Ok(None),
        Target::File(path) => {
            let opened = OpenOptions::new().append(true).create(true).open(path);
            Box::new(opened.map_err(|error| fail(&path.to_string_lossy(), &error))?)
        }
        Target::Syslog(priority) => {
            Box::new(Syslog::open(*priority).map_err(|error| fail("/dev/log", &error))?)
        }
    };
    Ok(log.observer(Some(draft.id.clone()), output))
}

/// Whether both would listen at one place.
fn is_taken(one: &Service, other: &Service) -> bool {
    let free = |address: &OsString| address.to_string_lossy().ends_with(":0");
    one.addresses.iter().any(|address| !free(address) && other.addresses.contains(address))
}
