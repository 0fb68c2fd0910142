//! Memory: what a flood may take of it, in a task that has little.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use latticegate_core::config::{Config, Machine};
use support::lab::{Parts, Setup};
use support::peer::{End, Peer};
use support::wire::{handshake, hello, records, tcp4};

use crate::flood::{FILES, HalfOpenRegistry, start};
use crate::gate::Gate;

const MIB: u64 = 1 << 20;

/// A header, and this much of a long hello in records of one byte: 30 000 bytes of it are kept in 32 KiB.
fn dribble() -> Vec<u8> {
    let message = handshake(1, &[0; 16_000]);
    [tcp4(&[]), records(&message[..5_000], 1)].concat()
}

#[test]
fn one_byte_records_hold_no_more_than_their_bound() {
    const CROWD: usize = 4000;
    const BOUND: u64 = 8 * MIB;
    let gate = start("half_open_per_client: 20000, half_open: 11000, connections: 12000, half_open_bytes: 8MiB");
    let before = gate.memory("VmRSS:");
    let flood = HalfOpenRegistry::unwelcome(CROWD, gate.address("tls"), &dribble());
    support::until("much of it is held", || {
        let (held, bound) = gate.limit("half_open_bytes");
        assert!(held <= BOUND && bound == BOUND, "{held} of {bound} bytes are held");
        held > BOUND / 2
    });
    // Others are served in the middle of it, whether their hello comes whole or not.
    for _ in 0..20 {
        gate.pass();
        let mut client = Peer::connect(gate.address("tls"));
        client.say(tcp4(&[])).say(&hello()[..30]);
        client.hears_nothing();
        client.say(&hello()[30..]);
        let mut upstream = gate.parts.upstream.accept();
        assert_eq!(upstream.hear(hello().len()), hello());
        upstream.finish();
        assert_eq!(client.finish().hear_all(), (vec![], End::Fin));
    }
    let grown = gate.memory("VmHWM:") - before;
    eprintln!(
        "{CROWD} hellos of 32 KiB in one-byte records: {} MiB at most, of which {} MiB are the bound",
        grown / MIB,
        BOUND / MIB
    );
    // What is held and what the allocator keeps beside it, and 5 KiB for each connection. Without a bound: 125 MiB.
    assert!(grown < 2 * BOUND + CROWD as u64 * 5 * 1024, "{} MiB", grown / MIB);
    drop(flood);
    support::until("nothing is held any more", || gate.limit("half_open_bytes").0 == 0);
    let longest_waiting = gate.log();
    let overloaded = longest_waiting.iter().filter(|record| record["reason"] == "overloaded");
    assert!(overloaded.clone().count() > CROWD / 2);
    assert!(overloaded.clone().all(|record| record["detail"] == "limits.half_open_bytes"));
}

