//! The configuration that is in force, key by key, and where each value was written: for people who wonder why.

use std::fmt::{self, Display};
use std::time::Duration;

use super::{
    AccessLog, AdminAccess, Config, Dns, Drain, Emf, Forward, Limits, Listener, LogField, LogKeep, LogOutput,
    PolicySource, Quota, S3Object, Timeouts, Upstream,
};
use crate::diagnostic::{Origin, Position};
use crate::networks::DestinationNetworks;
use crate::yaml::{Document, Path};

/// One key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// As in `listeners[0].bind`.
    pub key: Box<str>,
    /// What it means here: `auto` and defaults are replaced by what they come to.
    pub value: Box<str>,
    /// Everywhere that a part of the value was written; the default applies if that is nowhere.
    pub written: Box<[WrittenAt]>,
}

/// Where a value was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenAt {
    pub origin: Origin,
    pub at: Option<Position>,
}

impl Display for WrittenAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.origin, self.at) {
            (Origin::File(path), Some(at)) => write!(f, "{}:{}", path.display(), at.line),
            (Origin::File(path), None) => path.display().fmt(f),
            (Origin::Variable(name), _) => f.write_str(name),
            (Origin::Defaults, _) => f.write_str("default"),
        }
    }
}

/// Every key of the configuration that was read from the document.
pub(super) fn of(config: &Config, document: &Document) -> Vec<Setting> {
    let mut settings = Settings { document, all: Vec::new() };
    settings.config(config);
    settings.all
}

struct Settings<'a> {
    document: &'a Document,
    all: Vec<Setting>,
}

