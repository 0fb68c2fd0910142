//! The access log.

use super::{Checker, or};
use crate::config::raw::RawAccessLog;
use crate::config::{AccessLog, LogField, LogFormat, LogOutput, defaults};
use crate::yaml::{Many, Path};

/// Known of every connection.
const IN_EVERY_LINE: [LogField; 9] = [
    LogField::Time,
    LogField::Id,
    LogField::Listener,
    LogField::Peer,
    LogField::Outcome,
    LogField::Reason,
    LogField::BytesUp,
    LogField::BytesDown,
    LogField::TotalMs,
];

impl Checker<'_> {
    pub(super) fn access_log(&mut self, raw: RawAccessLog) -> AccessLog {
        let RawAccessLog { format, output, keep, fields } = raw;
        let format = or(format, defaults::LOG_FORMAT);
        AccessLog {
            format,
            output: match output.map_or(defaults::LOG_OUTPUT, |read| read.0) {
                LogOutput::File(path) => LogOutput::File(self.beside(&path)),
                LogOutput::Stdout => LogOutput::Stdout,
            },
            keep: or(keep, defaults::LOG_KEEP),
            fields: fields.map(|fields| self.log_fields(fields, format)),
        }
    }

    fn log_fields(&mut self, Many(fields): Many<LogField>, format: LogFormat) -> Box<[LogField]> {
        let path = Path::root().key("access_log").key("fields");
        if format != LogFormat::Json {
            let message = format!("is for the JSON line, and the format is {}, whose fields are fixed", format.word());
            self.key_error(&path, message, "remove the key, or set `format: json`");
        }
        // What could not be read has been reported.
        if fields.is_empty() && self.errors.is_empty() {
            self.key_error(&path, "names no field", "remove the key for all of them, or list some");
        }
        for (index, field) in fields.iter().enumerate() {
            if fields.iter().take(index).any(|earlier| earlier == field) {
                let word = LogField::ALL.iter().find(|(_, one)| one == field).map_or("", |(word, _)| word);
                let message = format!("names {word} twice");
                self.key_error(&path, message, "a JSON object has each key once");
            }
        }
        if !fields.is_empty() && !fields.iter().any(|field| IN_EVERY_LINE.contains(field)) {
            let message = "has no field that every connection has, so some lines are empty";
            self.key_warning(&path, message, "add `time` or `id`");
        }
        fields.into()
    }
}
