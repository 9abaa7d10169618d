//! Published figures, beside which one's own are shown: the tables of the reference's README.

/// GLUE's tasks in the order of the published table, with their names there.
pub const GLUE_COLUMNS: [(&str, &str); 8] = [
    ("mnli", "MNLI"),
    ("qnli", "QNLI"),
    ("qqp", "QQP"),
    ("rte", "RTE"),
    ("sst-2", "SST"),
    ("mrpc", "MRPC"),
    ("cola", "CoLA"),
    ("sts-b", "STS"),
];

/// The columns of the second table.
pub const READING_COLUMNS: [&str; 4] =
    ["SQuAD1.1 dev", "SQuAD2.0 dev", "SQuAD2.0 test", "RACE test (Middle/High)"];

/// Single models on GLUE's dev sets: MRPC and QQP by accuracy, STS by Pearson's correlation, CoLA by Matthews'.
pub const GLUE_PUBLISHED: [(&str, [&str; 8]); 5] = [
    ("BERT-large", ["86.6", "92.3", "91.3", "70.4", "93.2", "88.0", "60.6", "90.0"]),
    ("XLNet-large", ["89.8", "93.9", "91.8", "83.8", "95.6", "89.2", "63.6", "91.8"]),
    ("RoBERTa-large", ["90.2", "94.7", "92.2", "86.6", "96.4", "90.9", "68.0", "92.4"]),
    ("ALBERT-xxlarge (1M)", ["90.4", "95.2", "92.0", "88.1", "96.8", "90.2", "68.7", "92.7"]),
    ("ALBERT-xxlarge (1.5M)", ["90.8", "95.3", "92.2", "89.2", "96.9", "90.9", "71.4", "93.0"]),
];

/// Single models on SQuAD (F1/exact match) and RACE (accuracy).
pub const READING_PUBLISHED: [(&str, [&str; 4]); 7] = [
    ("BERT-large", ["90.9/84.1", "81.8/79.0", "89.1/86.3", "72.0 (76.6/70.1)"]),
    ("XLNet", ["94.5/89.0", "88.8/86.1", "89.1/86.3", "81.8 (85.5/80.2)"]),
    ("RoBERTa", ["94.6/88.9", "89.4/86.5", "89.8/86.8", "83.2 (86.5/81.3)"]),
    ("UPM", ["-", "-", "89.9/87.2", "-"]),
    ("XLNet + SG-Net Verifier++", ["-", "-", "90.1/87.2", "-"]),
    ("ALBERT-xxlarge (1M)", ["94.8/89.2", "89.9/87.2", "-", "86.0 (88.2/85.1)"]),
    ("ALBERT-xxlarge (1.5M)", ["94.8/89.3", "90.2/87.4", "90.9/88.1", "86.5 (89.0/85.5)"]),
];

/// Of each released model: MNLI, SST-2, SQuAD 1.1, SQuAD 2.0, RACE.
pub const SIZES_PUBLISHED: [(&str, [&str; 5]); 8] = [
    ("base v2", ["84.6", "92.9", "90.2/83.2", "82.1/79.3", "66.8"]),
    ("large v2", ["86.5", "94.9", "91.8/85.2", "84.9/81.8", "75.2"]),
    ("xlarge v2", ["87.9", "95.4", "92.9/86.4", "87.9/84.1", "80.7"]),
    ("xxlarge v2", ["90.6", "96.8", "94.6/89.1", "89.8/86.9", "86.8"]),
    ("base v1", ["81.6", "90.3", "89.3/82.3", "80.0/77.1", "64.0"]),
    ("large v1", ["83.5", "91.7", "90.6/83.9", "82.3/79.4", "68.5"]),
    ("xlarge v1", ["86.4", "92.4", "92.5/86.1", "86.1/83.1", "74.8"]),
    ("xxlarge v1", ["90.8", "96.9", "94.8/89.3", "90.2/87.4", "86.5"]),
];
