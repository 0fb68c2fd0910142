//! `latticegate status`: the operator's page of the running process, in a terminal.

mod report;

use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::Args;
use rustix::termios::tcgetwinsize;
use serde_json::Value;

use self::report::{Report, Style};
use super::print::{Reader, Unwritten, print, print_diagnostics, say};
use super::{ConfigArgs, local_http};
use crate::sys::files;
use crate::web::Token;
use latticegate_core::config::Config;
use latticegate_core::diagnostic::Severity;

/// Show what the running latticegate is doing: state, figures, history, refusals, connections, names, rules, settings.
///
/// Asks admin.bind of the configuration, with the token of admin.token_file if there is one: what the page at that port
/// shows, in lines. Times are UTC; "up" is from clients to services.
///
/// Exit status 0: it answered and is ready; 1: it is not ready; 2: there is no answer, or the configuration cannot be
/// read.
#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Only open connections with this text in client, name, upstream, listener or id.
    #[arg(long, value_name = "TEXT", default_value = "")]
    find: String,
    /// Rows of each list at most.
    #[arg(long, value_name = "N", default_value_t = 10)]
    rows: usize,
    /// Again every two seconds, until it is interrupted. A terminal shows as many lines as it has.
    #[arg(long)]
    watch: bool,
    /// Everything that is known, as the object that /status.json has. With --watch one on each line.
    #[arg(long)]
    json: bool,
}

/// For connect, and for each read: going through many thousands of connections takes a moment.
const PATIENCE: Duration = Duration::from_secs(10);
/// No response is longer: every list in it has an end.
const MAX_ANSWER: u64 = 64 << 20;
const PAUSE: Duration = Duration::from_secs(2);

impl StatusArgs {
    #[expect(clippy::disallowed_methods, reason = "no connection waits for this process")]
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let file = self.config.file.as_deref();
        let found = files::configuration_for_list(file, files::environment());
        let read = found.map_err(|errors| print_diagnostics(Severity::Error, &errors));
        let Ok((config, _)) = read else { return Ok(ExitCode::from(2)) };
        let token = match Token::configured(&config) {
            Ok(token) => token,
            Err(diagnostic) => {
                print_diagnostics(Severity::Error, &[diagnostic]);
                return Ok(ExitCode::from(2));
            }
        };
        loop {
            let (code, reader) = match ask(&config, token.as_ref(), &self.find) {
                Ok(state) => {
                    let is_ready = state.get("ready").is_some_and(|ready| ready == true);
                    (if is_ready { ExitCode::SUCCESS } else { ExitCode::FAILURE }, self.show(&state)?)
                }
                Err(why) => {
                    say(format_args!("error: {why}"));
                    (ExitCode::from(2), Reader::There)
                }
            };
            if !self.watch || reader == Reader::Gone {
                return Ok(code);
            }
            thread::sleep(PAUSE);
        }
    }

    fn show(&self, state: &Value) -> Result<Reader, Unwritten> {
        if self.json {
            return print(|out| if self.watch { writeln!(out, "{state}") } else { writeln!(out, "{state:#}") });
        }
        let out = io::stdout();
        let is_terminal = out.is_terminal();
        let size = tcgetwinsize(&out).ok().filter(|size| is_terminal && size.ws_row > 0 && size.ws_col > 0);
        let colour = is_terminal && std::env::var_os("NO_COLOR").is_none();
        let style = Style { colour, width: size.map(|size| usize::from(size.ws_col)), rows: self.rows };
        let report = Report { state, style }.to_string();
        if !self.watch {
            return print(|out| out.write_all(report.as_bytes()));
        }
        if !is_terminal {
            return print(|out| writeln!(out, "{report}"));
        }
        // Home, and what was there before is erased line by line: the screen does not flicker.
        let lines = size.map_or(usize::MAX, |size| usize::from(size.ws_row).saturating_sub(1));
        print(|out| {
            write!(out, "\x1b[H")?;
            report.lines().take(lines).try_for_each(|line| writeln!(out, "{line}\x1b[K"))?;
            write!(out, "\x1b[J")
        })
    }
}

/// What `/status.json` says.
fn ask(config: &Config, token: Option<&Token>, find: &str) -> Result<Value, String> {
    let address = local_http::loopback(config.admin);
    let find: String = form_urlencoded::byte_serialize(find.as_bytes()).collect();
    let target = format!("/status.json?find={find}");
    let fields = token.map_or_else(String::new, |token| format!("Authorization: Bearer {}\r\n", token.as_str()));
    let answer = local_http::get(config.admin, &target, &fields, PATIENCE, MAX_ANSWER).map_err(|error| {
        format!("nothing answers on {address}, which is admin.bind: {error}; is latticegate running here with this configuration?")
    })?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).unwrap_or_default();
    match status {
        "200" => {
            serde_json::from_str(body).map_err(|error| format!("{address} does not answer like latticegate: {error}"))
        }
        "401" => Err(format!("{address} wants another token: that of the file when it was started (admin.token_file)")),
        _ => Err(format!("{address} answers with status {status}: {}", body.trim_end().escape_debug())),
    }
}
