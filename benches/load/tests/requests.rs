//! What is sent, and over which connections.

use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::run;
use crate::service::{OK, answering, head, serve};

#[test]
fn one_kept_connection_for_each_user() {
    let (address, heads) = answering(OK);
    let report = run(
        "http://orders.example.com/a?b=1",
        &["--connect", &address.to_string(), "--users", "3", "--header", "X-Own: 1"],
    );
    let total = report.total();
    assert_eq!((total.succeeded(), total.failed()), (total.planned, 0), "{report}");
    assert_eq!(total.latency.count(), total.planned);
    assert_eq!(total.late.count(), total.planned);
    assert!((1..=3).contains(&report.tally.connections), "{report}");
    let heads: Vec<String> = heads.try_iter().collect();
    assert_eq!(heads.len() as u64, total.planned);
    for head in &heads {
        assert!(head.starts_with("GET /a?b=1 HTTP/1.1\r\nhost: orders.example.com\r\n"), "{head}");
        assert!(head.contains("x-own: 1\r\n") && !head.contains("connection:"), "{head}");
    }
    assert_eq!(report.tally.bytes_sent, heads.iter().map(|head| head.len() as u64).sum::<u64>());
    assert_eq!(report.tally.bytes_received, total.planned * OK.len() as u64);
}

#[test]
fn a_connection_for_each_request_is_closed_by_the_service_first() {
    let (sender, closings) = channel();
    let address = serve(move |mut stream| {
        let Some(head) = head(&stream) else { return };
        stream.write_all(OK.as_bytes()).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        // The answer is complete, and still the client waits.
        let waits = stream.read(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
        sender.send((head.contains("connection: close\r\n"), waits)).unwrap();
    });
    let report = run(&format!("http://{address}/"), &["--no-keep-alive"]);
    let total = report.total();
    assert_eq!((total.succeeded(), report.tally.connections), (total.planned, total.planned), "{report}");
    assert_eq!(report.tally.reconnected, 0);
    assert_eq!(closings.try_iter().filter(|closing| *closing == (true, true)).count() as u64, total.planned);
}

#[test]
fn a_connection_that_was_closed_meanwhile_is_made_anew() {
    let address = serve(|mut stream| drop(head(&stream).map(|_| stream.write_all(OK.as_bytes()))));
    let report = run(&format!("http://{address}/"), &[]);
    let total = report.total();
    assert_eq!((total.succeeded(), total.failed()), (total.planned, 0), "{report}");
    assert_eq!((report.tally.connections, report.tally.reconnected), (total.planned, total.planned - 1), "{report}");
}

#[test]
fn users_are_divided_among_the_urls() {
    let ((one, at_one), (two, at_two)) = (answering(OK), answering(OK));
    let report = run(&format!("http://{one}/"), &["--url", &format!("http://{two}/"), "--users", "2"]);
    let counts = [at_one, at_two].map(|heads| heads.try_iter().count() as u64);
    assert_eq!(counts.iter().sum::<u64>(), report.total().planned);
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
}

#[test]
fn a_slow_answer_counts_against_those_that_it_delayed() {
    let (sender, answered) = channel();
    let address = serve(move |mut stream| {
        while head(&stream).is_some() {
            std::thread::park_timeout(Duration::from_millis(300));
            sender.send(()).unwrap();
            stream.write_all(OK.as_bytes()).unwrap();
        }
    });
    let report = run(&format!("http://{address}/"), &["--rate", "30", "--duration", "300ms"]);
    let total = report.total();
    assert!(total.planned > 2 && total.succeeded() == total.planned, "{report}");
    assert_eq!(answered.try_iter().count() as u64, total.planned);
    // The last of n was planned within the first 300 ms, and the n answers took 300 ms each.
    assert!(total.latency.quantile(1.0) >= 300.0 * (total.planned - 1) as f64, "{report}");
}

#[test]
fn certificates_are_verified() {
    let made = rcgen::generate_simple_self_signed(vec!["orders.example.com".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, made.cert.pem()).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = Arc::new(config.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap());
    let address = serve(move |stream| {
        let mut stream = StreamOwned::new(ServerConnection::new(Arc::clone(&config)).unwrap(), stream);
        let mut piece = [0; 4096];
        // A head comes in one record.
        while let Ok(read @ 1..) = stream.read(&mut piece) {
            stream.write_all(OK.as_bytes()).unwrap();
            if String::from_utf8_lossy(&piece[..read]).contains("connection: close\r\n") {
                break;
            }
        }
    });
    let connect = ["--connect", &address.to_string()];
    let cacert = ["--cacert", file.to_str().unwrap()];
    let succeeded = |url: &str, more: &[&str]| {
        let report = run(url, &[&connect[..], more].concat());
        let total = report.total();
        assert!(
            total.succeeded() == total.planned || total.failures.keys().all(|kind| kind.word() == "tls"),
            "{report}"
        );
        total.succeeded() == total.planned
    };
    assert!(succeeded("https://orders.example.com/", &cacert));
    assert!(succeeded("https://orders.example.com/", &[&cacert[..], &["--no-keep-alive"]].concat()));
    assert!(!succeeded("https://billing.example.com/", &cacert));
    assert!(!succeeded("https://orders.example.com/", &[]));
    assert!(succeeded("https://billing.example.com/", &["--insecure"]));
}
