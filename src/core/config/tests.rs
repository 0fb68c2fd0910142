//! Defaults, the environment, and mistakes that concern several keys at once.

use std::collections::BTreeSet;

use super::*;
use crate::networks::DestinationNetworks;

/// Of four CPUs, so that no default of one fits by chance.
const MACHINE: Machine = Machine { open_files: 65_536, cpus: NonZeroUsize::new(4).unwrap(), memory: 4 << 30 };

const FILE: &str = "conf/latticegate.yaml";

fn with(text: &str, env: &[(&str, &str)]) -> Result<(Config, Vec<Diagnostic>), Vec<Diagnostic>> {
    let file = Path::new(FILE);
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Config::parse(Some(File { path: file, text }), env, &MACHINE)
}

fn without_file(env: &[(&str, &str)]) -> Result<(Config, Vec<Diagnostic>), Vec<Diagnostic>> {
    Config::parse(None, env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())), &MACHINE)
}

fn accepted(result: Result<(Config, Vec<Diagnostic>), Vec<Diagnostic>>) -> Config {
    result.unwrap_or_else(|diagnostics| panic!("{}", lines_of(&diagnostics).join("\n"))).0
}

fn lines_of(diagnostics: &[Diagnostic]) -> Vec<String> {
    diagnostics.iter().map(ToString::to_string).collect()
}

const TRUSTED: (&str, &str) = ("LATTICEGATE_PROXY_PROTOCOL__TRUSTED", "10.0.0.0/16");

fn list(networks: &Networks) -> Vec<String> {
    networks.iter().map(ToString::to_string).collect()
}

#[test]
fn the_shipped_file_says_what_the_defaults_say() {
    let shipped = accepted(with(include_str!("../../../conf/latticegate.yaml"), &[]));
    let default = accepted(without_file(&[("LATTICEGATE_PROXY_PROTOCOL__TRUSTED", "192.168.0.0/16")]));
    let paths = |mut config: Config| {
        config.policy = PolicySource::File(PathBuf::new());
        config.settings.clear();
        format!("{config:#?}")
    };
    assert_eq!(shipped.policy, PolicySource::File("conf/ipcontrol.yaml".into()));
    assert_eq!(default.policy, PolicySource::File("/etc/latticegate/ipcontrol.yaml".into()));
    assert_eq!(paths(shipped), paths(default));
}

#[test]
fn the_defaults_are_those_that_are_documented() {
    let config = accepted(without_file(&[TRUSTED]));
    let [tls, http] = &config.listeners[..] else { panic!("{:?}", config.listeners) };
    assert_eq!((tls.bind.to_string(), tls.upstream_port, tls.public_port), ("[::]:8443".into(), 443, 443));
    assert_eq!((http.bind.to_string(), http.upstream_port, http.public_port), ("[::]:8080".into(), 80, 80));
    assert_eq!(list(&config.trusted), ["10.0.0.0/16"]);
    assert_eq!(list(&tls.networks.allowed), ["169.254.171.0/24", "fd00:ec2:80::/64"]);
    assert_eq!(config.timeouts.idle.get(), Duration::from_secs(610));
    assert_eq!(config.dns.server.to_string(), "169.254.169.253:53");
    assert_eq!(config.workers, MACHINE.cpus);
}

#[test]
fn the_environment_reaches_every_level_and_wins() {
    let config = accepted(with(
        "listeners: [{ name: a, bind: \"[::]:1443\", protocol: tls }]\ndns: { timeout: 3s, ipv6: off }\n",
        &[
            ("LATTICEGATE_LISTENERS__1__BIND", "[::]:1080"),
            ("LATTICEGATE_LISTENERS__1__NAME", "b"),
            ("LATTICEGATE_LISTENERS__1__PROTOCOL", "http"),
            ("LATTICEGATE_LISTENERS__0__UPSTREAM_PORT", "8443"),
            ("LATTICEGATE_PROXY_PROTOCOL__TRUSTED", "10.0.0.0/16, 2001:db8::/32"),
            ("LATTICEGATE_DNS__TIMEOUT", "1s"),
            ("LATTICEGATE_UPSTREAM__NAMES", "{ Orders.example.com: svc.example.net }"),
            ("LATTICEGATE_WORKERS", "3"),
            ("LATTICEGATE_LOG", "debug"),
            ("PATH", "/bin"),
        ],
    ));
    assert_eq!(config.listeners[0].upstream_port, 8443);
    assert_eq!(config.listeners[1].bind.to_string(), "[::]:1080");
    assert_eq!(list(&config.trusted), ["10.0.0.0/16", "2001:db8::/32"]);
    assert_eq!((config.dns.timeout.get(), config.dns.ipv6), (Duration::from_secs(1), Ipv6::Off));
    assert_eq!(config.workers.get(), 3);
    let requested = Hostname::parse(b"orders.example.com").unwrap();
    assert_eq!(config.upstream.names[&requested].as_str(), "svc.example.net");
}

