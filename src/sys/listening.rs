//! Which process listens on a port of this network namespace.

use std::io::ErrorKind;
use std::path::Path;

/// Whether the process `pid` of the user `uid` has a TCP socket that listens on `port`. Where its open files may not be
/// seen, as by root in a container that lacks CAP_SYS_PTRACE, the user of the socket decides.
pub fn is_held_by(port: u16, pid: i32, uid: u32) -> bool {
    let tables = ["tcp", "tcp6"].map(|table| {
        // Of this thread, as the sockets that it opens are.
        std::fs::read_to_string(Path::new("/proc/thread-self/net").join(table)).unwrap_or_default()
    });
    let sockets: Vec<Listening> = tables.iter().flat_map(|table| table.lines()).filter_map(Listening::parse).collect();
    let mut on_port = sockets.iter().filter(|socket| socket.port == port);
    match open_sockets(pid) {
        Some(own) => on_port.any(|socket| own.contains(&socket.inode)),
        None => on_port.any(|socket| socket.uid == uid),
    }
}

/// A socket that listens.
#[derive(Debug, PartialEq, Eq)]
struct Listening {
    port: u16,
    uid: u32,
    inode: u64,
}

impl Listening {
    /// A line of /proc/net/tcp (proc_net_tcp(5)): number, local and remote address, state, queues, timer, retransmits, user,
    /// timeout, inode.
    fn parse(line: &str) -> Option<Self> {
        const LISTEN: &str = "0A";
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (_, port) = fields.next()?.rsplit_once(':')?;
        if fields.nth(1)? != LISTEN {
            return None;
        }
        let (uid, inode) = (fields.nth(3)?, fields.nth(1)?);
        Some(Self { port: u16::from_str_radix(port, 16).ok()?, uid: uid.parse().ok()?, inode: inode.parse().ok()? })
    }
}

/// The inodes of a process's sockets; none: they may not be seen.
fn open_sockets(pid: i32) -> Option<Vec<u64>> {
    let files = match std::fs::read_dir(format!("/proc/{pid}/fd")) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => return None,
        files => files.into_iter().flatten().flatten(),
    };
    let sockets = files.filter_map(|file| {
        let target = std::fs::read_link(file.path()).ok()?;
        target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
    });
    Some(sockets.collect())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::sys::socket::listen;

    #[test]
    fn a_port_is_of_the_process_that_listens_on_it() {
        for address in ["127.0.0.1:0", "[::]:0"] {
            let listener = listen(address.parse().unwrap(), None).unwrap();
            let port = listener.local_addr().unwrap().port();
            let own = i32::try_from(std::process::id()).unwrap();
            let mut child = Command::new("sleep").arg("60").spawn().unwrap();
            assert!(is_held_by(port, own, 0));
            assert!(!is_held_by(port, i32::try_from(child.id()).unwrap(), 0), "another of the same user");
            child.kill().unwrap();
            child.wait().unwrap();
            drop(listener);
            assert!(!is_held_by(port, own, 0));
        }
    }

    #[test]
    fn only_sockets_that_listen_count() {
        let line = |state: &str| {
            format!(
                "   1: 0100007F:20FB 00000000:0000 {state} 00000000:00000000 00:00000000 00000000 65532        0 4711 1 \
                 0000000000000000 100 0 0 10 0"
            )
        };
        assert_eq!(Listening::parse(&line("0A")), Some(Listening { port: 8443, uid: 65532, inode: 4711 }));
        for line in [line("01"), String::new(), "  sl  local_address rem_address   st tx_queue".to_owned()] {
            assert_eq!(Listening::parse(&line), None, "{line}");
        }
    }
}
