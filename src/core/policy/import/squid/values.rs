//! The values of Squid's ACLs: clients, names, ports.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use super::sets::{Clients, Pattern, Ports};
use super::text::is_blank;
use crate::canonical_ip::CanonicalIp;
use crate::hostname::{Hostname, NameError};
use crate::networks::parse_network;

/// Seen with 5.7, in spite of its documentation.
const NOBODY: &str = "Squid 5 finds no client with it; write `all`, or networks with their own masks";
/// Where IPv4 addresses are among those of IPv6 (`::ffff:0:0/96`). To Squid an IPv4 client has one of these as well.
const MAPPED: (u128, u128) = (0xffff_0000_0000, 0xffff_ffff_ffff);

/// Reads a value of `src`: a network, a range, or `all`. With it comes what an operator should know about it.
pub(super) fn clients(text: &str) -> Result<(Clients, Option<String>), String> {
    match text {
        // Squid reads the others as `all`, too, and says so when it starts.
        "all" | "0/0" | "0.0.0.0/0" | "0.0.0.0/0.0.0.0" | "0.0.0.0-255.255.255.255" | "0.0.0.0-0.0.0.0/0" => {
            return Ok((Clients::all(), None));
        }
        "ipv4" | "ipv6" => return Err(NOBODY.to_owned()),
        _ => {}
    }
    let unknown =
        || "it is no address, network or range of addresses; Squid would look up a name when it starts".to_owned();
    let (addresses, mask) = match text.split_once('/') {
        Some((addresses, mask)) => (addresses, Some(mask)),
        None => (text, None),
    };
    let (first, last) = addresses.split_once('-').unwrap_or((addresses, addresses));
    let address = |text: &str| text.parse::<IpAddr>().map_err(|_| unknown());
    let (mut first, last) = (address(first)?, address(last)?);
    // Squid's own `localnet` begins here. No client has the address before it.
    if first == IpAddr::V4(Ipv4Addr::new(0, 0, 0, 1)) && first != last {
        first = Ipv4Addr::UNSPECIFIED.into();
    }
    if first.is_ipv6() && [first, last].map(CanonicalIp::new).iter().any(|ip| ip.get().is_ipv4()) {
        return Err("write IPv4 addresses as such".to_owned());
    }
    let prefix = match mask {
        None => IpNet::from(first).max_prefix_len(),
        Some(mask) => prefix(mask).ok_or_else(|| "its mask is none of a network".to_owned())?,
    };
    if prefix == 0 {
        return Err(NOBODY.to_owned());
    }
    let network = |ip: IpAddr| IpNet::new(ip, prefix).map_err(|_| "its mask is too long".to_owned());
    let (from, to) = (network(first)?.trunc(), network(last)?.trunc());
    let clients = Clients::between(from.network(), to.broadcast()).filter(|clients| !clients.is_empty());
    let mut clients = clients.ok_or("it ends before it begins")?;
    if let (IpAddr::V6(from), IpAddr::V6(to)) = (from.network(), to.broadcast())
        && from.to_bits() <= MAPPED.0
        && to.to_bits() >= MAPPED.1
    {
        clients = clients.union(&Clients::all_v4());
        return Ok((clients, Some("Squid finds IPv4 clients with it, too".to_owned())));
    }
    let masked = from.addr() != first || to.addr() != last;
    Ok((clients, masked.then(|| format!("Squid ignores the host bits of {text}"))))
}

/// `24`, or `255.255.255.0`.
fn prefix(mask: &str) -> Option<u8> {
    let number = Some(mask).filter(|mask| mask.bytes().all(|b| b.is_ascii_digit()));
    number.map_or_else(|| ipnet::ip_mask_to_prefix(mask.parse().ok()?).ok(), |number| number.parse().ok())
}

/// What a value of `dstdomain` stands for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Domain {
    /// One name, or a name and all below it.
    Names(Vec<Pattern>),
    /// Only requests for an address, which are refused here in any case.
    Address,
}

