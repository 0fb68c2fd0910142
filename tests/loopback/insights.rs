//! The queries of `docs/access-log.md`, taken from there and run over lines that a gate has written.

mod query;

use std::collections::BTreeMap;

use support::dns::addresses;
use support::lab::{Lab, Port, Setup};
use support::until;
use support::wire::{Hello, hello, tcp4};

use crate::forward::hear_head;

use self::query::{Rows, Value, run};

/// By their numbers.
fn queries() -> BTreeMap<u32, String> {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/access-log.md")).unwrap();
    let (_, section) = page.split_once("\n## Queries for CloudWatch Logs Insights\n").unwrap();
    let queries = section.split("\n### ").skip(1).map(|part| {
        let (number, _) = part.split_once(". ").unwrap();
        let query = part.split("```text\n").nth(1).unwrap().split("```").next().unwrap();
        (number.parse().unwrap(), query.to_owned())
    });
    queries.collect()
}

/// The lines of a gate that has met what an operator asks about.
fn lines(log: &'static str) -> Vec<String> {
    let rules = "- deny: 127.0.0.0/8\n  listener: [tls-direct, http-direct]\n\
                 - allow: [192.0.2.0/24, 127.0.0.0/8]\n  to: [orders.example.com, dead.example.com, unknown.example.com]";
    let lab = Lab::with(Setup { rules, log, workers: 1, forward: Some(""), ..Setup::default() });
    lab.dns.set("dead.example.com", addresses(&[lab.ip(77)]));
    let closed = |number: u64| until("they are counted", || lab.counted().values().sum::<u64>() == number);
    for _ in 0..3 {
        let (mut client, mut upstream) = lab.pair();
        client.say(b"question").finish();
        upstream.hear_all();
        upstream.say(b"the answer").finish();
        client.hear_all();
    }
    for _ in 0..20 {
        lab.client_asking(b"other.example.com").hear_all();
    }
    for _ in 0..2 {
        lab.connect(Port::TlsDirect).say(hello()).hear_all();
    }
    lab.client_asking(b"unknown.example.com").hear_all();
    lab.client_asking(b"dead.example.com").hear_all();
    lab.connect(Port::Tls).say([tcp4(&[]), Hello::to(b"192.0.2.1").record()].concat()).hear_all();
    closed(28);
    let host = format!("orders.example.com:{}", lab.upstream.address.port());
    let mut client = lab.connect(Port::ForwardDirect);
    client.say(format!("GET http://{host}/secret HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    let mut upstream = lab.upstream.accept();
    hear_head(&mut upstream);
    upstream.say(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    hear_head(&mut client);
    client.say(format!("GET http://other.example.com:{}/ HTTP/1.1\r\nHost: a\r\n\r\n", lab.upstream.address.port()));
    client.hear_all();
    drop(upstream);
    closed(29);
    lab.text()
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

/// The rows as text, the named columns alone; `bin` is left out where it is not named.
#[track_caller]
fn table(rows: &Rows, columns: &[&str]) -> Vec<String> {
    let shown = |value: &Value| match value {
        Value::Null => "-".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::Text(text) => text.clone(),
    };
    rows.iter().map(|row| columns.iter().map(|column| shown(&row[*column])).collect::<Vec<_>>().join(" ")).collect()
}

/// What no query may depend on: whether equal refusals are one line.
#[test]
fn each_query_answers_its_question() {
    let queries = queries();
    assert_eq!(queries.keys().copied().collect::<Vec<_>>(), (1..=10).collect::<Vec<_>>());
    for log in ["keep: all", "keep: sample 1/1"] {
        let lines = lines(log);
        assert_eq!(lines.iter().any(|line| line.contains("\"repeated\":")), log != "keep: all", "{lines:?}");
        let answer = |number: u32| run(&queries[&number], &lines);

        let mut endings: BTreeMap<String, f64> = BTreeMap::new();
        for row in answer(1) {
            assert!(matches!(row["bin"], Value::Number(_)));
            let (Value::Number(number), outcome) = (&row["connections"], &row["outcome"]) else { panic!("{row:?}") };
            *endings.entry(format!("{outcome:?}")).or_default() += number;
        }
        let expected = [("refused", 25.0), ("relayed", 3.0), ("failed", 1.0)]
            .map(|(word, number)| (format!("{:?}", text(word)), number));
        // Lines of requests have no outcome.
        endings.remove(&format!("{:?}", Value::Null));
        assert_eq!(endings, BTreeMap::from(expected));

        let refused = table(&answer(2), &["refusals", "listener", "reason", "rule"]);
        assert_eq!(refused[..2], ["20 tls name_denied -", "2 tls-direct client_denied ipcontrol.yaml:2"]);
        assert_eq!(refused.len(), 5, "{refused:?}");

        let who = table(&answer(3), &["refusals", "client", "reason"]);
        assert_eq!(who[..2], ["20 192.0.2.1 name_denied", "2 127.0.0.1 client_denied"]);

        let names = table(&answer(4), &["refusals", "name"]);
        assert_eq!(names, ["21 other.example.com", "2 orders.example.com"]);

        // By the id of a line that is there.
        let line: serde_json::Value =
            serde_json::from_str(lines.iter().find(|line| line.contains("name_unknown")).unwrap()).unwrap();
        let by_id = queries[&5].replace("f7c4108db483f973", line["id"].as_str().unwrap());
        assert_ne!(by_id, queries[&5]);
        assert_eq!(
            table(&run(&by_id, &lines), &["client", "name", "outcome", "reason"]),
            ["192.0.2.1 unknown.example.com refused name_unknown"]
        );

        let client = answer(6);
        assert!(client.len() >= 7, "{client:?}");
        assert!(client.is_sorted_by_key(|row| match row["@timestamp"] {
            Value::Number(time) => -time as i64,
            _ => 0,
        }));
        assert!(client.iter().any(|row| row["name"] == text("dead.example.com")));

        let failed = table(&answer(7), &["failures", "reason", "name"]);
        assert_eq!(failed, ["1 connect_refused dead.example.com"]);

        let times = answer(8);
        assert_eq!(times.iter().map(|row| format!("{:?}", row["connections"])).collect::<Vec<_>>().len(), times.len());
        let relayed: f64 =
            times.iter().map(|row| if let Value::Number(number) = row["connections"] { number } else { 0.0 }).sum();
        assert_eq!(relayed, 3.0);
        for column in ["hello", "dns", "connect_p50", "connect_p99"] {
            assert!(
                times.iter().all(|row| matches!(row[column], Value::Number(ms) if ms >= 0.0)),
                "{column}: {times:?}"
            );
        }

        let up = 3 * (hello().len() + 8);
        assert_eq!(
            table(&answer(9), &["up", "down", "connections", "client", "name"]),
            [format!("{up} 30 3 192.0.2.1 orders.example.com")]
        );

        let requests = table(&answer(10), &["requests", "request.host", "request.status", "request.reason"]);
        assert_eq!(requests.len(), 2, "{requests:?}");
        assert!(requests.contains(&"1 orders.example.com 404 -".to_owned()), "{requests:?}");
        assert!(requests.contains(&"1 other.example.com 403 name_denied".to_owned()), "{requests:?}");
    }
}
