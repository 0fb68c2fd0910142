//! The plan, and what the command line makes of it.

use std::time::Duration;

use clap::Parser;
use latticegate_load::Arguments;
use latticegate_load::arguments::Allowed;
use latticegate_load::limits::{Descriptors, plan};
use latticegate_load::plan::{Load, Plan, Planned};
use latticegate_load::target::{ConnectTo, Target};

const LOAD: Load = Load { users: 50, rate: 300.0, ramp: Duration::from_secs(50), steady: Duration::from_secs(100) };

#[test]
fn users_come_one_after_the_other_and_then_ask_alike() {
    let plan: Vec<Planned> = Plan::new(LOAD, 7).collect();
    assert_eq!(plan, Plan::new(LOAD, 7).collect::<Vec<_>>());
    assert_ne!(plan, Plan::new(LOAD, 8).collect::<Vec<_>>());
    assert!(plan.is_sorted_by_key(|planned| planned.at));
    for user in 0..LOAD.users {
        let own: Vec<Duration> = plan.iter().filter(|planned| planned.user == user).map(|planned| planned.at).collect();
        // User 0 comes at once, user 1 after a second; each asks 6 times a second.
        let (first, last) = (own[0].as_secs_f64(), own[own.len() - 1].as_secs_f64());
        assert!(first >= user as f64 && first < user as f64 + 3.0, "user {user}: {first}");
        assert!(last < 150.0 && last > 147.0, "user {user}: {last}");
        let rate = own.len() as f64 / (150.0 - user as f64);
        assert!((5.0..7.0).contains(&rate), "user {user}: {rate}");
    }
    let steady = plan.iter().filter(|planned| planned.at >= LOAD.ramp).count() as f64 / 100.0;
    let ramp = plan.iter().filter(|planned| planned.at < LOAD.ramp).count() as f64 / 50.0;
    assert!((295.0..305.0).contains(&steady) && (145.0..160.0).contains(&ramp), "{ramp} {steady}");
}

fn load(more: &[&str]) -> anyhow::Result<Load> {
    Arguments::try_parse_from(["load", "--url", "http://x/"].iter().chain(more))?.load()
}

#[test]
fn the_guidances_scenario_can_be_changed_and_divided() {
    let of = |more: &[&str]| {
        let load = load(more).unwrap();
        (load.users, load.rate, load.ramp.as_secs(), load.steady.as_secs())
    };
    assert_eq!(of(&["--scenario", "guidance"]), (5_000, 3_000.0, 300, 1_200));
    assert_eq!(of(&["--scenario", "guidance", "--generators", "5"]), (1_000, 600.0, 300, 1_200));
    assert_eq!(
        of(&["--scenario", "guidance", "--users", "7", "--rate", "2.5", "--ramp", "10s", "--duration", "1min"]),
        (7, 2.5, 10, 60)
    );
    assert_eq!(of(&[]), (10, 10.0, 0, 30));
    // One each, at least.
    assert_eq!(of(&["--users", "5", "--generators", "5"]), (1, 2.0, 0, 30));
    assert!(
        load(&["--users", "3", "--generators", "5"]).unwrap_err().to_string().contains("fewer than --generators 5")
    );
    for (more, text) in [
        (["--users", "0"], "--users 0: from 1"),
        (
            ["--generators", "3"],
            "--users 10: cannot be divided evenly by --generators 3; say which of them this is, with --generator",
        ),
        (["--generator", "2"], "--generator 2: from 1 to --generators 1"),
        (["--generators", "11"], "--users 10: fewer than --generators 11"),
        (["--rate", "0"], "--rate 0: from 0.001"),
        (["--rate", "nan"], "--rate NaN"),
        (["--duration", "0s"], "nothing would be measured"),
        (["--ramp", "25h"], "a day at most"),
    ] {
        assert!(load(&more).unwrap_err().to_string().contains(text), "{more:?}");
    }
}

