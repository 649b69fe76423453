//! The options of a server as flags, made from the table of the core.

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches};
use forkserve::{Choice, CidrList, Options};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::str::FromStr;
use std::time::Duration;

/// The flags that were given, with their values, which have been checked.
#[derive(Debug, Default)]
pub(crate) struct Flags(Vec<(&'static str, OsString)>);

impl Flags {
    /// Sets what was given, and leaves the other options as they are.
    pub(crate) fn put_into(&self, options: &mut Options) -> Result<(), String> {
        self.0.iter().try_for_each(|(name, text)| set(options, name, text))
    }

    /// As they stand in a command line.
    pub(crate) fn words(&self) -> Vec<OsString> {
        self.0.iter().flat_map(|(name, value)| words_of(name, value)).collect()
    }

    /// The options of a server that has nothing else to go by.
    pub(crate) fn options(&self) -> Options {
        let mut options = Options::default();
        // They were checked when they were read.
        let _ = self.put_into(&mut options);
        options
    }
}

/// The flag for an option of the table, or of the command; a switch has no value.
pub(crate) fn words_of(name: &str, value: &OsStr) -> Vec<OsString> {
    let flag = format!("--{}", name.replace('_', "-")).into();
    match SWITCHES.contains(&name) {
        true => vec![flag],
        false => vec![flag, value.to_owned()],
    }
}

/// What a value is called in the help.
macro_rules! metavar {
    (number $rest:tt) => {
        "N"
    };
    (signed $rest:tt) => {
        "N"
    };
    (setting $rest:tt) => {
        "N"
    };
    (time $rest:tt) => {
        "SECONDS"
    };
    (limit $rest:tt) => {
        "SECONDS"
    };
    (bytes $rest:tt) => {
        "TEXT"
    };
    (choice $rest:tt) => {
        "WORD"
    };
    (networks $rest:tt) => {
        "NETWORKS"
    };
    (statuses $rest:tt) => {
        "STATUSES"
    };
    (mode $rest:tt) => {
        "MODE"
    };
    (account $rest:tt) => {
        "NAME"
    };
    (path $rest:tt) => {
        "PATH"
    };
    (paths $rest:tt) => {
        "PATHS"
    };
    ($kind:ident $rest:tt) => {
        "TEXT"
    };
}

/// Reads a value; the error is what is wrong with it.
macro_rules! value {
    (number $rest:tt $text:ident) => {
        parsed($text)?
    };
    (signed $rest:tt $text:ident) => {
        parsed($text)?
    };
    (setting $rest:tt $text:ident) => {
        match $text.to_str() {
            Some("none") => None,
            _ => Some(parsed($text)?),
        }
    };
    (flag $rest:tt $text:ident) => {
        $text == "true"
    };
    (time $rest:tt $text:ident) => {
        time($text)?
    };
    (limit $rest:tt $text:ident) => {
        match $text.to_str() {
            Some("none") => None,
            _ => Some(time($text)?),
        }
    };
    (bytes $rest:tt $text:ident) => {
        $text.as_bytes().to_vec()
    };
    (choice $rest:tt $text:ident) => {
        choice($text)?
    };
    (networks $rest:tt $text:ident) => {
        CidrList::from_str(utf8($text)?).map_err(|error| error.to_string())?
    };
    (statuses $rest:tt $text:ident) => {
        utf8($text)?
            .split(',')
            .map(|one| parsed(OsStr::new(one.trim())))
            .collect::<Result<_, _>>()?
    };
    (mode $rest:tt $text:ident) => {
        Some(u32::from_str_radix(utf8($text)?, 8).map_err(|_| "not an octal number".to_owned())?)
    };
    (text $rest:tt $text:ident) => {
        utf8($text)?.parse().map_err(|error: forkserve::Error| error.to_string())?
    };
    (account $rest:tt $text:ident) => {
        Some(utf8($text)?.into())
    };
    (path $rest:tt $text:ident) => {
        Some($text.into())
    };
    (paths $rest:tt $text:ident) => {
        $text
            .as_bytes()
            .split(|byte| *byte == b':')
            .filter(|path| !path.is_empty())
            .map(|path| OsString::from_vec(path.to_vec()).into())
            .collect()
    };
}

macro_rules! is_switch {
    (flag) => {
        true
    };
    ($kind:ident) => {
        false
    };
}

macro_rules! flags {
    ($($topic:literal {$(
        $(#[doc = $doc:literal])+
        $name:ident $(as $c_name:ident)?: $kind:ident $arguments:tt = $default:tt
            $(, $word:ident $about:literal)*;
    )*})*) => {
        fn all() -> Vec<Arg> {
            vec![$($(
                flag(stringify!($name), concat!($($doc),+), metavar!($kind $arguments),
                    is_switch!($kind)).help_heading($topic),
            )*)*]
        }

        /// Sets an option by its name, to what `text` says; the error is what is wrong with it.
        pub(crate) fn set(
            options: &mut Options,
            name: &str,
            text: &OsStr,
        ) -> Result<(), String> {
            match name {
                $($(stringify!($name) => options.$name = value!($kind $arguments text),)*)*
                _ => {}
            }
            Ok(())
        }

        const NAMES: &[&str] = &[$($(stringify!($name),)*)*];

        /// The names of those without a value.
        const SWITCHES: &[&str] =
            &[$($(if is_switch!($kind) { stringify!($name) } else { "" },)*)*];
    };
}

forkserve::options_table!(flags);

fn flag(name: &'static str, about: &str, metavar: &'static str, switch: bool) -> Arg {
    // The first sentence of the description stands alone.
    let sentence = about.trim().split(". ").next().unwrap_or_default().trim_end_matches('.');
    let sentence = sentence.split_whitespace().collect::<Vec<_>>().join(" ").replace('`', "");
    let arg = Arg::new(name).long(name.replace('_', "-")).help(sentence);
    match switch {
        true => arg.action(ArgAction::SetTrue),
        false => {
            let parser = clap::value_parser!(OsString);
            arg.value_name(metavar).value_parser(parser).allow_hyphen_values(true)
        }
    }
}

fn utf8(text: &OsStr) -> Result<&str, String> {
    text.to_str().ok_or_else(|| "not UTF-8".to_owned())
}

fn parsed<T: FromStr>(text: &OsStr) -> Result<T, String> {
    utf8(text)?.parse().map_err(|_| "not a number in its range".to_owned())
}

fn choice<T: Choice>(text: &OsStr) -> Result<T, String> {
    let word = text.to_str().unwrap_or_default();
    let found = T::ALL.iter().find(|(_, known)| *known == word);
    found.map(|(choice, _)| *choice).ok_or_else(|| {
        let words: Vec<_> = T::ALL.iter().map(|(_, word)| *word).collect();
        format!("not one of {}", words.join(", "))
    })
}

/// Seconds, or with a unit: 1.5, 500ms, 10m, 2h.
fn time(text: &OsStr) -> Result<Duration, String> {
    let wrong = || "not a time, such as 1.5, 500ms, 10m or 2h".to_owned();
    let text = text.to_str().ok_or_else(wrong)?;
    let units = [("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
    let (number, unit) = units
        .iter()
        .find_map(|(unit, seconds)| Some((text.strip_suffix(unit)?, *seconds)))
        .unwrap_or((text, 1.0));
    let number: f64 = number.parse().map_err(|_| wrong())?;
    // Beyond a range of its own each option says what it is.
    if !(0.0..=1e12).contains(&number) {
        return Err(wrong());
    }
    Ok(Duration::from_millis((number * unit * 1000.0).round() as u64))
}

impl Args for Flags {
    fn augment_args(command: Command) -> Command {
        command.args(all())
    }

    fn augment_args_for_update(command: Command) -> Command {
        command.args(all())
    }
}

impl FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Flags, Error> {
        let mut flags = Flags::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        let mut options = self.options();
        for &name in NAMES {
            let given = match matches.try_get_one::<OsString>(name) {
                Ok(text) => text.cloned(),
                // A switch.
                Err(_) => matches.get_flag(name).then(|| "true".into()),
            };
            let Some(text) = given else { continue };
            set(&mut options, name, &text).map_err(|wrong| {
                let flag = name.replace('_', "-");
                let shown = crate::output::printable(&text.to_string_lossy());
                Error::raw(ErrorKind::ValueValidation, format!("--{flag}: {shown}: {wrong}\n"))
            })?;
            self.0.push((name, text));
        }
        options
            .validate()
            .map_err(|error| Error::raw(ErrorKind::ValueValidation, format!("{error}\n")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(arguments: &[&str]) -> Result<Options, String> {
        let command = Flags::augment_args(Command::new("x").no_binary_name(true));
        let matches = command.try_get_matches_from(arguments).map_err(|e| e.to_string())?;
        Flags::from_arg_matches(&matches).map(|flags| flags.options()).map_err(|e| e.to_string())
    }

    #[test]
    fn every_option_is_a_flag_under_its_name() {
        let options = of(&[
            "--max-children",
            "7",
            "--nodelay",
            "--lifetime",
            "1.5",
            "--grace",
            "none",
            "--kill-after",
            "250ms",
            "--at-capacity",
            "refuse",
            "--allow",
            "10.0.0.0/8",
            "--penalty-statuses",
            "1, 2",
            "--socket-mode",
            "660",
        ]);
        let options = options.expect("good flags");
        assert_eq!((options.max_children, options.nodelay, options.grace), (7, true, None));
        assert_eq!(options.lifetime, Some(Duration::from_millis(1500)));
        assert_eq!(options.kill_after, Duration::from_millis(250));
        assert_eq!((options.penalty_statuses, options.socket_mode), (vec![1, 2], Some(0o660)));
        assert_eq!(of(&[]), Ok(Options::default()));
        assert_eq!(all().len(), NAMES.len());
    }

    #[test]
    fn a_wrong_value_is_named_with_its_flag() {
        for (flag, value, wrong) in [
            ("--max-children", "x", "--max-children: x: not a number in its range"),
            ("--max-children", "0", "max_children"),
            ("--lifetime", "soon", "--lifetime: soon: not a time"),
            ("--at-capacity", "wait", "--at-capacity: wait: not one of queue, refuse"),
            ("--allow", "10.0.0.0/99", "--allow: 10.0.0.0/99: "),
        ] {
            let text = of(&[flag, value]).expect_err(value);
            assert!(text.contains(wrong), "{text}");
        }
    }
}
