//! One line of a diagnosis, and all of them: for people, and as JSON.

use std::fmt::{self, Write as _};

use serde_json::{Value, json};

use latticegate_core::diagnostic::OneLine;

/// How good it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grade {
    Pass,
    /// It works, but not for long or not for all; or it could not be found out.
    Warn,
    /// It does not work.
    Fail,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub grade: Grade,
    /// What was examined, in one word of a fixed list: `port`, `dns`, `tls`.
    pub check: &'static str,
    /// Which of them: a listener, a setting, a name.
    pub about: String,
    pub text: String,
    /// What to do about it; empty if it passes.
    pub help: String,
}

impl Finding {
    pub fn pass(check: &'static str, about: impl Into<String>, text: impl Into<String>) -> Self {
        Self::new(Grade::Pass, check, about, text, "")
    }

    pub fn warn(
        check: &'static str,
        about: impl Into<String>,
        text: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Self::new(Grade::Warn, check, about, text, help)
    }

    pub fn fail(
        check: &'static str,
        about: impl Into<String>,
        text: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Self::new(Grade::Fail, check, about, text, help)
    }

    /// Where it depends on something else how bad it is.
    pub fn new(
        grade: Grade,
        check: &'static str,
        about: impl Into<String>,
        text: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Self { grade, check, about: about.into(), text: text.into(), help: help.into() }
    }
}

/// Everything that was found.
#[derive(Debug, Default)]
pub struct Diagnosis {
    findings: Vec<Finding>,
}

impl Diagnosis {
    pub(super) fn add(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    pub(super) fn extend(&mut self, findings: impl IntoIterator<Item = Finding>) {
        self.findings.extend(findings);
    }

    /// Adds what was found, and passes on what the rest depends on.
    pub(super) fn keep<T>(&mut self, (value, findings): (Option<T>, Vec<Finding>)) -> Option<T> {
        self.extend(findings);
        value
    }

    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    pub fn has_failed(&self) -> bool {
        self.count(Grade::Fail) > 0
    }

    fn count(&self, grade: Grade) -> usize {
        self.findings.iter().filter(|finding| finding.grade == grade).count()
    }

    pub fn to_json(&self) -> Value {
        let findings = self.findings.iter().map(|finding| {
            json!({
                "grade": finding.grade.word(),
                "check": finding.check,
                "about": finding.about,
                "text": finding.text,
                "help": finding.help,
            })
        });
        json!({ "ok": !self.has_failed(), "findings": findings.collect::<Vec<_>>() })
    }
}

impl Grade {
    fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { grade, check, about, text, help } = self;
        write!(f, "{}  {check:<13} ", grade.word())?;
        if !about.is_empty() {
            write!(OneLine(f), "{about}: ")?;
        }
        // Certificates and responses come from strangers.
        OneLine(f).write_str(text)?;
        if !help.is_empty() {
            f.write_str("\n      help: ")?;
            OneLine(f).write_str(help)?;
        }
        Ok(())
    }
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.findings.iter().try_for_each(|finding| writeln!(f, "{finding}"))?;
        let [pass, warn, fail] = [Grade::Pass, Grade::Warn, Grade::Fail].map(|grade| self.count(grade));
        writeln!(f, "{pass} pass, {warn} warn, {fail} fail")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_strangers_send_stays_on_its_line() {
        let finding = Finding::fail("tls", "a.example", "is for \u{1b}[31mb\nfail", "c\rd");
        let text = finding.to_string();
        assert_eq!(text, "fail  tls           a.example: is for \\u{1b}[31mb\\nfail\n      help: c\\rd");
    }

    #[test]
    fn one_fail_is_enough_and_a_warning_is_not() {
        let mut diagnosis = Diagnosis::default();
        diagnosis.add(Finding::pass("dns", "", "answers"));
        diagnosis.add(Finding::warn("dns", "", "is slow", "wait"));
        assert!(!diagnosis.has_failed() && diagnosis.to_json()["ok"] == true);
        diagnosis.add(Finding::fail("dns", "", "is silent", "shout"));
        assert!(diagnosis.has_failed() && diagnosis.to_json()["ok"] == false);
        assert!(diagnosis.to_string().ends_with("\n1 pass, 1 warn, 1 fail\n"), "{diagnosis}");
    }
}
