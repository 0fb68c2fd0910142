//! An S3 object, from moto's server, through a relay that records what was asked and can go away.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use support::child::KillOnDrop;
use support::lab::{Parts, Setup};
use support::until;

use crate::gate::{ALLOW, DENY, Gate};
use crate::web_server::WebServer;

const OWNER: &str = "123456789012";

struct Moto {
    _child: KillOnDrop,
    address: SocketAddr,
}

impl Moto {
    fn start() -> Self {
        let address = WebServer::free_address([127, 0, 0, 1].into());
        let target = std::env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| "target".to_owned());
        let server = Path::new(env!("CARGO_MANIFEST_DIR")).join(target).join("venv/s3/bin/moto_server");
        assert!(server.exists(), "moto is not there: run tests/setup s3");
        let mut command = Command::new(server);
        command.args(["-H", "127.0.0.1", "-p", &address.port().to_string()]);
        let child = KillOnDrop::spawn(command.stdout(Stdio::null()).stderr(Stdio::null()));
        let moto = Self { _child: child, address };
        until("moto answers", || TcpStream::connect(address).is_ok());
        moto.ask("PUT", "/lists", b"");
        let versioning = "<VersioningConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
                          <Status>Enabled</Status></VersioningConfiguration>";
        moto.ask("PUT", "/lists?versioning", versioning.as_bytes());
        moto
    }

    fn put(&self, list: &str) {
        self.ask("PUT", "/lists/edge/ipcontrol.yaml", list.as_bytes());
    }

    fn ask(&self, method: &str, path: &str, body: &[u8]) {
        let mut stream = TcpStream::connect(self.address).unwrap();
        // Any credentials will do; without some it takes the request for a web site's.
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\nConnection: close\r\n\
             Authorization: AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request, \
             SignedHeaders=host, Signature=x\r\n\r\n",
            self.address,
            body.len()
        );
        stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{method} {path}: {answer}");
    }
}

/// Between the gate and moto: keeps the heads of requests and answers; while it is away, hangs up.
struct Relay {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<u8>>>,
    away: Arc<AtomicBool>,
}

impl Relay {
    fn start(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, away) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (kept, gone) = (Arc::clone(&seen), Arc::clone(&away));
        thread::spawn(move || {
            for client in listener.incoming().map(Result::unwrap) {
                if gone.load(Ordering::Relaxed) {
                    continue;
                }
                let server = TcpStream::connect(to).unwrap();
                for (mut from, mut to) in [(client.try_clone().unwrap(), server.try_clone().unwrap()), (server, client)]
                {
                    let (kept, gone) = (Arc::clone(&kept), Arc::clone(&gone));
                    thread::spawn(move || {
                        let mut bytes = [0; 8192];
                        while let Ok(n @ 1..) = from.read(&mut bytes) {
                            kept.lock().unwrap().extend(&bytes[..n]);
                            if gone.load(Ordering::Relaxed) || to.write_all(&bytes[..n]).is_err() {
                                break;
                            }
                        }
                        let _ = to.shutdown(std::net::Shutdown::Both);
                        let _ = from.shutdown(std::net::Shutdown::Both);
                    });
                }
            }
        });
        Self { address, seen, away }
    }

    fn seen(&self) -> String {
        String::from_utf8_lossy(&self.seen.lock().unwrap()).into_owned()
    }

    fn count(&self, what: &str) -> usize {
        self.seen().matches(what).count()
    }
}

fn start(relay: &Relay, key: &str) -> Gate {
    let endpoint = format!("http://{}", relay.address);
    let source = format!("s3://lists/{key}");
    let environment = [
        ("LATTICEGATE_POLICY", source.as_str()),
        ("LATTICEGATE_POLICY_POLL", "100ms"),
        ("LATTICEGATE_POLICY_OWNER", "\"123456789012\""),
        ("AWS_ENDPOINT_URL", endpoint.as_str()),
        ("AWS_ALLOW_HTTP", "true"),
        ("AWS_REGION", "eu-west-1"),
        ("AWS_ACCESS_KEY_ID", "AKIATEST"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_SESSION_TOKEN", "token"),
    ];
    Gate::of(Parts::make(&Setup::default()), &environment)
}

#[test]
fn it_polls_by_etag_and_tells_the_version() {
    let moto = Moto::start();
    moto.put(ALLOW);
    let relay = Relay::start(moto.address);
    let gate = start(&relay, "edge/ipcontrol.yaml");
    gate.admits();
    until("it is told that nothing has changed", || relay.count(" 304 ") >= 3);
    moto.put(DENY);
    let line = gate.reloaded(1);
    gate.denies();
    let answers = relay.seen();
    let version = answers.split("x-amz-version-id: ").last().unwrap().split("\r\n").next().unwrap();
    assert!(version.len() > 10 && line.contains(version), "{version}: {line}");
    // Every request is signed, the expected owner with it: S3 refuses an x-amz- header that is not.
    let requests: Vec<&str> = answers.split("GET /lists/edge/ipcontrol.yaml").skip(1).collect();
    assert!(requests.len() > 4);
    for request in requests {
        let head = request.split("\r\n\r\n").next().unwrap();
        assert!(head.contains(&format!("x-amz-expected-bucket-owner: {OWNER}")), "{head}");
        let signed = head.split("SignedHeaders=").nth(1).unwrap().split(',').next().unwrap();
        assert!(signed.split(';').any(|name| name == "x-amz-expected-bucket-owner"), "{signed}");
        assert!(signed.split(';').any(|name| name == "x-amz-security-token"), "{signed}");
        assert!(head.contains("/eu-west-1/s3/aws4_request"), "{head}");
    }
}

#[test]
fn it_goes_on_with_the_last_list_while_s3_is_away() {
    let moto = Moto::start();
    moto.put(DENY);
    let relay = Relay::start(moto.address);
    let gate = start(&relay, "edge/ipcontrol.yaml");
    gate.denies();
    relay.away.store(true, Ordering::Relaxed);
    let line = gate.wait_for(1, "the old one stays in force").remove(0);
    assert!(line.contains("s3://lists/edge/ipcontrol.yaml"), "{line}");
    gate.denies();
    assert!(!gate.in_step());
    moto.put(ALLOW);
    relay.away.store(false, Ordering::Relaxed);
    gate.reloaded(1);
    gate.admits();
    // A list that is none, then one that is too large.
    moto.put("rules:\n- alow: all\n");
    gate.wait_for(2, "the old one stays in force");
    moto.put(&format!("{DENY}# {}\n", "x".repeat(4 << 20)));
    assert!(gate.wait_for(3, "the old one stays in force")[2].contains("4 MiB"));
    gate.admits();
}

#[test]
fn an_object_that_is_not_there_stops_the_start() {
    let moto = Moto::start();
    let relay = Relay::start(moto.address);
    let gate = start(&relay, "no-such-key.yaml");
    let stderr = gate.file("stderr");
    until("it has said why", || std::fs::read_to_string(&stderr).unwrap().contains("s3://lists/no-such-key.yaml"));
    let (status, records) = gate.process.wait();
    assert_eq!((status.code(), records.len()), (Some(1), 0));
}
