//! A program to execute, with its arguments and its environment.
//!
//! Everything is made ready here, where memory may be allocated: between a fork and `execve`
//! it may not.

mod variables;

pub use variables::Variables;

use crate::error::Error;
use crate::escape::escaped;
use crate::net::conn::Connection;
use crate::sys::carray::{CArray, Environ};
use crate::sys::exec::{self, Image, Io};
use crate::systemd;
use nix::errno::Errno;
use std::ffi::{CStr, CString, OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;

/// A program, with its arguments, its environment, and where it finds its connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    path: CString,
    arguments: CArray,
    /// `None`: that of this process, as it is then.
    environment: Option<CArray>,
    io: Io,
    variables: Variables,
}

/// Where execvp(3) looks without PATH.
const PATH: &[u8] = b"/bin:/usr/bin";

impl Program {
    /// The program `arguments[0]`, which is looked for in PATH if it has no slash, with all
    /// of `arguments`.
    ///
    /// Errors: EINVAL without arguments, or with a NUL byte in one; ENOENT or EACCES, with the
    /// program's name, where PATH has no such program.
    pub fn new<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Result<Program, Error> {
        let arguments = strings("argv", arguments)?;
        let Some(name) = arguments.first().filter(|name| !name.is_empty()) else {
            return Err(Error::new(Errno::EINVAL, "argv: no program"));
        };
        let path = find(name)?;
        let arguments = CArray::new(arguments);
        Ok(Program {
            path,
            arguments,
            environment: None,
            io: Io::default(),
            variables: Variables::default(),
        })
    }

    /// With exactly these variables (`NAME=value`) for its environment. Without this call it
    /// has that of the host; and where the server executes it, without the variables by which
    /// systemd has passed the host its sockets and is told of it.
    ///
    /// Errors: EINVAL for one without `=`, or with a NUL byte.
    pub fn environment<A: AsRef<OsStr>>(
        mut self,
        variables: impl IntoIterator<Item = A>,
    ) -> Result<Program, Error> {
        let variables = strings("envp", variables)?;
        if let Some(wrong) = variables.iter().find(|text| !text.as_bytes().contains(&b'=')) {
            let text = format!("envp: {} has no =", escaped(wrong.as_bytes()));
            return Err(Error::new(Errno::EINVAL, text));
        }
        self.environment = Some(CArray::new(variables));
        Ok(self)
    }

    /// Under this name: it is the program's argv\[0\], in place of `arguments[0]`. The file
    /// stays the same. For the command.
    #[doc(hidden)]
    pub fn named(mut self, name: impl AsRef<OsStr>) -> Result<Program, Error> {
        let mut arguments = self.arguments.texts().to_vec();
        arguments.splice(..1, strings("argv", [name])?);
        self.arguments = CArray::new(arguments);
        Ok(self)
    }

    /// Where it finds its connection: [`Io::Stdio`] without this call.
    pub fn io(mut self, io: Io) -> Program {
        self.io = io;
        self
    }

    /// Which variables tell it of its client, besides its environment. For
    /// [`Server::run_program`](crate::Server::run_program) and its like; without this call none.
    pub fn variables(mut self, variables: Variables) -> Program {
        self.variables = variables;
        self
    }

    /// The file that is executed.
    pub fn path(&self) -> &CStr {
        &self.path
    }

    /// [`Connection::exec`] for a binding, whose connection is a descriptor.
    #[doc(hidden)]
    pub fn exec_on(&self, fd: BorrowedFd<'_>) -> Error {
        let (call, errno) = exec::exec(fd.as_raw_fd(), self.io, &self.image());
        failed(call, &self.path, errno)
    }

    /// Becomes this program, in a child that ends if that fails: nothing is put back then, and
    /// nothing has to be remembered for it. For the command.
    #[doc(hidden)]
    pub fn become_it(&self, connection: &Connection) -> Error {
        let (call, errno) =
            exec::exec_for_good(connection.as_raw_fd(), self.io, None, &self.image());
        failed(call, &self.path, errno)
    }

    /// The file as text that is fit to be shown.
    pub(crate) fn path_name(&self) -> String {
        escaped(self.path.to_bytes())
    }

    /// Whether it could be executed now: another file may have its name by now. For the
    /// command.
    #[doc(hidden)]
    pub fn check(&self) -> Result<(), Error> {
        check(&self.path).map_err(|errno| Error::os("execute", &self.path_name(), errno))
    }

    /// The environment that all of its processes have. `speaks`: they can say that a connection
    /// is established.
    pub(crate) fn environ(&self, speaks: bool) -> Environ {
        let voice = variables::of_voice(self.io).filter(|_| speaks);
        Environ::new(self.lasting().chain(voice).collect())
    }

    /// What it has of the host's environment. What systemd has told the host, and listens to
    /// from it, is the host's alone. For the command.
    #[doc(hidden)]
    pub fn inherited() -> impl Iterator<Item = (OsString, OsString)> {
        std::env::vars_os().filter(|(name, _)| systemd::VARIABLES.iter().all(|own| name != own))
    }

