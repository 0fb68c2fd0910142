//! The malformed corpus through real sockets: each row is refused with its word, answered or closed within the
//! deadline, and reaches neither the resolver nor an upstream.

use std::collections::HashMap;

use support::lab::{Lab, Port, Setup, word};
use support::malformed::{self, Stage};
use support::peer::Peer;
use support::wire::tcp4;

/// Rows that are sent at once.
const ABREAST: usize = 64;

#[test]
fn nothing_malformed_gets_in_hangs_or_goes_unrecorded() {
    let mut lab = Lab::with(Setup { timeouts: "handshake: 3s", ..Setup::default() });
    let rows: Vec<_> = malformed::all().into_iter().filter(|row| row.stage != Stage::Forward).collect();
    assert!(rows.len() >= 120, "{} rows", rows.len());
    for rows in rows.chunks(ABREAST) {
        // A client's port may come again for another listener, but not while it is open.
        let mut expected = HashMap::new();
        let mut sent = Vec::new();
        for row in rows {
            let (port, header) = match row.stage {
                Stage::Proxy => (Port::Tls, vec![]),
                Stage::Tls => (Port::Tls, tcp4(&[])),
                Stage::Http => (Port::Http, tcp4(&[])),
                Stage::Forward => panic!("this lab has no forward listener"),
            };
            let mut client = lab.connect(port);
            client.say(header).say(&row.bytes);
            expected.insert((port.name().to_owned(), client.address().to_string()), (row.name, row.reason));
            sent.push(client);
        }
        // Hearing the end fails after PATIENCE: none hangs.
        for client in &mut sent {
            client.hear_all();
        }
        for _ in rows {
            let record = lab.record();
            let key = (word(&record, "listener"), word(&record, "peer"));
            let (name, reason) = expected.remove(&key).expect("a row of ours, for the first time");
            assert_eq!(word(&record, "reason"), reason, "{name}");
            assert_eq!(word(&record, "outcome"), "refused", "{name}");
        }
    }
    lab.upstream.assert_untouched();
    assert_eq!(lab.dns.asked("orders.example.com", support::dns::A), 0);
    assert_eq!(lab.end().records.len(), rows.len(), "one record each");
}

#[test]
fn whatever_is_cut_short_ends_at_the_deadline() {
    let lab = Lab::with(Setup { timeouts: "handshake: 400ms", ..Setup::default() });
    let hello = support::wire::hello();
    let request = b"GET / HTTP/1.1\r\nHost: orders.example.com\r\n\r\n";
    let (tls, http) = ([&tcp4(&[])[..], &hello].concat(), [&tcp4(&[])[..], request].concat());
    let cut = |port, whole: &[u8]| (1..whole.len()).map(|len| (port, whole[..len].to_vec())).collect::<Vec<_>>();
    let cases = [cut(Port::Tls, &tls), cut(Port::Http, &http)].concat();
    for cases in cases.chunks(ABREAST * 2) {
        let sent: Vec<Peer> = cases
            .iter()
            .map(|(port, bytes)| {
                let mut client = lab.connect(*port);
                client.say(bytes);
                client
            })
            .collect();
        for mut client in sent {
            client.hear_all();
        }
    }
    lab.upstream.assert_untouched();
    let reported = lab.end();
    assert_eq!(reported.records.len(), cases.len());
    for record in &reported.records {
        assert_eq!(word(record, "reason"), "handshake_timeout");
        assert!(record["total_ms"].as_f64().unwrap() >= 400.0);
    }
}
