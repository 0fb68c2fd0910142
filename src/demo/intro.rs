//! What the demo prints before the first connection: the parties, what to type, what to edit.

use std::ffi::OsString;
use std::io::{self, Write};

use super::calls::{CALLS, Expect};
use super::egress::calls::EGRESS_CALLS;
use super::format::{BOLD, DIM, styled};
use super::setup::DemoSetup;

pub(super) fn print(setup: &DemoSetup, out: &mut impl Write) -> io::Result<()> {
    let (gate, lattice) = (&setup.gate, &setup.lattice);
    writeln!(out, "{}\n", styled(BOLD, "latticegate demo: the whole path on this machine"))?;
    writeln!(out, "  client -> load balancer -> PROXY v2 header -> latticegate -> VPC Lattice")?;
    writeln!(out, "  a VPC -> PrivateLink, load balancer -> PROXY v2 header -> latticegate -> the internet\n")?;
    writeln!(out, "latticegate is the real one. Load balancer, resolver, VPC Lattice and the internet are stand-ins;")?;
    writeln!(out, "everything is on loopback.\n")?;
    writeln!(out, "The load balancer stands for a different client on each pair of ports:")?;
    for (client, ports) in &setup.addresses.fronts {
        let via = client.endpoint.map(|id| format!(" ({id})")).unwrap_or_default();
        let address = client.address.to_string();
        writeln!(
            out,
            "  {address:<13} https {:<5} http {:<5} {}{via}",
            ports.tls.port(),
            ports.http.port(),
            client.who
        )?;
    }
    writeln!(out, "It stands for these on a port of the explicit proxy:")?;
    for (client, proxy) in &setup.egress.fronts {
        let via = client.endpoint.map(|id| format!(" ({id})")).unwrap_or_default();
        let address = client.address.to_string();
        writeln!(out, "  {address:<13} proxy {:<16} {}{via}", proxy.port(), client.who)?;
    }
    writeln!(
        out,
        "latticegate: https {}, http {}, proxy {}; metrics http://{}/metrics",
        gate.ports.tls, gate.ports.http, gate.proxy, gate.admin
    )?;
    writeln!(out, "VPC Lattice: https {}, http {}; resolver {}", lattice.tls, lattice.http, setup.dns.address)?;
    writeln!(out, "The internet: https {}, http {}\n", setup.internet.tls, setup.internet.http)?;

    writeln!(out, "{} (paste into another terminal):", styled(BOLD, "Try"))?;
    let (authority, proxied) = (setup.directory.authority(), has_proxy_variables());
    for (number, call) in (1..).zip(&CALLS) {
        let command = call.curl(&setup.addresses, &authority, proxied);
        offer(out, number, call.title, call.expect, &command)?;
    }
    writeln!(
        out,
        "\n{}: the same binary as an explicit proxy (only root could give its sites ports 443 and 80):",
        styled(BOLD, "Egress")
    )?;
    for (number, call) in (CALLS.len() + 1..).zip(&EGRESS_CALLS) {
        let command = call.curl(&setup.egress, &authority, proxied);
        offer(out, number, call.title, call.expect, &command)?;
    }

    writeln!(out, "\n{} the access list, and try again; it holds from the next connection on:", styled(BOLD, "Edit"))?;
    writeln!(out, "  {}", setup.directory.policy().display())?;
    writeln!(out, "The configuration that runs: {}\n", setup.directory.config().display())?;
    writeln!(out, "Each connection is shown here as it ends. Ctrl-C stops.\n")?;
    out.flush()
}

fn offer(out: &mut impl Write, number: usize, title: &str, expect: Expect, command: &str) -> io::Result<()> {
    let outcome = match expect {
        Expect::Served(status) => format!("HTTP {status}"),
        Expect::Refused(_, rejection) => rejection.to_string(),
    };
    writeln!(out, "\n  {}", styled(DIM, &format!("# {number}. {title} -> {outcome}")))?;
    writeln!(out, "  {command}")
}

/// Whether curl looks at this environment for a proxy, or for names that need none.
fn has_proxy_variables() -> bool {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value: OsString| !value.is_empty());
    let variables = ["http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"];
    variables.into_iter().any(set)
}
