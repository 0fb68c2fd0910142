//! What rules mean on a `forward` listener.

use super::*;

#[test]
fn a_list_with_many_ports_admits_rather_than_trying_them_all() {
    let ports: Vec<String> = (1000..1100).map(|port| port.to_string()).collect();
    let list = format!("rules:\n- {{ allow: 10.0.0.0/8, to: any, port: [{}] }}\n- deny: all\n", ports.join(", "));
    let policy = policy(&list);
    assert_eq!(policy.admit(&client("203.0.113.9"), &EGRESS), Admission::Possible);
    assert!(!decided(&policy, &client("203.0.113.9"), &EGRESS.to_port(1050), "a.test").0);
    assert!(decided(&policy, &client("10.0.0.1"), &EGRESS.to_port(1050), "a.test").0);
}

#[test]
fn on_a_forward_listener_an_allow_rule_says_for_which_names_and_port_is_the_destinations() {
    let policy = policy(
        "rules:
  - { deny: 10.9.0.0/16 }
  - { deny: 10.0.0.0/8, to: bad.test }
  - { allow: 10.0.0.0/8 }
  - { allow: 10.1.0.0/16, to: any, port: [443, 8443] }
  - { allow: 10.2.0.0/16, to: [a.test, '*.a.test'], via: vpce-0a }
  - { allow: 10.3.0.0/16, to: ['*', a.test] }
  - { allow: 10.4.0.0/16, to: a.test, port: 3128 }
",
    );
    let line = |ip: &str, port: u16, to: &str| decided(&policy, &client(ip), &EGRESS.to_port(port), to);
    assert_eq!(line("10.9.1.1", 443, "a.test"), (false, Some(2)));
    assert_eq!(line("10.1.1.1", 443, "bad.test"), (false, Some(3)));
    // The shipped kind of rule, `allow: 10.0.0.0/8`, opens nothing here; on a tls listener it does.
    assert_eq!(line("10.5.1.1", 443, "a.test"), (false, None));
    assert_eq!(decided(&policy, &client("10.5.1.1"), &TLS, "a.test"), (true, Some(4)));
    assert_eq!(line("10.1.1.1", 443, "a.test"), (true, Some(5)));
    assert_eq!(line("10.1.1.1", 8443, "b.test"), (true, Some(5)));
    assert_eq!(line("10.1.1.1", 80, "b.test"), (false, None));
    assert_eq!(line("10.3.1.1", 1, "anything.example"), (true, Some(7)));
    // The listener's own port is no port that anybody asks for.
    assert_eq!(line("10.4.1.1", 443, "a.test"), (false, None));
    assert_eq!(line("10.4.1.1", 3128, "a.test"), (true, Some(8)));
    let through =
        |endpoint: &str, to: &str| decided(&policy, &client_via("10.2.1.1", endpoint), &EGRESS.to_port(443), to).0;
    assert!(through("vpce-0a", "x.a.test") && !through("vpce-0b", "x.a.test") && !through("vpce-0a", "b.test"));
    for (ip, possible) in [
        ("10.9.1.1", false),
        ("10.5.1.1", false),
        ("192.0.2.1", false),
        ("10.1.1.1", true),
        ("10.2.1.1", false),
        ("10.3.1.1", true),
        ("10.4.1.1", true),
    ] {
        assert_eq!(policy.admit(&client(ip), &EGRESS) == Admission::Possible, possible, "{ip}");
    }
    assert_eq!(policy.admit(&client_via("10.2.1.1", "vpce-0a"), &EGRESS), Admission::Possible);
}

#[test]
fn a_view_has_the_port_that_rules_are_about() {
    let text = "proxy_protocol: { trusted: 10.0.0.0/8 }
listeners:
  - { name: tls, bind: \"[::]:8443\", protocol: tls, public_port: 8000 }
  - { name: egress, bind: \"[::]:3128\", protocol: forward }
";
    let config = configuration(text);
    let views: Vec<ListenerView<'_>> =
        config.listeners.iter().map(|listener| ListenerView::of(listener, SystemTime::UNIX_EPOCH)).collect();
    assert_eq!(views[0].port, RequestedPort::Public(8000));
    assert_eq!(views[0].to_port(22).port, RequestedPort::Public(8000));
    assert_eq!(views[1].port, RequestedPort::Destination(None));
    assert_eq!(views[1].to_port(22).port, RequestedPort::Destination(Some(22)));
    assert_eq!(views[1].to_port(22).name, "egress");
}
