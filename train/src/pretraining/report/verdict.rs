//! The report in words.

use std::fmt;

use super::{Report, Spread};
use crate::visible::visible;

/// More of the tokens unknown: another language or encoding than the vocabulary's.
const MOST_UNKNOWN: f64 = 0.03;
/// More of the tokens cut off: sentences are too long for what they are. (Ordinary ones of 25 tokens lose a tenth in
/// sequences of 128: a pair ends with the sentence that crosses its length.)
const MOST_CUT: f64 = 0.3;
/// More in sentences that seem to be several.
const MOST_SEVERAL: f64 = 0.5;
/// More that stands twice.
const MOST_REPEATED: f64 = 0.1;
/// Files of more sentences, on average, are more than one document.
const LONG_FILE: u64 = 1000;
/// More lines that cannot be read, for so many sentences that can: what they had in common is missing in what is left.
const MOST_SKIPPED: f64 = 0.01;
/// Lines of so many tokens, of a text without a blank line, are articles.
const ARTICLE: u32 = 200;

/// What looks wrong, and what mends it.
pub(super) fn warnings(report: &Report, is_prose: bool) -> Vec<String> {
    let mut warnings = Vec::new();
    let percent = |share: f64| format!("{:.1}%", 100.0 * share);
    let Spread { median, .. } = report.sentence_tokens;
    if report.unknown > MOST_UNKNOWN {
        warnings.push(format!(
            "{} of the tokens are unknown to the vocabulary: it is of another language or script, or the text is in another \
             encoding; without --tokenizer a vocabulary of this text is trained",
            percent(report.unknown)
        ));
    }
    let skipped = report.oddities.skipped_lines;
    if skipped as f64 > MOST_SKIPPED * report.sentences as f64 {
        warnings.push(format!(
            "{skipped} lines cannot be read and are left out, beside {} sentences that can: without --skip-bad-lines the first \
             one is named, with what mends it",
            report.sentences
        ));
    }
    let is_several = report.in_several_sentences > MOST_SEVERAL && !is_prose;
    if is_several && report.documents <= report.files && median >= ARTICLE {
        warnings.push(format!(
            "the text looks like one article a line ({} lines of about {median} tokens and no blank line): put two blank \
             lines after each (`sed 'G;G'`) and read it with --format prose, or give each as a JSON line {{\"text\": …}}",
            report.sentences
        ));
    } else if is_several {
        warnings.push(format!(
            "a line seems to hold several sentences (about {median} tokens): --format prose finds the sentences of \
             paragraphs"
        ));
    } else if report.documents <= report.files && report.sentences > LONG_FILE * report.files && !is_prose {
        warnings.push(
            "there is no blank line: every file is one document; a blank line between documents keeps sequences from \
             running across them"
                .into(),
        );
    }
    let cut: Vec<_> = report.cut_off.iter().filter(|cut| cut.share > MOST_CUT).collect();
    if !cut.is_empty() {
        let shares: Vec<_> = (cut.iter())
            .map(|cut| format!("{} at --max-seq-length {}", percent(cut.share), cut.max_seq_length))
            .collect();
        warnings.push(format!(
            "much of the text would never be seen, cut off at the ends of too long pairs: {}",
            shares.join(", ")
        ));
    }
    if report.repeated_documents > MOST_REPEATED && report.documents > 1 {
        warnings.push(format!(
            "{} of the documents repeat an earlier one word for word: held-out text is then no test; remove the copies, or \
             hold other text out with --held-out",
            percent(report.repeated_documents)
        ));
    } else if report.repeated_sentences > MOST_REPEATED {
        warnings.push(format!(
            "{} of the text in long sentences repeats an earlier sentence: boilerplate, or copies; held-out text may be no test",
            percent(report.repeated_sentences)
        ));
    }
    warnings
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |share: f64| format!("{:.1}%", 100.0 * share);
        let scripts: Vec<_> =
            (self.scripts.iter()).map(|(script, share)| format!("{script} {}", percent(*share))).collect();
        let Self { sentence_tokens, document_sentences, oddities, .. } = self;
        writeln!(
            f,
            "letters           {}",
            if scripts.is_empty() { "none".into() } else { scripts.join(", ") }
        )?;
        writeln!(
            f,
            "sentences         {} tokens, nine tenths at most {}, the longest {}",
            sentence_tokens.median, sentence_tokens.most, sentence_tokens.largest
        )?;
        writeln!(
            f,
            "documents         {} sentences, nine tenths at most {}, the longest {}",
            document_sentences.median, document_sentences.most, document_sentences.largest
        )?;
        let cut: Vec<_> = (self.cut_off.iter())
            .map(|cut| format!("{} in sequences of {} tokens", percent(cut.share), cut.max_seq_length))
            .collect();
        writeln!(f, "never seen        {}", cut.join(", "))?;
        write!(
            f,
            "repeated          {} of the documents, {} of the text in long sentences",
            percent(self.repeated_documents),
            percent(self.repeated_sentences)
        )?;
        for (count, one, many, names) in [
            (oddities.empty_files, "file holds no text", "files hold no text", self.empty_files.as_slice()),
            (
                oddities.skipped_lines,
                "line could not be read and was left out",
                "lines could not be read and were left out",
                &[],
            ),
            (
                oddities.mended_records,
                "record had half a surrogate pair, now U+FFFD",
                "records had half a surrogate pair, now U+FFFD",
                &[],
            ),
            (
                oddities.divided,
                "line or paragraph was longer than a MiB and was divided",
                "lines or paragraphs were longer than a MiB and were divided",
                &[],
            ),
        ] {
            if count > 0 {
                write!(f, "\nremark            {count} {}", if count == 1 { one } else { many })?;
            }
            if count > 0 && !names.is_empty() {
                let more = if count > names.len() as u64 { ", …" } else { "" };
                write!(f, ": {}{more}", visible(&names.join(", ")))?;
            }
        }
        if self.warnings.is_empty() {
            write!(f, "\nnothing looks wrong")?;
        }
        for warning in &self.warnings {
            write!(f, "\nwarning: {warning}")?;
        }
        Ok(())
    }
}
