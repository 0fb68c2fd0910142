//! What was measured, from the one file that holds it: `benches/run capacity` writes that from a run of the benchmark.

use serde_json::Value;

/// Each figure with its unit, commit, date, command and machine.
const FILE: &str = include_str!("../../../benches/capacity/measured.json");

#[derive(Debug, Clone)]
pub(super) struct Measured {
    /// µs of CPU for a short connection: while workers are busy, with cold caches, and with a handshake of TLS.
    pub(super) connection_busy: f64,
    pub(super) connection_cold: f64,
    pub(super) connection_tls: f64,
    /// µs of CPU for each further request of a connection.
    pub(super) request_tls: f64,
    pub(super) request_http: f64,
    /// ms of CPU for a GiB, the dearer direction.
    pub(super) bulk: f64,
    /// MiB of the process without connections.
    pub(super) empty: f64,
    /// Bytes for a relayed connection on which nothing moves, of the process and of the kernel.
    pub(super) idle_user: f64,
    pub(super) idle_kernel: f64,
    /// Bytes of a line of the access log.
    pub(super) log_json: f64,
    pub(super) log_nginx: f64,
    /// When, where and of which commit the CPU figures are.
    pub(super) about: String,
    /// The same of the kernel's memory, which is measured by hand.
    pub(super) about_kernel: String,
}

impl Measured {
    /// What this build was made with.
    pub(super) fn shipped() -> Self {
        Self::read(FILE).expect("a test reads the file")
    }

    fn read(text: &str) -> Option<Self> {
        let file: Value = serde_json::from_str(text).ok()?;
        let value = |name: &str| file.get(name)?.get("value")?.as_f64().filter(|value| *value > 0.0);
        let about = |name: &str| {
            let text = |key: &str| file.get(name)?.get(key)?.as_str();
            Some(format!("commit {}, {}, {}", text("commit")?, text("date")?, text("machine")?))
        };
        Some(Self {
            connection_busy: value("connection_busy")?,
            connection_cold: value("connection_cold")?,
            connection_tls: value("connection_tls")?,
            request_tls: value("request_tls")?,
            request_http: value("request_http")?,
            bulk: value("down")?.max(value("up")?),
            empty: value("empty")?,
            idle_user: value("idle_user")?,
            idle_kernel: value("idle_kernel")?,
            log_json: value("log_json")?,
            log_nginx: value("log_nginx")?,
            about: about("connection_cold")?,
            about_kernel: about("idle_kernel")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_complete_and_every_figure_says_where_it_is_from() {
        Measured::shipped();
        let file: Value = serde_json::from_str(FILE).unwrap();
        for (name, figure) in file.as_object().unwrap() {
            for key in ["unit", "what", "commit", "date", "command", "machine"] {
                assert!(figure[key].as_str().is_some_and(|text| !text.is_empty()), "{name} has no {key}");
            }
        }
    }

    #[test]
    fn a_file_that_lacks_a_figure_is_refused() {
        let mut file: Value = serde_json::from_str(FILE).unwrap();
        file.as_object_mut().unwrap().remove("idle_kernel");
        assert!(Measured::read(&file.to_string()).is_none());
        assert!(Measured::read("nonsense").is_none());
    }
}
