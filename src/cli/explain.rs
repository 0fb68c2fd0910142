//! `latticegate explain`: what would happen to a connection, and why.

use std::io::{self, Read};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::{Context, anyhow};
use clap::Args;

use super::print::{print, print_diagnostics, say};
use super::{ConfigArgs, list, replay};
use crate::control::gate;
use crate::dns::{LookupError, Wire, look_up};
use crate::sys::control_runtime::control_runtime;
use crate::sys::files;
use crate::sys::interfaces;
use latticegate_core::client::EndpointId;
use latticegate_core::config::{Config, Listener, PolicySource};
use latticegate_core::diagnostic::Severity;
use latticegate_core::explain::{Conclusion, Explanation, Query, Target, chosen, destination, explain};
use latticegate_core::outcome::RefuseReason;
use latticegate_core::policy::{Policy, endpoint};
use latticegate_core::replay::Replay;

/// Explain what would happen to a connection, step by step.
///
/// Follows one connection through the code of the data path and prints every step: which rules do not match and why,
/// which rule decides, and with --resolve whether the addresses of the name may be dialled. No connection is made; an
/// access list configured as s3:// or http:// is fetched. For the list that a running latticegate has in force, ask its
/// admin port: /explain?from=IP&to=NAME.
///
/// With --log, yesterday's access log of Squid or nginx is read instead: which of the requests in it would be refused, by
/// which rule and why, grouped and counted. The list decides as of now. Requests that the proxy itself could not serve,
/// and tunnels that it refused for what was in them, are only counted: the line does not say what a list would decide by.
///
/// Exit status 0: allowed, and with --log: no request that went through would be refused; 1: refused, and with --log: some
/// would be; 2: undecided, and with --log: none would be refused, but some are undecided, as in a log of nginx where the
/// list decides by name; or the configuration is wrong, or the log cannot be read.
#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Use this access list instead of the configured one: a file, s3://bucket/key, or http:// on loopback. Unless
    /// --resolve is given, proxy_protocol.trusted is then not required.
    #[arg(long, value_name = "LIST", value_parser = list::named)]
    policy: Option<PolicySource>,
    /// The client's address, as in the PROXY header.
    #[arg(long, value_name = "IP")]
    from: Option<IpAddr>,
    /// The name that the client requests; on a forward listener with the port: NAME:PORT.
    #[arg(long, value_name = "NAME")]
    to: Option<String>,
    /// The listener, by its name. Needed where there are several and one of them is a forward listener.
    #[arg(long, value_name = "NAME", conflicts_with = "port")]
    listener: Option<String>,
    /// The port that the client connects to; it selects the listener. 443 unless there is only one listener, or a forward
    /// listener.
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// The VPC endpoint that the client comes through (PrivateLink). A listener with proxy_protocol: off does not know it.
    #[arg(long, value_name = "VPCE")]
    via: Option<String>,
    /// A recording of what the client sends: PROXY header, ClientHello or request head; or - for standard input. The bytes
    /// themselves, or as hexadecimal digits, as /refused?id=ID of the admin port has them. What it contains takes precedence
    /// over --from, --via and --to; but on a forward listener a ClientHello is that of the tunnel to --to.
    #[arg(long, value_name = "FILE")]
    hello: Option<PathBuf>,
    /// Resolve the name with the configured resolver, and check each address with the destination guard.
    #[arg(long)]
    resolve: bool,
    /// An access log, or - for standard input: Squid's native, common or combined format, or that of the nginx guidance.
    /// What is in Squid's log was requested of the listener with protocol forward, what is in nginx's of the listener for
    /// its port, unless --listener is given.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["from", "to", "port", "hello", "resolve"])]
    log: Option<PathBuf>,
}