#[test]
fn relative_paths_start_at_the_file_wherever_they_are_written() {
    let env = [TRUSTED, ("LATTICEGATE_SHADOW", "new.yaml"), ("LATTICEGATE_ACCESS_LOG__OUTPUT", "./a.log")];
    let beside = accepted(with("policy: a.yaml\npolicy_fallback: ../b.yaml\n", &env));
    assert_eq!(beside.policy, PolicySource::File("conf/a.yaml".into()));
    assert_eq!(beside.policy_fallback, Some("conf/../b.yaml".into()));
    assert_eq!(beside.shadow, Some("conf/new.yaml".into()));
    assert_eq!(beside.access_log.output, LogOutput::File("conf/./a.log".into()));
    let here = accepted(without_file(&env));
    assert_eq!(here.shadow, Some("new.yaml".into()));
    assert_eq!(here.access_log.output, LogOutput::File("./a.log".into()));
}

#[test]
fn the_lines_to_keep_are_all_failures_or_a_sample() {
    let keep = |text: &str| accepted(without_file(&[TRUSTED, ("LATTICEGATE_ACCESS_LOG__KEEP", text)])).access_log.keep;
    assert_eq!(accepted(without_file(&[TRUSTED])).access_log.keep, LogKeep::All);
    assert_eq!((keep("all"), keep("failures"), keep("refused")), (LogKeep::All, LogKeep::Failures, LogKeep::Failures));
    for (text, one_of) in [("sample 1/1", 1), ("sample 1/100", 100), ("sample 1/4294967295", u32::MAX), ("sample:7", 7)]
    {
        assert_eq!(keep(text), LogKeep::Sample(NonZeroU32::new(one_of).unwrap()), "{text}");
    }
    for wrong in [
        "sample",
        "sample 1/0",
        "sample 1/-1",
        "sample 1/+1",
        "sample 1/1.5",
        "sample 1/4294967296",
        "sample 2/3",
        "sample:0",
        "none",
        "1/100",
    ] {
        let (key, text) = ("LATTICEGATE_ACCESS_LOG__KEEP", wrong);
        let diagnostics = without_file(&[TRUSTED, (key, text)]).unwrap_err();
        let said = lines_of(&diagnostics).join("\n");
        assert!(said.contains(key) && said.contains(wrong) && said.contains("like sample 1/100"), "{said}");
    }
}

#[test]
fn the_fields_of_a_line_are_those_that_are_listed_in_their_order() {
    use crate::config::LogField;
    let fields = |text: &str| accepted(with(text, &[TRUSTED])).access_log.fields;
    assert_eq!(fields("access_log: { format: json }\n"), None);
    let listed = fields("access_log: { fields: [reason, time, client] }\n").unwrap();
    assert_eq!(*listed, [LogField::Reason, LogField::Time, LogField::Client]);
    let env = [TRUSTED, ("LATTICEGATE_ACCESS_LOG__FIELDS", "time, bytes_up")];
    assert_eq!(*accepted(without_file(&env)).access_log.fields.unwrap(), [LogField::Time, LogField::BytesUp]);
    let all: Vec<&str> = LogField::ALL.iter().map(|(word, _)| *word).collect();
    let all_listed = fields(&format!("access_log: {{ fields: [{}] }}\n", all.join(", "))).unwrap();
    assert_eq!(all_listed.len(), all.len());
    let said = lines_of(&with("access_log: { fields: [time, \"names\"] }\n", &[TRUSTED]).unwrap_err()).join("\n");
    let line = format!(
        "latticegate.yaml:1:30: access_log.fields[1]: \"names\" is none of {}; did you mean \"name\"?",
        all.join(", ")
    );
    assert!(said.contains(&line), "{said}");
    for (text, says) in [
        (
            "fields: [time], format: squid",
            "is for the JSON line, and the format is squid, whose fields are fixed; remove the key",
        ),
        ("fields: [time], format: nginx", "the format is nginx"),
        ("fields: []", "names no field"),
        ("fields: [time, id, time]", "names time twice"),
    ] {
        let said = lines_of(&with(&format!("access_log: {{ {text} }}\n"), &[TRUSTED]).unwrap_err()).join("\n");
        assert!(
            said.contains("latticegate.yaml:1:15: access_log.fields: ") || said.contains("access_log.fields: "),
            "{said}"
        );
        assert!(said.contains(says), "{said}");
    }
}

#[test]
fn a_line_without_any_field_is_warned_of() {
    for (fields, is_warned) in
        [("[request]", true), ("[detail, rule]", true), ("[request, id]", false), ("[reason]", false)]
    {
        let (_, warnings) = with(&format!("access_log: {{ fields: {fields} }}\n"), &[TRUSTED]).unwrap();
        let says =
            "access_log.fields: has no field that every connection has, so some lines are empty; add `time` or `id`";
        assert_eq!(
            warnings.iter().any(|warning| warning.to_string().contains(says)),
            is_warned,
            "{fields} {warnings:?}"
        );
    }
}

#[test]
fn refused_bytes_are_off_or_of_a_bounded_number_of_connections() {
    let kept =
        |text: &str| accepted(without_file(&[TRUSTED, ("LATTICEGATE_ADMIN__REFUSED_BYTES", text)])).refused_bytes;
    assert_eq!(accepted(without_file(&[TRUSTED])).refused_bytes, None);
    assert_eq!((kept("off"), kept("1").map(u8::from), kept("100").map(u8::from)), (None, Some(1), Some(100)));
    for wrong in ["0", "101", "256", "-1", "+5", "on", "1.5"] {
        let diagnostics = without_file(&[TRUSTED, ("LATTICEGATE_ADMIN__REFUSED_BYTES", wrong)]).unwrap_err();
        let said = lines_of(&diagnostics).join("\n");
        assert!(said.contains(wrong) && said.contains("write off, or a number from 1 to 100"), "{said}");
    }
}

