//! Telling a plot: letting its beats happen, and putting them into words.

use std::ops::Range;

use super::cast::{self, Gender, Portrait};
use super::grammar;
use super::script::{Beat, Plot, Verb};
use super::template::{Form, Piece};
use super::words::{self, Kind, List};
use super::world::{RoleId, World};
use crate::draws::Draws;

/// How often to draw again for a word that the story has not had: short lists may have no other.
const FRESH_WORD_TRIES: usize = 8;
/// A person of the last sentence is named anew, though a pronoun would do, this often, in percent.
const NAMED_ANEW: usize = 25;
/// A known thing is given its adjective again this often, in percent.
const DESCRIBED_ANEW: usize = 15;

/// A plot while it is being told.
pub(super) struct Narrator<'d> {
    draws: &'d mut Draws,
    portraits: Vec<Portrait>,
    /// The feeling each person was last given.
    moods: Vec<&'static str>,
    /// Whether a role has been spoken of.
    known: Vec<bool>,
    /// The words drawn so far.
    said: Vec<&'static str>,
    /// The people in the last sentence that had any, and in the present one.
    last: Vec<RoleId>,
    present: Vec<RoleId>,
}

/// A story, and what it tells of.
pub(super) struct Telling {
    pub(super) sentences: Vec<String>,
    /// The cast that played it.
    pub(super) portraits: Vec<Portrait>,
    /// The beats that were told, each with the sentences that tell it.
    pub(super) told: Vec<(Told, Range<usize>)>,
}

/// What a beat was about.
pub(super) struct Told {
    pub(super) verb: Verb,
    pub(super) roles: Vec<RoleId>,
    /// What the first role then felt, in one word; empty if nothing was said of it so far.
    pub(super) mood: &'static str,
}

/// Tells `plot`.
pub(super) fn tell(plot: &Plot, draws: &mut Draws) -> Telling {
    let portraits = cast::portray(&plot.cast, draws);
    let roles = portraits.len();
    let mut narrator = Narrator {
        draws,
        portraits,
        moods: vec![""; roles],
        known: vec![false; roles],
        said: Vec::new(),
        last: Vec::new(),
        present: Vec::new(),
    };
    let mut world = plot.start.clone();
    let (mut sentences, mut told) = (Vec::new(), Vec::new());
    for beat in &plot.beats {
        if beat.optional && narrator.draws.chance(50) {
            continue;
        }
        happen(beat, &mut world).unwrap_or_else(|fault| panic!("plot `{}`: {beat:?}: {fault}", plot.title));
        let first = sentences.len();
        narrator.tell_beat(beat, &mut sentences);
        let mood = beat.roles.first().map_or("", |&who| narrator.moods[who]);
        let beat = Told { verb: beat.verb, roles: beat.roles.clone(), mood };
        told.push((beat, first..sentences.len()));
    }
    Telling { sentences, portraits: narrator.portraits, told }
}

/// Lets `beat` happen in `world`.
fn happen(beat: &Beat, world: &mut World) -> Result<(), String> {
    world.pass_time(beat.lead.unwrap_or(""))?;
    world.perform(beat.verb, &beat.roles)?;
    let mut company = beat.present.clone();
    company.extend(beat.roles.first());
    match beat.present.is_empty() {
        true => Ok(()),
        false => world.together(&company),
    }
}

