//! The start of the real process: an address that somebody has, signals that come early, and what it says of its list.

use std::io::{Read, Write};
use std::net::TcpListener;

use nix::sys::signal::Signal;
use support::http::get;
use support::lab::{Parts, Setup};
use support::process::Process;

use crate::LATTICEGATE;

/// The line that sets a listener's, health's or admin's address, set to `address` instead.
fn rebind(parts: &Parts, name: &str, address: &str) {
    let file = parts.files.path().join("latticegate.yaml");
    let config = std::fs::read_to_string(&file).unwrap();
    let of_name = |line: &str| line.starts_with(&format!("{name}:")) || line.contains(&format!("{{ name: {name},"));
    let lines = config.lines().map(|line| match line.split_once("bind: \"") {
        Some((before, rest)) if of_name(line) => {
            format!("{before}bind: \"{address}\"{}", rest.split_once('"').unwrap().1)
        }
        _ => line.to_owned(),
    });
    std::fs::write(file, lines.collect::<Vec<_>>().join("\n")).unwrap();
}

/// The same program of the same user, which the kernel would let share a port for the asking.
#[test]
fn an_address_that_another_latticegate_has_is_not_shared() {
    let first = Process::start(LATTICEGATE, Parts::make(&Setup::default()), &[]);
    for name in ["tls", "health", "admin"] {
        let parts = Parts::make(&Setup::default());
        let address = first.address(name).to_string();
        rebind(&parts, name, &address);
        let mut second = Process::start(LATTICEGATE, parts, &[]);
        support::until("the second has given up", || !second.is_running());
        let said = second.said();
        assert!(!said.contains("started"), "{said}");
        assert!(said.contains(&format!("listener {name}: cannot listen on {address}:")), "{said}");
        assert!(said.contains("another process listens there"), "{said}");
        assert_eq!(second.wait().0.code(), Some(1));
    }
}

/// The access list is on its way still: its source has taken the connection.
#[test]
fn signals_that_come_before_it_listens_are_obeyed() {
    for early in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGUSR2] {
        let source = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/list", source.local_addr().unwrap());
        let process = Process::start(LATTICEGATE, Parts::make(&Setup::default()), &[("LATTICEGATE_POLICY", &url)]);
        let (mut asked, _) = source.accept().unwrap();
        assert!(asked.read(&mut [0; 4096]).unwrap() > 0);
        process.signal(early);
        if !matches!(early, Signal::SIGTERM | Signal::SIGINT) {
            let list = process.parts().read("ipcontrol.yaml");
            write!(asked, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{list}", list.len()).unwrap();
            support::until("it has started", || process.said().contains(" started "));
            process.signal(Signal::SIGTERM);
        }
        let (status, _) = process.wait();
        assert_eq!(status.code(), Some(0), "{early}");
    }
}

/// One summary: what is not the default and where it was written, then warnings, list, limits and addresses.
#[test]
fn a_start_says_what_is_in_force_and_where_that_was_written() {
    let parts = Parts::make(&Setup::default());
    let environment = [
        ("LATTICEGATE_DNS__MAX_TTL", "60s"),
        ("LATTICEGATE_DRAIN__TIMEOUT", "1h"),
        ("LATTICEGATE_TIMEOUTS__IDLE", "610s"),
    ];
    let process = Process::start(LATTICEGATE, parts, &environment);
    support::until("it has started", || process.said().contains(" started "));
    let said = process.said();
    let line = |text: &str| {
        let at = said.lines().position(|line| line.contains(text));
        at.unwrap_or_else(|| panic!("no {text} in {said}"))
    };
    let file = process.parts().files.path().join("latticegate.yaml").display().to_string();
    let order = [
        line(&format!(
            "all but these settings are the defaults version=\"{}\" configuration={file} log=\"info\"",
            env!("CARGO_PKG_VERSION")
        )),
        line(": proxy_protocol.trusted: "),
        line(": dns.max_ttl: 60s (LATTICEGATE_DNS__MAX_TTL)"),
        line(": drain: delay and timeout together are "),
        line("access list loaded source="),
        line("limits connections="),
        line("listening name=tls address="),
        line("started workers="),
    ];
    assert!(order.is_sorted(), "{order:?}: {said}");
    assert_eq!(order[7], said.lines().count() - 1, "the last line is that it has started: {said}");
    assert!(!said.contains("timeouts.idle"), "it was written, but is the default: {said}");
    let config = process.parts().read("latticegate.yaml");
    for (text, of_file) in [("proxy_protocol.trusted: ", "trusted:"), ("listening name=tls ", "name: tls,")] {
        let number = config.lines().position(|line| line.contains(of_file)).unwrap() + 1;
        let said = said.lines().nth(line(text)).unwrap();
        assert!(said.contains(&format!("{file}:{number}")), "{said}");
    }
    process.signal(Signal::SIGTERM);
    assert_eq!(process.wait().0.code(), Some(0));
}

