//! How a connection can end.
