//! What each row of the matrix does, and what it takes for a pass.
//!
//! A row that went through must have left as many `relayed` records as it made connections, and a refused one its
//! one record; what is over is found by the next row.

use std::io::{BufRead, BufReader};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::lattice::{ACCESS_KEY, SECRET_KEY, pattern};
use crate::network::{BALANCER_NAME, LATTICE6};
use crate::process::{DEADLINE, Output, eventually};
use crate::proxy::{Kind, Proxy};
use crate::{Lab, file, probes, python};

const GIB: u64 = 1 << 30;

/// What a row works with.
pub(crate) struct Route<'a> {
    pub(crate) lab: &'a Lab,
    pub(crate) proxy: &'a Proxy,
}

pub(crate) enum Who {
    Client,
    Outsider,
}

impl Route<'_> {
    /// Runs one row.
    pub(crate) fn row(&self, run: fn(&Self) -> Result<()>) -> Result<()> {
        let left = self.proxy.records();
        ensure!(left.is_empty(), "an earlier row left records: {left:?}");
        let result = run(self);
        if result.is_err() {
            // Not the next row's fault.
            drop(self.proxy.records());
        }
        result
    }

    pub(crate) fn get(&self, args: &[&str], scheme: &str) -> Result<()> {
        let url = format!("{scheme}://orders.example.com/any");
        let out = self.lab.client().curl(args.iter().copied().chain([&*url]));
        ensure!(echoed(&out)?["path"] == "/any", "{out:?}");
        self.relayed(1)
    }

    pub(crate) fn signed(&self, scheme: &str, args: &[&str]) -> Result<()> {
        let out = self.sign(scheme, SECRET_KEY, args);
        ensure!(out.stdout == "signature verified\n200", "{out:?}");
        self.relayed(1)
    }

    fn sign(&self, scheme: &str, secret: &str, args: &[&str]) -> Output {
        let user = format!("{ACCESS_KEY}:{secret}");
        let signed = ["--aws-sigv4", "aws:amz:us-west-2:vpc-lattice-svcs", "--user", &user];
        let payload = ["-H", "x-amz-content-sha256: UNSIGNED-PAYLOAD", "-w", "%{http_code}"];
        let url = format!("{scheme}://orders.example.com/signed?a=1&b=two");
        self.lab.client().curl([&signed[..], &payload, args, &[&url]].concat())
    }

    pub(crate) fn expect_continue(&self, scheme: &str) -> Result<()> {
        let backend = format!("{} {}", python().display(), file("backend.py").display());
        // -v tells of the interim answer on standard error.
        let line = format!(
            "{backend} stream {GIB} | tee >(sha256sum >sent) | \
             curl -sSv --fail --http1.1 --cacert ca.pem -X POST -H 'Expect: 100-continue' \
             --expect100-timeout 60 -T - {scheme}://orders.example.com/sum; echo; cat sent"
        );
        let out = self.lab.client().shell(&line);
        ensure!(out.stderr.contains("HTTP/1.1 100 Continue"), "{out:?}");
        let mut words = out.stdout.split_whitespace();
        let (length, received, sent) = (words.next(), words.next(), words.next());
        ensure!(length == Some(&GIB.to_string()) && received.is_some() && received == sent, "{out:?}");
        self.relayed(1)
    }

    pub(crate) fn events(&self, scheme: &str) -> Result<()> {
        let url = format!("{scheme}://orders.example.com/events");
        let (mut curl, stdout) = self.lab.client().curl_stream(&url);
        let lines = BufReader::new(stdout).lines();
        let (seen, events) = mpsc::channel();
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| seen.send(line)));
        // The service sends an event when it is asked to: the next is asked for only when this one was seen.
        for event in ["first", "second", "third", "last"] {
            let asked = self.lab.client().curl(["--fail", "--data", event, &url]);
            ensure!(asked.ok(), "{asked:?}");
            let line = events.recv_timeout(DEADLINE).with_context(|| format!("waiting for event {event}"))?;
            ensure!(line == format!("data: {event}"), "{line}");
            ensure!(events.recv_timeout(DEADLINE)?.is_empty(), "an event ends with an empty line");
        }
        ensure!(eventually(|| curl.ended().is_some_and(|status| status.success())), "curl did not end well");
        self.relayed(5)
    }

    pub(crate) fn keep_alive(&self, scheme: &str) -> Result<()> {
        let url = format!("{scheme}://orders.example.com/any");
        let each = ["-o", "/dev/null", "-w", "%{http_code} %{num_connects}\n"];
        let args: Vec<&str> = (0..5).flat_map(|_| [&url]).map(String::as_str).chain(each).collect();
        // One -o for each URL.
        let out = self.lab.client().curl(args.into_iter().chain(["-o", "/dev/null"].repeat(4)));
        ensure!(out.stdout == "200 1\n200 0\n200 0\n200 0\n200 0\n", "{out:?}");
        self.relayed(1)
    }

    pub(crate) fn ipv6_client(&self, scheme: &str) -> Result<()> {
        let out = self.lab.client6().curl([&format!("{scheme}://orders.example.com/any")]);
        ensure!(echoed(&out)?["path"] == "/any", "{out:?}");
        for record in self.take(1)? {
            ensure!(record["outcome"] == "relayed" && record["client"] == "2001:db8:1::2", "{record}");
        }
        Ok(())
    }

    pub(crate) fn ipv6_upstream(&self, scheme: &str) -> Result<()> {
        let out = self.lab.client().curl([&format!("{scheme}://v6only.example.com/any")]);
        ensure!(echoed(&out)?["path"] == "/any", "{out:?}");
        for record in self.take(1)? {
            let upstream = record["upstream"].as_str().unwrap_or_default();
            ensure!(record["outcome"] == "relayed" && upstream.contains(LATTICE6), "{record}");
        }
        Ok(())
    }

    /// A refused curl: `reported` is what its user sees, and on port 80 the connection's id too.
    pub(crate) fn reported(&self, who: Who, url: &str, reported: &str, reason: &str) -> Result<()> {
        let client = match who {
            Who::Client => self.lab.client(),
            Who::Outsider => self.lab.outsider(),
        };
        let out = client.curl(["-w", "%{http_code}", url]);
        let plain = url.starts_with("http:");
        ensure!(out.ok() == plain, "{out:?}");
        let seen = if plain { &out.stdout } else { &out.stderr };
        ensure!(seen.contains(reported), "{out:?}");
        for record in self.take(1)? {
            ensure!(record["outcome"] == "refused" && record["reason"] == reason, "{record}");
            let id = record["id"].as_str().context("no id")?;
            ensure!(!plain || out.stdout.contains(id), "{id} is not in {out:?}");
        }
        Ok(())
    }

    /// A ClientHello with that many protocols of 240 bytes offered.
    pub(crate) fn hello(&self, protocols: usize, refused: Option<&str>) -> Result<()> {
        let offered: Vec<String> = (0..protocols).map(|n| format!("{n:0>240}")).collect();
        let alpn = format!("{},http/1.1", offered.join(","));
        let out = self.s_client(&["-alpn", &alpn]);
        match refused {
            None => {
                ensure!(out.stdout.contains("HTTP/1.1 200"), "{out:?}");
                self.relayed(1)
            }
            Some(reason) => self.alerted(&out, reason),
        }
    }

    fn s_client(&self, args: &[&str]) -> Output {
        let connect = ["-connect", "orders.example.com:443"];
        self.lab.client().s_client([&connect[..], args].concat(), REQUEST)
    }

    fn alerted(&self, out: &Output, reason: &str) -> Result<()> {
        ensure!(!out.ok() && out.stderr.contains("alert"), "{out:?}");
        for record in self.take(1)? {
            ensure!(record["outcome"] == "refused" && record["reason"] == reason, "{record}");
        }
        Ok(())
    }

    pub(crate) fn wget(&self, scheme: &str) -> Result<()> {
        let out = self.lab.client().wget([&format!("{scheme}://orders.example.com/any")]);
        ensure!(echoed(&out)?["path"] == "/any", "{out:?}");
        self.relayed(1)
    }

    pub(crate) fn python(&self, scheme: &str) -> Result<()> {
        let script = file("clients/request.py");
        let url = format!("{scheme}://orders.example.com/any");
        let out = self.lab.client().program(python(), [script.as_os_str(), url.as_ref(), "ca.pem".as_ref()]);
        ensure!(out.stdout == "first\nsecond\n", "{out:?}");
        self.relayed(1)
    }

    pub(crate) fn node(&self, scheme: &str, version: &str) -> Result<()> {
        let script = file("clients/request.mjs");
        let url = format!("{scheme}://orders.example.com/any");
        let args = [script.as_os_str(), url.as_ref(), "ca.pem".as_ref(), version.as_ref()];
        let out = self.lab.client().program("node", args);
        ensure!(out.stdout == "first\nsecond\n", "{out:?}");
        self.relayed(1)
    }

    pub(crate) fn java(&self, scheme: &str, version: &str) -> Result<()> {
        let script = file("clients/Request.java");
        let url = format!("{scheme}://orders.example.com/any");
        let args = [script.as_os_str(), url.as_ref(), "ca.pem".as_ref(), version.as_ref()];
        let out = self.lab.client().program("java", args);
        let lines: Vec<&str> = out.stdout.lines().collect();
        let said =
            |line: &&str, body: &str| line.starts_with(version) && line.contains(&format!("\"body\": \"{body}\""));
        ensure!(lines.len() == 2 && said(&lines[0], "first") && said(&lines[1], "second"), "{out:?}");
        self.relayed(1)
    }

    pub(crate) fn wget_denied(&self, scheme: &str, reported: &str) -> Result<()> {
        let url = format!("{scheme}://orders.example.com/any");
        self.denied(&self.lab.outsider().wget([&url]), reported)
    }

    pub(crate) fn python_denied(&self, scheme: &str, reported: &str) -> Result<()> {
        let (script, url) = (file("clients/request.py"), format!("{scheme}://orders.example.com/any"));
        self.denied(
            &self.lab.outsider().program(python(), [script.as_os_str(), url.as_ref(), "ca.pem".as_ref()]),
            reported,
        )
    }

    pub(crate) fn node_denied(&self, scheme: &str, reported: &str) -> Result<()> {
        let (script, url) = (file("clients/request.mjs"), format!("{scheme}://orders.example.com/any"));
        let args = [script.as_os_str(), url.as_ref(), "ca.pem".as_ref(), "1".as_ref()];
        self.denied(&self.lab.outsider().program("node", args), reported)
    }

    pub(crate) fn java_denied(&self, scheme: &str, reported: &str) -> Result<()> {
        let (script, url) = (file("clients/Request.java"), format!("{scheme}://orders.example.com/any"));
        let args = [script.as_os_str(), url.as_ref(), "ca.pem".as_ref(), "HTTP_1_1".as_ref()];
        self.denied(&self.lab.outsider().program("java", args), reported)
    }

    /// A client off the list is reported so in the words of its own library; with the whole answer also the record's id.
    fn denied(&self, out: &Output, reported: &str) -> Result<()> {
        ensure!(!out.ok() && out.stderr.contains(reported), "{reported:?} is not in {out:?}");
        for record in self.take(1)? {
            ensure!(record["outcome"] == "refused" && record["reason"] == "client_denied", "{record}");
            let id = record["id"].as_str().context("no id")?;
            ensure!(!reported.contains("latticegate") || out.stderr.contains(id), "{id} is not in {out:?}");
        }
        Ok(())
    }

    fn relayed(&self, connections: usize) -> Result<()> {
        for record in self.take(connections)? {
            ensure!(record["outcome"] == "relayed" && record["client"] == "10.1.0.2", "{record}");
        }
        Ok(())
    }

    /// The sum of the connections that the metrics count with this label.
    fn count(&self, label: &str) -> u64 {
        let metrics = self.proxy.metrics(&self.lab.network);
        let lines = metrics.lines().filter(|line| line.starts_with("latticegate_connections_total{"));
        let values = lines.filter(|line| line.contains(label)).filter_map(|line| line.rsplit(' ').next());
        values.filter_map(|value| value.parse::<u64>().ok()).sum()
    }

    /// The next records; none from the incumbent, which writes none of ours.
    fn take(&self, count: usize) -> Result<Vec<Value>> {
        if Kind::chosen() == Kind::Incumbent {
            return Ok(Vec::new());
        }
        (0..count).map(|_| self.proxy.next_record().context("a record is missing")).collect()
    }
}