/// The list's source takes it in its URL. At start, on the admin port, and when the source fails or has a list with a
/// mistake: nothing that an operator or a log collector reads has it.
#[test]
fn a_secret_in_the_query_of_the_lists_url_is_not_shown() {
    let source = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/list?key=hush", source.local_addr().unwrap());
    let environment = [("LATTICEGATE_POLICY", url.as_str()), ("LATTICEGATE_POLICY_POLL", "1h")];
    let process = Process::start(LATTICEGATE, Parts::make(&Setup::default()), &environment);
    let serve = |status: &str, list: &str| {
        let (mut asked, _) = source.accept().unwrap();
        let mut request = [0; 4096];
        let read = asked.read(&mut request).unwrap();
        assert!(request[..read].starts_with(b"GET /list?key=hush HTTP/1.1\r\n"), "the source needs it");
        write!(asked, "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{list}", list.len()).unwrap();
    };
    serve("200 OK", &process.parts().read("ipcontrol.yaml"));
    support::until("it has started", || process.said().contains(" started "));
    for (status, list, says) in [
        ("500 Internal Server Error", "", "/list?…: answers 500"),
        ("200 OK", "rules: [{ permit: all }]", "the access list was not reloaded"),
        ("200 OK", "rules: []", "access list reloaded"),
    ] {
        process.signal(Signal::SIGHUP);
        serve(status, list);
        support::until(says, || process.said().contains(says));
    }
    let admin = process.address("admin");
    let mut shown: Vec<String> = ["/", "/status.json", "/metrics"].map(|path| get(admin, path).1).into();
    process.signal(Signal::SIGTERM);
    shown.push(process.said());
    for text in &shown {
        assert!(!text.contains("hush"), "{text}");
    }
    assert!(shown.iter().any(|text| text.contains("/list?…")), "{shown:?}");
    assert_eq!(process.wait().0.code(), Some(0));
}

/// On the page and in `latticegate status`, too: not everybody who asks why a rule is not there has the log.
#[test]
fn a_list_that_was_not_reloaded_is_shown_until_it_is() {
    let process = Process::start(LATTICEGATE, Parts::make(&Setup::default()), &[]);
    support::until("it has started", || process.said().contains(" started "));
    let admin = process.address("admin");
    let warnings = || {
        let state: serde_json::Value = serde_json::from_str(&get(admin, "/status.json").1).unwrap();
        let warnings = state["warnings"].as_array().unwrap().iter().map(|warning| warning.as_str().unwrap().to_owned());
        warnings.filter(|warning| warning.contains("access list")).collect::<Vec<_>>()
    };
    assert!(warnings().is_empty());
    let list = process.parts().files.path().join("ipcontrol.yaml");
    let good = std::fs::read_to_string(&list).unwrap();
    std::fs::write(&list, "rules: [{ allow: \"<b>all\" }]\n").unwrap();
    support::until("it is shown", || !warnings().is_empty());
    let warning = &warnings()[0];
    assert!(warning.starts_with("the access list was not reloaded, the old one stays in force: "), "{warning}");
    assert!(warning.contains("ipcontrol.yaml:1:18: ") && warning.contains("\"<b>all\""), "{warning}");
    let (_, page) = get(admin, "/");
    assert!(page.contains("<li>the access list was not reloaded") && page.contains("with warnings"), "{page}");
    assert!(page.contains("&lt;b&gt;all") && !page.contains("<b>all"), "{page}");
    std::fs::write(&list, good).unwrap();
    support::until("it is over", || warnings().is_empty());
    process.signal(Signal::SIGTERM);
    assert_eq!(process.wait().0.code(), Some(0));
}
