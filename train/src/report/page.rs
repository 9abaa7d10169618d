//! The page: verdicts, curves, figures, settings, machines, how to do it again.

use std::f64::consts::LN_2;
use std::fmt::Write;

use super::chart::{Chart, Kind, Line, MOST_POINTS};
use super::curve::{Point, Span};
use super::first_and_last;
use super::record::{Note, RunRecord};
use super::scores::scores;
use crate::run::info::{Session, Status};
use crate::shell::quoted;
use crate::visible::visible;

/// What a report begins with, so that it is known as one.
pub(super) const MARK: &str = "<meta name=\"generator\" content=\"albert-train report\">";

const STYLE: &str = include_str!("style.css");

/// Rows of a table of evaluations; of more, some are left out.
const MOST_EVALUATIONS: usize = 30;
/// Warnings, and rows of a table of sessions; of more, the first and the last are shown.
const MOST_LISTED: usize = 60;

/// A text from outside as HTML: it is shown, and does nothing.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for c in visible(text).chars() {
        match c {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\'' => escaped += "&#39;",
            c => escaped.push(c),
        }
    }
    escaped
}

/// One page about `runs`, side by side where they are several.
pub fn page(runs: &[RunRecord]) -> String {
    let title = match runs {
        [run] => format!("{}: {}", run.task(), run.name),
        runs => format!("{} runs side by side", runs.len()),
    };
    let title = escape(&title);
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">{MARK}\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>{title}</title>\
         <style>\n{STYLE}</style></head>\n<body><main>\n<h1>{title}</h1>\n"
    );
    if let [run] = runs {
        let _ = writeln!(
            html,
            "<p class=\"soft\">{} · begun {} · last written {}</p>",
            escape(&run.folder.to_string_lossy()),
            escape(&run.info.created),
            escape(&run.info.updated)
        );
    }
    html += &verdicts(runs);
    html += &scores(runs);
    html += &curves(runs);
    for run in runs {
        html += &evaluations(run, runs.len() > 1);
    }
    html += &differing_settings(runs);
    for run in runs {
        html += &about(run, runs.len() > 1);
    }
    html + "</main></body></html>\n"
}

fn verdicts(runs: &[RunRecord]) -> String {
    let mut html = String::from("<div class=\"runs\">");
    for (index, run) in runs.iter().enumerate() {
        let verdict = run.lasting_verdict();
        let tone = match run.info.status {
            Status::Finished => "good",
            Status::Failed => "bad",
            Status::Running | Status::Interrupted => "",
        };
        let _ = write!(html, "<section class=\"card verdict {tone}\">");
        if runs.len() > 1 {
            let _ =
                write!(html, "<h3 class=\"c{}\">{}</h3>", index % super::chart::COLOURS, escape(&run.name));
        }
        let _ = write!(html, "<p class=\"headline\">{}</p>", escape(&verdict.headline));
        for sentence in &verdict.sentences {
            let _ = write!(html, "<p>{}</p>", escape(sentence));
        }
        if !verdict.next.is_empty() {
            let items: String = verdict
                .next
                .iter()
                .map(|next| {
                    let text = escape(next);
                    if next.starts_with("albert-train ") {
                        format!("<li><code>{text}</code></li>")
                    } else {
                        format!("<li>{text}</li>")
                    }
                })
                .collect();
            let _ =
                write!(html, "<details open><summary>What to try next</summary><ul>{items}</ul></details>");
        }
        html += "</section>\n";
    }
    html + "</div>\n"
}

/// What is drawn: the title, the value of training and of evaluations, and what is reached without a model.
const CHARTS: [(&str, &str, Baseline); 11] = [
    ("Loss", "loss", Baseline::None),
    (
        "Masked words: loss",
        "masked_lm_loss",
        Baseline::HeldOut("unigram_masked_lm_loss", "unigram frequencies"),
    ),
    (
        "Masked words: accuracy",
        "masked_lm_accuracy",
        Baseline::HeldOut("majority_masked_lm_accuracy", "always the most common"),
    ),
    ("Sentence order: loss", "sentence_order_loss", Baseline::Level(LN_2, "chance")),
    ("Sentence order: accuracy", "sentence_order_accuracy", Baseline::Level(0.5, "chance")),
    ("Share of the most common prediction", "commonest_prediction_share", Baseline::None),
    ("Deviation of the last layer within a sequence", "last_layer_deviation", Baseline::None),
    ("Learning rate", "learning_rate", Baseline::None),
    ("Gradient norm", "gradient_norm", Baseline::None),
    ("Tokens a second", "tokens_per_second", Baseline::None),
    ("Memory, bytes", "resident_bytes", Baseline::None),
];

