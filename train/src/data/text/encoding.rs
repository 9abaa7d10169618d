//! What bytes are, if they are not UTF-8 text: for advice that names the right way out.

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};

pub(super) fn is_gzip(head: &[u8]) -> bool {
    head.starts_with(b"\x1F\x8B\x08")
}

/// How files of other kinds begin, what they are, and what to do.
const OTHERS: &[(&[u8], &str)] = &[
    (b"\xFF\xFE\0\0", "is UTF-32; convert it with `iconv -f UTF-32 -t UTF-8`"),
    (b"\0\0\xFE\xFF", "is UTF-32; convert it with `iconv -f UTF-32 -t UTF-8`"),
    (b"\xFF\xFE", "is UTF-16 (it begins with FF FE); convert it with `iconv -f UTF-16 -t UTF-8`"),
    (b"\xFE\xFF", "is UTF-16 (it begins with FE FF); convert it with `iconv -f UTF-16 -t UTF-8`"),
    (b"\x28\xB5\x2F\xFD", "is packed with zstd; unpack it: `zstd -dc FILE | albert-train … -i -`"),
    (b"\xFD7zXZ\0", "is packed with xz; unpack it: `xz -dc FILE | albert-train … -i -`"),
    (b"BZh", "is packed with bzip2; unpack it: `bzip2 -dc FILE | albert-train … -i -`"),
    (b"\x04\x22\x4D\x18", "is packed with lz4; unpack it: `lz4 -dc FILE | albert-train … -i -`"),
    (b"\x1F\x8B", "is packed with gzip twice or damaged; unpack it with `gzip -d`"),
    (b"PK\x03\x04", "is a zip archive (or an office document); unpack it and name the text files in it"),
    (b"7z\xBC\xAF\x27\x1C", "is a 7z archive; unpack it and name the text files in it"),
    (b"Rar!", "is a rar archive; unpack it and name the text files in it"),
    (b"%PDF-", "is a PDF; take its text out first, for example with `pdftotext`"),
    (b"{\\rtf", "is RTF, not plain text; save it as plain text (UTF-8)"),
    (b"\xD0\xCF\x11\xE0", "is an office document, not plain text; save it as plain text (UTF-8)"),
    (b"PAR1", "is parquet; write its text column to JSON lines, each {\"text\": …}"),
    (b"ARROW1", "is an Arrow file; write its text column to JSON lines, each {\"text\": …}"),
    (b"SQLite format 3\0", "is an SQLite database; write its text to JSON lines, each {\"text\": …}"),
    (b"version https://git-lfs", "is a Git LFS pointer, not the file itself; fetch it with `git lfs pull`"),
];

/// What a file is that begins with `head` and is no UTF-8 text, and what to do about it.
pub(super) fn not_text(head: &[u8]) -> Option<&'static str> {
    if let Some((_, problem)) = OTHERS.iter().find(|(magic, _)| head.starts_with(magic)) {
        return Some(problem);
    }
    if head.get(257..262) == Some(b"ustar") {
        return Some("is a tar archive; unpack it and name the text files in it, or their folder");
    }
    wide(head)
}

/// More NULs than this share of the bytes, if they are more than a few, are those of another encoding, or no text at all.
const MOST_NULS: f64 = 0.02;
const FEW_NULS: usize = 3;

/// Text of two or four bytes a character without a mark, which shows in where its NULs are.
fn wide(head: &[u8]) -> Option<&'static str> {
    let mut nuls = [0usize; 4];
    head.iter().enumerate().filter(|&(_, &byte)| byte == 0).for_each(|(at, _)| nuls[at % 4] += 1);
    let total: usize = nuls.iter().sum();
    let share = total as f64 / head.len().max(1) as f64;
    if share < MOST_NULS || total <= FEW_NULS && share < 0.25 {
        return None;
    }
    let [even, odd] = [nuls[0] + nuls[2], nuls[1] + nuls[3]];
    Some(if total * 10 > head.len() * 6 {
        if nuls[0] < nuls[3] {
            "is UTF-32 without a mark; convert it with `iconv -f UTF-32LE -t UTF-8`"
        } else {
            "is UTF-32 without a mark; convert it with `iconv -f UTF-32BE -t UTF-8`"
        }
    } else if odd > 4 * even {
        "is UTF-16 without a mark; convert it with `iconv -f UTF-16LE -t UTF-8`"
    } else if even > 4 * odd {
        "is UTF-16 without a mark; convert it with `iconv -f UTF-16BE -t UTF-8`"
    } else {
        "holds NUL bytes and is no text"
    })
}

/// What to do about bytes that are not UTF-8; `around` is some of the text they stand in.
pub(super) fn advice(around: &[u8]) -> String {
    // Text in scripts other than Latin has few NULs in UTF-16, but all on the same side.
    let nuls = |parity| around.iter().skip(parity).step_by(2).filter(|&&byte| byte == 0).count();
    for (here, other, name) in [(nuls(1), nuls(0), "UTF-16LE"), (nuls(0), nuls(1), "UTF-16BE")] {
        if here > 0 && other == 0 {
            return format!(
                "it may be {name}; convert the file first, for example with `iconv -f {name} -t UTF-8`"
            );
        }
    }
    let (valid, damaged) = around.utf8_chunks().fold((0, 0), |(valid, damaged), chunk| {
        let letters = chunk.valid().chars().filter(|c| !c.is_ascii()).count();
        (valid + letters, damaged + usize::from(!chunk.invalid().is_empty()))
    });
    if valid > damaged {
        return "most of the text is UTF-8, so it is damaged there; `iconv -f UTF-8 -t UTF-8 -c` drops such bytes".into();
    }
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Allow);
    detector.feed(around, true);
    let name = detector.guess(None, Utf8Detection::Deny).name();
    format!("it may be {name}; convert the file first, for example with `iconv -f {name} -t UTF-8`")
}
