//! `latticegate import`: an access list of nginx or Squid as `ipcontrol.yaml`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::print::{print, print_diagnostics, say};
use crate::sys::files;
use latticegate_core::diagnostic::{Diagnostic, Origin, Severity};
use latticegate_core::policy::Policy;
use latticegate_core::policy::import::{Imported, Include, Included, SquidOptions, import, import_squid, is_squids};

/// Convert an access list of nginx or Squid.
///
/// Prints the new list on standard output. Comments are kept, and include is followed relative to the including file.
/// What cannot be imported is reported on standard error.
///
/// From nginx: the lines allow and deny. From Squid, with --squid, for a listener with protocol forward: http_access and
/// its ACLs src, dstdomain, port and method CONNECT, or allow lists with a domain on each line.
///
/// Exit status 0: everything was imported, from Squid at least all that denies; 1: something was not, or a file cannot be
/// read. If something by which Squid refuses requests cannot be imported, or nothing can, nothing is printed.
#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    /// The nginx file: lines such as "allow 10.0.0.0/8;" and "deny all;". With --squid: squid.conf, or allow lists, in their
    /// order.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The files are Squid's: squid.conf, or lists with a domain on each line, where a leading dot means the domain and all
    /// below it.
    #[arg(long)]
    squid: bool,
    /// The connect_ports of the listener that the list is for. Unless given: 443, and what else a short list of ports in
    /// squid.conf allows.
    #[arg(long, value_name = "PORT", value_delimiter = ',', requires = "squid", value_parser = clap::value_parser!(u16).range(1..))]
    connect_ports: Option<Vec<u16>>,
    /// The http_ports of the listener. Unless given: 80, and the ports that squid.conf allows one by one.
    #[arg(long, value_name = "PORT", value_delimiter = ',', requires = "squid", value_parser = clap::value_parser!(u16).range(1..))]
    http_ports: Option<Vec<u16>>,
    /// Write this condition into each rule, for a list that other listeners use as well.
    #[arg(long, value_name = "NAME", requires = "squid", value_parser = listener_name)]
    listener: Option<String>,
}

fn listener_name(text: &str) -> Result<String, String> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b);
    let is_name = (1..=32).contains(&text.len()) && text.bytes().all(allowed);
    if is_name { Ok(text.to_owned()) } else { Err("use 1 to 32 letters, digits, `-` or `_`".to_owned()) }
}

impl ImportArgs {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let read = self.files.iter().map(|path| {
            let text = files::text(path)?;
            Ok(Included { name: path.display().to_string(), text })
        });
        let files = match read.collect::<Result<Vec<Included>, Diagnostic>>() {
            Ok(files) => files,
            Err(diagnostic) => {
                print_diagnostics(Severity::Error, &[diagnostic]);
                return Ok(ExitCode::FAILURE);
            }
        };
        let imported = match &files[..] {
            _ if self.squid => {
                let Self { connect_ports, http_ports, listener, .. } = self;
                import_squid(&files, &SquidOptions { connect_ports, http_ports, listener }, &FromDisk("Squid"))
            }
            [file] if is_squids(&file.text).is_some() => {
                let name = &file.name;
                say(format_args!("error: {name}: is a file of Squid; import it with --squid"));
                return Ok(ExitCode::FAILURE);
            }
            [file] => import(&file.name, &file.text, &FromDisk("nginx")),
            _ => {
                let help = "give one file, which may include others; several are for --squid";
                say(format_args!("error: {help}"));
                return Ok(ExitCode::FAILURE);
            }
        };
        report(&imported);
        if !imported.errors.is_empty() {
            return Ok(ExitCode::FAILURE);
        }
        print(|out| out.write_all(imported.yaml.as_bytes()))?;
        // Checks that what was printed is a valid list, and lints it.
        match Policy::parse(&imported.yaml, Origin::file("the new list")) {
            Ok(policy) => print_diagnostics(Severity::Warning, &policy.lints(std::time::SystemTime::now(), None)),
            Err(diagnostics) => {
                print_diagnostics(Severity::Error, &diagnostics);
                return Ok(ExitCode::FAILURE);
            }
        }
        // What is left out of nginx's files may deny; what is left out of Squid's does not.
        Ok(if self.squid || imported.left_out.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn report(imported: &Imported) {
    for note in &imported.notes {
        say(format_args!("note: {note}"));
    }
    for left_out in &imported.left_out {
        say(format_args!("not imported: {left_out}"));
    }
    for error in &imported.errors {
        say(format_args!("error: {error}"));
    }
    if !imported.errors.is_empty() {
        let why = "a list without what is named above might let more through than Squid does";
        say(format_args!("error: no list was written: {why}; change it in a copy of the file, and import that"));
    }
}

/// The files of an `include`, of the program that has this name.
struct FromDisk(&'static str);

impl Include for FromDisk {
    fn identity(&self, name: &str) -> PathBuf {
        std::fs::canonicalize(name).unwrap_or_else(|_| name.into())
    }

    fn find(&self, from: &str, pattern: &str) -> Result<Vec<Included>, String> {
        find(from, pattern, self.0)
    }
}

/// The files that match `pattern`, relative to the directory of `from`, sorted by name.
fn find(from: &str, pattern: &str, program: &str) -> Result<Vec<Included>, String> {
    let directory = Path::new(from).parent().unwrap_or(Path::new(""));
    let pattern = directory.join(pattern);
    let pattern = pattern.to_str().ok_or("its path is not UTF-8")?;
    let found = glob::glob(pattern).map_err(|error| error.to_string())?;
    let paths = found.collect::<Result<Vec<PathBuf>, _>>().map_err(|error| error.to_string())?;
    if paths.is_empty() && !pattern.contains(['*', '?', '[']) {
        return Err(format!("{pattern} does not exist; {program} looks below its own configuration directory"));
    }
    // Then this is not the machine of the configuration, which may have files there.
    let parent = Path::new(pattern).parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(missing) = parent.filter(|parent| paths.is_empty() && !has_wildcard(parent) && !parent.exists()) {
        return Err(format!("{} does not exist", missing.display()));
    }
    let read = |path: PathBuf| {
        let text = files::text(&path).map_err(|diagnostic| diagnostic.to_string())?;
        Ok(Included { name: path.display().to_string(), text })
    };
    paths.into_iter().map(read).collect()
}

fn has_wildcard(path: &Path) -> bool {
    path.to_string_lossy().contains(['*', '?', '['])
}
