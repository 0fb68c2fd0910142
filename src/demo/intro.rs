//! What the demo prints before the first connection: who plays, what to type, what to edit.

use std::ffi::OsString;
use std::io::{self, Write};

use super::calls::{CALLS, Call, Expect};
use super::format::{BOLD, DIM, styled};
use super::setup::Stage;

pub(super) fn print(stage: &Stage, out: &mut impl Write) -> io::Result<()> {
    let (gate, lattice) = (&stage.gate, &stage.lattice);
    writeln!(out, "{}\n", styled(BOLD, "latticegate demo: the whole path on this machine"))?;
    writeln!(out, "  client -> load balancer -> PROXY v2 header -> latticegate -> VPC Lattice\n")?;
    writeln!(
        out,
        "latticegate is the real one. Load balancer, resolver and VPC Lattice are stand-ins; all is on loopback.\n"
    )?;
    writeln!(out, "The load balancer plays a client on each of its ports:")?;
    for (caller, doors) in &stage.addresses.fronts {
        let via = caller.endpoint.map(|id| format!(" ({id})")).unwrap_or_default();
        let address = caller.address.to_string();
        writeln!(
            out,
            "  {address:<13} https {:<5} http {:<5} {}{via}",
            doors.tls.port(),
            doors.http.port(),
            caller.who
        )?;
    }
    writeln!(
        out,
        "latticegate: https {}, http {}; metrics http://{}/metrics",
        gate.doors.tls, gate.doors.http, gate.admin
    )?;
    writeln!(out, "VPC Lattice: https {}, http {}; resolver {}\n", lattice.tls, lattice.http, stage.dns.address)?;

    writeln!(out, "{} (paste into another terminal):", styled(BOLD, "Try"))?;
    let (authority, proxied) = (stage.directory.authority(), goes_through_a_proxy());
    for (number, call) in (1..).zip(&CALLS) {
        writeln!(out, "\n  {}", styled(DIM, &format!("# {number}. {} -> {}", call.title, outcome(call))))?;
        writeln!(out, "  {}", call.curl(&stage.addresses, &authority, proxied))?;
    }

    writeln!(out, "\n{} the access list, and try again; it holds from the next connection on:", styled(BOLD, "Edit"))?;
    writeln!(out, "  {}", stage.directory.policy().display())?;
    writeln!(out, "The configuration that runs: {}\n", stage.directory.config().display())?;
    writeln!(out, "Each connection is shown here as it ends. Ctrl-C stops.\n")?;
    out.flush()
}

fn outcome(call: &Call) -> String {
    match call.expect {
        Expect::Served(status) => format!("HTTP {status}"),
        Expect::Refused(_, told) => told.to_string(),
    }
}

/// Whether curl, started from the environment that we have, would ask a proxy of its own.
fn goes_through_a_proxy() -> bool {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value: OsString| !value.is_empty());
    ["http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"].into_iter().any(set)
}
