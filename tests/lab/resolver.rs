//! dnsmasq as the VPC's resolver: what the private hosted zone would answer, NXDOMAIN for everything else.

use std::fs;
use std::path::Path;

use crate::network::{BALANCER, BALANCER_INSIDE, BALANCER_NAME, FORBIDDEN, LATTICE, LATTICE6, Network, RESOLVER, TASK};
use crate::process::Running;

pub(crate) fn start(network: &Network, dir: &Path) -> Running {
    let config = dir.join("dnsmasq.conf");
    fs::write(&config, zone()).unwrap();
    let mut command = network.vpc.command("dnsmasq");
    command.arg("--keep-in-foreground").arg(format!("--conf-file={}", config.display()));
    let address = format!("{RESOLVER}:53").parse().unwrap();
    Running::start(&network.vpc, command, &dir.join("dnsmasq.log"), &[address])
}

fn zone() -> String {
    let [private, metadata, _] = FORBIDDEN;
    let generated = "orders-0a1b2c3d4e5f60718.7d67968.vpc-lattice-svcs.us-west-2.on.aws";
    format!(
        "bind-interfaces
listen-address={RESOLVER}
port=53
no-resolv
no-hosts
user=root
pid-file=
local-ttl=60
log-queries
log-facility=-
# Nothing is asked elsewhere.
local=/#/
# The usual private hosted zone: a custom name, a CNAME to the generated one.
cname=orders.example.com,{generated}
host-record={generated},{LATTICE},{LATTICE6}
host-record=billing.example.com,{LATTICE},{LATTICE6}
host-record=mtls.example.com,{LATTICE}
host-record=v6only.example.com,{LATTICE6}
# Where nobody may go.
host-record=outside.example.com,{private}
host-record=metadata.example.com,{metadata}
# The private zone is missing, so that the public answer is found: the load balancer.
host-record=loop.example.com,{BALANCER_INSIDE}
host-record={BALANCER_NAME},{BALANCER}
host-record=self.example.com,{TASK}
"
    )
}