#[test]
fn a_whole_section_comes_before_its_keys_whatever_the_order() {
    let config = accepted(without_file(&[
        TRUSTED,
        ("LATTICEGATE_TIMEOUTS__IDLE", "60s"),
        ("LATTICEGATE_TIMEOUTS", "{ idle: 70s, connect: 5s }"),
    ]));
    assert_eq!((config.timeouts.idle.get().as_secs(), config.timeouts.connect.get().as_secs()), (60, 5));
}

#[test]
fn more_than_ten_listeners_can_be_set_one_by_one() {
    let mut variables = vec![TRUSTED.0.to_owned()];
    let mut values = vec![TRUSTED.1.to_owned()];
    for n in (2..13).rev() {
        variables.push(format!("LATTICEGATE_LISTENERS__{n}"));
        values.push(format!("{{ name: l{n}, bind: '[::]:{}', protocol: tls }}", 2000 + n));
    }
    let env: Vec<(&str, &str)> = variables.iter().map(String::as_str).zip(values.iter().map(String::as_str)).collect();
    assert_eq!(accepted(without_file(&env)).listeners.len(), 13);
}

#[test]
fn a_variable_that_is_wrong_is_named() {
    for (name, value, expected) in [
        ("LATTICEGATE_DNS__TIMEOT", "1s", "dns.timeot: unknown key; did you mean \"timeout\"?"),
        ("LATTICEGATE_FOO", "1", "foo: unknown key; the keys known here are listeners"),
        ("LATTICEGATE_DNS__TIMEOUT", "soon", "dns.timeout: \"soon\" is not a duration"),
        ("LATTICEGATE_ADMIN__BIND", "[::]:9900x", "admin.bind: \"[::]:9900x\" is not an address and port"),
        ("LATTICEGATE_DNS", "{", "dns: is not YAML"),
        ("LATTICEGATE_DNS", "", "dns: has no value"),
        ("LATTICEGATE_WORKERS__1", "x", "workers: found a map; write auto, or a number"),
        (
            "LATTICEGATE_LISTENERS__5__BIND",
            "x",
            "listeners[5].bind: has no element 5: it has 2, counted from 0, and 2 would add one",
        ),
        ("LATTICEGATE_UPSTREAM__ALLOWED_NETWORKS", "10.0.0.1/8", "\"10.0.0.1/8\" has bits set"),
    ] {
        let lines = lines_of(&without_file(&[TRUSTED, (name, value)]).unwrap_err());
        let line = lines.iter().find(|line| line.contains(expected));
        assert!(
            line.is_some_and(|line| line.contains(&format!("environment variable {name}: "))),
            "{name}: {lines:#?}"
        );
    }
}

#[test]
fn a_single_underscore_where_two_belong_is_recognised() {
    let hint = "Two underscores separate levels";
    for (name, meant) in [
        ("LATTICEGATE_DNS_SERVER", "LATTICEGATE_DNS__SERVER"),
        ("LATTICEGATE_DNS_MAX_TTL", "LATTICEGATE_DNS__MAX_TTL"),
        ("LATTICEGATE_PROXY_PROTOCOL_TRUSTED", "LATTICEGATE_PROXY_PROTOCOL__TRUSTED"),
        ("LATTICEGATE_LISTENERS_0_BIND", "LATTICEGATE_LISTENERS__0__BIND"),
        ("LATTICEGATE_LISTENERS__1_UPSTREAM_PORT", "LATTICEGATE_LISTENERS__1__UPSTREAM_PORT"),
        ("LATTICEGATE_LIMITS_PER_CLIENT_PER_SECOND", "LATTICEGATE_LIMITS__PER_CLIENT__PER_SECOND"),
        ("LATTICEGATE_METRICS_EMF__INTERVAL", "LATTICEGATE_METRICS__EMF__INTERVAL"),
        ("LATTICEGATE_METRICS_EMF_DIMENSIONS_CLUSTER", "LATTICEGATE_METRICS__EMF__DIMENSIONS__CLUSTER"),
    ] {
        let lines = lines_of(&without_file(&[TRUSTED, (name, "1s")]).unwrap_err());
        let expected = format!("environment variable {name}: ");
        let help = format!("; did you mean {meant}? {hint}");
        assert!(lines.len() == 1 && lines[0].starts_with(&expected) && lines[0].ends_with(&help), "{lines:#?}");
    }
    for (name, value) in [
        ("LATTICEGATE_DNS_SERVICE", "1s"),
        ("LATTICEGATE_A_B_C_D_E_F_G_H_I_J_K_L_M_N_O_P_Q_R_S_T_U_V_W_X_Y_Z_A_B_C_D_E_F_G_H", "1s"),
        ("LATTICEGATE_POLICY_POL", "1s"),
        ("LATTICEGATE_PROXY_PROTOCOL", "{ trustd: 10.0.0.0/8 }"),
    ] {
        let lines = lines_of(&without_file(&[TRUSTED, (name, value)]).unwrap_err());
        assert!(!lines.is_empty() && !lines.iter().any(|line| line.contains(hint)), "{lines:#?}");
    }
}

