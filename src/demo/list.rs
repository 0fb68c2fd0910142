//! The access list while the user edits it: looks at the file a few times a second, until it has changed.

use std::path::PathBuf;
use std::time::Duration;

use tokio::time::{Interval, interval};

use super::gate;
use crate::policy::Policy;

const LOOK_EVERY: Duration = Duration::from_millis(250);

pub(super) struct List {
    path: PathBuf,
    text: Option<String>,
    look: Interval,
}

impl List {
    pub(super) fn new(path: PathBuf) -> Self {
        let text = std::fs::read_to_string(&path).ok();
        Self { path, text, look: interval(LOOK_EVERY) }
    }

    /// Waits for the next change: a new policy, or what is wrong with the file.
    ///
    /// A file that is away for a moment, as editors do it, has not changed.
    pub(super) async fn changed(&mut self) -> Result<Policy, String> {
        loop {
            self.look.tick().await;
            let text = std::fs::read_to_string(&self.path).ok();
            if text.is_some() && text != self.text {
                self.text = text;
                return Policy::load(&self.path).map_err(gate::all);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn good_and_bad_edits_are_told_apart_and_a_missing_file_is_waited_for() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("ipcontrol.yaml");
        std::fs::write(&path, "rules: [{ deny: all }]\n").unwrap();
        let mut list = List::new(path.clone());

        std::fs::remove_file(&path).unwrap();
        assert!(timeout(LOOK_EVERY * 2, list.changed()).await.is_err());
        std::fs::write(&path, "rules: [{ allow: 10.0.0.0/8 }, { deny: all }]\n").unwrap();
        assert_eq!(list.changed().await.unwrap().rules().len(), 2);
        std::fs::write(&path, "rules: [{ alow: all }]\n").unwrap();
        let problem = list.changed().await.unwrap_err();
        assert!(problem.contains("ipcontrol.yaml:1:"), "{problem}");
    }
}
