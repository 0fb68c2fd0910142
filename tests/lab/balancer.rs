//! HAProxy in TCP mode as the Network Load Balancer: 443 and 80 in front, PROXY v2 towards the proxy.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use crate::network::{BALANCER, BALANCER_INSIDE, BALANCER_PUBLIC, BALANCER6, Network, TASK};
use crate::process::Running;

/// The ports of the proxy that 443 and 80 lead to.
#[derive(Clone, Copy)]
pub(crate) struct Targets {
    pub(crate) tls: u16,
    pub(crate) http: u16,
}

impl Targets {
    pub(crate) fn shipped() -> Self {
        Self { tls: 8443, http: 8080 }
    }
}

pub(crate) fn start(network: &Network, dir: &Path, targets: Targets) -> Running {
    let config = dir.join("haproxy.cfg");
    let mut text = String::from(
        "global
    maxconn 2000
defaults
    mode tcp
    timeout connect 5s
    timeout client 10m
    timeout server 10m
",
    );
    // It also listens inside, so that a loop would really go round.
    for (port, target) in [(443, targets.tls), (80, targets.http)] {
        text.push_str(&format!(
            "listen port{port}
    bind {BALANCER}:{port}
    bind {BALANCER_PUBLIC}:{port}
    bind {BALANCER_INSIDE}:{port}
    bind {BALANCER6}:{port}
    server task {TASK}:{target} send-proxy-v2 proxy-v2-options crc32c
"
        ));
    }
    fs::write(&config, text).unwrap();
    let mut command = network.balancer.command("haproxy");
    command.arg("-db").arg("-f").arg(&config);
    // No proxy runs yet, so these first connections end here.
    let accepting = [443, 80].map(|port| SocketAddr::new(BALANCER.parse().unwrap(), port));
    Running::start(&network.balancer, command, &dir.join("haproxy.log"), &accepting)
}
