//! The plots: `plots/*.txt`, parsed once.
//!
//! ```text
//! = The lost toy                 a plot opens
//! hero = child at home           a role: name = cast, then its setting
//! toy = toys with hero
//! park = wild
//! noon: go hero park +toy        a beat: lead-in, verb, roles; `+` also present, `~` mentioned though absent
//! ? tell hero                    a beat that is left out half of the time
//! - {hero} looked up.            a way to tell the beat; none: those of `plots/actions.txt`
//! ```
//!
//! What a role is cast as: `child` (a girl or boy with a name), `kin of ROLE` (a relative without a name), or a
//! word list. Settings: `at PLACE`, `with PERSON`, `shut`, `locked`, `broken`.
//! A phrasing may speak only of the people and things that its beat lists: who tells is who is there.

use std::sync::LazyLock;

use super::cast::Cast;
use super::template::{self, Phrasing};
use super::words::{self, Kind, List};
use super::world::{Door, RoleId, Whereabouts, World};

/// What can happen. The roles each takes are in `plots/actions.txt`; what each needs and does, in
/// [`World::perform`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Tell,
    Go,
    Lead,
    Open,
    Unlock,
    Take,
    Drop,
    Give,
    Use,
    Consume,
    Make,
    Break,
    Mend,
    Appear,
    Feel,
}

/// One thing that happens, and the ways to tell it.
#[derive(Debug)]
pub(super) struct Beat {
    pub(super) optional: bool,
    /// The list that the opening words (`Then`, `At noon,`) come from.
    pub(super) lead: Option<&'static str>,
    pub(super) verb: Verb,
    pub(super) roles: Vec<RoleId>,
    /// Roles that must be where the first one is, once the verb is done.
    pub(super) present: Vec<RoleId>,
    /// The list of feelings that the first role gets one of.
    pub(super) feeling: Option<&'static List>,
    pub(super) phrasings: Vec<Phrasing>,
    absent: Vec<RoleId>,
}

/// A plot: who and what is in it, and what happens.
#[derive(Debug)]
pub(super) struct Plot {
    pub(super) title: &'static str,
    pub(super) cast: Vec<Cast>,
    /// The world as the plot finds it.
    pub(super) start: World,
    pub(super) beats: Vec<Beat>,
    names: Vec<&'static str>,
}

/// The usual ways to tell a verb.
struct Action {
    name: &'static str,
    verb: Verb,
    roles: Vec<&'static str>,
    phrasings: Vec<&'static str>,
}

static ACTIONS: LazyLock<Vec<Action>> = LazyLock::new(|| parse_actions(include_str!("plots/actions.txt")));

const FILES: [&str; 4] = [
    include_str!("plots/home.txt"),
    include_str!("plots/journeys.txt"),
    include_str!("plots/friends.txt"),
    include_str!("plots/fables.txt"),
];

static PLOTS: LazyLock<Vec<Plot>> = LazyLock::new(|| FILES.into_iter().flat_map(parse_plots).collect());

/// All plots.
pub(super) fn plots() -> &'static [Plot] {
    &PLOTS
}

fn parse_actions(file: &'static str) -> Vec<Action> {
    let mut actions: Vec<Action> = Vec::new();
    for line in meaningful_lines(file) {
        if let Some(phrasing) = line.strip_prefix("- ") {
            let action = actions.last_mut().expect("a verb stands before its phrasings");
            action.phrasings.push(phrasing);
        } else {
            let (verb, words) = line.split_once(" = ").expect("`name = verb roles` opens an action");
            let mut words = words.split_whitespace();
            let kind = words.next().and_then(parse_verb).unwrap_or_else(|| panic!("no such verb: `{line}`"));
            actions.push(Action { name: verb, verb: kind, roles: words.collect(), phrasings: Vec::new() });
        }
    }
    actions
}

fn parse_verb(name: &str) -> Option<Verb> {
    Some(match name {
        "tell" => Verb::Tell,
        "go" => Verb::Go,
        "lead" => Verb::Lead,
        "open" => Verb::Open,
        "unlock" => Verb::Unlock,
        "take" => Verb::Take,
        "drop" => Verb::Drop,
        "give" => Verb::Give,
        "use" => Verb::Use,
        "consume" => Verb::Consume,
        "make" => Verb::Make,
        "break" => Verb::Break,
        "mend" => Verb::Mend,
        "appear" => Verb::Appear,
        "feel" => Verb::Feel,
        _ => return None,
    })
}

