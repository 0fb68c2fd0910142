//! Every spelling of an address that must not be dialled, and who may dial what.

use std::net::Ipv6Addr;

use super::*;
use crate::never_dialled::NEVER;

fn networks(list: &[&str]) -> Networks {
    Networks::new(list.iter().map(|network| network.parse().unwrap()).collect())
}

fn guard() -> DestinationGuard {
    DestinationGuard::new(
        networks(&["192.168.0.0/16", "2001:db8::/64"]),
        vec!["[::]:8443".parse().unwrap(), "127.0.0.1:9900".parse().unwrap()],
        vec!["192.168.1.7".parse().unwrap(), "10.9.0.7".parse().unwrap(), "fd00::7".parse().unwrap()],
        "10.0.0.2:53".parse().unwrap(),
    )
}

const LATTICE: &[&str] = &["169.254.171.0/24", "fd00:ec2:80::/64"];
const EVERYWHERE: &[&str] = &["0.0.0.0/0", "::/0"];

fn only(allowed: &[&str]) -> DestinationNetworks {
    DestinationNetworks { allowed: networks(allowed), own_machine: true, ..DestinationNetworks::default() }
}

fn check(allowed: &[&str], address: &str) -> Result<String, RefuseReason> {
    guard().within(&only(allowed)).check(address.parse().unwrap()).map(|address| address.to_string())
}

#[test]
fn lattice_addresses_pass_in_their_normal_form() {
    assert_eq!(check(LATTICE, "169.254.171.10:443").as_deref(), Ok("169.254.171.10:443"));
    assert_eq!(check(LATTICE, "[fd00:ec2:80::10]:443").as_deref(), Ok("[fd00:ec2:80::10]:443"));
    assert_eq!(check(LATTICE, "[::ffff:169.254.171.10]:80").as_deref(), Ok("169.254.171.10:80"));
}

#[test]
fn what_hands_out_credentials_is_refused_whatever_the_list_says() {
    let mut refused = 0;
    for (ip, _) in NEVER {
        let mut spellings = vec![*ip];
        if let IpAddr::V4(v4) = ip {
            let [a, b, c, d] = v4.octets();
            let pair = |x: u8, y: u8| u16::from_be_bytes([x, y]);
            let (high, low) = (pair(a, b), pair(c, d));
            spellings.extend(
                [
                    v4.to_ipv6_mapped(),
                    v4.to_ipv6_compatible(),
                    Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
                    Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, high, low),
                    Ipv6Addr::new(0x64, 0xff9b, 1, high, pair(0, c), pair(d, 0), 0, 0),
                    Ipv6Addr::new(0x64, 0xff9b, 1, pair(0, a), pair(0, b), pair(c, d), 0, 0),
                    Ipv6Addr::new(0x64, 0xff9b, 1, 0, pair(0, a), pair(b, c), pair(d, 0), 0),
                    Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
                    Ipv6Addr::new(0x2001, 0, 0x4136, 0xe378, 0x8000, 0x63bf, !high, !low),
                ]
                .map(IpAddr::V6),
            );
        }
        for ip in spellings {
            for port in [80, 443, 53] {
                let found = guard().within(&only(EVERYWHERE)).check(SocketAddr::new(ip, port));
                assert_eq!(found, Err(RefuseReason::DestinationForbidden), "{ip}");
                refused += 1;
            }
        }
    }
    assert_eq!(refused, (6 * 10 + 4) * 3);
}

#[test]
fn unspecified_multicast_and_the_resolver_are_refused() {
    for address in ["0.0.0.0:443", "0.1.2.3:443", "[::]:443", "224.0.0.1:443", "[ff02::1]:443", "10.0.0.2:443"] {
        assert_eq!(check(EVERYWHERE, address), Err(RefuseReason::DestinationForbidden), "{address}");
    }
    let everywhere = only(EVERYWHERE);
    let text = guard().within(&everywhere).explain("10.0.0.2:443".parse().unwrap(), RefuseReason::DestinationForbidden);
    assert!(text.contains("`dns.server`"), "{text}");
}

#[test]
fn loopback_needs_a_network_inside_loopback() {
    assert_eq!(check(EVERYWHERE, "127.0.0.1:443"), Err(RefuseReason::DestinationForbidden));
    assert_eq!(check(EVERYWHERE, "[::1]:443"), Err(RefuseReason::DestinationForbidden));
    assert_eq!(check(EVERYWHERE, "[64:ff9b::7f00:1]:443"), Err(RefuseReason::DestinationForbidden));
    assert_eq!(check(&["126.0.0.0/7"], "127.0.0.1:443"), Err(RefuseReason::DestinationForbidden));
    assert!(check(&["127.0.0.0/8"], "127.0.0.1:443").is_ok());
    assert!(check(&["127.0.0.1/32"], "127.0.0.2:443").is_err());
    assert!(check(&["::1/128"], "[::1]:443").is_ok());
}

