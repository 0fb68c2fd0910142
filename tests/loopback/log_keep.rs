//! `access_log.keep`: which connections have a line. Those without one are counted all the same.

use std::collections::BTreeMap;

use support::dns::addresses;
use support::lab::{Lab, Port, Setup, word};
use support::wire::tcp4;

/// Five connections that are relayed, one that is refused, one that fails and one that its client breaks off.
fn some_of_each(lab: &Lab) {
    for _ in 0..5 {
        drop(lab.pair());
        lab.quiet();
    }
    lab.client_asking(b"unknown.example.com").hear_all();
    lab.dns.set("dead.example.com", addresses(&[lab.ip(77)]));
    lab.client_asking(b"dead.example.com").hear_all();
    let mut client = lab.connect(Port::Tls);
    client.say(tcp4(&[]));
    lab.is_open(Port::Tls);
    drop(client);
    lab.quiet();
}

#[test]
fn relayed_connections_have_lines_as_configured_and_all_others_always() {
    for (log, relayed) in
        [("format: json", 5), ("keep: all", 5), ("keep: refused", 0), ("keep: \"sample:3\"", 2), ("keep: sample:9", 1)]
    {
        // A sample is taken by each worker.
        let lab = Lab::with(Setup { log, workers: 1, ..Setup::default() });
        some_of_each(&lab);
        let mut counted: BTreeMap<String, u64> = BTreeMap::new();
        for ((outcome, _), count) in lab.counted() {
            *counted.entry(outcome).or_default() += count;
        }
        let expected = |relayed| {
            let outcomes = [("failed", 1), ("refused", 1), ("relayed", relayed), ("unfinished", 1)];
            BTreeMap::from_iter(outcomes.map(|(outcome, count)| (outcome.to_owned(), count)))
        };
        assert_eq!(counted, expected(5), "{log}");
        let mut logged: BTreeMap<String, u64> = BTreeMap::from([("relayed".to_owned(), 0)]);
        for record in lab.cut().records {
            *logged.entry(word(&record, "outcome")).or_default() += 1;
        }
        assert_eq!(logged, expected(relayed), "{log}");
    }
}
