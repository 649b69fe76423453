//! A service on the way from its settings to what is served.

use super::endpoint::{self, Families};
use super::file::{Place, Setting};
use crate::failure::Failure;
use crate::flags::{self, Flags};
use crate::log::syslog;
use crate::output::{command_line, printable};
use forkserve::{AtCapacity, AtRate, Io, Options, Program, Variables};
use nix::unistd::{Gid, Group, Uid, User};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

/// Where xinetd has no limit, how many children there can be at once. None of them costs
/// anything before it lives.
const UNLIMITED: u32 = 10_000;
/// All clients.
const EVERYONE: [&str; 2] = ["0.0.0.0/0", "::/0"];

/// Where a service's log goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Target {
    /// Where the log of the command goes.
    #[default]
    Command,
    File(PathBuf),
    /// The priority of each message: see syslog(3).
    Syslog(u8),
}

/// A user or a group, which exists.
#[derive(Clone, Debug)]
pub(super) struct Account {
    setting: Setting,
    number: u32,
}

/// What the settings have said so far.
pub(super) struct Draft {
    pub(super) id: String,
    pub(super) unlisted: bool,
    pub(super) port: Option<u16>,
    pub(super) bind: Option<Setting>,
    pub(super) families: Families,
    pub(super) server: Option<Setting>,
    pub(super) arguments: Vec<String>,
    pub(super) name_in_args: bool,
    pub(super) no_libwrap: bool,
    pub(super) environment: Vec<(String, String)>,
    pub(super) pass: Option<Vec<String>>,
    pub(super) user: Option<Account>,
    pub(super) group: Option<Account>,
    pub(super) groups: bool,
    pub(super) rlimits: Vec<String>,
    pub(super) only_from: Option<Vec<String>>,
    pub(super) no_access: Option<Vec<String>>,
    pub(super) banner: Vec<u8>,
    pub(super) banner_success: Vec<u8>,
    pub(super) banner_fail: Vec<u8>,
    pub(super) log: Target,
    options: Options,
    /// The same options as flags.
    said: Vec<(String, String)>,
}

impl Draft {
    pub(super) fn new(name: &str) -> Draft {
        Draft {
            id: name.to_owned(),
            unlisted: false,
            port: None,
            bind: None,
            families: Families::default(),
            server: None,
            arguments: Vec::new(),
            name_in_args: false,
            no_libwrap: false,
            environment: Vec::new(),
            pass: None,
            user: None,
            group: None,
            groups: false,
            rlimits: Vec::new(),
            only_from: None,
            no_access: None,
            banner: Vec::new(),
            banner_success: Vec::new(),
            banner_fail: Vec::new(),
            log: Target::Command,
            options: Options {
                max_children: UNLIMITED,
                // What is too much xinetd refuses, and does not queue.
                at_capacity: AtCapacity::Refuse,
                at_rate: AtRate::Refuse,
                // There a source is an address.
                source_prefix_v6: 128,
                ..Options::default()
            },
            said: Vec::new(),
        }
    }

    /// Sets an option of the table, as its flag would; in the error it is the key's value.
    pub(super) fn set(&mut self, by: &Setting, option: &str, value: &str) -> Result<(), Failure> {
        flags::set(&mut self.options, option, OsStr::new(value))
            .map_err(|why| by.wrong(format!("{value}: {why}")))?;
        self.said.retain(|(other, _)| other != option);
        self.said.push((option.to_owned(), value.to_owned()));
        self.options.validate().map_err(|error| by.wrong(error))
    }

    /// Adds the content of the file to a banner. It is read now, and not for each client.
    pub(super) fn banner(banner: &mut Vec<u8>, setting: &Setting) -> Result<(), Failure> {
        let path = &setting.values[0];
        *banner = fs::read(path).map_err(|error| setting.fails(path, &error))?;
        Ok(())
    }

    /// The options of the server: the file's, and over them those of the command line.
    pub(super) fn options(&mut self, place: &Place, flags: &Flags) -> Result<Options, Failure> {
        let mut denied = self.no_access.clone().unwrap_or_default();
        let mut more = Vec::new();
        match &self.only_from {
            // A list of no client is not the same as no list.
            Some(list) if list.is_empty() => denied.extend(EVERYONE.map(str::to_owned)),
            Some(list) => more.push(("allow", list.join(","))),
            None => {}
        }
        if !denied.is_empty() {
            more.push(("deny", denied.join(",")));
        }
        for (option, account) in [("user", &self.user), ("group", &self.group)] {
            more.extend(account.as_ref().and_then(Account::to_become).map(|name| (option, name)));
        }
        for (option, value) in more {
            flags::set(&mut self.options, option, OsStr::new(&value))
                .map_err(|why| place.wrong(format!("{option}: {why}")))?;
            self.said.push((option.to_owned(), value));
        }
        // Without the rights of root they are what they are.
        if !self.groups && Uid::effective().is_root() {
            self.options.primary_group_only = true;
            self.said.push(("primary_group_only".to_owned(), String::new()));
        }
        self.options.refuse_message = [&self.banner[..], &self.banner_fail].concat();
        let mut options = self.options.clone();
        flags.put_into(&mut options).map_err(|why| place.wrong(why))?;
        options.validate().map_err(|error| place.wrong(error))?;
        Ok(options)
    }

    /// The service in the words of a command line, without what that has no words for: the
    /// banners and the environment.
    pub(super) fn shown(&self, address: &OsStr, flags: &Flags) -> String {
        let own = [("at_capacity", "refuse"), ("at_rate", "refuse"), ("io", "stdio+err")];
        let own = own.into_iter().chain(self.said.iter().map(|(o, v)| (o.as_str(), v.as_str())));
        let mut words: Vec<OsString> =
            own.flat_map(|(name, value)| flags::words_of(name, OsStr::new(value))).collect();
        words.extend(flags.words());
        words.extend([address.to_owned(), "--".into()]);
        words.extend(self.server.iter().flat_map(|server| &server.values).map(OsString::from));
        let arguments = self.arguments.iter().skip(usize::from(self.name_in_args));
        words.extend(arguments.map(OsString::from));
        format!("{}: {}", printable(&self.id), command_line(&words))
    }

