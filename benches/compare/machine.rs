//! What the kernel knows about processes: their CPU time, memory and descriptors, and how busy the whole machine was.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

/// The living processes of a process group: a peer is started as the leader of its own.
pub fn group(leader: u32) -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let belongs = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // `pid (command) state ppid pgrp …`; the command may hold spaces.
        let mut after = stat.rsplit(')').next().unwrap_or_default().split_ascii_whitespace();
        // One that has ended (Z) has nothing any more, but stays until its parent asks for it. The workers of nginx get
        // this program as their parent, the first process of its namespace, and it does not ask.
        let is_alive = after.next() != Some("Z");
        is_alive && after.nth(1).and_then(|field| field.parse().ok()) == Some(leader)
    };
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).filter(belongs).collect()
}

/// Time on a CPU of all threads of these processes, by the scheduler's own clock. It includes what the kernel did for them in
/// system calls and in the soft interrupts that their sends caused.
pub fn cpu_time(pids: &[u32]) -> Duration {
    let nanos = pids
        .iter()
        .flat_map(|&pid| tasks(pid).into_iter().map(move |task| format!("/proc/{pid}/task/{task}/schedstat")))
        .filter_map(|path| fs::read_to_string(path).ok()?.split_ascii_whitespace().next()?.parse::<u64>().ok())
        .sum();
    Duration::from_nanos(nanos)
}

/// Processes and threads that are called workers, as those of nginx, Envoy and latticegate are; else all threads.
pub fn workers(pids: &[u32]) -> usize {
    let read = |path: String| fs::read_to_string(path).unwrap_or_default();
    let processes = pids.iter().filter(|pid| read(format!("/proc/{pid}/cmdline")).contains("worker process")).count();
    let threads: Vec<String> = pids
        .iter()
        .flat_map(|&pid| tasks(pid).into_iter().map(move |task| format!("/proc/{pid}/task/{task}/comm")))
        .map(read)
        .collect();
    let workers = processes + threads.iter().filter(|name| name.contains("worker")).count();
    if workers > 0 { workers } else { threads.len() }
}

/// Proportional set size: user memory, shared pages divided among those who share them.
pub fn memory(pids: &[u32]) -> u64 {
    let of = |pid: &u32| -> Option<u64> {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
        line.split_ascii_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
    };
    pids.iter().filter_map(of).sum()
}

pub fn descriptors(pids: &[u32]) -> u64 {
    pids.iter().filter_map(|pid| fs::read_dir(format!("/proc/{pid}/fd")).ok()).map(|dir| dir.count() as u64).sum()
}

/// CPU time that the whole machine has spent busy, stolen time included.
pub fn busy_time() -> Result<Duration> {
    let text = fs::read_to_string("/proc/stat").context("reading /proc/stat")?;
    let first = text.lines().next().context("/proc/stat is empty")?;
    let ticks: Vec<u64> = first.split_ascii_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
    let [user, nice, system, _idle, _wait, irq, soft, steal, ..] = ticks[..] else {
        anyhow::bail!("/proc/stat has too few fields")
    };
    // USER_HZ is 100 on every Linux that this runs on.
    Ok(Duration::from_millis((user + nice + system + irq + soft + steal) * 10))
}

pub fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// `model name`, cores, memory, kernel: the line that stands above every published table.
pub fn description() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        cpu.lines()
            .find(|line| line.starts_with(name))
            .and_then(|line| line.split(": ").nth(1))
            .unwrap_or("?")
            .to_owned()
    };
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total: u64 = memory.split_ascii_whitespace().nth(1).and_then(|kib| kib.parse().ok()).unwrap_or(0);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{}, {} CPUs, {} GiB, Linux {}", field("model name"), cpus(), total / (1 << 20), kernel.trim())
}

/// The congestion control of the sockets here, asked of both ends of a connection: everybody in this namespace has it.
pub fn congestion_control() -> Result<String> {
    use rustix::net::sockopt::tcp_congestion;
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let client = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    client.connect(&listener.local_addr()?.into())?;
    let (server, _) = listener.accept()?;
    let (ours, theirs) = (tcp_congestion(&client)?, tcp_congestion(&server)?);
    anyhow::ensure!(ours == theirs, "one end has {ours}, the other {theirs}");
    Ok(match ours.as_str() {
        "cubic" => "cubic, the default on Fargate".to_owned(),
        other => {
            format!("{other}, this kernel's default: cubic may not be set here. Do not compare bulk with other runs")
        }
    })
}

fn tasks(pid: u32) -> Vec<u32> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}
