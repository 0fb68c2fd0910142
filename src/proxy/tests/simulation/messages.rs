//! Reads HTTP/1 messages as a peer that trusts the other one: what framing the gate has left them.

/// One whole message.
#[derive(Debug, Clone)]
pub(super) struct Message {
    pub(super) head: String,
    pub(super) content: Vec<u8>,
    /// As it came, with all that frames it.
    pub(super) len: usize,
}

impl Message {
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        field(&self.head, name)
    }

    pub(super) fn first_line(&self) -> &str {
        self.head.split("\r\n").next().unwrap_or_default()
    }
}

/// Splits a stream into messages.
#[derive(Debug, Default)]
pub(super) struct Messages {
    pub(super) whole: Vec<Message>,
    /// Where the next one begins.
    at: usize,
    /// What has to have come before it is worth looking again.
    wants: usize,
}

impl Messages {
    /// `bytes`: all that has come. `ended`: no more will.
    pub(super) fn read(&mut self, bytes: &[u8], ended: bool) {
        while bytes.len() > self.at && (bytes.len() >= self.wants || ended) {
            match message(&bytes[self.at..], ended) {
                Ok(message) => {
                    self.at += message.len;
                    self.whole.push(message);
                }
                Err(wants) => {
                    self.wants = self.at + wants;
                    return;
                }
            }
        }
    }

    /// What has come of one that is not whole.
    pub(super) fn rest<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        &bytes[self.at..]
    }
}

/// The first message; or how many bytes it has at least.
fn message(bytes: &[u8], ended: bool) -> Result<Message, usize> {
    let more = bytes.len() + 1;
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").ok_or(more)? + 4;
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let behind = &bytes[end..];
    let (content, len) = if let Some(length) = field(&head, "content-length") {
        let length: usize = length.parse().unwrap();
        (behind.get(..length).ok_or(end + length)?.to_vec(), length)
    } else if field(&head, "transfer-encoding").is_some() {
        chunks(behind).map_err(|wants| end + wants)?
    } else if head.starts_with("HTTP/1.1 2") && !head.starts_with("HTTP/1.1 204") {
        // Until the connection closes.
        if !ended {
            return Err(more);
        }
        (behind.to_vec(), behind.len())
    } else {
        (Vec::new(), 0)
    };
    Ok(Message { head, content, len: end + len })
}

fn chunks(bytes: &[u8]) -> Result<(Vec<u8>, usize), usize> {
    let (mut content, mut at) = (Vec::new(), 0);
    loop {
        let rest = &bytes[at..];
        let line = rest.windows(2).position(|two| two == b"\r\n").ok_or(bytes.len() + 1)?;
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..line]).unwrap(), 16).ok();
        // Not a size: such a body never ends.
        let size = size.ok_or(usize::MAX / 2)?;
        let end = at + line + 2 + size + 2;
        if bytes.len() < end {
            return Err(end);
        }
        content.extend_from_slice(&bytes[at + line + 2..end - 2]);
        at = end;
        if size == 0 {
            return Ok((content, at));
        }
    }
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let fields = head.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
    fields.filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next()
}
