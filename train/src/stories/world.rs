//! The world of one story: where everybody and everything is, and what can therefore happen.
//!
//! Every action of a plot goes through [`World::perform`], which refuses what the state does not allow: nobody
//! acts where they are not, uses what they do not hold, or walks through a shut door, and time runs forward.

use super::script::Verb;

/// A person, thing, place or word of the plot, by its position in the cast.
pub(super) type RoleId = usize;

/// Where a person or a thing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whereabouts {
    /// Nowhere yet, or no more.
    Nowhere,
    /// In a place.
    At(RoleId),
    /// In the hands of a person, wherever that person is.
    HeldBy(RoleId),
}

/// The state of a place's door, or of anything that can be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Door {
    Open,
    Shut,
    Locked,
}

/// The times of a day, in order.
const HOURS: [&str; 6] = ["dawn", "morning", "noon", "afternoon", "evening", "night"];

/// The state of the world, one entry per role; at first dawn.
#[derive(Clone, Debug, Default)]
pub(super) struct World {
    whereabouts: Vec<Whereabouts>,
    doors: Vec<Door>,
    broken: Vec<bool>,
    hour: usize,
}

impl World {
    /// Adds the next role, in the state given.
    pub(super) fn add(&mut self, whereabouts: Whereabouts, door: Door, broken: bool) {
        self.whereabouts.push(whereabouts);
        self.doors.push(door);
        self.broken.push(broken);
    }

    /// The place where a person is, or a thing lies or is carried.
    pub(super) fn place(&self, role: RoleId) -> Option<RoleId> {
        match self.whereabouts[role] {
            Whereabouts::Nowhere => None,
            Whereabouts::At(place) => Some(place),
            Whereabouts::HeldBy(person) => self.place(person),
        }
    }

    /// Moves the clock on to the hour that `lead` ends with (`noon`, `one-evening`); `next-day` starts it afresh.
    pub(super) fn pass_time(&mut self, lead: &str) -> Result<(), String> {
        // The last match: `afternoon` ends with `noon`, too.
        let hour = match HOURS.iter().rposition(|name| lead.ends_with(name)) {
            Some(hour) if hour < self.hour => {
                return Err(format!("it is already {}, too late for {lead}", HOURS[self.hour]));
            }
            Some(hour) => hour,
            None if lead == "next-day" => 0,
            None => self.hour,
        };
        self.hour = hour;
        Ok(())
    }

    /// Does `verb` with `roles`, or says why the world does not allow it.
    pub(super) fn perform(&mut self, verb: Verb, roles: &[RoleId]) -> Result<(), String> {
        use Whereabouts::{At, HeldBy, Nowhere};
        match (verb, roles) {
            (Verb::Tell, present) => self.together(present)?,
            (Verb::Go, &[who, place]) => {
                self.door_is(place, Door::Open)?;
                self.moves(who, place)?;
            }
            (Verb::Lead, &[who, whom, place]) => {
                self.together(&[who, whom])?;
                self.door_is(place, Door::Open)?;
                self.moves(who, place)?;
                self.moves(whom, place)?;
            }
            (Verb::Open, &[who, what]) => {
                self.exists(who)?;
                self.door_is(what, Door::Shut)?;
                self.doors[what] = Door::Open;
            }
            (Verb::Unlock, &[who, what, key]) => {
                self.holds(who, key)?;
                self.door_is(what, Door::Locked)?;
                self.doors[what] = Door::Shut;
            }
            (Verb::Take, &[who, what]) => {
                self.together(&[who, what])?;
                if let HeldBy(_) = self.whereabouts[what] {
                    return Err(format!("role {what} is held already"));
                }
                self.whereabouts[what] = HeldBy(who);
            }
            (Verb::Drop, &[who, what]) => {
                self.holds(who, what)?;
                self.whereabouts[what] = self.whereabouts[who];
            }
            (Verb::Give, &[who, what, whom]) => {
                self.holds(who, what)?;
                self.together(&[who, whom])?;
                self.whereabouts[what] = HeldBy(whom);
            }
            (Verb::Use, &[who, what]) => {
                self.holds(who, what)?;
                self.is_broken(what, false)?;
            }
            (Verb::Consume, &[who, what]) => {
                self.holds(who, what)?;
                self.whereabouts[what] = Nowhere;
            }
            (Verb::Make, &[who, what]) => {
                self.exists(who)?;
                self.comes_to_be(what, HeldBy(who))?;
            }
            (Verb::Break, &[who, what]) => {
                self.holds(who, what)?;
                self.is_broken(what, false)?;
                self.broken[what] = true;
            }
            (Verb::Mend, &[who, what]) => {
                self.holds(who, what)?;
                self.is_broken(what, true)?;
                self.broken[what] = false;
            }
            (Verb::Appear, &[what, place]) => self.comes_to_be(what, At(place))?,
            (Verb::Feel, &[who]) => self.exists(who)?,
            _ => return Err(format!("{verb:?} does not take {} roles", roles.len())),
        }
        Ok(())
    }