#[test]
fn our_own_listeners_are_not_dialled() {
    let own = ["127.0.0.1:8443", "[::1]:8443", "10.9.0.7:8443", "[fd00::7]:8443", "[::ffff:10.9.0.7]:8443"];
    for address in own.into_iter().chain(["127.0.0.1:9900"]) {
        let found = check(&["127.0.0.0/8", "::1/128", "0.0.0.0/0", "::/0"], address);
        assert_eq!(found, Err(RefuseReason::PointsToSelf), "{address}");
    }
    assert!(check(EVERYWHERE, "10.9.0.7:443").is_ok());
    assert!(check(EVERYWHERE, "10.9.0.8:8443").is_ok());
    // A listener on one loopback address does not take the others.
    assert!(check(&["127.0.0.0/8"], "127.0.0.2:9900").is_ok());
}

#[test]
fn for_a_proxy_our_own_addresses_are_not_dialled_on_any_port_even_if_a_network_has_them() {
    for address in ["10.9.0.7:443", "[fd00::7]:22", "[::ffff:10.9.0.7]:443", "[64:ff9b::10.9.0.7]:443"] {
        for allowed in [EVERYWHERE, &["10.9.0.7/32", "fd00::7/128", "64:ff9b::/96"], &[]] {
            for public in [true, false] {
                let networks = DestinationNetworks { public, allowed: networks(allowed), ..Default::default() };
                assert_eq!(check_within(&networks, address), Err(RefuseReason::PointsToSelf), "{address}");
                let text = guard().within(&networks).explain(address.parse().unwrap(), RefuseReason::PointsToSelf);
                assert!(text.contains("leads to this machine's own address"), "{text}");
            }
        }
        // Elsewhere, only if a network has them: a service on this machine.
        assert!(check(EVERYWHERE, address).is_ok());
        assert_eq!(check(LATTICE, address), Err(RefuseReason::PointsToSelf), "{address}");
    }
}

fn public(allowed: &[&str], denied: &[&str]) -> DestinationNetworks {
    DestinationNetworks { public: true, allowed: networks(allowed), denied: networks(denied), own_machine: false }
}

fn check_within(networks: &DestinationNetworks, address: &str) -> Result<String, RefuseReason> {
    guard().within(networks).check(address.parse().unwrap()).map(|address| address.to_string())
}

#[test]
fn public_is_every_public_address_and_no_other() {
    let only_public = public(&[], &[]);
    for address in ["8.8.8.8:443", "[2606:4700::1111]:443", "[64:ff9b::808:808]:443", "192.0.0.9:80"] {
        assert_eq!(check_within(&only_public, address).as_deref(), Ok(address));
    }
    for address in [
        "10.1.1.1:443",
        "169.254.171.10:443",
        "100.64.0.1:443",
        "198.18.0.1:443",
        "240.0.0.1:443",
        // What a name may have instead of the IPv4 address itself, so that a list of IPv4 networks does not see it.
        "[::ffff:8.8.8.8]:443",
        "[::8.8.8.8]:443",
        "[64:ff9b::10.1.1.1]:443",
        "[64:ff9b:1::8.8.8.8]:443",
        "[2002:808:808::1]:443",
        "[2001:0:808:808::1]:443",
        "[fd00:ec2:80::10]:443",
        "[fe80::1]:443",
        "[::1]:443",
        "127.0.0.1:443",
    ] {
        assert_eq!(check_within(&only_public, address), Err(RefuseReason::DestinationForbidden), "{address}");
    }
}

/// Names the operator did not write a network for: a public subnet of the load balancer, an own public address.
#[test]
fn public_leads_neither_back_to_us_nor_to_what_is_never_dialled() {
    let guard = DestinationGuard::new(
        networks(&["2600:1f18:1::/64", "52.1.0.0/24"]),
        vec!["[::]:3128".parse().unwrap()],
        vec!["2600:1f18:2::7".parse().unwrap(), "52.2.0.7".parse().unwrap()],
        "9.9.9.9:53".parse().unwrap(),
    );
    let only_public = public(&[], &[]);
    for (address, reason) in [
        ("[2600:1f18:1::5]:443", RefuseReason::PointsToSelf),
        ("52.1.0.5:443", RefuseReason::PointsToSelf),
        ("[64:ff9b::52.1.0.5]:443", RefuseReason::PointsToSelf),
        ("[2600:1f18:2::7]:443", RefuseReason::PointsToSelf),
        ("52.2.0.7:3128", RefuseReason::PointsToSelf),
        ("[64:ff9b::52.2.0.7]:443", RefuseReason::PointsToSelf),
        ("9.9.9.9:443", RefuseReason::DestinationForbidden),
        ("[64:ff9b::9.9.9.9]:443", RefuseReason::DestinationForbidden),
        ("169.254.169.254:80", RefuseReason::DestinationForbidden),
        ("[fd00:ec2::254]:80", RefuseReason::DestinationForbidden),
        ("[64:ff9b::a9fe:a9fe]:80", RefuseReason::DestinationForbidden),
    ] {
        assert_eq!(guard.within(&only_public).check(address.parse().unwrap()), Err(reason), "{address}");
    }
}

