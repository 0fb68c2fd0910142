//! A machine outside, and the programs that people use on it.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{ChildStdout, Command};

use support::namespace::Namespace;

use crate::process::{DEADLINE, Output, Running, run};

pub(crate) struct Client<'a> {
    namespace: &'a Namespace,
    /// Where the certificates are; programs run here.
    dir: &'a Path,
}

impl<'a> Client<'a> {
    pub(crate) fn new(namespace: &'a Namespace, dir: &'a Path) -> Self {
        Self { namespace, dir }
    }

    /// curl that trusts the lab's authority and never takes longer than the deadline.
    pub(crate) fn curl<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Output {
        self.run("curl", [OsStr::new("-sS"), "--cacert".as_ref(), "ca.pem".as_ref()].iter(), args)
    }

    /// `openssl s_client`, which asks what `request` says once it is connected.
    pub(crate) fn s_client<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>, request: &str) -> Output {
        let mut command = self.command("openssl");
        command.args(["s_client", "-CAfile", "ca.pem", "-verify_return_error", "-ign_eof"]).args(args);
        run(command, request.as_bytes(), DEADLINE)
    }

    pub(crate) fn wget<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Output {
        self.run("wget", ["-nv", "-O-", "--tries=1", "--ca-certificate=ca.pem"].iter(), args)
    }

    /// A line of shell, for pipes.
    pub(crate) fn shell(&self, line: &str) -> Output {
        let mut command = self.command("bash");
        command.args(["-o", "pipefail", "-c", line]);
        run(command, b"", DEADLINE * 5)
    }

    /// Any program, with its arguments.
    pub(crate) fn program<S: AsRef<OsStr>>(
        &self,
        program: impl AsRef<Path>,
        args: impl IntoIterator<Item = S>,
    ) -> Output {
        let mut command = self.command(program);
        command.args(args);
        run(command, b"", DEADLINE)
    }

    /// curl in the background, its output the test's to read.
    pub(crate) fn curl_stream(&self, url: &str) -> (Running, ChildStdout) {
        let mut command = self.command("curl");
        command.args(["-sSN", "--cacert", "ca.pem", url]);
        Running::piped(command)
    }

    fn run<A: AsRef<OsStr>, S: AsRef<OsStr>>(
        &self,
        program: &str,
        first: impl IntoIterator<Item = A>,
        args: impl IntoIterator<Item = S>,
    ) -> Output {
        let mut command = self.command(program);
        command.args(first).args(args);
        run(command, b"", DEADLINE)
    }

    fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = self.namespace.command(program);
        // What this machine itself would go through must not come between.
        for name in ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
            command.env_remove(name);
        }
        command.current_dir(self.dir).env("HOME", self.dir);
        command
    }
}