    fn moves(&mut self, who: RoleId, place: RoleId) -> Result<(), String> {
        self.exists(who)?;
        if self.whereabouts[who] == Whereabouts::At(place) {
            return Err(format!("role {who} is at role {place} already"));
        }
        self.whereabouts[who] = Whereabouts::At(place);
        Ok(())
    }

    fn comes_to_be(&mut self, what: RoleId, whereabouts: Whereabouts) -> Result<(), String> {
        if self.whereabouts[what] != Whereabouts::Nowhere {
            return Err(format!("role {what} is there already"));
        }
        self.whereabouts[what] = whereabouts;
        Ok(())
    }

    fn exists(&self, role: RoleId) -> Result<(), String> {
        self.place(role).map(|_| ()).ok_or_else(|| format!("role {role} is nowhere"))
    }

    /// Whether all `roles` are in one place.
    pub(super) fn together(&self, roles: &[RoleId]) -> Result<(), String> {
        let mut places = roles.iter().map(|&role| self.place(role));
        match places.next() {
            Some(Some(first)) if places.all(|place| place == Some(first)) => Ok(()),
            None => Ok(()),
            _ => Err(format!("roles {roles:?} are not in one place")),
        }
    }

    fn holds(&self, who: RoleId, what: RoleId) -> Result<(), String> {
        match self.whereabouts[what] {
            Whereabouts::HeldBy(holder) if holder == who => Ok(()),
            other => Err(format!("role {who} does not hold role {what}: {other:?}")),
        }
    }

    fn door_is(&self, what: RoleId, expected: Door) -> Result<(), String> {
        match self.doors[what] {
            door if door == expected => Ok(()),
            door => Err(format!("role {what} is {door:?}, not {expected:?}")),
        }
    }

    fn is_broken(&self, what: RoleId, expected: bool) -> Result<(), String> {
        match self.broken[what] {
            broken if broken == expected => Ok(()),
            true => Err(format!("role {what} is broken")),
            false => Err(format!("role {what} is whole")),
        }
    }
}

#[cfg(test)]
mod tests {
    use Whereabouts::{At, HeldBy, Nowhere};

    use super::*;

    const ANN: RoleId = 0;
    const BOB: RoleId = 1;
    const KEY: RoleId = 2;
    const CAKE: RoleId = 3;
    const STREET: RoleId = 4;
    const HUT: RoleId = 5;

    /// Ann in the street with a key, Bob in the locked hut, a cake not yet baked.
    fn world() -> World {
        let mut world = World::default();
        for whereabouts in [At(STREET), At(HUT), HeldBy(ANN), Nowhere, Nowhere] {
            world.add(whereabouts, Door::Open, false);
        }
        world.add(Nowhere, Door::Locked, false);
        world
    }

    #[test]
    fn things_go_where_their_holders_go() {
        let mut world = world();
        for (verb, roles) in [
            (Verb::Unlock, &[ANN, HUT, KEY][..]),
            (Verb::Open, &[ANN, HUT]),
            (Verb::Go, &[ANN, HUT]),
            (Verb::Give, &[ANN, KEY, BOB]),
            (Verb::Make, &[ANN, CAKE]),
            (Verb::Consume, &[ANN, CAKE]),
            (Verb::Go, &[BOB, STREET]),
        ] {
            world.perform(verb, roles).unwrap_or_else(|fault| panic!("{verb:?} {roles:?}: {fault}"));
        }
        assert_eq!(world.place(KEY), Some(STREET));
        assert_eq!(world.place(ANN), Some(HUT));
        assert_eq!(world.place(CAKE), None);
    }

    #[test]
    fn what_cannot_happen_is_refused() {
        for (verb, roles, reason) in [
            (Verb::Go, &[ANN, HUT][..], "through a locked door"),
            (Verb::Go, &[ANN, STREET], "to where she is"),
            (Verb::Open, &[ANN, HUT], "open what is locked"),
            (Verb::Unlock, &[BOB, HUT, KEY], "with a key he does not hold"),
            (Verb::Tell, &[ANN, BOB], "to one who is elsewhere"),
            (Verb::Give, &[ANN, KEY, BOB], "to one who is elsewhere"),
            (Verb::Use, &[BOB, KEY], "not held"),
            (Verb::Consume, &[ANN, CAKE], "not there yet"),
            (Verb::Take, &[ANN, KEY], "held already"),
            (Verb::Make, &[ANN, KEY], "made already"),
            (Verb::Mend, &[ANN, KEY], "whole already"),
            (Verb::Give, &[ANN, KEY], "to nobody"),
        ] {
            assert!(world().perform(verb, roles).is_err(), "{verb:?} {roles:?}: {reason}");
        }
        let mut world = world();
        world.perform(Verb::Break, &[ANN, KEY]).expect("she holds it");
        assert!(world.perform(Verb::Use, &[ANN, KEY]).is_err(), "broken");
    }

    #[test]
    fn time_runs_forward() {
        let mut world = world();
        for lead in ["one-winter-morning", "then", "noon", "afternoon", "afternoon", "next-day", "noon"] {
            world.pass_time(lead).expect(lead);
        }
        assert!(world.pass_time("morning").is_err());
    }
}
