//! The syntax of nginx's configuration files, as far as it is needed to find directives and comments.

/// Part of a configuration file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Item {
    Blank,
    /// On a line of its own, or after a directive.
    Comment {
        text: String,
        trailing: bool,
    },
    Directive {
        words: Vec<String>,
        line: usize,
    },
    /// A directive with a block, without the block's content.
    Block {
        words: Vec<String>,
        line: usize,
    },
    /// A directive or block that the file ends in.
    Unfinished {
        words: Vec<String>,
        line: usize,
        /// What would have ended it.
        missing: char,
    },
}

/// Comments, directives and blocks in their order.
pub(super) fn items(text: &str) -> Vec<Item> {
    let mut scan = Scan::default();
    for (line, number) in text.lines().zip(1..) {
        scan.line(line, number);
    }
    scan.end()
}

#[derive(Default)]
struct Scan {
    items: Vec<Item>,
    words: Vec<String>,
    /// The line at which the open directive or block began.
    start: usize,
    /// Open braces.
    depth: usize,
    block: Vec<String>,
    /// The quote with which the open word began.
    quote: Option<char>,
}

impl Scan {
    fn line(&mut self, line: &str, number: usize) {
        let open = !self.words.is_empty() || self.depth > 0;
        if line.trim().is_empty() && !open {
            // Several blank lines become one.
            if self.items.last().is_some_and(|last| *last != Item::Blank) {
                self.items.push(Item::Blank);
            }
            return;
        }
        let before = self.items.len();
        let mut word: Option<String> = None;
        let mut rest = line.char_indices();
        while let Some((at, c)) = rest.next() {
            match (self.quote, c) {
                (Some(quote), c) if c == quote => self.quote = None,
                (Some(_), '\\') => word.get_or_insert_default().extend(rest.next().map(|(_, c)| c)),
                (None, '"' | '\'') if word.is_none() => {
                    self.quote = Some(c);
                    word = Some(String::new());
                }
                (None, '#') if word.is_none() => {
                    let text = line.get(at + 1..).unwrap_or_default().trim().to_owned();
                    if self.depth == 0 {
                        let trailing = self.items.len() > before && self.words.is_empty();
                        self.items.push(Item::Comment { text, trailing });
                    }
                    break;
                }
                (None, ';' | '{' | '}') => {
                    self.word(word.take(), number);
                    self.mark(c);
                }
                (None, c) if c.is_whitespace() => self.word(word.take(), number),
                (_, c) => word.get_or_insert_default().push(c),
            }
        }
        self.word(word, number);
    }

    fn word(&mut self, word: Option<String>, line: usize) {
        let Some(word) = word else { return };
        if self.words.is_empty() && self.depth == 0 {
            self.start = line;
        }
        self.words.push(word);
    }

    fn mark(&mut self, mark: char) {
        let words = std::mem::take(&mut self.words);
        let line = self.start;
        match mark {
            ';' if self.depth == 0 && !words.is_empty() => self.items.push(Item::Directive { words, line }),
            '{' => {
                if self.depth == 0 {
                    self.block = words;
                }
                self.depth += 1;
            }
            '}' if self.depth == 1 => {
                self.depth = 0;
                self.items.push(Item::Block { words: std::mem::take(&mut self.block), line });
            }
            '}' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
    }

    fn end(mut self) -> Vec<Item> {
        let (words, end) = if self.depth > 0 { (self.block, '}') } else { (self.words, ';') };
        if !words.is_empty() {
            let missing = self.quote.unwrap_or(end);
            self.items.push(Item::Unfinished { words, line: self.start, missing });
        }
        while self.items.last() == Some(&Item::Blank) {
            self.items.pop();
        }
        self.items
    }
}