#[test]
fn without_trusted_networks_the_start_says_what_to_write() {
    let lines = lines_of(&without_file(&[]).unwrap_err());
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert!(
        lines[0].contains("LATTICEGATE_PROXY_PROTOCOL__TRUSTED='[") && lines[0].contains("load balancer's subnets")
    );
    let off = "listeners: [{ name: a, bind: \"[::]:1443\", protocol: tls, proxy_protocol: off }]";
    assert!(with(off, &[]).is_ok());
}

#[test]
fn addresses_must_not_overlap() {
    let listener = |bind: &str| format!("{{ name: x, bind: \"{bind}\", protocol: tls, proxy_protocol: off }}");
    for (bind, other, collide) in [
        ("[::]:9900", "admin.bind", true),
        ("0.0.0.0:9901", "health.bind", true),
        ("127.0.0.1:9901", "health.bind", true),
        ("127.0.0.2:9900", "admin.bind", false),
        ("[::1]:9900", "admin.bind", false),
        ("[::ffff:127.0.0.1]:9900", "admin.bind", true),
        ("[::]:0", "", false),
    ] {
        let result = with(&format!("listeners: [{}]", listener(bind)), &[]);
        let lines = result.map_or_else(|diagnostics| lines_of(&diagnostics), |_| Vec::new());
        let found = lines.iter().any(|line| line.contains("collides with") && line.contains(other));
        assert_eq!(found, collide, "{bind}: {lines:#?}");
    }
}

#[test]
fn sensible_but_dangerous_settings_are_warned_about() {
    let (_, warnings) = with(
        "proxy_protocol: { trusted: [0.0.0.0/0] }\nupstream: { allowed_networks: ['::/0'] }\ndrain: { timeout: 110s }\n",
        &[],
    )
    .unwrap();
    let lines = lines_of(&warnings);
    assert_eq!(lines.len(), 3, "{lines:#?}");
    assert!(lines.iter().any(|line| line.contains("pretend any client address")));
    assert!(lines.iter().any(|line| line.contains("open relay")));
    assert!(lines.iter().any(|line| line.contains("120 s")));
}

/// The advice about networks that clients can be led to, where they can.
#[test]
fn networks_that_lead_nowhere_or_are_written_twice_are_warned_about() {
    let beside = "beside `public`: whoever has a name that clients may request can lead them into that network";
    for (networks, expected) in [
        (
            "[public, 169.254.169.254]",
            "contains 169.254.169.254/32, which is never dialled, whatever is configured: instance metadata",
        ),
        ("[169.254.169.254]", "contains 169.254.169.254/32, which is never dialled"),
        ("['fd00:ec2::254']", "contains fd00:ec2::254/128, which is never dialled"),
        ("[224.0.0.0/4]", "which is never dialled, whatever is configured: multicast"),
        ("[0.0.0.0/8]", "which is never dialled, whatever is configured: this machine"),
        ("[public, 169.254.0.0/16]", "into that network, except to what is never dialled, like the metadata service"),
        ("[public, 10.0.0.0/8]", beside),
        // Its first address is public, and others are not.
        ("[public, 8.0.0.0/6]", beside),
        ("[public, '64:ff9b::/96']", beside),
        ("[public, public]", "contains public twice; remove one of the two"),
        ("[10.0.0.0/8, '::ffff:10.0.0.0/104']", "contains 10.0.0.0/8 twice"),
    ] {
        let (_, warnings) = forward(&format!(", upstream: {{ allowed_networks: {networks} }}"), "").unwrap();
        let lines = lines_of(&warnings);
        assert!(lines.len() == 1 && lines[0].contains(expected), "{networks}: {lines:#?}");
    }
    for networks in ["[public]", "[10.0.0.0/8, 169.254.171.0/24]", "[public, 8.8.8.0/24]"] {
        let (_, warnings) = forward(&format!(", upstream: {{ allowed_networks: {networks} }}"), "").unwrap();
        assert!(warnings.is_empty(), "{networks}: {warnings:#?}");
    }
}

#[test]
fn only_what_is_in_front_of_services_may_lead_to_this_machine() {
    let config =
        accepted(forward(", upstream: { allowed_networks: 10.0.0.0/8 }", "upstream: { allowed_networks: 10.0.0.0/8 }"));
    assert_eq!(
        config.listeners.iter().map(|listener| listener.networks.own_machine).collect::<Vec<_>>(),
        [true, false]
    );
    let (config, _) = forward("", "upstream: { allowed_networks: [public, 10.0.0.0/8] }").unwrap();
    assert!(config.listeners.iter().all(|listener| !listener.networks.own_machine));
}

const FORWARD: &str = "proxy_protocol: { trusted: 192.168.0.0/16 }\nlisteners:\n- { name: tls, bind: '[::]:8443', protocol: tls }\n\
                       - { name: egress, bind: '[::]:3128', protocol: forward";

/// A tls and a forward listener, with more keys of the latter and of the file.
fn forward(keys: &str, file: &str) -> Result<(Config, Vec<Diagnostic>), Vec<Diagnostic>> {
    with(&format!("{FORWARD}{keys} }}\n{file}\n"), &[])
}

