//! A script for a serial console: texts to wait for, texts to type, texts that mean failure.

use std::collections::VecDeque;

/// One step of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Wait until this text is seen (after all that earlier steps matched).
    See(String),
    /// Type this text.
    Send(String),
    /// From now on inject this many NMIs a second.
    Nmis(u32),
    /// Wait until the text screen shows this.
    Screen(String),
    /// Wait until the machine ends for this reason, in QEMU's words.
    End(String),
    /// Press this key of the machine's keyboard, by QEMU's name for it.
    Key(String),
    /// Hand the running machine to whoever booted it.
    Visit,
    /// Give this line to QEMU's monitor.
    Monitor(String),
}

/// What the conversation asks of the runner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Act {
    /// Type this text on the serial port.
    Send(String),
    /// Inject this many NMIs a second.
    Nmis(u32),
    /// Press this key.
    Key(String),
    /// Hand the running machine over, then go on.
    Visit,
    /// Give QEMU's monitor this line.
    Monitor(String),
    /// A text that means failure was seen, with the line it stood in.
    Refused(String),
    /// All steps are done.
    Done,
}

/// A conversation under way.
#[derive(Debug)]
pub(crate) struct Conversation {
    steps: VecDeque<Step>,
    refused: Vec<String>,
    /// Seen and not matched yet; cut from the front so that a chatty console does not grow it for ever.
    window: String,
    /// The bytes of `window` that were already searched for a refused text.
    searched: usize,
    finished: bool,
}

/// More than the longest pattern, and enough to find a line's start.
const WINDOW: usize = 64 * 1024;

impl Conversation {
    /// A conversation of these steps that fails at once when a text of `refused` appears.
    pub(crate) fn new(steps: Vec<Step>, refused: Vec<String>) -> Conversation {
        Conversation { steps: steps.into(), refused, window: String::new(), searched: 0, finished: false }
    }

    /// The text now waited for.
    pub(crate) fn waiting_for(&self) -> Option<&str> {
        self.steps.iter().find_map(|step| match step {
            Step::See(text) | Step::Screen(text) | Step::End(text) => Some(text.as_str()),
            Step::Send(_) | Step::Key(_) | Step::Nmis(_) | Step::Visit | Step::Monitor(_) => None,
        })
    }

    /// Whether the text screen is waited for.
    pub(crate) fn watches_screen(&self) -> bool {
        matches!(self.steps.front(), Some(Step::Screen(_)))
    }

    /// Whether nothing is left but the machine's end for that reason.
    pub(crate) fn ends_with(&self, reason: &str) -> bool {
        self.steps.len() == 1 && matches!(self.steps.front(), Some(Step::End(wanted)) if wanted == reason)
    }

    /// Takes what the text screen shows, line after line, and says what to do now.
    pub(crate) fn look(&mut self, screen: &str) -> Vec<Act> {
        if matches!(self.steps.front(), Some(Step::Screen(text)) if screen.contains(text.as_str())) {
            self.steps.pop_front();
        }
        self.feed(b"")
    }

    /// Takes what the console printed and says what to do now.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Vec<Act> {
        self.window.push_str(&String::from_utf8_lossy(bytes));
        let mut acts = Vec::new();
        if let Some(line) = self.refusal() {
            self.finished = true;
            return vec![Act::Refused(line)];
        }
        while let Some(step) = self.steps.front() {
            match step {
                Step::Send(text) => acts.push(Act::Send(text.clone())),
                Step::Nmis(rate) => acts.push(Act::Nmis(*rate)),
                Step::Key(key) => acts.push(Act::Key(key.clone())),
                Step::Visit => acts.push(Act::Visit),
                Step::Monitor(line) => acts.push(Act::Monitor(line.clone())),
                Step::Screen(_) | Step::End(_) => break,
                Step::See(text) => match self.window.find(text.as_str()) {
                    Some(at) => {
                        self.window.drain(..at + text.len());
                        self.searched = self.searched.saturating_sub(at + text.len());
                    }
                    None => break,
                },
            }
            self.steps.pop_front();
        }
        self.trim();
        if self.steps.is_empty() && !self.finished {
            self.finished = true;
            acts.push(Act::Done);
        }
        acts
    }

    /// The line of the first refused text, once it is whole, looking only at what is new (and a pattern's length before
    /// it).
    fn refusal(&mut self) -> Option<String> {
        let longest = self.refused.iter().map(String::len).max()?;
        let mut start = self.searched.saturating_sub(longest);
        while !self.window.is_char_boundary(start) {
            start -= 1;
        }
        self.searched = self.window.len();
        let at = self
            .refused
            .iter()
            .filter_map(|text| Some(start + self.window[start..].find(text.as_str())?))
            .min()?;
        let from = self.window[..at].rfind('\n').map_or(0, |newline| newline + 1);
        let Some(length) = self.window[from..].find('\n') else {
            self.searched = at;
            return None;
        };
        Some(self.window[from..][..length].trim().to_string())
    }

    fn trim(&mut self) {
        if self.window.len() > 2 * WINDOW {
            let mut cut = self.window.len() - WINDOW;
            while !self.window.is_char_boundary(cut) {
                cut += 1;
            }
            self.window.drain(..cut);
            self.searched = self.searched.saturating_sub(cut);
        }
    }
}