fn meaningful_lines(file: &'static str) -> impl Iterator<Item = &'static str> {
    file.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// The plots of one file. The files are part of the program, so a mistake in them is a bug and panics, with the
/// plot and the line.
fn parse_plots(file: &'static str) -> Vec<Plot> {
    let mut plots: Vec<Plot> = Vec::new();
    let mut lines = meaningful_lines(file).peekable();
    while let Some(line) = lines.next() {
        if let Some(title) = line.strip_prefix("= ") {
            plots.push(Plot::new(title));
            continue;
        }
        let plot = plots.last_mut().expect("a plot opens with `= title`");
        let outcome = match line.split_once(" = ") {
            Some((name, cast)) => plot.parse_role(name, cast),
            None => {
                let mut phrasings = Vec::new();
                while let Some(phrasing) = lines.peek().and_then(|next| next.strip_prefix("- ")) {
                    phrasings.push(phrasing);
                    lines.next();
                }
                plot.parse_beat(line, phrasings)
            }
        };
        outcome.unwrap_or_else(|fault| panic!("plot `{}`, `{line}`: {fault}", plot.title));
    }
    plots
}

impl Plot {
    fn new(title: &'static str) -> Self {
        Self { title, cast: Vec::new(), start: World::default(), beats: Vec::new(), names: Vec::new() }
    }

    fn role(&self, name: &str) -> Result<RoleId, String> {
        self.names
            .iter()
            .position(|&known| known == name)
            .ok_or_else(|| format!("no role is called `{name}`"))
    }

    fn parse_role(&mut self, name: &'static str, description: &str) -> Result<(), String> {
        let mut words = description.split_whitespace();
        let cast = match words.next().unwrap_or("") {
            "child" => Cast::Child,
            "kin" => match (words.next(), words.next()) {
                (Some("of"), Some(whose)) => Cast::Kin(self.role(whose)?),
                _ => return Err("`kin` needs `of ROLE`".to_owned()),
            },
            list => Cast::Listed(words::find(list)?),
        };
        let (mut whereabouts, mut door, mut broken) = (Whereabouts::Nowhere, Door::Open, false);
        while let Some(setting) = words.next() {
            match setting {
                "at" => whereabouts = Whereabouts::At(self.role(words.next().unwrap_or(""))?),
                "with" => whereabouts = Whereabouts::HeldBy(self.role(words.next().unwrap_or(""))?),
                "shut" => door = Door::Shut,
                "locked" => door = Door::Locked,
                "broken" => broken = true,
                _ => return Err(format!("`{setting}` is not a setting")),
            }
        }
        self.names.push(name);
        self.cast.push(cast);
        self.start.add(whereabouts, door, broken);
        Ok(())
    }

    fn parse_beat(&mut self, line: &'static str, own: Vec<&'static str>) -> Result<(), String> {
        let (optional, line) = line.strip_prefix("? ").map_or((false, line), |rest| (true, rest));
        let (lead, line) = line.split_once(": ").map_or((None, line), |(lead, rest)| (Some(lead), rest));
        lead.map(words::find).transpose()?;
        let mut words = line.split_whitespace();
        let name = words.next().unwrap_or("");
        let action = ACTIONS
            .iter()
            .find(|action| action.name == name)
            .ok_or_else(|| format!("`{name}` is not in plots/actions.txt"))?;
        let mut beat = Beat {
            optional,
            lead,
            verb: action.verb,
            roles: Vec::new(),
            present: Vec::new(),
            feeling: None,
            phrasings: Vec::new(),
            absent: Vec::new(),
        };
        for word in words {
            if let Some(name) = word.strip_prefix('+') {
                beat.present.push(self.role(name)?);
            } else if let Some(name) = word.strip_prefix('~') {
                beat.absent.push(self.role(name)?);
            } else if beat.verb == Verb::Feel && !beat.roles.is_empty() {
                beat.feeling = Some(words::find(word)?);
            } else {
                beat.roles.push(self.role(word)?);
            }
        }
        if beat.verb != Verb::Tell && beat.roles.len() != action.roles.len() {
            return Err(format!("`{name}` takes {:?}", action.roles));
        }
        let (phrasings, parameters) =
            if own.is_empty() { (&action.phrasings, &action.roles[..]) } else { (&own, &[][..]) };
        if phrasings.is_empty() {
            return Err("no phrasing".to_owned());
        }
        beat.phrasings = phrasings
            .iter()
            .map(|text| template::parse(text, &|name| self.mentioned(name, &beat, parameters)))
            .collect::<Result<_, _>>()?;
        self.beats.push(beat);
        Ok(())
    }

    /// The role that a phrasing of `beat` calls `name`, either as a parameter of the action or as a role.
    fn mentioned(&self, name: &str, beat: &Beat, parameters: &[&str]) -> Result<(RoleId, Kind), String> {
        let role = match parameters.iter().position(|&parameter| parameter == name) {
            Some(position) => *beat.roles.get(position).ok_or_else(|| format!("`{name}` is not given"))?,
            None => self.role(name)?,
        };
        let kind = self.cast[role].kind();
        let free = matches!(kind, Kind::Place | Kind::Word);
        match [&beat.roles, &beat.present, &beat.absent].iter().any(|listed| listed.contains(&role)) || free {
            true => Ok((role, kind)),
            false => Err(format!("`{name}` is spoken of but not listed in the beat")),
        }
    }
}
