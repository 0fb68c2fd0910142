//! The configuration: what is taken keeps the promises of `Config`, what is not says why. After a NUL come
//! environment variables, `KEY=VALUE` a line, without their prefix.

use std::cell::OnceCell;
use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use latticegate::config::{Config, ProxyProtocol};

use crate::problems;

pub fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (text, variables) = text.split_once('\0').unwrap_or((text, ""));
    // The system ends a variable at NUL.
    let variables = variables.split('\0').next().unwrap_or_default();
    let variables = || {
        let pairs = variables.lines().filter_map(|line| line.split_once('='));
        pairs.map(|(key, value)| (format!("LATTICEGATE_{key}"), value.to_owned()))
    };
    let path = file();
    std::fs::write(&path, text).expect("the temporary directory can be written");
    let read = Config::load(Some(&path), variables());
    match &read {
        Ok((config, warnings)) => {
            keeps_its_promises(config);
            if !warnings.is_empty() {
                problems::are_well_formed(warnings, text);
            }
        }
        Err(found) => problems::are_well_formed(found, text),
    }
    assert_eq!(format!("{read:?}"), format!("{:?}", Config::load(Some(&path), variables())), "read twice, differs");
}

fn keeps_its_promises(config: &Config) {
    let mut names = HashSet::new();
    let mut addresses = HashSet::from([config.health, config.admin]);
    assert!(config.health != config.admin || config.health.port() == 0);
    assert!(!config.listeners.is_empty());
    for listener in &config.listeners {
        assert!(names.insert(&listener.name), "two listeners are named {}", listener.name);
        assert!(addresses.insert(listener.bind) || listener.bind.port() == 0, "two listen on {}", listener.bind);
        assert!((1..=32).contains(&listener.name.len()));
        assert!(listener.upstream_port != 0 && listener.public_port != 0);
        assert!(listener.proxy_protocol == ProxyProtocol::Off || config.trusted.iter().next().is_some());
    }
    for network in config.trusted.iter().chain(config.upstream.allowed_networks.iter()) {
        assert_eq!(*network, network.trunc(), "host bits");
    }
    for limit in [config.timeouts.handshake, config.timeouts.connect, config.timeouts.idle, config.dns.timeout] {
        assert!(limit > Duration::ZERO, "a wait without a deadline, or none");
    }
    assert!(config.dns.min_ttl <= config.dns.max_ttl);
}

/// One file for each thread, by name of the process: libFuzzer runs several at a time.
fn file() -> PathBuf {
    thread_local!(static FILE: OnceCell<PathBuf> = const { OnceCell::new() });
    FILE.with(|file| {
        let name = || format!("latticegate-{}-{:?}.yaml", std::process::id(), std::thread::current().id());
        file.get_or_init(|| std::env::temp_dir().join(name())).clone()
    })
}