/// Reads a value of `dstdomain`. An error says why no request matches it, neither in Squid nor here.
pub(super) fn domain(text: &str) -> Result<Domain, String> {
    let (below, name) = match text.strip_prefix('.') {
        Some(name) => (true, name),
        None => (false, text),
    };
    if let Some(name) = name.strip_suffix('.') {
        return Err(format!("Squid finds no name with a final dot; write {}", name.trim_end_matches('.')));
    }
    match Hostname::parse(name.as_bytes()) {
        Ok(name) if below => Ok(Domain::Names(vec![Pattern::Exact(name.clone()), Pattern::Below(name)])),
        Ok(name) => Ok(Domain::Names(vec![Pattern::Exact(name)])),
        Err(NameError::IpAddress) => Ok(Domain::Address),
        Err(error) => Err(no_domain(name).unwrap_or_else(|| format!("it is not a DNS name: {error}"))),
    }
}

/// What stands in place of a name, and what to write.
fn no_domain(text: &str) -> Option<String> {
    let is_pattern = |c: char| "^$\\()|?+[]{}".contains(c);
    let why = if let Some(odd) = odd_blank(text) {
        return Some(odd);
    } else if text.contains(is_blank) {
        "Squid takes all of it for one name; write each name on a line of its own"
    } else if text.contains([',', ';']) {
        "Squid takes all of it for one name; names are parted by blanks, or stand on lines of their own"
    } else if !text.is_ascii() {
        "it is not ASCII; write it as DNS has it, like xn--bcher-kva.example"
    } else if clients(text).is_ok() {
        "it is a network, and Squid finds no name with it; requests for addresses are refused in any case"
    } else if text.contains("://") {
        "it is a URL; write the name alone"
    } else if text.starts_with('/') || text.contains(is_pattern) {
        "it is a pattern, such as a regular expression, and Squid finds no name with it; write names, like \
         www.example.com, or .example.com for the name and all below it"
    } else if text.contains('/') {
        "it has a path; write the name alone"
    } else if text.contains('*') {
        let name = text.trim_start_matches(['*', '.']);
        let name = if name.is_empty() || name.contains('*') { "example.com" } else { name };
        return Some(format!("Squid knows no `*` here; write .{name} for the name and all below it"));
    } else {
        return None;
    };
    Some(why.to_owned())
}

/// That a text has a blank of Unicode, which is hard to see.
pub(super) fn odd_blank(text: &str) -> Option<String> {
    let odd = text.chars().find(|c| !is_blank(*c) && (c.is_whitespace() || matches!(c, '\u{200b}' | '\u{feff}')))?;
    Some(format!("it has a blank that Squid takes for a letter (U+{:04X}); write a usual one", u32::from(odd)))
}

/// Reads a value of `port`: `443`, or `1025-65535`.
pub(super) fn ports(text: &str) -> Result<Ports, String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let port = |text: &str| {
        let digits = Some(text).filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
        digits.and_then(|digits| digits.parse::<u16>().ok()).ok_or_else(|| "it is not a port".to_owned())
    };
    let (first, last) = (port(first)?, port(last)?);
    if first > last {
        return Err("it ends before it begins".to_owned());
    }
    Ok(Ports(vec![(first, last)]))
}

/// Networks that no name may lead to where `upstream.allowed_networks` is `public`: this machine and its link, private
/// networks, multicast.
const NOT_PUBLIC: [&str; 13] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "224.0.0.0/4",
    "::/128",
    "::1/128",
    "fc00::/7",
    "fe80::/10",
    "ff00::/8",
];