fn networks_of(listener: &Listener) -> (bool, Vec<String>, Vec<String>) {
    let DestinationNetworks { public, allowed, denied, .. } = &listener.networks;
    (*public, list(allowed), list(denied))
}

#[test]
fn a_forward_listener_lets_through_tls_to_443_and_http_to_80_at_public_addresses() {
    let config = accepted(forward("", ""));
    let [tls, egress] = &config.listeners[..] else { panic!("{:?}", config.listeners) };
    let usual = Forward {
        connect_ports: [443].into(),
        http_ports: [80].into(),
        tunnel: Tunnel::Tls,
        via_name: "latticegate".into(),
    };
    assert_eq!((&egress.forward, egress.public_port, egress.upstream_port), (&Some(usual), 3128, 0));
    assert_eq!(networks_of(egress), (true, vec![], vec![]));
    assert_eq!(tls.forward, None);
    assert_eq!(networks_of(tls).1, ["169.254.171.0/24", "fd00:ec2:80::/64"]);
    let text = ", connect_ports: [443, 8443], http_ports: [], tunnel: any, via_name: egress-eu, public_port: 8080";
    let egress = accepted(forward(text, "")).listeners.remove(1);
    let written = Forward {
        connect_ports: [443, 8443].into(),
        http_ports: [].into(),
        tunnel: Tunnel::Any,
        via_name: "egress-eu".into(),
    };
    assert_eq!((egress.forward, egress.public_port), (Some(written), 8080));
    let by_variables = accepted(without_file(&[
        TRUSTED,
        ("LATTICEGATE_LISTENERS__0", "{ name: egress, bind: '[::]:3128', protocol: forward }"),
        ("LATTICEGATE_LISTENERS__0__CONNECT_PORTS", "[443, 22]"),
        ("LATTICEGATE_LISTENERS__0__TUNNEL", "any"),
        ("LATTICEGATE_LISTENERS__0__VIA_NAME", "1.0"),
        ("LATTICEGATE_LISTENERS__0__UPSTREAM__DENIED_NETWORKS", "52.0.0.0/8"),
    ]));
    let Forward { connect_ports, tunnel, via_name, .. } = by_variables.listeners[0].forward.clone().unwrap();
    assert_eq!((&connect_ports[..], tunnel, &*via_name), (&[443, 22][..], Tunnel::Any, "1.0"));
    assert_eq!(networks_of(&by_variables.listeners[0]), (true, vec![], vec!["52.0.0.0/8".to_owned()]));
}

#[test]
fn a_listener_has_its_own_networks_or_those_of_the_section_and_what_is_denied_there_is_denied_to_all() {
    let lattice = || vec!["169.254.171.0/24".to_owned(), "fd00:ec2:80::/64".to_owned()];
    let some = |network: &str| vec![network.to_owned()];
    for (keys, file, tls, egress) in [
        // What is written for all is for this one too: it is not opened to the internet on the quiet.
        ("", "upstream: { allowed_networks: 10.0.0.0/8 }", (false, some("10.0.0.0/8")), (false, some("10.0.0.0/8"))),
        (
            ", upstream: { allowed_networks: [public, 10.1.0.0/16] }",
            "upstream: { allowed_networks: 10.0.0.0/8 }",
            (false, some("10.0.0.0/8")),
            (true, some("10.1.0.0/16")),
        ),
        (", upstream: { allowed_networks: 10.1.0.0/16 }", "", (false, lattice()), (false, some("10.1.0.0/16"))),
        ("", "upstream: { denied_networks: 52.0.0.0/8 }", (false, lattice()), (true, vec![])),
        (", upstream: { denied_networks: 52.0.0.0/8 }", "", (false, lattice()), (true, vec![])),
    ] {
        let config = accepted(forward(keys, file));
        let found: Vec<_> =
            config.listeners.iter().map(networks_of).map(|(public, allowed, _)| (public, allowed)).collect();
        assert_eq!(found, [tls, egress], "{keys} {file}");
    }
    let denied = |keys: &str, file: &str| -> Vec<Vec<String>> {
        accepted(forward(keys, file)).listeners.iter().map(|listener| networks_of(listener).2).collect()
    };
    let (own, section) =
        (", upstream: { denied_networks: 52.1.0.0/16 }", "upstream: { denied_networks: [52.2.0.0/16] }");
    assert_eq!(denied(own, ""), [vec![], some("52.1.0.0/16")]);
    assert_eq!(denied(own, section), [some("52.2.0.0/16"), vec!["52.2.0.0/16".to_owned(), "52.1.0.0/16".to_owned()]]);
}

