//! The configuration and the access list, read as `run` reads them.

use std::path::Path;
use std::time::{Duration, SystemTime};

use super::{Finding, Grade, within};
use crate::reload::{SourceError, SourceThread};
use crate::sys::blocking::BlockingThread;
use crate::sys::files;
use crate::telemetry::log_writer::Sink;
use crate::web::Token;
use latticegate_core::config::{Config, PolicySource};
use latticegate_core::diagnostic::Diagnostic;
use latticegate_core::policy::Policy;

/// A pipe is waited for 10 s.
pub(super) const FILE_PATIENCE: Duration = Duration::from_secs(12);
/// S3 is tried three times for 5 s each, a file that is a pipe is waited for 10 s.
pub(super) const LIST_PATIENCE: Duration = Duration::from_secs(20);

/// The configuration, unless it has a mistake.
pub(super) async fn configuration(file: Option<&Path>, patience: Duration) -> (Option<Config>, Vec<Finding>) {
    const CHECK: &str = "configuration";
    let name = file.map_or_else(|| "defaults".to_owned(), |file| file.display().to_string());
    let from = file.map(Path::to_owned);
    let read = async {
        let thread = BlockingThread::start("configuration").ok()?;
        let read = move || {
            let read = files::configuration(from.as_deref(), files::environment());
            read.map(|(config, warnings)| {
                // What a start opens.
                let files = [Sink::try_open(&config).err(), Token::configured(&config).err()];
                (config, warnings, files.into_iter().flatten().collect::<Vec<_>>())
            })
        };
        thread.run(read).await
    };
    match within(patience, read).await.flatten() {
        Some(Ok((config, warnings, mistakes))) => {
            let mut findings = match &*mistakes {
                [] => vec![Finding::pass(CHECK, name, "loads")],
                mistakes => invalid(CHECK, mistakes),
            };
            findings.extend(warnings.iter().map(|warning| {
                let (text, help) = in_two(warning);
                Finding::warn(CHECK, "", text, help)
            }));
            (Some(config), findings)
        }
        Some(Err(diagnostics)) => (None, invalid(CHECK, &diagnostics)),
        None => {
            let help = "its file system may hang; look at it with `stat`";
            (None, vec![Finding::fail(CHECK, name, format!("cannot be read within {patience:?}"), help)])
        }
    }
}

/// The lists that are files beside the one in force. A start does without them, so a mistake in one is a warning.
pub(super) async fn other_lists(config: &Config, patience: Duration) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (key, path) in [("policy_fallback", &config.policy_fallback), ("shadow", &config.shadow)] {
        let Some(path) = path else { continue };
        let (policy, found) = list(config, &PolicySource::File(path.clone()), patience).await;
        let failed = found.into_iter().filter(|_| policy.is_none());
        findings.extend(failed.map(|finding| {
            let text = format!("{key}: {}", finding.text);
            Finding { grade: Grade::Warn, text, ..finding }
        }));
    }
    findings
}

/// An access list, unless it has a mistake or its source does not answer.
pub(super) async fn list(config: &Config, source: &PolicySource, patience: Duration) -> (Option<Policy>, Vec<Finding>) {
    const CHECK: &str = "list";
    let fetched = async {
        let thread = SourceThread::start(source).map_err(|error| SourceError::Unreachable(error.to_string()))?;
        thread.first().await
    };
    let unreachable = |why: &str| {
        let fallback = match &config.policy_fallback {
            Some(path) => format!("; until then a start uses policy_fallback, {}", path.display()),
            None => String::new(),
        };
        let help = match source {
            PolicySource::File(_) => "is its file system there?",
            PolicySource::Http(_) => "does the agent run beside this process, and is the path right?",
            PolicySource::S3(_) => "may the task role s3:GetObject it, and does the subnet have a way to S3?",
        };
        (None, vec![Finding::fail(CHECK, source.to_string(), why, format!("{help}{fallback}"))])
    };
    match within(patience, fetched).await {
        None => unreachable(&format!("does not answer within {patience:?}")),
        Some(Err(SourceError::Unreachable(why))) => {
            unreachable(why.strip_prefix(&format!("{source}: ")).unwrap_or(&why))
        }
        Some(Err(SourceError::Invalid(diagnostics))) => (None, invalid(CHECK, &diagnostics)),
        Some(Ok(loaded)) => {
            let now = SystemTime::now();
            let text = format!("{} rules, {}", loaded.policy.rules().len(), age(loaded.modified, now));
            let mut findings = vec![Finding::pass(CHECK, source.to_string(), text)];
            findings.extend(loaded.policy.lints(now, Some(config)).iter().map(|lint| {
                let (text, help) = in_two(lint);
                Finding::warn(CHECK, "", text, help)
            }));
            (Some(loaded.policy), findings)
        }
    }
}