#[test]
fn pipes_of_a_busy_moment_are_given_back() {
    const TRANSFERS: usize = 12;
    const SIZE: usize = 8 << 20;
    let gate = start("connections: 100");
    let before = gate.pipe_ends();
    let (pairs, body) = ((0..TRANSFERS).map(|_| pair(&gate)).collect::<Vec<_>>(), vec![7; SIZE]);
    std::thread::scope(|scope| {
        for (mut client, mut upstream) in pairs {
            let body = &body;
            scope.spawn(move || {
                upstream.say(body).finish();
            });
            scope.spawn(move || assert!(client.finish().hear_all() == (vec![7; SIZE], End::Fin)));
        }
    });
    assert!(gate.pipe_ends() > before, "bulk goes through pipes");
    // Unused for ten to twenty seconds, and this machine may be busy.
    let start = Instant::now();
    while gate.pipe_ends() > before {
        assert!(start.elapsed() < Duration::from_secs(90), "{} more", gate.pipe_ends() - before);
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(start.elapsed() > Duration::from_secs(5), "they are kept for a while");
}

/// What the program itself takes for a relayed connection that is idle; the kernel's share of its two sockets is not in
/// it. The difference of many and more, so that what is taken once does not count.
#[test]
fn an_idle_connection_takes_little_and_what_is_kept_is_used_again() {
    const FEW: usize = 1000;
    const MANY: usize = 3000;
    const BOUND: u64 = 1500;
    latticegate::sys::socket::raise_fd_limit().unwrap();
    let gate = start("connections: 5000");
    let mut idle: Vec<_> = (0..FEW).map(|_| pair(&gate)).collect();
    let with_few = gate.memory("VmRSS:");
    idle.extend((FEW..MANY).map(|_| pair(&gate)));
    let with_many = gate.memory("VmRSS:");
    let each = (with_many - with_few) / (MANY - FEW) as u64;
    drop(idle);
    support::until("all are closed", || gate.limit("connections").0 == 0);
    let kept = gate.memory("VmRSS:");
    let again: Vec<_> = (0..MANY).map(|_| pair(&gate)).collect();
    let with_many_again = gate.memory("VmRSS:");
    drop(again);
    eprintln!(
        "{each} bytes for an idle relayed connection; with {MANY} of them {} KiB, when they are closed {} KiB, with as many \
         again {} KiB",
        with_many / 1024,
        kept / 1024,
        with_many_again / 1024
    );
    assert!(each <= BOUND, "{each} bytes");
    // Nothing is lost: at most a tenth more, since the allocator's pieces fit no better than before.
    assert!(with_many_again <= with_many + (with_many / 10), "{} KiB more", (with_many_again - with_many) / 1024);
}

/// The same for what a `forward` listener has: an idle tunnel, and a connection that is kept alive between two requests. Both
/// keep what is logged of them beside what all have; the latter keeps the state of its requests too.
#[test]
fn an_idle_tunnel_takes_little_and_so_does_a_connection_between_requests() {
    const FEW: usize = 500;
    const MANY: usize = 1500;
    const BOUNDS: [u64; 2] = [3000, 6000];
    latticegate::sys::socket::raise_fd_limit().unwrap();
    let rules = "- allow: all\n  to: orders.example.com\n- deny: all";
    let setup = Setup { limits: "connections: 5000", forward: Some(""), rules, ..Setup::default() };
    let gate = Gate::start(Parts::make(&setup), FILES, &[]);
    let (address, port) = (gate.address("forward-direct"), gate.parts.upstream.address.port());
    let tunnel = || {
        let mut client = Peer::connect(address);
        client.say(format!("CONNECT orders.example.com:{port} HTTP/1.1\r\nHost: x\r\n\r\n")).say(hello());
        let mut upstream = gate.parts.upstream.accept();
        upstream.hear(hello().len());
        upstream.say(b"ok");
        client.hear("HTTP/1.1 200 Connection established\r\n\r\nok".len());
        (client, upstream)
    };
    let kept_alive = || {
        let mut client = Peer::connect(address);
        client.say(format!("GET http://orders.example.com:{port}/ HTTP/1.1\r\nHost: x\r\n\r\n"));
        let mut upstream = gate.parts.upstream.accept();
        upstream.has_unread(60);
        upstream.say(b"HTTP/1.1 204 No Content\r\n\r\n");
        client.hear("HTTP/1.1 204 No Content\r\nVia: 1.1 latticegate\r\n\r\n".len());
        (client, upstream)
    };
    let kinds: [&dyn Fn() -> (Peer, Peer); 2] = [&tunnel, &kept_alive];
    let each = kinds.map(|open| {
        let mut idle: Vec<_> = (0..FEW).map(|_| open()).collect();
        let with_few = gate.memory("VmRSS:");
        idle.extend((FEW..MANY).map(|_| open()));
        let each = (gate.memory("VmRSS:") - with_few) / (MANY - FEW) as u64;
        // What is kept of these would serve those of the other kind.
        idle.into_iter().for_each(|(client, upstream)| std::mem::forget((client, upstream)));
        each
    });
    eprintln!("{} bytes for an idle tunnel, {} for a connection between two requests", each[0], each[1]);
    assert!(each.iter().zip(BOUNDS).all(|(each, bound)| *each <= bound), "{each:?}");
}

/// The least task in which the limits by memory are reached before the 20 000 open files of this machine are: what
/// fits here fits a larger one, where the program itself is a smaller part.
const TASK: u64 = 192 * MIB;

/// What the defaults are for a task of this size with open files to spare.
fn defaults(memory: u64) -> latticegate_core::config::Limits {
    let machine = Machine { open_files: 1 << 20, cpus: 2.try_into().unwrap(), memory };
    let env = [("LATTICEGATE_PROXY_PROTOCOL__TRUSTED".to_owned(), "127.0.0.0/8".to_owned())];
    Config::parse(None, env.into_iter(), &machine).unwrap().0.limits
}

#[test]
fn a_flood_to_both_limits_fits_the_task() {
    latticegate::sys::socket::raise_fd_limit().unwrap();
    let limits = defaults(TASK);
    let (connections, half_open) = (limits.connections, limits.half_open.get());
    let group = Group::make(TASK);
    let mut setup = Setup { limits: "half_open_per_client: 30000", timeouts: "handshake: 120s", ..Setup::default() };
    if group.is_none() {
        eprintln!("no control group can be made here: the limits are written, and memory is what /proc tells");
        let text = format!(
            "connections: {connections}, half_open: {half_open}, half_open_bytes: {}KiB, half_open_per_client: 30000",
            limits.half_open_bytes / 1024
        );
        setup.limits = text.leak();
    }
    let parts = Parts::make(&setup);
    let gate = match &group {
        Some(group) => Gate::in_group(parts, FILES, &group.0),
        None => Gate::start(parts, FILES, &[]),
    };
    // Half of 20 000 files are enough for both, so these are the limits by memory.
    assert_eq!(gate.limit("connections").1, connections as u64);
    assert_eq!(gate.limit("half_open").1, half_open as u64);
    assert_eq!(gate.limit("half_open_bytes").1, limits.half_open_bytes);
    let base = gate.memory("VmRSS:");

    let relayed: Vec<(Peer, Peer)> = (0..connections - half_open).map(|_| pair(&gate)).collect();
    let with_relayed = gate.memory("VmRSS:");
    let few = HalfOpenRegistry::unwelcome(half_open, gate.address("tls"), &[&tcp4(&[])[..], &hello()[..50]].concat());
    support::until("they are half-open", || gate.limit("half_open").0 >= half_open as u64 * 9 / 10);
    let with_half_open = gate.memory("VmRSS:");
    drop(few);
    support::until("they are gone", || gate.limit("half_open").0 == 0);
    let flood = HalfOpenRegistry::unwelcome(2 * half_open, gate.address("tls"), &dribble());
    support::until("all has been read", || gate.limit("half_open_bytes").0 > limits.half_open_bytes / 2);
    let peak = gate.memory("VmHWM:");

    let sockets = kernel_bytes_per_socket();
    let per_relayed = (with_relayed - base) / relayed.len() as u64 + 2 * sockets;
    let per_half_open = with_half_open.saturating_sub(with_relayed) / half_open as u64 + sockets;
    let kernel = sockets * (2 * relayed.len() + half_open) as u64;
    let charged = group.as_ref().map(Group::peak);
    eprintln!(
        "a task of {} MiB: {connections} connections, of them {half_open} half-open that hold {} MiB: {} MiB at most, \
         the kernel's sockets {} MiB more, charged to the group {:?} MiB; {per_relayed} bytes for a relayed connection, \
         {per_half_open} for a half-open one, {sockets} of them in the kernel for each socket, {} MiB for the program",
        TASK / MIB,
        limits.half_open_bytes / MIB,
        peak / MIB,
        kernel / MIB,
        charged.map(|bytes| bytes / MIB),
        base / MIB
    );
    assert!(peak + kernel < TASK, "{} MiB", (peak + kernel) / MIB);
    assert!(charged.is_none_or(|charged| charged < TASK));
    // The same in a task of 1 GB, from what each of them took here. What is held is twice itself at most, see above.
    let large = defaults(1 << 30);
    let waiting = large.half_open.get() as u64;
    let all =
        base + (large.connections as u64 - waiting) * per_relayed + waiting * per_half_open + 2 * large.half_open_bytes;
    eprintln!("a task of 1 GB: {} connections, {waiting} half-open: {} MiB", large.connections, all / MIB);
    assert!(all < 1_000_000_000, "{all} bytes");

    // Who was served is served on, and so are others as soon as there is room.
    drop(flood);
    for (mut client, mut upstream) in relayed.into_iter().step_by(100) {
        upstream.say(b"more");
        assert_eq!(client.hear(4), b"more");
    }
    support::until("there is room", || gate.limit("connections").0 < 1000);
    gate.pass();
}

fn pair(gate: &Gate) -> (Peer, Peer) {
    let (mut client, mut upstream) = gate.pair();
    upstream.say(b"ok");
    assert_eq!(client.hear(2), b"ok");
    (client, upstream)
}

/// What the kernel keeps for a TCP socket without bytes in it, not all of which it charges to a group of version 1:
/// the sizes of its objects where they can be read, or what they are on x86-64.
fn kernel_bytes_per_socket() -> u64 {
    const OBJECTS: [&str; 5] = ["TCP", "sock_inode_cache", "filp", "dentry", "eventpoll_epi"];
    let slabs = fs::read_to_string("/proc/slabinfo").unwrap_or_default();
    let size = |object: &&str| {
        let mut fields = slabs.lines().find_map(|line| line.strip_prefix(&format!("{object} ")))?.split_whitespace();
        fields.nth(2)?.parse::<u64>().ok()
    };
    OBJECTS.iter().filter_map(size).sum::<u64>().max(4096)
}

/// A control group of version 1 or 2 with so much memory, gone when dropped.
struct Group(PathBuf);

impl Group {
    fn make(memory: u64) -> Option<Self> {
        let name = format!("latticegate-{}", std::process::id());
        let one = Path::new("/sys/fs/cgroup/memory").join(&name);
        let two = Path::new("/sys/fs/cgroup").join(&name);
        for (group, limit) in [(one, "memory.limit_in_bytes"), (two, "memory.max")] {
            // Where there is no such hierarchy, this makes no group, and there is no such file.
            let is_hierarchy = group.parent().is_some_and(|all| all.join("cgroup.procs").exists());
            if !is_hierarchy || fs::create_dir(&group).is_err() {
                continue;
            }
            let group = Self(group);
            if fs::write(group.0.join(limit), memory.to_string()).is_ok() {
                return Some(group);
            }
        }
        None
    }

    /// What was charged to it at most.
    fn peak(&self) -> u64 {
        let read = |file| fs::read_to_string(self.0.join(file)).ok()?.trim().parse().ok();
        read("memory.max_usage_in_bytes").or_else(|| read("memory.peak")).unwrap_or(0)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}
