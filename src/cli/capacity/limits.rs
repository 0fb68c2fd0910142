//! What ends at which number: whose limit that is, where it is written, and what to do about it.

use std::borrow::Cow;
use std::num::NonZeroUsize;

use latticegate_core::config::{Config, Machine};

use super::load::{Fleet, Load};
use super::measured::Measured;
use super::size::{Size, Tasks, zones_left};

/// A limit, and how much of it is used.
#[derive(Debug, Clone)]
pub(super) struct Limit {
    pub(super) name: &'static str,
    pub(super) what: &'static str,
    pub(super) used: f64,
    pub(super) of: f64,
    pub(super) source: &'static str,
    /// One sentence, for when it binds.
    pub(super) help: Cow<'static, str>,
}

impl Limit {
    pub(super) fn is_over(&self) -> bool {
        // What was divided and multiplied again is not what it was, bit by bit.
        self.used > self.of * (1.0 + 1e-9)
    }
}

/// A limit of each task, so that more tasks carry more.
#[derive(Debug, Clone)]
pub(super) struct TaskLimit {
    pub(super) name: &'static str,
    pub(super) what: &'static str,
    /// Of all tasks together.
    pub(super) need: f64,
    pub(super) each: f64,
    pub(super) source: &'static str,
    pub(super) help: &'static str,
}

impl TaskLimit {
    /// How many tasks it takes.
    pub(super) fn tasks(&self) -> f64 {
        (self.need / self.each).ceil()
    }

    /// As so many tasks share it.
    pub(super) fn among(&self, tasks: f64) -> Limit {
        let Self { name, what, need, each, source, help } = *self;
        Limit { name, what, used: need / tasks, of: each, source, help: help.into() }
    }
}

/// Connections that a Network Load Balancer opens to one target, an address and port, without preserving the client's
/// address: this many open, and about this many new ones a minute.
const NLB_PORTS: f64 = 55_000.0;
/// Ports from which one address and port is dialled, and how many seconds the one that closes first keeps them: as the
/// kernel has it, and as `WidePorts` sets it (`10240 65535`, `tcp_tw_reuse`).
const PORTS: (f64, f64) = (28_232.0, 60.0);
const WIDE_PORTS: (f64, f64) = (55_296.0, 1.0);
/// Of one service in one zone.
const LATTICE_REQUESTS: f64 = 10_000.0;
const LATTICE_GBITS: f64 = 10.0;
/// Of one network interface, and so of one task, to the resolver of the VPC.
const DNS_PACKETS: f64 = 1024.0;
/// A name is asked for twice, A and AAAA, and again when four fifths of its TTL are over; Lattice's is taken as 60 s.
const PACKETS_PER_NAME: f64 = 2.0;
const RENEWED_AFTER: f64 = 60.0 * 0.8;
/// On-Demand vCPU of Fargate that an account has in a region until it asks for more.
const FARGATE_VCPU: f64 = 6.0;
/// An update runs each task twice.
const DURING_UPDATE: f64 = 2.0;
/// `MaxTasks` of the templates, as they have it.
const MAX_TASKS: f64 = 9.0;
/// Addresses of a /27, the templates' default, and those that load balancer and endpoints have there.
const SUBNET_ADDRESSES: f64 = 27.0;
const TAKEN_ADDRESSES: f64 = 4.0;

const OURS: &str = "README.md, limits.connections";
const NLB: &str = "https://docs.aws.amazon.com/elasticloadbalancing/latest/network/load-balancer-troubleshooting.html";
const LATTICE: &str = "https://docs.aws.amazon.com/vpc-lattice/latest/ug/quotas.html";

/// Those that decide how many tasks of a size there are.
pub(super) fn of_tasks(load: &Load, fleet: &Fleet, size: Size, measured: &Measured) -> Vec<TaskLimit> {
    let defaults = Defaults::of(size, fleet.open_files);
    let (ports, seconds) = if fleet.wide_ports { WIDE_PORTS } else { PORTS };
    let mib = f64::from(size.mib) * fleet.utilisation - measured.empty;
    vec![
        TaskLimit {
            name: "cpu",
            what: "vCPU busy, of the share that may be",
            need: load.busy(measured).cold,
            each: size.vcpu() * fleet.utilisation,
            source: "docs/performance.md",
            help: "More tasks or larger ones; a request on a connection that is open already costs a tenth of one on a new connection.",
        },
        TaskLimit {
            name: "memory",
            what: "MiB of open connections, of the share that may be used",
            need: load.memory(measured) / f64::from(1 << 20),
            each: mib,
            source: "docs/performance.md",
            help: "Tasks with more memory (--memory), or more tasks.",
        },
        TaskLimit {
            name: "limits.connections",
            what: "open connections; auto allows 12 KiB each, in half of the memory",
            need: load.open(),
            each: defaults.connections,
            source: OURS,
            help: "Tasks with more memory, more tasks, or a number in limits.connections.",
        },
        TaskLimit {
            name: "open-files",
            what: "open connections, of two files each",
            need: load.open(),
            each: defaults.files,
            source: "https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Ulimit.html",
            help: "Raise nofile of the task, to 1048576 at most; Fargate gives 65535 to a task that does not ask.",
        },
        TaskLimit {
            name: "nlb-open",
            what: "open connections of the load balancer to one task",
            need: load.open(),
            each: NLB_PORTS,
            source: NLB,
            help: "More tasks, which may be small, or a second load balancer, which has ports of its own.",
        },
        TaskLimit {
            name: "nlb-new",
            what: "new connections a minute of the load balancer to one task",
            need: load.new_per_second() * 60.0,
            each: NLB_PORTS,
            source: NLB,
            help: "More tasks, which may be small, clients that keep connections open, or a second load balancer, which has ports of its own.",
        },
        TaskLimit {
            name: "local-ports",
            what: "local ports towards one address of Lattice, TIME_WAIT included",
            need: load.open() + load.new_per_second() * seconds,
            each: ports,
            source: "https://docs.kernel.org/networking/ip-sysctl.html",
            help: "WidePorts=true (net.ipv4.ip_local_port_range and tcp_tw_reuse in systemControls), or more tasks.",
        },
    ]
}

