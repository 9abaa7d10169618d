//! The models that ALBERT's authors published.

/// A model of ALBERT's authors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its name on the Hub, without the owner's.
    pub name: &'static str,
    /// The preset that has its size.
    pub preset: &'static str,
}

/// All of them. They are English, of 30 000 pieces; the second version was trained without dropout, on more text, and
/// longer.
pub const KNOWN: [Known; 8] = [
    Known { name: "albert-base-v2", preset: "base" },
    Known { name: "albert-large-v2", preset: "large" },
    Known { name: "albert-xlarge-v2", preset: "xlarge" },
    Known { name: "albert-xxlarge-v2", preset: "xxlarge" },
    Known { name: "albert-base-v1", preset: "base-v1" },
    Known { name: "albert-large-v1", preset: "large-v1" },
    Known { name: "albert-xlarge-v1", preset: "xlarge-v1" },
    Known { name: "albert-xxlarge-v1", preset: "xxlarge-v1" },
];

impl Known {
    /// The model of this name, which has no owner.
    pub(super) fn of(name: &str) -> Option<Self> {
        KNOWN.into_iter().find(|known| known.name == name)
    }

    /// `owner/name`
    pub fn model(self) -> String {
        format!("{OWNER}{}", self.name)
    }

    /// The model `owner/name`.
    pub(super) fn with_owner(model: &str) -> Option<Self> {
        Self::of(model.strip_prefix(OWNER)?)
    }
}

const OWNER: &str = "albert/";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_model_has_a_preset_and_can_be_found() {
        for known in KNOWN {
            assert!(model::preset(known.preset).is_some(), "{known:?}");
            assert_eq!(Known::with_owner(&known.model()), Known::of(known.name));
        }
        assert_eq!(Known::with_owner("me/albert-base-v2"), None);
    }
}
