//! The namespaces, their addresses and routes.
//!
//! ```text
//! client    10.1.0.2      ┐              balancer                 task                     vpc
//! client6   2001:db8:1::2 ├─ 10.1.0.1, 2001:db8:1::1 ┐            192.168.10.20            169.254.169.253 DNS
//! outsider  203.0.113.66  ┘  203.0.113.1             ├ 192.168.10.10 ─┘  192.168.11.20 ─── 169.254.171.10 Lattice
//!                                                    ┘                   2001:db8:11::20   fd00:ec2:80::10 Lattice
//! ```
//! The vpc also owns addresses that must never be dialled: see [`FORBIDDEN`].

use std::io::Write;

use support::namespace::Namespace;

/// The load balancer as clients of each kind see it.
pub(crate) const BALANCER: &str = "10.1.0.1";
pub(crate) const BALANCER6: &str = "2001:db8:1::1";
pub(crate) const BALANCER_PUBLIC: &str = "203.0.113.1";
/// The load balancer as the proxy sees it: inside the shipped `proxy_protocol.trusted`.
pub(crate) const BALANCER_INSIDE: &str = "192.168.10.10";
pub(crate) const TASK: &str = "192.168.10.20";
pub(crate) const RESOLVER: &str = "169.254.169.253";
pub(crate) const LATTICE: &str = "169.254.171.10";
pub(crate) const LATTICE6: &str = "fd00:ec2:80::10";
/// Private but not ours, instance metadata, task metadata: each is there, listens, and must stay untouched.
pub(crate) const FORBIDDEN: [&str; 3] = ["10.9.9.9", "169.254.169.254", "169.254.170.2"];

/// The load balancer's own name, as AWS makes them.
pub(crate) const BALANCER_NAME: &str = "gate-0123456789abcdef.elb.us-west-2.amazonaws.com";

pub(crate) struct Network {
    pub(crate) client: Namespace,
    pub(crate) client6: Namespace,
    pub(crate) outsider: Namespace,
    pub(crate) balancer: Namespace,
    pub(crate) task: Namespace,
    pub(crate) vpc: Namespace,
}

impl Network {
    pub(crate) fn up() -> Self {
        let network = Self {
            client: Namespace::add("client"),
            client6: Namespace::add("client6"),
            outsider: Namespace::add("outsider"),
            balancer: Namespace::add("balancer"),
            task: Namespace::add("task"),
            vpc: Namespace::add("vpc"),
        };
        network.join(&network.client, "eth0", &network.balancer, "client");
        network.join(&network.client6, "eth0", &network.balancer, "client6");
        network.join(&network.outsider, "eth0", &network.balancer, "public");
        network.join(&network.balancer, "inside", &network.task, "eth0");
        network.join(&network.task, "eth1", &network.vpc, "task");
        network.address();
        network.name_hosts();
        // A client may also go straight to the task, past the load balancer.
        network.forward();
        network
    }

    fn join(&self, left: &Namespace, left_link: &str, right: &Namespace, right_link: &str) {
        left.configure(&format!(
            "link add {left_link} type veth peer name {right_link} netns {}\nlink set {left_link} up",
            right.name()
        ));
        right.configure(&format!("link set {right_link} up"));
    }

    fn address(&self) {
        self.client.configure("addr add 10.1.0.2/24 dev eth0\nroute add default via 10.1.0.1");
        self.client6.configure("addr add 2001:db8:1::2/64 dev eth0 nodad\nroute add default via 2001:db8:1::1");
        self.outsider.configure("addr add 203.0.113.66/24 dev eth0\nroute add default via 203.0.113.1");
        self.balancer.configure(
            "addr add 10.1.0.1/24 dev client
             addr add 2001:db8:1::1/64 dev client6 nodad
             addr add 203.0.113.1/24 dev public
             addr add 192.168.10.10/24 dev inside",
        );
        self.task.configure(
            "addr add 192.168.10.20/24 dev eth0
             addr add 192.168.11.20/24 dev eth1
             addr add 2001:db8:11::20/64 dev eth1 nodad
             route add 10.1.0.0/24 via 192.168.10.10
             route add 203.0.113.0/24 via 192.168.10.10
             route add 169.254.0.0/16 via 192.168.11.1
             route add 10.9.9.9/32 via 192.168.11.1
             route add fd00:ec2::/32 via 2001:db8:11::1",
        );
        self.vpc.configure(&format!(
            "addr add 192.168.11.1/24 dev task
             addr add 2001:db8:11::1/64 dev task nodad
             addr add {RESOLVER}/32 dev lo
             addr add {LATTICE}/32 dev lo
             addr add {LATTICE6}/128 dev lo nodad"
        ));
        for address in FORBIDDEN {
            self.vpc.configure(&format!("addr add {address}/32 dev lo"));
        }
    }

    /// Outside the VPC every name of ours leads to the load balancer.
    fn name_hosts(&self) {
        let names = "orders.example.com billing.example.com mtls.example.com v6only.example.com outside.example.com \
                     metadata.example.com loop.example.com self.example.com nowhere.example.com";
        for (namespace, balancer) in
            [(&self.client, BALANCER), (&self.client6, BALANCER6), (&self.outsider, BALANCER_PUBLIC)]
        {
            namespace.etc("hosts", &format!("127.0.0.1 localhost\n{balancer} {names} {BALANCER_NAME}\n"));
            namespace.etc("resolv.conf", "# Nothing but the hosts file.\n");
        }
    }

    fn forward(&self) {
        self.balancer.enter(|| {
            // /proc/sys/net belongs to the namespace of the thread that opens it.
            let mut file = std::fs::OpenOptions::new().write(true).open("/proc/sys/net/ipv4/ip_forward").unwrap();
            file.write_all(b"1").unwrap();
        });
    }
}