    /// What a client is sent before the program is executed.
    pub(super) fn greeting(&self) -> Vec<u8> {
        [&self.banner[..], &self.banner_success].concat()
    }

    pub(super) fn address(&self, place: &Place, name: &str) -> Result<OsString, Failure> {
        let listed = if self.unlisted { None } else { endpoint::port_of(name) };
        let port = match (self.port, listed) {
            (Some(port), Some(listed)) if port != listed => {
                let why = "type = UNLISTED says that it is another service";
                let text = format!("port: {port}: {name} has {listed} in /etc/services; {why}");
                return Err(place.wrong(text));
            }
            (Some(port), _) => port,
            (None, Some(listed)) => listed,
            (None, None) if self.unlisted => return Err(place.wrong("port: needed by UNLISTED")),
            (None, None) => {
                let text = format!("port: needed, since /etc/services has no TCP service {name}");
                return Err(place.wrong(text));
            }
        };
        let bind = self.bind.as_ref().map(|setting| setting.values[0].as_str());
        match (endpoint::address(bind, self.families, port), &self.bind) {
            (Ok(address), _) => Ok(address.into()),
            (Err(why), Some(bind)) => Err(bind.wrong(format!("{}: {why}", bind.values[0]))),
            (Err(why), None) => Err(place.wrong(why)),
        }
    }

    pub(super) fn program(&self, place: &Place) -> Result<Program, Failure> {
        let Some(server) = &self.server else { return Err(place.wrong("server: missing")) };
        let path = &server.values[0];
        is_executable(server, path)?;
        let name = path.rsplit('/').next().unwrap_or_default();
        let (name, arguments) = match (&self.arguments[..], self.name_in_args) {
            ([name, arguments @ ..], true) => (name.as_str(), arguments),
            ([], true) => return Err(place.wrong("server_args: needed by the flag NAMEINARGS")),
            (arguments, false) => (name, arguments),
        };
        let words = [path].into_iter().chain(arguments);
        let variables = Variables { xinetd: true, ..Variables::default() };
        Program::new(words)
            .and_then(|program| program.named(name))
            .and_then(|program| program.environment(self.environment()))
            .map(|program| program.io(Io::StdioErr).variables(variables))
            .map_err(|error| place.wrong(error))
    }

    /// What of this process's environment is passed, and over it what `env` says.
    fn environment(&self) -> Vec<OsString> {
        let passed = |name: &OsStr| match &self.pass {
            Some(names) => names.iter().any(|one| name == one.as_str()),
            None => true,
        };
        let mut all: Vec<(OsString, OsString)> =
            Program::inherited().filter(|(name, _)| passed(name)).collect();
        for (name, value) in &self.environment {
            all.retain(|(other, _)| other != name.as_str());
            all.push((name.into(), value.into()));
        }
        let joined = |(name, value): (OsString, OsString)| {
            OsString::from_vec([name.as_bytes(), b"=", value.as_bytes()].concat())
        };
        all.into_iter().map(joined).collect()
    }
}

/// With the line that names it. Whether it can be executed is known when it is.
fn is_executable(setting: &Setting, path: &str) -> Result<(), Failure> {
    let about = fs::metadata(path).map_err(|error| setting.fails(path, &error))?;
    let errno = match about {
        about if about.is_dir() => libc::EISDIR,
        about if about.permissions().mode() & 0o111 == 0 => libc::EACCES,
        _ => return Ok(()),
    };
    Err(setting.fails(path, &std::io::Error::from_raw_os_error(errno)))
}

impl Account {
    pub(super) fn user(setting: &Setting) -> Result<Account, Failure> {
        Account::find(setting, |name| Ok(User::from_name(name)?.map(|user| user.uid.as_raw())))
    }

    pub(super) fn group(setting: &Setting) -> Result<Account, Failure> {
        Account::find(setting, |name| Ok(Group::from_name(name)?.map(|group| group.gid.as_raw())))
    }

    fn find(
        setting: &Setting,
        look_up: impl Fn(&str) -> nix::Result<Option<u32>>,
    ) -> Result<Account, Failure> {
        let name = &setting.values[0];
        let found = match name.bytes().all(|byte| byte.is_ascii_digit()) {
            // The largest one stands for none.
            true => Ok(name.parse().ok().filter(|number| *number != u32::MAX)),
            false => look_up(name),
        };
        match found {
            Ok(Some(number)) => Ok(Account { setting: setting.clone(), number }),
            Ok(None) => Err(setting.wrong(format!("{name}: there is no such {}", setting.key))),
            Err(errno) => Err(setting.fails(name, &errno.into())),
        }
    }

    /// As xinetd: without the rights of root a program is executed as the user who began.
    fn to_become(&self) -> Option<String> {
        let own = match self.setting.key == "user" {
            true => Uid::effective().as_raw(),
            false => Gid::effective().as_raw(),
        };
        let other = Uid::effective().is_root() || self.number != own;
        other.then(|| self.setting.values[0].clone())
    }
}

impl Target {
    pub(super) fn syslog(
        setting: &Setting,
        facility: &str,
        level: &str,
    ) -> Result<Target, Failure> {
        let priority = syslog::priority(facility, level);
        priority.map(Target::Syslog).map_err(|word| {
            setting.wrong(format!("{}: no such facility or level", printable(word)))
        })
    }
}
