//! The registries, walked entry by entry against a second reading of them.

use super::*;

/// Every address block and its "Globally Reachable", as the registries' CSV files have them; `-` where the cell is empty.
const REGISTRIES: &str = "
    0.0.0.0/8 False
    0.0.0.0/32 False
    10.0.0.0/8 False
    100.64.0.0/10 False
    127.0.0.0/8 False
    169.254.0.0/16 False
    172.16.0.0/12 False
    192.0.0.0/24 False
    192.0.0.0/29 False
    192.0.0.8/32 False
    192.0.0.9/32 True
    192.0.0.10/32 True
    192.0.0.170/32 False
    192.0.0.171/32 False
    192.0.2.0/24 False
    192.31.196.0/24 True
    192.52.193.0/24 True
    192.88.99.0/24 -
    192.88.99.2/32 False
    192.168.0.0/16 False
    192.175.48.0/24 True
    198.18.0.0/15 False
    198.51.100.0/24 False
    203.0.113.0/24 False
    240.0.0.0/4 False
    255.255.255.255/32 False
    ::1/128 False
    ::/128 False
    ::ffff:0:0/96 False
    64:ff9b::/96 True
    64:ff9b:1::/48 False
    100::/64 False
    100:0:0:1::/64 False
    2001::/23 False
    2001::/32 N/A
    2001:1::1/128 True
    2001:1::2/128 True
    2001:1::3/128 True
    2001:2::/48 False
    2001:3::/32 True
    2001:4:112::/48 True
    2001:10::/28 -
    2001:20::/28 True
    2001:30::/28 True
    2001:db8::/32 False
    2002::/16 N/A
    2620:4f:8000::/48 True
    3fff::/20 False
    5f00::/16 False
    fc00::/7 False
    fe80::/10 False
";

fn registries() -> Vec<(IpNet, bool)> {
    let lines = REGISTRIES.lines().filter_map(|line| line.trim().split_once(' '));
    lines.map(|(network, reachable)| (network.parse().unwrap(), reachable == "True")).collect()
}

/// The definition, word by word, over the list above.
fn expected(address: IpAddr) -> bool {
    if let IpAddr::V6(v6) = address
        && "64:ff9b::/96".parse::<IpNet>().unwrap().contains(&address)
    {
        let [.., a, b, c, d] = v6.octets();
        return expected(IpAddr::from([a, b, c, d]));
    }
    let unicast = match address {
        IpAddr::V4(v4) => v4.octets()[0] & 0xf0 != 224,
        IpAddr::V6(v6) => v6.octets()[0] >> 5 == 0b001,
    };
    let mut covering: Vec<_> = registries().into_iter().filter(|(network, _)| network.contains(&address)).collect();
    covering.sort_by_key(|(network, _)| network.prefix_len());
    unicast && covering.last().is_none_or(|(_, reachable)| *reachable)
}

fn step(address: IpAddr, by: i8) -> Option<IpAddr> {
    match address {
        IpAddr::V4(v4) => v4.to_bits().checked_add_signed(by.into()).map(|bits| Ipv4Addr::from_bits(bits).into()),
        IpAddr::V6(v6) => v6.to_bits().checked_add_signed(by.into()).map(|bits| Ipv6Addr::from_bits(bits).into()),
    }
}

#[test]
fn every_entry_is_judged_by_the_most_specific_one_and_its_neighbours_by_what_is_around() {
    let all = registries();
    assert_eq!(all.len(), IPV4.len() + IPV6.len());
    let mut judged = (0, 0);
    for (network, reachable) in all {
        let ours = IPV4.iter().chain(IPV6).find(|entry| entry.network == network);
        assert!(ours.is_some_and(|entry| entry.globally_reachable == reachable), "{network}");
        let (first, last) = (network.network(), network.broadcast());
        let inside = [step(first, 1), step(last, -1)].into_iter().flatten().filter(|ip| network.contains(ip));
        let around = [step(first, -1), step(last, 1)].into_iter().flatten();
        for address in [first, last].into_iter().chain(inside).chain(around) {
            assert_eq!(is_public(address), expected(address), "{address}, at {network}");
            *(if expected(address) { &mut judged.0 } else { &mut judged.1 }) += 1;
        }
    }
    assert!(judged.0 > 40 && judged.1 > 80, "{judged:?}");
}

#[test]
fn addresses_of_each_kind_are_as_the_words_say() {
    for address in [
        "8.8.8.8",
        "1.1.1.1",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "172.32.0.0",
        "192.0.0.9",
        "192.0.0.10",
        "192.0.1.0",
        "192.31.196.7",
        "192.52.193.0",
        "192.175.48.255",
        "223.255.255.255",
        "2000::",
        "2001:1::1",
        "2001:1::3",
        "2001:3::1",
        "2001:4:112::1",
        "2001:20::1",
        "2001:3f:ffff:ffff:ffff:ffff:ffff:ffff",
        "2001:200::",
        "2600:1f18::1",
        "2620:4f:8000::1",
        "3ffe:ffff::1",
        "64:ff9b::8.8.8.8",
        "64:ff9b::192.0.0.9",
    ] {
        assert!(is_public(address.parse().unwrap()), "{address}");
    }
    for address in [
        "0.0.0.0",
        "0.1.2.3",
        "192.0.0.0",
        "192.0.0.7",
        "192.0.0.8",
        "192.0.0.11",
        "192.0.0.170",
        "192.88.99.1",
        "192.88.99.2",
        "224.0.0.0",
        "239.255.255.255",
        "240.0.0.0",
        "255.255.255.255",
        "::",
        "::1",
        "::8.8.8.8",
        "::ffff:8.8.8.8",
        "64:ff9b::10.0.0.1",
        "64:ff9b::169.254.169.254",
        "64:ff9b::224.0.0.1",
        "64:ff9b:1::8.8.8.8",
        "64:ff9a::1",
        "64:ff9b:0:1::1",
        "1fff:ffff::1",
        "2001::1",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",
        "2001:1::",
        "2001:1::4",
        "2001:2::1",
        "2001:5::1",
        "2001:10::1",
        "2001:40::1",
        "2001:1ff::1",
        "2001:db8::1",
        "2002:808:808::1",
        "3fff::1",
        "3fff:fff::1",
        "4000::",
        "5f00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fec0::1",
        "ff0e::1",
    ] {
        assert!(!is_public(address.parse().unwrap()), "{address}");
    }
}

#[test]
fn a_network_is_public_if_all_of_it_is() {
    for (network, public) in [
        ("8.8.8.0/24", true),
        ("8.8.8.8/32", true),
        ("192.0.0.9/32", true),
        ("8.0.0.0/6", false),
        ("192.0.0.8/31", false),
        ("10.0.0.0/8", false),
        ("0.0.0.0/0", false),
        ("192.0.0.0/2", false),
        ("2606:4700::/32", true),
        ("2000::/4", false),
        ("2000::/3", false),
        ("fc00::/7", false),
        ("64:ff9b::808:800/120", true),
        ("64:ff9b::800:0/102", false),
        ("64:ff9b::a00:0/104", false),
        ("64:ff9b::/96", false),
    ] {
        let network: IpNet = network.parse().unwrap();
        assert_eq!(is_public_network(&network), public, "{network}");
    }
}
