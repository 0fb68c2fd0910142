//! The main path, from curl to Lattice, through the shipped configuration.

use serde_json::Value;

use crate::Lab;
use crate::balancer::Targets;
use crate::network::{BALANCER_INSIDE, LATTICE, LATTICE6, TASK};
use crate::process::Output;
use crate::proxy::Config;

const GIB: u64 = 1 << 30;

#[test]
fn curl_speaks_tls_1_2_and_1_3_and_http_2() {
    let Some(lab) = Lab::up() else { return };
    let proxy = lab.proxy(&Config::shipped());
    for (args, spoken) in [
        (&["--http1.1", "--tls-max", "1.2"][..], "TLSv1.2 HTTP/1.1"),
        (&["--http1.1", "--tlsv1.3"], "TLSv1.3 HTTP/1.1"),
        (&["--http2", "--tlsv1.3"], "TLSv1.3 HTTP/2.0"),
    ] {
        let request = ["--data", "hello", "https://orders.example.com/any?x=1"];
        let out = lab.client().curl([args, &request].concat());
        let said = echoed(&out);
        assert_eq!(
            (&said["method"], &said["path"], &said["body"]),
            (&"POST".into(), &"/any?x=1".into(), &"hello".into())
        );
        assert!(said["headers"]["x-lab-tls"].as_str().unwrap().starts_with(spoken), "{said}");

        let record = proxy.record();
        assert_relayed(&record, "tls", "orders.example.com");
        assert!(at_lattice(&record, 443), "{record}");
        assert!(record["bytes_up"].as_u64().unwrap() > 200, "{record}");
        assert!(record["bytes_down"].as_u64().unwrap() > 500, "{record}");
    }
}

#[test]
fn curl_speaks_http_on_80() {
    let Some(lab) = Lab::up() else { return };
    let proxy = lab.proxy(&Config::shipped());
    let out = lab.client().curl(["--data", "hello", "http://billing.example.com/any"]);
    assert_eq!(echoed(&out)["body"], "hello");
    let record = proxy.record();
    assert_relayed(&record, "http", "billing.example.com");
    assert!(at_lattice(&record, 80), "{record}");
}

#[test]
fn a_client_off_the_list_is_refused() {
    let Some(lab) = Lab::up() else { return };
    let proxy = lab.proxy(&Config::shipped());
    for url in ["https://orders.example.com/", "http://orders.example.com/"] {
        let out = lab.outsider().curl(["--fail", url]);
        assert!(!out.ok(), "{out:?}");
        let record = proxy.record();
        assert_refused(&record, "client_denied");
        assert_eq!(record["client"], "203.0.113.66", "{record}");
        assert!(record["rule"].as_str().unwrap().contains("ipcontrol.yaml"), "{record}");
    }
}

#[test]
fn names_that_lead_nowhere_or_astray_are_refused() {
    let Some(lab) = Lab::up() else { return };
    let proxy = lab.proxy(&Config::shipped());
    for (name, reason) in [
        ("nowhere.example.com", "name_unknown"),
        ("outside.example.com", "destination_forbidden"),
        ("metadata.example.com", "destination_forbidden"),
        ("loop.example.com", "points_to_self"),
        ("self.example.com", "points_to_self"),
    ] {
        for scheme in ["https", "http"] {
            let out = lab.client().curl(["--fail", &format!("{scheme}://{name}/")]);
            assert!(!out.ok(), "{scheme}://{name}: {out:?}");
            let record = proxy.record();
            assert_refused(&record, reason);
            assert_eq!(record["name"], name, "{record}");
        }
    }
    lab.lattice.assert_forbidden_untouched();
}

#[test]
fn a_gibibyte_goes_up_and_comes_down_whole() {
    let Some(lab) = Lab::up() else { return };
    let proxy = lab.proxy(&Config::shipped());
    let backend = format!("{} {}", crate::python().display(), crate::file("backend.py").display());
    let expected = lab.client().shell(&format!("{backend} stream {GIB} | sha256sum | cut -d' ' -f1")).stdout;
    assert_eq!(expected.len(), 65, "{expected}");

    for scheme in ["https", "http"] {
        let curl = format!("curl -sS --fail --cacert ca.pem {scheme}://orders.example.com");
        let up = lab.client().shell(&format!("{backend} stream {GIB} | {curl}/sum -X POST -T -"));
        assert_eq!(up.stdout, format!("{GIB} {expected}"), "{up:?}");
        let record = proxy.record();
        assert!(record["bytes_up"].as_u64().unwrap() > GIB, "{record}");

        let down = lab.client().shell(&format!("{curl}/stream?{GIB} | sha256sum | cut -d' ' -f1"));
        assert_eq!(down.stdout, expected, "{down:?}");
        let record = proxy.record();
        assert!(record["bytes_down"].as_u64().unwrap() > GIB, "{record}");
    }
}

