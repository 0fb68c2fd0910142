//! `latticegate capacity` as a reader runs it. The examples of docs/capacity.md are what it prints, so that new figures need
//! no hand: `UPDATE_DOCS=1 cargo test --test capacity` writes them there.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;
use support::cli;

fn capacity(arguments: &[&str]) -> Output {
    let arguments = [&["capacity"], arguments].concat();
    cli::run(env!("CARGO_BIN_EXE_latticegate"), Path::new("/"), &arguments, &[])
}

fn page() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/capacity.md")
}

fn object(arguments: &[&str]) -> Value {
    let output = capacity(&[arguments, &["--json"]].concat());
    serde_json::from_slice(&output.stdout).unwrap()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

/// The page with each block of output replaced by what the command above it prints, and how many there are.
fn printed(page: &str) -> (String, usize) {
    let (mut text, mut rest, mut examples) = (String::new(), page, 0);
    while let Some((before, after)) = rest.split_once("```sh\nlatticegate capacity") {
        let (arguments, after) = after.split_once("\n```\n").unwrap();
        let (between, after) = after.split_once("```text\n").unwrap();
        let (_, after) = after.split_once("```\n").unwrap();
        assert!(between.trim().is_empty(), "the output stands right below `latticegate capacity{arguments}`");
        let output = capacity(&arguments.split_whitespace().collect::<Vec<_>>());
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(output.stderr.is_empty() && !said.is_empty(), "{arguments}: {said}");
        text += &format!("{before}```sh\nlatticegate capacity{arguments}\n```\n{between}```text\n{said}```\n");
        (rest, examples) = (after, examples + 1);
    }
    (text + rest, examples)
}

#[test]
fn the_examples_are_what_the_command_prints() {
    let text = fs::read_to_string(page()).unwrap();
    let (now, examples) = printed(&text);
    assert!(examples >= 4, "{examples}");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(page(), now).unwrap();
        return;
    }
    assert!(now == text, "run UPDATE_DOCS=1 cargo test --test capacity, and read what has changed:\n{now}");
}

#[test]
fn every_limit_stands_in_the_table_with_its_source() {
    let text = fs::read_to_string(page()).unwrap();
    let plan = object(&["--connections-per-second", "3000"]);
    let limits = plan["limits"].as_array().unwrap();
    assert!(limits.len() > 10);
    for limit in limits {
        let (name, source) = (limit["limit"].as_str().unwrap(), limit["source"].as_str().unwrap());
        let row = text.lines().find(|line| line.starts_with(&format!("| `{name}` |")));
        let row = row.unwrap_or_else(|| panic!("docs/capacity.md has no row for {name}"));
        assert!(row.contains(source), "{row} lacks {source}");
    }
}

/// What the program knows of the templates, the prices and the log is what stands there.
#[test]
fn the_templates_and_the_other_pages_say_the_same() {
    let read = |file: &str| fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
    let plan = object(&["--connections-per-second", "1"]);

    let template = read("cfn/proxy.yaml");
    let (_, map) = template.split_once("  TaskSizes:\n").unwrap();
    let rows: Vec<&str> = map.lines().take_while(|line| line.starts_with("    ")).collect();
    let sizes = plan["sizes"].as_array().unwrap();
    assert_eq!(rows.len(), sizes.len());
    for size in sizes {
        let (units, mib) = (number(&size["vcpu"]) * 1024.0, number(&size["memory_gb"]) * 1024.0);
        let row = format!("    {}: {{ Cpu: '{units}', Memory: '{mib}',", size["size"].as_str().unwrap());
        assert!(rows.iter().any(|line| line.starts_with(&row)), "{row}");
    }

    let limit = |name: &str| {
        let limits = plan["limits"].as_array().unwrap();
        number(&limits.iter().find(|limit| limit["limit"] == name).unwrap()["of"])
    };
    assert!(template.contains("net.ipv4.ip_local_port_range, Value: '10240 65535'"));
    assert_eq!(limit("local-ports"), f64::from(65_535 - 10_240 + 1));
    assert!(template.contains("Name: nofile, SoftLimit: 1048576, HardLimit: 1048576"));
    assert_eq!(limit("open-files"), f64::from((1_048_576 - 256) / 2));

    assert!(read("cfn/root.yaml").contains("  MaxTasks: { Type: Number, Default: 9,"));
    assert_eq!(limit("MaxTasks"), 9.0);
    assert!(template.contains("    0.25vCPU-0.5GB: { Cpu: '256', Memory: '512', Connections: '10000' }"));
    assert_eq!(limit("ConnectionsTarget"), 10_000.0);

    let deploy = read("docs/deploy.md");
    let (_, table) = deploy.split_once("| price | source | date |").unwrap();
    let prices = plan["prices_usd"].as_object().unwrap();
    assert_eq!(prices.len(), 7);
    for (name, usd) in prices {
        let usd = number(usd);
        let text = if name == "log-gb" { format!("{usd:.2}") } else { usd.to_string() };
        assert!(table.contains(&text), "{name} {text}");
    }

    for size in sizes {
        let (name, usd) = (size["size"].as_str().unwrap(), number(&size["fargate_arm_usd"]));
        let row = deploy
            .lines()
            .find(|line| line.starts_with(&format!("| {name}")) || line.starts_with(&format!("| **{name}**")));
        assert!(row.is_some_and(|row| row.ends_with(&format!(" | {usd:.2} |"))), "{name} {usd}: {row:?}");
    }

    let measured: Value = serde_json::from_str(&read("benches/capacity/measured.json")).unwrap();
    let lines = read("docs/access-log.md");
    for (figure, row) in [("log_json", "| `all`, `json` (default) |"), ("log_nginx", "| `all`, `nginx` |")] {
        let bytes = number(&measured[figure]["value"]);
        assert!(lines.contains(&format!("{row} {bytes} |")), "{figure} {bytes}");
    }
}

