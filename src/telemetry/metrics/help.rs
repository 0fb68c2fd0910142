//! The help of each metric, as Prometheus shows it.

use metrics::{describe_counter, describe_gauge};

pub(super) fn describe() {
    describe_gauge!("latticegate_build_info", "Always 1; the label has the version.");
    describe_gauge!("latticegate_ready", "1 while /readyz answers 200.");
    describe_gauge!("latticegate_connections_active", "Connections open now, half-open ones included.");
    describe_gauge!(
        "latticegate_connections_half_open",
        "Open connections that have not yet sent a whole header and hello."
    );
    describe_gauge!("latticegate_open_fds", "Open files of this process.");
    describe_gauge!("latticegate_max_fds", "The process's limit of open files.");
    describe_counter!("latticegate_connections_total", "Connections closed, by listener, outcome and reason word.");
    describe_counter!(
        "latticegate_requests_total",
        "Absolute-form requests on forward listeners, by the first digit of the status that the client was sent."
    );
    describe_counter!("latticegate_bytes_total", "Bytes relayed: up is client to upstream. Counted at close.");
    describe_counter!("latticegate_accept_errors_total", "Failures of accept, such as a full fd table.");
    describe_gauge!("latticegate_warning", "1 while there is a warning that does not affect readiness.");
    describe_counter!(
        "latticegate_access_log_dropped_lines_total",
        "Lines of the access log that were not written: its reader was too slow, or its disk full."
    );
    describe_counter!(
        "latticegate_access_log_omitted_lines_total",
        "Lines left out of the access log on purpose: by its keep, in a flood of equal refusals, or for want of fields."
    );
    describe_counter!(
        "latticegate_emf_dropped_lines_total",
        "Lines of metrics for CloudWatch that were not written, for the same reasons."
    );
    describe_counter!(
        "latticegate_process_log_dropped_lines_total",
        "Lines of the process log on standard error that were not written, for the same reasons."
    );
    describe_counter!(
        "latticegate_process_log_throttled_lines_total",
        "Lines of libraries left out of the process log: each may log ten a minute."
    );
    describe_gauge!(
        "latticegate_file_blocked_seconds",
        "For how long a read, write or open of the file has not returned; 0 if none is in progress."
    );
    describe_counter!("latticegate_policy_reload_total", "Reads of the access list, the first included, by result.");
    describe_gauge!(
        "latticegate_policy_in_step",
        "0 while the source fails or hangs, or has a list that cannot be loaded."
    );
    describe_gauge!("latticegate_policy_hash", "CRC32C of the list in force: equal for two tasks with the same list.");
    describe_gauge!("latticegate_policy_rules", "Rules of the list in force.");
    describe_gauge!("latticegate_policy_age_seconds", "Age of the list in force, since it was loaded.");
    describe_counter!("latticegate_dns_lookups_total", "Names looked up at the resolver, by result.");
    describe_counter!(
        "latticegate_dns_stale_answers_total",
        "Expired answers used because the resolver did not answer."
    );
}
