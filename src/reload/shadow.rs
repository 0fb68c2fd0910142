//! A second access list that decides nothing. Where it would have decided otherwise is counted for each of its rules
//! and sometimes logged, so that a stricter list can be observed before it is put in force.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use tokio::time::sleep;

use super::current::Loaded;
use super::fetched::{SourceError, Update};
use super::source_thread::SourceThread;
use crate::sys::blocking::Patience;
use latticegate_core::client::Client;
use latticegate_core::hostname::Hostname;
use latticegate_core::policy::{Admission, Decision, ListenerView, Policy, RuleId};

/// At most one line in the log in this time.
const LOG_EVERY: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub struct Shadow {
    list: ArcSwapOption<ShadowList>,
    /// When the last line was logged, and the disagreements since.
    logged: Mutex<Option<Instant>>,
    unlogged: AtomicU64,
}

/// The list, and how often it disagrees. Its rules' hits are disagreements only.
#[derive(Debug)]
pub struct ShadowList {
    pub loaded: Loaded,
    /// It would have denied, as none of its rules matches.
    pub denied_at_the_end: AtomicU64,
    /// Refused before the name was known; the shadow list would have waited for the name.
    pub might_admit: AtomicU64,
}

impl Shadow {
    pub fn load(&self) -> Option<Arc<ShadowList>> {
        self.list.load_full()
    }

    /// A decision was made by the list in force.
    pub(crate) fn compare(
        &self,
        decision: Decision,
        client: &Client,
        listener: &ListenerView<'_>,
        name: &Hostname,
    ) -> Option<()> {
        let list = self.list.load();
        let list = list.as_ref()?;
        let differs = list.loaded.policy.route(client, listener, name);
        // Another rule with the same answer is no disagreement.
        if differs.allowed == decision.allowed {
            return None;
        }
        match differs.rule {
            Some(rule) => list.loaded.hits.note(rule, listener.now),
            None => drop(list.denied_at_the_end.fetch_add(1, Ordering::Relaxed)),
        }
        let unlogged = self.may_log()?;
        tracing::info!(
            client = %client.ip,
            %name,
            would = if differs.allowed { "allow" } else { "deny" },
            rule = %rule_label(&list.loaded.policy, differs.rule),
            since_last_line = unlogged,
            "the shadow list would have decided otherwise"
        );
        Some(())
    }

    /// The client was refused whichever name it would have requested.
    pub(crate) fn compare_admission(&self, client: &Client, listener: &ListenerView<'_>) {
        if let Some(list) = self.list.load().as_ref()
            && list.loaded.policy.admit(client, listener) == Admission::Possible
        {
            list.might_admit.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many disagreements were not logged, if a line may be logged now.
    fn may_log(&self) -> Option<u64> {
        // If another worker holds the lock, this one is not logged.
        if let Ok(mut last) = self.logged.try_lock()
            && last.is_none_or(|last| last.elapsed() >= LOG_EVERY)
        {
            *last = Some(Instant::now());
            return Some(self.unlogged.swap(0, Ordering::Relaxed));
        }
        self.unlogged.fetch_add(1, Ordering::Relaxed);
        None
    }

    /// Keeps it up to date; never returns. A list that cannot be read changes nothing and is logged once.
    pub(crate) async fn watch(self: Arc<Self>, source: SourceThread, mut patience: Patience, poll: Duration) {
        let mut last_error = None;
        loop {
            let known = self.load().map(|list| list.loaded.version.clone());
            let update = source.check(known, false);
            match patience.wait(format_args!("the shadow list {}", source.name()), update).await {
                Ok(Update::Unchanged | Update::InForce) => {}
                Ok(Update::New(loaded)) => {
                    last_error = None;
                    self.replace(*loaded);
                }
                Err(error) => log_failure(&error, &mut last_error),
            }
            sleep(poll).await;
        }
    }

    fn replace(&self, mut loaded: Loaded) {
        let (mut at_the_end, mut might) = (0, 0);
        if let Some(old) = self.load() {
            let changes = old.loaded.policy.changes_to(&loaded.policy);
            loaded.hits = old.loaded.hits.carried_over(&changes, &loaded.policy);
            at_the_end = old.denied_at_the_end.load(Ordering::Relaxed);
            might = old.might_admit.load(Ordering::Relaxed);
        }
        let (version, rules) = (loaded.version.clone(), loaded.policy.rules().len());
        let (denied_at_the_end, might_admit) = (at_the_end.into(), might.into());
        self.list.store(Some(Arc::new(ShadowList { loaded, denied_at_the_end, might_admit })));
        tracing::info!(%version, rules, "shadow list loaded");
    }
}

fn log_failure(error: &SourceError, last_error: &mut Option<String>) {
    let text = error.to_string();
    if last_error.as_ref() != Some(&text) {
        tracing::warn!("the shadow list cannot be read: {text}");
        *last_error = Some(text);
    }
}

fn rule_label(policy: &Policy, rule: Option<RuleId>) -> String {
    rule.map_or_else(|| "the end of the list".to_owned(), |rule| policy.named_label(rule).to_string())
}
