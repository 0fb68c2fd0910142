//! Single values of the configuration, by kind. Those that the access list uses, too, are in `yaml/values.rs`.

mod addresses;
mod destination;
mod durations;
mod log_keep;
mod locations;
mod names;
mod refused_bytes;
mod sizes;
mod words;

pub(super) use addresses::{AdminAddress, HealthAddress, ListenerAddress, ResolverAddress};
pub(super) use destination::Destination;
pub(super) use names::{AccountId, ListenerName, MetricWord, ViaName};
pub(super) use refused_bytes::RefusedBytes;
pub(super) use sizes::{Connections, Memory, Workers};