    /// The variables that are not about a client.
    fn lasting(&self) -> impl Iterator<Item = CString> + use<'_> {
        let base = match &self.environment {
            Some(environment) => environment.texts().to_vec(),
            None => Program::inherited().filter_map(variable).collect(),
        };
        base.into_iter().filter(|text| !self.variables.own(text))
    }

    /// With the variables that are about this connection in its environment: for a handler
    /// that executes it. For the command.
    #[doc(hidden)]
    pub fn told_of(&self, connection: &Connection) -> Program {
        let (about, with_pid) = self.about(connection);
        let pid = with_pid.then(|| format!("LISTEN_PID={}", std::process::id()));
        let pid = pid.and_then(|text| CString::new(text).ok());
        let variables = self.lasting().chain(about).chain(pid).collect();
        Program { environment: Some(CArray::new(variables)), ..self.clone() }
    }

    /// What is added to it for this connection; and whether the process's number is.
    pub(crate) fn about(&self, connection: &Connection) -> (Vec<CString>, bool) {
        self.variables.of(connection, self.io)
    }

    pub(crate) fn image_with<'a>(&'a self, environ: &'a Environ) -> Image<'a> {
        Image::with(&self.path, &self.arguments, environ)
    }

    pub(crate) fn where_io(&self) -> Io {
        self.io
    }

    fn image(&self) -> Image<'_> {
        Image::new(&self.path, &self.arguments, self.environment.as_ref())
    }
}

impl Connection {
    /// Executes a program in place of this process, which is a child: it has the connection
    /// and nothing else of the host's but the standard streams. Its signals have their
    /// defaults, and none is blocked; its connection is blocking.
    ///
    /// Returns only if that has failed, and then everything is as it was, but for a signal
    /// that had been blocked or ignored and came meanwhile. Allocates nothing unless it fails.
    pub fn exec(&self, program: &Program) -> Error {
        program.exec_on(self.as_fd())
    }
}

/// The text of an execution that has failed.
pub(crate) fn failed(call: &'static str, path: &CStr, errno: Errno) -> Error {
    let path = escaped(path.to_bytes());
    match call {
        "execve" => Error::os(call, &path, errno),
        _ => Error::os(&format!("execute {path}: {call}"), "", errno),
    }
}

fn variable((name, value): (OsString, OsString)) -> Option<CString> {
    CString::new([name.as_bytes(), b"=", value.as_bytes()].concat()).ok()
}

fn strings<A: AsRef<OsStr>>(
    what: &str,
    texts: impl IntoIterator<Item = A>,
) -> Result<Vec<CString>, Error> {
    let text = |text: A| {
        CString::new(text.as_ref().as_bytes())
            .map_err(|_| Error::new(Errno::EINVAL, format!("{what}: a NUL byte")))
    };
    texts.into_iter().map(text).collect()
}

/// The file that a shell would execute for this name.
fn find(name: &CStr) -> Result<CString, Error> {
    let fail = |errno| Error::os("execute", &escaped(name.to_bytes()), errno);
    if name.to_bytes().contains(&b'/') {
        return Ok(name.to_owned());
    }
    let path = std::env::var_os("PATH");
    let path = path.as_deref().map_or(PATH, OsStr::as_bytes);
    let mut why = Errno::ENOENT;
    for folder in path.split(|byte| *byte == b':') {
        // An empty one is the working directory.
        let slash: &[u8] = if folder.is_empty() { b"./" } else { b"/" };
        let Ok(file) = CString::new([folder, slash, name.to_bytes()].concat()) else {
            continue;
        };
        match check(&file) {
            Ok(()) => return Ok(file),
            // As execvp(3): the one that may not be executed is what is told.
            Err(Errno::EACCES) => why = Errno::EACCES,
            Err(_) => {}
        }
    }
    Err(fail(why))
}

fn check(path: &CStr) -> Result<(), Errno> {
    let file = std::path::Path::new(OsStr::from_bytes(path.to_bytes()));
    let kind = std::fs::metadata(file)
        .map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))?;
    if kind.is_dir() {
        return Err(Errno::EISDIR);
    }
    exec::check_executable(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(arguments: &[&str]) -> String {
        Program::new(arguments).and_then(|program| program.check()).unwrap_err().to_string()
    }

    #[test]
    fn a_program_that_cannot_be_executed_is_named() {
        assert_eq!(error(&[]), "argv: no program");
        assert_eq!(error(&[""]), "argv: no program");
        assert_eq!(error(&["sh", "a\0b"]), "argv: a NUL byte");
        assert_eq!(error(&["/"]), "execute /: Is a directory");
        assert_eq!(error(&["/etc/passwd"]), "execute /etc/passwd: Permission denied");
        assert_eq!(error(&["/nowhere/x"]), "execute /nowhere/x: No such file or directory");
        assert_eq!(error(&["no-such-\n"]), "execute no-such-\\n: No such file or directory");
    }

    #[test]
    fn a_name_without_a_slash_is_looked_for_in_path() {
        let program = Program::new(["sh"]).unwrap();
        assert!(program.path().to_bytes().ends_with(b"/sh"));
        let error = program.environment(["HOME"]).map(drop).unwrap_err();
        assert_eq!(error.to_string(), "envp: HOME has no =");
    }
}
