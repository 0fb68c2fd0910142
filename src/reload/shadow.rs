//! A second access list that decides nothing. Where it would have decided otherwise is counted for each of its
//! rules and logged now and then, so that a tightening can be watched before it is put in force.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use tokio::time::sleep;

use super::source_thread::{Look, SourceThread};
use super::{Loaded, SourceError};
use crate::sys::blocking::Patience;
use latticegate_core::client::Client;
use latticegate_core::hostname::Hostname;
use latticegate_core::policy::{Admission, Decision, ListenerView, Policy, RuleId};

/// One line in the log in this time at most.
const LOG_EVERY: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub struct Shadow {
    list: ArcSwapOption<Shadowed>,
    /// When the last line was written, and disagreements since.
    logged: Mutex<Option<Instant>>,
    unlogged: AtomicU64,
}

/// The list and what it would have changed; its rules' hits are disagreements only.
#[derive(Debug)]
pub struct Shadowed {
    pub loaded: Loaded,
    /// It would have denied because none of its rules matches.
    pub denied_at_the_end: AtomicU64,
    /// Refused before the name was known; the shadow list would have waited for the name.
    pub might_admit: AtomicU64,
}

impl Shadow {
    pub fn load(&self) -> Option<Arc<Shadowed>> {
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
            rule = %shown(&list.loaded.policy, differs.rule),
            since_last_line = unlogged,
            "the shadow list would have decided otherwise"
        );
        Some(())
    }

    /// The client was refused whatever name it would have asked for.
    pub(crate) fn compare_admission(&self, client: &Client, listener: &ListenerView<'_>) {
        if let Some(list) = self.list.load().as_ref()
            && list.loaded.policy.admit(client, listener) == Admission::Possible
        {
            list.might_admit.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many were passed over in silence, if a line may be written now.
    fn may_log(&self) -> Option<u64> {
        // Another worker looks at it at this moment: that is one of those passed over.
        if let Ok(mut last) = self.logged.try_lock()
            && last.is_none_or(|last| last.elapsed() >= LOG_EVERY)
        {
            *last = Some(Instant::now());
            return Some(self.unlogged.swap(0, Ordering::Relaxed));
        }
        self.unlogged.fetch_add(1, Ordering::Relaxed);
        None
    }

    /// Keeps it current, for ever. A list that cannot be read changes nothing and is told once.
    pub(crate) async fn watch(self: Arc<Self>, source: SourceThread, mut patience: Patience, poll: Duration) {
        let mut told = None;
        loop {
            let known = self.load().map(|list| list.loaded.version.clone());
            let look = source.look(known, false);
            match patience.wait(format_args!("the shadow list {}", source.name()), look).await {
                Ok(Look::Unchanged | Look::AsInForce) => {}
                Ok(Look::Loaded(loaded)) => {
                    told = None;
                    self.take(*loaded);
                }
                Err(error) => Self::tell(&error, &mut told),
            }
            sleep(poll).await;
        }
    }

    fn take(&self, mut loaded: Loaded) {
        let (mut at_the_end, mut might) = (0, 0);
        if let Some(old) = self.load() {
            let changes = old.loaded.policy.changes_to(&loaded.policy);
            loaded.hits = old.loaded.hits.carried_over(&changes, &loaded.policy);
            at_the_end = old.denied_at_the_end.load(Ordering::Relaxed);
            might = old.might_admit.load(Ordering::Relaxed);
        }
        let (version, rules) = (loaded.version.clone(), loaded.policy.rules().len());
        let (denied_at_the_end, might_admit) = (at_the_end.into(), might.into());
        self.list.store(Some(Arc::new(Shadowed { loaded, denied_at_the_end, might_admit })));
        tracing::info!(%version, rules, "shadow list loaded");
    }

    fn tell(error: &SourceError, told: &mut Option<String>) {
        let text = error.to_string();
        if told.as_ref() != Some(&text) {
            tracing::warn!("the shadow list cannot be read: {text}");
            *told = Some(text);
        }
    }
}

fn shown(policy: &Policy, rule: Option<RuleId>) -> String {
    rule.map_or_else(|| "the end of the list".to_owned(), |rule| policy.named_label(rule).to_string())
}