#[test]
fn networks_that_are_hardly_meant_are_warned_about() {
    for (keys, file, expected) in [
        (
            ", upstream: { allowed_networks: [public, 10.0.0.0/8] }",
            "",
            "listeners[1].upstream.allowed_networks: contains 10.0.0.0/8 beside `public`: whoever has a name that clients \
             may request can lead them into that network; give the network a listener of its own",
        ),
        (
            ", upstream: { allowed_networks: ['::/0'] }",
            "",
            "listeners[1].upstream.allowed_networks: contains ::/0: any address can be dialled, like an open relay",
        ),
        (
            ", upstream: { allowed_networks: [public, 52.1.0.0/16], denied_networks: [52.0.0.0/8] }",
            "",
            "listeners[1].upstream.allowed_networks: contains 52.1.0.0/16, which 52.0.0.0/8 in denied_networks denies; \
             remove it from one of the two",
        ),
        (
            "",
            "upstream: { allowed_networks: [public] }",
            "upstream.allowed_networks: contains public: listener tls can be sent to any site, like an open relay; give \
             `public` to a listener with `protocol: forward`, under its own `upstream`",
        ),
    ] {
        let (_, warnings) = forward(keys, file).unwrap();
        let [warning] = &lines_of(&warnings)[..] else { panic!("{keys}: {}", lines_of(&warnings).join("\n")) };
        assert!(warning.contains(expected) && warning.starts_with("conf/latticegate.yaml:"), "{warning}");
    }
    for keys in ["", ", upstream: { allowed_networks: [public, 8.8.8.0/24], denied_networks: [52.0.0.0/8] }"] {
        assert!(forward(keys, "").unwrap().1.is_empty(), "{keys}");
    }
}

/// Text keeps its spelling, whatever type YAML would give it.
#[test]
fn names_and_numbers_are_read_as_written() {
    let text = "listeners:\n- { name: 0x1F, bind: 127.0.0.1:0, protocol: tls, proxy_protocol: off, public_port: 0x1BB }\n\
                policy: s3://1.10/0o17\npolicy_owner: 000123456789\nworkers: +1\nreadiness: { fail_on_dns: True }\n\
                upstream: { names: { 1.example: 2.example, 3e1: 1e3 } }\n\
                metrics:\n  emf:\n    namespace: 1.10\n    dimensions:\n      version: 1.10\n      hex: 0x1F\n      \
                1.0: yes\n      1.00: No\n      build: 123456789012345678901234567890\n      day: 2026-12-31\n";
    let config = accepted(with(text, &[("LATTICEGATE_METRICS__EMF__DIMENSIONS__STAGE", "1e3")]));
    assert_eq!((&*config.listeners[0].name, config.listeners[0].public_port), ("0x1F", 443));
    let owner = Some("000123456789".into());
    assert_eq!(config.policy, PolicySource::S3(S3Object { bucket: "1.10".into(), key: "0o17".into(), owner }));
    assert!(config.workers.get() == 1 && config.fail_on_dns);
    let names: Vec<String> = config.upstream.names.iter().map(|(name, instead)| format!("{name} {instead}")).collect();
    assert_eq!(names, ["1.example 2.example", "3e1 1e3"]);
    let Emf { namespace, dimensions, .. } = config.emf.unwrap();
    assert_eq!(&*namespace, "1.10");
    let dimensions: Vec<(&str, &str)> = dimensions.iter().map(|(name, value)| (&**name, &**value)).collect();
    let expected = [
        ("1.0", "yes"),
        ("1.00", "No"),
        ("build", "123456789012345678901234567890"),
        ("day", "2026-12-31"),
        ("hex", "0x1F"),
        ("stage", "1e3"),
        ("version", "1.10"),
    ];
    assert_eq!(dimensions, expected);
    let diagnostics = with("workers: 0x1F.5\n", &[]).unwrap_err();
    assert!(lines_of(&diagnostics)[0].contains("workers: \"0x1F.5\" is not"), "{diagnostics:?}");
}

#[test]
fn the_schema_in_conf_is_current() {
    yaml::schema::assert_current::<raw::RawConfig>("latticegate.schema.json", "latticegate: configuration");
}

fn on(machine: &Machine, text: &str) -> (Config, Vec<Diagnostic>) {
    let env = [(TRUSTED.0.to_owned(), TRUSTED.1.to_owned())].into_iter();
    Config::parse(Some(File { path: Path::new("latticegate.yaml"), text }), env, machine).unwrap()
}

fn machine(open_files: u64, gib_in_eighths: u64) -> Machine {
    Machine { open_files, cpus: NonZeroUsize::MIN, memory: gib_in_eighths << 27 }
}

#[test]
fn limits_follow_the_memory_and_the_open_files_of_the_task() {
    for (open_files, eighths, connections, half_open, mib) in [
        // Fargate's tasks: 1/2, 1, 4 and 16 GB.
        (1 << 20, 4, 21_845, 7281, 64),
        (1 << 20, 8, 43_690, 14_563, 128),
        (1 << 20, 32, 174_762, 58_254, 512),
        (1 << 20, 128, 524_160, 233_016, 2048),
        // Where files are few they decide, and half of the connections may be half-open.
        (20_000, 8, 9872, 4936, 128),
        (64, 8, 24, 12, 128),
    ] {
        let (Config { limits, .. }, warnings) = on(&machine(open_files, eighths), "workers: 1");
        assert_eq!((limits.connections, limits.half_open.get()), (connections, half_open), "{open_files}, {eighths}");
        assert_eq!(limits.half_open_bytes >> 20, mib);
        assert!(warnings.is_empty(), "{}", lines_of(&warnings).join("\n"));
    }
}

