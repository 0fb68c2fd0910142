//! Real clients through the whole path, and one table of what each of them got.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::process::{DEADLINE, run, which};
use crate::proxy::Config;
use crate::rows::{self, Route, Who};
use crate::{Lab, Skipped, python, skip};

/// The shipped list, and the client that has an IPv6 address only.
const RULES: &str = "rules:
  - allow: [192.168.0.0/16, 172.16.0.0/12, 10.0.0.0/8]
  - allow: 2001:db8:1::/64
  - deny: all
";

/// One line of the table.
struct Row {
    tool: Tool,
    what: &'static str,
    expect: &'static str,
    run: fn(&Route<'_>) -> Result<()>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tool {
    Curl,
    Openssl,
    Wget,
    Python,
    Grpc,
    Node,
    Java,
    Balancer,
}

const ROWS: &[Row] = &[
    row(Tool::Curl, "GET, HTTP/1.1, TLS 1.2", "200", |on| on.get(&["--http1.1", "--tls-max", "1.2"], "https")),
    row(Tool::Curl, "GET, HTTP/1.1, TLS 1.3", "200", |on| on.get(&["--http1.1", "--tlsv1.3"], "https")),
    row(Tool::Curl, "GET, HTTP/2, TLS 1.3", "200", |on| on.get(&["--http2", "--tlsv1.3"], "https")),
    row(Tool::Curl, "GET on 80", "200", |on| on.get(&[], "http")),
    row(Tool::Curl, "--aws-sigv4 GET on 443", "signature verified", |on| on.signed("https", &[])),
    row(Tool::Curl, "--aws-sigv4 POST on 443", "signature verified", |on| on.signed("https", &["--data", "a=b"])),
    row(Tool::Curl, "--aws-sigv4 GET on 80", "signature verified", |on| on.signed("http", &[])),
    row(Tool::Curl, "--aws-sigv4 POST on 80", "signature verified", |on| on.signed("http", &["--data", "a=b"])),
    row(Tool::Curl, "--aws-sigv4, wrong secret", "403 by the service", rows::wrong_secret),
    row(Tool::Curl, "Expect: 100-continue, 1 GiB on 443", "100, then equal sums", |on| on.expect_continue("https")),
    row(Tool::Curl, "Expect: 100-continue, 1 GiB on 80", "100, then equal sums", |on| on.expect_continue("http")),
    row(Tool::Curl, "range of a file", "206, those bytes", rows::ranges),
    row(Tool::Curl, "server-sent events on 443", "each at once", |on| on.events("https")),
    row(Tool::Curl, "server-sent events on 80", "each at once", |on| on.events("http")),
    row(Tool::Curl, "keep-alive, 5 requests on 443", "one connection", |on| on.keep_alive("https")),
    row(Tool::Curl, "keep-alive, 5 requests on 80", "one connection", |on| on.keep_alive("http")),
    row(Tool::Curl, "client certificate (mTLS)", "200, its subject", rows::mutual_tls),
    row(Tool::Curl, "IPv6 client on 443", "200", |on| on.ipv6_client("https")),
    row(Tool::Curl, "IPv6 client on 80", "200", |on| on.ipv6_client("http")),
    row(Tool::Curl, "IPv6-only upstream on 443", "200", |on| on.ipv6_upstream("https")),
    row(Tool::Curl, "IPv6-only upstream on 80", "200", |on| on.ipv6_upstream("http")),
    row(Tool::Curl, "client off the list on 443", "alert access denied", |on| {
        on.reported(Who::Outsider, "https://orders.example.com/", "alert access denied", "client_denied")
    }),
    row(Tool::Curl, "client off the list on 80", "403 with the id", |on| {
        on.reported(Who::Outsider, "http://orders.example.com/", "403", "client_denied")
    }),
    row(Tool::Curl, "unknown name on 443", "alert unrecognized name", |on| {
        on.reported(Who::Client, "https://nowhere.example.com/", "unrecognized name", "name_unknown")
    }),
    row(Tool::Curl, "unknown name on 80", "404 with the id", |on| {
        on.reported(Who::Client, "http://nowhere.example.com/", "404", "name_unknown")
    }),
    row(Tool::Curl, "the load balancer's own name", "refused, log shows --connect-to", rows::bare_name),
    row(Tool::Curl, "--connect-to the load balancer's name", "200", rows::connect_to),
    row(Tool::Openssl, "no SNI", "alert, sni_missing", rows::no_sni),
    row(Tool::Openssl, "12 KB hello", "200", |on| on.hello(50, None)),
    row(Tool::Openssl, "24 KB hello", "alert, hello_too_long", |on| on.hello(100, Some("hello_too_long"))),
    row(Tool::Openssl, "early data (0-RTT)", "accepted", rows::early_data),
    row(Tool::Grpc, "a call, and a stream both ways", "every answer", rows::grpc),
    row(Tool::Wget, "GET on 443", "200", |on| on.wget("https")),
    row(Tool::Wget, "GET on 80", "200", |on| on.wget("http")),
    row(Tool::Python, "http.client on 443", "200 200", |on| on.python("https")),
    row(Tool::Python, "http.client on 80", "200 200", |on| on.python("http")),
    row(Tool::Node, "https, HTTP/1.1", "200 200", |on| on.node("https", "1")),
    row(Tool::Node, "http2", "200 200", |on| on.node("https", "2")),
    row(Tool::Node, "http on 80", "200 200", |on| on.node("http", "1")),
    row(Tool::Java, "HttpClient, HTTP/1.1, TLS", "200 200", |on| on.java("https", "HTTP_1_1")),
    row(Tool::Java, "HttpClient, HTTP/2", "200 200", |on| on.java("https", "HTTP_2")),
    row(Tool::Java, "HttpClient on 80", "200 200", |on| on.java("http", "HTTP_1_1")),
    row(Tool::Wget, "refused on 443", "Access was denied", |on| on.wget_denied("https", "Access was denied")),
    row(Tool::Wget, "refused on 80", "403: Forbidden", |on| on.wget_denied("http", "403: Forbidden")),
    row(Tool::Python, "refused on 443", "alert access denied", |on| on.python_denied("https", "alert access denied")),
    row(Tool::Python, "refused on 80", "403 Forbidden", |on| {
        on.python_denied("http", "403 Forbidden: latticegate: Your ")
    }),
    row(Tool::Node, "refused on 443", "alert access denied", |on| on.node_denied("https", "alert access denied")),
    row(Tool::Node, "refused on 80", "403 Forbidden", |on| on.node_denied("http", "403 Forbidden: latticegate: Your ")),
    row(Tool::Java, "refused on 443", "alert: access_denied", |on| {
        on.java_denied("https", "fatal alert: access_denied")
    }),
    row(Tool::Java, "refused on 80", "403", |on| on.java_denied("http", "403: latticegate: Your address")),
    row(Tool::Balancer, "health checks: empty, LOCAL with TLVs", "no byte, no log line", rows::health_checks),
    row(Tool::Balancer, "health port, with and without header", "200", rows::health_port),
];

const fn row(tool: Tool, what: &'static str, expect: &'static str, run: fn(&Route<'_>) -> Result<()>) -> Row {
    Row { tool, what, expect, run }
}

#[test]
fn real_client_matrix() {
    let Some(lab) = Lab::up() else { return };
    let proxy = lab.proxy(&Config::shipped().rules(RULES));
    let route = Route { lab: &lab, proxy: &proxy };
    let mut table = format!("{:<38} {:<15} {:<31} result\n", "what", "client", "expected");
    let (mut passed, mut skipped, mut failures) = (0, 0, Vec::new());
    for row in ROWS {
        let version = row.tool.version();
        let result = match version {
            None => {
                skipped += 1;
                skip(Skipped::Part(row.what), &format!("{} is not installed", row.tool.program()));
                "skipped: not installed"
            }
            Some(_) => match route.row(row.run) {
                Ok(()) => {
                    passed += 1;
                    "pass"
                }
                Err(error) => {
                    failures.push(format!("{} ({}): {error:#}", row.what, row.tool.program()));
                    "FAIL"
                }
            },
        };
        let client = version.unwrap_or_else(|| row.tool.program().to_owned());
        writeln!(table, "{:<38} {client:<15} {:<31} {result}", row.what, row.expect).unwrap();
    }
    writeln!(table, "{passed} passed, {} failed, {skipped} skipped", failures.len()).unwrap();
    println!("\n{table}");
    // For whoever runs the tests with their output hidden.
    std::fs::write(Path::new(env!("CARGO_TARGET_TMPDIR")).join("real-clients.txt"), &table).unwrap();
    lab.lattice.assert_forbidden_untouched();
    assert!(failures.is_empty(), "{table}\n{}", failures.join("\n\n"));
}

impl Tool {
    fn program(self) -> &'static str {
        match self {
            Self::Curl => "curl",
            Self::Openssl => "openssl",
            Self::Wget => "wget",
            Self::Python | Self::Grpc => "python3",
            Self::Node => "node",
            Self::Java => "java",
            Self::Balancer => "NLB (captured)",
        }
    }

    /// Its name and version; `None` where it is not installed.
    fn version(self) -> Option<String> {
        let (program, args): (_, &[&str]) = match self {
            Self::Balancer => return Some(self.program().to_owned()),
            Self::Python => (python(), &["-V"]),
            Self::Grpc => (python(), &["-c", "import grpc; print('grpcio', grpc.__version__)"]),
            Self::Openssl => (which("openssl")?, &["version"]),
            Self::Java => (which("java")?, &["--version"]),
            Self::Curl | Self::Wget | Self::Node => (which(self.program())?, &["--version"]),
        };
        let mut command = Command::new(program);
        command.args(args);
        let out = run(command, b"", DEADLINE);
        let number = out.stdout.split_whitespace().find(|word| word.contains('.'))?;
        let name = if self == Self::Grpc { "grpcio" } else { self.program() };
        Some(format!("{name} {}", number.trim_start_matches('v')))
    }
}
