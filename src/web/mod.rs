//! The two small HTTP servers on the control thread, both on hyper: the health port and the admin port.

mod server; // connections: how many, how long, how slow
mod linger; // how they end
mod proxy_header; // what may come before a request
mod protocol; // version, Host, target and method
mod response; // plain responses
mod health; // /healthz and /readyz
pub mod health_socket; // the same for `latticegate healthcheck`
mod token; // the secret of the admin port
mod access; // who may read the admin port
mod form; // what a request asks for
mod admin; // the routes of the admin port
mod snapshot; // the state at one moment
mod status_json; // the same as JSON
mod page; // the same for people
mod explain; // /explain
mod refused; // /refused
mod rule_metrics; // samples for each rule

pub use self::access::Access;
pub use self::admin::AdminService;
pub use self::health::HealthService;
pub(crate) use self::page::units;
pub use self::server::serve;
pub use self::token::Token;