#[test]
fn it_can_listen_on_443_and_80_itself() {
    let Some(lab) = Lab::up_with(Targets { tls: 443, http: 80 }) else { return };
    let config = Config::shipped().edit("[::]:8443", "[::]:443").edit("[::]:8080", "[::]:80");
    let proxy = lab.proxy(&config);
    for (url, listener) in [("https://orders.example.com/", "tls"), ("http://orders.example.com/", "http")] {
        let out = lab.client().curl([url]);
        assert_eq!(echoed(&out)["method"], "GET");
        assert_relayed(&proxy.record(), listener, "orders.example.com");
    }
}

#[test]
fn without_a_load_balancer_the_peer_is_the_client() {
    let Some(lab) = Lab::up() else { return };
    let config = Config::shipped()
        .edit("[::]:8443", "[::]:443")
        .edit("[::]:8080", "[::]:80")
        .edit("proxy_protocol: required", "proxy_protocol: off");
    let proxy = lab.proxy(&config);
    for (url, listener) in [("https://orders.example.com/", "tls"), ("http://orders.example.com/", "http")] {
        let out = lab.client().curl(["--connect-to", &format!("::{TASK}:"), url]);
        assert_eq!(echoed(&out)["method"], "GET");
        let record = proxy.record();
        assert_relayed(&record, listener, "orders.example.com");
        assert_eq!(record["client"], "10.1.0.2", "{record}");

        let out = lab.outsider().curl(["--fail", "--connect-to", &format!("::{TASK}:"), url]);
        assert!(!out.ok(), "{out:?}");
        assert_refused(&proxy.record(), "client_denied");
    }
}

#[test]
fn who_goes_past_the_load_balancer_is_not_believed() {
    let Some(lab) = Lab::up() else { return };
    let proxy = lab.proxy(&Config::shipped());
    // curl's own header claims an allowed address; it is version 1, but the peer alone decides.
    let out = lab.client().curl([
        "--haproxy-protocol",
        "--connect-to",
        &format!("::{TASK}:8080"),
        "http://orders.example.com/",
    ]);
    assert!(!out.ok(), "{out:?}");
    let record = proxy.record();
    assert_refused(&record, "untrusted_peer");
    assert!(record["peer"].as_str().unwrap().starts_with("10.1.0.2"), "{record}");
    assert!(!record["peer"].as_str().unwrap().contains(BALANCER_INSIDE), "{record}");
}

/// What the Lattice service says that it was sent.
fn echoed(out: &Output) -> Value {
    assert!(out.ok(), "{out:?}");
    serde_json::from_str(&out.stdout).unwrap_or_else(|error| panic!("{error}: {out:?}"))
}

fn assert_relayed(record: &Value, listener: &str, name: &str) {
    assert_eq!((&record["outcome"], &record["listener"]), (&"relayed".into(), &listener.into()), "{record}");
    assert_eq!((&record["name"], &record["client"]), (&name.into(), &"10.1.0.2".into()), "{record}");
    // curl closes without waiting for the service's close_notify, which then meets a closed port and causes a reset.
    assert!(["done", "client_reset"].map(Value::from).contains(&record["reason"]), "{record}");
}

fn assert_refused(record: &Value, reason: &str) {
    assert_eq!((&record["outcome"], &record["reason"]), (&"refused".into(), &reason.into()), "{record}");
    assert_eq!(record["bytes_up"], 0, "{record}");
}

fn at_lattice(record: &Value, port: u16) -> bool {
    let upstream = record["upstream"].as_str().unwrap();
    [format!("{LATTICE}:{port}"), format!("[{LATTICE6}]:{port}")].contains(&upstream.to_owned())
}
