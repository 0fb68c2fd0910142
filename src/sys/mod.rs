//! What the system offers, each in one place. The data path reaches it through here only.

pub mod blocking; // calls that may never return, on threads of their own
pub mod control_runtime; // tokio, for all that is not a worker
pub mod clock; // the clock that people read, and that may jump
pub mod instant; // the monotonic clock, read once in each turn of a worker
pub mod recent_longest; // a maximum that is forgotten after a while
pub mod files; // an operator's files, read within bounds
pub mod interfaces; // routes and addresses of this machine
pub mod listening; // which process listens on a port
pub mod machine; // open files, CPUs and memory that this process may use
pub(crate) mod key_hash; // the hash of tables whose keys clients choose
pub(crate) mod mutex; // locks that a panic does not poison
pub mod process; // CPU time, memory and age of this process and its threads
pub(crate) mod random; // the order of addresses, simulations
pub mod socket; // socket options and process limits
pub(crate) mod tcp_info; // what the kernel knows of a TCP connection
