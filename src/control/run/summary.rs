//! What a start says about itself, once and in the order in which it becomes known: what differs from the defaults and where
//! that was written, the list, the limits, the addresses. Warnings of the configuration come right after its settings.

use std::path::Path;

use crate::control::gate::Gate;
use crate::reload::Loaded;
use crate::sys::machine;
use crate::telemetry::process_log;
use latticegate_core::config::{Config, SettingSource};

/// The settings: one line each, and one that says what they differ from.
pub(super) fn configuration(config: &Config, file: Option<&Path>) {
    let changed = config.changed(&machine::of_process());
    let file = file.map_or_else(|| "none".to_owned(), |file| file.display().to_string());
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        configuration = %file,
        log = process_log::configured_filter(),
        changed = changed.len(),
        "latticegate; all but these settings are the defaults"
    );
    for setting in changed {
        tracing::info!("{setting}");
    }
}

pub(super) fn list(config: &Config, loaded: &Loaded) {
    let from = config.setting("policy").map(|setting| SettingSource(setting).to_string());
    tracing::info!(
        source = %config.policy,
        version = %loaded.version,
        rules = loaded.policy.rules().len(),
        from,
        "access list loaded"
    );
}

/// `raised_from`: the limit of open files that this process was started with, where it was lower.
pub(super) fn limits(config: &Config, raised_from: Option<u64>) {
    let (limits, machine) = (&config.limits, machine::of_process());
    tracing::info!(
        connections = limits.connections,
        half_open = limits.half_open,
        half_open_bytes = limits.half_open_bytes,
        open_files = machine.open_files,
        raised_from,
        memory = machine.memory,
        "limits"
    );
}

/// The last lines: a program that waits for the start may wait for `started`.
pub(super) fn addresses(gate: &Gate) {
    let config = &gate.shared().config;
    for (index, listener) in gate.listeners().iter().enumerate() {
        let from = config.listener_setting(index).map(|setting| SettingSource(setting).to_string());
        tracing::info!(
            name = %listener.name,
            address = %listener.bind,
            protocol = listener.protocol.word(),
            from,
            "listening"
        );
    }
    let (workers, health, admin) = (config.workers, gate.health_address(), gate.admin_address());
    tracing::info!(%workers, %health, %admin, "started");
}
