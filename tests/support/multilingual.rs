//! Lines of many languages, with what is odd about them: the same at every run.

/// Draws numbers; SplitMix64.
pub struct Draws(pub u64);

impl Draws {
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ z >> 31) % bound as u64) as usize
    }

    pub fn choose<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }
}

#[rustfmt::skip]
const WORDS: &[&str] = &[
    "the", "The", "quick", "café", "cafe\u{301}", "naïve", "Müller", "Straße", "GROSS", "İstanbul", "ılık", "ŒUVRE", "ﬁne",
    "ΟΔΟΣ", "Ὀδυσσεύς", "ΣΑΣ", "Σ", "ΑΣ'Α", "Москва", "ЁЛКА", "йод", "й", "שָׁלוֹם", "مَرْحَبًا", "العربية", "हिन्दी", "क्षत्रिय", "ไทย", "น้ำ",
    "ภาษาไทย", "ខ្មែរ", "中文", "漢字かな", "カタカナ", "ｶﾞｷﾞ", "ガギ", "한국어", "\u{1112}\u{1161}\u{11ab}", "😀", "👩\u{200d}👩\u{200d}👧", "🇩🇪", "12", "1234", "٣٤",
    "９９", "½", "x²", "①", "Ⅷ", "ⓐ", "2014,", "3.14", "1,000", "don't", "it's", "``quoted''", "\"so\"", "«oui»", "–", "—", "…", "·", "。",
    "，", "!?", "...", "(a)", "[b]", "a_b", "a-b", "£5", "€", "%", "^", "~", "<unk>", "<pad>", "[MASK]", "[CLS]", "[SEP]", "[UNK]", "[PAD]",
    "<s>", "covid19", "Covid19", "covid19s", "Foo Bar", "▁", "▁x", "x▁", "\u{300}", "e\u{300}\u{327}", "\u{1}", "a\u{7f}b", "\u{ad}", "a\u{200b}b",
    "\u{feff}", "\u{fffd}", "\u{e000}", "ﷺ", "ǆ", "ŉ", "ẞ", "ﬀ", "K", "Å", "ℵ", "𝟗", "𝐀", "𐐀", "ሀ", "ᏣᎳᎩ", "ა", "Ա", "𓀀",
];
const BETWEEN: &[&str] = &[
    " ", " ", " ", " ", "", "  ", "\t", ", ", "-", "\u{a0}", "\u{3000}", "\u{85}", "\u{2028}", "\r",
    "\u{1c}", "/",
];

/// So many lines.
pub fn lines(count: usize, seed: u64) -> Vec<String> {
    let mut draws = Draws(seed);
    let line = |_| {
        let mut line = String::new();
        for _ in 0..1 + draws.below(12) {
            line.push_str(draws.choose(WORDS));
            line.push_str(draws.choose(BETWEEN));
        }
        line
    };
    (0..count).map(line).collect()
}