/// Turns `\n`, `\r`, `\t`, `\\` and `\xNN` of a command-line argument into the bytes meant.
pub(crate) fn unescape(text: &str) -> String {
    let mut result = String::new();
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        if c != '\\' {
            result.push(c);
            continue;
        }
        match rest.next() {
            Some('n') => result.push('\n'),
            Some('r') => result.push('\r'),
            Some('t') => result.push('\t'),
            Some('x') => {
                let digits: String = rest.by_ref().take(2).collect();
                result.extend(u8::from_str_radix(&digits, 16).ok().map(char::from));
            }
            Some(other) => result.push(other),
            None => result.push('\\'),
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn see(text: &str) -> Step {
        Step::See(text.into())
    }

    #[test]
    fn a_pattern_split_over_two_reads_is_seen() {
        let mut talk = Conversation::new(vec![see("LAB-INIT"), Step::Send("ls\n".into()), see("#")], vec![]);
        assert_eq!(talk.feed(b"xx LAB-"), []);
        assert_eq!(talk.waiting_for(), Some("LAB-INIT"));
        assert_eq!(talk.feed(b"INIT dom0"), [Act::Send("ls\n".into())]);
        assert_eq!(talk.feed(b" # "), [Act::Done]);
        assert_eq!(talk.feed(b"more"), []);
    }

    #[test]
    fn the_screen_is_looked_at_in_its_turn() {
        let steps = vec![see("a"), Step::Screen("b".into()), Step::Key("ret".into()), see("c")];
        let mut talk = Conversation::new(steps, vec![]);
        assert!(!talk.watches_screen());
        assert_eq!(talk.feed(b"a c"), []);
        assert!(talk.watches_screen());
        assert_eq!(talk.look("xx"), []);
        assert_eq!(talk.look("xbx"), [Act::Key("ret".into()), Act::Done]);
    }

    #[test]
    fn order_matters() {
        let mut talk = Conversation::new(vec![see("b"), see("a")], vec![]);
        assert_eq!(talk.feed(b"a b"), []);
        assert_eq!(talk.feed(b"a"), [Act::Done]);
    }

    #[test]
    fn a_refused_text_ends_it_with_its_line() {
        let mut talk = Conversation::new(vec![see("ok")], vec!["Panic on CPU".into()]);
        assert_eq!(talk.feed(b"(XEN) first\n(XEN) Panic on C"), []);
        assert_eq!(talk.feed(b"PU"), []);
        assert_eq!(talk.feed(b" 0:\nok"), [Act::Refused("(XEN) Panic on CPU 0:".into())]);
    }

    #[test]
    fn a_long_log_does_not_grow_for_ever() {
        let mut talk = Conversation::new(vec![see("end")], vec!["bad".into()]);
        for _ in 0..100 {
            talk.feed("né ".repeat(5_000).as_bytes());
        }
        assert!(talk.window.len() <= 3 * WINDOW);
        assert_eq!(talk.feed(b"end"), [Act::Done]);
    }

    #[test]
    fn escapes_are_as_in_c() {
        assert_eq!(unescape(r"a\n\x01\\b\"), "a\n\u{1}\\b\\");
    }
}