const REQUEST: &str = "GET /any HTTP/1.1\r\nHost: orders.example.com\r\nConnection: close\r\n\r\n";

/// What the service was sent, as it says.
fn echoed(out: &Output) -> Result<Value> {
    serde_json::from_str(&out.stdout).with_context(|| format!("{out:?}"))
}

/// The counter-proof: the service does look at signatures.
pub(crate) fn wrong_secret(on: &Route<'_>) -> Result<()> {
    let out = on.sign("https", "another secret", &[]);
    ensure!(out.stdout.contains("does not match") && out.stdout.ends_with("403"), "{out:?}");
    on.relayed(1)
}

pub(crate) fn ranges(on: &Route<'_>) -> Result<()> {
    let args = ["--range", "500003-500042", "-o", "part", "-w", "%{http_code}", "https://orders.example.com/pattern"];
    let out = on.lab.client().curl(args);
    ensure!(out.stdout == "206", "{out:?}");
    let part = std::fs::read(on.lab.dir.path().join("part"))?;
    ensure!(part == pattern()[500_003..=500_042], "{part:02x?}");
    on.relayed(1)
}

pub(crate) fn mutual_tls(on: &Route<'_>) -> Result<()> {
    let url = "https://mtls.example.com/any";
    let out = on.lab.client().curl(["--cert", "client.pem", "--key", "client.key", url]);
    let subject = &echoed(&out)?["headers"]["x-lab-subject"];
    ensure!(subject == "CN=lab client", "{out:?}");
    let without = on.lab.client().curl(["-o", "/dev/null", "-w", "%{http_code}", url]);
    ensure!(without.stdout == "400", "the service asks for a certificate: {without:?}");
    on.relayed(2)
}