/// Whether a value of `dst` is part of what is never dialled.
pub(super) fn is_not_public(text: &str) -> bool {
    let Ok((clients, _)) = clients(text) else { return false };
    let inside =
        NOT_PUBLIC.iter().filter_map(|network| parse_network(network).ok()).fold(Clients::default(), |sum, network| {
            Clients::between(network.network(), network.broadcast()).map_or(sum.clone(), |part| sum.union(&part))
        });
    clients.intersection(&inside) == clients
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_read_as_squid_reads_them() {
        for (text, networks) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("10.0.0.0/255.0.0.0", "10.0.0.0/8"),
            ("192.0.2.7", "192.0.2.7/32"),
            ("10.1.2.3/24", "10.1.2.0/24"),
            ("10.0.5.1-10.0.6.9/24", "10.0.5.0/24 10.0.6.0/24"),
            ("10.0.0.0-10.0.0.255", "10.0.0.0/24"),
            ("0.0.0.1-0.255.255.255", "0.0.0.0/8"),
            ("2001:db8::/32", "2001:db8::/32"),
            ("2001:db8::1", "2001:db8::1/128"),
            // IPv4 clients are among these.
            ("::/1", "0.0.0.0/0 ::/1"),
            ("::-2001::", "0.0.0.0/0 ::/3 2000::/16 2001::/128"),
        ] {
            let (clients, _) = clients(text).unwrap();
            let found: Vec<String> = clients.networks().unwrap().iter().map(IpNet::to_string).collect();
            assert!(found.join(" ").starts_with(networks), "{text}: {found:?}");
        }
        assert_eq!(clients("0.0.0.0/0.0.0.0").unwrap().0, Clients::all());
        assert_eq!(clients("10.1.2.3/24").unwrap().1.unwrap(), "Squid ignores the host bits of 10.1.2.3/24");
        for text in [
            "client.example",
            "10.0.0/24",
            "10.0.0.0/33",
            "10.0.0.0/255.0.255.0",
            "10.0.0.9-10.0.0.1",
            "::ffff:1.2.3.4",
            // Squid finds no client with these.
            "10.0.0.0/0",
            "10.0.0.0/0.0.0.0",
            "10.0.0.1-10.0.0.9/0",
            "2001:db8::/0",
            "0.0.0.0/00",
            "::/0",
            "ipv4",
            "ipv6",
            "",
        ] {
            assert!(clients(text).is_err(), "{text}");
        }
    }

    #[test]
    fn names_are_read_as_squid_reads_them() {
        let texts = |text: &str| match domain(text) {
            Ok(Domain::Names(names)) => names.iter().map(Pattern::to_string).collect::<Vec<_>>().join(" "),
            other => format!("{other:?}"),
        };
        assert_eq!(texts(".Example.COM"), "example.com *.example.com");
        assert_eq!(texts("www.example.com"), "www.example.com");
        for address in ["10.0.0.1", "10.0.0.1-10.0.0.9", "[2001:db8::1]", "2001:db8::1"] {
            assert_eq!(domain(address), Ok(Domain::Address), "{address}");
        }
        for (text, part) in [
            ("*.example.com", "write .example.com for"),
            ("b\u{fc}cher.example", "xn--"),
            ("https://example.com/", "a URL"),
            ("example.com:443", "a port is no part"),
            ("example.com.", "write example.com"),
            ("..example.com", "a label is empty"),
            (".", "is empty"),
            ("a.example b.example", "each name on a line of its own"),
            ("a.example\rb.example", "each name on a line of its own"),
            ("a.example,b.example", "parted by blanks"),
            ("a.example\u{a0}b.example", "(U+00A0)"),
            ("a.example\u{2028}", "(U+2028)"),
            ("\u{feff}a.example", "(U+FEFF)"),
            ("10.0.0.0/8", "it is a network"),
            ("2001:db8::/32", "it is a network"),
            ("/example/", "a regular expression"),
            ("^(.+\\.)?example\\.com$", "a regular expression"),
            ("||ads.example^", "a regular expression"),
            ("example.com/path", "it has a path"),
            ("*", "write .example.com for"),
            ("ads*.example.com", "no `*`"),
            ("a@b.example", "a character"),
        ] {
            assert!(domain(text).unwrap_err().contains(part), "{text}: {:?}", domain(text));
        }
    }

    #[test]
    fn ports_and_private_networks() {
        assert!(ports("1025-65535").unwrap().contains(8080) && !ports("80").unwrap().contains(81));
        for text in ["http", "65536", "9-1", "+80", "", "80-"] {
            assert!(ports(text).is_err(), "{text}");
        }
        for (text, private) in
            [("127.0.0.0/8", true), ("10.0.0.0/9", true), ("fe80::/10", true), ("8.0.0.0/6", false), ("8.8.8.8", false)]
        {
            assert_eq!(is_not_public(text), private, "{text}");
        }
    }
}
