//! `latticegate explain --log`: an access log, read line by line. Logs have gigabytes.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};

use super::print::print;
use latticegate_core::replay::Replay;

/// Longest line that is read: URLs of browsers end at a few thousand bytes, and Squid's at 8 KiB.
const MAX_LINE: u64 = 64 << 10;
/// How a file of gzip begins.
const GZIP: &[u8] = &[0x1f, 0x8b];

pub(super) fn run(path: &Path, replay: &mut Replay<'_>) -> anyhow::Result<ExitCode> {
    let failed = || format!("--log: {}", path.display());
    if path == Path::new("-") {
        read(&mut io::stdin().lock(), replay).with_context(failed)?;
    } else {
        let file = File::open(path).with_context(failed)?;
        read(&mut BufReader::with_capacity(128 << 10, file), replay).with_context(failed)?;
    }
    print(|out| write!(out, "{replay}"))?;
    if replay.has_nothing() {
        bail!("--log: {}: it has no request that a list decides about", path.display());
    }
    Ok(match (replay.refused(), replay.undecided()) {
        (0, 0) => ExitCode::SUCCESS,
        (0, _) => ExitCode::from(2),
        _ => ExitCode::FAILURE,
    })
}

fn read(log: &mut impl BufRead, replay: &mut Replay<'_>) -> anyhow::Result<()> {
    if log.fill_buf()?.starts_with(GZIP) {
        bail!("it is compressed; write `zcat FILE | latticegate explain --log -`");
    }
    let mut line = Vec::new();
    loop {
        line.clear();
        if log.take(MAX_LINE).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        let whole = line.strip_suffix(b"\n");
        match whole {
            Some(line) => replay.line(line)?,
            None if log.fill_buf()?.is_empty() => replay.line(&line)?,
            None => {
                replay.unreadable("it is longer than 64 KiB");
                skip_line(log)?;
            }
        }
    }
}

fn skip_line(log: &mut impl BufRead) -> io::Result<()> {
    loop {
        let buffered = log.fill_buf()?;
        let (len, is_end) = match buffered.iter().position(|byte| *byte == b'\n') {
            Some(at) => (at + 1, true),
            None => (buffered.len(), buffered.is_empty()),
        };
        log.consume(len);
        if is_end {
            return Ok(());
        }
    }
}
