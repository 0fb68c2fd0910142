//! The admin port: one that other machines reach is read by those alone who have a token.

use std::net::SocketAddr;
use std::num::NonZeroU8;

use super::Checker;
use crate::canonical_ip::CanonicalIp;
use crate::config::raw::RawAdmin;
use crate::config::{AdminAccess, defaults};
use crate::yaml::Path;

impl Checker<'_> {
    pub(super) fn admin(&mut self, raw: RawAdmin) -> (SocketAddr, AdminAccess, Option<NonZeroU8>) {
        let RawAdmin { bind, token_file, hosts, refused_bytes } = raw;
        let path = Path::root().key("admin");
        let bind = bind.map_or(defaults::ADMIN, |read| read.0.0);
        let is_protected = token_file.is_some() || self.document.has(&path.key("token_file"));
        if !CanonicalIp::new(bind.ip()).get().is_loopback() && !is_protected {
            let message = "can be reached from other machines, which may read it with a token only";
            let help = "add `token_file:`, a file with a secret of 16 characters or more, or bind \"127.0.0.1:9900\"";
            self.error(&path.key("bind"), message, help);
        }
        let token_file = token_file.map(|read| self.beside(&read.0));
        let access = AdminAccess { token_file, hosts: hosts.map(|list| list.0).unwrap_or_default() };
        (bind, access, refused_bytes.and_then(|read| read.0.0))
    }
}