#[test]
fn limits_that_are_set_are_kept_and_warned_about_if_they_exceed_the_memory() {
    let machine = machine(1 << 20, 8);
    let (Config { limits, .. }, warnings) =
        on(&machine, "limits: { connections: 60000, half_open: auto, half_open_bytes: 64 MiB }");
    assert_eq!((limits.connections, limits.half_open.get(), limits.half_open_bytes), (60_000, 14_563, 64 << 20));
    assert!(warnings.is_empty());
    for (text, key) in [
        ("limits: { connections: 90000 }", "limits.connections: \"90000\""),
        ("limits: { half_open_bytes: 1GiB }", "limits.half_open_bytes: \"1GiB\""),
    ] {
        let (_, warnings) = on(&machine, text);
        let [warning] = &lines_of(&warnings)[..] else { panic!("{text}: {}", lines_of(&warnings).join("\n")) };
        assert!(warning.contains(key) && warning.contains("this process may use 1024 MiB"), "{warning}");
    }
}

#[test]
fn an_invalid_size_is_refused_with_what_to_write() {
    for (value, expected) in [
        ("64", "has no unit; write \"64MiB\" or \"64KiB\""),
        ("0", "has no unit"),
        ("a lot", "is not a size; write `auto`, or a size like \"128MiB\""),
        ("-1MiB", "is not a size"),
        ("1.5GiB", "is not a size"),
        ("64mib", "is not a size"),
        ("99999999999999GiB", "is not a size"),
        ("1000KiB", "is less than 1 MiB"),
    ] {
        let diagnostics = with(&format!("limits: {{ half_open_bytes: \"{value}\" }}"), &[TRUSTED]).unwrap_err();
        let text = lines_of(&diagnostics).join("\n");
        assert!(text.contains("limits.half_open_bytes") && text.contains(expected), "{value}: {text}");
    }
    for (value, bytes) in [("2MiB", 2 << 20), ("2 MB", 2_000_000), ("3000kB", 3_000_000), ("1GiB", 1 << 30)] {
        let config = accepted(with(&format!("limits: {{ half_open_bytes: {value} }}"), &[TRUSTED]));
        assert_eq!(config.limits.half_open_bytes, bytes, "{value}");
    }
}

/// The configuration, as its settings: key, value and where it was written.
fn settings(config: &Config) -> Vec<(String, String, String)> {
    let one = |setting: &Setting| {
        let written: Vec<String> = setting.written.iter().map(ToString::to_string).collect();
        (setting.key.to_string(), setting.value.to_string(), written.join(" "))
    };
    config.settings.iter().map(one).collect()
}

#[test]
fn each_setting_says_its_value_and_where_it_was_written() {
    let text = "listeners:\n\
                - { name: a, bind: \"[::]:1443\", protocol: tls, proxy_protocol: off }\n\
                - { name: b, bind: \"[::]:3128\", protocol: forward, upstream: { denied_networks: [9.0.0.0/8] } }\n\
                upstream:\n  allowed_networks: [10.1.0.0/16]\n  denied_networks: [10.1.2.0/24]\n\
                dns: { timeout: 3s,\n  ipv6: off }\n\
                limits: { per_client: { connections: 7 } }\nadmin: { hosts: [gate.internal], refused_bytes: 7 }\n";
    let environment = [
        TRUSTED,
        ("LATTICEGATE_DNS__TIMEOUT", "4s"),
        ("LATTICEGATE_LISTENERS__0__NAME", "c"),
        ("LATTICEGATE_METRICS__EMF", "{ namespace: n }"),
        ("LATTICEGATE_UPSTREAM__ALLOWED_NETWORKS__1", "10.3.0.0/16"),
    ];
    let found = settings(&accepted(with(text, &environment)));
    let file = |line: u32| format!("{FILE}:{line}");
    for (key, value, written) in [
        ("listeners[0].name", "c", "LATTICEGATE_LISTENERS__0__NAME".to_owned()),
        ("listeners[0].proxy_protocol", "off", file(2)),
        ("listeners[0].public_port", "443", String::new()),
        ("listeners[0].upstream.denied_networks", "10.1.2.0/24", file(6)),
        ("listeners[1].upstream.denied_networks", "10.1.2.0/24, 9.0.0.0/8", format!("{} {}", file(3), file(6))),
        ("listeners[1].connect_ports", "443", String::new()),
        (
            "listeners[1].upstream.allowed_networks",
            "10.1.0.0/16, 10.3.0.0/16",
            format!("{} LATTICEGATE_UPSTREAM__ALLOWED_NETWORKS__1", file(5)),
        ),
        ("proxy_protocol.trusted", "10.0.0.0/16", TRUSTED.0.to_owned()),
        ("dns.timeout", "4s", "LATTICEGATE_DNS__TIMEOUT".to_owned()),
        ("dns.ipv6", "off", file(8)),
        ("dns.max_stale", "3600s", String::new()),
        ("limits.per_client.connections", "7", file(9)),
        ("limits.per_client.per_second", "off", String::new()),
        ("admin.hosts", "gate.internal", file(10)),
        ("admin.token_file", "none", String::new()),
        ("admin.refused_bytes", "7", file(10)),
        ("access_log.fields", "all", String::new()),
        ("metrics.emf.namespace", "n", "LATTICEGATE_METRICS__EMF".to_owned()),
        ("metrics.emf.interval", "60s", String::new()),
        ("workers", "4", String::new()),
    ] {
        let one = found.iter().find(|(found, ..)| found == key).unwrap_or_else(|| panic!("{key}"));
        assert_eq!((&*one.1, &*one.2), (value, &*written), "{key}");
    }
}

