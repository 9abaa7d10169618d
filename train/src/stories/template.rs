//! Phrasings: sentences with slots, as the plot files write them.
//!
//! | written | becomes |
//! |---|---|
//! | `{hero}` | the role as the discourse asks: `Mia` or `she`; `a red kite`, then `the kite` |
//! | `{hero:his}` | another form of it: see [`Form`] |
//! | `{*flowers}`, `{*flowers:plural}` | a word from a list, drawn afresh |
//! | `<ran\|walked>` | one of the alternatives |
//! | `a` | `a` or `an`, as the next word asks |
//! | ` // ` | the end of a sentence and the start of the next |

use super::words::{self, Kind, List};
use super::world::RoleId;

/// What a slot says about its role. The names are those used in the plot files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// No name given: subject for people (`Mia`, `she`); for things and places `a red kite`, then `the kite`.
    Plain,
    /// Object of a verb: `Mia`, `her`.
    Him,
    /// Possessive: `Mia's`, `her`.
    His,
    /// Possessive that points back within its sentence: always `her`.
    Own,
    /// Reflexive: `herself`.
    Himself,
    /// Subject pronoun that points back within its sentence: always `she`.
    He,
    /// The name alone, never a pronoun.
    Name,
    /// The introduction: `a clever girl called Mia`.
    Intro,
    /// The feeling the person was last given: `glad`.
    Mood,
    /// The noun alone: `girl`, `kite`, `park`.
    Noun,
    /// The adjective alone.
    Adjective,
    /// Noun with adjective at first mention, without article, as after `her`: `red kite`, then `kite`.
    Bare,
    /// A place with its preposition: `in the park`.
    At,
    /// Plural of the noun.
    Plural,
    /// Past tense of a verb.
    Past,
    /// The -ing form of a verb.
    Ing,
}

impl Form {
    /// The form written as `name`, if words of this `kind` have it.
    fn parse(kind: Kind, name: &str) -> Option<Self> {
        let form = match name {
            "" => Self::Plain,
            "him" => Self::Him,
            "his" => Self::His,
            "own" => Self::Own,
            "himself" => Self::Himself,
            "he" => Self::He,
            "name" => Self::Name,
            "intro" => Self::Intro,
            "mood" => Self::Mood,
            "noun" => Self::Noun,
            "adjective" => Self::Adjective,
            "bare" => Self::Bare,
            "at" => Self::At,
            "plural" => Self::Plural,
            "past" => Self::Past,
            "ing" => Self::Ing,
            _ => return None,
        };
        let fits = match form {
            Self::Plain => true,
            Self::Him
            | Self::His
            | Self::Own
            | Self::Himself
            | Self::He
            | Self::Name
            | Self::Intro
            | Self::Mood => {
                matches!(kind, Kind::Person | Kind::Creature)
            }
            Self::Noun | Self::Adjective => kind != Kind::Word,
            Self::Bare => kind == Kind::Thing,
            Self::At => kind == Kind::Place,
            Self::Plural => matches!(kind, Kind::Word | Kind::Thing),
            Self::Past | Self::Ing => kind == Kind::Word,
        };
        fits.then_some(form)
    }
}

/// A part of a phrasing.
#[derive(Debug)]
pub(super) enum Piece {
    /// Text as it stands.
    Text(&'static str),
    /// A role in some form.
    Role(RoleId, Form),
    /// A fresh word from a list.
    Word(&'static List, Form),
    /// One of several.
    Either(Vec<Vec<Piece>>),
}

/// One way to tell a beat: its sentences.
pub(super) type Phrasing = Vec<Vec<Piece>>;

/// Finds the role, and its kind, that a slot names.
type RoleLookup<'a> = dyn Fn(&str) -> Result<(RoleId, Kind), String> + 'a;

/// Parses a phrasing; `role` tells which roles its slots may name.
pub(super) fn parse(text: &'static str, role: &RoleLookup<'_>) -> Result<Phrasing, String> {
    text.split(" // ").map(|sentence| parse_sentence(sentence, role)).collect()
}

fn parse_sentence(text: &'static str, role: &RoleLookup<'_>) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find(['{', '<']) {
        let close = if rest[start..].starts_with('{') { '}' } else { '>' };
        let end = rest[start..].find(close).ok_or_else(|| format!("`{}` is not closed", &rest[start..]))?;
        let inside = &rest[start + 1..start + end];
        if start > 0 {
            pieces.push(Piece::Text(&rest[..start]));
        }
        pieces.push(match close {
            '}' => parse_slot(inside, role)?,
            _ => Piece::Either(
                inside.split('|').map(|either| parse_sentence(either, role)).collect::<Result<_, _>>()?,
            ),
        });
        rest = &rest[start + end + 1..];
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest));
    }
    Ok(pieces)
}

fn parse_slot(slot: &'static str, role: &RoleLookup<'_>) -> Result<Piece, String> {
    let (name, form_name) = slot.split_once(':').unwrap_or((slot, ""));
    let parse_form = |kind| {
        Form::parse(kind, form_name).ok_or_else(|| format!("`{{{slot}}}`: no such form of a {kind:?}"))
    };
    if let Some(list) = name.strip_prefix('*') {
        return Ok(Piece::Word(words::find(list)?, parse_form(Kind::Word)?));
    }
    let (role, kind) = role(name)?;
    Ok(Piece::Role(role, parse_form(kind)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cast(name: &str) -> Result<(RoleId, Kind), String> {
        match name {
            "hero" => Ok((0, Kind::Person)),
            "toy" => Ok((1, Kind::Thing)),
            _ => Err(format!("no role `{name}`")),
        }
    }

    #[test]
    fn sentences_slots_and_alternatives() {
        let phrasing = parse("{hero} <ran|took {hero:own} {toy:bare}>. // so!", &cast).expect("well-formed");
        assert_eq!(phrasing.len(), 2);
        assert!(matches!(phrasing[0][0], Piece::Role(0, Form::Plain)));
        let Piece::Either(ways) = &phrasing[0][2] else { panic!("alternatives, not {:?}", phrasing[0][2]) };
        assert_eq!(ways.len(), 2);
        assert!(matches!(ways[1][3], Piece::Role(1, Form::Bare)));
        assert!(matches!(phrasing[1][..], [Piece::Text("so!")]));
    }

    #[test]
    fn mistakes_are_named() {
        for (text, complaint) in [
            ("{hero", "not closed"),
            ("{villain} ran.", "no role `villain`"),
            ("{toy:himself}", "no such form"),
            ("{*nothing-of-the-kind}", "no word list"),
        ] {
            let error = parse(text, &cast).expect_err(text);
            assert!(error.contains(complaint), "{text}: {error}");
        }
    }
}