/// The status says whether more tasks are enough.
#[test]
fn a_limit_that_tasks_do_not_help_is_the_status() {
    let fits = capacity(&["--connections-per-second", "100"]);
    assert_eq!(fits.status.code(), Some(0));
    let (one, ten) = (["--connections-per-second", "30000"], ["--connections-per-second", "30000", "--services", "10"]);
    let state = |plan: &Value| {
        let limits = plan["limits"].as_array().unwrap().clone();
        limits.into_iter().find(|limit| limit["limit"] == "lattice-requests").unwrap()["state"].clone()
    };
    assert_eq!(capacity(&one).status.code(), Some(1));
    assert_eq!((state(&object(&one)), state(&object(&ten))), ("over".into(), "ok".into()));
    let text = String::from_utf8(capacity(&one).stdout).unwrap();
    let over = text.lines().position(|line| line.starts_with("over   lattice-requests ")).unwrap();
    let help: Vec<&str> = text.lines().skip(over + 1).take(2).collect();
    assert!(help[0].starts_with("       help    ") && help[1].starts_with("       source  https://"), "{text}");
    assert!(!text.contains('\x1b'), "no colours where nobody looks");
}

/// What is said of a plan beside its figures.
#[test]
fn what_to_set_and_what_is_assumed_is_printed() {
    let text = |arguments: &[&str]| String::from_utf8(capacity(arguments).stdout).unwrap();
    let large = text(&["--connections-per-second", "10000", "--log-keep", "failures"]);
    assert!(large.contains("over   MaxTasks ") && large.contains("Set MaxTasks=18,"), "{large}");
    assert!(large.contains("keep: failures; 1 % are assumed"), "{large}");
    let idle = text(&["--idle-connections", "1000000"]);
    assert!(idle.contains("over   ConnectionsTarget ") && idle.contains("Set ConnectionsTarget=14493,"), "{idle}");
    let one = text(&["--connections-per-second", "1", "--gbits-per-second", "3"]);
    assert!(one.contains("load     1 new connection/s, 1 request/s, 3 Gbit/s; 1 open connection;"), "{one}");
    assert!(one.contains("1 line/s of") && one.contains("\nnote     1.50 Gbit/s a task"), "{one}");
    assert!(!idle.contains("\nnote ") && idle.contains("Memory of the kernel"), "{idle}");
}

