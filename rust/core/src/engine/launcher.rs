//! What serves connections in place of a handler: a program, and what it takes to execute it.

use crate::error::Error;
use crate::net::conn::Connection;
use crate::program::Program;
use crate::sys::carray::Environ;
use crate::sys::exec::exec_for_good;
use crate::sys::process;
use crate::sys::spawn_program::{spawn_program, Leads, Plan, Spawned, Stack};
use crate::sys::voice::Ear;
use nix::errno::Errno;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

pub(crate) struct Launcher {
    program: Program,
    environ: Environ,
    stack: Stack,
    auto_group: bool,
    /// Whether its processes can say that their connections are established.
    speaks: bool,
    /// By which the one that is made now does.
    voice: Option<OwnedFd>,
}

impl Launcher {
    /// `auto_group`: the program alone is why children lead groups. `speaks`: its processes
    /// can say that their connections are established.
    pub(crate) fn new(
        program: &Program,
        auto_group: bool,
        speaks: bool,
    ) -> Result<Launcher, Error> {
        let stack = Stack::new().map_err(|errno| Error::os("mmap", "", errno))?;
        let (program, environ) = (program.clone(), program.environ(speaks));
        Ok(Launcher { program, environ, stack, auto_group, speaks, voice: None })
    }

    /// Before a process is made: where it is heard, if it is to be. To be followed by
    /// [`Launcher::end_voice`].
    pub(crate) fn begin_voice(&mut self) -> Result<Option<Ear>, Errno> {
        if !self.speaks {
            return Ok(None);
        }
        let (ear, voice) = Ear::new()?;
        self.voice = Some(voice);
        Ok(Some(ear))
    }

    /// The process has been made, or not: its end is its own.
    pub(crate) fn end_voice(&mut self) {
        self.voice = None;
    }

    pub(crate) fn auto_group(&self) -> bool {
        self.auto_group
    }

    pub(crate) fn has(&self, program: &Program) -> bool {
        self.program == *program
    }

    pub(crate) fn path_name(&self) -> String {
        self.program.path_name()
    }

    /// Executes it in a new process. `dies_with`: it is to end with its parent, of this number.
    pub(crate) fn launch(
        &mut self,
        connection: &Connection,
        leads: Leads,
        dies_with: Option<libc::pid_t>,
        cgroup: Option<&OwnedFd>,
    ) -> Spawned {
        self.tell_of(connection);
        let plan = Plan {
            image: self.program.image_with(&self.environ),
            environ: &self.environ,
            fd: connection.as_raw_fd(),
            io: self.program.where_io(),
            voice: self.voice.as_ref().map(AsRawFd::as_raw_fd),
            leads,
            dies_with,
            cgroup: cgroup.map(AsFd::as_fd),
        };
        spawn_program(&self.stack, &plan)
    }

    /// Executes it in this process, a child. Comes back only if that fails.
    pub(crate) fn become_it(&mut self, connection: &Connection) -> Errno {
        self.tell_of(connection);
        self.environ.write_pid(process::getpid() as u32);
        let image = self.program.image_with(&self.environ);
        let voice = self.voice.as_ref().map(AsRawFd::as_raw_fd);
        exec_for_good(connection.as_raw_fd(), self.program.where_io(), voice, &image).1
    }

    fn tell_of(&mut self, connection: &Connection) {
        let (about, with_pid) = self.program.about(connection);
        self.environ.set(about, with_pid);
    }
}
