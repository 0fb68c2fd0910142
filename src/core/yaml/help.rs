//! What was probably meant by text that is not YAML, or is other YAML than it looks like.

use super::lines::lines;
use super::missing_space::missing_space;
use super::{events, invisible};
use crate::diagnostic::{Diagnostic, Origin, Position};

/// The diagnostic with help about what is probably wrong where a reader stopped. Invisible characters are blamed only
/// where replacing them helps.
pub(super) fn syntax(diagnostic: Diagnostic, text: &str) -> Diagnostic {
    let at = diagnostic.at.map_or(0, |at| at.line);
    let near = |line: u32| line == at || line + 1 == at;
    if let Some(found) = invisible::all(text).into_iter().find(|found| near(found.at.line))
        && events::stops(&invisible::replaced(text)).is_none_or(|line| line > at)
    {
        return Diagnostic { at: Some(found.at), help: found.help(found.at.line).into(), ..diagnostic };
    }
    if let Some(tab) = indentation_with_a_tab(text, at) {
        let (message, help) = ("is indented with a tab".into(), "use spaces, as YAML demands".into());
        return Diagnostic { at: Some(tab), message, help, ..diagnostic };
    }
    let line = usize::try_from(at).unwrap_or(usize::MAX);
    let source = lines(text).nth(line.saturating_sub(1)).unwrap_or_default();
    let above = line.checked_sub(2).and_then(|above| lines(text).nth(above)).unwrap_or_default();
    let help = if let Some(value) = with_a_star(source) {
        format!("put it in quotes, \"{value}\"")
    } else if let Some(help) = missing_space(source).or_else(|| missing_space(above)) {
        help
    } else if source.contains("::") {
        "put IPv6 addresses in quotes, like \"[::]:8443\" or \"2001:db8::/32\"".to_owned()
    } else {
        "look for a missing quote, bracket, colon or space in this line or the one above".to_owned()
    };
    Diagnostic { help: help.into(), ..diagnostic }
}

/// Where the text would be in order with plain spaces, the help is about the invisible character, not about the
/// missing value or duplicate key that it looks like.
pub(super) fn form(diagnostics: Vec<Diagnostic>, text: &str, origin: &Origin) -> Vec<Diagnostic> {
    // Only errors of syntax come without help.
    let with_help = |diagnostic: Diagnostic| match diagnostic.help.is_empty() {
        true => syntax(diagnostic, text),
        false => diagnostic,
    };
    let diagnostics: Vec<Diagnostic> = diagnostics.into_iter().map(with_help).collect();
    let invisible = invisible::all(text);
    if invisible.is_empty() || events::tree(&invisible::replaced(text), origin).is_err() {
        return diagnostics;
    }
    let corrected = |diagnostic: Diagnostic| {
        let line = diagnostic.at.map_or(0, |at| at.line);
        let nearest = invisible.iter().min_by_key(|found| found.at.line.abs_diff(line));
        nearest.map_or(diagnostic.clone(), |found| Diagnostic { help: found.help(line).into(), ..diagnostic })
    };
    diagnostics.into_iter().map(corrected).collect()
}

/// A tab in the indentation of this line or the one above, if replacing it by 1, 2, 4 or 8 spaces would help.
fn indentation_with_a_tab(text: &str, at: u32) -> Option<Position> {
    let tab = lines(text).zip(1..).filter(|(_, line)| *line == at || *line + 1 == at).find_map(|(line, number)| {
        let indentation = line.len() - line.trim_start_matches([' ', '\t']).len();
        let column = line.get(..indentation)?.find('\t')?;
        Some(Position { line: number, column: u32::try_from(column).unwrap_or(u32::MAX - 1) + 1 })
    });
    let helps = |width| events::stops(&text.replace('\t', &" ".repeat(width))).is_none_or(|line| line > at);
    tab.filter(|_| [1, 2, 4, 8].into_iter().any(helps))
}

/// A value that YAML reads as an alias.
fn with_a_star(line: &str) -> Option<&str> {
    let code = line.split_once(" #").map_or(line, |(code, _)| code);
    code.split([' ', '\t', ',', '[', ']', '{', '}']).find(|word| word.starts_with('*'))
}
