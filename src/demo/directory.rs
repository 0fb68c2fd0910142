//! The demo's directory: the authority's certificate for curl, the configuration that runs, the access list to edit.

use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// The list of AWS's guidance, with a line to try.
const IPCONTROL: &str = "\
# Who may come in. The first match decides; no match = deny.
rules:
  - allow: 192.168.0.0/16
  - allow: 172.16.0.0/12
  - allow: 10.0.0.0/8
  # Uncomment to let the demo's client on the internet in:
  # - allow: 203.0.113.9
  # What one VPC may reach through the explicit proxy; a rule without `to:` allows nothing there.
  - allow: 10.50.0.0/16
    via: vpce-0f9e8d7c6b5a43210
    listener: egress
    to: [packages.example.org, mirror.example.org]    # Add blocked.example.org, and it is let through.
  - deny: all
";

/// A directory of the user's, which stays, or a temporary one, which goes when this is dropped.
pub(super) struct Directory {
    path: PathBuf,
    _temporary: Option<TempDir>,
}

impl Directory {
    /// Makes the directory where it is not there yet; an access list that is there stays as it is.
    pub(super) fn set_up(wanted: Option<&Path>, authority: &str) -> io::Result<Self> {
        let directory = match wanted {
            Some(path) => {
                std::fs::create_dir_all(path)?;
                // Printed commands work from any other directory too.
                Self { path: path.canonicalize()?, _temporary: None }
            }
            None => {
                let temporary = tempfile::Builder::new().prefix("latticegate-demo-").tempdir()?;
                Self { path: temporary.path().to_owned(), _temporary: Some(temporary) }
            }
        };
        std::fs::write(directory.authority(), authority)?;
        match std::fs::File::create_new(directory.policy()) {
            Ok(mut file) => io::Write::write_all(&mut file, IPCONTROL.as_bytes())?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        Ok(directory)
    }

    pub(super) fn authority(&self) -> PathBuf {
        self.path.join("ca.pem")
    }

    pub(super) fn config(&self) -> PathBuf {
        self.path.join("latticegate.yaml")
    }

    pub(super) fn policy(&self) -> PathBuf {
        self.path.join("ipcontrol.yaml")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temporary_directory_goes_and_an_edited_list_stays() {
        let temporary = Directory::set_up(None, "PEM").unwrap();
        let path = temporary.path.clone();
        assert_eq!(std::fs::read_to_string(temporary.authority()).unwrap(), "PEM");
        assert_eq!(std::fs::read_to_string(temporary.policy()).unwrap(), IPCONTROL);
        drop(temporary);
        assert!(!path.exists());

        let home = tempfile::tempdir().unwrap();
        let wanted = home.path().join("new/demo");
        let first = Directory::set_up(Some(&wanted), "PEM").unwrap();
        std::fs::write(first.policy(), "rules: []").unwrap();
        drop(first);
        let second = Directory::set_up(Some(&wanted), "another PEM").unwrap();
        assert_eq!(std::fs::read_to_string(second.policy()).unwrap(), "rules: []");
        assert_eq!(std::fs::read_to_string(second.authority()).unwrap(), "another PEM");
    }
}
