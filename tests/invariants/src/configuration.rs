//! The configuration: what is taken keeps the promises of `Config`, what is not says why. After a NUL come
//! environment variables, `KEY=VALUE` a line, without their prefix.

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Duration;

use latticegate_core::config::{Config, File, Forward, Machine, Protocol, ProxyProtocol};

use crate::diagnostics;

pub fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (text, variables) = text.split_once('\0').unwrap_or((text, ""));
    // The system ends a variable at NUL.
    let variables = variables.split('\0').next().unwrap_or_default();
    let variables = || {
        let pairs = variables.lines().filter_map(|line| line.split_once('='));
        pairs.map(|(key, value)| (format!("LATTICEGATE_{key}"), value.to_owned()))
    };
    let file = File { path: Path::new("latticegate.yaml"), text };
    let machine = Machine { open_files: 65_536, cpus: NonZeroUsize::MIN, memory: 1 << 30 };
    let parse = || Config::parse(Some(file), variables(), &machine);
    let read = parse();
    match &read {
        Ok((config, warnings)) => {
            keeps_its_promises(config);
            if !warnings.is_empty() {
                diagnostics::are_well_formed(warnings, text);
            }
        }
        Err(found) => diagnostics::are_well_formed(found, text),
    }
    assert_eq!(format!("{read:?}"), format!("{:?}", parse()), "read twice, differs");
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
        let is_forward = listener.protocol == Protocol::Forward;
        assert!(is_forward == listener.forward.is_some() && is_forward == (listener.upstream_port == 0));
        assert!(listener.public_port != 0);
        if let Some(Forward { connect_ports, http_ports, via_name, .. }) = &listener.forward {
            assert!(!connect_ports.is_empty() || !http_ports.is_empty(), "it refuses everything");
            for ports in [connect_ports, http_ports] {
                assert_eq!(ports.iter().collect::<HashSet<_>>().len(), ports.len(), "a port twice");
                assert!(!ports.contains(&0));
            }
            assert!((1..=64).contains(&via_name.len()));
        }
        assert!(listener.proxy_protocol == ProxyProtocol::Off || config.trusted.iter().next().is_some());
    }
    let networks = config.listeners.iter().map(|listener| &listener.networks);
    let dialled = networks.flat_map(|networks| networks.allowed.iter().chain(networks.denied.iter()));
    for network in config.trusted.iter().chain(dialled) {
        assert_eq!(*network, network.trunc(), "host bits");
    }
    for limit in [config.timeouts.handshake, config.timeouts.connect, config.timeouts.idle, config.dns.timeout] {
        assert!(limit.get() > Duration::ZERO, "a wait without a deadline, or none");
    }
    assert!(config.dns.min_ttl <= config.dns.max_ttl);
}