#[test]
fn what_is_denied_is_denied_however_it_is_written_and_whatever_allows_it() {
    let denied = &["8.8.0.0/16", "10.2.0.0/16", "2600:1f18::/36", "127.9.0.0/16"];
    let networks = public(&["10.0.0.0/8", "64:ff9b::/96", "127.0.0.0/8", "0.0.0.0/0", "::/0"], denied);
    for address in [
        "8.8.8.8:443",
        "10.2.3.4:443",
        "[::ffff:10.2.3.4]:443",
        "[::ffff:8.8.8.8]:443",
        "[64:ff9b::8.8.8.8]:443",
        "[64:ff9b::10.2.3.4]:443",
        "[2002:a02:304::1]:443",
        "[2600:1f18:fff::1]:443",
        "127.9.0.1:443",
    ] {
        assert_eq!(check_within(&networks, address), Err(RefuseReason::DestinationForbidden), "{address}");
    }
    for address in ["8.9.8.8:443", "10.3.3.4:443", "[2600:1f19::1]:443", "127.8.0.1:443"] {
        assert!(check_within(&networks, address).is_ok(), "{address}");
    }
    // The more telling reason, if it is both.
    let everything = public(&[], &["0.0.0.0/0", "::/0"]);
    assert_eq!(check_within(&everything, "192.168.3.4:443"), Err(RefuseReason::PointsToSelf));
}

#[test]
fn a_network_beside_public_is_allowed_in_both_spellings() {
    let networks = public(&["10.0.0.0/8"], &[]);
    assert_eq!(check_within(&networks, "10.1.2.3:443").as_deref(), Ok("10.1.2.3:443"));
    assert_eq!(check_within(&networks, "[::ffff:10.1.2.3]:443").as_deref(), Ok("10.1.2.3:443"));
    assert_eq!(check_within(&networks, "[::ffff:11.1.2.3]:443"), Err(RefuseReason::DestinationForbidden));
}

#[test]
fn a_name_that_leads_to_the_load_balancer_has_its_own_reason() {
    for address in ["192.168.3.4:443", "192.168.1.7:443", "10.9.0.7:443", "[2001:db8::5]:443"] {
        assert_eq!(check(LATTICE, address), Err(RefuseReason::PointsToSelf), "{address}");
    }
    for address in ["203.0.113.9:443", "10.1.1.1:443", "[2001:db8:0:1::5]:443"] {
        assert_eq!(check(LATTICE, address), Err(RefuseReason::DestinationForbidden), "{address}");
    }
}

#[test]
fn the_text_names_the_setting_or_the_usual_cause() {
    let (guard, lattice) = (guard(), only(LATTICE));
    let guard = guard.within(&lattice);
    for (address, part) in [
        ("169.254.170.2:80", "task metadata"),
        ("[64:ff9b::a9fe:aa02]:80", "task metadata"),
        ("192.168.3.4:443", "private hosted zone associated with this VPC?"),
        ("127.0.0.1:8443", "a listener of this proxy"),
        ("127.0.0.1:443", "inside loopback"),
        ("203.0.113.9:443", "`upstream.allowed_networks`"),
        ("10.9.0.7:22", "this machine's own"),
    ] {
        let address = address.parse().unwrap();
        let text = guard.explain(address, guard.check(address).unwrap_err());
        assert!(text.contains(part), "{text}");
    }
    let (guard, networks) = (self::guard(), public(&[], &["8.8.0.0/16"]));
    for (address, part) in [
        ("10.1.2.3:443", "10.1.2.3 is not public (Private-Use)"),
        ("[::ffff:1.2.3.4]:443", "::ffff:1.2.3.4 is not public (IPv4-mapped Address)"),
        ("[4000::1]:443", "4000::1 is not public and in no other network"),
        // Its block is public, and not to be allowed: what counts is inside.
        ("[64:ff9b::10.1.2.3]:443", "64:ff9b::a01:203 leads to 10.1.2.3, which is not public (Private-Use)"),
        ("[64:ff9b::127.0.171.10]:443", "64:ff9b::7f00:ab0a leads to 127.0.171.10, which is not public (Loopback)"),
        ("[2002:a01:203::1]:443", "2002:a01:203::1 is not public (6to4)"),
        ("8.8.8.8:443", "8.8.8.8 is in `upstream.denied_networks`"),
    ] {
        let (guard, address) = (guard.within(&networks), address.parse().unwrap());
        let text = guard.explain(address, guard.check(address).unwrap_err());
        assert!(text.contains(part), "{text}");
    }
}
