//! What an operator is told about a file that is not taken: one line each, at a place that exists.

use latticegate_core::diagnostic::{Origin, Problem};

pub(crate) fn are_told_well(problems: &[Problem], text: &str) {
    assert!(!problems.is_empty(), "refused without a reason");
    for problem in problems {
        let told = problem.to_string();
        assert!(!problem.message.is_empty(), "{problem:?}");
        assert!(!told.contains(|c: char| c.is_control()), "{told:?} is not one clean line");
        if let (Some(at), Origin::File(_)) = (problem.at, &problem.origin) {
            // YAML's lines end at a lone CR too, and the reader places the end of the file on a line of its own.
            let lines = u32::try_from(text.split(['\n', '\r']).count()).unwrap() + 1;
            assert!((1..=lines).contains(&at.line) && at.column >= 1, "{told}: there are {lines} lines");
        }
    }
}