/// No user more and no user less, and each asks as often as every other.
#[test]
fn generators_that_know_their_number_share_users_exactly() {
    for (users, generators) in [(5_000_u32, 24_u32), (7, 7), (7, 3), (5, 1), (10_001, 10)] {
        let shares: Vec<Load> = (1..=generators)
            .map(|one| {
                let [users, generators, one] = [users, generators, one].map(|number| number.to_string());
                load(&["--users", &users, "--rate", "300", "--generators", &generators, "--generator", &one]).unwrap()
            })
            .collect();
        assert_eq!(shares.iter().map(|load| load.users).sum::<usize>(), users as usize);
        assert!((shares.iter().map(|load| load.rate).sum::<f64>() - 300.0).abs() < 1e-9, "{shares:?}");
        let (least, most) = (shares.iter().map(|load| load.users).min(), shares.iter().map(|load| load.users).max());
        assert!(most.unwrap() - least.unwrap() <= 1, "{shares:?}");
        for load in &shares {
            assert!((load.rate / load.users as f64 - 300.0 / f64::from(users)).abs() < 1e-9, "{load:?}");
        }
    }
}

#[test]
fn urls_and_addresses() {
    let target = |text: &str| text.parse::<Target>().map(|t| (t.tls, t.host, t.port, t.authority, t.path_and_query));
    let parts =
        |tls, host: &str, port, authority: &str, path: &str| (tls, host.into(), port, authority.into(), path.into());
    assert_eq!(target("https://a.example").unwrap(), parts(true, "a.example", 443, "a.example", "/"));
    assert_eq!(target("http://a.example:80/x?y=1").unwrap(), parts(false, "a.example", 80, "a.example", "/x?y=1"));
    assert_eq!(target("https://a.example:8443/").unwrap(), parts(true, "a.example", 8443, "a.example:8443", "/"));
    assert_eq!(target("http://[::1]:81/").unwrap(), parts(false, "::1", 81, "[::1]:81", "/"));
    for wrong in ["a.example", "ftp://a.example/", "https://u:p@a.example/", "http://a.example:0/", "https:///x", ""] {
        assert!(target(wrong).is_err(), "{wrong}");
    }
    let connect = |text: &str| text.parse::<ConnectTo>().map(|to| (to.host, to.port));
    assert_eq!(connect("nlb.example").unwrap(), ("nlb.example".into(), None));
    assert_eq!(connect("10.0.0.1:8443").unwrap(), ("10.0.0.1".into(), Some(8443)));
    assert_eq!(connect("fd00::1").unwrap(), ("fd00::1".into(), None));
    assert_eq!(connect("[fd00::1]:444").unwrap(), ("fd00::1".into(), Some(444)));
    for wrong in ["", ":443", "a:0", "a:x", "https://a", "[fd00::1]444"] {
        assert!(connect(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn descriptors_are_counted_before_the_start() {
    assert_eq!(plan(100, Some(100), Some(100)), Descriptors::Enough);
    assert_eq!(plan(100, None, None), Descriptors::Enough);
    assert_eq!(plan(100, Some(99), Some(100)), Descriptors::Raise);
    assert_eq!(plan(100, Some(99), None), Descriptors::Raise);
    assert_eq!(plan(100, Some(50), Some(99)), Descriptors::TooFew(99));
}

#[test]
fn allowed_errors_are_a_number_or_a_percentage() {
    let allowed = |text: &str| text.parse::<Allowed>();
    assert!(allowed("3").unwrap().permit(3, 10) && !allowed("3").unwrap().permit(4, 10_000));
    assert!(allowed("0.1%").unwrap().permit(3, 3_000) && !allowed("0.1%").unwrap().permit(4, 3_000));
    assert!(allowed("0").unwrap().permit(0, 0) && !allowed("0%").unwrap().permit(1, 1_000_000));
    for wrong in ["", "-1", "101%", "x%", "1.5"] {
        assert!(allowed(wrong).is_err(), "{wrong}");
    }
}
