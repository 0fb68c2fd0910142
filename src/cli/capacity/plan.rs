//! From a load to tasks: so many that those left when a zone is lost carry all of it.

use super::limits::{self, TaskLimit};
use super::load::{Fleet, Load};
use super::measured::Measured;
use super::price::{Cost, Prices};
use super::size::{Size, Tasks, zones_left};

#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) tasks: Tasks,
    pub(super) limits: Vec<TaskLimit>,
    /// The name of the limit that asks for the most tasks; none where one for each zone is enough.
    pub(super) binds: Option<&'static str>,
}

impl Plan {
    pub(super) fn new(load: &Load, fleet: &Fleet, size: Size, measured: &Measured) -> Self {
        let limits = limits::of_tasks(load, fleet, size, measured);
        let most = limits.iter().max_by(|a, b| (a.need / a.each).total_cmp(&(b.need / b.each)));
        let needed = most.map_or(1.0, TaskLimit::tasks);
        let each_zone = (needed / zones_left(fleet.zones)).ceil().max(1.0);
        let binds = most.filter(|_| each_zone > 1.0).map(|limit| limit.name);
        Self { tasks: Tasks { size, each_zone, zones: fleet.zones }, limits, binds }
    }

    /// The cheapest; of equal ones that with fewer tasks.
    pub(super) fn recommended(load: &Load, fleet: &Fleet, measured: &Measured, prices: &Prices) -> Self {
        let plans = Size::SHIPPED.map(|size| Self::new(load, fleet, size, measured));
        let cents = |plan: &Self| (Cost::fargate_arm(plan.tasks, prices) * 100.0).round();
        let order =
            |a: &Self, b: &Self| cents(a).total_cmp(&cents(b)).then(a.tasks.number().total_cmp(&b.tasks.number()));
        plans.into_iter().min_by(order).expect("there are sizes")
    }
}

#[cfg(test)]
mod tests {
    use super::super::load::Listener;
    use super::*;

    /// Round figures, so that what follows from them can be seen.
    fn measured() -> Measured {
        Measured {
            connection_busy: 50.0,
            connection_cold: 100.0,
            connection_tls: 100.0,
            request_tls: 10.0,
            request_http: 10.0,
            bulk: 100.0,
            empty: 8.0,
            idle_user: 1_000.0,
            idle_kernel: 9_000.0,
            log_json: 500.0,
            log_nginx: 100.0,
            about: String::new(),
            about_kernel: String::new(),
        }
    }

    fn load(connections_per_second: f64, idle: f64) -> Load {
        Load {
            listener: Listener::Tls,
            connections_per_second,
            requests_per_connection: 1.0,
            seconds_per_connection: 1.0,
            bytes_per_second: 0.0,
            idle,
            idle_seconds: 600.0,
            services: 1.0,
            names: 1.0,
        }
    }

    const FLEET: Fleet = Fleet { zones: 3.0, utilisation: 0.5, open_files: 1 << 20, wide_ports: true };
    const HALF: Size = Size { units: 512, mib: 1024 };

    fn plan(load: &Load, fleet: &Fleet, size: Size) -> (f64, f64, Option<&'static str>) {
        let plan = Plan::new(load, fleet, size, &measured());
        let each_zone = plan.tasks.each_zone;
        // While a zone is lost, no limit of a task is passed, and with one task fewer in each zone one would be.
        assert!(plan.limits.iter().all(|limit| !limit.among(plan.tasks.left()).is_over()), "{plan:?}");
        let fewer = (each_zone - 1.0) * zones_left(fleet.zones);
        assert!(fewer == 0.0 || plan.limits.iter().any(|limit| limit.among(fewer).is_over()), "{plan:?}");
        (plan.tasks.number(), each_zone, plan.binds)
    }

    #[test]
    fn a_small_load_takes_one_task_in_each_zone() {
        assert_eq!(plan(&load(1.0, 0.0), &FLEET, HALF), (3.0, 1.0, None));
        let one = Fleet { zones: 1.0, ..FLEET };
        assert_eq!(plan(&load(1.0, 0.0), &one, HALF), (1.0, 1.0, None));
    }

    /// 55 000 a minute are 916 a second, whatever the size of the task.
    #[test]
    fn the_ports_of_the_load_balancer_bind_where_connections_are_short() {
        assert_eq!(plan(&load(1_833.0, 0.0), &FLEET, HALF), (3.0, 1.0, None));
        assert_eq!(plan(&load(1_834.0, 0.0), &FLEET, HALF), (6.0, 2.0, Some("nlb-new")));
        let large = Size { units: 2048, mib: 4096 };
        assert_eq!(plan(&load(100_000.0, 0.0), &FLEET, large), (165.0, 55.0, Some("nlb-new")));
    }