fn age(modified: Option<SystemTime>, now: SystemTime) -> String {
    match modified.map(|modified| now.duration_since(modified)) {
        None => "the source does not say how old".to_owned(),
        Some(Err(_)) => "dated in the future".to_owned(),
        Some(Ok(age)) => match age.as_secs() {
            seconds @ 0..120 => format!("{seconds} s old"),
            seconds @ 120..7200 => format!("{} min old", seconds / 60),
            seconds @ 7200..172_800 => format!("{} h old", seconds / 3600),
            seconds => format!("{} days old", seconds / 86_400),
        },
    }
}

fn invalid(check: &'static str, diagnostics: &[Diagnostic]) -> Vec<Finding> {
    let finding = |diagnostic: &Diagnostic| {
        let (text, help) = in_two(diagnostic);
        Finding::fail(check, "", text, help)
    };
    diagnostics.iter().map(finding).collect()
}

/// The diagnostic without its help, and the help.
fn in_two(diagnostic: &Diagnostic) -> (String, String) {
    let help = match &*diagnostic.help {
        "" => "see `latticegate check`".to_owned(),
        help => help.to_owned(),
    };
    (Diagnostic { help: "".into(), ..diagnostic.clone() }.to_string(), help)
}

#[cfg(test)]
mod tests {
    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;
    use crate::doctor::Grade;
    use crate::sys::control_runtime::control_runtime;

    /// As on a file system that hangs.
    #[test]
    fn what_never_answers_fails_at_its_deadline() {
        let directory = tempfile::tempdir().unwrap();
        let pipe = directory.path().join("pipe");
        mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let patience = Duration::from_millis(50);
        let list_is = |path: &Path| {
            let env = [
                ("LATTICEGATE_PROXY_PROTOCOL__TRUSTED", "10.0.0.0/16"),
                ("LATTICEGATE_POLICY", path.to_str().unwrap()),
            ];
            let env = env.map(|(name, value)| (name.to_owned(), value.to_owned()));
            files::configuration(None, env.into_iter()).unwrap().0
        };
        let config = list_is(&pipe);
        control_runtime().unwrap().block_on(async {
            let (read, findings) = configuration(Some(&pipe), patience).await;
            assert!(read.is_none());
            let (policy, more) = list(&config, &config.policy, patience).await;
            assert!(policy.is_none());
            for (finding, words) in
                [(&findings[..], "cannot be read within 50ms"), (&more[..], "does not answer within 50ms")]
            {
                let [finding] = finding else { panic!("{finding:?}") };
                assert!(finding.grade == Grade::Fail && finding.text.contains(words), "{finding}");
            }
        });
    }

    #[test]
    fn an_age_is_a_number_that_people_read() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let of = |seconds| age(now.checked_sub(Duration::from_secs(seconds)), now);
        assert_eq!(
            [of(3), of(600), of(86_400), of(864_000)],
            ["3 s old", "10 min old", "24 h old", "10 days old"].map(str::to_owned)
        );
        assert_eq!(age(Some(now + Duration::from_secs(1)), now), "dated in the future");
        assert_eq!(age(None, now), "the source does not say how old");
    }
}
