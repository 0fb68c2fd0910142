//! `access_log.keep` and `access_log.fields`: which connections have a line, and what is in it. Those without one are counted
//! all the same, and so are the lines that are left out.

use std::collections::BTreeMap;

use serde_json::Value;
use support::dns::addresses;
use support::lab::{Lab, Port, Setup, word};
use support::until;
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

fn omitted(lab: &Lab, cause: &str) -> f64 {
    lab.metrics()[&format!("latticegate_access_log_omitted_lines_total{{cause=\"{cause}\"}}")]
}

#[test]
fn relayed_connections_have_lines_as_configured_and_all_others_always() {
    for (log, relayed) in [
        ("format: json", 5),
        ("keep: all", 5),
        ("keep: failures", 0),
        ("keep: refused", 0),
        ("keep: sample 1/3", 2),
        ("keep: sample:9", 1),
    ] {
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
        let left_out = ["keep", "flood", "fields"].map(|cause| omitted(&lab, cause));
        assert_eq!(left_out, [(5 - relayed) as f64, 0.0, 0.0], "{log}");
        let mut logged: BTreeMap<String, u64> = BTreeMap::from([("relayed".to_owned(), 0)]);
        for record in lab.cut().records {
            *logged.entry(word(&record, "outcome")).or_default() += 1;
        }
        assert_eq!(logged, expected(relayed), "{log}");
    }
}

const FLOOD: u64 = 200;

/// Refusals of one client, each for another name, and a few of another client.
fn flood(lab: &Lab) {
    for n in 0..FLOOD {
        lab.client_asking(format!("n{n}.example.com").as_bytes()).hear_all();
    }
    for _ in 0..3 {
        lab.connect(Port::TlsDirect).say(support::wire::hello()).hear_all();
    }
    until("all are counted", || lab.counted().values().sum::<u64>() == FLOOD + 3);
}

const DENIES: &str = "- deny: 127.0.0.0/8\n- allow: 192.0.2.0/24\n  to: orders.example.com";

#[test]
fn a_flood_of_equal_refusals_is_one_line_a_second_with_their_number() {
    for (log, is_summarised) in [
        ("keep: failures", true),
        ("keep: sample 1/10", true),
        ("keep: all", false),
        ("keep: failures, format: squid", true),
    ] {
        let lab = Lab::with(Setup { rules: DENIES, log, workers: 1, ..Setup::default() });
        flood(&lab);
        let left_out = omitted(&lab, "flood") as u64;
        let lines = lab.text();
        // By listener, which stands for the client here; without it, Squid's are told apart by the client.
        let number = |line: &String| -> (bool, u64) {
            match serde_json::from_str::<Value>(line) {
                Ok(line) => (word(&line, "listener") == "tls", line["repeated"].as_u64().unwrap_or(1)),
                Err(_) => {
                    let repeated = line.split_once(";repeated=").map_or(1, |(_, number)| number.parse().unwrap());
                    (line.contains(" 192.0.2.1 "), repeated)
                }
            }
        };
        let mut stand_for: BTreeMap<bool, Vec<u64>> = BTreeMap::new();
        for (is_first, repeated) in lines.iter().map(number) {
            stand_for.entry(is_first).or_default().push(repeated);
        }
        // However long it took: together they are all, and the first is alone.
        assert_eq!(stand_for[&true].iter().sum::<u64>(), FLOOD, "{log}: {lines:?}");
        assert_eq!(stand_for[&false].iter().sum::<u64>(), 3, "{log}: {lines:?}");
        assert_eq!((stand_for[&true][0], stand_for[&false][0]), (1, 1), "{log}: {lines:?}");
        assert_eq!(lines.len() as u64 + left_out, FLOOD + 3, "{log}: {lines:?}");
        assert_eq!(left_out > 0, is_summarised, "{log}: {lines:?}");
    }
}

/// Its second is over by the clock alone.
#[test]
fn the_line_of_a_flood_comes_without_another_refusal() {
    let mut lab = Lab::with(Setup { rules: DENIES, log: "keep: failures", workers: 1, ..Setup::default() });
    for _ in 0..3 {
        lab.client_asking(b"other.example.com").hear_all();
    }
    let numbers = [lab.record(), lab.record()].map(|record| record["repeated"].as_u64());
    assert_eq!(numbers, [None, Some(2)]);
    let reported = lab.cut();
    assert_eq!(reported.records.len(), 2);
}

#[test]
fn a_line_has_the_fields_that_are_listed_and_no_others() {
    let lab = Lab::with(Setup { log: "fields: [reason, name, bytes_up]", ..Setup::default() });
    lab.client_asking(b"unknown.example.com").hear_all();
    let lines = lab.text();
    assert_eq!(lines, [r#"{"reason":"name_unknown","name":"unknown.example.com","bytes_up":0}"#]);
}

#[test]
fn a_request_has_a_line_if_the_fields_have_what_it_is_about() {
    for (log, requests) in [("fields: [id, forward]", 0), ("fields: [request, id]", 1)] {
        let lab = Lab::with(Setup { forward: Some(""), log, ..Setup::default() });
        let mut client = lab.connect(Port::ForwardDirect);
        client.say(b"GET http://user:secret@orders.example.com/secret HTTP/1.1\r\nHost: a\r\n\r\n").hear_all();
        until("it is counted", || lab.counted().values().sum::<u64>() == 1);
        assert_eq!(omitted(&lab, "fields"), f64::from(1 - requests));
        let lines = lab.text();
        assert_eq!(lines.len(), 1 + requests as usize, "{lines:?}");
        assert!(lines.iter().all(|line| !line.contains("secret") && line.contains("\"id\":")), "{lines:?}");
        assert_eq!(lines.iter().filter(|line| line.starts_with("{\"request\":{")).count(), requests as usize);
    }
}