impl Narrator<'_> {
    fn tell_beat(&mut self, beat: &Beat, sentences: &mut Vec<String>) {
        if let (Verb::Feel, Some(feelings)) = (beat.verb, beat.feeling) {
            self.moods[beat.roles[0]] = self.word(feelings);
        }
        let phrasing = self.draws.pick(&beat.phrasings);
        for (i, pieces) in phrasing.iter().enumerate() {
            let mut sentence = String::new();
            if let (0, Some(lead)) = (i, beat.lead) {
                sentence.push_str(self.word(words::list(lead)));
                sentence.push(' ');
            }
            self.render(pieces, &mut sentence);
            if !self.present.is_empty() {
                self.last = std::mem::take(&mut self.present);
            }
            sentences.push(grammar::capitalise(&grammar::agree_articles(sentence.trim())));
        }
    }

    /// A word from `list`, if possible one that the story has not had.
    fn word(&mut self, list: &'static List) -> &'static str {
        let mut word = "";
        for _ in 0..FRESH_WORD_TRIES {
            word = &self.draws.pick_early(&list.entries).text;
            if !self.said.contains(&word) && self.portraits.iter().all(|portrait| portrait.noun != word) {
                break;
            }
        }
        self.said.push(word);
        word
    }

    fn render(&mut self, pieces: &[Piece], sentence: &mut String) {
        for piece in pieces {
            match piece {
                Piece::Text(text) => sentence.push_str(text),
                Piece::Role(role, form) => {
                    let words = self.refer(*role, *form);
                    sentence.push_str(&words);
                }
                Piece::Word(list, form) => {
                    let word = self.word(list);
                    sentence.push_str(&inflect(word, *form));
                }
                Piece::Either(ways) => {
                    let way = self.draws.pick(ways);
                    self.render(way, sentence);
                }
            }
        }
    }

    /// The words for `role` in `form`, here in the story.
    fn refer(&mut self, role: RoleId, form: Form) -> String {
        let portrait = &self.portraits[role];
        match portrait.kind {
            Kind::Word => inflect(portrait.noun, form),
            _ if portrait.is_person() => self.refer_to_person(role, form),
            _ => self.refer_to_thing(role, form),
        }
    }

    fn refer_to_person(&mut self, role: RoleId, form: Form) -> String {
        let Portrait { name, noun, adjective, gender, .. } = self.portraits[role];
        let she = gender == Gender::She;
        let pronoun = match form {
            Form::Noun => return noun.to_owned(),
            Form::Adjective => return adjective.to_owned(),
            Form::Mood => return self.moods[role].to_owned(),
            Form::Intro => {
                self.mention(role);
                return match name {
                    Some(name) => format!("a {adjective} {noun} called {name}"),
                    None => format!("a {adjective} {noun}"),
                };
            }
            Form::Name => None,
            Form::Own => Some(if she { "her" } else { "his" }),
            Form::Himself => Some(if she { "herself" } else { "himself" }),
            Form::He => Some(if she { "she" } else { "he" }),
            _ if !self.pronoun_will_do(role) => None,
            Form::Him => Some(if she { "her" } else { "him" }),
            Form::His => Some(if she { "her" } else { "his" }),
            _ => Some(if she { "she" } else { "he" }),
        };
        if let Some(pronoun) = pronoun {
            self.mention(role);
            return pronoun.to_owned();
        }
        let kin_of = self.portraits[role].kin_of;
        let known = self.known[role];
        let mut reference = match (name, kin_of) {
            (Some(name), _) => name.to_owned(),
            (None, Some(whose)) => format!("{} {noun}", self.refer_to_person(whose, Form::His)),
            (None, None) if known => format!("the {noun}"),
            (None, None) => format!("a {adjective} {noun}"),
        };
        self.mention(role);
        if form == Form::His {
            reference.push_str("'s");
        }
        reference
    }

    fn mention(&mut self, role: RoleId) {
        self.known[role] = true;
        if !self.present.contains(&role) {
            self.present.push(role);
        }
    }

    /// Whether a pronoun would be understood: the person is in this sentence or the last one, and nobody else of
    /// that gender is.
    fn pronoun_will_do(&mut self, role: RoleId) -> bool {
        let gender = self.portraits[role].gender;
        let rival = |&other: &RoleId| other != role && self.portraits[other].gender == gender;
        if self.last.iter().chain(&self.present).any(rival) {
            return false;
        }
        self.present.contains(&role) || (self.last.contains(&role) && !self.draws.chance(NAMED_ANEW))
    }

    fn refer_to_thing(&mut self, role: RoleId, form: Form) -> String {
        let Portrait { kind, noun, adjective, preposition, .. } = self.portraits[role];
        let first = !std::mem::replace(&mut self.known[role], true);
        let described = |described: bool| match described && !adjective.is_empty() {
            true => format!("{adjective} {noun}"),
            false => noun.to_owned(),
        };
        match form {
            Form::Noun => noun.to_owned(),
            Form::Adjective => adjective.to_owned(),
            Form::Plural => grammar::plural(noun),
            Form::Bare => described(first),
            _ if kind == Kind::Thing && first => format!("a {}", described(true)),
            _ => {
                let phrase = described(first || self.draws.chance(DESCRIBED_ANEW));
                match form {
                    Form::At => format!("{preposition} the {phrase}"),
                    _ => format!("the {phrase}"),
                }
            }
        }
    }
}

/// A listed word in `form`.
fn inflect(word: &str, form: Form) -> String {
    match form {
        Form::Plural => grammar::plural(word),
        Form::Past => grammar::past(word),
        Form::Ing => grammar::gerund(word),
        _ => word.to_owned(),
    }
}
