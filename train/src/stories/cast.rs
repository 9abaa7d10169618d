//! Casting: the words that stand for a plot's roles, drawn anew for each story.

use super::words::{self, Kind, List};
use super::world::RoleId;
use crate::draws::Draws;

/// Where a role's words come from.
#[derive(Debug)]
pub(super) enum Cast {
    /// A girl or a boy.
    Child,
    /// A relative of another role.
    Kin(RoleId),
    /// An entry of a list.
    Listed(&'static List),
}

impl Cast {
    /// What kind of words these are.
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Child | Self::Kin(_) => Kind::Person,
            Self::Listed(list) => list.kind,
        }
    }
}

/// Which pronouns stand for somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gender {
    She,
    He,
}

/// The words that stand for a role throughout the story.
#[derive(Debug)]
pub(super) struct Portrait {
    pub(super) kind: Kind,
    /// `Mia`, for those that have a name.
    pub(super) name: Option<&'static str>,
    pub(super) noun: &'static str,
    pub(super) adjective: &'static str,
    /// `in`, `at` or the like for places, else empty.
    pub(super) preposition: &'static str,
    pub(super) gender: Gender,
    /// The role whose relative this is.
    pub(super) kin_of: Option<RoleId>,
}

impl Portrait {
    /// Whether names and pronouns stand for this role.
    pub(super) fn is_person(&self) -> bool {
        matches!(self.kind, Kind::Person | Kind::Creature)
    }
}

/// Draws the words for every role; no two roles share a name, or a noun where one has no name.
pub(super) fn portray(roles: &[Cast], draws: &mut Draws) -> Vec<Portrait> {
    let mut portraits: Vec<Portrait> = Vec::new();
    for cast in roles {
        let portrait = loop {
            let drawn = draw_portrait(cast, draws);
            let taken = portraits.iter().any(|other| match (drawn.name, other.name) {
                (Some(name), Some(other)) => name == other,
                _ => drawn.noun == other.noun,
            });
            if !taken {
                break drawn;
            }
        };
        portraits.push(portrait);
    }
    portraits
}

fn draw_portrait(cast: &Cast, draws: &mut Draws) -> Portrait {
    let gender = if draws.chance(50) { Gender::She } else { Gender::He };
    let by_gender = |she, he| match gender {
        Gender::She => words::list(she),
        Gender::He => words::list(he),
    };
    let (nouns, names) = match cast {
        Cast::Child => (by_gender("girl", "boy"), Some(by_gender("girls", "boys"))),
        Cast::Kin(_) => (by_gender("kinswomen", "kinsmen"), None),
        Cast::Listed(list) if list.kind == Kind::Creature => {
            (*list, Some(by_gender("she-names", "he-names")))
        }
        Cast::Listed(list) => (*list, None),
    };
    let entry = draws.pick_early(&nouns.entries);
    let adjective = match nouns.adjectives[..] {
        [] => "",
        _ => {
            let list: &&str = draws.pick(&nouns.adjectives);
            &draws.pick_early(&words::list(list).entries).text
        }
    };
    Portrait {
        kind: nouns.kind,
        name: names.map(|names| draws.pick_early(&names.entries).text.as_str()),
        noun: &entry.text,
        adjective,
        preposition: entry.preposition,
        gender,
        kin_of: if let Cast::Kin(whose) = cast { Some(*whose) } else { None },
    }
}
