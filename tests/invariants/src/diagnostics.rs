//! What an operator is reported about a file that is not taken: one line each, at a place that exists.

use latticegate_core::diagnostic::{Diagnostic, Origin};

pub(crate) fn are_well_formed(diagnostics: &[Diagnostic], text: &str) {
    assert!(!diagnostics.is_empty(), "refused without a reason");
    for diagnostic in diagnostics {
        let reported = diagnostic.to_string();
        assert!(!diagnostic.message.is_empty(), "{diagnostic:?}");
        assert!(!reported.contains(|c: char| c.is_control()), "{reported:?} is not one clean line");
        if let (Some(at), Origin::File(_)) = (diagnostic.at, &diagnostic.origin) {
            // YAML's lines end at a lone CR too, and the reader places the end of the file on a line of its own.
            let lines = u32::try_from(text.split(['\n', '\r']).count()).unwrap() + 1;
            assert!((1..=lines).contains(&at.line) && at.column >= 1, "{reported}: there are {lines} lines");
        }
    }
}