/// Nobody's service has the load balancer's name: the log says what to write instead.
pub(crate) fn bare_name(on: &Route<'_>) -> Result<()> {
    let url = format!("https://{BALANCER_NAME}/");
    let out = on.lab.client().curl([&*url]);
    ensure!(!out.ok() && out.stderr.contains("alert"), "{out:?}");
    for record in on.take(1)? {
        ensure!(record["outcome"] == "refused" && record["name"] == BALANCER_NAME, "{record}");
        ensure!(record["detail"].as_str().is_some_and(|detail| detail.contains("--connect-to")), "{record}");
    }
    Ok(())
}

pub(crate) fn connect_to(on: &Route<'_>) -> Result<()> {
    let to = format!("orders.example.com:443:{BALANCER_NAME}:443");
    let out = on.lab.client().curl(["--connect-to", &to, "https://orders.example.com/any"]);
    ensure!(echoed(&out)?["path"] == "/any", "{out:?}");
    on.relayed(1)
}

pub(crate) fn no_sni(on: &Route<'_>) -> Result<()> {
    let out = on.s_client(&["-noservername"]);
    on.alerted(&out, "sni_missing")
}

pub(crate) fn early_data(on: &Route<'_>) -> Result<()> {
    let first = on.s_client(&["-tls1_3", "-sess_out", "session.pem"]);
    ensure!(first.stdout.contains("HTTP/1.1 200"), "{first:?}");
    std::fs::write(on.lab.dir.path().join("early.txt"), REQUEST)?;
    let out = on.lab.client().s_client(
        ["-connect", "orders.example.com:443", "-tls1_3", "-sess_in", "session.pem", "-early_data", "early.txt"],
        "",
    );
    // Nothing but early data was sent, so an answer means that the service got it.
    ensure!(out.stdout.contains("Early data was accepted") && out.stdout.contains("HTTP/1.1 200"), "{out:?}");
    on.relayed(2)
}

