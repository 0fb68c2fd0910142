//! How `latticegate healthcheck` finds the running process: by an abstract Unix socket, which needs neither a file
//! system nor a readable configuration.
//!
//! Its name holds the path of the configuration file, as a checksum, and a random number: processes never collide, and
//! no other process can take the name first. The path is taken as it is written, made absolute but not resolved: a
//! Kubernetes ConfigMap is a symbolic link that points elsewhere after each edit. A client that connects is sent what
//! `/readyz` would say and nothing is read from it, so no client can be slow.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixListener as StdListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use rustix::net::{SendFlags, send};
use rustix::process::geteuid;
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::UnixListener;
use tokio::time::sleep;

use super::health::readiness;
use crate::telemetry::status::Status;

/// Binds the socket of a process that runs with this configuration.
pub fn bind(config: Option<&Path>) -> io::Result<StdListener> {
    let name = format!("{}{:016x}", name_prefix(config), RandomState::new().hash_one("health socket"));
    let listener = StdListener::bind_addr(&SocketAddr::from_abstract_name(name)?)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Answers until the process ends.
pub async fn serve(listener: StdListener, status: Arc<Status>) {
    let Ok(listener) = UnixListener::from_std(listener) else { return };
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let (Ok(text) | Err(text)) = readiness(&status);
                // A new socket takes a few lines at once; a client that has gone needs none.
                let _ = send(&stream, text.as_bytes(), SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
            }
            Err(_) => sleep(Duration::from_millis(50)).await,
        }
    }
}

/// A connection to a running process.
pub struct RunningProcess {
    socket: Socket,
    /// The process and its user, by the credentials that the kernel gives.
    pub pid: i32,
    pub uid: u32,
}

impl RunningProcess {
    /// Whether it is ready, in lines.
    pub fn readiness(mut self) -> io::Result<String> {
        let mut text = String::new();
        self.socket.read_to_string(&mut text)?;
        Ok(text)
    }
}

/// Connections to all processes that run with this configuration, were started by this user or root, and can be seen
/// from here. A container that shares our network but not our processes has its own files: the same path is another
/// file there.
pub fn running(config: Option<&Path>, patience: Duration) -> io::Result<Vec<RunningProcess>> {
    connections(config, patience, is_ours)
}

/// The same, and for root those of all users: to be looked at, and not to be trusted. A command that is run in a container
/// from outside is often root's, while the process is not.
pub fn visible(config: Option<&Path>, patience: Duration) -> io::Result<Vec<RunningProcess>> {
    connections(config, patience, |pid, uid| is_ours(pid, uid) || pid != 0 && geteuid().is_root())
}

fn connections(
    config: Option<&Path>,
    patience: Duration,
    counts: impl Fn(i32, u32) -> bool,
) -> io::Result<Vec<RunningProcess>> {
    let names = bound(&name_prefix(config))?;
    let connected = names.iter().filter_map(|name| {
        let socket = connect(name, patience).ok()?;
        let peer = getsockopt(&socket, PeerCredentials).ok()?;
        let (pid, uid) = (peer.pid(), peer.uid());
        counts(pid, uid).then_some(RunningProcess { socket, pid, uid })
    });
    Ok(connected.collect())
}

/// By the credentials that the kernel gives; pid 0 is a process that is not visible here.
fn is_ours(pid: i32, uid: u32) -> bool {
    pid != 0 && (uid == geteuid().as_raw() || uid == 0)
}

fn connect(name: &str, patience: Duration) -> io::Result<Socket> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // For connect as well: the queue of a stopped process may be full.
    socket.set_write_timeout(Some(patience))?;
    socket.set_read_timeout(Some(patience))?;
    socket.connect(&SockAddr::unix(format!("\0{name}"))?)?;
    Ok(socket)
}

/// The prefix of the names of all processes with this configuration.
fn name_prefix(config: Option<&Path>) -> String {
    let path = config.map_or_else(PathBuf::new, |path| std::path::absolute(path).unwrap_or_else(|_| path.into()));
    format!("latticegate/{:08x}/", crc32c::crc32c(path.as_os_str().as_bytes()))
}

/// The abstract names in this network namespace with this prefix. An accepted connection has its listener's name too.
fn bound(prefix: &str) -> io::Result<BTreeSet<String>> {
    let table = std::fs::read("/proc/net/unix")?;
    let names = table.split(|&byte| byte == b'\n').filter_map(|line| {
        // `Num RefCount Protocol Flags Type St Inode Path`, an abstract path with `@` before it.
        let path = line.rsplit(|&byte| byte == b' ').next()?.strip_prefix(b"@")?;
        std::str::from_utf8(path).ok().filter(|name| name.starts_with(prefix)).map(str::to_owned)
    });
    Ok(names.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_found_by_its_path_however_that_is_written() {
        let directory = tempfile::tempdir().unwrap();
        let (path, other) = (directory.path().join("a.yaml"), directory.path().join("b.yaml"));
        let found = |path: &Path| running(Some(path), Duration::from_secs(1)).unwrap().len();
        assert_eq!(found(&path), 0);
        let first = bind(Some(&path)).unwrap();
        assert_eq!((found(&path), found(&other)), (1, 0));
        assert_eq!(found(&directory.path().join("./a.yaml")), 1);
        let second = bind(Some(&path)).unwrap();
        assert_eq!(found(&path), 2);
        // A connection, accepted or not, does not count as another process.
        let _accepted = first.accept().unwrap();
        assert_eq!(found(&path), 2);
        drop((first, second));
        assert_eq!(found(&path), 0);
    }

    #[test]
    fn only_visible_processes_of_this_user_and_root_are_trusted() {
        let own = geteuid().as_raw();
        assert!(is_ours(1, own) && is_ours(1, 0));
        assert!(!is_ours(1, own + 1), "another user");
        assert!(!is_ours(0, own), "another container");
    }
}
