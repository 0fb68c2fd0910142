//! What is logged and counted. One record for each connection, from which all sinks read.

pub mod access_log; // record → a line, without ever blocking a worker
pub mod busiest; // names and clients with the most traffic and the most refusals, for the operator's page
pub mod count; // counters that all workers share
pub mod emf; // metrics → CloudWatch, as lines in the log
pub mod history; // totals of the last minutes and hours, for charts
pub mod inquiry; // what the operator's page asks the workers
pub mod live; // the connections that are open, as one worker goes through them
pub mod log_writer; // the threads that write lines
pub mod metrics; // every metric: what is counted, its name and help
pub mod process_log; // what the process logs about itself, without ever waiting for its reader
pub mod recent; // the last refusals, for the operator's page
pub mod record; // what is known of one connection when it ends
pub mod refused_bytes; // the first bytes of the last refused connections
pub mod reporter; // the one report of each connection, to all sinks
pub mod status; // alive, ready, draining
