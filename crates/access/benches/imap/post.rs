//! Mail as people get it, the same every time: headers of real length, conversations, HTML beside text, now and
//! then an attachment. Words are as frequent as words are (Zipf); one message in a thousand has a rare one.

/// Makes one message.
pub(crate) struct Post {
    number: u64,
    state: u64,
}

const SYLLABLES: [&str; 40] = [
    "an", "ber", "con", "de", "en", "for", "ge", "ha", "in", "jo", "ka", "lo", "me", "no", "or", "pre", "qui", "re", "sta", "ti", "un",
    "ver", "wa", "ex", "ya", "zo", "tion", "ment", "ing", "er", "ly", "al", "ous", "ful", "ness", "age", "ive", "ist", "ic", "ate",
];
const PEOPLE: u64 = 400;
/// Messages of a conversation, one after the other.
const CONVERSATION: u64 = 4;

impl Post {
    pub(crate) fn new(number: u64) -> Self {
        Self { number, state: number.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1 }
    }

    /// xorshift64*
    fn random(&mut self, below: u64) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        (self.state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % below
    }

    /// A word; low numbers are frequent ones.
    fn word(&mut self) -> String {
        let bound = 1 << self.random(14);
        let mut number = usize::try_from(self.random(bound)).unwrap();
        let mut word = String::new();
        loop {
            word.push_str(SYLLABLES[number % SYLLABLES.len()]);
            number /= SYLLABLES.len();
            if number == 0 {
                return word;
            }
        }
    }

    fn words(&mut self, count: u64) -> String {
        (0..count).map(|_| self.word()).collect::<Vec<_>>().join(" ")
    }

    fn person(&mut self) -> String {
        let number = self.random(PEOPLE);
        let name = Self::new(number + 1_000_000_000).words(2);
        format!("\"{name}\" <person{number}@host{}.example>", number % 37)
    }

    fn subject(&self) -> String {
        let conversation = self.number / CONVERSATION;
        let mut of = Self::new(conversation + 2_000_000_000);
        let rare = if conversation.is_multiple_of(1000) { " zeppelin" } else { "" };
        let usual = if conversation.is_multiple_of(50) { "Invoice for " } else { "" };
        let words = 3 + of.random(4);
        format!("{usual}{}{rare}", of.words(words))
    }

    fn references(&self) -> String {
        let first = self.number - self.number % CONVERSATION;
        let ids: Vec<_> = (first..self.number).map(|number| format!("<{number}.mail@example.net>")).collect();
        match ids.last() {
            Some(last) => format!("In-Reply-To: {last}\r\nReferences: {}\r\n", ids.join("\r\n ")),
            None => String::new(),
        }
    }

    fn header(&mut self) -> String {
        let (from, to, number) = (self.person(), self.person(), self.number);
        let received = |hop: u64| {
            format!(
                "Received: from relay{hop}.example.net (relay{hop}.example.net [192.0.2.{hop}])\r\n\tby mx{hop}.example.org with ESMTPS id {number:x}\r\n\tfor <ann@example.org>; Tue, 14 Nov 2023 22:13:20 +0000\r\n"
            )
        };
        let signature: String = (0..170).map(|_| char::from(b'a' + u8::try_from(self.random(26)).unwrap())).collect();
        let re = if number.is_multiple_of(CONVERSATION) { "" } else { "Re: " };
        let at = format!("{:02} Nov 2023 {:02}:{:02}:00 +0000", 1 + number % 28, number / 60 % 24, number % 60);
        format!(
            "{}{}DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.net; s=mail;\r\n\th=from:to:subject:date; b={signature}\r\nFrom: {from}\r\nTo: {to}, ann@example.org\r\nSubject: {re}{}\r\nDate: {at}\r\nMessage-ID: <{number}.mail@example.net>\r\n{}MIME-Version: 1.0\r\nX-Mailer: Example 1.0\r\n",
            received(1),
            received(2),
            self.subject(),
            self.references()
        )
    }

    fn paragraphs(&mut self) -> Vec<String> {
        let count = 1 + self.random(6);
        (0..count)
            .map(|_| {
                let words = 10 + self.random(60);
                self.words(words)
            })
            .collect()
    }

    /// The whole message.
    pub(crate) fn text(mut self) -> String {
        let (header, paragraphs) = (self.header(), self.paragraphs());
        let plain = paragraphs.join("\r\n\r\n");
        let html = || format!("<html><body><p>{}</p></body></html>", paragraphs.join("</p>\r\n<p>"));
        match self.number % 10 {
            0..5 => format!("{header}Content-Type: text/plain; charset=utf-8\r\n\r\n{plain}\r\n"),
            5..9 => format!(
                "{header}Content-Type: multipart/alternative; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{plain}\r\n--b\r\nContent-Type: text/html; charset=utf-8\r\n\r\n{}\r\n--b--\r\n",
                html()
            ),
            _ => {
                let lines = 40 + self.random(300);
                let attached: String =
                    (0..lines).map(|_| "JVBERi0xLjQKJcOkw7zDtsOfCjIgMCBvYmoKPDwvTGVuZ3RoIDMgMCBSL0ZpbHRlci9GbGF0ZURl\r\n").collect();
                format!(
                    "{header}Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{plain}\r\n--b\r\nContent-Type: application/pdf; name=\"report.pdf\"\r\nContent-Disposition: attachment; filename=\"report.pdf\"\r\nContent-Transfer-Encoding: base64\r\n\r\n{attached}--b--\r\n"
                )
            }
        }
    }
}