pub(crate) fn grpc(on: &Route<'_>) -> Result<()> {
    let script = file("clients/call.py");
    let args = [script.as_os_str(), "orders.example.com:443".as_ref(), "ca.pem".as_ref()];
    let out = on.lab.client().program(python(), args);
    ensure!(out.stdout == "echo: hello\n100 echo: word 99\n", "{out:?}");
    on.relayed(1)
}

/// For as many seconds as a person likes: `LAB_PROBE_SECONDS`.
pub(crate) fn health_checks(on: &Route<'_>) -> Result<()> {
    let seconds = std::env::var("LAB_PROBE_SECONDS").ok().map_or(Ok(20), |text| text.parse())?;
    let counted = |reason| on.count(&format!("reason=\"{reason}\""));
    let (said, empty, local) = (on.proxy.stderr(), counted("empty"), counted("local"));
    let (start, mut probed) = (Instant::now(), 0);
    while start.elapsed() < Duration::from_secs(seconds) {
        for port in [8443, 8080] {
            probes::probe(&on.lab.network.balancer, port)?;
            probed += probes::OF_EACH_KIND;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    // A real connection last: whatever was logged for the probes would come before its own record.
    on.get(&[], "https")?;
    if Kind::chosen() == Kind::Latticegate {
        ensure!(on.proxy.stderr() == said, "it said {:?}", on.proxy.stderr().strip_prefix(&said));
        let counts = (counted("empty") - empty, counted("local") - local);
        ensure!(counts == (probed, probed), "{probed} of each kind were made, (empty, local) counted: {counts:?}");
    }
    Ok(())
}

pub(crate) fn health_port(on: &Route<'_>) -> Result<()> {
    for header in [Vec::new(), probes::local_header()] {
        let answer = probes::readiness(&on.lab.network.balancer, &header)?;
        ensure!(answer.starts_with("HTTP/1.1 200"), "behind {header:02x?}: {answer}");
    }
    Ok(())
}
