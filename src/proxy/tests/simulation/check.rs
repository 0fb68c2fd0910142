//! What has to hold after a run.

use std::cell::Ref;
use std::net::SocketAddr;

use serde_json::Value;

use super::clients;
use super::content;
use super::expected::expected;
use super::network::Closed;
use super::peers::Seen;
use super::plan::{Kind, Plan, parse_address};
use super::run::{Reported, Run};
use super::scenario::{CONNECTIONS, Limit};
use super::truth;

/// One connection, as its peers have seen it and as it was recorded.
pub(super) struct Case<'a> {
    pub(super) run: &'a Run,
    pub(super) connection: usize,
    pub(super) plan: &'a Plan,
    pub(super) accepted: u64,
    pub(super) client: Ref<'a, Seen>,
    /// With which of its destinations, in the order in which they were connected.
    pub(super) upstreams: Vec<(usize, Ref<'a, Seen>)>,
    /// None: it has asked for nothing.
    pub(super) record: Option<&'a Value>,
    pub(super) closed: Option<Closed>,
}

pub(super) fn check(run: &Run, reported: &Reported) {
    let left = run.left.borrow();
    assert!(left.is_empty(), "{left:?} {:?}", run.scenario.settings);
    check_dialled(run);
    let is_connection = |record: &&Value| record.get("outcome").is_some();
    let records: Vec<&Value> = reported.records.iter().filter(is_connection).collect();
    assert_eq!(reported.active, 0);
    assert_eq!(reported.connections, u64::try_from(run.network.accepted().len()).unwrap(), "each is counted once");
    assert_eq!(reported.connections, u64::try_from(records.len()).unwrap() + reported.probes, "each has one record");
    let mut counted = Vec::new();
    let clients = run.clients.borrow();
    let upstreams = run.upstreams.borrow();
    for connection in 0..CONNECTIONS {
        let port = clients::port(connection);
        let mut of = records.iter().filter(|record| port_of(record) == port);
        let record = of.next().copied();
        assert!(of.next().is_none(), "a second record: {record:?}");
        let Some(client) = clients.get(&connection) else {
            assert!(record.is_none(), "{record:?}");
            continue;
        };
        let Some(accepted) = run.network.accepted().get(&port).copied() else {
            // Only where there was no file for it until the end is it left in the queue.
            assert!(
                run.scenario.settings.shortage.is_some() && record.is_none(),
                "connection {connection} was not accepted"
            );
            continue;
        };
        let upstreams = upstreams.get(&connection).into_iter().flatten();
        let case = Case {
            run,
            connection,
            plan: &run.scenario.plans[connection],
            accepted,
            client: client.borrow(),
            upstreams: upstreams.map(|upstream| (upstream.destination, upstream.seen.borrow())).collect(),
            record,
            closed: run.network.closed_for_client(port),
        };
        case.check();
        match run.scenario.settings.limit {
            Some(Limit::PerClient(_)) if record.is_some_and(|record| record["outcome"] == "relayed") => {
                let from = case.accepted + case.ms("hello_ms").unwrap_or(0);
                counted.push((case.plan.ip, from, case.end().unwrap_or(from)));
            }
            Some(Limit::HalfOpen(_)) if matches!(case.plan.kind, Kind::Incomplete(_)) => {
                let end = case.end().or(case.closed.map(|closed| closed.at));
                counted.push((0, case.accepted, end.unwrap_or(case.accepted)));
            }
            _ => {}
        }
    }
    if let Some(Limit::PerClient(most) | Limit::HalfOpen(most)) = run.scenario.settings.limit {
        check_limit(&counted, most);
    }
}

/// Of one key, each with the time from which on, and up to which, it is counted.
fn check_limit(counted: &[(u8, u64, u64)], most: usize) {
    for (key, begins, _) in counted {
        // Within the millisecond in which one comes another one may go.
        let open = counted.iter().filter(|(other, from, end)| other == key && from <= begins && begins + 1 < *end);
        assert!(open.count() <= most, "more than {most} at once: {counted:?}");
    }
}

/// By the destination guard's rules, and by nobody else's name.
fn check_dialled(run: &Run) {
    for address in &*run.network.dialled.borrow() {
        let (connection, destination, _) = parse_address(address.ip()).unwrap_or_else(|| panic!("{address}"));
        let plan = &run.scenario.plans[connection];
        assert!(destination < plan.destinations.len() && [80, 443].contains(&address.port()), "{address}");
    }
}

fn port_of(record: &Value) -> u16 {
    record["peer"].as_str().unwrap().parse::<SocketAddr>().unwrap().port()
}

impl Case<'_> {
    fn check(&self) {
        let outcome = match self.record {
            Some(record) => (record["outcome"].as_str().unwrap(), record["reason"].as_str().unwrap()),
            None => ("probe", "empty"),
        };
        if let Some(expected) = expected(&self.run.scenario, self.connection) {
            self.assert(outcome == expected, || format!("{expected:?} was expected"));
        }
        truth::check(self, outcome);
        content::check(self, outcome);
    }

    pub(super) fn assert(&self, is_so: bool, otherwise: impl FnOnce() -> String) {
        if is_so {
            return;
        }
        let Self { connection, plan, record, accepted, closed, run, .. } = self;
        let record = record.map_or_else(|| "no record".to_owned(), Value::to_string);
        let seen = |seen: &Seen| {
            let Seen { received, fin, finished, closed, sent, .. } = seen;
            let (received, last_received, last_sent) = (received.len(), seen.last_received(), seen.last_sent());
            format!(
                "received {received} until {last_received}, fin {fin}, sent {sent} until {last_sent}, finished {finished:?}, \
                 closed {closed:?}"
            )
        };
        let upstreams: Vec<String> = self.upstreams.iter().map(|(to, of)| format!("{to}: {}", seen(of))).collect();
        panic!(
            "connection {connection}: {}\n{record}\naccepted at {accepted}, closed {closed:?}\nclient: {}\nupstreams: \
             {upstreams:#?}\n{plan:?}\n{:?}",
            otherwise(),
            seen(&self.client),
            run.scenario.settings
        );
    }

    /// When its record was written.
    pub(super) fn end(&self) -> Option<u64> {
        let total = self.record?["total_ms"].as_f64()?;
        Some(self.accepted + milliseconds(total))
    }

    /// So much later than it was accepted its record may have begun: it had to wait for room.
    pub(super) fn slack(&self) -> u64 {
        let settings = &self.run.scenario.settings;
        if matches!(settings.limit, Some(Limit::Open(_))) || settings.shortage.is_some() { 1100 } else { 0 }
    }

    pub(super) fn ms(&self, key: &str) -> Option<u64> {
        self.record?[key].as_f64().map(milliseconds)
    }

    pub(super) fn number(&self, key: &str) -> usize {
        self.record.and_then(|record| record[key].as_u64()).map_or(0, |number| usize::try_from(number).unwrap())
    }
}

#[expect(clippy::as_conversions, clippy::cast_possible_truncation, reason = "times of a run are small")]
fn milliseconds(ms: f64) -> u64 {
    ms as u64
}