/// Two figures in one line are two, however many digits they have.
#[test]
fn large_figures_stay_apart() {
    let most = ["--connections-per-second", "1e12", "--idle-connections", "1e12", "--names", "4000000000"];
    let text = String::from_utf8(capacity(&most).stdout).unwrap();
    let tables = ["  size  ", "cost  ", "limits  "].map(|begin| {
        let lines: Vec<&str> = text.lines().skip_while(|line| !line.starts_with(begin)).skip(1).collect();
        lines.into_iter().take_while(|line| !line.is_empty()).collect::<Vec<_>>()
    });
    let plan = object(&most);
    for (line, size) in tables[0].iter().zip(plan["sizes"].as_array().unwrap()) {
        let cells: Vec<&str> = line[2..].split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
        let figures = [&size["tasks"], &size["tasks_in_each_zone"]].map(|value| number(value).to_string());
        assert_eq!((cells.len(), cells[0]), (9, size["size"].as_str().unwrap()), "{line}");
        assert_eq!([cells[1], cells[2]].map(|cell| cell.replace(' ', "")), figures, "{line}");
    }
    assert_eq!((tables[0].len(), tables[1].len()), (4, 5), "{text}");
    for line in &tables[1] {
        let cells: Vec<&str> = line.split("  ").filter(|cell| !cell.is_empty()).collect();
        assert_eq!(cells.len(), 3, "{line}");
    }
    for line in tables[2].iter().filter(|line| !line.starts_with(' ')) {
        let (_, share) = line.split_once(" of ").unwrap();
        let cells: Vec<&str> = share.split("  ").filter(|cell| !cell.is_empty()).collect();
        assert!(cells.len() == 3 && cells[1].ends_with(" %"), "{line}");
    }
    // Nor is what is little nothing.
    let least = String::from_utf8(capacity(&["--connections-per-second", "0.0001"]).stdout).unwrap();
    assert!(least.starts_with("load     <0.001 new connections/s, <0.001 requests/s,"), "{least}");
    assert!(!least.contains("0.000"), "{least}");
    let nothing = capacity(&["--connections-per-second", "1", "--price", "nlb-hour=-0"]);
    assert!(!String::from_utf8(nothing.stdout).unwrap().contains(" -0"), "a price is not negative");
}

/// A bill is in cents: whoever adds its rows up gets the sum.
#[test]
fn the_sum_is_that_of_the_rows() {
    let cents = |text: &str| text.replace(['.', ' '], "").parse::<u64>().unwrap();
    for rate in ["0.0001", "1", "77", "300", "1234.5", "3000", "99999"] {
        let arguments = ["--connections-per-second", rate, "--services", "20"];
        let text = String::from_utf8(capacity(&arguments).stdout).unwrap();
        let rows = text.lines().skip_while(|line| !line.starts_with("cost  ")).skip(1).take(5);
        let figures: Vec<u64> = rows
            .map(|row| {
                cents(
                    row[2..]
                        .trim_start_matches(char::is_alphabetic)
                        .trim_start_matches(" ARM")
                        .trim()
                        .split("  ")
                        .next()
                        .unwrap(),
                )
            })
            .collect();
        assert_eq!(figures[..4].iter().sum::<u64>(), figures[4], "{text}");
        let bill = &object(&arguments)["usd_a_month"];
        let parts = ["fargate_arm", "nlb_hours", "nlcu", "log", "total_with_arm"];
        assert_eq!(parts.map(|part| cents(&format!("{:.2}", number(&bill[part])))).to_vec(), figures, "{bill}");
    }
}

/// The same text for people and for programs.
#[test]
fn the_object_has_what_the_lines_have() {
    let of = |gbits: &str| {
        let arguments = ["--connections-per-second", "1", "--gbits-per-second", gbits];
        (String::from_utf8(capacity(&arguments).stdout).unwrap(), object(&arguments))
    };
    let (text, plan) = of("3");
    let note = plan["notes"][0].as_str().unwrap();
    assert!(note.starts_with("1.50 Gbit/s a task: ") && text.contains(&format!("\nnote     {note}\n")), "{note}");
    assert_eq!(of("2").1["notes"], serde_json::json!([]));
    assert!(text.contains("1 line/s of 499 + 26 bytes, keep: all"), "{text}");
    assert_eq!((number(&plan["log_line_bytes"]), plan["log_keep"].as_str()), (525.0, Some("all")));
    let anew = object(&["--connections-per-second", "1", "--idle-connections", "600"]);
    assert_eq!(number(&anew["load"]["of_them_opened_anew_per_second"]), 10.0);
    let one = ["--connections-per-second", "1", "--zones", "1"];
    let (text, plan) = (String::from_utf8(capacity(&one).stdout).unwrap(), object(&one));
    let note = plan["notes"][0].as_str().unwrap();
    assert!(note.starts_with("in one zone there is none to spare") && text.contains(&format!("  {note}\n")), "{note}");
}

