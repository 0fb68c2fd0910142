//! The other direction in the demo: latticegate as an explicit proxy between a VPC and a stand-in for the internet.

pub(super) mod calls;
pub(super) mod check;
mod client;
