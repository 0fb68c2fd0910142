//! What the demo prints before the first connection: the parties, what to type, what to edit.

use std::ffi::OsString;
use std::io::{self, Write};

use super::calls::{CALLS, Call, Expect};
use super::format::{BOLD, DIM, styled};
use super::setup::DemoSetup;

pub(super) fn print(setup: &DemoSetup, out: &mut impl Write) -> io::Result<()> {
    let (gate, lattice) = (&setup.gate, &setup.lattice);
    writeln!(out, "{}\n", styled(BOLD, "latticegate demo: the whole path on this machine"))?;
    writeln!(out, "  client -> load balancer -> PROXY v2 header -> latticegate -> VPC Lattice\n")?;
    writeln!(
        out,
        "latticegate is the real one. Load balancer, resolver and VPC Lattice are stand-ins; everything is on loopback.\n"
    )?;
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
    writeln!(
        out,
        "latticegate: https {}, http {}; metrics http://{}/metrics",
        gate.ports.tls, gate.ports.http, gate.admin
    )?;
    writeln!(out, "VPC Lattice: https {}, http {}; resolver {}\n", lattice.tls, lattice.http, setup.dns.address)?;

    writeln!(out, "{} (paste into another terminal):", styled(BOLD, "Try"))?;
    let (authority, proxied) = (setup.directory.authority(), has_proxy_variables());
    for (number, call) in (1..).zip(&CALLS) {
        writeln!(out, "\n  {}", styled(DIM, &format!("# {number}. {} -> {}", call.title, outcome(call))))?;
        writeln!(out, "  {}", call.curl(&setup.addresses, &authority, proxied))?;
    }

    writeln!(out, "\n{} the access list, and try again; it holds from the next connection on:", styled(BOLD, "Edit"))?;
    writeln!(out, "  {}", setup.directory.policy().display())?;
    writeln!(out, "The configuration that runs: {}\n", setup.directory.config().display())?;
    writeln!(out, "Each connection is shown here as it ends. Ctrl-C stops.\n")?;
    out.flush()
}

fn outcome(call: &Call) -> String {
    match call.expect {
        Expect::Served(status) => format!("HTTP {status}"),
        Expect::Refused(_, rejection) => rejection.to_string(),
    }
}

/// Whether curl would use a proxy, going by this environment.
fn has_proxy_variables() -> bool {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value: OsString| !value.is_empty());
    ["http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"].into_iter().any(set)
}
