//! A child process that does not outlive the test that started it.

use std::ops::{Deref, DerefMut};
use std::process::{Child, Command, ExitStatus};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::until;

/// Killed and waited for when dropped, whatever became of the test.
pub struct KillOnDrop(Child);

impl KillOnDrop {
    /// Starts `command`.
    #[track_caller]
    pub fn spawn(command: &mut Command) -> Self {
        Self(command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}")))
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.0.id().try_into().unwrap()), signal).unwrap();
    }

    /// Whether it runs.
    pub fn is_running(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }

    /// Waits until it has exited, for as long as [`until`] does.
    #[track_caller]
    pub fn exit_status(&mut self) -> ExitStatus {
        until("the process exits", || !self.is_running());
        self.0.wait().unwrap()
    }
}

impl Deref for KillOnDrop {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.0
    }
}

impl DerefMut for KillOnDrop {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        // One that has exited is left alone by the kernel.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
