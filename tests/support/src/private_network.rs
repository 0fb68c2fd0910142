//! A network namespace for a test that would disturb its neighbours: everything that the thread then starts is in it.

use std::fs;
use std::process::Command;
use std::thread;

use nix::sched::{CloneFlags, unshare};

/// Runs `test` where there is nothing but a loopback interface. It needs CAP_SYS_ADMIN and `ip`.
pub fn run<T: Send + 'static>(test: impl FnOnce() -> T + Send + 'static) -> T {
    thread::spawn(move || {
        let outside = fs::read_link("/proc/thread-self/ns/net").unwrap();
        unshare(CloneFlags::CLONE_NEWNET).expect("the right to make a network namespace (run the tests as root)");
        assert_ne!(fs::read_link("/proc/thread-self/ns/net").unwrap(), outside);
        let up = Command::new("ip").args(["link", "set", "lo", "up"]).status().expect("ip, of the package iproute2");
        assert!(up.success());
        test()
    })
    .join()
    .unwrap()
}