impl ExplainArgs {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        // 1 would mean that the connection is refused.
        self.answer().or_else(|error| {
            say(format_args!("error: {error:#}"));
            Ok(ExitCode::from(2))
        })
    }

    fn answer(&self) -> anyhow::Result<ExitCode> {
        let file = self.config.file.as_deref();
        // The list alone is enough, unless addresses are to be checked: for that the whole configuration is needed.
        let config = match &self.policy {
            Some(_) if !self.resolve => files::configuration_for_list(file, files::environment()),
            _ => files::configuration(file, files::environment()),
        };
        let loaded =
            config.and_then(|(config, _)| Ok((list::load(self.policy.as_ref().unwrap_or(&config.policy))?, config)));
        let (policy, config) = match loaded {
            Ok(loaded) => loaded,
            Err(diagnostics) => {
                print_diagnostics(Severity::Error, &diagnostics);
                return Ok(ExitCode::from(2));
            }
        };
        if let Some(log) = &self.log {
            let listener = self.listener.as_ref().map(|_| self.listener(&config)).transpose()?;
            return replay::run(log, &mut Replay::new(&policy, &config, listener, self.via()?, SystemTime::now()));
        }
        let mut explanation = self.ask(&policy, &config)?;
        if self.resolve && explanation.verdict == Some(Conclusion::Allowed) {
            self.resolve(&config, &mut explanation)?;
        }
        print(|out| write!(out, "{explanation}"))?;
        Ok(match explanation.verdict {
            Some(Conclusion::Allowed) => ExitCode::SUCCESS,
            Some(Conclusion::Refused(_)) => ExitCode::FAILURE,
            _ => ExitCode::from(2),
        })
    }

    fn ask(&self, policy: &Policy, config: &Config) -> anyhow::Result<Explanation> {
        let via = self.via()?;
        let listener = self.listener(config)?;
        let (to, port) = match &self.to {
            Some(text) => {
                let (name, port) = destination(text, listener).map_err(|error| anyhow!("--to: {error}"))?;
                (Some(name), port)
            }
            None => (None, None),
        };
        let bytes = match &self.hello {
            Some(path) => Some(recording(path).with_context(|| format!("--hello: {}", path.display()))?),
            None => None,
        };
        let query = Query { listener, from: self.from, via, to, port, bytes: bytes.as_deref(), now: SystemTime::now() };
        Ok(explain(policy, config, &query))
    }

    fn via(&self) -> anyhow::Result<Option<EndpointId>> {
        let via = self.via.as_ref().map(|text| endpoint(text));
        via.transpose().map_err(|error| anyhow!("--via: {}; {}", error.message, error.help))
    }

    fn listener<'a>(&self, config: &'a Config) -> anyhow::Result<&'a Listener> {
        chosen(config, self.listener.as_deref(), self.port).map_err(|error| match self.port {
            Some(_) => anyhow!("--port: {error}"),
            None => anyhow!("--listener: {error}"),
        })
    }

    fn resolve(&self, config: &Config, explanation: &mut Explanation) -> anyhow::Result<()> {
        let Some(Target { name, .. }) = explanation.target.clone() else { return Ok(()) };
        let runtime = control_runtime()?;
        let server = config.dns.server;
        let wire = Wire::new(server, config.dns.timeout.get());
        let found = runtime.block_on(look_up(&wire, &name, interfaces::ask_ipv6(config)));
        match found {
            Ok(found) => {
                let list: Vec<String> = found.addresses.iter().map(IpAddr::to_string).collect();
                let text = format!("{} by {server}, for {} s", list.join(", "), found.ttl.as_secs());
                explanation.step("resolve", text);
                let destinations = gate::destination_guard(config);
                let listener = self.listener(config)?;
                let destinations = destinations.within(&listener.networks);
                explanation.addresses(&found.addresses, destinations);
            }
            Err(LookupError::Unknown) => {
                let why = format!("{server} knows no address; is the private hosted zone associated with this VPC?");
                explanation.unresolved(why, Conclusion::Refused(RefuseReason::NameUnknown));
            }
            Err(error) => {
                let why = format!("{server} did not answer: {error:?}");
                explanation.unresolved(why, Conclusion::Undecided("the resolver did not answer"));
            }
        }
        Ok(())
    }
}

/// The bytes of a recording. What consists of hexadecimal digits alone is no header, hello or head, so that it is known for
/// what it is.
fn recording(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        io::stdin().lock().read_to_end(&mut bytes)?;
    } else {
        bytes = std::fs::read(path)?;
    }
    let digits: Vec<u8> = bytes.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let (pairs, rest) = digits.as_chunks::<2>();
    let decoded: Option<Vec<u8>> = pairs.iter().map(|pair| Some(hex(pair[0])? << 4 | hex(pair[1])?)).collect();
    Ok(decoded.filter(|_| rest.is_empty() && !pairs.is_empty()).unwrap_or(bytes))
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}