    #[test]
    fn each_limit_can_be_the_one_that_binds() {
        let quarter = Size { units: 256, mib: 512 };
        let large = Size { units: 2048, mib: 4096 };
        // Of what a busy core does, 5 000 requests on each connection are the most.
        let requests = Load { requests_per_connection: 5_000.0, ..load(100.0, 0.0) };
        assert_eq!(plan(&requests, &FLEET, HALF).2, Some("cpu"));
        let little = Fleet { utilisation: 0.1, ..FLEET };
        assert_eq!(plan(&load(0.0, 100_000.0), &little, quarter).2, Some("memory"));
        assert_eq!(plan(&load(0.0, 100_000.0), &FLEET, HALF).2, Some("limits.connections"));
        let files = Fleet { open_files: 1_024, ..FLEET };
        assert_eq!(plan(&load(0.0, 100_000.0), &files, large).2, Some("open-files"));
        assert_eq!(plan(&load(0.0, 100_000.0), &Fleet { wide_ports: false, ..FLEET }, large).2, Some("local-ports"));
        assert_eq!(plan(&load(0.0, 1_000_000.0), &FLEET, large).2, Some("nlb-open"));
        assert_eq!(plan(&load(10_000.0, 0.0), &FLEET, large).2, Some("nlb-new"));
    }

    /// 470 a second from the kernel's ports, if the proxy closes first.
    #[test]
    fn without_wide_ports_time_wait_counts() {
        let narrow = Fleet { zones: 1.0, wide_ports: false, ..FLEET };
        let short = |rate| Load { seconds_per_connection: 0.0, ..load(rate, 0.0) };
        assert_eq!(plan(&short(470.0), &narrow, HALF).0, 1.0);
        assert_eq!(plan(&short(471.0), &narrow, HALF), (2.0, 2.0, Some("local-ports")));
    }

    #[test]
    fn lattice_closes_idle_connections_so_they_are_opened_again() {
        let load = load(0.0, 600_000.0);
        assert_eq!((load.new_per_second(), load.requests_per_second(), load.open()), (1_000.0, 1_000.0, 600_000.0));
        assert!((load.busy(&measured()).cold - 0.1).abs() < 1e-9);
        assert_eq!(Load { idle_seconds: 60.0, ..load }.new_per_second(), 10_000.0);
    }

    #[test]
    fn the_quota_of_a_service_is_shared_by_the_zones_that_are_left() {
        let over = |load: &Load, fleet: &Fleet| -> Vec<&str> {
            let plan = Plan::new(load, fleet, HALF, &measured());
            let limits = limits::of_fleet(load, fleet, plan.tasks);
            limits.iter().filter(|limit| limit.is_over()).map(|limit| limit.name).collect()
        };
        let kept = |rate| Load { requests_per_connection: 100.0, ..load(rate, 0.0) };
        assert!(over(&kept(200.0), &FLEET).is_empty());
        assert_eq!(over(&kept(201.0), &FLEET), ["lattice-requests"]);
        assert_eq!(over(&kept(201.0), &Fleet { zones: 1.0, ..FLEET }), ["lattice-requests"]);
        assert!(over(&Load { services: 2.0, ..kept(201.0) }, &FLEET).is_empty());
        let bytes = Load { bytes_per_second: 2.6e9, services: 1.0, ..load(1.0, 0.0) };
        assert_eq!(over(&bytes, &FLEET), ["lattice-gbits"]);
        assert_eq!(over(&Load { names: 14_977.0, ..load(1.0, 0.0) }, &FLEET), ["dns-packets"]);
        assert_eq!(over(&Load { names: 20_001.0, ..load(1.0, 0.0) }, &FLEET), ["dns-packets", "dns.cache_size"]);
        // 6 tasks of half a vCPU, twice, are the quota; 12 tasks in a zone, twice, are more than its addresses.
        assert!(over(&load(3_666.0, 0.0), &FLEET).is_empty());
        assert_eq!(over(&load(3_667.0, 0.0), &FLEET), ["fargate-vcpu"]);
        let more = Load { services: 9.0, ..load(21_000.0, 0.0) };
        assert_eq!(over(&more, &FLEET), ["fargate-vcpu", "MaxTasks", "subnet"]);
        assert_eq!(over(&load(0.0, 61_000.0), &FLEET), ["ConnectionsTarget"]);
    }

    #[test]
    fn the_cheapest_size_is_recommended_and_of_equal_ones_that_with_fewer_tasks() {
        let of = |load: &Load| Plan::recommended(load, &FLEET, &measured(), &Prices::default());
        let small = of(&load(1.0, 0.0));
        assert_eq!((small.tasks.size, small.tasks.number()), (Size::SHIPPED[0], 3.0));
        // By CPU the small and the large ones cost the same, so there are fewer large ones.
        let requests = Load { requests_per_connection: 991.0, ..load(100.0, 0.0) };
        let busy = of(&requests);
        let total = |size| Plan::new(&requests, &FLEET, size, &measured()).tasks.number() * size.vcpu();
        assert!(
            Size::SHIPPED.iter().all(|size| busy.tasks.number() * busy.tasks.size.vcpu() <= total(*size)),
            "{busy:?}"
        );
        assert!(busy.tasks.size.vcpu() > 0.25 && busy.binds != Some("nlb-new"), "{busy:?}");
    }
}
