//! `protocol: forward`: CONNECT and requests in absolute form, by clients and origin servers that do exactly what the test
//! says.

pub(crate) mod causes;
mod connection;
mod curl;
mod log;
mod requests;
mod smuggling;
mod tunnel;

use support::lab::{Lab, Port, Setup};
use support::peer::{End, Peer};
use support::upstream::Upstream;
use support::wire::tcp4;

/// Two names, for the client behind the load balancer and for those that connect themselves.
pub(crate) const RULES: &str =
    "- allow: [192.0.2.0/24, 127.0.0.0/8]\n  to: [orders.example.com, other.example.com]\n- deny: all";

/// What every test of this has.
pub(crate) fn setup() -> Setup {
    Setup { forward: Some(""), rules: RULES, ..Setup::default() }
}

/// A lab, and the port that may be asked for.
pub(crate) struct Proxy {
    pub(crate) lab: Lab,
    pub(crate) port: u16,
}

impl Proxy {
    pub(crate) fn start() -> Self {
        Self::with(setup())
    }

    pub(crate) fn with(setup: Setup) -> Self {
        let lab = Lab::with(setup);
        let port = lab.upstream.address.port();
        Self { lab, port }
    }

    /// Puts these rules in force.
    pub(crate) fn reload(&self, rules: &str) {
        let loaded = || self.lab.metrics()["latticegate_policy_reload_total{result=\"loaded\"}"];
        let before = loaded();
        std::fs::write(self.lab.files.path().join("ipcontrol.yaml"), format!("rules:\n{rules}\n")).unwrap();
        support::until("the list is in force", || loaded() > before);
    }

    /// A second origin server, `other.example.com`, on the same port.
    pub(crate) fn other(&self) -> Upstream {
        let other = Upstream::start(self.lab.ip(11), self.port);
        self.lab.dns.set("other.example.com", support::dns::addresses(&[other.address.ip()]));
        other
    }

    /// A client of 192.0.2.1 that has sent these bytes.
    pub(crate) fn client(&self, bytes: impl AsRef<[u8]>) -> Peer {
        let mut client = self.lab.connect(Port::Forward);
        client.say([&tcp4(&[]), bytes.as_ref()].concat());
        client
    }

    /// The status, the head and what follows it, of the only answer.
    #[track_caller]
    pub(crate) fn refused(&self, bytes: impl AsRef<[u8]>) -> String {
        let (answer, end) = self.client(bytes).hear_all();
        assert_eq!(end, End::Fin);
        String::from_utf8(answer).unwrap()
    }

    /// The text of a head, in which `NAME` is `orders.example.com` with its port.
    pub(crate) fn head(&self, text: &str) -> String {
        let text = text.replace("NAME", &format!("orders.example.com:{}", self.port));
        let text = text.replace("OTHER", &format!("other.example.com:{}", self.port));
        format!("{}\r\n\r\n", text.replace('\n', "\r\n"))
    }

    pub(crate) fn connect(&self) -> String {
        self.head("CONNECT NAME HTTP/1.1\nHost: NAME")
    }

    /// A tunnel that is open: nothing has come through it yet.
    pub(crate) fn tunnel(&self) -> (Peer, Peer) {
        let mut client = self.client(self.connect());
        hears(&mut client, ESTABLISHED);
        (client, self.lab.upstream.accept())
    }

    /// A client and the upstream to which its request was sent; the rewritten head was read there.
    pub(crate) fn request(&self, head: &str) -> (Peer, Peer, String) {
        let client = self.client(self.head(head));
        let mut upstream = self.lab.upstream.accept();
        let head = hear_head(&mut upstream);
        (client, upstream, head)
    }
}

pub(crate) const ESTABLISHED: &str = "HTTP/1.1 200 Connection established\r\n\r\n";

#[track_caller]
pub(crate) fn hears(peer: &mut Peer, expected: &str) {
    let heard = peer.hear(expected.len());
    assert_eq!(String::from_utf8_lossy(&heard), expected);
}

/// Up to and with the empty line.
#[track_caller]
pub(crate) fn hear_head(peer: &mut Peer) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.extend(peer.hear(1));
    }
    String::from_utf8(head).unwrap()
}

/// A response with this body, and these fields.
pub(crate) fn response(fields: &str, body: &str) -> String {
    let fields = fields.replace('\n', "\r\n");
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n{fields}\r\n{body}", body.len())
}