/// Those that more tasks do not help.
pub(super) fn of_fleet(load: &Load, fleet: &Fleet, tasks: Tasks) -> Vec<Limit> {
    let defaults = Defaults::of(tasks.size, fleet.open_files);
    let usual = load.open() / tasks.number();
    let share = load.services * zones_left(fleet.zones);
    vec![
        Limit {
            name: "lattice-requests",
            what: "requests/s of one service in one zone",
            used: load.requests_per_second() / share,
            of: LATTICE_REQUESTS,
            source: LATTICE,
            help: "Ask AWS Support for more, or divide the traffic among more services (--services).".into(),
        },
        Limit {
            name: "lattice-gbits",
            what: "Gbit/s of one service in one zone",
            used: load.gbits_per_second() / share,
            of: LATTICE_GBITS,
            source: LATTICE,
            help: "Ask AWS Support for more, or divide the traffic among more services (--services).".into(),
        },
        Limit {
            name: "dns-packets",
            what: "packets/s of one task to the resolver: renewals, and all of limits.lookups_per_second",
            used: PACKETS_PER_NAME * (defaults.lookups + load.names / RENEWED_AFTER),
            of: DNS_PACKETS,
            source: "https://docs.aws.amazon.com/vpc/latest/userguide/AmazonDNS-concepts.html#vpc-dns-limits",
            help: "Raise dns.min_ttl, set dns.ipv6: off where nothing is reached by IPv6, or lower limits.lookups_per_second.".into(),
        },
        Limit {
            name: "dns.cache_size",
            what: "names in the cache of a task",
            used: load.names,
            of: defaults.names,
            source: "README.md, dns.cache_size",
            help: "Raise dns.cache_size; 20 000 names take 27 MiB with two workers.".into(),
        },
        Limit {
            name: "fargate-vcpu",
            what: "On-Demand vCPU of the account during an update, of the default quota L-3032A538",
            used: tasks.number() * tasks.size.vcpu() * DURING_UPDATE,
            of: FARGATE_VCPU,
            source: "https://docs.aws.amazon.com/general/latest/gr/ecs-service.html",
            help: "Ask for more in Service Quotas before you deploy, or the first update waits for capacity until it fails.".into(),
        },
        Limit {
            name: "MaxTasks",
            what: "tasks, of the templates' default",
            used: tasks.number(),
            of: MAX_TASKS,
            source: "cfn/root.yaml, MaxTasks",
            help: format!("Set MaxTasks={0}, and MinTasks={0} if the load is always there.", tasks.number()).into(),
        },
        Limit {
            name: "ConnectionsTarget",
            what: "open connections of a task as usual; with more the templates add tasks",
            used: usual,
            of: tasks.size.connections_target(),
            source: "cfn/proxy.yaml, ConnectionsTarget",
            help: format!("Set ConnectionsTarget={}, or more tasks are started than planned.", usual.ceil().min(50_000.0)).into(),
        },
        Limit {
            name: "subnet",
            what: "addresses of a zone's subnet during an update, of the templates' /27",
            used: tasks.each_zone * DURING_UPDATE + TAKEN_ADDRESSES,
            of: SUBNET_ADDRESSES,
            source: "https://docs.aws.amazon.com/vpc/latest/userguide/subnet-sizing.html",
            help: "Set larger PrivateSubnet1Cidr, 2 and 3 at the first deployment; a subnet cannot grow later.".into(),
        },
    ]
}

/// What the program itself allows on a task of a size, by the code that says so when it runs there.
struct Defaults {
    connections: f64,
    /// Connections for which there are open files.
    files: f64,
    lookups: f64,
    names: f64,
}

impl Defaults {
    fn of(size: Size, open_files: u64) -> Self {
        let config = |open_files: u64, memory: u64| {
            let machine = Machine { open_files, cpus: NonZeroUsize::MIN, memory };
            let (config, _) =
                Config::parse_for_list(None, std::iter::empty(), &machine).expect("the defaults are a configuration");
            config
        };
        let number = |number: usize| f64::from(u32::try_from(number).unwrap_or(u32::MAX));
        let usual = config(open_files, u64::from(size.mib) << 20);
        Self {
            connections: number(usual.limits.connections),
            files: number(config(open_files, u64::MAX).limits.connections),
            lookups: f64::from(usual.limits.lookups_per_second.get()),
            names: number(usual.dns.cache_size.get()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_programs_own_limits_are_those_that_it_runs_with() {
        let of = |mib, open_files| Defaults::of(Size { units: 512, mib }, open_files);
        let usual = of(1024, 1 << 20);
        // Half of 1 GiB by 12 KiB; half of the files, without those that are reserved.
        assert_eq!((usual.connections, usual.files), (43_690.0, 524_160.0));
        assert_eq!((usual.lookups, usual.names), (200.0, 20_000.0));
        assert_eq!(of(1024, 65_535).files, 32_639.0);
        assert_eq!(of(1024, 65_535).connections, 32_639.0);
    }

    #[test]
    fn a_limit_is_over_only_beyond_it() {
        let limit = TaskLimit { name: "a", what: "b", need: 0.3, each: 0.1, source: "", help: "" };
        assert!(!limit.among(3.0).is_over() && limit.among(2.9).is_over());
    }
}
