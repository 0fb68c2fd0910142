//! `latticegate doctor`: whether this machine, its resolver and the path to each service are fit for a configuration.
//!
//! It asks what a connection would: the same resolver, the same destination guard, the same dialling. Each wait has a
//! deadline, and what is found is a list of lines, each with a grade and, unless it passes, with help.

#[cfg(feature = "tls")]
mod certificate; // what a certificate says, and whether clients will accept it
mod clock; // the clock, compared with a time server
mod finding; // a line, and all of them
mod http; // whether a service answers a request
mod machine; // open files, memory, kernel settings
mod name; // one name, from lookup to answer
mod path; // one name on one listener: destination guard, connect, answer
mod ports; // whether the configured ports are free, or ours
mod resolver; // whether `dns.server` answers
mod source; // the configuration and the access list
mod target; // which names are examined, and on which listeners
mod tls; // whether a service answers a ClientHello

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use futures_util::stream::{StreamExt, iter};

pub use self::finding::{Diagnosis, Finding, Grade};
use self::name::Examination;
use self::target::Targets;
use crate::control::gate;
use crate::dns::Wire;
use crate::sys::control_runtime::control_runtime;
use crate::sys::interfaces::ask_ipv6;
use crate::sys::machine as sys_machine;
use crate::web::health_socket;
use latticegate_core::config::Config;
use latticegate_core::policy::Policy;

/// What is examined.
pub struct Request {
    /// The configuration file; none: the defaults.
    pub config: Option<PathBuf>,
    /// Names, as `NAME` or `NAME:PORT`; none: those that the access list has exactly.
    pub names: Vec<String>,
    /// Whom to ask the time.
    pub time_server: SocketAddr,
}

/// Names that are examined at the same time: enough for the slow ones not to add up, too few for a resolver to notice.
const AT_ONCE: usize = 8;
/// For a process on this machine to say whether it is ready.
const PROCESS_PATIENCE: Duration = Duration::from_secs(2);

/// Examines everything. An error: nothing could be examined.
pub fn examine(request: &Request) -> io::Result<Diagnosis> {
    let runtime = control_runtime()?;
    runtime.block_on(async {
        let mut diagnosis = Diagnosis::default();
        let file = request.config.as_deref();
        if let Some(config) = diagnosis.keep(source::configuration(file, source::FILE_PATIENCE).await) {
            let policy = diagnosis.keep(source::list(&config, &config.policy, source::LIST_PATIENCE).await);
            diagnosis.extend(source::other_lists(&config, source::LIST_PATIENCE).await);
            this_machine(&mut diagnosis, file, &config);
            diagnosis.add(clock::compare(request.time_server).await);
            path(&mut diagnosis, request, &config, policy.as_ref()).await;
        }
        Ok(diagnosis)
    })
}

/// What does not depend on the network.
fn this_machine(diagnosis: &mut Diagnosis, file: Option<&Path>, config: &Config) {
    let running = health_socket::visible(file, PROCESS_PATIENCE).unwrap_or_default();
    diagnosis.extend(ports::all(config, &running));
    diagnosis.extend(ports::processes(running));
    let machine = sys_machine::of_process();
    diagnosis.add(machine::files(&config.limits, &machine));
    diagnosis.add(machine::memory(&config.limits, &machine));
    diagnosis.extend(machine::sysctls(config, |name| std::fs::read_to_string(Path::new("/proc/sys").join(name)).ok()));
}

/// The resolver, then each name.
async fn path(diagnosis: &mut Diagnosis, request: &Request, config: &Config, policy: Option<&Policy>) {
    let wire = Wire::new(config.dns.server, config.dns.timeout.get());
    let ipv6 = ask_ipv6(config);
    diagnosis.extend(resolver::examine(&wire, config, ipv6).await);
    let Targets { targets, findings } = target::choose(&request.names, config, policy, SystemTime::now());
    diagnosis.extend(findings);
    let guard = gate::destination_guard(config);
    let examination = Examination { config, wire: &wire, ipv6, guard: &guard };
    let mut examined = iter(&targets).map(|target| examination.run(target)).buffered(AT_ONCE);
    while let Some(findings) = examined.next().await {
        diagnosis.extend(findings);
    }
}

/// `work`, or `None` if it is not done by then.
async fn within<T>(patience: Duration, work: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(patience, std::pin::pin!(work)).await.ok()
}
