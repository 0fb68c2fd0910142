//! curl as the client, with a plain origin server and one of TLS. Other clients are run by tests of their own.

use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use support::child::KillOnDrop;
use support::lab::Port;

use super::{Proxy, hear_head, response};

/// Through the proxy, and never longer than a test waits.
fn curl(proxy: &Proxy, args: &[&str]) -> Output {
    let through = format!("http://{}", proxy.lab.address(Port::ForwardDirect));
    let mut command = Command::new("curl");
    command.env_clear().env("PATH", "/usr/bin:/bin").args(["-sS", "--max-time", "20", "--proxy", &through]);
    command.args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// `other.example.com` by TLS: a page about the session, until it is dropped.
fn tls_origin(proxy: &Proxy, files: &Path) -> KillOnDrop {
    let address = format!("{}:{}", proxy.lab.ip(11), proxy.port);
    let make = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=other.example.com \
                -addext subjectAltName=DNS:other.example.com -keyout key.pem -out cert.pem";
    let made = Command::new("openssl").args(make.split(' ')).current_dir(files).output().unwrap();
    assert!(made.status.success(), "{}", text(&made.stderr));
    let mut serve = Command::new("openssl");
    serve.args(["s_server", "-quiet", "-www", "-accept", &address, "-key", "key.pem", "-cert", "cert.pem"]);
    serve.current_dir(files).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let server = KillOnDrop::spawn(&mut serve);
    support::until("it listens", || TcpStream::connect(&address).is_ok());
    proxy.lab.dns.set("other.example.com", support::dns::addresses(&[proxy.lab.ip(11)]));
    server
}

#[test]
fn it_reads_pages_and_sends_files_over_one_connection() {
    let proxy = Proxy::start();
    let url = format!("http://orders.example.com:{}/page", proxy.port);
    let out = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut upstream = proxy.lab.upstream.accept();
            for body in ["one", "two"] {
                let head = hear_head(&mut upstream);
                assert!(head.starts_with("PUT /page HTTP/1.1\r\n") && !head.contains("Proxy-"), "{head}");
                assert_eq!(upstream.hear(4), b"body");
                upstream.say(response("", body));
            }
        });
        curl(&proxy, &["-X", "PUT", "--data", "body", "-w", "%{http_code} %{num_connects}\\n", &url, &url])
    });
    assert_eq!(text(&out.stdout), "one200 1\ntwo200 0\n", "{}", text(&out.stderr));
}

#[test]
fn it_speaks_tls_through_a_tunnel() {
    let proxy = Proxy::start();
    let files = tempfile::tempdir().unwrap();
    let _origin = tls_origin(&proxy, files.path());
    let ca = files.path().join("cert.pem");
    let ca = ca.to_str().unwrap();
    let url = format!("https://other.example.com:{}/", proxy.port);
    for version in ["--tls-max=1.2", "--tlsv1.3"] {
        let (version, value) = version.split_once('=').unwrap_or((version, ""));
        let version: Vec<&str> = [version, value].into_iter().filter(|word| !word.is_empty()).collect();
        let out = curl(&proxy, &[&["--cacert", ca, &url][..], &version].concat());
        assert!(text(&out.stdout).contains("s_server"), "{} {}", text(&out.stdout), text(&out.stderr));
    }
    // The name in CONNECT is allowed, that in the hello is not.
    let other = format!("https://evil.example.com:{}/", proxy.port);
    let to = format!("::other.example.com:{}", proxy.port);
    let out = curl(&proxy, &["--cacert", ca, "--connect-to", &to, &other]);
    assert!(!out.status.success() && text(&out.stderr).contains("access denied"), "{}", text(&out.stderr));
}

#[test]
fn it_shows_what_a_refused_client_is_told() {
    let proxy = Proxy::start();
    let url = format!("http://denied.example.com:{}/", proxy.port);
    let out = curl(&proxy, &["-w", "%{http_code}", &url]);
    assert!(text(&out.stdout).contains("reason: name_denied") && text(&out.stdout).ends_with("403"), "{out:?}");
    let url = format!("https://denied.example.com:{}/", proxy.port);
    let out = curl(&proxy, &["-w", "%{http_connect}", &url]);
    assert_eq!((text(&out.stdout).as_str(), out.status.code()), ("403", Some(56)), "{out:?}");
}