enum Baseline {
    None,
    /// A figure of the evaluations.
    HeldOut(&'static str, &'static str),
    Level(f64, &'static str),
}

fn curves(runs: &[RunRecord]) -> String {
    let mut charts: Vec<Chart> = CHARTS
        .iter()
        .map(|(title, name, baseline)| {
            let mut chart = chart(runs, title, name);
            match baseline {
                Baseline::None => {}
                Baseline::HeldOut(name, label) => chart.lines.extend(baselines(runs, name, label)),
                Baseline::Level(value, label) => {
                    let line = chart.lines.first().map(|_| level(label, *value));
                    chart.lines.extend(line);
                }
            }
            chart
        })
        .collect();
    // What a task of fine-tuning is measured by.
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in runs.iter().flat_map(|run| &run.evaluations).flat_map(|evaluation| &evaluation.figures) {
        let is_drawn = CHARTS.iter().any(|(_, drawn, _)| drawn == name);
        let is_level = ["baseline_", "majority_", "unigram_"].iter().any(|mark| name.starts_with(mark));
        if !is_drawn && !is_level && !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    for (place, name) in names.into_iter().enumerate() {
        let mut chart = chart(runs, &name.replace('_', " "), name);
        chart.lines.extend(baselines(runs, &format!("baseline_{name}"), "constant answer"));
        charts.insert(1 + place, chart);
    }
    let drawn: String = charts
        .iter()
        .filter_map(|chart| {
            let svg = chart.svg()?;
            let legend = legend(chart, runs);
            let title = escape(&chart.title);
            Some(format!(
                "<figure class=\"card\" style=\"margin:0\"><h3>{title}</h3><div class=\"legend\">{legend}</div>{svg}</figure>\n"
            ))
        })
        .collect();
    let note = match runs {
        [_] => "",
        _ => "<p class=\"soft\">Thin lines are training, lines with dots held out.</p>",
    };
    if drawn.is_empty() {
        drawn
    } else {
        format!("<h2>Curves</h2>{note}<div class=\"charts\">{drawn}</div>\n")
    }
}

fn chart(runs: &[RunRecord], title: &str, name: &str) -> Chart {
    let mut lines = Vec::new();
    for (index, run) in runs.iter().enumerate() {
        let kinds = [
            (Kind::Training, "training", run.curve(name).parts(MOST_POINTS)),
            (Kind::HeldOut, "held out", run.held_out(name).into_iter().map(Span::of).collect()),
        ];
        for (place, (kind, what, points)) in
            kinds.into_iter().enumerate().filter(|(_, (.., points))| !points.is_empty())
        {
            let (label, colour) = match runs.len() {
                1 => (what.to_owned(), place),
                _ => (format!("{}, {what}", run.name), index),
            };
            lines.push(Line { label, colour, kind, points });
        }
    }
    // What is held out lies on top.
    lines.sort_by_key(|line| line.kind == Kind::HeldOut);
    let is_count = matches!(name, "tokens_per_second" | "resident_bytes");
    Chart { title: title.into(), lines, is_count }
}

/// A grey level, as what is reached without a model.
fn level(label: &str, value: f64) -> Line {
    let colour = super::chart::COLOURS - 1;
    Line {
        label: label.into(),
        colour,
        kind: Kind::Baseline,
        points: vec![Span::of(Point { step: 0, value })],
    }
}

/// What is reached without a model by the figure `name`: one level where it is the same for all runs, else one for each in its
/// colour.
fn baselines(runs: &[RunRecord], name: &str, label: &str) -> Vec<Line> {
    let values =
        runs.iter().enumerate().filter_map(|(run, record)| Some((run, record.held_out(name).last()?.value)));
    let values: Vec<(usize, f64)> = values.collect();
    match values.as_slice() {
        [] => Vec::new(),
        [(_, first), others @ ..] if others.iter().all(|(_, value)| value == first) => {
            vec![level(label, *first)]
        }
        values => values.iter().map(|&(run, value)| Line { colour: run, ..level(label, value) }).collect(),
    }
}

/// What the colours of a chart mean: of one run its kinds of lines, of several the runs.
fn legend(chart: &Chart, runs: &[RunRecord]) -> String {
    let is_base = |line: &&Line| line.kind == Kind::Baseline;
    let entry = |colour: usize, class: &str, label: &str| {
        let colour = colour % super::chart::COLOURS;
        format!("<span><i class=\"c{colour} {class}\"></i>{}</span>", escape(label))
    };
    let curves: String = match runs {
        [_] => {
            let curves = chart.lines.iter().filter(|line| !is_base(line));
            curves.map(|line| entry(line.colour, "", &line.label)).collect()
        }
        runs => {
            let has = |run: usize| chart.lines.iter().any(|line| !is_base(&line) && line.colour == run);
            let runs = runs.iter().enumerate().filter(|(run, _)| has(*run));
            runs.map(|(run, record)| entry(run, "", &record.name)).collect()
        }
    };
    let base = chart.lines.iter().find(is_base);
    curves + &base.map_or(String::new(), |line| entry(super::chart::COLOURS - 1, "base", &line.label))
}

fn evaluations(run: &RunRecord, is_one_of_several: bool) -> String {
    let Some(last) = run.evaluations.last() else { return String::new() };
    let names: Vec<&str> = last.figures.iter().map(|(name, _)| name.as_str()).collect();
    let shown = run.evaluations.len().min(MOST_EVALUATIONS);
    let rows =
        (1..=shown).map(|n| &run.evaluations[(n * run.evaluations.len() / shown) - 1]).map(|evaluation| {
            let figures = names.iter().map(|name| evaluation.get(name).map_or("-".into(), figure));
            std::iter::once(evaluation.step.to_string()).chain(figures).collect()
        });
    let heads: Vec<String> = names.iter().map(|name| escape(&name.replace('_', " "))).collect();
    let heads: Vec<&str> = std::iter::once("step").chain(heads.iter().map(String::as_str)).collect();
    let title = if is_one_of_several { format!("Evaluations: {}", run.name) } else { "Evaluations".into() };
    section(&title, &table(&heads, 0, rows))
}

/// A figure with as many digits as tell it apart; the journal has all of them.
pub(super) fn figure(value: f64) -> String {
    /// What four decimals show, in a few digits.
    const PLAIN: std::ops::Range<f64> = 5e-5..1e9;
    match value.abs() {
        size if size == 0.0 || PLAIN.contains(&size) => format!("{value:.4}"),
        size if size.is_finite() => format!("{value:.4e}"),
        _ => value.to_string(),
    }
}

fn differing_settings(runs: &[RunRecord]) -> String {
    let Some((first, others)) = runs.split_first().filter(|(_, others)| !others.is_empty()) else {
        return String::new();
    };
    let mut keys: Vec<&str> =
        runs.iter().flat_map(|run| &run.settings).map(|setting| setting.key.as_str()).collect();
    let mut seen = std::collections::BTreeSet::new();
    keys.retain(|key| seen.insert(*key) && others.iter().any(|run| run.setting(key) != first.setting(key)));
    if keys.is_empty() {
        return String::new();
    }
    let rows = keys.into_iter().map(|key| {
        let values = runs.iter().map(|run| escape(run.setting(key).unwrap_or("not set")));
        std::iter::once(escape(key)).chain(values).collect()
    });
    let names: Vec<String> = runs.iter().map(|run| escape(&run.name)).collect();
    let heads: Vec<&str> = std::iter::once("setting").chain(names.iter().map(String::as_str)).collect();
    section("Settings that differ", &table(&heads, usize::MAX, rows))
}

/// Warnings, settings, machine, how to do it again.
fn about(run: &RunRecord, is_one_of_several: bool) -> String {
    let mut html =
        if is_one_of_several { format!("<h2>{}</h2>\n", escape(&run.name)) } else { String::new() };
    if !run.notes.is_empty() {
        let items = |notes: &[Note]| -> String {
            let item = |note: &Note| {
                let (line, event) = (escape(&note.line()), escape(&note.event));
                format!("<li>{line} <span class=\"soft\">({event})</span></li>")
            };
            notes.iter().map(item).collect()
        };
        let (first, between, last) = first_and_last(&run.notes, MOST_LISTED);
        let left_out = match between {
            0 => String::new(),
            count => format!("<li class=\"soft\">{count} more, which metrics.jsonl has</li>"),
        };
        html += &section("Warnings", &format!("<ul>{}{left_out}{}</ul>", items(first), items(last)));
    }
    let settings = run.settings.iter().map(|setting| {
        vec![
            escape(&setting.key),
            format!("<code>{}</code>", escape(&setting.value)),
            escape(&setting.source),
        ]
    });
    let settings = table(&["setting", "value", "from"], usize::MAX, settings);
    html += &section(
        "Settings",
        &format!(
            "<details class=\"settings\"><summary>All {}</summary>{settings}</details>",
            run.settings.len()
        ),
    );
    let row = |session: &Session| {
        let machine = session.machine.as_ref();
        vec![
            escape(&session.started),
            escape(session.ended.as_deref().unwrap_or("-")),
            escape(session.exit_reason.as_deref().unwrap_or("-")),
            escape(&session.host),
            machine.map_or("-".into(), |m| {
                escape(&format!("{}, {}, {} threads", m.processor, m.isa, m.threads))
            }),
            escape(&session.version),
        ]
    };
    let (first, between, last) = first_and_last(&run.info.sessions, MOST_LISTED);
    let left_out = (between > 0).then(|| vec![format!("{between} more, which run.json has")]);
    let sessions = first.iter().map(row).chain(left_out).chain(last.iter().map(row));
    html += &section(
        "Machine",
        &table(&["started", "ended", "why", "host", "processor", "version"], usize::MAX, sessions),
    );
    let command = run.info.sessions.first().map_or(String::new(), |session| {
        session.command.iter().map(|argument| quoted(argument)).collect::<Vec<_>>().join(" ")
    });
    let data = run.info.data.as_deref().unwrap_or("not known");
    html += &section(
        "How to do it again",
        &format!(
            "<pre>{}</pre><p>The same settings are in <code>{}</code>, a file for --config. The training data is known by \
             its hash, <code>{}</code>; the same settings on the same data give the same bytes with any number of threads.</p>",
            escape(&command),
            escape(&run.folder.join(crate::run::directory::CONFIG).to_string_lossy()),
            escape(data)
        ),
    );
    html
}

pub(super) fn section(title: &str, content: &str) -> String {
    format!("<h2>{}</h2><section class=\"card\">{content}</section>\n", escape(title))
}

/// A table of cells that are HTML; those from column `numbers` on are numbers.
pub(super) fn table(heads: &[&str], numbers: usize, rows: impl Iterator<Item = Vec<String>>) -> String {
    let class = |column: usize| if column >= numbers { " class=\"n\"" } else { "" };
    let cells = |tag: &str, cells: &[String]| -> String {
        cells
            .iter()
            .enumerate()
            .map(|(column, cell)| format!("<{tag}{}>{cell}</{tag}>", class(column)))
            .collect()
    };
    let head = cells("th", &heads.iter().map(|&head| head.to_owned()).collect::<Vec<_>>());
    let rows: String = rows.map(|row| format!("<tr>{}</tr>\n", cells("td", &row))).collect();
    format!("<div class=\"wide\"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>")
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::run;
    use super::*;

    #[test]
    fn nothing_of_a_run_is_markup() {
        let folder = tempfile::tempdir().unwrap();
        let names = ["<script>alert(2)<", "b"];
        names.iter().for_each(|name| run(&folder.path().join(name), 8.0));
        let records: Vec<_> =
            names.iter().map(|name| RunRecord::read(&folder.path().join(name)).unwrap()).collect();
        for html in [page(&records[..1]), page(&records)] {
            assert!(
                !html.contains("<script") && !html.contains('\u{1b}') && !html.contains('\u{7}'),
                "{html}"
            );
            assert!(html.contains("&lt;script&gt;\\u{1b}]0;x\\u{7}"), "it is shown: {html}");
            for outside in ["http:", "https:", "url(", "@import", " src=", "<link"] {
                assert!(!html.contains(outside), "{outside}");
            }
            // Every element that is opened is closed.
            for tag in [
                "main", "section", "div", "figure", "svg", "table", "tr", "td", "th", "ul", "li", "details",
                "code", "p", "span",
            ] {
                let opened =
                    html.matches(&format!("<{tag}>")).count() + html.matches(&format!("<{tag} ")).count();
                assert_eq!(opened, html.matches(&format!("</{tag}>")).count(), "{tag}");
            }
        }
    }

    #[test]
    fn figures_of_any_size_are_short() {
        let shown = [0.0, 0.123_44, -1024.0, 3e-7, 2.5e40, f64::NAN, f64::INFINITY].map(figure);
        assert_eq!(shown, ["0.0000", "0.1234", "-1024.0000", "3.0000e-7", "2.5000e40", "NaN", "inf"]);
    }

    /// A run that was continued every hour of a month, and warned of something each time.
    #[test]
    fn long_lists_are_cut() {
        let folder = tempfile::tempdir().unwrap();
        run(&folder.path().join("run"), 8.0);
        let mut record = RunRecord::read(&folder.path().join("run")).unwrap();
        let items = |record: &RunRecord| page(std::slice::from_ref(record)).matches("<li>step ").count();
        assert_eq!(items(&record), record.notes.len());
        let (note, session) = (record.notes[0].clone(), record.info.sessions[0].clone());
        record.notes = vec![note; 1000];
        record.info.sessions = vec![session; 700];
        let html = page(std::slice::from_ref(&record));
        assert_eq!(items(&record), MOST_LISTED);
        assert!(html.contains("940 more, which metrics.jsonl has"), "{html}");
        assert!(html.contains("<td>640 more, which run.json has</td>"), "{html}");
    }

    #[test]
    fn figures_are_those_of_the_journal() {
        let folder = tempfile::tempdir().unwrap();
        run(&folder.path().join("run"), 8.0);
        let html = page(&[RunRecord::read(&folder.path().join("run")).unwrap()]);
        assert!(html.contains("<td class=\"n\">0.1235</td><td class=\"n\">0.0600</td>"), "{html}");
        assert!(html.contains("<title>held out, step 20: 0.123456789</title>"), "{html}");
        assert!(
            html.contains("unigram frequencies") && html.contains("always the most common"),
            "baselines are drawn"
        );
    }
}