/// More of anything never takes fewer tasks or less money.
#[test]
fn a_larger_load_never_costs_less() {
    let of = |option: &str, value: &str| {
        let plan = object(&["--connections-per-second", "1000", "--cpu", "0.5", option, value]);
        let chosen = plan["sizes"].as_array().unwrap().iter().find(|size| size["chosen"] == true).unwrap().clone();
        (number(&chosen["tasks"]), number(&plan["usd_a_month"]["total_with_arm"]), number(&plan["needs"]["vcpu_busy"]))
    };
    for (option, values) in [
        ("--idle-connections", ["0", "100000", "1000000"]),
        ("--requests-per-connection", ["1", "100", "10000"]),
        ("--bytes-per-connection", ["0", "100000", "10000000"]),
        ("--seconds-per-connection", ["0", "60", "600"]),
    ] {
        let [small, middle, large] = values.map(|value| of(option, value));
        for (less, more) in [(small, middle), (middle, large)] {
            assert!(less.0 <= more.0 && less.1 <= more.1 && less.2 <= more.2, "{option}: {less:?} {more:?}");
        }
        assert!(small != large, "{option} changes nothing");
    }
}

/// Lattice closes an idle connection after 60 s unless the service says otherwise, and a handshake is not free of bytes.
#[test]
fn idle_connections_are_opened_anew_and_have_bytes() {
    let of = |more: &[&str]| object(&[&["--idle-connections", "600000"], more].concat());
    let new = |plan: &Value| number(&plan["load"]["new_connections_per_second"]);
    let gbits = |plan: &Value| number(&plan["load"]["gbits_per_second"]);
    let (usual, kept, http) = (of(&[]), of(&["--idle-seconds", "600"]), of(&["--listener", "http"]));
    assert_eq!((new(&usual), new(&kept), new(&http)), (10_000.0, 1_000.0, 10_000.0));
    assert!((gbits(&usual) - 0.4).abs() < 1e-9 && (gbits(&kept) - 0.04).abs() < 1e-9, "{usual}");
    assert_eq!((gbits(&http), usual["nlcu"]["by"].as_str()), (0.0, Some("bytes")));
    assert_eq!(gbits(&of(&["--gbits-per-second", "1"])), 1.0, "which is traffic in all");
}

#[test]
fn bytes_can_be_given_as_gbits() {
    let bytes = object(&["--connections-per-second", "1000", "--bytes-per-connection", "125000"]);
    let gbits = object(&["--connections-per-second", "1000", "--gbits-per-second", "1"]);
    assert_eq!(bytes["usd_a_month"], gbits["usd_a_month"]);
    assert_eq!(number(&gbits["load"]["gbits_per_second"]), 1.0);
}

#[test]
fn prices_and_lines_of_the_log_are_the_readers() {
    let usual = ["--connections-per-second", "3000"];
    let log = |more: &[&str]| number(&object(&[&usual[..], more].concat())["usd_a_month"]["log"]);
    // As docs/access-log.md has them.
    assert_eq!(log(&[]).round(), 2070.0);
    assert_eq!(log(&["--log-format", "nginx"]).round(), 509.0);
    assert_eq!(log(&["--log-keep", "sample 1/100"]).round(), 41.0);
    assert_eq!(log(&["--log-keep", "failures"]).round(), 21.0);
    assert!((log(&["--price", "log-gb=1"]) - 2.0 * log(&[])).abs() < 0.02, "each is in whole cents");
    assert_eq!(log(&["--price", "log-gb=0"]), 0.0);
}

#[test]
fn what_makes_no_sense_is_refused_with_help() {
    for (arguments, help) in [
        (&[][..], "no load is given"),
        (&["--connections-per-second=-1"], "is not from 0"),
        (&["--connections-per-second", "many"], "is not a number"),
        (&["--connections-per-second", "NaN"], "is not from 0"),
        (&["--connections-per-second", "1", "--requests-per-connection", "0.5"], "one request at least"),
        (&["--connections-per-second", "1", "--seconds-per-connection", "601"], "ends a connection after 600 s"),
        (&["--idle-connections", "1", "--idle-seconds", "59"], "60..=600"),
        (&["--connections-per-second", "1", "--cpu", "3"], "0.25, 0.5, 1, 2, 4, 8 and 16"),
        (&["--connections-per-second", "1", "--cpu", "0.5", "--memory", "8"], "1 to 4 GB"),
        (&["--connections-per-second", "1", "--memory", "8"], "--cpu"),
        (&["--connections-per-second", "1", "--zones", "0"], "--zones"),
        (&["--connections-per-second", "1", "--services", "3", "--names", "2"], "each service has a name at least"),
        (&["--connections-per-second", "1", "--log-keep", "some"], "sample 1/N"),
        (&["--connections-per-second", "1", "--price", "vcpu=1"], "arm-vcpu-hour"),
        (
            &["--connections-per-second", "1", "--gbits-per-second", "1", "--bytes-per-connection", "1"],
            "cannot be used",
        ),
    ] {
        let output = capacity(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && said.contains(help), "{arguments:?}: {output:?}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
}
