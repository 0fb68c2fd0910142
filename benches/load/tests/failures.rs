//! Every kind of failure, caused.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Duration;

use latticegate_load::Report;
use latticegate_load::failure::{Failed, Failure};

use crate::run;
use crate::service::{OK, answering, head, serve};

/// All planned requests ended so.
#[track_caller]
fn assert_all(report: &Report, kind: Failure) {
    let total = report.total();
    assert!(total.planned > 5, "{report}");
    assert_eq!(total.failures.iter().collect::<Vec<_>>(), [(&kind, &total.planned)], "{report}");
    assert_eq!((total.answered(), total.open(), total.latency.count()), (0, 0, 0), "{report}");
    assert!(!report.tally.examples[kind.word()].is_empty(), "{report}");
}

/// Writes this after each request, and ends.
fn saying(answer: &'static str) -> String {
    let address = serve(move |mut stream| {
        if head(&stream).is_some() {
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    format!("http://{address}/")
}

#[test]
fn nobody_listens() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert_all(&run(&format!("http://{free}/"), &[]), Failure::ConnectionRefused);
}

#[test]
fn the_connection_is_reset() {
    let address = serve(|stream| {
        head(&stream);
        reset(stream);
    });
    assert_all(&run(&format!("http://{address}/"), &[]), Failure::Reset);
}

fn reset(stream: TcpStream) {
    let socket = rustix::fd::AsFd::as_fd(&stream).try_clone_to_owned().unwrap();
    rustix::net::sockopt::set_socket_linger(&socket, Some(Duration::ZERO)).unwrap();
    drop::<OwnedFd>(socket);
}

#[test]
fn an_answer_is_cut_short() {
    for answer in [
        "",
        "HTTP/1.1 200",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nok",
    ] {
        assert_all(&run(&saying(answer), &[]), Failure::ShortAnswer);
    }
}

#[test]
fn an_answer_is_cut_short_on_a_kept_connection() {
    // The first is complete; what follows on that connection is not, and must not be sent again in silence.
    let address = serve(|mut stream| {
        for answer in [OK, OK.trim_end_matches("ok")] {
            if head(&stream).is_some() {
                stream.write_all(answer.as_bytes()).unwrap();
            }
        }
    });
    let report = run(&format!("http://{address}/"), &[]);
    let total = report.total();
    assert_eq!(total.failures[&Failure::ShortAnswer], total.planned / 2, "{report}");
    assert_eq!(total.succeeded(), total.planned.div_ceil(2), "{report}");
}

#[test]
fn the_answer_is_not_http() {
    assert_all(&run(&saying("220 mail.example ESMTP\r\n"), &[]), Failure::InvalidAnswer);
}

#[test]
fn no_answer_comes_in_time() {
    let address = serve(|stream| while head(&stream).is_some() {});
    // Of so many users nobody has two requests.
    assert_all(&run(&format!("http://{address}/"), &["--users", "1000", "--timeout", "1s"]), Failure::Timeout);
}

#[test]
fn the_user_still_waits_when_it_is_over() {
    // One request waits for its whole timeout; those behind it could begin only later than a timeout after the end.
    let address = serve(|stream| while head(&stream).is_some() {});
    let report = run(&format!("http://{address}/"), &["--timeout", "150ms"]);
    let total = report.total();
    assert!(total.failures[&Failure::Timeout] >= 1 && total.failures[&Failure::NotSent] >= 1, "{report}");
    assert_eq!((total.failed(), total.open()), (total.planned, 0), "{report}");
}

#[test]
fn a_users_queue_has_an_end() {
    let address = serve(|stream| while head(&stream).is_some() {});
    let report = run(&format!("http://{address}/"), &["--rate", "2000", "--timeout", "1s"]);
    let total = report.total();
    // 64 wait and one or two are under way; the rest is counted at once.
    assert!(total.failures[&Failure::NotSent] >= total.planned - 67, "{report}");
    assert_eq!(total.failed(), total.planned, "{report}");
}

#[test]
fn tls_is_not_answered_by_tls() {
    let (address, _heads) = answering(OK);
    let report =
        run("https://orders.example.com/", &["--connect", &address.to_string(), "--insecure", "--timeout", "2s"]);
    // The service takes the hello for a head that does not end.
    assert_eq!(report.total().failed(), report.total().planned);
    let address = serve(|mut stream| drop(stream.write_all(OK.as_bytes())));
    assert_all(&run("https://orders.example.com/", &["--connect", &address.to_string(), "--insecure"]), Failure::Tls);
}

#[test]
fn a_bad_status_is_a_failure_and_shows_its_sentence() {
    let (address, heads) = answering("HTTP/1.1 403 Forbidden\r\nContent-Length: 20\r\n\r\nreason: name_denied\n");
    let report = run(&format!("http://{address}/"), &[]);
    let total = report.total();
    assert_eq!((total.failed(), total.answered(), total.succeeded()), (total.planned, total.planned, 0), "{report}");
    assert_eq!(report.tally.examples["403"], "reason: name_denied");
    assert!(
        report.to_string().contains(&format!("status 403: {}   first: reason: name_denied", total.planned)),
        "{report}"
    );
    assert_eq!(heads.try_iter().count() as u64, total.planned);
}

#[test]
fn what_the_machine_itself_lacks_has_words_of_its_own() {
    for (errno, kind) in [
        (rustix::io::Errno::MFILE, Failure::NoDescriptor),
        (rustix::io::Errno::NFILE, Failure::NoDescriptor),
        (rustix::io::Errno::ADDRNOTAVAIL, Failure::NoSourcePort),
        (rustix::io::Errno::NETUNREACH, Failure::Unreachable),
        (rustix::io::Errno::TIMEDOUT, Failure::Unreachable),
        (rustix::io::Errno::PERM, Failure::Other),
    ] {
        assert_eq!(Failed::io(&errno.into()).kind, kind, "{errno}");
    }
}