/// By the keys that the program knows, as the schema has them.
#[test]
fn no_key_is_missing_among_the_settings() {
    fn keys(schema: &serde_json::Value, of: &serde_json::Value, path: &str, all: &mut BTreeSet<String>) {
        let name = of["$ref"].as_str().and_then(|name| name.rsplit('/').next());
        let of = name.map_or(of, |name| &schema["definitions"][name]);
        match (&of["properties"], &of["items"]) {
            (serde_json::Value::Object(properties), _) => {
                for (key, of) in properties {
                    let dot = if path.is_empty() { "" } else { "." };
                    keys(schema, of, &format!("{path}{dot}{key}"), all);
                }
            }
            (_, items) if items.get("$ref").is_some() => keys(schema, items, &format!("{path}[]"), all),
            _ => drop(all.insert(path.to_owned())),
        }
    }
    let schema: serde_json::Value =
        serde_json::from_str(include_str!("../../../conf/latticegate.schema.json")).unwrap();
    let mut known = BTreeSet::new();
    keys(&schema, &schema, "", &mut known);
    // Shown for each listener, with its own.
    for key in ["upstream.allowed_networks", "upstream.denied_networks"] {
        assert!(known.remove(key), "{key}");
    }
    let text = "listeners: [{ name: a, bind: \"[::]:1443\", protocol: tls }, { name: b, bind: \"[::]:3128\", protocol: forward }]\n\
                metrics: { emf: {} }\n";
    let found = settings(&accepted(with(text, &[TRUSTED])));
    let shown: BTreeSet<String> = found.iter().map(|(key, ..)| key.replace("[0]", "[]").replace("[1]", "[]")).collect();
    assert_eq!(shown, known);
}

#[test]
fn an_admin_port_that_others_reach_needs_a_token() {
    for bind in ["0.0.0.0:9900", "[::]:9900", "10.0.0.1:9900", "[::ffff:10.0.0.1]:9900"] {
        let text = format!("admin: {{ bind: \"{bind}\" }}\n");
        let errors = with(&text, &[TRUSTED]).unwrap_err();
        let [error] = &errors[..] else { panic!("{errors:?}") };
        let shown = error.to_string();
        for part in [
            &format!("{FILE}:1:16: admin.bind: \"{bind}\" can be reached from other machines"),
            "`token_file:`",
            "127.0.0.1:9900",
        ] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
        let config = accepted(with(&text.replace(" }", ", token_file: secret }"), &[TRUSTED]));
        assert_eq!(config.admin_access.token_file, Some("conf/secret".into()));
    }
    for bind in ["127.0.0.1:9900", "127.8.0.1:9900", "[::1]:9900", "[::ffff:127.0.0.1]:9900"] {
        accepted(with(&format!("admin: {{ bind: \"{bind}\" }}\n"), &[TRUSTED]));
    }
}

/// The lines of a summary.
fn changed(config: &Config) -> Vec<String> {
    config.changed(&MACHINE).iter().map(ToString::to_string).collect()
}

#[test]
fn only_what_differs_from_the_defaults_has_changed() {
    let text = include_str!("../../../conf/latticegate.yaml");
    let trusted = text.lines().position(|line| line.trim_start().starts_with("trusted:")).unwrap() + 1;
    assert_eq!(
        changed(&accepted(with(text, &[]))),
        [format!("proxy_protocol.trusted: 192.168.0.0/16 ({FILE}:{trusted})")],
        "the shipped file says what the defaults say, but for this"
    );
    let text = "listeners:\n- { name: b, bind: \"[::]:8443\", protocol: http, public_port: 443 }\n\
                workers: 4\npolicy: http://127.0.0.1:1/list?token=hush\ndns:\n  timeout: 2s\n  max_ttl: 60s\n";
    let config =
        accepted(with(text, &[TRUSTED, ("LATTICEGATE_LIMITS__CONNECTIONS", "77"), ("LATTICEGATE_WORKERS", "auto")]));
    let port = format!("listeners[0].public_port: 443 ({FILE}:2)");
    assert_eq!(
        changed(&config),
        [
            &*port,
            "proxy_protocol.trusted: 10.0.0.0/16 (LATTICEGATE_PROXY_PROTOCOL__TRUSTED)",
            &*format!("dns.max_ttl: 60s ({FILE}:7)"),
            "limits.connections: 77 (LATTICEGATE_LIMITS__CONNECTIONS)",
        ]
    );
    assert_eq!(config.listener_setting(0).map(|setting| SettingSource(setting).to_string()), Some(format!("{FILE}:2")));
    assert!(config.settings.iter().all(|setting| !setting.value.contains("hush")), "a query may be a secret");
}

#[test]
fn a_changed_setting_is_one_line_of_bounded_length() {
    let names: Vec<String> = (0..200).map(|n| format!("  n{n}.example.com: \"other.example.com\"\n")).collect();
    let text = format!("upstream:\n names:\n{}", names.concat());
    let changed = changed(&accepted(with(&text, &[TRUSTED])));
    let line = changed.iter().find(|line| line.starts_with("upstream.names: ")).unwrap();
    assert!(line.chars().count() < 250 && line.contains("… ("), "{line}");
    assert!(changed.iter().all(|line| !line.contains(char::is_control)), "{changed:?}");
}