impl Settings<'_> {
    fn config(&mut self, config: &Config) {
        // Without `..`, so that no key is forgotten.
        let Config {
            listeners,
            trusted,
            policy,
            policy_poll,
            policy_fallback,
            on_reload,
            shadow,
            policy_refusal,
            dns,
            upstream,
            timeouts,
            limits,
            drain,
            workers,
            health,
            fail_on_dns,
            admin,
            admin_access,
            refused_bytes,
            access_log,
            emf,
            settings: _,
        } = config;
        let root = Path::root();
        for (index, one) in listeners.iter().enumerate() {
            self.listener(one, &root.key("listeners").index(index));
        }
        self.add(&root.key("proxy_protocol").key("trusted"), list(trusted.iter()));
        self.add(&root.key("policy"), policy);
        self.add(&root.key("policy_poll"), time(policy_poll.get()));
        self.add(&root.key("policy_fallback"), or_none(policy_fallback.as_ref().map(|path| path.display())));
        let owner = if let PolicySource::S3(S3Object { owner, .. }) = policy { owner.as_ref() } else { None };
        self.add(&root.key("policy_owner"), or_none(owner));
        self.add(&root.key("on_reload"), on_reload.word());
        self.add(&root.key("shadow"), or_none(shadow.as_ref().map(|path| path.display())));
        self.add(&root.key("policy_refusal"), policy_refusal.word());
        self.dns(dns);
        self.upstream(upstream);
        let (section, Timeouts { handshake, connect, idle }) = (root.key("timeouts"), timeouts);
        for (key, value) in [("handshake", handshake), ("connect", connect), ("idle", idle)] {
            self.add(&section.key(key), time(value.get()));
        }
        self.limits(limits);
        let (section, Drain { delay, timeout }) = (root.key("drain"), drain);
        self.add(&section.key("delay"), time(*delay));
        self.add(&section.key("timeout"), time(*timeout));
        self.add(&root.key("workers"), workers);
        self.add(&root.key("health").key("bind"), health);
        self.add(&root.key("readiness").key("fail_on_dns"), fail_on_dns);
        let (section, AdminAccess { token_file, hosts }) = (root.key("admin"), admin_access);
        self.add(&section.key("bind"), admin);
        self.add(&section.key("token_file"), or_none(token_file.as_ref().map(|path| path.display())));
        self.add(&section.key("hosts"), list(hosts));
        self.add(&section.key("refused_bytes"), or_off(*refused_bytes));
        let (section, AccessLog { format, output, keep, fields }) = (root.key("access_log"), access_log);
        self.add(&section.key("format"), format.word());
        let output = match output {
            LogOutput::Stdout => "stdout".to_owned(),
            LogOutput::File(path) => path.display().to_string(),
        };
        self.add(&section.key("output"), output);
        let keep = match keep {
            LogKeep::All => "all".to_owned(),
            LogKeep::Failures => "failures".to_owned(),
            LogKeep::Sample(one_of) => format!("sample 1/{one_of}"),
        };
        self.add(&section.key("keep"), keep);
        let word = |field: &LogField| LogField::ALL.iter().find(|(_, one)| one == field).map_or("", |(word, _)| word);
        let fields = fields.as_ref().map(|fields| list(fields.iter().map(word)));
        self.add(&section.key("fields"), fields.unwrap_or_else(|| "all".to_owned()));
        self.emf(emf.as_ref());
    }

    fn listener(&mut self, listener: &Listener, at: &Path) {
        let Listener { name, bind, protocol, upstream_port, public_port, proxy_protocol, forward, networks } = listener;
        self.add(&at.key("name"), name);
        self.add(&at.key("bind"), bind);
        self.add(&at.key("protocol"), protocol.word());
        if forward.is_none() {
            self.add(&at.key("upstream_port"), upstream_port);
        }
        self.add(&at.key("public_port"), public_port);
        self.add(&at.key("proxy_protocol"), proxy_protocol.word());
        if let Some(Forward { connect_ports, http_ports, tunnel, via_name }) = forward {
            self.add(&at.key("connect_ports"), list(connect_ports));
            self.add(&at.key("http_ports"), list(http_ports));
            self.add(&at.key("tunnel"), tunnel.word());
            self.add(&at.key("via_name"), via_name);
        }
        let DestinationNetworks { public, allowed, denied, own_machine: _ } = networks;
        let public = public.then(|| "public".to_owned());
        let allowed = list(public.into_iter().chain(allowed.iter().map(ToString::to_string)));
        // A listener without its own has those of the section.
        let section = Path::root().key("upstream");
        for (key, value) in [("allowed_networks", allowed), ("denied_networks", list(denied.iter()))] {
            let own = at.key("upstream").key(key);
            let mut written = self.written(&own);
            if written.is_empty() || key == "denied_networks" {
                written.extend(self.written(&section.key(key)));
            }
            self.put(&own, value, written);
        }
    }

    fn dns(&mut self, dns: &Dns) {
        let Dns { server, ipv6, timeout, min_ttl, max_ttl, negative_ttl, max_stale, cache_size } = dns;
        let section = Path::root().key("dns");
        self.add(&section.key("server"), server);
        self.add(&section.key("ipv6"), ipv6.word());
        let timeout = &timeout.get();
        let times = [
            ("timeout", timeout),
            ("min_ttl", min_ttl),
            ("max_ttl", max_ttl),
            ("negative_ttl", negative_ttl),
            ("max_stale", max_stale),
        ];
        for (key, value) in times {
            self.add(&section.key(key), time(*value));
        }
        self.add(&section.key("cache_size"), cache_size);
    }

    /// Its networks are with each listener.
    fn upstream(&mut self, Upstream { names }: &Upstream) {
        let names = names.iter().map(|(requested, instead)| format!("{requested}: {instead}"));
        self.add(&Path::root().key("upstream").key("names"), list(names));
    }

    fn limits(&mut self, limits: &Limits) {
        let Limits {
            connections,
            half_open,
            half_open_bytes,
            half_open_per_client,
            handshake_rate,
            per_client,
            per_name,
            lookups_per_second,
            lookups_per_client,
        } = limits;
        let section = Path::root().key("limits");
        self.add(&section.key("connections"), connections);
        self.add(&section.key("half_open"), half_open);
        self.add(&section.key("half_open_bytes"), half_open_bytes);
        self.add(&section.key("half_open_per_client"), half_open_per_client);
        self.add(&section.key("handshake_rate"), handshake_rate);
        for (key, Quota { concurrent, per_second }) in [("per_client", per_client), ("per_name", per_name)] {
            self.add(&section.key(key).key("connections"), or_off(*concurrent));
            self.add(&section.key(key).key("per_second"), or_off(*per_second));
        }
        self.add(&section.key("lookups_per_second"), lookups_per_second);
        self.add(&section.key("lookups_per_client"), lookups_per_client);
    }

    fn emf(&mut self, emf: Option<&Emf>) {
        let section = Path::root().key("metrics").key("emf");
        let Some(Emf { interval, namespace, dimensions }) = emf else { return self.add(&section, "off") };
        self.add(&section.key("interval"), time(interval.get()));
        self.add(&section.key("namespace"), namespace);
        let dimensions = dimensions.iter().map(|(name, value)| format!("{name}: {value}"));
        self.add(&section.key("dimensions"), list(dimensions));
    }

    fn add(&mut self, path: &Path, value: impl Display) {
        let written = self.written(path);
        self.put(path, value, written);
    }

    fn put(&mut self, path: &Path, value: impl Display, written: Vec<WrittenAt>) {
        let (key, value) = (path.to_string().into(), value.to_string().into());
        self.all.push(Setting { key, value, written: written.into() });
    }

    fn written(&self, path: &Path) -> Vec<WrittenAt> {
        let written = self.document.written(path).into_iter();
        let written = written.filter(|(origin, _)| *origin != Origin::Defaults);
        written.map(|(origin, at)| WrittenAt { origin, at }).collect()
    }
}

fn list(items: impl IntoIterator<Item: Display>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    if items.is_empty() { "none".to_owned() } else { items.join(", ") }
}

fn or_none(value: Option<impl Display>) -> String {
    value.map_or_else(|| "none".to_owned(), |value| value.to_string())
}

fn or_off(value: Option<impl Display>) -> String {
    value.map_or_else(|| "off".to_owned(), |value| value.to_string())
}

/// As it could be written.
fn time(duration: Duration) -> String {
    if duration.is_zero() { "0s".to_owned() } else { format!("{duration:?}") }
}
